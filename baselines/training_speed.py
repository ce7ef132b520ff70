"""What ``python -m benchmark.speed training`` measures: generative systems under preset ``paper``.

Without an accelerator: kernels and host time an instance when a step is cut into parts by the
memory of one H200, beside parts of 64; the share of a training's time outside of model code; and
hours for Amazon Electronics, computed from these and from operations, not timed. With one: two
minutes of training, and decoding beside Hugging Face's.

GenSAR's batches are those of its own tasks on ml-100k with full sentences, random identifiers and a
tokenizer trained there. Histories are full there, so prompts are longer than on Amazon.
"""

from __future__ import annotations

import cProfile
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmark.data.prepare import PREPARED_ROOT, load
from benchmark.kit.language_models.pseudo_queries import PseudoQueries
from benchmark.kit.language_models.seq2seq import Seq2Seq
from benchmark.kit.language_models.tokenizer import TextTokenizer, texts_of
from benchmark.kit.text.pieces import IGNORED
from benchmark.kit.training import Batch, Instances, Part, TrainingSettings, train
from benchmark.kit.training import loop as training
from benchmark.kit.training.micro_batches import (
    ALONE,
    BYTES_A_WEIGHT,
    Limit,
    PartCosts,
    Process,
    loss_weights,
    room_of,
)
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.settings import PRESETS
from benchmark.speed.decoding import SMALL as T5_SMALL
from benchmark.speed.decoding import decoding
from benchmark.speed.measure import Measurement
from benchmark.speed.passes import (
    H200_BYTES,
    NARROW,
    SMALL,
    TOKENS,
    Passes,
    costs_of,
    measured_passes,
    operations,
    prompts_of,
)
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.precisions import products_in
from benchmark.systems.view import TrainingView
from gensar.prompts import WORDINGS, PieceTexts, Prompts, tokens_of_identifiers
from gensar.tasks import TaskInstances, TaskMix

BATCH, GROUP, BEFORE = 8192, 64, 64
"""Instances of a step, of a group of its loss, and of a part as it was."""

WEIGHTS = 61_000_000
"""Of T5-small with GenSAR's codes."""

EVENTS, ITEMS = 930_387, 62_882
"""Training events of recommendation, and items, of Amazon Electronics (GenSAR's appendix)."""

VALIDATED = 20_000
"""Events of a validation, both tasks together, that the released protocol ranks."""

_PROMPTS_OF_SKIN_CARE = ([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1], [9, 12, 28, 56, 107, 117, 130])
"""Quantiles of the tokens of GenSAR's prompts, with a tokenizer of 8,000 text tokens."""

PEAKS = {"bf16": 989e12, "tf32": 494e12, "fp32": 67e12}
"""Operations a second of one H200 by its data sheet, dense."""

SHARES_OF_PEAK = (0.1, 0.2, 0.4)
"""What a training may reach of the peak. They are assumptions: nothing was timed."""


@dataclass(frozen=True)
class Workload:
    """A system's training under ``paper`` on Electronics. Lengths are means, in tokens.

    Batches are cut by memory into parts where ``is_cut``; ``tokens`` are those of its vocabulary.
    """

    system: str
    instances: int
    epochs: int
    batch: int
    inputs: int
    targets: int
    is_cut: bool = False
    validations: int = 0
    events_validated: int = VALIDATED // 2
    tokens: int = TOKENS

    @property
    def weights(self) -> int:
        """T5-small's with this vocabulary; each token has a vector of 512."""
        return WEIGHTS - 512 * (TOKENS - self.tokens)


WORKLOADS = (
    Workload("gensar", EVENTS + 106_000, 200, 8192, 64, 6, True, 200, VALIDATED),
    Workload("lc-rec", EVENTS + 2 * ITEMS + 100_000, 200, 8192, 64, 12, True, 200),
    Workload("tiger", EVENTS, 200, 256, 21, 4, validations=200, tokens=3_000),
    Workload("p5-cid", EVENTS, 20, 128, 64, 8, validations=20),
    # Ten pseudo-queries an item, and each pair of the search log once: made queries give an item
    # 1.0 pairs on Amazon's Skin Care.
    Workload("dsi-qg", 11 * ITEMS, 30, 256, 12, 8, validations=30),
)


def training_topic() -> Iterator[Measurement | str]:
    """All that can be measured on this machine."""
    view, prompts, queries = _material()
    instances = _instances(view, prompts, queries)
    passes, costs = measured_passes(), costs_of()
    room = room_of(H200_BYTES, nn.Linear(WEIGHTS, 1, bias=False, device="meta"))
    limit = Limit(room=room, costs=costs)
    yield from _parts(instances, passes, limit)
    yield from _weights_of_texts()
    yield from _outside_model_code(instances)
    yield from _hours(passes, costs, room)
    if torch.cuda.is_available():
        yield from _on_accelerator(
            instances, lambda work, share: hours_of(work, passes, costs, room, share)
        )
    else:
        yield "training | no accelerator here: instances a second and share of peak not timed"


