"""The contract between harness and systems, and the catalogue of systems.

``contract`` is what a system offers, ``view`` what it is fitted on, ``scores`` the check of what it
gives. ``catalogue`` has the rows that name systems, ``configuration`` makes their settings from
presets, ``space`` is what a tuner may choose of them. ``artifacts`` are kept between jobs,
``upstream`` systems are built on by others. ``provenance`` names code and libraries, ``effort``
counts seconds; ``precisions``, ``arithmetic`` and ``processes`` are how a run computes. Importing
this package imports no system and no torch.
"""
