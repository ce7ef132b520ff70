"""Causal backbones: loss and node decoding beside plain passes and generate, tokenizers, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.kit.decoding import causal as causal_decoding
from benchmark.kit.decoding.causal import can_decode, read
from benchmark.kit.decoding.ranking import candidate_scores, catalogue_scores
from benchmark.kit.decoding.scoring_batches import causal_request_costs
from benchmark.kit.decoding.trie import CatalogueTrie
from benchmark.kit.language_models.causal import (
    CausalBackbone,
    CausalLM,
    CausalSettings,
    CausalSize,
    CausalTokenizer,
)
from benchmark.kit.precision import autocast
from benchmark.kit.pretrained.model_folder import files_in
from benchmark.kit.text.pieces import IGNORED, assembled
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.kit.test_decoding import (
    BEAM,
    CODES,
    END,
    EVENTS,
    FIRST_CODE,
    LEVELS,
    VOCABULARY,
    Case,
    _distinct_codes,
    allowed_by,
    assert_same_rankings,
    case_of,
    returned,
)

TINY: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": END,
}
KINDS: dict[str, dict[str, Any]] = {
    "llama": TINY | {"model_type": "llama", "num_key_value_heads": 1},
    "qwen3": TINY | {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 8},
    "gpt2": {
        "model_type": "gpt2",
        "vocab_size": VOCABULARY,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 64,
        "initializer_range": 0.5,
        "bos_token_id": None,
        "eos_token_id": END,
    },
}
CANNOT = {
    "capped logits": TINY | {"model_type": "gemma2", "head_dim": 8, "final_logit_softcapping": 3.0},
    "scaled logits": TINY | {"model_type": "granite", "logits_scaling": 3.0},
    "no positions": {"model_type": "bloom", "vocab_size": 64, "hidden_size": 16, "n_head": 2},
}
TEXTS = ["red shoe", "blue hat, warm", "which item is it ?"]


def model_of(kind: str = "llama") -> CausalLM:
    torch.manual_seed(0)
    return CausalLM.of_config(KINDS[kind]).eval()


def plain(lm: Any, case: Case) -> torch.Tensor:
    """(events, candidates) by a forward pass over prompt and identifier, one at a time."""
    scores = torch.zeros(case.tokens.shape[:2])
    for row, (ids, mask, tokens) in enumerate(zip(case.ids, case.mask, case.tokens, strict=True)):
        prompt = ids[mask.bool()]
        for column, candidate in enumerate(torch.from_numpy(tokens)):
            logits = lm(input_ids=torch.cat([prompt, candidate])[None]).logits[0]
            steps = logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
            scores[row, column] = steps[torch.arange(len(candidate)), candidate].sum()
    return scores


def scored(lm: Any, case: Case, beam_size: int | None = None) -> torch.Tensor:
    return candidate_scores(lm, read(lm, case.ids, case.mask), case.tokens, beam_size)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_exact_scores_are_those_of_plain_passes(kind: str) -> None:
    lm, case = model_of(kind).lm, case_of(candidates=12)
    torch.testing.assert_close(scored(lm, case), plain(lm, case), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_how_many_nodes_stand_side_by_side_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, case = model_of().lm, case_of()
    wanted = scored(lm, case)
    for nodes, places in ((1, 1), (3, 100), (5, 1_000_000)):
        monkeypatch.setattr(causal_decoding, "NODES_OF_A_BLOCK", nodes)
        monkeypatch.setattr(causal_decoding, "_PLACES_AT_ONCE", {"cpu": places})
        torch.testing.assert_close(scored(lm, case), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@torch.inference_mode()
def test_a_beam_is_that_of_generate(kind: str) -> None:
    lm, case = model_of(kind).lm, case_of()
    allowed = allowed_by(case.tokens)
    theirs: list[dict[tuple[int, ...], float]] = []
    for event, (ids, mask) in enumerate(zip(case.ids, case.mask, strict=True)):
        prompt = ids[mask.bool()][None]
        start = prompt.shape[1]

        def children(_: int, sent: torch.Tensor, start: int = start, event: int = event) -> Any:
            return allowed(event, tuple(sent.tolist()[start:]))

        output = lm.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            num_beams=BEAM,
            num_return_sequences=BEAM,
            max_new_tokens=LEVELS + 1,
            length_penalty=0.0,
            prefix_allowed_tokens_fn=children,
            return_dict_in_generate=True,
            output_scores=True,
            pad_token_id=0,
        )
        pairs: dict[tuple[int, ...], float] = {}
        for own, score in zip(output.sequences.tolist(), output.sequences_scores, strict=True):
            if float(score) > -1e6:
                pairs.setdefault(tuple(own[start:]), float(score))
        theirs.append(pairs)
    assert all(len(pairs) == BEAM for pairs in theirs)
    assert_same_rankings(returned(scored(lm, case, BEAM), case), theirs)


@torch.inference_mode()
def test_the_catalogue_is_ranked_as_lists_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.kit.decoding import ranking as decoding

    lm, case = model_of().lm, case_of()
    codes = _distinct_codes(np.random.default_rng(4), 60)
    tokens = codes + FIRST_CODE + CODES * np.arange(LEVELS)
    prompts = read(lm, case.ids, case.mask)
    lists = np.repeat(tokens[None], EVENTS, axis=0)
    for beam_size in (None, 10):
        wanted = candidate_scores(lm, prompts, lists, beam_size)
        for nodes in (10_000, 1):
            monkeypatch.setattr(decoding, "_NODES_AT_ONCE", {"cpu": nodes})
            found = catalogue_scores(lm, prompts, CatalogueTrie.of(tokens), beam_size)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_models_that_cannot_be_decoded_are_told_from_those_that_can() -> None:
    for kind in KINDS:
        assert can_decode(model_of(kind).lm), kind
    for kind, config in CANNOT.items():
        torch.manual_seed(0)
        assert not can_decode(CausalLM.of_config(config).lm), kind


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.inference_mode()
def test_half_precision_runs_and_is_near(attention: str) -> None:
    lm, case = model_of().lm, case_of()
    lm.set_attn_implementation(attention)
    exact = scored(lm, case)
    with autocast("bf16", "cpu"):
        near, beam = scored(lm, case), scored(lm, case, 5)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, exact, rtol=0, atol=0.6)
    assert (torch.isfinite(beam).sum(dim=1) == 5).all()


def test_training_mode_is_refused() -> None:
    model, case = model_of(), case_of()
    with pytest.raises(SystemFailure, match="evaluation mode"):
        scored(model.train().lm, case)


def test_the_loss_is_the_cross_entropy_of_what_is_written() -> None:
    model = model_of()
    read_ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0], [11, 0, 0, 0]])
    labels = torch.tensor([[20, END, IGNORED], [21, 22, END], [IGNORED] * 3])
    batch = {"input_ids": read_ids, "attention_mask": read_ids > 0, "labels": labels}
    losses: list[list[torch.Tensor]] = []
    for prompt, label in zip(read_ids, labels, strict=True):
        tokens, losses_of_row = prompt[prompt > 0], []
        for target in label[label != IGNORED]:
            logits = model.lm(input_ids=tokens[None]).logits[0, -1]
            losses_of_row.append(-logits.log_softmax(dim=0)[target])
            tokens = torch.cat([tokens, target[None]])
        losses.append(losses_of_row)
    every = torch.stack([loss for row in losses for loss in row])
    torch.testing.assert_close(model(batch), every.mean())
    weights = torch.tensor([0.5, 2.0, 0.0])
    wanted = 0.5 * torch.stack(losses[0]).sum() + 2 * torch.stack(losses[1]).sum()
    torch.testing.assert_close(model(batch | {"weights": weights}), wanted)


# -------------------------------------------------------------------------- tokenizers and folders


def byte_level_folder(
    folder: Path, kind: str = "gpt2", opens: bool = False, **changes: Any
) -> Path:
    """A tiny pretrained model; its tokenizer takes blanks as parts of words and has no padding."""
    from transformers import PreTrainedTokenizerFast

    raw = RawTokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|begin|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(TEXTS * 3, trainer)
    if opens:
        raw.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", 1)]
        )
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>").save_pretrained(folder)
    torch.manual_seed(0)
    rows = raw.get_vocab_size()
    CausalLM.of_config(KINDS[kind] | {"vocab_size": rows} | changes).lm.save_pretrained(folder)
    return folder


def test_pieces_of_a_byte_level_tokenizer_make_the_tokens_of_the_whole_text(tmp_path: Path) -> None:
    files = files_in(byte_level_folder(tmp_path / "gpt2"), "tiny")
    tokenizer = CausalTokenizer.of_files(files)
    assert tokenizer.end == tokenizer.padding == 0 and tokenizer.opening == ()
    pieces = tokenizer(["red shoe", "", "blue hat, warm", "which item is it ?"])
    ids, mask = assembled(pieces, np.arange(4)[None])
    whole = tokenizer.marked([" red shoe blue hat, warm which item is it ?"]).ids
    assert ids[mask].tolist() == whole.tolist()
    codes = tokenizer.add(["<a_1>", "<b_2>"])
    assert tokenizer.marked(["<a_1><b_2>"]).ids.tolist() == codes.tolist()
    named = tokenizer(["the <a_1> and <|end|>"]).ids
    assert not np.isin(named, [*codes, tokenizer.end]).any()


def test_what_a_tokenizer_sets_before_a_text_opens_prompts(tmp_path: Path) -> None:
    files = files_in(byte_level_folder(tmp_path / "begins", opens=True), "tiny")
    assert CausalTokenizer.of_files(files).opening_piece.ids.tolist() == [1]


@pytest.mark.parametrize("kind", ["scratch", "gpt2", "llama"])
def test_a_backbone_grows_and_comes_back_to_the_bit(kind: str, tmp_path: Path) -> None:
    size = CausalSize(width=16, layers=1, heads=2, feed_forward=32, text_tokens=80)
    model = "scratch"
    if kind != "scratch":
        model = str(byte_level_folder(tmp_path / kind, kind, opens=kind == "llama"))
    settings = CausalSettings(model=model, scratch=size)
    context = RunContext(0, tmp_path, ArtifactStore(tmp_path))
    codes = ["<a_1>", "<a_2>"]
    backbone = CausalBackbone.make(settings, TEXTS, codes, context)
    again = CausalBackbone.make(settings, TEXTS, codes, context)
    ids = torch.from_numpy(backbone.tokenizer.marked(["red shoe<a_1>"]).ids)[None].long()
    backbone.model.eval()
    with torch.inference_mode():
        logits = backbone.model.lm(input_ids=ids).logits
        torch.testing.assert_close(again.model.eval().lm(input_ids=ids).logits, logits)
        if kind != "scratch":
            old = CausalLM.of_files(files_in(Path(model), "tiny")).eval().lm(input_ids=ids[:, :-1])
            rows = old.logits.shape[-1]
            torch.testing.assert_close(logits[:, :-1, :rows], old.logits)
    backbone.save(tmp_path / "saved")
    loaded = CausalBackbone.load(tmp_path / "saved")
    with torch.inference_mode():
        assert torch.equal(loaded.model.lm(input_ids=ids).logits, logits)
    texts = ["red shoe", "an unseen word"]
    assert loaded.tokenizer(texts).ids.tolist() == backbone.tokenizer(texts).ids.tolist()
    assert loaded.tokenizer.marks() == backbone.tokenizer.marks()


def test_what_cannot_be_used_is_said_in_a_sentence(tmp_path: Path) -> None:
    folder = byte_level_folder(tmp_path / "granite")
    torch.manual_seed(0)
    config = CANNOT["scaled logits"] | {"vocab_size": 300, "model_type": "granite"}
    CausalLM.of_config(config).lm.save_pretrained(folder)
    part = CausalSettings(model=str(folder)).part()
    with pytest.raises(BenchmarkError, match="of the kind granite cannot be decoded as a tree"):
        part.find()
    context = RunContext(0, tmp_path, ArtifactStore(tmp_path))
    odd = CausalSettings(model="scratch", scratch=CausalSize(width=18, heads=2))
    with pytest.raises(BenchmarkError, match="18 is no multiple of twice the 2 heads"):
        CausalBackbone.make(odd, TEXTS, (), context)


def test_scoring_is_reckoned_to_hold_the_prompt_once_for_each_block_of_nodes() -> None:
    lengths = np.array([10, 50])
    for kind in KINDS:
        lm = model_of(kind).lm
        prompts = read(lm, torch.full((1, 50), 3), torch.ones(1, 50, dtype=torch.bool))
        held = sum(part.nbytes for layer in prompts.layers for part in layer)
        few, many = (
            causal_request_costs(lm.config, nodes, 5, 40).of(lengths, 0 * lengths)
            for nodes in (10, 200)
        )
        assert (few < many).all() and few[0] < few[1] and many[0] < many[1]
        assert few[1] > 2 * held and many[1] > 5 * held  # 200 nodes are four blocks