# ---------------------------------------------------------------------------------------- material


def _material() -> tuple[TrainingView, Prompts, PseudoQueries]:
    dataset = load("ml-100k")
    tasks = load_tasks(dataset, PRESETS["paper"], PREPARED_ROOT)
    view = TrainingView(dataset, tasks, PRESETS["paper"])
    corpus = view.corpus
    random = np.random.default_rng(0)
    items = range(1, corpus.number_of_items + 1)
    codes = random.integers(256, size=(corpus.number_of_items + 1, 6)).tolist()
    shared = [f"<shared_a_{row[0]}><shared_b_{row[1]}>" for row in codes]
    kinds = {"semantic": 2, "collaborate": 4}
    identifiers = {
        kind: [
            "",
            *(
                f"{shared[item]}<{kind}_a_{codes[item][at]}><{kind}_b_{codes[item][at + 1]}>"
                for item in items
            ),
        ]
        for kind, at in kinds.items()
    }
    tokenizer = TextTokenizer.trained_on(
        [*texts_of(view), *WORDINGS["instruction"].words()], SMALL.text_tokens
    )
    tokenizer.add(tokens_of_identifiers(identifiers["semantic"], identifiers["collaborate"]))
    asked = corpus.queries.text[1:]
    queries = PseudoQueries.of_lists([[], *[[asked[item % len(asked)]] for item in items]])
    texts = PieceTexts(
        identifiers["collaborate"],
        identifiers["semantic"],
        corpus.queries.text,
        corpus.items.text,
        queries.texts,
    )
    return view, Prompts(tokenizer, texts, "instruction"), queries


def _instances(view: TrainingView, prompts: Prompts, queries: PseudoQueries) -> TaskInstances:
    """Tasks in the proportion that they have on Electronics."""
    events = len(view.examples("recommendation"))
    hundred_thousand, thousand = round(0.107 * events), round(0.00107 * events)
    mix = TaskMix(
        next_search_item=hundred_thousand,
        next_query=thousand,
        pseudo_query=thousand,
        text_to_identifier=thousand,
        identifier_to_text=thousand,
    )
    return TaskInstances(view, prompts, mix, queries, loss_group_size=GROUP)


# --------------------------------------------------------------------------- kernels and host time


def _parts(instances: TaskInstances, passes: Passes, limit: Limit) -> Iterator[Measurement | str]:
    random = np.random.default_rng(0)
    rows = max(instances.batches(BATCH, random), key=len)  # the epoch's last one is short
    ways = {f"parts of {BEFORE}": Limit(instances=BEFORE), "parts by an H200's memory": limit}
    what = f"kernels and host time a step of {len(rows):,}, T5-small"
    first: tuple[float, float] | None = None
    for way, chosen in ways.items():
        started = time.process_time()
        parts = instances.parts(rows, random, chosen)
        built = time.process_time() - started
        number = len(parts)
        kernels = (number * passes.kernels + passes.update_kernels) / len(rows)
        seconds = number * passes.host_seconds + passes.update_host_seconds
        first = first or (kernels, seconds)
        note = (
            f"{number} parts of at most {max(len(batch['labels']) for batch, _ in parts):,} | "
            f"{kernels:.2f} kernels, {1e3 * seconds / len(rows):.4f} host ms an instance | "
            f"{first[0] / kernels:.1f} and {first[1] / seconds:.1f} times less | built in "
            f"{1e3 * built / len(rows):.4f} ms an instance, by a thread"
        )
        yield Measurement(what, way, seconds, len(rows), note)
    yield (
        f"one pass of T5-small | {passes.kernels:,} kernels | {1e3 * passes.host_seconds:.1f} host "
        f"ms | an update: {passes.update_kernels:,} kernels, "
        f"{1e3 * passes.update_host_seconds:.1f} host ms"
    )


