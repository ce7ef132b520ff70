"""The wordings of prompts of LC-Rec and P5-CID, by their slots; all are our own.

The style "instruction" has sentences, as many as the originals; "short", for small machines,
nothing but what tells prompts apart.
"""

from __future__ import annotations

from typing import Literal

PromptStyle = Literal["instruction", "short"]

# ----------------------------------------------------------------------------------------- LC-Rec
# Each is what is read and what is written. The slots: {history} the codes of the history, {titles}
# its titles, {item} the codes of the target, {title} and {details} its text.

Wording = tuple[str, str]

NEXT_ITEM: tuple[Wording, ...] = tuple(
    (instruction, "{item}")
    for instruction in (
        "These items were chosen one after another: {history} . Name the item that comes next.",
        "A customer's history, oldest first, is {history} . What follows?",
        "Continue the ordered list {history} by one item.",
        "Somebody went from item to item like this: {history} . Where to now?",
        "In order of time, the history of a person reads {history} . Write the next entry.",
        "Take the history {history} into account and recommend an item.",
        "With {history} behind them, which item will this person want?",
        "Read the history {history} from left to right and forecast the next item.",
        "Past choices in their order: {history} . Future choice:",
        "So far the history holds {history} . Add the item that fits best.",
        "Judging by the history {history} , pick one more item for this customer.",
        "The latest items of a customer, the newest at the end, are {history} . Suggest another.",
        "What would you show to someone whose history is {history} ?",
        "The history {history} is about to grow by one item. Say which.",
        "Having seen {history} in this order, guess the item to come.",
        "From the sequence {history} work out the next item.",
        "Here is a history: {history} . Give the item with which it goes on.",
    )
)
"""The first one is used for scoring."""

ITEM_OF_TEXT: tuple[Wording, ...] = tuple(
    (instruction, "{item}")
    for instruction in (
        "Which item is called {title} ?",
        "Give the codes of the item with the title {title} .",
        "The name of an item is {title} . Identify it.",
        "Look up {title} in the catalogue.",
        "Turn the title {title} into item codes.",
        "An item goes by the name {title} , which one is meant?",
        "Which item is described by these words: {details}",
        "Give the codes of the item with this description: {details}",
        "Identify an item from what is said about it: {details}",
        "Look up the item whose details are as follows: {details}",
        "Turn this description into item codes: {details}",
        "Someone describes an item, which one is meant? {details}",
        "Which item is called {title} and described as {details}",
        "Give the codes of the item with the title {title} and this description: {details}",
        "The name of an item is {title} . Identify it, knowing more about it: {details}",
        "Look up {title} in the catalogue, where its details read: {details}",
        "Turn the title {title} and the following description into item codes: {details}",
        "An item goes by the name {title} , which one is meant? Its details: {details}",
        "There is an item named {title} . About it we know: {details} Write its codes.",
    )
)

TEXT_OF_ITEM: tuple[Wording, ...] = (
    ("What is the title of {item} ?", "{title}"),
    ("Name the item {item} in words.", "{title}"),
    ("How is {item} called?", "{title}"),
    ("Turn the codes {item} into a title.", "{title}"),
    ("Look up {item} in the catalogue and give its name.", "{title}"),
    ("The codes {item} stand for an item with which title?", "{title}"),
    ("What is the description of {item} ?", "{details}"),
    ("Describe the item {item} in words.", "{details}"),
    ("What can be said about {item} ?", "{details}"),
    ("Turn the codes {item} into a description.", "{details}"),
    ("Look up {item} in the catalogue and give its details.", "{details}"),
    ("The codes {item} stand for an item with which details?", "{details}"),
    ("What are the title and the description of {item} ?", "{title} {details}"),
    ("Name the item {item} and describe it.", "{title} {details}"),
    ("Turn the codes {item} into a title with a description.", "{title} {details}"),
    ("Look up {item} in the catalogue, give its name and details.", "{title} {details}"),
    ("Write all that the catalogue says about {item} .", "{title} {details}"),
)

FUSED: tuple[Wording, ...] = (
    ("Items chosen one after another are {history} . Give the title of the next one.", "{title}"),
    ("What is the next item of the history {history} called?", "{title}"),
    ("Name in words the item with which {history} goes on.", "{title}"),
    ("Someone has chosen {history} so far. Write the title of a good recommendation.", "{title}"),
    ("Items chosen one after another are {history} . Describe the next one.", "{details}"),
    ("What can be said about the next item of the history {history} ?", "{details}"),
    ("Describe in words the item with which {history} goes on.", "{details}"),
    ("Someone has chosen {history} so far. Write what a good next item is like.", "{details}"),
    ("A history in its order has the titles {titles} . Give the next item's codes.", "{item}"),
    ("Somebody chose {titles} , which item should follow?", "{item}"),
    ("Continue the list of titles {titles} by the codes of one more item.", "{item}"),
    ("Knowing that a customer went through {titles} , recommend an item.", "{item}"),
)

LC_REC: dict[PromptStyle, tuple[tuple[Wording, ...], ...]] = {
    "instruction": (NEXT_ITEM, ITEM_OF_TEXT, TEXT_OF_ITEM, FUSED),
    "short": (
        (("{history}", "{item}"),),
        (("{title}", "{item}"), ("{details}", "{item}"), ("{title} {details}", "{item}")),
        (("name {item}", "{title}"), ("about {item}", "{details}")),
        (("name {history}", "{title}"), ("about {history}", "{details}"), ("{titles}", "{item}")),
    ),
}
"""The wordings of each task, in the order of its numbers."""

# ---------------------------------------------------------------------------------------- P5-CID
# {user} is the name of the user, {history} the identifiers of what was bought.

SEQUENTIAL = (
    "{user} has bought the items {history} . What will this user buy next?",
    "The purchases of {user} in their order are {history} . Name the next one.",
    "{user} bought {history} , so predict the item that follows.",
    "Here is what {user} has bought so far: {history} . Which item comes next?",
    "After {user} took the items {history} , which item should be offered?",
    "We know that {user} owns {history} . Recommend one more item.",
    "Looking at {user} with the purchases {history} , choose the next item.",
    "The list of {user} reads {history} . Continue it by one item.",
    "For {user} , who bought {history} , tell the item that will be bought now.",
    "Since {history} were bought, what is the next purchase of {user} ?",
)
"""The first one is used for scoring; in the last one the history comes first."""

STRAIGHTFORWARD = (
    "What will {user} buy?",
    "Name an item for {user} .",
    "Recommend something to {user} .",
    "Which item suits {user} ?",
    "Choose an item that {user} is going to buy.",
    "Predict a purchase of {user} .",
    "Tell what should be offered to {user} .",
    "Say which item {user} would like.",
    "Find the right item for {user} .",
    "An item is wanted for {user} , which one?",
)

P5_CID: dict[PromptStyle, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "instruction": (SEQUENTIAL, STRAIGHTFORWARD),
    "short": (("{user} {history}",), ("{user}",)),
}
"""The wordings that have a history, and those that have none."""
