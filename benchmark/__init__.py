"""The harness of the GenSAR benchmark: data, protocol, systems contract, runs and report.

It runs every system under one protocol and knows none of them by name.
"""

__version__ = "0.1.0"
