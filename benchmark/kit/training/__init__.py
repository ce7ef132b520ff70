"""The one training loop of the suite, and what steps, memory and kills ask of it.

``settings`` are what a system's configuration says, ``instances`` what a model learns from,
``loop`` trains, keeps the best weights and resumes, and ``history`` is what it tells of that;
``system`` is the base class of systems that are fitted in this way, ``stages`` keeps what finished
trainings of one fit left. Beneath: ``optimizers``, ``feed`` (the batches of a process),
``micro_batches`` (a step in parts that fit into memory), ``ahead`` (batches made by a thread),
``accelerator``, ``graphs`` (steps that a GPU replays), ``checkpoints`` (when the next one is due)
and ``checkpoint_files``.
"""

from benchmark.kit.training.history import TrainingHistory
from benchmark.kit.training.instances import Batch, Instances, Part, in_batches
from benchmark.kit.training.loop import train
from benchmark.kit.training.settings import TrainingSettings

__all__ = [
    "Batch",
    "Instances",
    "Part",
    "TrainingHistory",
    "TrainingSettings",
    "in_batches",
    "train",
]
