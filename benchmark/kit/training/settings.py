"""How a model is trained, as a system's configuration says it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmark.kit.training.instances import Instances


class TrainingSettings(BaseModel):
    """How a model is trained. Systems choose other defaults by subclassing or by instance."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=100, ge=0)
    """The most passes over the instances."""
    batch_size: int = Field(default=256, ge=1)
    """Instances an optimiser step, over all processes."""
    micro_batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    """Instances that are computed at once; gradients of the parts are averaged. "auto" takes as
    many as fit into the device's memory, on a CPU into 2 GiB. All if absent."""
    batches_ahead: int | None = Field(default=None, ge=0)
    """Batches that a thread builds while one is computed; it does not change the result. If absent,
    2 for an accelerator and none on a CPU, whose cores the thread would share."""
    compiled: bool = False
    """Whether an accelerator replays each step as a graph, for instances that can be filled up to a
    few fixed shapes. A CPU, an accelerator without Triton or a C compiler, and a training that
    several processes share compute as ever."""
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adam"
    """What takes the steps; torch's, each without its further options."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """The size of a step, at the height of the schedule."""
    betas: tuple[float, float] = (0.9, 0.999)
    """How much Adam and AdamW keep of the mean of the gradients and of their squares."""
    epsilon: float = Field(default=1e-8, gt=0)
    """What is added to the root that a gradient is divided by; not of SGD."""
    weight_decay: float = Field(default=0.0, ge=0)
    """How much of the weights joins their gradient; under AdamW, is taken off them in a step."""
    schedule: Literal[
        "constant", "linear", "cosine", "inverse-root", "flat-inverse-root", "plateau"
    ] = "constant"
    """Linear and cosine fall to zero at the last step, inverse-root with the root of the step from
    the end of the warm-up on; flat-inverse-root stays at its height instead of warming up; plateau
    follows the validation score."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps in which the learning rate rises from zero to its height."""
    plateau_factor: float = Field(default=0.1, gt=0, lt=1)
    """What the schedule plateau multiplies the learning rate by."""
    plateau_patience: int = Field(default=3, ge=0)
    """Validations without a better score that it bears before it does so."""
    plateau_minimum: float = Field(default=1e-6, ge=0)
    """Below it the learning rate does not fall."""
    gradient_clip: float | None = Field(default=None, gt=0)
    """The largest total norm of the gradient; none if absent."""
    patience: int | None = Field(default=10, ge=1)
    """Validations without a strictly better score before training stops; never if absent."""
    validate_every: int = Field(default=1, ge=0)
    """Epochs between validations; 0 keeps the last weights instead of the best ones."""
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    """Least time between two checkpoints; it does not change the result. 0 writes one after every
    step, whatever it costs."""
    checkpoint_share: float = Field(default=0.02, gt=0, le=1)
    """The most of the time of training that checkpoints may take, by the time that they took so
    far, but for the first one, which two minutes after the start is due whatever it takes; it does
    not change the result."""

    def with_warmup(self, share: float, instances: Instances) -> Self:
        """The same with a warm-up of this share of all steps, unless one is given in steps."""
        if self.warmup_steps:
            return self
        steps = self.epochs * instances.steps(self.batch_size)
        return self.model_copy(update={"warmup_steps": round(share * steps)})

    @model_validator(mode="after")
    def _a_plateau_can_act(self) -> TrainingSettings:
        """Refuse a plateau schedule under which no epoch could ever train with a lower rate."""
        if self.schedule != "plateau" or not self.epochs:
            return self
        why = self._why_the_rate_never_falls()
        if why:
            raise ValueError(f"{why}, or schedule to constant")
        return self

    def _why_the_rate_never_falls(self) -> str:
        # The first validation is always the best so far; one more failure than is borne lowers.
        needed = self.plateau_patience + 2
        waited = (
            f"a rate lowered after {needed - 1} validations without a better score "
            f"(plateau_patience {self.plateau_patience}) is ever used"
        )
        if not self.validate_every:
            return (
                "with validate_every 0 the schedule plateau has no score to follow; set "
                "validate_every to at least 1"
            )
        if self.learning_rate <= self.plateau_minimum:
            return (
                f"the schedule plateau never lowers learning_rate {self.learning_rate}, since it "
                f"is not above plateau_minimum {self.plateau_minimum}; set plateau_minimum lower"
            )
        if self.patience is not None and self.patience < needed:
            return (
                f"with patience {self.patience} training stops before {waited}; set patience to "
                f"at least {needed}"
            )
        if self.epochs <= self.validate_every * needed:
            return (
                f"with epochs {self.epochs} and validate_every {self.validate_every} training ends "
                f"before {waited}; set epochs to at least {self.validate_every * needed + 1}"
            )
        return ""
