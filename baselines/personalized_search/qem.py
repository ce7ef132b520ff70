"""QEM: a query is the projected mean of its words, an item a free vector, the score their product.

Named as a baseline by Ai, Hill, Vishwanathan and Croft, "A Zero Attention Model for Personalized
Product Search", CIKM 2019; in the form of https://github.com/kepingbi/ProdSearch, commit 449335b
(Apache-2.0). It knows no user and no history. Its query encoder, its losses and what differs from
the original are described in ``prodsearch.py``, since TEM has them too.

``form="joint_framework"`` is the model as frameworks for joint search and recommendation build it
(see ``joint_framework.py``): smaller tables, a layer with tanh for items too, a mean over all pairs
as the loss, and no word loss. No class of such a framework's QEM is public; that its score is this
inner product is inferred.
"""

from __future__ import annotations

import torch

from baselines.personalized_search.base import SearchNetwork
from baselines.personalized_search.joint_framework import JointFrameworkNetwork
from baselines.personalized_search.prodsearch import (
    ProdSearch,
    ProdSearchConfig,
    ProdSearchNetwork,
)


class QEMConfig(ProdSearchConfig):
    """The original's settings, but for a vector size of 64 and more epochs of fewer rows."""


class OriginalQEM(ProdSearchNetwork):
    """ProdSearch's query model: the query's vector is the user's."""

    def user_vectors(self, words: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """The vectors (batch, size) of the queries alone."""
        return self.query_vectors(words)


class JointFrameworkQEM(JointFrameworkNetwork):
    """The same on the inputs of a joint search and recommendation framework."""

    def user_vectors(self, words: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """The vectors (batch, size) of the queries alone."""
        return self.query_vectors(words)


class QEM(ProdSearch):
    """The query embedding model: users with the same query get the same ranking."""

    Config = QEMConfig

    def network(self, number_of_items: int, word_rows: int) -> SearchNetwork:
        """One of the two forms."""
        if self.config.form == "original":
            return OriginalQEM(number_of_items, word_rows, self.config)
        return JointFrameworkQEM(number_of_items, word_rows, self.config)
