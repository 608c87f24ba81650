"""The sizes at which experiments run: networks, pictures, data and budgets, and nothing of the methods.

``paper`` is an experiment as it stands. The others put synthetic people in the place
of COCO. How the ``laptop`` preset was made fair, and what had been seen when it was
decided, is in ``FAIRNESS``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from calbook.geometry import Size
from calbook.training.config import Precision

PresetName = Literal["smoke", "laptop", "gpu", "paper"]
AugmentationName = Literal["published", "resnet", "mpii", "flip", "none"]  # keys of ``sets.AUGMENTATIONS``
Start = Literal["imagenet", "neutral", "fresh"]  # weights to begin from

FAIRNESS = """\
The laptop preset, decided before any row of a table was run:
1. One trunk for all methods, trained to say which limb a pixel belongs to: neither the peaks of
   heatmaps nor the fields of offsets are among its targets. The branches behind the trunk start
   fresh in every method, CAL's second one too.
2. The same people, the same order of mini-batches for the same seed, the same augmentation:
   mirroring alone. Rotations, scales and half bodies, which the published runs had 210 epochs
   to learn, would cost a training of a fifth of that most of what it can learn.
3. The published schedule scaled as a whole: drops at 170/210 and 200/210 of stage one, stage two
   40/210 on top for the methods that have one, as published. Controls without masks get the same 250.
4. Learning rates: the best of three per method by AP on people used for nothing else, one seed
   that no table shows, half of the schedule (calbook reproduce rates --seed 100). Ablations use
   the rate of their method.
5. The last weights are scored, once, on people used for nothing else: no choice is made by them.
6. Three seeds at least; means and standard deviations over seeds are given, and learning curves.
7. Where the order of the paper does not appear, that is the result.
8. What had been seen when the length was set to a fifth of the published schedule, so that all tables
   take less than twelve hours: trial runs of HRNet and CAL from a shorter trunk, and the search of
   HRNet and UDP. UDP's rates were judged with its smoothing first, and anew without it.
"""

LEARNING_RATES = (5e-4, 1e-3, 2e-3)  # what is searched


@dataclass(frozen=True)
class Preset:
    """Sizes and budgets.

    Attributes:
        name: Its name.
        backbones: Networks in the place of published ones.
        sizes: Input sizes in the place of published ones.
        halved_sizes: The same for ablations.
        resnet_sizes: The same for networks on a ResNet, whose sides divide by 32.
        epochs: Factor on the published numbers of epochs.
        batch_size: People in a mini-batch; None for the published number.
        learning_rates: Of each family, where not the published one; from the search.
        train_pictures: Pictures of the synthetic training set, or people in an epoch of endless ones.
        val_pictures: Pictures of the synthetic set that tables show.
        tune_pictures: Pictures of the one that learning curves and rates are judged by.
        picture_size: Height and width of the synthetic pictures.
        endless: Whether people are rendered as training goes, nobody twice.
        augmentation: Of crops, where not the published one.
        start: Weights to begin from.
        trunk_steps: Mini-batches that the neutral trunk learns from.
        resolver_steps: Mini-batches that the super-resolver learns from.
        validate_every: Share of the training between validations.
        half_precision: Input sizes at which networks compute in bfloat16.
    """

    name: PresetName
    backbones: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[Size, Size] = field(default_factory=dict)
    halved_sizes: Mapping[Size, Size] = field(default_factory=dict)
    resnet_sizes: Mapping[Size, Size] = field(default_factory=dict)
    epochs: float = 1.0
    batch_size: int | None = None
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    train_pictures: int = 0
    val_pictures: int = 0
    tune_pictures: int = 0
    picture_size: Size = (256, 192)
    endless: bool = False
    augmentation: AugmentationName | None = None
    start: Start = "imagenet"
    trunk_steps: int = 0
    resolver_steps: int = 0
    validate_every: float = 0.1
    half_precision: tuple[Size, ...] = ()

    def size(self, published: Size, backbone: str, halved: bool) -> Size:
        """The input size in the place of a published one."""
        sizes = self.resnet_sizes if backbone.startswith("r") else self.halved_sizes if halved else self.sizes
        return sizes.get(published, published)

    def precision(self, size: Size) -> Precision:
        """In which a network of this input size computes."""
        return "bf16-mixed" if size in self.half_precision else "32-true"


_TINY = {"w32": "tiny", "w48": "tiny", "r50": "r18", "r101": "r18", "r152": "r18"}
_RESNETS = {(256, 192): (128, 96), (384, 288): (128, 96), (256, 256): (128, 128)}

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "smoke",
            backbones=_TINY,
            sizes=dict.fromkeys([(128, 96), (256, 192), (384, 288)], (64, 48)),
            halved_sizes=dict.fromkeys([(128, 96), (256, 192), (384, 288)], (64, 48)),
            resnet_sizes=dict.fromkeys([(128, 96), (256, 192), (384, 288), (256, 256)], (64, 64)),
            epochs=0.0,
            batch_size=2,
            train_pictures=4,
            val_pictures=2,
            tune_pictures=2,
            picture_size=(96, 72),
            start="neutral",
            trunk_steps=2,
            resolver_steps=2,
            validate_every=1.0,
        ),
        Preset(
            "laptop",
            backbones=_TINY,
            sizes={(384, 288): (256, 192)},
            halved_sizes={(128, 96): (64, 48), (256, 192): (128, 96)},
            resnet_sizes=_RESNETS,
            epochs=0.2,
            batch_size=32,
            learning_rates={"hrnet": 2e-3, "udp": 2e-3, "dark": 2e-3, "cal": 2e-3},
            train_pictures=4000,
            val_pictures=800,
            tune_pictures=400,
            augmentation="flip",
            start="neutral",
            trunk_steps=12000,
            resolver_steps=2000,
            half_precision=((64, 48), (128, 96), (128, 128), (256, 192)),
        ),
        Preset(
            "gpu",
            epochs=0.05,
            train_pictures=16384,
            val_pictures=2000,
            tune_pictures=400,
            endless=True,
            start="neutral",
            trunk_steps=5000,
            resolver_steps=5000,
            half_precision=((64, 48), (128, 96), (256, 192), (256, 256)),
        ),
        Preset("paper", resolver_steps=500_000),
    )
}
