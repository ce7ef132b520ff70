"""TIGER's generator against the stored numbers: inputs, loss, learning rate, scores, beam.

The checks are called by `test_tiger.py`.
"""

from __future__ import annotations

import numpy as np
import torch

from baselines.generative_recommendation.tiger import TIGERConfig, Vocabulary
from benchmark.kit.decoding.ranking import candidate_scores
from benchmark.kit.decoding.t5 import encode
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.language_models.seq2seq import Seq2Seq
from benchmark.kit.training.optimizers import rate_factor
from tests.golden.loading import Golden

PREFIX = "t5."


def model_of(golden: Golden) -> Seq2Seq:
    sizes = golden.hyper_parameters["seq2seq"]
    named = {"num_beams", "codes_per_level", "levels", "max_items"}  # of the case, not of a T5
    config = {name: value for name, value in sizes.items() if name not in named}
    model = Seq2Seq.of_config(config | {"decoder_start_token_id": 0})
    model.load_own_state(golden.weights_below(PREFIX))
    model.eval()
    return model


def vocabulary_of(golden: Golden) -> Vocabulary:
    sizes = golden.hyper_parameters["seq2seq"]
    codes = golden.inputs["seq/item_codes"]
    levels = (sizes["codes_per_level"],) * sizes["levels"]
    return Vocabulary(Identifiers.of_items(codes, levels), user_tokens=0)


def check_loss(golden: Golden) -> None:
    """Histories become the stored tokens, and these the stored logits, loss and gradient."""
    vocabulary, model = vocabulary_of(golden), model_of(golden)
    tolerance = {
        "rtol": golden.meta["tolerance"]["default_rtol"],
        "atol": golden.meta["tolerance"]["default_atol"],
    }
    histories = golden.inputs["seq/history_items"]
    order = np.argsort(histories == 0, axis=1, kind="stable")  # padding to the right
    histories = np.take_along_axis(histories, order, axis=1)
    ids, mask = vocabulary.inputs(np.zeros(len(histories), dtype=np.int32), histories)
    their_ids, their_mask = (
        golden.inputs[f"seq/encoder_{name}"] for name in ("input_ids", "attention_mask")
    )
    np.testing.assert_array_equal(mask.sum(dim=1), their_mask.sum(axis=1))
    np.testing.assert_array_equal(ids[mask], their_ids[their_mask == 1])
    candidates = golden.inputs["seq/candidate_items"]
    tokens = vocabulary.of_item[candidates]
    np.testing.assert_array_equal(tokens, golden.inputs["seq/candidate_token_ids"])

    labels = torch.from_numpy(tokens[:, 0].copy())
    logits = model.t5(input_ids=ids, attention_mask=mask.long(), labels=labels).logits
    np.testing.assert_allclose(logits.detach(), golden.outputs["seq/logits"], **tolerance)
    loss = model({"input_ids": ids, "attention_mask": mask, "labels": labels})
    np.testing.assert_allclose(loss.detach(), golden.outputs["seq/loss"], **tolerance)
    loss.backward()
    gradient = model.t5.shared.weight.grad
    np.testing.assert_allclose(gradient, golden.outputs["seq/grad/shared.weight"], **tolerance)


def check_learning_rate(golden: Golden) -> None:
    """The default schedule is the paper's, whose rate at the start was 0.01."""
    steps, training = golden.outputs["lr/step"], TIGERConfig().training
    rates = [0.01 * rate_factor(training, int(step) - 1, int(steps.max())) for step in steps]
    np.testing.assert_allclose(rates, golden.outputs["lr/value"], rtol=1e-9)


@torch.inference_mode()
def check_candidates(golden: Golden) -> None:
    """Exact log-probabilities, and which candidates a beam returns in which order."""
    t5 = model_of(golden).t5
    tolerance = {
        "rtol": golden.meta["tolerance"]["default_rtol"],
        "atol": golden.meta["tolerance"]["rank_atol"],
    }
    tokens = golden.inputs["seq/candidate_token_ids"]
    mask = golden.tensor("seq/encoder_attention_mask")
    encoded = encode(t5, {"input_ids": golden.tensor("seq/encoder_input_ids")}, mask)

    exact = candidate_scores(t5, encoded, tokens)
    np.testing.assert_allclose(exact, golden.outputs["seq/candidate_logprob"], **tolerance)

    beam_size = golden.hyper_parameters["seq2seq"]["num_beams"]
    scores = candidate_scores(t5, encoded, tokens, beam_size, "mean").numpy()
    order = np.argsort(-scores, axis=1, kind="stable")[:, :beam_size]
    np.testing.assert_array_equal(order, golden.outputs["seq/beam_candidate"])
    np.testing.assert_array_equal(
        np.take_along_axis(tokens, order[..., None], axis=1),
        golden.outputs["seq/beam_sequences"][..., 1:],
    )
    found = np.take_along_axis(scores, order, axis=1)
    np.testing.assert_allclose(found, golden.outputs["seq/beam_scores"], **tolerance)
    assert np.count_nonzero(scores > -np.inf) == order.size
