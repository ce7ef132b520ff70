"""The sentence encoders that several systems read item texts with."""

from __future__ import annotations

from benchmark.kit.pretrained.finding import find_encoder
from benchmark.kit.text.encoders import TextEncoder, own_pooling, pretrained_text_encoder
from benchmark.systems.contract import RunContext

BGE = ("BAAI/bge-base-en-v1.5", "BAAI/bge-base-zh-v1.5")
"""Hub names of BGE 1.5, base size, for English and for Chinese."""


def bge_or_stand_in(choice: str, use: str, context: RunContext) -> tuple[TextEncoder, str]:
    """The encoder that a configuration asks for, and the sentence on what stands in for BGE.

    Args:
        choice: "published" for BGE and nothing else, "packaged", "auto", a folder, or a hub name.
        use: what it is read for, "item codes are learned", to complete the sentence.

    Raises:
        BenchmarkError: the encoder is not there, or cannot be read.
    """
    files = find_encoder(choice, BGE[0])
    encoder = pretrained_text_encoder(files, own_pooling(files), context.device)
    return encoder, files.stand_in(BGE, use)
