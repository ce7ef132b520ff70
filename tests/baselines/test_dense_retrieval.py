"""E5, BGE and the text encoders below them: what they read, learn, store and say of themselves."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baselines.dense_retrieval.base import (
    DenseRetrieval,
    SearchPairs,
    contrastive_loss,
    own_group_loss,
)
from baselines.dense_retrieval.bge import BGE, BGEZeroShot
from baselines.dense_retrieval.e5 import E5, E5ZeroShot
from benchmark.data.dataset import RECOMMENDATION, Dataset
from benchmark.errors import SystemFailure
from benchmark.kit.pretrained.finding import find_encoder
from benchmark.kit.text.encoders import (
    SentenceEncoder,
    encode_in_parts,
    encode_tokens,
    pretrained_text_encoder,
    text_vectors,
)
from benchmark.kit.text.tokens import Tokenizer
from benchmark.kit.training import TrainingSettings
from benchmark.protocol.metrics import mean_metrics, ranks_of_targets
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.planted import Planted, dataset_of_rounds, items_of_texts, planted_in
from tests.training import SEED, expect

SETTINGS = ProtocolSettings(negatives=19)
TOPICS, USERS, SEARCHES = 40, 60, 8
WORDS = [f"{kind}{number}" for kind in ("ask", "find") for number in range(TOPICS)]
PROMPT_WORDS = ["query", "passage", ":", "represent", "this", "sentence"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = {word: number for number, word in enumerate([*SPECIAL, *PROMPT_WORDS, *WORDS])}
MEANINGLESS = [VOCABULARY[word] for word in ("[PAD]", "[UNK]", "[CLS]", *PROMPT_WORDS)]
DIM = 32


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained BERT with a vocabulary of words, in Hugging Face's layout."""
    return make_encoder(tmp_path_factory.mktemp("encoder"))


def make_encoder(folder: Path, seed: int = 0) -> Path:
    from tokenizers import Tokenizer as RawTokenizer
    from tokenizers import models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    raw = RawTokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=raw, **names).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=DIM,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=DIM,
        max_position_embeddings=64,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertModel(config)
    # Only topic words and [SEP] mean anything, as if the encoder had learned what to attend to:
    # one layer from scratch does not find a topic among the words of BGE's instruction.
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.zero_()
        model.embeddings.token_type_embeddings.weight.zero_()
        model.embeddings.word_embeddings.weight[MEANINGLESS] = 0.0
    model.save_pretrained(folder)
    return folder


def dataset_of_searches(seed: int = 5) -> Dataset:
    """Query k is "ask<k>", the item that it clicks is "find<k>": no word in common."""
    random = np.random.default_rng(seed)
    topics = np.stack([random.permutation(TOPICS)[:SEARCHES] for _ in range(USERS)])
    queries = ["", *WORDS[:TOPICS], "words nobody knows", ""]
    items = items_of_texts(["", *WORDS[TOPICS:]])
    return dataset_of_rounds(items, queries, topics + 1, topics + 1)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(dataset_of_searches(), SETTINGS, "search")


def make(kind: Any, folder: Path, artifacts: Path | None = None, **config: Any) -> DenseRetrieval:
    store = ArtifactStore(folder / "artifacts" if artifacts is None else artifacts)
    return kind(kind.Config(**config), RunContext(SEED, folder, store))


QUICK = TrainingSettings(
    epochs=40, batch_size=32, learning_rate=0.003, optimizer="adamw", validate_every=0
)
ONE_STEP = TrainingSettings(epochs=1, batch_size=300)
SMALL = {"query_tokens": 12, "item_tokens": 12}


# -------------------------------------------------------------------------------- what they learn


@pytest.mark.training
@pytest.mark.parametrize("kind", [E5, BGE])
def test_the_clicked_item_is_learned(
    kind: Any, planted: Planted, encoder_folder: Path, tmp_path: Path
) -> None:
    """The query alone says which item: these systems do not see the user."""
    dataset, task, view = planted
    requests = task.requests(dataset, "test")

    def first_hits(system: DenseRetrieval) -> float:
        ranks = ranks_of_targets(system.score(requests), task.test_candidates.target_column)
        return mean_metrics(ranks)["HR@1"]

    config = {**SMALL, "encoder": str(encoder_folder)}
    untrained = make(kind, tmp_path / "untrained", **config, mode="zero-shot")
    untrained.fit(view)
    expect(first_hits(untrained), below=0.3)
    trained = make(kind, tmp_path / "trained", **config, training=QUICK)
    trained.fit(view)
    expect(first_hits(trained), above=0.9)


