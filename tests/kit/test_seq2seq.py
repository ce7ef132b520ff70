"""The text-to-text backbone: tokens, prompts of pieces, loss, growth, files, batches by length."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.kit.language_models.prompt_instances import TokenPairs
from benchmark.kit.language_models.seq2seq import Backbone, BackboneSettings, ScratchSize, Seq2Seq
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.text.encoders import Tokens
from benchmark.kit.text.pieces import (
    assembled,
    assembled_lengths,
    batches_by_length,
    joined,
    seq2seq_batch,
)
from benchmark.kit.training import TrainingSettings, train
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.training import SEED

TEXTS = ["Red shoes, size 42", "Blue shoes for running", "a red hat", "running hats: blue or red"]
CODES = ["<code_a_0>", "<code_a_1>", "<code_b_0>"]
TINY = ScratchSize(
    width=16, layers=1, heads=2, head_width=8, feed_forward=32, text_tokens=60, dropout=0.0
)
SCRATCH = BackboneSettings(model="scratch", scratch=TINY)
UNTIED: dict[str, Any] = {
    "vocab_size": 20,
    "d_model": 8,
    "d_kv": 4,
    "d_ff": 12,
    "num_layers": 1,
    "num_heads": 2,
    "feed_forward_proj": "gated-gelu",
    "dropout_rate": 0.0,
}


def context_in(folder: Path, seed: int = 0) -> RunContext:
    return RunContext(seed, folder, ArtifactStore(folder))


def tiny_backbone(folder: Path) -> Backbone:
    return Backbone.make(SCRATCH, TEXTS, CODES, context_in(folder))


def t5_like_tokenizer() -> TextTokenizer:
    """A unigram tokenizer of the kind that T5 has: words by blanks, then pieces with a mark."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = [(letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyzRB42,:;."]
    words = [("▁", -3.0), ("▁red", -2.0), ("▁shoe", -2.5), ("s", -2.0), ("s;", -4.5)]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *words, *letters]
    backend: Any = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return TextTokenizer(backend, 0, 1)


def scratch_tokenizer() -> TextTokenizer:
    return TextTokenizer.trained_on(TEXTS, 60)


# Tokens


def test_equal_texts_give_an_equal_tokenizer_whatever_their_order(tmp_path: Path) -> None:
    for name, texts in (("one", TEXTS), ("other", TEXTS[::-1])):
        TextTokenizer.trained_on(texts, 60).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_added_tokens_are_one_id_each_within_any_text() -> None:
    tokenizer = scratch_tokenizer()
    ids = tokenizer.add(CODES)
    assert ids.tolist() == list(range(tokenizer.size - 3, tokenizer.size))
    text = f"red{CODES[1]}{CODES[2]}; {CODES[0]}hats"
    encoded = tokenizer.marked([text]).ids
    assert [number for number in encoded if number >= ids[0]] == [ids[1], ids[2], ids[0]]


def test_a_token_that_is_cut_in_two_is_refused() -> None:
    tokenizer = scratch_tokenizer()
    with pytest.raises(SystemFailure, match="as one id"):
        tokenizer.add(["", "<x>"])


def test_texts_come_back_from_their_tokens() -> None:
    tokenizer = scratch_tokenizer()
    tokens = tokenizer(["Blue  running shoes"])
    assert tokenizer.decode([[*tokens.ids, tokenizer.end, tokenizer.padding]]) == [
        "blue running shoes"
    ]


@pytest.mark.parametrize("make", [scratch_tokenizer, t5_like_tokenizer])
def test_pieces_cut_at_blanks_and_codes_give_the_tokens_of_the_whole(make: Any) -> None:
    tokenizer = make()
    tokenizer.add(CODES)
    pieces = [
        "the user saw",
        *CODES,
        ";",
        *CODES[:1],
        "red shoes;",
        CODES[2],
        ": running",
        "shoes.",
    ]
    whole = f"the user saw {''.join(CODES)}; {CODES[0]}red shoes; {CODES[2]}: running shoes."
    tokens = tokenizer.marked(pieces)
    ids, mask = assembled(tokens, np.arange(len(pieces))[None, :])
    assert ids[0].tolist() == tokenizer.marked([whole]).ids.tolist()
    assert mask.all()


@pytest.mark.parametrize("make", [scratch_tokenizer, t5_like_tokenizer])
@pytest.mark.parametrize(
    "text",
    [
        "red </s> shoes",
        "<pad>red",
        "</s>",
        "red <code_a_0>",
        "<code_a_1><code_b_0> shoes <code_a_1>",
        "</s</s>>",
        "\uff1c/s> </S>",
    ],
)
def test_a_text_never_becomes_a_marker(make: Any, text: str) -> None:
    tokenizer = make()
    markers = {tokenizer.padding, tokenizer.end, *tokenizer.add(CODES).tolist()}
    ids = tokenizer([text, "red shoes"]).ids.tolist()
    assert not set(ids) & markers
    assert len(ids) > len(tokenizer(["red shoes"]).ids)  # it is still there, as text
    beside = tokenizer.marked([CODES[0] + tokenizer.as_text([text])[0]]).ids.tolist()
    assert beside == [tokenizer.marked(CODES[:1]).ids[0], *tokenizer([text]).ids]


