"""The folder of a pretrained model, in Hugging Face's layout, read safely.

It holds config.json, a tokenizer, and weights in one file or in shards, as safetensors or in
torch's own format. The latter is read with ``weights_only``, so no code of a stranger runs, and a
copy as safetensors is kept in ``gensar-benchmark`` below ``$XDG_CACHE_HOME`` (or ``~/.cache``);
everything else reads that copy.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.errors import BenchmarkError, shortened
from benchmark.files import (
    MANIFEST,
    build_folder,
    is_complete,
    read_json,
    sha256_of_file,
    sha256_of_json,
    write_json,
)

_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_TORCH = ("pytorch_model.bin", "pytorch_model.bin.index.json")
WEIGHT_FORMS = (_SAFETENSORS, _TORCH)
"""The names of weights in one file, and of an index of shards; what is preferred comes first."""
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
BESIDE_WEIGHTS = ("*.json", "*.txt", "*.model")
"""Configuration, tokenizer and the like."""
_MODULES = "*/*.json"
"""The same of a sentence encoder's modules, such as how it pools."""


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


# ------------------------------------------------------------------------------ weights of a folder


def files_in(folder: Path, name: str, is_packaged: bool = False) -> PretrainedFiles:
    """The pretrained model that stands in ``folder``, or its copy with safetensors.

    Raises:
        BenchmarkError: it has no config.json, no tokenizer, or no weights that can be read.
    """
    if not os.access(folder, os.R_OK | os.X_OK):
        raise BenchmarkError(f"{folder}: cannot be listed (permission denied).")
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
    for single, index in WEIGHT_FORMS:
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
    parts = sorted({*weights, *_beside_weights(folder)})
    return sha256_of_json({str(path.relative_to(folder)): sha256_of_path(path) for path in parts})


def _beside_weights(folder: Path) -> list[Path]:
    """What says how the weights are used, weights and their indices apart."""
    return [
        path
        for path in sorted(_matches(folder, (*BESIDE_WEIGHTS, _MODULES)))
        if path.name not in (*_SAFETENSORS, *_TORCH, MANIFEST)
        and path.relative_to(folder).parts[0] not in ("onnx", "openvino")
    ]


def sha256_of_path(path: Path) -> str:
    """The SHA-256 of a file, read once for each of its versions.

    Raises:
        BenchmarkError: it is missing.
    """
    if not path.is_file():
        raise BenchmarkError(f"{path}: the file is missing.")
    stat = path.stat()
    return _sha256_of_version(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256_of_version(path: Path, size: int, time: int) -> str:
    return sha256_of_file(path)


def loaded_tokenizer(files: PretrainedFiles) -> Any:
    """The tokenizer of a folder, without any code of the folder's."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        files.folder, local_files_only=True, trust_remote_code=False
    )


def loaded_model(kind: Any, files: PretrainedFiles, **options: Any) -> Any:
    """The model of a folder in float32, by safetensors and without any code of the folder's.

    Args:
        kind: one of transformers' ``AutoModel`` classes.
        options: further ones of its ``from_pretrained``.

    Raises:
        BenchmarkError: the files lack weights, which transformers would draw at random.
    """
    import torch

    model, info = kind.from_pretrained(
        files.folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        **options,
    )
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
    try:
        return Path(root).expanduser() / "gensar-benchmark" / "safetensors"
    except RuntimeError:
        raise BenchmarkError(
            "XDG_CACHE_HOME: is not set, and this user has no home folder, so there is no place "
            "for copies of weights."
        ) from None


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
    """Whether a copy is as it was written; each version of a file is read once."""
    if not is_complete(folder):
        return False
    files = read_json(folder / MANIFEST)["files"]
    try:
        return all(sha256_of_path(folder / name) == one["sha256"] for name, one in files.items())
    except BenchmarkError:
        return False


def _convert(folder: Path, weights: list[Path], place: Path) -> None:
    """Write a model's weights, and all that stands beside them, into the empty ``place``."""
    for path in _beside_weights(folder):
        copy = place / path.relative_to(folder)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, copy)
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
        if type(error).__name__ == "UnpicklingError":  # torch advises to run what the file brings
            said = "it is cut, or holds other things than weights, which are not run"
        raise BenchmarkError(f"{source}: is not readable as weights ({said}).") from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise BenchmarkError(f"{source}: holds something else than named weights.")
    if any(value.layout != torch.strided or value.is_meta for value in state.values()):
        raise BenchmarkError(f"{source}: holds weights that are sparse, or names without values.")
    # Clones, since safetensors refuses tied weights, which share their memory.
    own = {name: value.detach().contiguous().clone() for name, value in state.items()}
    save_file(own, target, metadata={"format": "pt"})
    return list(own)
