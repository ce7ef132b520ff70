"""The conformance check that every new adapter must pass: ``python -m benchmark.check <system>``.

Each of the ``probes`` tries to break one promise of the contract on one of the small logs of
``world``: those of ``scores``, of ``all_items`` ranked at once, of what is ``saved``, of ``sight``
(with ``reach``, all that an object holds) and of the search ``space``; ``subject`` is the system
under check. The check knows no system by name.
"""
