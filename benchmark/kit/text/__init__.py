"""Texts: ``tokens`` and ``encoders`` of sentences, ``words`` as numbers.

``markers`` keeps the names of special tokens in a text apart from the tokens themselves, ``pieces``
puts prompts together from pieces that were tokenised once, and ``wordings`` has those around the
slots of a sentence; ``query_tables`` has what a system makes of queries, those of the data set and
new ones; ``word_system`` is the base class of systems that read words; ``bi_encoder`` fine-tunes an
encoder on both tasks.
"""

from benchmark.kit.pretrained.finding import find_encoder
from benchmark.kit.text.tokens import Tokenizer, Tokens

__all__ = ["Tokenizer", "Tokens", "find_encoder"]
