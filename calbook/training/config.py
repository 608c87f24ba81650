"""What decides a training run, beside its method and its data."""

from dataclasses import dataclass
from typing import Literal

from calbook.options import check_choices

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
FREE = ("log_every", "checkpoint_every")  # fields that may change when a run is resumed: they decide no weight


@dataclass(frozen=True)
class TrainingConfig:
    """How a run trains. The published value is in each comment; the defaults are the published run.

    Stage one minimises the codec's own targets for ``epochs`` passes over the data;
    stage two goes on for ``mask_epochs`` with mixed-Gaussian masks. Methods without
    offsets have no stage two: ``mask_epochs=0``.
    """

    epochs: int = 210  # of stage one; published 210 (SimpleBaseline: 140)
    mask_epochs: int = 40  # of stage two; published 40 (paper), 0 for other methods than CAL
    milestones: tuple[int, ...] = (
        170,
        200,
    )  # epochs at which the rate falls; published 170, 200 (SimpleBaseline: 90, 120)
    learning_rate: float = 1e-3  # of Adam; published 1e-3
    drop: float = 0.1  # factor at each milestone; published 0.1
    weight_decay: float = 0.0  # published: none (1e-4 is written in the published files but never passed to Adam)
    batch_size: int = 128  # crops over all devices; published 128 (112, 120 and 72 at the largest sizes)
    components: int | None = None  # Gaussians of the mixture; published 1 to 128x96, 2 above: None
    continue_mixture: bool = False  # EM begins from the last mini-batch's mixture; published: afresh
    precision: Precision = "32-true"  # published: single precision
    clip: float | None = None  # largest norm of the gradients; published: no clipping
    average: float | None = None  # decay of the weights' exponential moving average, such as 0.999; published: none
    compile: bool = False  # torch.compile; published: no
    channels_last: bool = False  # memory layout of pictures and weights; published: no
    sync_batch_norm: bool = False  # statistics over all GPUs; published: each GPU its own, of 64 crops at 128x96
    seed: int = 0  # of weights and of everything random in a step; published: not fixed
    warm_start: str | None = None  # checkpoint to begin from; published: HRNet and ResNet trained on ImageNet
    validate_every: int = 1  # epochs between validations, the last epoch always; published 1
    best_by: str | None = None  # the figure that decides which weights are best, larger is better; published AP
    log_every: int = 50  # steps between lines of metrics.jsonl; published 100
    checkpoint_every: int | None = None  # steps between checkpoints within an epoch, each epoch's end always

    def __post_init__(self) -> None:
        check_choices(self)
        object.__setattr__(self, "milestones", tuple(self.milestones))  # JSON knows only lists
        for name, smallest in (
            ("epochs", 0),
            ("mask_epochs", 0),
            ("batch_size", 1),
            ("components", 1),
            ("validate_every", 1),
            ("log_every", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise ValueError(f"{name} must be at least {smallest}, got {value}")
        if self.all_epochs < 1:
            raise ValueError("epochs and mask_epochs are both 0: there is nothing to train")
        for name in ("learning_rate", "drop", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if self.average is not None and not 0 < self.average < 1:
            raise ValueError(f"average is a decay between 0 and 1, such as 0.999, got {self.average}")
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            raise ValueError(f"checkpoint_every must be at least 1 step, got {self.checkpoint_every}")

    @property
    def all_epochs(self) -> int:
        """Epochs of both stages."""
        return self.epochs + self.mask_epochs

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0.

        >>> config = TrainingConfig()
        >>> [round(config.rate(epoch), 6) for epoch in (0, 169, 170, 200, 249)]
        [0.001, 0.001, 0.0001, 1e-05, 1e-05]
        """
        return self.learning_rate * self.drop ** sum(milestone <= epoch for milestone in self.milestones)

    def stage(self, epoch: int) -> int:
        """1, or 2 from the epoch on in which mixed-Gaussian masks are used.

        >>> [TrainingConfig().stage(epoch) for epoch in (0, 209, 210)]
        [1, 1, 2]
        """
        return 1 if epoch < self.epochs else 2
