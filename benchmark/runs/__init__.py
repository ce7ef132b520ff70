"""Runs: what identifies a job, how it is executed, and the folder that keeps its result."""
