"""GenSAR's generator against the original's numbers: masked labels, loss, gradient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.kit.language_models.seq2seq import Seq2Seq
from benchmark.kit.text.pieces import IGNORED, Tokens, seq2seq_batch
from tests.golden.loading import Golden

END = 1


def check_loss(golden: Golden) -> None:
    """The texts of the case, as pieces, give its input, mask and labels, and these its loss."""
    model = Seq2Seq.of_config(golden.meta["t5_config"])
    model.load_own_state(golden.weights_below("t5/"))

    mask, labels = golden.inputs["loss/attention_mask"] == 1, golden.inputs["loss/labels"]
    inputs = _without_end(golden.inputs["loss/input_ids"], mask)
    targets = _without_end(labels, labels != IGNORED)
    offsets = np.cumsum([0, *map(len, [*inputs, *targets])])
    tokens = Tokens(np.concatenate([*inputs, *targets]).astype(np.int32), offsets, padding=0)
    rows = np.arange(len(offsets) - 1).reshape(2, -1, 1)
    batch = seq2seq_batch(tokens, rows[0], rows[1], END)
    for name in ("input_ids", "attention_mask", "labels"):
        np.testing.assert_array_equal(batch[name].numpy(), golden.inputs[f"loss/{name}"])

    loss = model(batch)
    loss.backward()
    tolerance = golden.meta["tolerance"]["float32"]
    gradient = model.t5.shared.weight.grad
    for found, name in ((loss, "loss/loss"), (gradient, "loss/grad_shared")):
        expected = golden.outputs[name]
        np.testing.assert_allclose(found.detach(), expected, rtol=tolerance, atol=tolerance)


def _without_end(ids: NDArray[np.int64], mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    rows = [row[kept] for row, kept in zip(ids, mask, strict=True)]
    assert all(row[-1] == END for row in rows)
    return [row[:-1] for row in rows]
