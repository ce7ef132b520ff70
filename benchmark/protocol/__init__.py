"""Tasks, splits, visible histories, candidate lists and metrics: one protocol for all systems."""
