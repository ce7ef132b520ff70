"""Published figures beside our own: which are reproduced, by which command, and which are not.

A file of lines (:mod:`benchmark.reproduce.lines`) says what was published, on which data, by which
settings. A line is run like any suite (:mod:`benchmark.reproduce.running`) and leaves a compact
record; what is shown of it is computed from the records alone
(:mod:`benchmark.reproduce.measured`, :mod:`benchmark.reproduce.page`).
"""
