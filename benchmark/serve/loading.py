"""From a run folder to a model in use.

The folder holds the fitted system; the data set that it was fitted on is found again by its
fingerprint.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmark.data.dataset import Dataset
from benchmark.data.prepare import PREPARED_ROOT, stored_with
from benchmark.data.prepare import load as load_dataset
from benchmark.data.recipe import recipe_names
from benchmark.errors import BenchmarkError
from benchmark.files import is_complete
from benchmark.jobs.machine import chosen_device, set_torch_threads, threads_of_a_job
from benchmark.jobs.record import SYSTEM_FOLDER, Run, find_run_folders, read_run
from benchmark.serve.model import Model
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.catalogue import choose
from benchmark.systems.contract import RunContext, System
from benchmark.systems.provenance import code_fingerprint
from benchmark.systems.view import Corpus

if TYPE_CHECKING:
    pass


_RUNS = "runs"


def load(
    folder: str | Path,
    *,
    dataset: str | Path | Dataset | None = None,
    prepared: str | Path = PREPARED_ROOT,
    device: str | None = None,
    threads: int | None = None,
) -> Model:
    """A trained run, ready to recommend and to search, in single precision.

    Args:
        folder: of the run, with ``run.json``.
        dataset: what it was fitted on, or its recipe; found below ``prepared`` by its fingerprint,
            else by its name among the recipes, if absent.
        prepared: where prepared data sets lie.
        device: "cpu" or "cuda"; a CUDA device if there is one and this is absent.
        threads: of torch; all cores if absent.

    Raises:
        BenchmarkError: the folder holds no finished run or not the fitted system, or the data set
            cannot be found or is another one.
    """
    run = read_run(_run_folder(Path(folder)))
    record = run.record
    saved = run.folder / SYSTEM_FOLDER
    if record.status != "finished":
        raise BenchmarkError(f"{run.folder}: is a failed run ({record.error}).")
    if record.outside is not None:
        raise BenchmarkError(f"{run.folder}: was handed in as scores; there is no system to load.")
    if not saved.is_dir():
        raise BenchmarkError(
            f"{run.folder}: holds no fitted system; reference runs hold figures only. Run "
            f"{record.system.name} with benchmark.run, and give that folder."
        )
    data = _dataset_of(run, dataset, Path(prepared))
    choice = choose(record.system.name)
    kind: type[System] = choice.entry.load()
    context = RunContext(
        seed=record.seed,
        folder=saved,
        artifacts=_artifacts_of(run.folder),
        device=chosen_device(device),
        threads=threads_of_a_job(threads, 1),
        code=code_fingerprint(choice.entry.module),
    )
    system = kind(kind.Config.model_validate(record.system.configuration), context)
    system.load(saved, Corpus.of(data))
    if "torch" in sys.modules:
        set_torch_threads(context.threads)
    return Model(run, system, data)


def _run_folder(folder: Path) -> Path:
    """``folder`` if a run lies there; else the sentence names one that lies below.

    Raises:
        BenchmarkError: none lies there.
    """
    if is_complete(folder):
        return folder
    if not folder.is_dir():
        raise BenchmarkError(
            f"{folder}: there is no such folder; a run lies in "
            "results/runs/<data set>/<protocol>/<system>/<identity>."
        )
    below = find_run_folders(folder)
    if not below:
        raise BenchmarkError(f"{folder}: is not a finished run, nor does one lie below it.")
    others = f", the first of {len(below)}" if len(below) > 1 else ""
    raise BenchmarkError(f"{folder}: is not a finished run; give {below[0]}{others}.")


def _artifacts_of(folder: Path) -> ArtifactStore:
    """The store beside the runs of a results folder, or one of this process's own."""
    for parent in folder.resolve().parents:
        if parent.name == _RUNS:
            return ArtifactStore(parent.parent / "artifacts")
    own = TemporaryDirectory(prefix="benchmark-")
    _kept_until_the_end.append(own)
    return ArtifactStore(Path(own.name))


_kept_until_the_end: list[TemporaryDirectory[str]] = []


def _dataset_of(run: Run, given: str | Path | Dataset | None, prepared: Path) -> Dataset:
    part = run.record.dataset
    if isinstance(given, Dataset):
        found = given
    else:
        stored = stored_with(part.fingerprint, prepared) if given is None else None
        if given is None and stored is None and part.name not in recipe_names():
            raise BenchmarkError(
                f"{run.folder}: its data set {part.name!r} is not prepared below {prepared}, nor "
                "is there a recipe of that name; give dataset (--dataset, the recipe's file) or "
                "prepared (--prepared, where it is)."
            )
        found = stored or load_dataset(part.name if given is None else given, root=prepared)
    if found.fingerprint != part.fingerprint:
        raise BenchmarkError(
            f"{run.folder}: was fitted on another data set {part.name!r} than the one that is "
            f"found now (fingerprints {part.fingerprint[:12]} and {found.fingerprint[:12]}); give "
            "its recipe as dataset."
        )
    return found