def test_the_name_of_the_unknown_token_is_split_as_text() -> None:
    tokenizer = TextTokenizer.trained_on(["a < b > c / u n k", "unk"], 60)
    ids = tokenizer(["<unk>"]).ids.tolist()
    assert 2 not in ids
    assert 2 in tokenizer(["\u5bb6"]).ids.tolist()  # what no token writes stays unknown


def test_texts_without_markers_are_tokenised_as_they_were() -> None:
    tokenizer = scratch_tokenizer()
    tokenizer.add(CODES)
    assert tokenizer.as_text(TEXTS) == TEXTS
    assert tokenizer(TEXTS).ids.tolist() == tokenizer.marked(TEXTS).ids.tolist()
    assert tokenizer(TEXTS, 2).lengths.tolist() == [2, 2, 2, 2]


# Prompts


def test_prompts_are_padded_on_the_right_closed_and_cut() -> None:
    tokens = Tokens(np.array([5, 6, 7, 8], dtype=np.int32), np.array([0, 2, 2, 3, 4]), 0)
    pieces = np.array([[0, -1, 2], [1, 3, -1], [-1, -1, -1], [2, 0, 0]])
    assert assembled_lengths(tokens, pieces).tolist() == [3, 1, 0, 5]
    ids, mask = assembled(tokens, pieces, end=1, most_tokens=5)
    assert ids.tolist() == [[5, 6, 7, 1, 0], [8, 1, 0, 0, 0], [1, 0, 0, 0, 0], [7, 5, 6, 5, 1]]
    assert mask.sum(dim=1).tolist() == [4, 2, 1, 5]
    open_ids, _ = assembled(tokens, pieces)
    assert open_ids.tolist() == [[5, 6, 7, 0, 0], [8, 0, 0, 0, 0], [0] * 5, [7, 5, 6, 5, 6]]


def test_padding_is_no_part_of_the_loss(tmp_path: Path) -> None:
    backbone = tiny_backbone(tmp_path)
    tokens = backbone.tokenizer(TEXTS)
    both = np.array([[0], [2]])
    losses = {}
    for name, rows in (("both", [0, 1]), ("first", [0]), ("second", [1])):
        batch = seq2seq_batch(tokens, both[rows], both[rows], backbone.tokenizer.end)
        losses[name] = backbone.model(batch).item()
        counted = (batch["labels"] >= 0).sum().item()
        assert counted == tokens.lengths[both[rows]].sum() + len(rows)  # with their ends
    weights = tokens.lengths[[0, 2]] + 1
    expected = np.average([losses["first"], losses["second"]], weights=weights)
    np.testing.assert_allclose(losses["both"], expected, rtol=1e-5)


def test_added_input_vectors_change_the_input_and_zeros_do_not(tmp_path: Path) -> None:
    backbone = tiny_backbone(tmp_path)
    batch = seq2seq_batch(
        backbone.tokenizer(TEXTS),
        np.array([[0], [1]]),
        np.array([[2], [3]]),
        backbone.tokenizer.end,
    )
    plain = backbone.model(batch)
    zeros = torch.zeros(*batch["input_ids"].shape, TINY.width)
    torch.testing.assert_close(backbone.model(batch | {"input_vectors": zeros}), plain)
    assert (backbone.model(batch | {"input_vectors": zeros + 1}) - plain).abs() > 1e-3


# Growth and files


@pytest.mark.parametrize("is_tied", [True, False])
def test_growth_keeps_the_old_rows_and_the_kind_of_output_layer(is_tied: bool) -> None:
    model = Seq2Seq.of_config(UNTIED, is_tied)
    before = {name: tensor.clone() for name, tensor in model.own_state().items()}
    ids = torch.tensor([[4, 5, 1]])
    model.grow(37)
    after = model.own_state()
    assert model.is_tied is is_tied and after.keys() == before.keys()
    assert model.t5.config.vocab_size == 40  # the next multiple of 8
    for name, tensor in before.items():
        torch.testing.assert_close(after[name][: len(tensor)], tensor, rtol=0, atol=0)
    logits = model.t5(input_ids=ids, labels=ids).logits
    assert logits.shape == (1, 3, 40)


def test_a_table_that_is_large_enough_does_not_shrink() -> None:
    model = Seq2Seq.of_config(UNTIED | {"vocab_size": 32})
    model.grow(21)
    assert model.t5.config.vocab_size == 32


