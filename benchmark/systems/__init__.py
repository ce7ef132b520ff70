"""The contract between harness and systems, and the catalogue of systems.

Importing this package imports no system and no torch.
"""
