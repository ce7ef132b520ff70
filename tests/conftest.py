"""One thread for the numerical libraries: tiny models are faster with it, and equal everywhere."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ.get("TRAINING_THREADS", "1")
