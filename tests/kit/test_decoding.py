"""Level-by-level decoding beside transformers itself: teacher forcing and generate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmark.errors import SystemFailure
from benchmark.kit.decoding import ranking as decoding
from benchmark.kit.decoding.ranking import (
    LengthRule,
    candidate_scores,
    catalogue_scores,
    exact_ranks,
)
from benchmark.kit.decoding.seq2seq import Encoded, NodeDecoder, encode
from benchmark.kit.decoding.trie import CatalogueTrie
from benchmark.kit.language_models.seq2seq import Seq2Seq
from benchmark.protocol.metrics import ranks_of_targets

END, FIRST_CODE, CODES, VOCABULARY = 1, 20, 8, 64
EVENTS, CANDIDATES, LEVELS, BEAM = 4, 40, 4, 30

KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "t5": ({}, True),
    "t5 v1.1": ({"feed_forward_proj": "gated-gelu"}, False),
    "mt5": ({"model_type": "mt5", "feed_forward_proj": "gated-gelu"}, False),
}
"""Configuration, and whether the output layer is the table of token vectors."""


def model_of(kind: str = "t5", seed: int = 0, sharpness: float = 3.0) -> Any:
    """A small T5 whose random weights are large enough to make its scores differ."""
    changes, is_tied = KINDS[kind]
    torch.manual_seed(seed)
    size = {
        "vocab_size": VOCABULARY,
        "d_model": 24,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 4,
    }
    model = Seq2Seq.of_config(size | changes, is_tied).t5.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(sharpness if parameter.dim() == 2 else 1)
    return model


@dataclass(frozen=True)
class Case:
    """Prompts of different lengths and lists of distinct candidates, all of one length."""

    ids: torch.Tensor
    mask: torch.Tensor
    tokens: NDArray[np.int64]

    def encoded(self, model: Any) -> Encoded:
        return encode(model, {"input_ids": self.ids}, self.mask)


def case_of(seed: int = 0, first_codes: int = CODES, candidates: int = CANDIDATES) -> Case:
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 11, size=EVENTS)
    mask = np.arange(10)[None, :] < lengths[:, None]
    ids = np.where(mask, random.integers(2, VOCABULARY, size=(EVENTS, 10)), 0)
    codes = np.stack([_distinct_codes(random, candidates) for _ in range(EVENTS)])
    codes[:, :, 0] %= first_codes
    levels = FIRST_CODE + CODES * np.arange(LEVELS)
    ends = np.full((EVENTS, candidates, 1), END)
    return Case(
        torch.from_numpy(ids), torch.from_numpy(mask), np.concatenate([codes + levels, ends], 2)
    )


def _distinct_codes(random: np.random.Generator, number: int) -> NDArray[np.int64]:
    chosen = random.choice(CODES**LEVELS, size=number, replace=False)
    return np.stack(np.unravel_index(chosen, (CODES,) * LEVELS), axis=1)


def teacher_forced(model: Any, case: Case) -> NDArray[np.float32]:
    """(events, candidates) sums of log-probabilities by transformers' own forward pass."""
    scores = []
    for ids, mask, tokens in zip(case.ids, case.mask, case.tokens, strict=True):
        labels = torch.from_numpy(tokens)
        rows = len(labels)
        logits = model(
            input_ids=ids.expand(rows, -1),
            attention_mask=mask.long().expand(rows, -1),
            labels=labels.clamp(min=0),
        ).logits
        log_probabilities = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])
        scores.append((log_probabilities[..., 0] * (labels >= 0)).sum(1))
    return torch.stack(scores).detach().numpy()


def generated(
    model: Any, case: Case, allowed: Callable[[int, tuple[int, ...]], list[int]], **options: Any
) -> list[dict[tuple[int, ...], float]]:
    """Sequence → score, best first, of each event, by transformers' constrained beam search."""
    output = model.generate(
        input_ids=case.ids,
        attention_mask=case.mask.long(),
        num_beams=BEAM,
        num_return_sequences=BEAM,
        max_new_tokens=case.tokens.shape[2],
        prefix_allowed_tokens_fn=lambda event, sent: allowed(event, tuple(sent.tolist()[1:])),
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )
    found = []
    for start in range(0, len(output.sequences), BEAM):
        pairs: dict[tuple[int, ...], float] = {}
        for place in range(start, start + BEAM):
            sequence = output.sequences[place].tolist()[1:]
            sequence = tuple(sequence[: sequence.index(END) + 1])
            if (score := float(output.sequences_scores[place])) > -1e6:
                pairs.setdefault(sequence, score)
        found.append(pairs)
    return found


