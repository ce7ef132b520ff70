"""Generative recommendation: the next item is written as a sequence of codes."""
