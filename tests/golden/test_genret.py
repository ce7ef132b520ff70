"""GenRet against the original's numbers: states, every loss term, a step, codes and clusters."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter, methodcaller
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.generative_retrieval.genret import (
    CodeWriter,
    GenRetNetwork,
    LossTerms,
    LossWeights,
    tokens_of_codes,
)
from benchmark.kit.decoding.query_ranking import QueryRanking
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.balanced import balanced_assignment, costs_of
from benchmark.kit.identifiers.positions import (
    balance,
    balanced_codes,
    balanced_shares,
    centred_by_prefix,
    with_last_code,
)
from benchmark.kit.language_models.seq2seq import Seq2Seq
from tests.golden.loading import Golden, golden_stems, load_golden

TERMS = {
    "cl_loss": "retrieval",
    "ce_loss": "commitment",
    "code_loss": "earlier",
    "cl_dd_loss": "reconstruction",
}
"""The original's names and ours; its other terms have no weight."""


@pytest.mark.parametrize("name", golden_stems("genret.*"))
def test_genret_equals_the_original(name: str) -> None:
    golden = load_golden(name)
    checks: tuple[Callable[[Golden], None], ...] = (
        check_states,
        check_losses_and_gradients,
        check_step,
        check_ranking,
        check_balanced_codes,
        check_clusters,
        check_last_codes,
    )
    for check in checks:
        check(golden)


def close(found: Any, expected: NDArray[Any], what: str) -> None:
    array = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-5, err_msg=what)


def own_name(name: str) -> str:
    """Ours of one of the original's weights."""
    part, _, rest = name.partition(".")
    if part == "model":
        return f"t5.{rest}"
    table = "codebooks" if part == "centroids" else "inputs"
    return f"tables.{table}.{rest.removesuffix('.weight')}"


def network_of(golden: Golden) -> GenRetNetwork:
    """The network of the case, as in the main training of its last position."""
    settings = golden.meta
    model = Seq2Seq.of_config(settings["t5"])
    network = GenRetNetwork(model.t5, settings["code_number"], settings["code_length"])
    weights = {
        own_name(name): torch.from_numpy(array.copy()) for name, array in golden.weights.items()
    }
    tables = {name for name in network.state_dict() if name.startswith("tables.")}
    assert tables == {name for name in weights if name.startswith("tables.")}
    model.load_own_state(
        {name[3:]: tensor for name, tensor in weights.items() if name.startswith("t5.")}
    )
    network.load_state_dict({name: weights[name] for name in tables}, strict=False)
    network.tables.train_position(settings["code_length"] - 1, with_codebook=True)
    return network.train()


def texts_of(golden: Golden) -> dict[str, torch.Tensor]:
    """The batch of the case."""
    batch = {"codes": golden.tensor("ids")[:, 1:]}
    for kind, name in ("text", "doc"), ("query", "query"):
        ids = golden.tensor(name)
        batch |= {f"{kind}_ids": ids, f"{kind}_mask": ids != 0}
    return batch


def weights_of(golden: Golden, total: str) -> LossWeights:
    return LossWeights(**{TERMS[k]: w for k, w in golden.meta["loss_weights"][total].items()})


def check_states(golden: Golden) -> None:
    network, batch = network_of(golden), texts_of(golden)
    for kind, name in ("text", "doc"), ("query", "query"):
        states = network(batch[f"{kind}_ids"], batch[f"{kind}_mask"], batch["codes"])
        logits = network.tables.logits(states)
        close(states, golden.outputs[f"{name}_hidden"], f"{kind}: states")
        close(logits, golden.outputs[f"{name}_code_logits_all"], f"{kind}: logits")
        if kind == "text":
            codes = balanced_codes(logits[:, -1])
            book = network.tables.codebooks[-1]
            np.testing.assert_array_equal(codes, golden.outputs["doc_codes_sinkhorn"])
            close(book[codes], golden.outputs["doc_quantized_embeds_sinkhorn"], "quantised")
            close(states[:, -1], golden.outputs["doc_continuous_embeds"], "last states")
            nearest = logits[:, -1].argmax(dim=1)
            np.testing.assert_array_equal(nearest, golden.outputs["doc_codes_argmax"])


def gradients(golden: Golden, value: Callable[[LossTerms], torch.Tensor]) -> dict[str, Any]:
    """The gradient of each weight, 0 where there is none."""
    network = network_of(golden)
    value(network.terms(texts_of(golden))).backward()
    return {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in network.named_parameters()
    }


