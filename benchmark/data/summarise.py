"""Item texts made short by an instruction model, as the paper does with its Commercial data.

The paper names Qwen2.5-7B-Instruct; any causal language model that transformers can load will do,
from the hub or from a folder. Each item's summary is kept by the hash of model, prompt and text, so
a run that was stopped goes on, and an item whose text stays the same is not summarised again. The
summaries lie beside the tables as ``summaries.parquet`` (item_id, summary, key); a recipe with
``source.summaries: true`` uses them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.data.sources.company import ITEMS
from benchmark.data.tables.faults import settled
from benchmark.data.tables.table import read_table
from benchmark.errors import BenchmarkError
from benchmark.files import atomic_path

PROMPT = (
    "Summarise the following item in at most {words} words, in the language of its text. "
    "Answer with the summary only.\n\n{text}"
)
FILE = "summaries.parquet"
_SAVED_EVERY = 256  # items

Summariser = Callable[[Sequence[str]], list[str]]
"""Prompts in, answers out."""

logger = logging.getLogger(__name__)


def summarise(
    folder: Path,
    model: str,
    *,
    words: int = 50,
    batch_size: int = 8,
    summariser: Summariser | None = None,
) -> tuple[int, int]:
    """Summarise the items of a company's log in ``folder``.

    Args:
        model: a name on the hub, or a folder; what it is called decides which summaries are kept.
        summariser: answers the prompts in place of the model.

    Returns:
        How many items were summarised now, and how many were there already.

    Raises:
        BenchmarkError: the items or the model cannot be read.
    """
    items = settled(lambda faults: read_table(ITEMS, ITEMS.find(folder, faults), faults))
    ids = items.ids("item_id")
    names = [ids.distinct[code] for code in ids.code.tolist()]
    texts = [
        " ".join(part for part in parts if part)
        for parts in zip(items.texts("title"), items.texts("description"), strict=True)
    ]
    prompts = [PROMPT.format(words=words, text=text) for text in texts]
    keys = [hashlib.sha256(f"{model}\0{prompt}".encode()).hexdigest() for prompt in prompts]
    done = _kept(folder / FILE)
    due = [row for row, key in enumerate(keys) if texts[row] and key not in done]
    due = list({keys[row]: row for row in due}.values())  # equal texts are asked about once
    if due and summariser is None:
        summariser = _model(model, max_new_tokens=4 * words)
    saved = 0
    for start in range(0, len(due), batch_size):
        rows = due[start : start + batch_size]
        answers = summariser([prompts[row] for row in rows]) if summariser else []
        done.update({keys[row]: text for row, text in zip(rows, answers, strict=True)})
        if start + batch_size - saved >= _SAVED_EVERY:
            saved = start + batch_size
            _write(folder / FILE, names, keys, done)
            logger.info("%d of %d items summarised", min(saved, len(due)), len(due))
    _write(folder / FILE, names, keys, done)
    return len(due), sum(bool(text) for text in texts) - len(due)


def _kept(path: Path) -> dict[str, str]:
    """Summaries by key; none where the file is absent or cannot be read."""
    try:
        table = pq.read_table(path, columns=["key", "summary"])
    except (OSError, pa.ArrowException, ValueError):
        return {}
    return dict(zip(table["key"].to_pylist(), table["summary"].to_pylist(), strict=True))


def _write(path: Path, names: Sequence[str], keys: Sequence[str], done: dict[str, str]) -> None:
    rows = [row for row, key in enumerate(keys) if key in done]
    table = pa.table(
        {
            "item_id": pa.array([names[row] for row in rows], pa.string()),
            "summary": pa.array([done[keys[row]] for row in rows], pa.string()),
            "key": pa.array([keys[row] for row in rows], pa.string()),
        }
    )
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def parted(prompt: str, special: Sequence[str]) -> str:
    """The prompt with a blank inside the name of each special token that stands in it.

    So an item's text can neither end the user's turn nor open another.
    """
    for name in sorted(special, key=len, reverse=True):
        prompt = prompt.replace(name, f"{name[:1]} {name[1:]}")
    return prompt


def _model(name: str, max_new_tokens: int) -> Summariser:
    """A causal language model that answers greedily."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name, padding_side="left", trust_remote_code=False
        )
        model: Any = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BenchmarkError(f"--model {name}: cannot be loaded ({reason}).") from None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    model.eval()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token

    special = [one.content for one in tokenizer.added_tokens_decoder.values() if one.special]

    def answer(prompts: Sequence[str]) -> list[str]:
        prompts = [parted(prompt, special) for prompt in prompts]
        asked = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
            if tokenizer.chat_template
            else prompt
            for prompt in prompts
        ]
        inputs = tokenizer(asked, return_tensors="pt", padding=True, truncation=True)
        with torch.inference_mode():
            output = model.generate(
                **inputs.to(device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        new = output[:, inputs["input_ids"].shape[1] :]
        answers = tokenizer.batch_decode(new, skip_special_tokens=True)
        return [" ".join(text.split()) for text in answers]

    return answer
