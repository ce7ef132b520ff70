"""Product quantisation: a vector is cut into blocks, and each block gets its nearest centre's code.

Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search", 2011, as nanopq
(https://github.com/matsui528/nanopq) computes it and generative retrieval uses it: k-means of
SciPy from rows drawn at random, 20 rounds, squared Euclidean distance, and neither whitening nor a
rotation. The blocks have no order from coarse to fine.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.value import Identifiers
from benchmark.systems.contract import FloatArray

ROUNDS = 20
"""Of k-means."""

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class ProductQuantiser:
    """The centres of every block: ``centres`` is (blocks, codes, block width) float32."""

    centres: FloatArray

    @classmethod
    def fit(
        cls,
        vectors: FloatArray,
        blocks: int,
        codes: int,
        random: np.random.Generator | np.random.RandomState,
        rounds: int = ROUNDS,
    ) -> ProductQuantiser:
        """Learn ``codes`` centres for each of ``blocks`` equally wide blocks.

        With no more vectors than codes, every vector is a centre of its own.

        Args:
            vectors: (items, dim).

        Raises:
            SystemFailure: the width is no multiple of ``blocks``.
        """
        from scipy.cluster.vq import kmeans2

        if vectors.shape[1] % blocks:
            raise SystemFailure(
                f"vectors of width {vectors.shape[1]} cannot be cut into {blocks} equal blocks."
            )
        parts = blocks_of(vectors, blocks)
        if len(vectors) <= codes:
            return cls(parts.copy())
        with warnings.catch_warnings():
            # A code that no vector is nearest to stays where it is and goes unused.
            warnings.filterwarnings("ignore", message="One of the clusters is empty")
            centres = [
                kmeans2(
                    part,
                    part[random.choice(len(part), codes, replace=False)],
                    iter=rounds,
                    minit="matrix",
                )[0]
                for part in parts
            ]
        return cls(np.stack(centres).astype(np.float32, copy=False))

    def encode(self, vectors: FloatArray) -> NDArray[np.int64]:
        """(items, blocks) codes of the nearest centres, the first of equally near ones."""
        parts = blocks_of(vectors, len(self.centres))
        codes = np.empty((len(vectors), len(parts)), dtype=np.int64)
        for block, (part, centres) in enumerate(zip(parts, self.centres, strict=True)):
            book = centres.astype(np.float64)
            lengths = np.square(book).sum(axis=1)
            for start in range(0, len(part), _ROWS_AT_ONCE):
                rows = slice(start, start + _ROWS_AT_ONCE)
                # The length of the vector itself is the same for all centres.
                distances = lengths - 2 * part[rows].astype(np.float64) @ book.T
                codes[rows, block] = distances.argmin(axis=1)
        return codes

    def decode(self, codes: NDArray[np.integer]) -> FloatArray:
        """(items, dim) the centres that ``codes`` (items, blocks) stand for."""
        chosen = self.centres[np.arange(len(self.centres)), codes]  # (items, blocks, block width)
        return chosen.reshape(len(codes), -1)

    def identifiers(self, vectors: FloatArray) -> Identifiers:
        """The codes of ``vectors`` (items, dim) as identifiers of the items 1, 2, …."""
        blocks, codes, _ = self.centres.shape
        return Identifiers.of_items(self.encode(vectors), (codes,) * blocks)


def blocks_of(vectors: FloatArray, blocks: int) -> FloatArray:
    """``vectors`` (items, dim) cut into equal blocks, (blocks, items, block width)."""
    parts = vectors.reshape(len(vectors), blocks, -1).swapaxes(0, 1)
    return np.ascontiguousarray(parts, dtype=np.float32)
