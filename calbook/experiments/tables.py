"""Every row of every table of both papers, and the experiment that belongs to it."""

from collections.abc import Iterator
from dataclasses import dataclass

from calbook.experiments import recipes
from calbook.experiments.experiment import Evaluation, Experiment
from calbook.experiments.published import PublishedRow, published
from calbook.experiments.recipes import MPII_VAL, TEST_DEV, VAL, VAL_BETTER_DETECTOR, VAL_DETECTOR
from calbook.geometry import Size

LOW: tuple[Size, ...] = ((64, 48), (128, 96))
HIGH: Size = (256, 192)
HIGHEST: Size = (384, 288)

# Other ways to read the same network, which answer questions 2 and 3 and cost no training.
ARGMAX = Evaluation("argmax", codec_options={"shift": False})
NO_FLIP = Evaluation("no-flip", flip=False)
UNSHIFTED = Evaluation("unshifted")  # mirrored maps left where they are: three quarters of a pixel off
UNSMOOTHED = Evaluation("unsmoothed", codec_options={"blur": (1, 1)})
COARSE = Evaluation("coarse", codec="heatmap", codec_options={"shift": False})  # the peak alone, without its offset


def _upscaled(how: str) -> Evaluation:
    """64x48 crops brought to the input size: table 2."""
    return Evaluation(how, upscaling="bicubic" if how == "bicubic" else "spsr", crop_size=(64, 48))


UPSCALED = (_upscaled("spsr"), _upscaled("bicubic"))


@dataclass(frozen=True)
class Row:
    """A row of a table: what the paper prints, and what of ours stands beside it.

    Attributes:
        label: How the row is called.
        experiment: The network, None where the paper cites a figure that is not run again.
        evaluation: Name of the evaluation that the row shows.
        published: The paper's row, None for rows that the paper does not have.
        cited: Whether the paper took the figure from elsewhere.
    """

    label: str
    experiment: Experiment | None
    evaluation: str = "val2017"
    published: PublishedRow | None = None
    cited: bool = False


