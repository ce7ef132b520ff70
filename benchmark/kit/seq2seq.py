"""Language models by the path of version 0.1, by which systems outside import them."""

from benchmark.kit.language_models.seq2seq import Backbone, BackboneSettings, ScratchSize, Seq2Seq
from benchmark.kit.language_models.tokenizer import TextTokenizer, texts_of
from benchmark.kit.text.pieces import IGNORED, assembled, joined

__all__ = [
    "IGNORED",
    "Backbone",
    "BackboneSettings",
    "ScratchSize",
    "Seq2Seq",
    "TextTokenizer",
    "assembled",
    "joined",
    "texts_of",
]
