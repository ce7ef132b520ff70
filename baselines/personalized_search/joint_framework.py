"""The form that frameworks for joint search and recommendation give to product search.

After the input modules of https://github.com/TengShi-RUC/UniSAR, commit 1a14a24, and the history
encoder of https://github.com/E-qin/MAPS, commit e67d599, whose parameter names are kept: small
tables, a layer with tanh for queries and for items, and torch's post-norm transformer with learned
positions over the query and the user's items. Queries and items are Xavier normal at the start.
"""

from __future__ import annotations

import torch
from torch import nn

from baselines.personalized_search.base import (
    HistoryConfig,
    ProductSearchConfig,
    SearchNetwork,
    as_false,
    as_true,
    initialise,
    mean_of_words,
    real_slots,
)
from benchmark.kit.text.words import PADDING_WORD
from benchmark.kit.training import Batch


class WordMean(nn.Module):
    """The mean word vector of a text: (texts, words) → (texts, word_size)."""

    def __init__(self, word_rows: int, word_size: int) -> None:
        super().__init__()
        self.word_embedding = nn.Embedding(word_rows, word_size, padding_idx=PADDING_WORD)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Average what is no padding."""
        return mean_of_words(self.word_embedding, words)


class QueryFeature(nn.Module):
    """A layer with tanh on the mean word vector: (queries, words) → (queries, size)."""

    def __init__(self, word_rows: int, config: ProductSearchConfig) -> None:
        super().__init__()
        self.query_encoder = WordMean(word_rows, config.word_size)
        self.query_trans = nn.Linear(config.word_size, config.embedding_size)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Encode queries."""
        return torch.tanh(self.query_trans(self.query_encoder(words)))


class ItemFeature(nn.Module):
    """A layer with tanh on the item's vector: items (...) → (..., size), zeros for item 0."""

    def __init__(self, number_of_items: int, config: ProductSearchConfig) -> None:
        super().__init__()
        self.item_id_emb = nn.Embedding(number_of_items + 1, config.item_size, padding_idx=0)
        self.item_trans = nn.Linear(config.item_size, config.embedding_size)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Look up items."""
        return torch.tanh(self.item_trans(self.item_id_emb(items))) * (items > 0)[..., None]


class JointFrameworkNetwork(SearchNetwork):
    """Queries and items as that framework sees them, and its loss."""

    def __init__(self, number_of_items: int, word_rows: int, config: ProductSearchConfig) -> None:
        super().__init__()
        self.query_feat = QueryFeature(word_rows, config)
        self.item_feat = ItemFeature(number_of_items, config)
        initialise(self)

    def query_vectors(self, words: torch.Tensor) -> torch.Tensor:
        """(queries, size) in (-1, 1)."""
        return self.query_feat(words)

    def scores(self, vectors: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Inner products: the logits, of which the framework takes the sigmoid."""
        return torch.einsum("bd,bnd->bn", vectors, self.item_feat(items))

    def scores_of_all(self, vectors: torch.Tensor) -> torch.Tensor:
        """Inner products with the vectors of all items, which are made for the batch."""
        rows = self.item_feat.item_id_emb.num_embeddings
        return vectors @ self.item_feat(torch.arange(rows, device=vectors.device)).T

    def loss(self, batch: Batch) -> torch.Tensor:
        """The search loss alone."""
        return self.search_loss(batch)

    def search_loss(self, batch: Batch, vectors: torch.Tensor | None = None) -> torch.Tensor:
        """Binary cross-entropy, mean over all pairs of the batch.

        Args:
            vectors: (batch, size) the user vectors, if they are there already.
        """
        target, negatives = self.target_and_negative_scores(batch, vectors)
        return torch.cat([as_true(target)[:, None], as_false(negatives)], dim=1).mean()


class LearnedPositions(nn.Module):
    """A vector a position: added to (batch, length, size)."""

    def __init__(self, length: int, size: int) -> None:
        super().__init__()
        self.pe = nn.Embedding(length, size)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Add the vectors of the first positions."""
        return states + self.pe.weight[: states.shape[1]]


class HistoryNetwork(JointFrameworkNetwork):
    """A transformer over the query and the items of the history; its query state ranks items."""

    def __init__(self, number_of_items: int, word_rows: int, config: HistoryConfig) -> None:
        super().__init__(number_of_items, word_rows, config)
        size = config.embedding_size
        self.item_pos_embedding = LearnedPositions(config.history_length + 1, size)
        layer = nn.TransformerEncoderLayer(
            size, config.heads, config.feed_forward_size, config.dropout, batch_first=True
        )
        # Without nested tensors, which would cut the padding off the states.
        self.his_transformer_layer = nn.TransformerEncoder(
            layer, config.layers, enable_nested_tensor=False
        )
        initialise(self.item_pos_embedding)
        initialise(self.his_transformer_layer)

    def user_vectors(self, words: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """The encoder's state of the query, (batch, size)."""
        return self.states(words, history)[:, 0]

    def states(self, words: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """The encoder's states (batch, 1 + length, size), first that of the query.

        Args:
            words: (batch, words).
            history: (batch, length) items, oldest first, padded on the right.
        """
        sequence = torch.cat([self.query_vectors(words)[:, None], self.item_feat(history)], dim=1)
        return self._encoded(sequence, real_slots(history))

    def item_states(self, history: torch.Tensor) -> torch.Tensor:
        """The states (batch, length, size) of the items when there is no query in front."""
        is_real = history > 0
        # Attention needs something to look at, so an empty history keeps a slot of padding.
        is_empty = ~is_real.any(dim=1, keepdim=True)
        first = torch.arange(history.shape[1], device=history.device) == 0
        return self._encoded(self.item_feat(history), is_real | (is_empty & first))

    def _encoded(self, sequence: torch.Tensor, is_real: torch.Tensor) -> torch.Tensor:
        return self.his_transformer_layer(
            self.item_pos_embedding(sequence), src_key_padding_mask=~is_real
        )