def test_known_pairs_are_no_negatives(planted: Planted, encoder_folder: Path) -> None:
    _, _, view = planted
    batch = pairs_of(view, encoder_folder).batch(np.arange(64), np.random.default_rng(0))
    examples = view.examples("search").select(np.arange(64))
    group = 5
    struck = batch["struck"].numpy()
    assert struck.shape == (64, 64 * group)
    # Query k clicks item k alone, so exactly the other rows' copies of it are struck.
    _, row_of_passage = np.unique(batch["passages"].numpy(), return_inverse=True)
    targets = examples.target
    positives = struck[:, ::group]
    assert np.array_equal(
        positives, (targets[:, None] == targets[None, :]) & ~np.eye(64, dtype=bool)
    )
    assert positives.any()
    kept = pairs_of(view, encoder_folder, false_negatives="kept")
    assert not kept.batch(np.arange(64), np.random.default_rng(0))["struck"].any()
    assert len(row_of_passage) == 64 * group


def test_items_of_equal_text_are_no_negatives(planted: Planted, encoder_folder: Path) -> None:
    dataset, _, _ = planted
    texts = [*dataset.items.text[:-1], dataset.items.text[1]]  # the last item reads like the first
    twins = replace(dataset, items=replace(dataset.items, text=texts))
    tasks = build_tasks(twins, SETTINGS)
    view = TrainingView(twins, tasks, SETTINGS)
    pairs = pairs_of(view, encoder_folder)
    query, last = np.array([1], dtype=np.int32), np.array([1, TOPICS], dtype=np.int32)
    assert pairs._struck(query, last).tolist() == [[False, True]]


def test_each_distinct_text_is_encoded_once(planted: Planted, encoder_folder: Path) -> None:
    _, _, view = planted
    pairs = pairs_of(view, encoder_folder)
    rows = np.arange(100)
    batch = pairs.batch(rows, np.random.default_rng(0))
    examples = view.examples("search").select(rows)
    assert len(batch["query_ids"]) == len(np.unique(examples.query))
    assert len(batch["passage_ids"]) <= TOPICS
    # "[CLS] query : ask<k> [SEP]" and "[CLS] passage : find<k> [SEP]"
    words = VOCABULARY
    queries = batch["query_ids"][batch["queries"]].tolist()
    assert queries == [
        [2, words["query"], words[":"], words[text], 3] for text in examples.query_texts
    ]
    passages = batch["passage_ids"][batch["passages"]][::5].tolist()
    titles = [view.corpus.items.text[item] for item in examples.target]
    assert passages == [[2, words["passage"], words[":"], words[title], 3] for title in titles]


def pairs_of(view: TrainingView, folder: Path, **config: Any) -> SearchPairs:
    settings = E5.Config(**SMALL, **config)
    tokenizer = Tokenizer(find_encoder(str(folder), ""))
    return SearchPairs(
        view,
        settings,
        tokenizer(view.corpus.queries.text, settings.query_prompt, settings.query_tokens),
        tokenizer(view.corpus.items.text, settings.item_prompt, settings.item_tokens),
    )


@pytest.mark.parametrize("text", ["topic [SEP] words", "[CLS][PAD]", "[UNK]", "[SEP]"])
def test_no_text_becomes_a_special_token(encoder_folder: Path, text: str) -> None:
    tokenizer = Tokenizer(find_encoder(str(encoder_folder), ""))
    marked, plain = (tokenizer([one], "", 32).ids.tolist() for one in (text, "[ SEP ]"))
    assert (marked[0], marked[-1]) == (plain[0], plain[-1]) == (2, 3)
    assert not set(marked[1:-1]) & {0, 2, 3}
    assert len(marked) > 3


def test_an_epoch_may_draw_a_part_of_the_pairs(planted: Planted, encoder_folder: Path) -> None:
    pairs = pairs_of(planted[2], encoder_folder, pairs_per_epoch=50)
    batches = pairs.batches(20, np.random.default_rng(0))
    assert [len(batch) for batch in batches] == [20, 20, 10]
    assert pairs.steps(20) == 3
    assert len(np.unique(np.concatenate(batches))) == 50


