"""Query generation with an original T5 v1.1: loss, gradients, sampling distributions, beams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmark.kit.language_models.pseudo_queries import PseudoQuerySettings, beam_queries, nucleus
from benchmark.kit.language_models.seq2seq import Seq2Seq
from tests.golden.loading import golden_stems, load_golden

FILTERS: dict[str, dict[str, Any]] = {
    "probs_topk10": {"top_k": 10, "top_p": 1.0},
    "probs_topk10_topp095": {"top_k": 10, "top_p": 0.95},
    "probs_t08_topp08": {"top_k": None, "top_p": 0.8, "temperature": 0.8},
}


@pytest.mark.parametrize("name", golden_stems("doc2query.*"))
def test_queries_are_written_as_by_the_original(name: str) -> None:
    case = load_golden(name)
    sizes = case.meta["t5"]
    numbers = {key: value for key, value in sizes.items() if not isinstance(value, str)}
    model = Seq2Seq.of_config(numbers | {"feed_forward_proj": "gated-gelu"}, is_tied=False)
    model.load_own_state({key: torch.from_numpy(value) for key, value in case.weights.items()})
    ids = case.tensor("input_ids")
    batch = {"input_ids": ids, "attention_mask": ids != 0, "labels": case.tensor("labels")}
    found: dict[str, Any] = {}

    found["loss"] = model(batch)
    found["loss"].backward()
    found["logits"] = model.t5(**batch).logits
    gradients = {f"grad/{key}": value.grad for key, value in model.t5.named_parameters()}
    found |= {key: gradients[key] for key in case.outputs if key.startswith("grad/")}

    logits = case.tensor("logits")
    for output, settings in FILTERS.items():
        probabilities, tokens = nucleus(logits, **settings)
        found[output] = torch.zeros_like(logits).scatter(1, tokens, probabilities)

    expected = case.outputs["beam4_norepeat2"]
    settings = PseudoQuerySettings(
        queries_per_item=len(expected) // len(ids), most_query_tokens=expected.shape[1] - 1
    )
    with torch.inference_mode():
        found["beam4_norepeat2"] = beam_queries(
            model.eval(), ids, batch["attention_mask"], settings
        )

    assert set(case.outputs) == set(found)
    for output, value in case.outputs.items():
        array = np.asarray(found[output].detach())
        np.testing.assert_allclose(array, value, rtol=1e-4, atol=1e-5, err_msg=output)
