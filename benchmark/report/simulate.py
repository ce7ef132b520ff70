"""``python -m benchmark.report simulate``: how often tests err, and how often they find a gain.

Systems are invented whose ranks agree as those of real ones do: an event is hard or easy for all of
them (``correlation``), a system finds some users or events easier than others do, and
each of its runs goes its own way. All systems are equal, so whatever is called worse is called so
falsely: the share of simulated tables in which that happens is the family-wise error. Then the
last system is made better, and the share of the others that are rightly called worse is the
power.

Beside the procedure of the report stand two that are wrong. One takes the highest mean, as if it
had been named beforehand, and tests it one-sidedly against each other system, corrected by Holm's
method. The other takes every event for a user of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr

from benchmark.protocol.metrics import Ranks, gains
from benchmark.randomness import stable_random
from benchmark.report.reading.text import counted
from benchmark.report.statistics.simultaneous import all_pairs, judged, largest_by_chance, means_of
from benchmark.report.statistics.studentised import LEVEL
from benchmark.report.tables.grid import Entry, Grid, GridGroup, number

OURS = "All pairs at once"
CHOSEN_BEST = "Chosen best, Holm"
BY_EVENT = "All pairs, events as users"
METRICS = ("HR@1", "HR@10", "NDCG@5")
HIT_AT_1, HIT_AT_10 = 0.12, 0.55  # about what trained systems reach on ml-100k
_SAME_IN_ALL_RUNS = 0.5  # share of a system's own part of an event that training again leaves
_FLIPS = 999

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """What is simulated.

    ``correlation`` is that of two systems' scores of an event before they become ranks, and
    ``within_users`` the part of a system's own share that all events of a user have in common.
    ``users`` is 0 where each event has its own. ``run_deviation`` is that of a run's scores, in
    standard deviations of an event's. ``gain`` is how much higher the better system's HR@10 is.
    """

    systems: int = 12
    events: int = 900
    correlation: float = 0.5
    users: int = 0
    within_users: float = 0.2
    seeds: int = 1
    run_deviation: float = 0.0
    gain: float = 0.06

    def users_of_events(self, random: np.random.Generator) -> NDArray[np.int64]:
        """The user of each event: as many as there are, some with many events and most with few."""
        if not self.users:
            return np.arange(self.events)
        share = random.gamma(1.0, size=self.users) + 0.1
        rest = random.choice(self.users, self.events - self.users, p=share / share.sum())
        return np.concatenate([np.arange(self.users), rest])

    def values(
        self, random: np.random.Generator, users: NDArray[np.int64], gain: float = 0.0
    ) -> list[Floats]:
        """For each system (seeds, events, metrics); the last one's HR@10 is ``gain`` higher."""
        events, seeds = self.events, self.seeds
        common = random.standard_normal(events)
        values = []
        for place in range(self.systems):
            own = np.sqrt(1.0 - _SAME_IN_ALL_RUNS) * random.standard_normal((seeds, events))
            own += np.sqrt(_SAME_IN_ALL_RUNS) * random.standard_normal(events)
            if self.users:
                of_users = random.standard_normal(self.users)[users]
                own = np.sqrt(1.0 - self.within_users) * own + np.sqrt(self.within_users) * of_users
            score = np.sqrt(self.correlation) * common + np.sqrt(1.0 - self.correlation) * own
            score += self.run_deviation * random.standard_normal((seeds, 1))
            if place == self.systems - 1 and gain:
                score += ndtri(HIT_AT_10 + gain) - ndtri(HIT_AT_10)
            values.append(_gains(score))
        return values


def _gains(score: Floats) -> Floats:
    """Scores of the standard normal law as gains, (..., metrics).

    The share of targets within the first k is that within the first times a power of k, which
    passes through HR@1 and HR@10.
    """
    power = np.log10(HIT_AT_10 / HIT_AT_1)
    cutoffs = np.minimum(1.0, HIT_AT_1 * np.arange(1, 100) ** power)
    above = np.searchsorted(cutoffs, ndtr(-score).ravel()).astype(np.int32)
    ranks = Ranks(above, np.zeros_like(above), np.ones(len(above), dtype=np.bool_))
    found = np.stack([gains(ranks, metric) for metric in METRICS], axis=1)
    return found.reshape(*score.shape, len(METRICS))


def worse_simultaneously(
    values: Sequence[Floats], users: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.bool_]:
    """Which system is called worse than which, (worse, better, metrics), as in a report."""
    means = means_of(values, users)
    pairs = all_pairs(len(values))
    differences = judged(means, pairs, largest_by_chance(means, pairs, random, _FLIPS))
    worse = np.zeros((len(values), len(values), means.value.shape[1]), dtype=np.bool_)
    first, second = pairs[:, 0], pairs[:, 1]
    worse[first, second] = differences.significant & (differences.value < 0.0)
    worse[second, first] = differences.significant & (differences.value > 0.0)
    return worse