@dataclass(frozen=True)
class Table:
    """A table: its rows in the paper's order.

    Attributes:
        name: ``1`` to ``9``, ``figure1``, ``figure5``, ``mr-val``, ``mr-testdev``, ``mr-mpii`` or ``q1`` to ``q9``.
        title: What it compares.
        rows: Its rows.
        halved: Whether a laptop runs it at half the paper's input size.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    halved: bool = False


def main_networks(family: str, size: Size) -> list[Experiment]:
    """A family at both widths, with all the evaluations that any table asks of it."""
    build = {"hrnet": recipes.hrnet, "dark": recipes.dark, "udp": recipes.udp, "cal": recipes.cal}[family]
    evaluations = [VAL]
    if size == (128, 96) and family != "dark":
        evaluations.append(TEST_DEV)
    if size == HIGH:
        evaluations += UPSCALED
    if size in LOW:
        evaluations += {"hrnet": [ARGMAX, NO_FLIP, UNSHIFTED], "udp": [UNSMOOTHED, COARSE], "cal": [COARSE]}.get(
            family, []
        )
    return [build(width, size, tuple(evaluations)) for width in ("w32", "w48")]


def _networks() -> Iterator[Experiment]:
    for size in LOW:
        for family in ("hrnet", "udp", "dark", "cal"):
            yield from main_networks(family, size)
    for family in ("hrnet", "udp"):
        yield from main_networks(family, HIGH)
    for size, variant, options in _ablations():
        yield recipes.cal("w32", size, (VAL, COARSE), variant=variant, **options)
    yield from (recipes.simple_baseline(depth, (128, 96), (TEST_DEV, VAL)) for depth in ("r50", "r101", "r152"))
    yield recipes.simple_baseline("r152", HIGHEST, (TEST_DEV, VAL))
    yield recipes.hrnet("w48", HIGHEST, (VAL_BETTER_DETECTOR,))
    yield recipes.udp("w48", HIGHEST, (VAL_BETTER_DETECTOR,))
    yield recipes.cal("w48", HIGHEST, (VAL_BETTER_DETECTOR, TEST_DEV))
    yield recipes.integral("r101", (256, 256), (TEST_DEV, VAL))
    for depth in ("r50", "r101", "r152"):
        yield recipes.simple_baseline(depth, HIGH, (VAL_DETECTOR, TEST_DEV))
        yield recipes.simple_baseline(depth, (256, 256), (MPII_VAL,), "mpii")
        for family in ("mrheatnet1", "mrheatnet2", "mrfeanet1", "mrfeanet2"):
            if depth == "r50" or family == "mrfeanet2":
                yield recipes.multi_resolution(family, depth, HIGH, (VAL_DETECTOR, TEST_DEV))
            yield recipes.multi_resolution(family, depth, (256, 256), (MPII_VAL,), "mpii")


def _ablations() -> Iterator[tuple[Size, str, dict[str, recipes.Options]]]:
    """Variants of CAL-W32 in tables 3 to 7; the method itself, at 128x96, is among the main networks."""
    low = (128, 96)
    yield low, "disk", {"training": {"epochs": 250, "mask_epochs": 0}}  # as many epochs as with masks
    yield low, "components2", {"training": {"components": 2}}
    yield low, "components3", {"training": {"components": 3}}
    for count in (1, 2, 3):
        yield HIGH, f"components{count}", {"training": {"components": count}}
    yield low, "binary", {"codec": {"coarse": "binary"}}
    yield low, "l2", {"loss": {"offset": "l2"}}
    yield low, "smooth-l1", {"loss": {"offset": "smooth_l1"}}
    yield low, "one-stage", {"training": {"epochs": 0, "mask_epochs": 250}}  # masks from the first mini-batch


NETWORKS: dict[str, Experiment] = {experiment.name: experiment for experiment in _networks()}

# What the papers call a method, and our family's name.
_FAMILIES = {
    "HRNet": "hrnet",
    "UDP": "udp",
    "DARK": "dark",
    "CAL": "cal",
    "CAL (Ours)": "cal",
    "HRNet+SPSR": "hrnet",
    "UDP+SPSR": "udp",
    "SimpleBaseline": "simple-baseline",
    "MRHeatNet1": "mrheatnet1",
    "MRHeatNet2": "mrheatnet2",
    "MRFeaNet1": "mrfeanet1",
    "MRFeaNet2": "mrfeanet2",
}
_VARIANTS = {  # as printed: what a page calls it, and our variant
    "offset mask=Binary heatmap": ("binary heatmap (disk)", "disk"),
    "offset mask=MGM": ("mixed Gaussian mask", ""),
    "GMM components=1": ("one component", "components1"),
    "GMM components=2": ("two components", "components2"),
    "GMM components=3": ("three components", "components3"),
    "heatmap=Binary": ("binary", "binary"),
    "heatmap=Gaussian": ("Gaussian", ""),
    "offset loss=L2 (inferred)": ("L2 (name inferred)", "l2"),
    "offset loss=Smooth L1": ("smooth L1", "smooth-l1"),
    "offset loss=L1 (inferred)": ("L1 (name inferred)", ""),
    "One-stage training": ("one stage", "one-stage"),
    "Two-stage training": ("two stages", ""),
}
_INTEGRAL = ("IPR", "Integral Pose Regression")  # cited, and run besides


def _row(printed: PublishedRow, evaluation: str) -> Row:
    """The row of ours that belongs to a printed one."""
    method, _, variant = printed.method.partition(", ")
    backbone = printed.backbone.lower().removeprefix("hrnet-").replace("resnet-", "r")
    size = printed.input_size
    if printed.method in _INTEGRAL:
        return Row(printed.method, NETWORKS["integral-r101-256x256"], evaluation, printed, cited=True)
    if method not in _FAMILIES:
        return Row(printed.method, None, evaluation, printed, cited=True)
    if method.endswith("+SPSR"):
        size, evaluation = "256x192", "spsr"
    label, change = _VARIANTS[variant] if variant else (printed.method, "")
    if change == "components1" and size == "128x96":
        change = ""  # the paper's own choice at this size
    source = "mpii" if printed.table == "mr-mpii" else ""
    name = "-".join(part for part in (_FAMILIES[method], backbone, size, change, source) if part)
    return Row(label, NETWORKS[name], evaluation, printed)


def _table(name: str, title: str, evaluation: str = "val2017", halved: bool = False) -> Table:
    rows = [_row(printed, evaluation) for printed in published(name)]
    return Table(name, title, tuple(rows), halved)


def _table9() -> Table:
    """Table 9 mixes sets: HRNet's and UDP's rows are UDP's on val2017, the others are of test-dev."""
    on_val = {"HRNet", "UDP", "CAL (Ours)"}
    rows = [
        _row(printed, "val2017-detector65" if printed.method in on_val else "test-dev2017")
        for printed in published("9")
    ]
    return Table("9", "High resolution (sets inferred)", tuple(rows))


def _figure1() -> Table:
    """AP over the input size, from 64x48 to 256x192."""
    rows = [row for row in _table("8", "").rows if row.published is not None and row.published.backbone == "HRNet-W32"]
    more = [("HRNet", "hrnet-w32-256x192"), ("UDP", "udp-w32-256x192"), ("CAL", "cal-w32-256x192-components2")]
    return Table(
        "figure1", "AP by input size, HRNet-W32", (*rows, *(Row(label, NETWORKS[name]) for label, name in more))
    )


def _figure5() -> Table:
    """Displacements of coarse predictions, recorded with every network of CAL."""
    names = ("cal-w32-64x48", "cal-w32-128x96", "cal-w32-256x192-components2")
    return Table("figure5", "Displacements of coarse predictions", tuple(Row(name, NETWORKS[name]) for name in names))


PAPER_TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        _table("1", "Low resolution, COCO test-dev", "test-dev2017"),
        _table("2", "Against super-resolution"),
        _table("3", "Mask of the offset loss", halved=True),
        _table("4", "Components of the mixture", halved=True),
        _table("5", "Coarse target", halved=True),
        _table("6", "Offset loss", halved=True),
        _table("7", "Schedule", halved=True),
        _table("8", "Low resolution, COCO val2017"),
        _table9(),
        _figure1(),
        _figure5(),
        _table("mr-val", "Multi-resolution networks, COCO val2017", "val2017-detector"),
        _table("mr-testdev", "Multi-resolution networks, COCO test-dev", "test-dev2017"),
        _table("mr-mpii", "Multi-resolution networks, MPII", "val"),
    )
}
