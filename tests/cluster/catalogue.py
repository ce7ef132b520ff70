"""Rows that processes of these tests find by an entry point."""

from benchmark.systems.catalogue import SystemEntry
from tests.faults.suite import TRAINED

DEADLY = SystemEntry(
    "deadly", "Deadly", "sequential", ("recommendation",), "tests.cluster.systems:Deadly"
)
ABOVE = SystemEntry(
    *("above", "Above", "sequential", ("recommendation",), "tests.cluster.systems:Above"),
    upstream=("trained",),
)
TUNED = SystemEntry(
    "tuned", "Tuned", "sequential", ("recommendation",), "tests.cluster.systems:Tuned"
)
ENTRIES = (TRAINED, DEADLY, ABOVE, TUNED)