def test_the_losses_are_cross_entropies_over_batch_and_group() -> None:
    random = torch.Generator().manual_seed(0)
    queries = F.normalize(torch.randn(3, 4, generator=random), dim=1)
    passages = F.normalize(torch.randn(6, 4, generator=random), dim=1)
    cosine = queries @ passages.T / 0.1
    struck = torch.zeros(3, 6, dtype=torch.bool)
    struck[0, 3] = struck[1, 3] = True
    by_hand = []
    for row in range(3):
        allowed = cosine[row][~struck[row]]
        by_hand.append(torch.logsumexp(allowed, 0) - cosine[row, 2 * row])
    torch.testing.assert_close(
        contrastive_loss(queries, passages, 0.1, struck), torch.stack(by_hand).mean()
    )
    own = torch.stack([cosine[row, 2 * row : 2 * row + 2] for row in range(3)])
    own[1, 1] = -torch.inf  # struck, so that its positive stands alone
    expected = F.cross_entropy(own, torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(own_group_loss(queries, passages, 0.1, struck), expected)


def test_a_log_without_searches_cannot_be_learned_from(
    planted: Planted, encoder_folder: Path, tmp_path: Path
) -> None:
    log = planted[0].log
    bought = replace(
        log,
        behaviour=np.full_like(log.behaviour, RECOMMENDATION),
        query=np.zeros_like(log.query),
        session=np.zeros_like(log.session),
    )
    dataset = planted[0].with_log(bought)
    view = TrainingView(dataset, build_tasks(dataset, SETTINGS), SETTINGS)
    with pytest.raises(SystemFailure, match="no search events"):
        make(E5, tmp_path, encoder=str(encoder_folder)).fit(view)
    make(E5ZeroShot, tmp_path, encoder=str(encoder_folder)).fit(view)


# ------------------------------------------------------------------------ what they score and save


@pytest.mark.parametrize("kind", [E5, BGE, E5ZeroShot, BGEZeroShot])
def test_a_loaded_system_scores_alike_to_the_bit(
    kind: Any, planted: Planted, encoder_folder: Path, tmp_path: Path
) -> None:
    dataset, task, view = planted
    config = {**SMALL, "encoder": str(encoder_folder), "training": ONE_STEP}
    system = make(kind, tmp_path / "run", **config)
    system.fit(view)
    saved = tmp_path / "saved"
    saved.mkdir()
    system.save(saved)
    requests = task.requests(dataset, "test")
    scores = system.score(requests)
    for folder in (tmp_path / "run" / "artifacts", None):  # with the vectors there, and without
        loaded = make(kind, tmp_path / "other", folder, **config)
        loaded.load(saved, view.corpus)
        np.testing.assert_array_equal(loaded.score(requests), scores)
        assert loaded.number_of_parameters() == system.number_of_parameters()
    assert (system.number_of_parameters() > 0) == (kind in (E5, BGE))


def test_vectors_are_made_once_for_systems_that_read_alike(
    planted: Planted,
    encoder_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = {**SMALL, "encoder": str(encoder_folder)}
    first = make(E5ZeroShot, tmp_path / "one", tmp_path / "shared", **config)
    first.fit(planted[2])
    assert isinstance(first.item_vectors, np.memmap)
    monkeypatch.setattr(SentenceEncoder, "from_files", None)  # a call would be an error
    second = make(BGEZeroShot, tmp_path / "two", tmp_path / "shared", **config)
    second.fit(planted[2])
    np.testing.assert_array_equal(first.item_vectors, second.item_vectors)


def test_unknown_words_and_empty_queries_get_finite_scores(
    planted: Planted, encoder_folder: Path, tmp_path: Path
) -> None:
    dataset, task, view = planted
    system = make(BGEZeroShot, tmp_path, encoder=str(encoder_folder), stand_in_recipe="original")
    system.fit(view)
    for query in (0, TOPICS + 1, TOPICS + 2):
        log = replace(dataset.log, query=np.full_like(dataset.log.query, query))
        scores = system.score(task.requests(dataset.with_log(log), "test"))
        assert np.isfinite(scores).all()


def test_items_of_equal_text_tie_in_the_catalogue_wherever_they_stand(
    planted: Planted, encoder_folder: Path, tmp_path: Path
) -> None:
    dataset, task, view = planted
    system = make(E5ZeroShot, tmp_path, **{**SMALL, "encoder": str(encoder_folder)})
    system.fit(view)
    random = np.random.default_rng(6)
    vectors = random.normal(size=(dataset.number_of_items + 1, 64)).astype(np.float32)
    vectors[-2:] = vectors[1]
    system.item_vectors = vectors
    system.query_vectors = random.normal(size=(len(system.query_vectors), 64)).astype(np.float32)
    requests = task.requests(dataset, "test").without_candidates()
    for size in (1, 7, len(requests)):
        parts = [system.score_all_items(part) for _, part in requests.batches(size)]
        scores = np.concatenate(parts)
        assert (scores[:, [-2, -1]] == scores[:, [1]]).all()


def test_another_encoder_than_the_fitted_one_is_refused(planted: Planted, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder")
    system = make(E5ZeroShot, tmp_path, encoder=str(folder))
    system.fit(planted[2])
    saved = tmp_path / "saved"
    saved.mkdir()
    system.save(saved)
    make_encoder(folder, seed=1)
    with pytest.raises(SystemFailure, match="fitted with the encoder"):
        make(E5ZeroShot, tmp_path, encoder=str(folder)).load(saved, planted[2].corpus)


# ----------------------------------------------------------------------------- which encoder it is


def test_a_stand_in_says_so_and_is_read_its_own_way_until_trained(
    planted: Planted, encoder_folder: Path, tmp_path: Path
) -> None:
    config = {**SMALL, "encoder": str(encoder_folder)}
    system = make(BGEZeroShot, tmp_path, **config)
    system.fit(planted[2])
    (sentence,) = system.stand_ins()
    assert "stands in for BAAI/bge-base-en-v1.5" in sentence
    assert "mean pooling and without prompts" in sentence
    as_original = make(BGEZeroShot, tmp_path, **config, stand_in_recipe="original")
    as_original.fit(planted[2])
    (sentence,) = as_original.stand_ins()
    assert "cls pooling and with prompts" in sentence
    assert not np.allclose(system.item_vectors, as_original.item_vectors)
    trained = make(BGE, tmp_path, **config)
    trained.files = system.files
    assert trained.recipe.pooling == "cls"
    assert trained.recipe.query_prompt.startswith("Represent this sentence")
    assert "zero-shot" not in trained.stand_ins()[0]


def test_the_published_model_is_no_stand_in(encoder_folder: Path, tmp_path: Path) -> None:
    """By the hub's name; a folder of its shape is read like it, and said to be unchecked."""
    system = make(E5ZeroShot, tmp_path)
    files = find_encoder(str(encoder_folder), "")
    system.files = replace(files, name="intfloat/multilingual-e5-base")
    assert system.stand_ins() == ()
    assert (system.recipe.pooling, system.recipe.query_prompt) == ("mean", "query: ")
    folder = shutil.copytree(encoder_folder, tmp_path / "e5")
    (folder / "config.json").write_text(
        '{"model_type": "xlm-roberta", "num_hidden_layers": 12, "hidden_size": 768}'
    )
    system.files = find_encoder(str(folder), "")
    assert (system.recipe.pooling, system.recipe.query_prompt) == ("mean", "query: ")
    (sentence,) = system.stand_ins()
    assert "was not checked" in sentence


# ------------------------------------------------------------------------------------- text vectors


def test_vectors_do_not_depend_on_the_other_texts(encoder_folder: Path, tmp_path: Path) -> None:
    files = find_encoder(str(encoder_folder), "")
    context = RunContext(0, tmp_path, ArtifactStore(tmp_path))
    texts = ["find1 find2 find3 ask4", "ask1", "", "ask1", "ask2 ask3 " * 20]
    for pooling in ("mean", "cls"):
        encoder = pretrained_text_encoder(files, pooling)
        together = text_vectors(context, encoder, texts, "query: ", 16)
        for row, one in enumerate(texts):
            alone = text_vectors(context, encoder, [one], "query: ", 16)
            np.testing.assert_allclose(together[row], alone[0], atol=1e-6)
        np.testing.assert_array_equal(together[1], together[3])
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
        assert not np.allclose(together, text_vectors(context, encoder, texts, "ask4 ", 16))


@pytest.mark.parametrize("activations", ["kept", "recomputed"])
def test_encoding_in_parts_changes_neither_vectors_nor_gradients(
    activations: Any, encoder_folder: Path
) -> None:
    files = find_encoder(str(encoder_folder), "")
    model = SentenceEncoder.from_files(files, "mean")
    tokens = Tokenizer(files)(["ask1", "find1 find2 find3", "ask2 ask3", "", "ask5"], "", 16)
    ids, mask = tokens.padded(np.arange(5))
    weight = torch.randn(5, DIM, generator=torch.Generator().manual_seed(0))
    found = []
    for vectors in (model(ids, mask), encode_in_parts(model, ids, mask, 2, activations)):
        model.zero_grad()
        (vectors * weight).sum().backward()
        gradients = [p.grad.clone() for p in model.parameters()]
        found.append((vectors.detach(), gradients))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    stored = encode_tokens(model, tokens, np.arange(5))
    np.testing.assert_allclose(stored, found[0][0].numpy(), atol=1e-6)