def _weights_of_texts(batches: int = 100) -> Iterator[str]:
    """What written texts weigh in the loss of Electronics' mix, by how its means are taken.

    A simulation: prompts of events have the lengths of Skin Care, written texts 120 tokens.
    """
    random = np.random.default_rng(0)
    found: dict[str, list[float]] = {}
    for _ in range(batches):
        is_text = random.random(BATCH) < 2_000 / (EVENTS + 106_000)
        tokens = np.where(is_text, 120, 6)
        quantiles = np.interp(random.random(BATCH), *_PROMPTS_OF_SKIN_CARE)
        prompts = np.where(is_text, 13, quantiles.astype(np.int64))
        in_order = np.argsort(prompts + tokens, kind="stable")
        ways = {"shuffled, as released": random.permutation(BATCH), "cut by length": in_order}
        for way, order in ways.items():
            group = np.empty(BATCH, dtype=np.int64)
            group[order] = np.arange(BATCH) // GROUP
            weights = (np.bincount(group) / BATCH / np.bincount(group, weights=tokens))[group]
            share = float((weights * tokens)[is_text].sum())
            found.setdefault(f"means over parts of {GROUP}, {way}", []).append(share)
        trained = loss_weights(tokens, GROUP, random)
        share = float((trained * tokens)[is_text].sum())
        found.setdefault("as trained now, whatever the parts", []).append(share)
    for way, shares in found.items():
        yield f"weight of identifier-to-text, Electronics simulated | {way} | {np.mean(shares):.1%}"


class _First(Instances):
    """The first batches of as many epochs as they fill, as one epoch."""

    has_fixed_shapes = True

    def __init__(self, instances: Instances, number: int) -> None:
        self.instances, self.number = instances, number

    def __len__(self) -> int:
        return len(self.instances)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
        found: list[NDArray[np.int64]] = []
        while len(found) < self.number:
            found += self.instances.batches(batch_size, random)
        return found[: self.number]

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        return self.instances.batch(rows, random)

    def parts(
        self,
        rows: NDArray[np.int64],
        random: np.random.Generator,
        limit: Limit,
        process: Process = ALONE,
    ) -> list[Part]:
        return self.instances.parts(rows, random, limit, process)

    def probe(self, instances: int, inputs: int, targets: int) -> Batch:
        return self.instances.probe(instances, inputs, targets)


def _outside_model_code(instances: TaskInstances, steps: int = 40) -> Iterator[str]:
    """Of the main thread's time in a training of short vectors, the share beside model code.

    Model code is the passes, the clipping of gradients and the updates. A step has four parts, as
    under an H200's memory, but of four instances, so that model code is little more than its host
    time: with more and longer vectors the share can only be less.
    """
    changes: dict[str, Any] = {"micro_batch_size": 4, "batch_size": 16, "checkpoint_seconds": 1e9}
    tokens = int(instances.tokens.ids.max()) + 1
    for way, ahead in (("batches built in between", 0), ("batches built by a thread", 2)):
        torch.manual_seed(0)
        model = Seq2Seq.of_size(NARROW, tokens)
        changes["batches_ahead"] = ahead
        _train(model, _First(instances, 1), "fp32", **changes)  # imports what it needs
        profiled = cProfile.Profile(time.thread_time)
        work: Any = partial(_train, model, _First(instances, steps), "fp32", **changes)
        profiled.runcall(work)
        profiled.create_stats()
        entries: dict[Any, Any] = vars(profiled)["stats"]
        seconds = {
            name: times[3]
            for (file, _, name), times in entries.items()
            if file == training.__file__
        }
        inside = seconds["_backward"] + seconds["_update"]
        total = seconds["_train_epoch"]
        yield (
            f"share outside of model code, {steps} steps of four parts | {way} | "
            f"{(total - inside) / total:.1%} of the main thread's {total:.2f} s"
        )


def _train(
    model: Seq2Seq, instances: Instances, precision: str, device: str = "cpu", **changes: Any
) -> None:
    """One epoch as GenSAR trains."""
    settings = TrainingSettings(
        epochs=1,
        optimizer="adamw",
        gradient_clip=1.0,
        validate_every=0,
        patience=None,
        **changes,
    )
    with TemporaryDirectory() as folder:
        store = ArtifactStore(Path(folder) / "artifacts")
        context = RunContext(1, Path(folder), store, device=device, precision=precision)
        train(model, instances, model, settings, context)


# ------------------------------------------------------------------------------------------- hours


def _hours(passes: Passes, costs: PartCosts, room: float) -> Iterator[str]:
    """Hours and memory of each workload on one H200, computed."""
    yield (
        "hours of paper on Electronics, one H200 | COMPUTED from host time on this CPU and "
        "operations, not timed on a GPU"
    )
    together = np.zeros(len(SHARES_OF_PEAK))
    for work in WORKLOADS:
        found = [hours_of(work, passes, costs, room, share) for share in SHARES_OF_PEAK]
        kept = float(costs.of(np.array([work.inputs]), np.array([work.targets]))[0])
        memory = min(work.batch * kept, room) + BYTES_A_WEIGHT * work.weights
        asked = operations(work.inputs, work.targets, work.tokens)
        together += [one.all_told for one in found]
        yield (
            f"{work.system} | {work.epochs * work.instances / 1e6:,.0f} M instances of "
            f"{work.inputs} + {work.targets} tokens, {asked / 1e9:.1f} GFLOP each | host "
            f"{found[0].host:.1f} h | {', '.join(f'{one.all_told:.1f}' for one in found)} h at "
            f"10, 20, 40 % of the peak of bf16 | {memory / 2**30:.0f} GiB in fp32"
        )
    for share, hours in zip(SHARES_OF_PEAK, together, strict=True):
        yield f"one after another at {share:.0%} of the peak | {hours:.1f} h"


