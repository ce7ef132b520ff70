"""The golden files: numbers that the originals computed, one archive a case.

The folders are ``$GOLDEN_DIR``, by default ``../shared/golden`` beside the repository, and for the
systems that the paper does not have ``$GOLDEN_NEXT_DIR``, by default ``../shared/golden-next``. An
archive has ``weights/*``, ``inputs/*`` and ``outputs/*``, and ``meta``: a JSON text with the
hyper-parameters and the tolerance.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmark.data.dataset import RECOMMENDATION, EventLog
from benchmark.protocol.histories import EventSet
from benchmark.protocol.requests import Requests

REPOSITORY = Path(__file__).resolve().parents[2]


def golden_folder() -> Path:
    """Where the golden files are; the folder may be absent."""
    default = REPOSITORY.parent / "shared" / "golden"
    return Path(os.environ.get("GOLDEN_DIR", default))


def golden_next_folder() -> Path:
    """Where those of later systems are; the folder may be absent."""
    default = REPOSITORY.parent / "shared" / "golden-next"
    return Path(os.environ.get("GOLDEN_NEXT_DIR", default))


def golden_files(suffix: str = ".npz") -> list[Path]:
    """The golden files of both folders."""
    folders = (golden_folder(), golden_next_folder())
    return sorted(path for folder in folders for path in folder.glob(f"*{suffix}"))


def golden_stems(pattern: str = ".*", suffix: str = ".npz") -> list[str]:
    """The names, without suffix, of the files whose name matches ``pattern`` as a whole."""
    return [path.stem for path in golden_files(suffix) if re.fullmatch(pattern, path.stem)]


@dataclass(frozen=True)
class Golden:
    """One archive; the keys of the arrays are the paths below their part.

    ``others`` are the arrays of no part, by their whole paths.
    """

    name: str
    meta: dict[str, Any]
    weights: dict[str, NDArray[Any]]
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]
    others: dict[str, NDArray[Any]]

    @property
    def hyper_parameters(self) -> dict[str, Any]:
        """The sizes that the case was made with."""
        return self.meta["hyper_parameters"]

    def tensor(self, name: str) -> torch.Tensor:
        """An input as a tensor."""
        return torch.from_numpy(self.inputs[name].copy())

    def part(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays of no part below the path ``name``, by what follows it."""
        prefix = f"{name}/"
        return {
            key.removeprefix(prefix): array
            for key, array in self.others.items()
            if key.startswith(prefix)
        }

    def weights_below(self, prefix: str) -> dict[str, torch.Tensor]:
        """The weights whose names begin with ``prefix``, by what follows it."""
        return {
            name.removeprefix(prefix): torch.from_numpy(array.copy())
            for name, array in self.weights.items()
            if name.startswith(prefix)
        }

    def load_weights(self, module: nn.Module) -> None:
        """Give ``module`` exactly the weights of the case."""
        module.load_state_dict(
            {name: torch.from_numpy(array.copy()) for name, array in self.weights.items()}
        )

    def below(self, path: str) -> dict[str, NDArray[Any]]:
        """The outputs below a path, by what follows it."""
        prefix = f"{path}/"
        return {
            key.removeprefix(prefix): array
            for key, array in self.outputs.items()
            if key.startswith(prefix)
        }

    def check(self, found: dict[str, Any], path: str = "") -> None:
        """Compare values with the outputs of the same names; every output must be among them.

        Args:
            path: the outputs below it alone; all if empty.
        """
        wanted = [key for key in self.outputs if not path or key.startswith(f"{path}/")]
        missing = sorted(set(wanted) - set(found))
        assert not missing, f"{self.name}: nothing was computed for {missing}"
        exceptions = self.meta.get("tolerance_exceptions", {})
        for name in wanted:
            expected, value = self.outputs[name], found[name]
            array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            # A gradient sums many products, in an order that the processor's library chooses.
            wider = 10 if "grad" in name else 1
            bounds = exceptions.get(f"outputs/{name}", self.meta["tolerance"])
            tolerance = {key: wider * bounds[key] for key in ("rtol", "atol")}
            np.testing.assert_allclose(array, expected, **tolerance, err_msg=f"{self.name}: {name}")


def close(golden: Golden, found: Any, name: str) -> None:
    """Compare a value with the output ``name``, within the case's usual tolerance."""
    array = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    within = golden.meta["tolerance"]
    np.testing.assert_allclose(
        array,
        golden.outputs[name],
        atol=within["default_atol"],
        rtol=within["default_rtol"],
        err_msg=f"{golden.name}: {name}",
    )


def check_gradients(
    golden: Golden,
    model: nn.Module,
    loss: torch.Tensor,
    prefix: str,
    our_name: Callable[[str], str],
    close: Callable[[Golden, Any, str], None] = close,
) -> None:
    """Compare the gradients of ``loss`` with the outputs below ``prefix``, one at least.

    Args:
        our_name: what the model calls a parameter that the original calls so.
        close: compares a gradient with the output of a name.
    """
    parameters = dict(model.named_parameters())
    names = [name for name in golden.outputs if name.startswith(prefix)]
    assert names
    wanted = [parameters[our_name(name.removeprefix(prefix))] for name in names]
    gradients = torch.autograd.grad(loss, wanted, retain_graph=True)
    for name, gradient in zip(names, gradients, strict=True):
        close(golden, gradient, name)


def load_golden(name: str) -> Golden:
    """Read ``<name>.npz``."""
    found = next(path for path in golden_files() if path.stem == name)
    with np.load(found, allow_pickle=False) as arrays:
        parts: dict[str, dict[str, NDArray[Any]]] = {
            name: {} for name in ("weights", "inputs", "outputs", "others")
        }
        for path in arrays.files:
            part, _, key = path.partition("/")
            if part in parts:
                parts[part][key] = arrays[path]
            elif path != "meta":
                parts["others"][path] = arrays[path]
        return Golden(name, json.loads(str(arrays["meta"])), **parts)


def requests_for(
    histories: NDArray[Any], candidates: NDArray[Any], users: NDArray[Any] | None = None
) -> Requests:
    """Recommendation requests by users who have these histories, as a log would give them.

    Args:
        histories: (requests, length) items, 0 where padded, on either side.
        candidates: (requests, candidates).
        users: (requests,) distinct and rising; 1 … requests if absent.
    """
    number = len(histories)
    asking = np.arange(1, number + 1) if users is None else users
    row, column = np.nonzero(histories)
    lengths = np.count_nonzero(histories, axis=1)
    # The event that is asked for comes last; its item is of no account.
    items = np.concatenate([histories[row, column], np.ones(number, dtype=np.int64)])
    user = np.concatenate([asking[row], asking])
    order = np.argsort(user, kind="stable")
    nothing = np.zeros(len(user), dtype=np.int64)
    log = EventLog.from_columns(
        user=user[order],
        item=items[order],
        query=nothing,
        behaviour=nothing + RECOMMENDATION,
        timestamp=np.arange(len(user)),
        session=nothing,
        number_of_users=int(asking.max()),
    )
    events = EventSet(
        position=log.offsets[asking + 1] - 1,
        seen_recommendation=lengths.astype(np.int32),
        seen_search=np.zeros(number, dtype=np.int32),
        hidden=np.full(number, -1),
    )
    return Requests("recommendation", log, events, [""], candidates.astype(np.int32))
