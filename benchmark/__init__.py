"""The harness of the GenSAR benchmark: data, protocol, systems contract, runs and report.

It runs every system under one protocol and knows none of them by name.
"""

from benchmark.loaded import watch

__version__ = "0.2.0"

watch()  # before any other module of the project is loaded
