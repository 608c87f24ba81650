"""The nine questions that the book answers and the papers do not, as experiments of the same kind."""

from collections.abc import Iterator
from dataclasses import dataclass

from calbook.ceiling import DECODERS, INPUT_SIZES
from calbook.experiments import recipes
from calbook.experiments.experiment import Evaluation, Experiment, name_of
from calbook.experiments.recipes import VAL, Options
from calbook.experiments.tables import COARSE, HIGH, LOW, NETWORKS, UNSMOOTHED, Row, Table
from calbook.geometry import Size
from calbook.method import Method
from calbook.training import TrainingConfig

QUESTIONS = {
    "q1": "What does the grid alone cost?",
    "q2": "How much of HRNet's fall at 64x48 is decoding, how much flip misalignment, how much learning?",
    "q3": "How much of UDP's AP at 64x48 does its fixed smoothing cost?",
    "q4": "How much of CAL's gain is its second branch?",
    "q5": "Are displacements Gaussian, when in training, and what do two components catch?",
    "q6": "Which pixels learn: L1, smooth L1 and L2 under each mask?",
    "q7": "Disk times Gaussian or plain Gaussian? Offsets scaled or not? Masks about the joint or its pixel?",
    "q8": "How early may stage two begin?",
    "q9": "What does a binary target's plateau cost, and does the loss or the shape make the difference?",
}


def _perfect(size: Size) -> Experiment:
    """A network that predicts the targets themselves: what is lost, is lost by grid and decoder."""
    evaluations = tuple(
        Evaluation(name.replace(" ", "-"), codec=codec, codec_options=options)
        for name, (codec, options) in DECODERS.items()
    )
    return Experiment(
        name=name_of("perfect", "none", size),
        family="perfect",
        backbone="none",
        method=Method("none", "heatmap", "heatmap", size),
        training=TrainingConfig(),
        evaluations=evaluations,
        start="fresh",
    )


def _networks() -> Iterator[Experiment]:
    """Networks that only the questions need."""
    yield from (_perfect(size) for size in INPUT_SIZES)
    for size in LOW:
        yield recipes.cal("w32", size, (VAL, COARSE), variant="one-trunk", model="offset-hrnet-w32")
        yield recipes.udp("w32", size, (VAL, UNSMOOTHED, COARSE), variant="two-branches", model="cal-hrnet-w32")
    for size, variant, options in _variants():
        yield recipes.cal("w32", size, (VAL, COARSE), variant=variant, **options)


def _variants() -> Iterator[tuple[Size, str, dict[str, Options]]]:
    low: Size = (128, 96)
    disk = {"epochs": 250, "mask_epochs": 0}
    yield low, "disk-l2", {"training": disk, "loss": {"offset": "l2"}}
    yield low, "disk-smooth-l1", {"training": disk, "loss": {"offset": "smooth_l1"}}
    yield low, "pixel-masks", {"codec": {"mask_center": "pixel"}}
    yield low, "plane", {"codec": {"heatmap_support": "plane"}}
    yield HIGH, "components2-plane", {"codec": {"heatmap_support": "plane"}, "training": {"components": 2}}
    yield low, "code-scale", {"loss": {"offset_scale": 1.5, "offset_weight": 0.7}}
    yield low, "paper-scale", {"loss": {"offset_scale": 1.0, "offset_weight": 1.0}}
    for epochs in (62, 125):
        yield low, f"masks-from-{epochs}", {"training": {"epochs": epochs, "mask_epochs": 250 - epochs}}
    for size in LOW:
        yield size, "bce", {"codec": {"logits": True}, "loss": {"heatmap": "bce"}}
        yield size, "binary-bce", {"codec": {"coarse": "binary", "logits": True}, "loss": {"heatmap": "bce"}}
    yield (64, 48), "binary", {"codec": {"coarse": "binary"}}


QUESTION_NETWORKS: dict[str, Experiment] = {experiment.name: experiment for experiment in _networks()}


@dataclass(frozen=True)
class _Line:
    """A row in short: what to call it, the network's name and the evaluation."""

    label: str
    network: str
    evaluation: str = "val2017"


def _by_size(*lines: tuple[str, str, str]) -> list[_Line]:
    """Lines for both low resolutions; ``{}`` in a network's name is the size."""
    sizes = [f"{height}x{width}" for height, width in LOW]
    return [
        _Line(f"{size}, {label}", name.format(size), evaluation) for size in sizes for label, name, evaluation in lines
    ]