@pytest.mark.parametrize("is_tied", [True, False])
def test_saved_and_loaded_it_is_the_same_to_the_bit(is_tied: bool, tmp_path: Path) -> None:
    tokenizer = scratch_tokenizer()
    tokenizer.add(CODES)
    model = Seq2Seq.of_config(UNTIED, is_tied)
    model.grow(tokenizer.size)
    backbone = Backbone(model, tokenizer)
    backbone.save(tmp_path)
    loaded = Backbone.load(tmp_path)
    assert loaded.model.is_tied is is_tied
    batch = seq2seq_batch(
        backbone.tokenizer(TEXTS), np.array([[0], [1]]), np.array([[2], [3]]), tokenizer.end
    )
    assert torch.equal(loaded.model(batch), model.eval()(batch))
    assert loaded.tokenizer.marked([TEXTS[0] + CODES[0]]).ids.tolist() == (
        tokenizer.marked([TEXTS[0] + CODES[0]]).ids.tolist()
    )


def test_weights_of_other_sizes_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="do not belong"):
        Seq2Seq.of_config(UNTIED).load_own_state(Seq2Seq.of_config(UNTIED, False).own_state())


def test_equal_seeds_give_equal_backbones_and_others_do_not(tmp_path: Path) -> None:
    one, same = tiny_backbone(tmp_path), tiny_backbone(tmp_path)
    other = Backbone.make(SCRATCH, TEXTS, CODES, context_in(tmp_path, seed=1))
    assert torch.equal(one.model.t5.shared.weight, same.model.t5.shared.weight)
    assert not torch.equal(one.model.t5.shared.weight, other.model.t5.shared.weight)


def test_a_pretrained_folder_is_read_with_its_own_tokenizer(tmp_path: Path) -> None:
    tiny = tmp_path / "my-model"
    Seq2Seq.of_config(UNTIED | {"vocab_size": 64}).t5.save_pretrained(tiny)
    tokenizer = t5_like_tokenizer()
    tokenizer.save(tiny / "tokenizer.json")
    (tiny / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}'
    )
    settings = BackboneSettings(model=str(tiny))
    backbone = Backbone.make(settings, TEXTS, CODES, context_in(tmp_path))
    assert backbone.tokenizer([TEXTS[0]]).ids.tolist() == tokenizer([TEXTS[0]]).ids.tolist()
    assert backbone.tokenizer.end == 1 and backbone.model.t5.config.vocab_size == 64
    assert "my-model (as given" in settings.stand_in() and "sha256" in settings.identity()


# Batches and training


def test_batches_of_one_window_hold_similar_lengths_and_every_row_once() -> None:
    random = np.random.default_rng(3)
    lengths = random.integers(1, 100, size=103)
    rows = random.permutation(103)
    batches = batches_by_length(rows, lengths[rows], 10, random, window=100)
    assert sorted(map(len, batches)) == [3, *[10] * 10]
    assert sorted(np.concatenate(batches)) == list(range(103))
    ranges = sorted((lengths[batch].min(), lengths[batch].max()) for batch in batches)
    assert all(one[1] <= other[0] for one, other in pairwise(ranges))


def test_a_window_of_one_batch_sorts_within_batches_only() -> None:
    random = np.random.default_rng(3)
    rows = random.permutation(40)
    batches = batches_by_length(rows, rows % 7, 10, random, window=1)
    expected = {frozenset(rows[start : start + 10].tolist()) for start in range(0, 40, 10)}
    assert {frozenset(batch.tolist()) for batch in batches} == expected
    assert all((np.diff(batch % 7) >= 0).all() for batch in batches)


@pytest.mark.training
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns_pairs_by_the_loop_of_the_suite(precision: str, tmp_path: Path) -> None:
    context = RunContext(SEED, tmp_path, ArtifactStore(tmp_path), precision=precision)
    backbone = Backbone.make(SCRATCH, TEXTS, CODES, context)
    tokens = joined([backbone.tokenizer(TEXTS), backbone.tokenizer.marked(CODES)])
    assert len(tokens) == len(TEXTS) + len(CODES)
    inputs, targets = np.array([[0], [1], [2]]), np.array([[4], [5], [6]])
    pairs = TokenPairs(tokens, inputs, targets, backbone.tokenizer.end)
    settings = TrainingSettings(
        epochs=60, batch_size=2, micro_batch_size=1, learning_rate=0.01, validate_every=0
    )
    train(backbone.model, pairs, backbone.model, settings, context)
    backbone.model.eval()
    ids, mask = assembled(tokens, inputs, backbone.tokenizer.end)
    written = backbone.model.t5.generate(input_ids=ids, attention_mask=mask, max_new_tokens=2)
    codes = tokens.ids[tokens.offsets[len(TEXTS)] :].tolist()
    assert written[:, 1:].tolist() == [[code, backbone.tokenizer.end] for code in codes]