def check_losses_and_gradients(golden: Golden) -> None:
    """Each term and the totals of all stages; a fixed codebook has no gradient."""
    terms = network_of(golden).terms(texts_of(golden))
    for name, own in TERMS.items():
        close(getattr(terms, own), golden.outputs[f"loss_{name}"], name)
    for total in golden.meta["loss_weights"]:
        found = terms.total(weights_of(golden, total))
        close(found, golden.outputs[f"total_{total}"], f"total {total}")
    values: dict[str, Callable[[LossTerms], torch.Tensor]] = {}
    for part in {output.partition("/")[0] for output in golden.outputs}:
        if part.startswith("gradterm_"):
            values[part] = attrgetter(TERMS[part.removeprefix("gradterm_")])
        elif part.startswith("grad_w"):
            weights = weights_of(golden, part.removeprefix("grad_"))
            values[part] = methodcaller("total", weights)
    assert values
    for part, value in values.items():
        found_gradients = gradients(golden, value)
        for output, expected in golden.outputs.items():
            if output.startswith(f"{part}/"):
                close(found_gradients[own_name(output.partition("/")[2])], expected, output)


def check_step(golden: Golden) -> None:
    network, settings = network_of(golden), golden.meta["optimizer"]
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=settings["lr"],
        betas=tuple(settings["betas"]),
        eps=settings["eps"],
        weight_decay=settings["weight_decay"],
    )
    network.terms(texts_of(golden)).total(weights_of(golden, "w2")).backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), settings["clip_grad_norm"])
    close(norm, golden.outputs["grad_norm_before_clip_w2"], "norm of the gradient")
    optimizer.step()
    weights = dict(network.named_parameters())
    for output, expected in golden.outputs.items():
        if output.startswith("step1/"):
            close(weights[own_name(output.removeprefix("step1/"))], expected, output)


def check_ranking(golden: Golden) -> None:
    """Candidates by query, through the decoding engine; a beam of all of them changes nothing."""
    batch, codes = texts_of(golden), golden.inputs["cand_codes"]
    queries, number = len(batch["query_ids"]), len(codes)
    lists = np.broadcast_to(np.arange(1, number + 1, dtype=np.int32), (queries, number))
    for beam_size in None, number:
        ranking = QueryRanking(
            CodeWriter(network_of(golden).eval()),
            lambda query: (batch["query_ids"][query], batch["query_mask"][query]),
            tokens_of_codes(codes, golden.meta["code_number"]),
            beam_size=beam_size,
        )
        scores = ranking.score(np.arange(queries, dtype=np.int32), lists)
        close(scores, golden.outputs["cand_logprob"], f"candidates, beam {beam_size}")


def check_balanced_codes(golden: Golden) -> None:
    scores = golden.tensor("sk_scores")
    close(balanced_shares(scores), golden.outputs["sk_Q"], "shares")
    np.testing.assert_array_equal(balanced_codes(scores), golden.outputs["sk_codes"])
    np.testing.assert_array_equal(scores.argmax(dim=1), golden.outputs["sk_codes_raw_argmax"])


def check_clusters(golden: Golden) -> None:
    found = centred_by_prefix(golden.inputs["norm_X"], golden.inputs["norm_prefix"])
    close(found, golden.outputs["norm_by_prefix"], "centred by prefix")

    rows, centres = golden.inputs["ckm_X"], golden.inputs["ckm_centers"]
    smallest, largest = map(int, golden.inputs["ckm_size_min_max"])
    costs = costs_of(rows, centres)
    label = balanced_assignment(costs, smallest, largest)
    sizes = np.bincount(label, minlength=len(centres))
    assert smallest <= sizes.min() and sizes.max() <= largest
    assert costs[np.arange(len(rows)), label].sum() == golden.outputs["ckm_int_cost"]
    free = balanced_assignment(costs, 0, len(rows))
    np.testing.assert_array_equal(free, golden.outputs["ckm_unconstrained_labels"])


def check_last_codes(golden: Golden) -> None:
    codes, size = golden.inputs["docid_codes"], int(golden.inputs["add_last_code_num"])
    np.testing.assert_array_equal(with_last_code(codes, size), golden.outputs["add_last"])
    first = codes[:, 0]
    close(balance(first, int(first.max()) + 1), golden.outputs["balance"], "balance")
    sizes = tuple(int(level.max()) + 1 for level in codes.T)
    report = Identifiers.of_items(codes, sizes).report()
    _, _, kinds, ratio = golden.outputs["conflict_max_min_type_ratio"]
    assert report.distinct == kinds and report.distinct / report.items == pytest.approx(ratio)
