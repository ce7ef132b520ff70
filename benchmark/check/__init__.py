"""The conformance check that every new adapter must pass: ``python -m benchmark.check <system>``.

Each probe of :mod:`benchmark.check.probes` tries to break one promise of the contract on the small
world of :mod:`benchmark.check.world`. The check knows no system by name.
"""