def allowed_by(tokens: NDArray[np.int64]) -> Callable[[int, tuple[int, ...]], list[int]]:
    """The candidates of each event as a function of the prefix, in plain Python."""
    tables: list[dict[tuple[int, ...], set[int]]] = []
    for candidates in tokens.tolist():
        table: dict[tuple[int, ...], set[int]] = {}
        for candidate in candidates:
            path = [token for token in candidate if token >= 0]
            for length, token in enumerate(path):
                table.setdefault(tuple(path[:length]), set()).add(token)
        tables.append(table)
    return lambda event, prefix: sorted(tables[event].get(prefix, {END}))


def returned(scores: torch.Tensor, case: Case) -> list[dict[tuple[int, ...], float]]:
    """Our scores in the form of :func:`generated`."""
    found = []
    for row, tokens in zip(scores, case.tokens, strict=True):
        order = [column for column in row.argsort(descending=True).tolist() if row[column] > -1e6]
        paths = [tuple(t for t in tokens[column].tolist() if t >= 0) for column in order]
        found.append({path: float(row[column]) for path, column in zip(paths, order, strict=True)})
    return found


def assert_same_rankings(
    ours: list[dict[tuple[int, ...], float]], theirs: list[dict[tuple[int, ...], float]]
) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert list(one) == list(other)
        np.testing.assert_allclose(list(one.values()), list(other.values()), atol=1e-4)


def of_different_lengths(case: Case) -> Case:
    """Some candidates end after two or three codes."""
    tokens = case.tokens.copy()
    tokens[:, ::3, 2:] = -1
    tokens[:, ::3, 2] = END
    tokens[:, 1::3, 3:] = -1
    tokens[:, 1::3, 3] = END
    return Case(case.ids, case.mask, tokens)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_exact_scores_are_those_of_teacher_forcing(kind: str) -> None:
    model, case = model_of(kind), case_of()
    scores = candidate_scores(model, case.encoded(model), case.tokens)
    np.testing.assert_allclose(scores, teacher_forced(model, case), atol=1e-4)


@pytest.mark.parametrize("scale", [-300.0, 300.0])
@torch.inference_mode()
def test_logits_beyond_the_range_of_exponentials_are_no_harm(scale: float) -> None:
    """All logits of a node get the sign of ``scale``; the exponentials sum to 0 or infinity."""
    model, case = model_of("t5 v1.1"), case_of()
    model.decoder.final_layer_norm.weight.zero_()
    model.decoder.final_layer_norm.register_forward_hook(lambda *call: torch.ones_like(call[2]))
    model.lm_head.weight.uniform_(1.0, 1.1).mul_(scale / 24)
    scores = candidate_scores(model, case.encoded(model), case.tokens)
    np.testing.assert_allclose(scores, teacher_forced(model, case), rtol=1e-5, atol=1e-3)


@torch.inference_mode()
def test_identifiers_of_different_lengths_are_those_of_teacher_forcing() -> None:
    model, case = model_of(), of_different_lengths(case_of())
    expected = teacher_forced(model, case)
    encoded = case.encoded(model)
    np.testing.assert_allclose(candidate_scores(model, encoded, case.tokens), expected, atol=1e-4)
    means = candidate_scores(model, encoded, case.tokens, length_rule="mean")
    lengths = (case.tokens >= 0).sum(axis=2)
    np.testing.assert_allclose(means, expected / lengths, atol=1e-4)