# What a reader calls the decoders of a perfect network.
_READ_BY = {
    "quarter-shift": "quarter shift",
    "dark": "DARK",
    "integral": "mean of the map",
    "offset": "UDP's offsets",
    "cal": "CAL",
}

_LINES: dict[str, list[_Line]] = {
    "q1": [
        _Line(
            f"{name.removeprefix('perfect-')}, {_READ_BY.get(evaluation.name, evaluation.name)}", name, evaluation.name
        )
        for name, experiment in QUESTION_NETWORKS.items()
        if not experiment.is_trained
        for evaluation in experiment.evaluations
    ],
    "q2": _by_size(
        ("as published", "hrnet-w32-{}", "val2017"),
        ("without the quarter shift", "hrnet-w32-{}", "argmax"),
        ("mirrored maps not moved", "hrnet-w32-{}", "unshifted"),
        ("without flip test", "hrnet-w32-{}", "no-flip"),
        ("unbiased and decoded by DARK", "dark-w32-{}", "val2017"),
        ("a perfect network, quarter shift", "perfect-{}", "quarter-shift"),
    ),
    "q3": _by_size(("smoothed, as published", "udp-w32-{}", "val2017"), ("not smoothed", "udp-w32-{}", "unsmoothed")),
    "q4": _by_size(
        ("CAL, two branches", "cal-w32-{}", "val2017"),
        ("CAL, one trunk", "cal-w32-{}-one-trunk", "val2017"),
        ("UDP, two branches, not smoothed", "udp-w32-{}-two-branches", "unsmoothed"),
        ("UDP, one trunk, not smoothed", "udp-w32-{}", "unsmoothed"),
    ),
    "q5": [
        _Line("one component", "cal-w32-128x96"),
        _Line("two components", "cal-w32-128x96-components2"),
        _Line("three components", "cal-w32-128x96-components3"),
        _Line("binary target", "cal-w32-128x96-binary"),
    ],
    "q6": [
        _Line(f"{mask}, {loss}", "-".join(part for part in ("cal-w32-128x96", variant, suffix) if part))
        for mask, variant in (("disk", "disk"), ("mixed Gaussian", ""))
        for loss, suffix in (("L1", ""), ("smooth L1", "smooth-l1"), ("L2", "l2"))
    ],
    "q7": [
        _Line("on the disk (paper), lower size", "cal-w32-128x96"),
        _Line("on the plane (code), lower size", "cal-w32-128x96-plane"),
        _Line("on the disk (paper), higher size", "cal-w32-256x192-components2"),
        _Line("on the plane (code), higher size", "cal-w32-256x192-components2-plane"),
        _Line("masks about the joint's pixel (code)", "cal-w32-128x96-pixel-masks"),
        _Line("offsets as they are, lambda 1", "cal-w32-128x96-paper-scale"),
        _Line("offsets over 1.5, lambda 0.7 (code)", "cal-w32-128x96-code-scale"),
    ],
    "q8": [
        _Line("never", "cal-w32-128x96-disk"),
        _Line("after 210 of 250 epochs (paper)", "cal-w32-128x96"),
        _Line("after 125", "cal-w32-128x96-masks-from-125"),
        _Line("after 62", "cal-w32-128x96-masks-from-62"),
        _Line("at once", "cal-w32-128x96-one-stage"),
    ],
    "q9": _by_size(
        ("Gaussian, L2", "cal-w32-{}", "val2017"),
        ("Gaussian, BCE", "cal-w32-{}-bce", "val2017"),
        ("binary, L2", "cal-w32-{}-binary", "val2017"),
        ("binary, BCE", "cal-w32-{}-binary-bce", "val2017"),
        ("Gaussian, L2, the peak alone", "cal-w32-{}", "coarse"),
        ("binary, BCE, the peak alone", "cal-w32-{}-binary-bce", "coarse"),
    ),
}
_HALVED = ("q5", "q6", "q7", "q8")  # run on a laptop at 64x48, as the ablations that they go on from


def _row(line: _Line) -> Row:
    return Row(line.label, (NETWORKS | QUESTION_NETWORKS)[line.network], line.evaluation)


QUESTION_TABLES: dict[str, Table] = {
    name: Table(name, QUESTIONS[name], tuple(map(_row, lines)), name in _HALVED) for name, lines in _LINES.items()
}
