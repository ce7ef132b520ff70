"""Weights to files and back, ids as tensors, and the base class of systems that are one module."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from benchmark.errors import BenchmarkError
from benchmark.files import atomic_path, write_json
from benchmark.protocol.all_items import scores_in_blocks
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, RunContext, System
from benchmark.systems.view import Corpus

_WEIGHTS = "model.safetensors"


def as_long(values: NDArray[np.integer]) -> torch.Tensor:
    """The values as an int64 tensor of its own, which can index; same shape."""
    return torch.from_numpy(values.astype(np.int64))


def copy_of_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of ``model`` as they are now, each tensor a copy of its own."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def save_state(state: dict[str, torch.Tensor], path: Path) -> None:
    """Write weights as safetensors, whole or not at all."""
    with atomic_path(path) as temporary:
        # Clones, since safetensors refuses tied weights, which share their memory.
        own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
        save_file(own, temporary)


def load_state(path: Path, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """Read weights that :func:`save_state` wrote."""
    return load_file(path, device=str(device))


def untied_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """All weights by their names, each tied one under its first name only."""
    seen: set[int] = set()
    own = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            own[name] = tensor.detach()
    return own


def load_untied_state(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Take weights as :func:`untied_state` gives them.

    Raises:
        BenchmarkError: their names or shapes are not those of this model.
    """
    own = untied_state(model)
    if state.keys() != own.keys() or any(state[name].shape != own[name].shape for name in own):
        raise BenchmarkError("the weights of the backbone do not belong to its sizes.")
    model.load_state_dict(state, strict=False)


class TorchSystem(System):
    """A system that is one torch module: subclasses build it, fit it and score one batch.

    ``model`` exists after ``fit`` or ``load``.
    """

    model: nn.Module
    scoring_batch_size: int = 512

    def __init__(self, config: Any, context: RunContext) -> None:
        super().__init__(config, context)
        self.device = torch.device(context.device)

    def on_device(self, values: NDArray[np.integer]) -> torch.Tensor:
        """The values as an int64 tensor on the system's device, same shape."""
        return as_long(values).to(self.device)

    @abstractmethod
    def build(self, corpus: Corpus) -> nn.Module:
        """A freshly initialised module; called with torch's generator seeded."""

    @abstractmethod
    def score_batch(self, requests: Requests) -> torch.Tensor:
        """Scores (requests, candidates) of one batch; called in evaluation and inference mode."""

    def score_all_batch(self, requests: Requests) -> torch.Tensor:
        """Scores (requests, items + 1) of the whole catalogue, called like :meth:`score_batch`.

        Here by :meth:`score_batch`, some items at a time, each time with all that the requests
        need. A system overrides it with one product where items have vectors, and with a loop over
        items where what it makes of a request can be kept.
        """
        scores = scores_in_blocks(
            lambda asked: self.score_batch(asked).float().cpu().numpy(), requests
        )
        return torch.from_numpy(scores)

    def seeded_build(self, corpus: Corpus) -> nn.Module:
        """:meth:`build` under the run's seed, moved to the run's device."""
        torch.manual_seed(int(self.context.random("initialisation").integers(2**62)))
        return self.build(corpus).to(self.device)

    def score(self, requests: Requests) -> FloatArray:
        """Score all candidates in batches of ``scoring_batch_size`` requests."""
        self.model.eval()
        scores = np.empty(requests.candidates.shape, dtype=np.float32)
        with torch.inference_mode():
            for rows, batch in requests.batches(self.scoring_batch_size):
                scores[rows] = self.score_batch(batch).float().cpu().numpy()
        return scores

    def score_all_items(self, requests: Requests) -> FloatArray:
        """Score the catalogue in batches of ``scoring_batch_size`` requests."""
        self.model.eval()
        scores = np.empty((len(requests), requests.number_of_items + 1), dtype=np.float32)
        with torch.inference_mode():
            for rows, batch in requests.batches(self.scoring_batch_size):
                scores[rows] = self.score_all_batch(batch).float().cpu().numpy()
        return scores

    def save(self, folder: Path) -> None:
        """Write the weights."""
        save_state(self.model.state_dict(), folder / _WEIGHTS)
        write_json(folder / "system.json", {"class": type(self).__name__})

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Build the module and read its weights."""
        self.model = self.build(corpus).to(self.device)
        self.model.load_state_dict(load_state(folder / _WEIGHTS, self.device))

    def number_of_parameters(self) -> int:
        """Parameters that are trained."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)