def worse_than_the_chosen_best(values: Sequence[Floats]) -> NDArray[np.bool_]:
    """The same by one-sided paired t-tests of the highest mean against each other, after Holm."""
    systems, metrics = len(values), values[0].shape[2]
    worse = np.zeros((systems, systems, metrics), dtype=np.bool_)
    over_seeds = np.stack([of_system.mean(axis=0) for of_system in values])
    for metric in range(metrics):
        means = over_seeds[:, :, metric]
        best = int(means.mean(axis=1).argmax())
        others = [place for place in range(systems) if place != best]
        p_values = np.array(
            [_p_of_better(values[best][..., metric], values[i][..., metric]) for i in others]
        )
        order = np.argsort(p_values, kind="stable")
        corrected = np.maximum.accumulate(p_values[order] * np.arange(len(others), 0, -1))
        worse[np.array(others)[order], best, metric] = corrected < LEVEL
    return worse


def _p_of_better(first: Floats, second: Floats) -> float:
    """One-sided, with the variance of the runs' means added; arguments are (seeds, events)."""
    difference = first.mean(axis=0) - second.mean(axis=0)
    samples = [difference, first.mean(axis=1), second.mean(axis=1)]
    parts = [(of.var(ddof=1) / len(of), len(of) - 1) for of in samples if len(of) > 1]
    variance = sum(part for part, _ in parts)
    if variance <= 0.0:
        return 0.0 if difference.mean() > 0.0 else 1.0
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    return float(stdtr(freedom, -difference.mean() / np.sqrt(variance)))


@dataclass(frozen=True)
class Outcome:
    """Error and power of one procedure, (metrics,) each.

    ``error`` is the share of repetitions in which any of equal systems was called worse; ``power``
    the mean share of the others that were called worse than the one that was better, and empty
    without a gain.
    """

    error: Floats
    power: Floats


def simulate(world: World, repetitions: int, seed: int = 1) -> dict[str, Outcome]:
    """Error and power of each procedure, by its name; BY_EVENT where users have several events."""
    errors: dict[str, list[Floats]] = {}
    powers: dict[str, list[Floats]] = {}
    for repetition in range(repetitions):
        random = stable_random(seed, "simulate", repetition)
        users = world.users_of_events(random)
        values = world.values(random, users)
        for name, worse in _verdicts(world, values, users, random).items():
            any_worse = np.asarray(worse.any(axis=(0, 1)), dtype=np.float64)
            errors.setdefault(name, []).append(any_worse)
        if world.gain:
            values = world.values(random, users, world.gain)
            for name, worse in _verdicts(world, values, users, random).items():
                powers.setdefault(name, []).append(worse[:-1, -1].astype(np.float64))
    return {
        name: Outcome(
            np.mean(of_name, axis=0),
            np.mean(powers[name], axis=(0, 1)) if powers else np.zeros(0),
        )
        for name, of_name in errors.items()
    }


def _verdicts(
    world: World, values: Sequence[Floats], users: NDArray[np.int64], random: np.random.Generator
) -> Mapping[str, NDArray[np.bool_]]:
    found = {
        OURS: worse_simultaneously(values, users, random),
        CHOSEN_BEST: worse_than_the_chosen_best(values),
    }
    if world.users:
        found[BY_EVENT] = worse_simultaneously(values, np.arange(len(users)), random)
    return found


def simulation_grid(worlds: Sequence[World], repetitions: int, seed: int = 1) -> Grid:
    """Errors and powers of all worlds, which differ in the number of systems."""
    groups = []
    for world in worlds:
        outcomes = simulate(world, repetitions, seed)
        for figure in ("error", "power") if world.gain else ("error",):
            rows = tuple(
                (Entry(name), *(_share(value) for value in getattr(outcome, figure)))
                for name, outcome in outcomes.items()
            )
            groups.append(GridGroup(f"{counted(world.systems, 'system')}: {figure}", rows))
    world = worlds[0]
    users = "each of its own user"
    if world.users:
        shared = counted(world.users, "user")
        users = f"of {shared}, who make up {world.within_users:g} of a system's own part"
    runs = counted(world.seeds, "seed")
    if world.run_deviation:
        runs += f", deviation of runs {world.run_deviation:g}"
    power = (
        f"Power: how many are called worse than one whose HR@10 is {world.gain:g} higher. "
        if world.gain
        else ""
    )
    return Grid(
        stem="simulation",
        caption=(
            "Error: how often any of equal systems is called worse than another. "
            f"{power}{counted(world.events, 'event')} {users}, correlation "
            f"{world.correlation:g}, {runs}; level {LEVEL:g}, "
            f"{counted(repetitions, 'repetition')}, so that a share of {LEVEL:g} has a standard "
            f"error of {np.sqrt(LEVEL * (1 - LEVEL) / repetitions):.3f}."
        ),
        head=("Procedure", *METRICS),
        groups=tuple(groups),
    )


def _share(value: float) -> Entry:
    return number(float(value), f"{value:.3f}")