@torch.inference_mode()
def test_an_identifier_may_go_on_where_another_ends() -> None:
    model, case = model_of(), case_of()
    without_end = Case(case.ids, case.mask, case.tokens[:, :, :LEVELS].copy())
    without_end.tokens[:, 1] = without_end.tokens[:, 0]
    without_end.tokens[:, 1, 2:] = -1
    scores = candidate_scores(model, without_end.encoded(model), without_end.tokens)
    np.testing.assert_allclose(scores, teacher_forced(model, without_end), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
@torch.inference_mode()
def test_a_beam_is_that_of_transformers(kind: str, seed: int) -> None:
    model, case = model_of(kind, seed), case_of(seed)
    scores = candidate_scores(model, case.encoded(model), case.tokens, BEAM)
    assert ((scores > -torch.inf).sum(1) == BEAM).all()
    theirs = generated(model, case, allowed_by(case.tokens), length_penalty=0.0)
    assert_same_rankings(returned(scores, case), theirs)


@pytest.mark.parametrize(("length_rule", "length_penalty"), [("sum", 0.0), ("mean", 1.0)])
@torch.inference_mode()
def test_a_beam_over_different_lengths_is_that_of_transformers(
    length_rule: Any, length_penalty: float
) -> None:
    model, case = model_of(), of_different_lengths(case_of())
    scores = candidate_scores(model, case.encoded(model), case.tokens, BEAM, length_rule)
    theirs = generated(
        model,
        case,
        allowed_by(case.tokens),
        length_penalty=length_penalty,
        early_stopping="never",
    )
    assert_same_rankings(returned(scores, case), theirs)


@torch.inference_mode()
def test_a_beam_as_wide_as_the_list_is_exact() -> None:
    model, case = model_of(), of_different_lengths(case_of())
    encoded = case.encoded(model)
    exact = candidate_scores(model, encoded, case.tokens)
    for beam_size in (CANDIDATES, 10 * CANDIDATES):
        beam = candidate_scores(model, encoded, case.tokens, beam_size)
        torch.testing.assert_close(beam, exact, rtol=0, atol=0)


@torch.inference_mode()
def test_a_narrow_beam_can_lose_the_most_likely_candidate() -> None:
    model, case = model_of(seed=3), case_of(seed=3)
    encoded = case.encoded(model)
    exact = candidate_scores(model, encoded, case.tokens)
    narrow = candidate_scores(model, encoded, case.tokens, 2)
    kept = narrow > -torch.inf
    assert (kept.sum(1) == 2).all()
    torch.testing.assert_close(narrow[kept], exact[kept])
    assert (narrow.argmax(1) != exact.argmax(1)).any()


@pytest.mark.parametrize("beam_size", [None, 5])
@torch.inference_mode()
def test_equal_identifiers_tie_and_take_one_place(beam_size: int | None) -> None:
    model, case = model_of(), case_of()
    encoded = case.encoded(model)
    plain = candidate_scores(model, encoded, case.tokens, beam_size)
    best = int(plain[0].argmax())
    doubled = np.concatenate([case.tokens, case.tokens[:, [best, best]]], axis=1)
    scores = candidate_scores(model, encoded, doubled, beam_size)
    torch.testing.assert_close(scores[:, :CANDIDATES], plain, rtol=0, atol=0)
    assert (scores[:, -2] == scores[:, best]).all()
    assert (scores[:, -1] == scores[:, best]).all()


@pytest.mark.parametrize("beam_size", [None, 5])
@torch.inference_mode()
def test_the_order_of_candidates_and_the_company_of_events_do_not_matter(
    beam_size: int | None,
) -> None:
    model, case = model_of(), case_of(first_codes=3)
    scores = candidate_scores(model, case.encoded(model), case.tokens, beam_size)
    order = np.random.default_rng(5).permutation(CANDIDATES)
    permuted = candidate_scores(model, case.encoded(model), case.tokens[:, order], beam_size)
    torch.testing.assert_close(permuted, scores[:, order], rtol=0, atol=0)
    alone = Case(case.ids[2:3], case.mask[2:3], case.tokens[2:3])
    scores_alone = candidate_scores(model, alone.encoded(model), alone.tokens, beam_size)
    torch.testing.assert_close(scores_alone, scores[2:3], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_events_of_different_width_share_a_batch() -> None:
    model, case = model_of(), case_of()
    tokens = case.tokens.copy()
    tokens[1, :, 0] = tokens[1, 0, 0]  # one first code
    tokens[2] = tokens[2, :1]  # one candidate, forty times
    mixed = Case(case.ids, case.mask, tokens)
    scores = candidate_scores(model, mixed.encoded(model), tokens)
    np.testing.assert_allclose(scores, teacher_forced(model, mixed), atol=1e-4)


@torch.inference_mode()
def test_rank_only_gives_the_ranks_of_exact_scores() -> None:
    for seed in range(3):
        model, case = model_of(seed=seed), of_different_lengths(case_of(seed))
        encoded = case.encoded(model)
        case.tokens[0, 7] = case.tokens[0, 3]  # a tie with the target
        target = np.array([3, 0, CANDIDATES - 1, 11])
        exact = candidate_scores(model, encoded, case.tokens)
        expected = ranks_of_targets(exact.numpy(), target)
        found = exact_ranks(model, encoded, case.tokens, target)
        np.testing.assert_array_equal(found.above, expected.above)
        np.testing.assert_array_equal(found.tied, expected.tied)
        assert found.returned.all()


@torch.inference_mode()
def test_a_catalogue_beam_is_that_of_transformers() -> None:
    model, case = model_of(), case_of()
    random = np.random.default_rng(9)
    codes = _distinct_codes(random, 300) + FIRST_CODE + CODES * np.arange(LEVELS)
    tokens = np.concatenate([codes, np.full((300, 1), END)], axis=1)
    tokens = np.concatenate([np.full((1, LEVELS + 1), -1), tokens])  # item 0 is padding
    scores = catalogue_scores(model, case.encoded(model), CatalogueTrie.of(tokens), BEAM).numpy()
    allowed = allowed_by(tokens[None])
    theirs = generated(model, case, lambda _, prefix: allowed(0, prefix), length_penalty=0.0)
    for row, other in zip(scores, theirs, strict=True):
        found = np.argsort(-row, kind="stable")[:20]
        assert [tuple(tokens[item].tolist()) for item in found] == list(other)[:20]
        np.testing.assert_allclose(row[found], list(other.values())[:20], atol=1e-4)
        assert np.count_nonzero(row > -np.inf) == BEAM


@torch.inference_mode()
@pytest.mark.parametrize("beam_size", [None, 4])
@pytest.mark.parametrize("rule", ["sum", "mean"])
def test_all_items_of_an_identifier_have_its_score_and_who_has_none_has_none(
    beam_size: int | None, rule: LengthRule
) -> None:
    model, case = model_of(), case_of()
    tokens = np.array([[-1, -1], [20, 28], [21, -1], [20, 28], [20, 29], [-1, -1]])
    encoded = case.encoded(model)
    scores = catalogue_scores(model, encoded, CatalogueTrie.of(tokens), beam_size, rule)
    lists = np.repeat(tokens[None, 1:5], EVENTS, axis=0)
    exact = candidate_scores(model, encoded, lists, length_rule=rule)
    torch.testing.assert_close(scores[:, 1:5], exact, rtol=0, atol=1e-4)
    assert (scores[:, 1] == scores[:, 3]).all()
    assert (scores[:, [0, 5]] == -torch.inf).all()


@torch.inference_mode()
def test_exact_scores_of_a_catalogue_are_those_of_lists_however_few_are_decoded_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, case = model_of(), case_of()
    random = np.random.default_rng(4)
    tokens = _distinct_codes(random, 300) + FIRST_CODE + CODES * np.arange(LEVELS)
    encoded = case.encoded(model)
    exact = candidate_scores(model, encoded, np.repeat(tokens[None], EVENTS, axis=0))
    decoded: list[int] = []
    make = NodeDecoder.__init__

    def counting(self: NodeDecoder, own: Any, part: Encoded) -> None:
        decoded.append(len(part.states))
        make(self, own, part)

    monkeypatch.setattr(NodeDecoder, "__init__", counting)
    for nodes, expected in ((10_000, [EVENTS]), (600, [2, 2]), (1, [1] * EVENTS)):
        monkeypatch.setattr(decoding, "_NODES_AT_ONCE", {"cpu": nodes})
        decoded.clear()
        scores = catalogue_scores(model, encoded, CatalogueTrie.of(tokens))
        torch.testing.assert_close(scores, exact, rtol=0, atol=1e-4)
        assert decoded == expected


@pytest.mark.parametrize("beam_size", [None, 5])
@torch.inference_mode()
def test_half_precision_runs_and_is_near(beam_size: int | None) -> None:
    model, case = model_of(sharpness=1.0), case_of()
    exact = candidate_scores(model, case.encoded(model), case.tokens)
    model = model.to(torch.bfloat16)
    scores = candidate_scores(model, case.encoded(model), case.tokens, beam_size)
    assert scores.dtype == torch.float32
    kept = scores > -torch.inf
    torch.testing.assert_close(scores[kept], exact[kept], rtol=0.02, atol=0.2)


def test_what_cannot_be_scored_is_an_error() -> None:
    model, case = model_of(), case_of()
    encoded = case.encoded(model)
    nothing = case.tokens.copy()
    nothing[0, 0] = -1
    with pytest.raises(SystemFailure, match="no identifier"):
        candidate_scores(model, encoded, nothing)
    with pytest.raises(SystemFailure, match="evaluation mode"):
        candidate_scores(model.train(), encoded, case.tokens)
