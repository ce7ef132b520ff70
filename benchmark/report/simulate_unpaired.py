"""How often ``compare`` errs where its two folders have test events of their own.

As in :mod:`benchmark.report.simulate`, but the same systems are simulated twice, on two samples of
users. All systems and metrics are one family, so an error is any difference that is called
significant though nothing has changed. Then the last system is better in the second folder, and the
power is how often that is found in any metric.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.randomness import stable_random
from benchmark.report.reading.text import counted
from benchmark.report.simulate import METRICS, World
from benchmark.report.statistics.simultaneous import Means, means_of
from benchmark.report.statistics.studentised import LEVEL
from benchmark.report.statistics.unpaired import Unpaired
from benchmark.report.tables.grid import Entry, Grid, GridGroup, number

_FLIPS = 999


def simulate_unpaired(
    first: World, second: World, repetitions: int, seed: int = 1
) -> tuple[float, float]:
    """The family-wise error, and the power for the gain of ``second``."""
    errors, found = 0, 0
    for repetition in range(repetitions):
        random = stable_random(seed, "simulate", "unpaired", repetition)
        before = _means(first, random)
        errors += bool(_significant(before, _means(second, random), random).any())
        if second.gain:
            after = _means(second, random, second.gain)
            found += bool(_significant(before, after, random)[-1].any())
    return errors / repetitions, found / repetitions


def _means(world: World, random: np.random.Generator, gain: float = 0.0) -> Means:
    users = world.users_of_events(random)
    return means_of(world.values(random, users, gain), users)


def _significant(first: Means, second: Means, random: np.random.Generator) -> NDArray[np.bool_]:
    """(systems, metrics), all of them one family."""
    samples = Unpaired(first, second)
    largest = samples.largest_by_chance(random, _FLIPS).max(axis=1, keepdims=True)
    return samples.judged(largest).significant


def unpaired_grid(worlds: Sequence[tuple[World, World]], repetitions: int, seed: int = 1) -> Grid:
    """Error and power of all pairs of worlds, which differ in the number of systems."""
    rows = []
    for first, second in worlds:
        error, power = simulate_unpaired(first, second, repetitions, seed)
        shares = (error, power) if second.gain else (error,)
        shown = (number(share, f"{share:.3f}") for share in shares)
        rows.append((Entry(counted(first.systems, "system")), *shown))
    first, second = worlds[0]
    told = (
        " Power: how often the last system is found changed, whose HR@10 is "
        f"{second.gain:g} higher in the second."
        if second.gain
        else ""
    )
    return Grid(
        stem="simulation-unpaired",
        caption=(
            "Two folders whose test events are not paired. Error: how often any system is called "
            f"changed though none is, of {', '.join(METRICS)} as one family.{told} First: "
            f"{_sample(first)}; second: {_sample(second)}; {counted(first.seeds, 'seed')}, "
            f"deviation of runs {first.run_deviation:g}; level {LEVEL:g}, "
            f"{counted(repetitions, 'repetition')}."
        ),
        head=("Systems", "Error", "Power") if second.gain else ("Systems", "Error"),
        groups=(GridGroup("Compared by exchanging users", tuple(rows)),),
    )


def _sample(world: World) -> str:
    users = counted(world.users, "user") if world.users else "each of its own user"
    return f"{counted(world.events, 'event')} {'of ' if world.users else ''}{users}"
