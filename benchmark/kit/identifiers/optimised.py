"""Product quantisation behind a rotation that is learned with it.

Ge, He, Ke and Sun, "Optimized Product Quantization", TPAMI 2014, the non-parametric form, as faiss
trains it: k-means of every block and the orthonormal rotation that brings the vectors nearest to
their centres, in turns. What differs from faiss: the rotation is learned with as many codes as are
wanted, not always with 256; centres stand for the rotated vectors themselves, not for what a single
coarse centre leaves of them; and codes are numbered as k-means has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.product import ProductQuantiser, blocks_of
from benchmark.kit.identifiers.value import Identifiers
from benchmark.systems.contract import FloatArray

TURNS = 50
FIRST_ROUNDS, ROUNDS, LAST_ROUNDS = 40, 4, 25
"""Of k-means: before the first rotation, between two, and after the last."""

MOST_VECTORS = 65_536
"""That are learned from; of more, a random choice."""


def whitened(vectors: FloatArray, width: int) -> FloatArray:
    """The first ``width`` principal components of ``vectors`` (items, dim), each of deviation 1.

    Raises:
        SystemFailure: there are not more items than components, or fewer dimensions.
    """
    from sklearn.decomposition import PCA

    if width >= len(vectors) or width > vectors.shape[1]:
        raise SystemFailure(
            f"{len(vectors):,} vectors of width {vectors.shape[1]} have no {width} components."
        )
    components = PCA(n_components=width, whiten=True, svd_solver="full").fit_transform(vectors)
    return np.asarray(components, dtype=np.float32)


@dataclass(frozen=True)
class OptimisedProductQuantiser:
    """``rotation`` (dim, dim) float32, applied as ``vectors @ rotation.T``, and what follows it."""

    rotation: FloatArray
    quantiser: ProductQuantiser

    @classmethod
    def fit(
        cls, vectors: FloatArray, blocks: int, codes: int, random: np.random.Generator
    ) -> OptimisedProductQuantiser:
        """Learn ``codes`` centres for each of ``blocks`` equally wide blocks, and the rotation.

        Args:
            vectors: (items, dim), at least as many as codes.

        Raises:
            SystemFailure: the width is no multiple of ``blocks``, or there are too few vectors.
        """
        dim = vectors.shape[1]
        if dim % blocks:
            raise SystemFailure(f"vectors of width {dim} cannot be cut into {blocks} equal blocks.")
        if len(vectors) < codes:
            raise SystemFailure(f"{len(vectors):,} vectors cannot make {codes} codes.")
        if len(vectors) > MOST_VECTORS:
            vectors = vectors[np.sort(random.choice(len(vectors), MOST_VECTORS, replace=False))]
        rotation = np.linalg.qr(random.standard_normal((dim, dim)))[0].astype(np.float32)
        parts = blocks_of(vectors @ rotation.T, blocks)
        chosen = random.choice(len(vectors), codes, replace=False)
        centres = _lloyd(parts, parts[:, chosen], FIRST_ROUNDS)
        for _ in range(TURNS):
            quantiser = ProductQuantiser(centres)
            meant = quantiser.decode(quantiser.encode(vectors @ rotation.T))
            # The orthonormal matrix nearest to the map from vectors to their centres.
            left, _, right = np.linalg.svd(vectors.T @ meant)
            rotation = np.ascontiguousarray((left @ right).T)
            parts = blocks_of(vectors @ rotation.T, blocks)
            centres = _lloyd(parts, centres, ROUNDS)
        return cls(rotation, ProductQuantiser(_lloyd(parts, centres, LAST_ROUNDS)))

    def encode(self, vectors: FloatArray) -> NDArray[np.int64]:
        """(items, blocks) codes of the nearest centres."""
        return self.quantiser.encode(vectors @ self.rotation.T)

    def error(self, vectors: FloatArray) -> float:
        """The squared distance of ``vectors`` (items, dim) from their centres, in the mean."""
        rotated = vectors @ self.rotation.T
        meant = self.quantiser.decode(self.quantiser.encode(vectors @ self.rotation.T))
        return float(np.square(rotated - meant).sum(axis=1).mean())


def parallel_codes(
    vectors: FloatArray,
    learned_from: NDArray[np.bool_],
    sizes: tuple[int, int, int],
    random: np.random.Generator,
) -> tuple[Identifiers, float]:
    """Codes of the whitened components of all items, and the mean squared error where learned.

    Args:
        vectors: (items, dim).
        learned_from: (items,) the items that rotation and centres are learned from.
        sizes: the most components, of which the largest multiple of the codes that items and
            vectors allow is taken; codes an item; the most values of a code, no more than there
            are items to learn from.

    Raises:
        SystemFailure: the items are fewer than the codes of one.
    """
    most, blocks, codes = sizes
    width = min(most, vectors.shape[1], len(vectors) - 1) // blocks * blocks
    if not width:
        raise SystemFailure(
            f"{len(vectors)} items, of vectors of width {vectors.shape[1]}, cannot have {blocks} "
            "codes each."
        )
    components = whitened(vectors, width)
    chosen = components[learned_from]
    codes = min(codes, len(chosen))
    quantiser = OptimisedProductQuantiser.fit(chosen, blocks, codes, random)
    identifiers = Identifiers.of_items(quantiser.encode(components), (codes,) * blocks)
    return identifiers, quantiser.error(chosen)


def _lloyd(parts: FloatArray, centres: FloatArray, rounds: int) -> FloatArray:
    """k-means of each block, begun at ``centres``; a code that no vector is nearest to stays.

    Args:
        parts: (blocks, items, block width).
        centres: (blocks, codes, block width).
    """
    blocks, codes, width = centres.shape
    vectors = parts.swapaxes(0, 1).reshape(parts.shape[1], -1)
    # Every block, code and dimension has a place of its own in one flat sum.
    block, dimension = np.arange(blocks)[:, None, None], np.arange(width)
    for _ in range(rounds):
        chosen = ProductQuantiser(centres).encode(vectors).T  # (blocks, items)
        place = (block * codes + chosen[:, :, None]) * width + dimension
        sums = np.bincount(place.ravel(), parts.ravel(), minlength=centres.size)
        code = (np.arange(blocks)[:, None] * codes + chosen).ravel()
        members = np.bincount(code, minlength=blocks * codes).reshape(blocks, codes, 1)
        means = sums.reshape(centres.shape) / np.maximum(members, 1)
        centres = np.where(members > 0, means, centres).astype(np.float32)
    return centres
