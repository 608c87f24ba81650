"""One trained network of a published table: its method, its training, its data and how it is scored.

An experiment says what the papers did; ``at`` brings it to the size of a machine.
The presets change sizes and budgets and never the method, and they are data,
``calbook.experiments.presets``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from calbook.experiments.presets import PRESETS, AugmentationName, Preset, PresetName, Start
from calbook.geometry import Size
from calbook.method import Method
from calbook.options import check_choices, nearest
from calbook.training import TrainingConfig

Source = Literal["coco", "mpii", "synthetic"]
BoxKind = Literal["gt", "detector", "none"]
Upscaling = Literal["bicubic", "spsr"]


@dataclass(frozen=True)
class Data:
    """What an experiment learns from.

    Attributes:
        source: ``"coco"`` and ``"mpii"`` are read from a data folder, ``"synthetic"`` people
            are made where they are needed.
        train: The split.
        augmentation: How crops vary, a preset of ``data.crops``. Endless people vary anyway.
        endless: Whether no synthetic person is shown twice; otherwise they are a set on
            disk, read as COCO is.
    """

    source: Source = "coco"
    train: str = "train2017"
    augmentation: AugmentationName = "published"
    endless: bool = False

    def __post_init__(self) -> None:
        check_choices(self)


@dataclass(frozen=True)
class Evaluation:
    """How a network is scored.

    Attributes:
        name: Short name, unique within the experiment.
        split: On which set.
        boxes: ``"gt"`` annotated boxes, ``"detector"``, or ``"none"`` where people come with a
            centre and a scale (MPII).
        detections: The detector's result file, beside the data.
        flip: Whether the network looks twice. Published: always.
        shift: Whether mirrored maps are moved by a pixel. Published for the biased convention.
        codec: Another codec to read the maps with than the method's own.
        codec_options: Options of the codec to replace.
        upscaling: How crops of ``crop_size`` are brought to the input size; None for crops
            of the input size itself.
        crop_size: What is left of a person before upscaling.
    """

    name: str = "val2017"
    split: str = "val2017"
    boxes: BoxKind = "gt"
    detections: str | None = None
    flip: bool = True
    shift: bool = False
    codec: str | None = None
    codec_options: Mapping[str, Any] = field(default_factory=dict)
    upscaling: Upscaling | None = None
    crop_size: Size | None = None

    def __post_init__(self) -> None:
        check_choices(self)


@dataclass(frozen=True)
class Experiment:
    """One network, trained once per seed and scored in one way or more.

    Attributes:
        name: Family, backbone, input size and variant, joined by dashes.
        family: What the network, codec and loss are called together: ``cal``, ``udp`` ...
        backbone: ``w32``, ``r50`` ..., or ``none`` for a perfect network, which is not trained.
        method: Network, codec and loss.
        training: Published schedule, or what a preset makes of it.
        data: What it learns from.
        evaluations: How it is scored, the first being the main one.
        start: Weights to begin from: of ``"imagenet"`` (published), of the ``"neutral"``
            trunk, or ``"fresh"``.
        variant: What differs from the family's published method, ``""`` for nothing.
        constants: Options of codec and loss that the published files tie to this backbone
            and size. They belong to the sizes: networks of other sizes get the rule.
        preset: The preset that this is at.
    """

    name: str
    family: str
    backbone: str
    method: Method
    training: TrainingConfig
    data: Data = field(default_factory=Data)
    evaluations: tuple[Evaluation, ...] = (Evaluation(),)
    start: Start = "imagenet"
    variant: str = ""
    constants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    preset: PresetName = "paper"

    def __post_init__(self) -> None:
        check_choices(self)

    @property
    def is_trained(self) -> bool:
        """Whether there is a network; a perfect one is not trained."""
        return self.backbone != "none"

    @property
    def is_search(self) -> bool:
        """Whether its learning rate is what it is about."""
        return self.variant.startswith("rate")

    def recipe(self) -> dict[str, Any]:
        """All that decides the trained network and its scores, as plain values; not its names."""
        parts = {"method", "training", "data", "evaluations", "start", "preset"}
        return {name: value for name, value in asdict(self).items() if name in parts}

    def at(self, preset: PresetName, *, halved: bool = False) -> "Experiment":
        """The same experiment at the sizes and budgets of a preset.

        Args:
            preset: ``smoke``, ``laptop``, ``gpu`` or ``paper``.
            halved: Whether pictures are half as large on a laptop as in the paper: the
                ablations, 128x96 in the paper, are run there at 64x48.

        Raises:
            ValueError: There is no such preset, or this one has been brought to another already.
        """
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}{nearest(preset, PRESETS)}: choose one of {', '.join(PRESETS)}")
        if self.preset not in ("paper", preset):
            raise ValueError(f"{self.name} is at preset {self.preset} already")
        if preset == "paper" or self.preset == preset:
            return self
        return _resized(self, PRESETS[preset], halved)


def name_of(family: str, backbone: str, size: Size, variant: str = "", source: Source = "coco") -> str:
    """Name of an experiment.

    >>> name_of("cal", "w32", (128, 96), "components2")
    'cal-w32-128x96-components2'
    """
    parts = [
        family,
        "" if backbone == "none" else backbone,
        f"{size[0]}x{size[1]}",
        variant,
        "mpii" if source == "mpii" else "",
    ]
    return "-".join(part for part in parts if part)


def _resized(experiment: Experiment, preset: Preset, halved: bool) -> Experiment:
    backbone = preset.backbones.get(experiment.backbone, experiment.backbone)
    family, size = experiment.family, experiment.method.input_size
    if experiment.is_trained:  # the grid's cost is known at any size at once
        size = preset.size(size, experiment.backbone, halved)
    method = _method(experiment, backbone, size)
    return replace(
        experiment,
        name=name_of(family, backbone, size, experiment.variant, experiment.data.source),
        backbone=backbone,
        method=method,
        training=_training(experiment, preset, size),
        data=Data("synthetic", "train2017", preset.augmentation or experiment.data.augmentation, preset.endless),
        evaluations=_evaluations(experiment.evaluations, size),
        start=preset.start,
        constants={} if method != experiment.method else experiment.constants,
        preset=preset.name,
    )


def _method(experiment: Experiment, backbone: str, size: Size) -> Method:
    """The method with another network and input size, without the constants that belonged to the old ones."""
    method = experiment.method
    if (backbone, size) == (experiment.backbone, method.input_size):
        return method

    def without(options: dict[str, Any], part: str) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name not in experiment.constants.get(part, {})}

    return replace(
        method,
        model=method.model.replace(experiment.backbone, backbone),
        input_size=size,
        model_options=without(method.model_options, "model"),
        codec_options=without(method.codec_options, "codec"),
        loss_options=without(method.loss_options, "loss"),
    )


def _training(experiment: Experiment, preset: Preset, size: Size) -> TrainingConfig:
    """Schedule of the same shape, with the preset's number of epochs, its batch and its rates."""
    published = experiment.training
    rate = published.learning_rate
    if not experiment.is_search:
        rate = preset.learning_rates.get(experiment.family, rate)

    def scaled(epochs: int) -> int:
        return max(1, round(epochs * preset.epochs)) if epochs else 0

    return replace(
        published,
        epochs=scaled(published.epochs),
        mask_epochs=scaled(published.mask_epochs),
        milestones=tuple(scaled(epoch) for epoch in published.milestones),
        batch_size=preset.batch_size or published.batch_size,
        learning_rate=rate,
        precision=preset.precision(size),
        validate_every=max(1, round(preset.validate_every * scaled(published.epochs + published.mask_epochs))),
    )


def _evaluations(evaluations: tuple[Evaluation, ...], new: Size) -> tuple[Evaluation, ...]:
    """On synthetic people there is one set, with annotated boxes: protocols that differ in these alone become one."""
    kept: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        crop = evaluation.crop_size
        if crop is not None:  # super-resolution makes a picture four times as high, whatever its size
            crop = (new[0] // 4, new[1] // 4)
        name = "val2017" if evaluation.name.startswith(("val", "test")) else evaluation.name
        split = "tune2017" if evaluation.split == "tune2017" else "val2017"
        moved = replace(evaluation, name=name, split=split, boxes="gt", detections=None, crop_size=crop)
        kept.setdefault(moved.name, moved)
    return tuple(kept.values())
