"""E5 and BGE on tiny random encoders, against the numbers of the originals' code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.dense_retrieval.base import DenseRetrieval, contrastive_loss, own_group_loss
from baselines.dense_retrieval.bge import BGE
from baselines.dense_retrieval.e5 import E5
from benchmark.data.dataset import SEARCH, EventLog
from benchmark.kit.text.encoders import SentenceEncoder
from benchmark.protocol.histories import EventSet
from benchmark.protocol.requests import Requests
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.golden.loading import Golden, golden_stems, load_golden


@pytest.mark.parametrize("name", golden_stems("(e5|bge)([_-].*)?"))
def test_outputs_equal_the_originals(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    kind: type[DenseRetrieval] = E5 if name.startswith("e5") else BGE
    config: Any = kind.Config(
        temperature=golden.hyper_parameters["temp"],
        hard_negatives=golden.hyper_parameters["G"] - 1,
    )
    model = encoder_of(golden, config.pooling)
    found: dict[str, Any] = {}
    vectors = {}
    for side in ("query", "passage"):
        ids, mask = golden.tensor(f"{side}_ids"), golden.tensor(f"{side}_mask").bool()
        hidden = model.hidden(ids, mask)
        expected = torch.from_numpy(golden.outputs[f"{side}_hidden"])
        # What stands at padded positions is not part of the contract.
        found[f"{side}_hidden"] = torch.where(mask[:, :, None], hidden, expected)
        found[f"{side}_pooled"] = model.pooled(hidden, mask)
        vectors[side] = model(ids, mask)
        found[f"{side}_emb"] = vectors[side]
    found["cosine"] = vectors["query"] @ vectors["passage"].T

    system = kind(config, RunContext(0, tmp_path, ArtifactStore(tmp_path)))
    system.model = model
    system.query_vectors = vectors["query"].detach().numpy()
    system.item_vectors = vectors["passage"].detach().numpy()
    batch, group = golden.hyper_parameters["Q"], golden.hyper_parameters["G"]
    lists = np.arange(batch * group).reshape(batch, group)
    found["candidate_scores"] = system.score(search_requests(lists))

    training = {
        **{f"{side}_{part}": golden.tensor(f"{side}_{part}") for side in vectors for part in PARTS},
        "queries": torch.arange(batch),
        "passages": torch.arange(batch * group),
        "struck": torch.zeros(batch, batch * group, dtype=torch.bool),
    }
    loss = system.loss(training)
    loss.backward()
    found["loss"] = loss
    for parameter_name, parameter in model.encoder.named_parameters():
        found[f"grad/{parameter_name}"] = parameter.grad
    found["loss_own_group_only"] = own_group_loss(*vectors.values(), config.temperature)
    torch.testing.assert_close(loss, contrastive_loss(*vectors.values(), config.temperature))
    golden.check(found)


PARTS = ("ids", "mask")


def encoder_of(golden: Golden, pooling: Any) -> SentenceEncoder:
    """The suite's encoder around the transformers class that the case names, with its weights."""
    import transformers

    sizes = golden.hyper_parameters
    class_name, *special = sizes["encoder"].split()
    numbers = dict(zip(special[::2], map(int, special[1::2]), strict=True))
    positions = golden.weights["embeddings.position_embeddings.weight"]
    token_types = golden.weights["embeddings.token_type_embeddings.weight"]
    kind = getattr(transformers, class_name)
    config = kind.config_class(
        vocab_size=sizes["vocab"],
        hidden_size=sizes["d"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["ff"],
        max_position_embeddings=len(positions),
        type_vocab_size=len(token_types),
        pad_token_id=numbers["pad"],
        # The published checkpoints': RoBERTa's and BERT's.
        layer_norm_eps=1e-5 if class_name.startswith("XLM") else 1e-12,
        hidden_dropout_prob=sizes["dropout"],
        attention_probs_dropout_prob=sizes["dropout"],
    )
    encoder = kind(config, add_pooling_layer=False)
    golden.load_weights(encoder)
    return SentenceEncoder(encoder, pooling).eval()


def search_requests(candidates: np.ndarray) -> Requests:
    """Query 0, 1, … each once, by one user, with these lists."""
    number = len(candidates)
    nothing = np.zeros(number, dtype=np.int32)
    log = EventLog.from_columns(
        user=nothing + 1,
        item=nothing + 1,
        query=np.arange(number),
        behaviour=nothing + SEARCH,
        timestamp=np.arange(number),
        session=np.arange(number),
        number_of_users=1,
    )
    events = EventSet(np.arange(number), nothing, nothing, np.full(number, -1))
    texts = [str(query) for query in range(number)]
    return Requests("search", log, events, texts, candidates.astype(np.int32))