@dataclass(frozen=True)
class Hours:
    """``host`` alone in training; ``all_told`` with the accelerator and validation."""

    host: float
    all_told: float


def hours_of(work: Workload, passes: Passes, costs: PartCosts, room: float, share: float) -> Hours:
    """What a workload takes on one H200 that reaches ``share`` of its peak in bf16."""
    kept = float(costs.of(np.array([work.inputs]), np.array([work.targets]))[0])
    number = math.ceil(work.batch * kept / room) if work.is_cut else 1
    each = number * passes.host_seconds + passes.update_host_seconds
    trained = work.epochs * work.instances
    host = trained / work.batch * each
    rate = PEAKS["bf16"] * share
    # Scoring decodes at most 30 nodes of 5 levels; without the backward pass, a third.
    scored = operations(work.inputs, 150, work.tokens) / 3
    computed = trained * operations(work.inputs, work.targets, work.tokens) / rate
    validated = work.validations * work.events_validated * scored / rate
    return Hours(host / 3600, (max(computed, host) + validated) / 3600)


# ------------------------------------------------------------------------------------- accelerator


class _Fixed(Instances):
    """Prompts of 5 items and their users, targets of four codes: TIGER's shapes."""

    has_fixed_shapes = True

    def __len__(self) -> int:
        return EVENTS

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        return prompts_of(len(rows), 21, 4)


def _on_accelerator(
    instances: TaskInstances, hours: Callable[[Workload, float], Hours], seconds: float = 30.0
) -> Iterator[Measurement | str]:
    """Two minutes of training all told, the hours that follow from it, then decoding."""
    lengths = _mean_lengths(instances)
    workloads = {work.system: work for work in WORKLOADS}
    asked = {"gensar": operations(*lengths), "tiger": operations(21, 4, workloads["tiger"].tokens)}
    ways: dict[str, tuple[Instances, dict[str, Any]]] = {
        "gensar": (instances, {"batch_size": BATCH, "micro_batch_size": "auto"}),
        "tiger": (_Fixed(), {"batch_size": 256}),
    }
    for system, (given, changes) in ways.items():
        for precision in ("bf16", "tf32"):
            torch.manual_seed(0)
            model = Seq2Seq.of_size(SMALL, workloads[system].tokens)
            with products_in(precision, "cuda"):
                of_steps = partial(_timed, model, given, precision, changes)
                took, done = of_steps(_steps_that_fill(seconds, of_steps))
            share = done * asked[system] / took / PEAKS[precision]
            note = f"{share * PEAKS[precision] / 1e12:.1f} TFLOP/s, {share:.1%} of an H200's peak"
            yield Measurement(f"training of {system}, T5-small", precision, took, done, note)
            if precision == "bf16":
                found = hours(workloads[system], share)
                yield f"{system} at this share of the peak | {found.all_told:.1f} h, COMPUTED"
    yield from decoding((T5_SMALL,), (32,), (128,), (100,), (10_000,), device="cuda")


def _steps_that_fill(seconds: float, timed: Callable[[int], tuple[float, int]]) -> int:
    """About so many steps as take ``seconds``; the first ones warm up and tell."""
    steps = 2
    while (took := timed(steps)[0]) < seconds / 4:
        steps *= 2
    return max(2, round(steps * seconds / took))


def _timed(
    model: Seq2Seq, instances: Instances, precision: str, changes: dict[str, Any], steps: int
) -> tuple[float, int]:
    """Seconds of so many steps, and how many instances they have."""
    first = _First(instances, steps)
    done = sum(map(len, first.batches(changes["batch_size"], np.random.default_rng(0))))
    torch.cuda.synchronize()
    started = time.perf_counter()
    _train(model, first, precision, "cuda", **changes)
    torch.cuda.synchronize()
    return time.perf_counter() - started, done


def _mean_lengths(instances: TaskInstances) -> tuple[int, int]:
    """Mean tokens of prompts and targets of a batch."""
    batch = instances.batch(
        instances.batches(1024, np.random.default_rng(0))[0], np.random.default_rng(0)
    )
    inputs = batch["attention_mask"].sum(dim=1).float().mean()
    targets = (batch["labels"] != IGNORED).sum(dim=1).float().mean()
    return round(float(inputs)), round(float(targets))
