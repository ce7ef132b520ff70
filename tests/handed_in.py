"""A small world, and the TREC files of a system that ran elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.data import load
from benchmark.data.dataset import Dataset
from benchmark.protocol.__main__ import main
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.outside import event_ids
from benchmark.protocol.settings import PRESETS
from benchmark.protocol.task import Task
from benchmark.protocol.trec import item_words, write_run

RECIPE = (
    "name: tiny\nsource: {kind: generated, users: 60, items: 150, seed: 3}\nsearch: {kind: own}\n"
)
BOTH = ("recommendation", "search")
SETTINGS = PRESETS["paper"]


@dataclass(frozen=True)
class World:
    """A data set, its tasks, and where all of it lies."""

    root: Path
    dataset: Dataset
    tasks: dict[str, Task]

    @property
    def recipe(self) -> str:
        return str(self.root / "tiny.yaml")

    def evaluate(self, run: Path, results: Path, *more: str) -> int:
        """The command on a file or folder."""
        place = ["--prepared", str(self.root / "prepared"), "--results", str(results)]
        return main(["evaluate", self.recipe, *place, "--run", str(run), *more])

    def write(self, folder: Path, tasks: dict[str, Task] | None = None, depth: int = 30) -> Path:
        """Runs of both views: popular items first, with noise; the best ``depth`` of all items."""
        folder.mkdir(parents=True, exist_ok=True)
        words = item_words(self.dataset.items.external_id)
        counts = np.bincount(self.dataset.log.item, minlength=len(words))
        for name, task in (tasks or self.tasks).items():
            random = np.random.default_rng(len(name))
            noise = random.normal(scale=2.0, size=(len(task.test), len(words)))
            scores = (counts + noise).astype(np.float32)
            scores[:, 0] = -np.inf
            lists, events = task.test_candidates.items, event_ids(task)
            of_lists = np.take_along_axis(scores, lists, axis=1)
            write_run(folder / f"{name}.trec", events, lists, of_lists, words, "mine")
            best = np.argsort(-scores, axis=1)[:, :depth].astype(np.int32)
            of_best = np.take_along_axis(scores, best, axis=1)
            write_run(folder / f"{name}-all-items.trec", events, best, of_best, words, "mine")
        return folder


def make_world(root: Path) -> World:
    """Prepared data below ``root``."""
    (root / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    dataset = load(root / "tiny.yaml", root=root / "prepared")
    return World(root, dataset, load_tasks(dataset, SETTINGS, root / "prepared"))
