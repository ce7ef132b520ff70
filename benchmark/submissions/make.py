"""A submission from a recorded run: the manifest, the ranks, and TREC files if they are wanted."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.errors import BenchmarkError, sentence_of_validation
from benchmark.files import atomic_path, sha256_of_file, sha256_of_json, write_text
from benchmark.jobs.outside import file_key, files_in
from benchmark.jobs.record import JUDGED_FILE, RANKS_FILE, Run, finished_at, read_run
from benchmark.protocol.metrics import VIEWS
from benchmark.protocol.settings import PRESETS
from benchmark.report.submissions import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    Manifest,
    find_submissions,
    read_submission,
)


@dataclass(frozen=True)
class Told:
    """What the contributor says; what is empty is taken from the run."""

    licence: str
    name: str = ""
    contributor: str = ""
    hardware: str = ""
    code: str = ""
    commit: str = ""
    day: date | None = None


def make_submission(run_folder: Path, root: Path, told: Told, trec: Path | None = None) -> Path:
    """Write ``root/<name>``, the manifest last: a folder without one is no submission.

    Args:
        run_folder: a finished run with ranks.
        root: the folder of submissions.
        told: what the run does not say.
        trec: the folder of the TREC files that the run was made from, to be packed beside.

    Returns:
        The folder.

    Raises:
        BenchmarkError: the run has no ranks, something required is missing, the TREC files are
            others, or a submission of the name is there already.
    """
    run = read_run(run_folder)
    if run.record.status != "finished" or not (run_folder / RANKS_FILE).is_file():
        raise BenchmarkError(f"{run_folder}: is no finished run that keeps its ranks.")
    content = _manifest_of(run, told)
    folder = root / str(content["name"])
    try:
        Manifest.model_validate(content).protocol_in_force()
    except ValidationError as error:
        raise sentence_of_validation(error, str(folder / MANIFEST_FILE)) from None
    if folder.name in {one.name for one in find_submissions(root)}:
        raise BenchmarkError(f"{folder}: is there already; give another --name, or remove it.")
    files = _trec_files(run, trec) if trec is not None else {}
    with atomic_path(folder / RANKS_FILE) as temporary:
        shutil.copyfile(run_folder / RANKS_FILE, temporary)
    if (run_folder / JUDGED_FILE).is_file():
        with atomic_path(folder / JUDGED_FILE) as temporary:
            shutil.copyfile(run_folder / JUDGED_FILE, temporary)
    for name, path in files.items():
        with atomic_path(folder / f"{name}.trec.gz") as temporary:
            _pack(path, temporary)
    write_text(folder / MANIFEST_FILE, _as_yaml(content))
    read_submission(folder)
    return folder


def _manifest_of(run: Run, told: Told) -> dict[str, Any]:
    record, outside = run.record, run.record.outside
    preset, changes = _protocol_of(run)
    figures = {
        view: {task: metrics for task, metrics in run.metrics_of(view).items() if metrics}
        for view in VIEWS
    }
    tasks = {task for of_view in figures.values() for task in of_view}
    return {
        "format": FORMAT_VERSION,
        "name": told.name or record.system.name.lower(),
        "system": record.system.display_name,
        "family": record.system.family,
        "date": (told.day or finished_at(run).date()).isoformat(),
        "contributor": told.contributor or (outside.contributor if outside else ""),
        "code": told.code or (outside.url if outside else ""),
        "commit": told.commit,
        "hardware": told.hardware or (outside.hardware if outside else ""),
        "licence": told.licence,
        "dataset": record.dataset.name,
        "dataset_fingerprint": record.dataset.fingerprint,
        "protocol": preset,
        "settings": changes,
        "settings_fingerprint": sha256_of_json(record.protocol.settings),
        "lists": {task: record.protocol.candidates[task] for task in sorted(tasks)},
        "seed": record.seed,
        "figures": {view: of_view for view, of_view in figures.items() if of_view},
    }


def _protocol_of(run: Run) -> tuple[str, dict[str, Any]]:
    """The preset that a run's protocol is named by, and what was changed of it."""
    preset = run.record.protocol.name.rpartition(":")[2]
    if preset not in PRESETS:
        raise BenchmarkError(
            f"{run.folder}: its protocol {run.record.protocol.name!r} is no preset of this suite."
        )
    own = PRESETS[preset].model_dump(mode="json")
    settings = run.record.protocol.settings
    return preset, {key: value for key, value in settings.items() if own.get(key) != value}


def _trec_files(run: Run, folder: Path) -> dict[str, Path]:
    """The files of ``folder`` that the run was made from, by task and view.

    Raises:
        BenchmarkError: it was made from others, or ran here.
    """
    if run.record.outside is None:
        raise BenchmarkError(f"{run.folder}: was not made from TREC files.")
    files = {file_key(*key): path for key, path in files_in(folder).items()}
    for name, digest in run.record.outside.files.items():
        if name not in files or sha256_of_file(files[name]) != digest:
            raise BenchmarkError(f"{folder}: the run was made from another {name}.trec.")
    return {name: files[name] for name in run.record.outside.files}


def _pack(path: Path, target: Path) -> None:
    """Equal files give equal bytes: the header has neither time nor name."""
    with path.open("rb") as source, target.open("wb") as opened:
        if path.suffix == ".gz":
            shutil.copyfileobj(source, opened)
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=opened, mtime=0) as packed:
            shutil.copyfileobj(source, packed)


def _as_yaml(content: dict[str, Any]) -> str:
    """A line a key, and a line a view and task for figures; every value as JSON, which YAML is."""
    lines = []
    for key, value in content.items():
        if key != "figures":
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
            continue
        lines.append("figures:")
        for view, tasks in value.items():
            lines.append(f"  {view}:")
            lines += [f"    {task}: {json.dumps(metrics)}" for task, metrics in tasks.items()]
    return "\n".join(lines) + "\n"
