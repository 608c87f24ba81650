"""What the papers claim, and what the book asks besides, as contrasts between rows.

By what rule one counts as seen is said in ``calbook.experiments.verdicts``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class RowName:
    """Which row of a table, by its network.

    Attributes:
        network: The experiment's name, as published.
        evaluation: Of its evaluations, the row's; None for the table's first row of this network.
    """

    network: str
    evaluation: str | None = None


@dataclass(frozen=True)
class Contrast:
    """Rows whose AP is added, less rows whose AP is taken away; a claim says that more than zero is left.

    Attributes:
        label: What is compared.
        table: The table that holds all rows.
        plus: Rows that are added.
        minus: Rows that are taken away.
    """

    label: str
    table: str
    plus: tuple[RowName, ...]
    minus: tuple[RowName, ...]


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, or what its table invites to conclude, in our words.

    Attributes:
        name: For reference.
        says: The claim.
        source: Where the paper makes it.
        contrasts: What has to be above zero if it holds.
    """

    name: str
    says: str
    source: str
    contrasts: tuple[Contrast, ...]


def _better(table: str, better: str, worse: str, label: str = "") -> Contrast:
    return Contrast(label or f"{better} over {worse}", table, (RowName(better),), (RowName(worse),))


def _at_low(better: str, worse: str) -> tuple[Contrast, ...]:
    """A contrast of table 8, at both input sizes."""
    return tuple(_better("8", f"{better}-w32-{size}", f"{worse}-w32-{size}", size) for size in ("64x48", "128x96"))


_LOW = "cal-w32-128x96"
_HIGH = "cal-w32-256x192"

CLAIMS: dict[str, Claim] = {
    claim.name: claim
    for claim in (
        Claim("offsets", "Learning offsets beats reading a peak", "Table 8, Figure 1", _at_low("udp", "hrnet")),
        Claim(
            "smaller",
            "What offsets gain over peaks grows as pictures shrink",
            "Table 8, Figure 1",
            (
                Contrast(
                    "gain at 64x48 less gain at 128x96",
                    "8",
                    (RowName("udp-w32-64x48"), RowName("hrnet-w32-128x96")),
                    (RowName("hrnet-w32-64x48"), RowName("udp-w32-128x96")),
                ),
            ),
        ),
        Claim("dark", "A Newton step on the heatmap beats the quarter shift", "Table 8", _at_low("dark", "hrnet")),
        Claim("cal-udp", "CAL beats UDP", "Tables 1 and 8, Figure 1", _at_low("cal", "udp")),
        Claim("cal-dark", "CAL beats DARK", "Table 8", _at_low("cal", "dark")),
        Claim(
            "mask",
            "A mixed Gaussian mask beats the disk",
            "Table 3",
            (_better("3", _LOW, f"{_LOW}-disk", "mixed Gaussian over disk"),),
        ),
        Claim(
            "components",
            "One Gaussian is best at the lower input size, two at the higher",
            "Table 4",
            (
                _better("4", _LOW, f"{_LOW}-components2", "lower size, one Gaussian over two"),
                _better("4", _LOW, f"{_LOW}-components3", "lower size, one Gaussian over three"),
                _better("4", f"{_HIGH}-components2", f"{_HIGH}-components1", "higher size, two Gaussians over one"),
                _better("4", f"{_HIGH}-components2", f"{_HIGH}-components3", "higher size, two Gaussians over three"),
            ),
        ),
        Claim(
            "target",
            "A Gaussian target beats a binary one",
            "Table 5",
            (_better("5", _LOW, f"{_LOW}-binary", "Gaussian over binary"),),
        ),
        Claim(
            "loss",
            "L1 is the best offset loss (row names inferred)",
            "Table 6",
            (
                _better("6", _LOW, f"{_LOW}-smooth-l1", "L1 over smooth L1"),
                _better("6", _LOW, f"{_LOW}-l2", "L1 over L2"),
            ),
        ),
        Claim(
            "stages",
            "Two stages beat masks from the start (our reading of one stage)",
            "Table 7",
            (_better("7", _LOW, f"{_LOW}-one-stage", "two stages over one"),),
        ),
        Claim(
            "super-resolution",
            "Super-resolution helps, and less than CAL on the small picture",
            "Table 2",
            (
                Contrast(
                    "HRNet on enlarged pictures over HRNet at 64x48",
                    "2",
                    (RowName("hrnet-w32-256x192", "spsr"),),
                    (RowName("hrnet-w32-64x48"),),
                ),
                Contrast(
                    "CAL at 64x48 over UDP on enlarged pictures",
                    "2",
                    (RowName("cal-w32-64x48"),),
                    (RowName("udp-w32-256x192", "spsr"),),
                ),
            ),
        ),
        Claim(
            "high",
            "CAL is ahead at high resolution, too",
            "Table 9",
            (
                _better("9", "cal-w48-384x288", "udp-w48-384x288", "CAL over UDP"),
                _better("9", "cal-w48-384x288", "hrnet-w48-384x288", "CAL over HRNet"),
            ),
        ),
        Claim(
            "multi-resolution",
            "Features of several resolutions beat those of one, and heatmaps of several",
            "Tran, Nguyen and Kim, COCO val2017",
            tuple(
                _better("mr-val", f"{better.lower()}-r50-256x192", f"{worse}-r50-256x192", f"{better} over {name}")
                for better, worse, name in (
                    ("MRFeaNet1", "simple-baseline", "SimpleBaseline"),
                    ("MRFeaNet2", "simple-baseline", "SimpleBaseline"),
                    ("MRFeaNet1", "mrheatnet1", "MRHeatNet1"),
                    ("MRFeaNet2", "mrheatnet2", "MRHeatNet2"),
                )
            ),
        ),
    )
}


def _rows(table: str, label: str, plus: tuple[str, str], minus: tuple[str, str]) -> Contrast:
    """A contrast between two rows by network and evaluation."""
    return Contrast(label, table, (RowName(*plus),), (RowName(*minus),))


def _of_sizes(table: str, *lines: tuple[str, tuple[str, str], tuple[str, str]]) -> tuple[Contrast, ...]:
    """The same contrasts at both input sizes; ``{}`` in a network's name is the size."""
    return tuple(
        _rows(table, f"{size}: {label}", (plus[0].format(size), plus[1]), (minus[0].format(size), minus[1]))
        for size in ("64x48", "128x96")
        for label, plus, minus in lines
    )


def _of_cal(table: str, *lines: tuple[str, str, str]) -> tuple[Contrast, ...]:
    """Contrasts between variants of CAL at the ablations' size: label, the one, the other; "" is CAL as published."""
    networks = [(label, *(f"{_LOW}-{name}".rstrip("-") for name in pair)) for label, *pair in lines]
    return tuple(_better(table, plus, minus, label) for label, plus, minus in networks)


# What the questions' rows are asked: a contrast says what would be a gain. Few of them have printed figures.
ANSWERS: dict[str, tuple[Contrast, ...]] = {
    "q2": _of_sizes(
        "q2",
        ("what the quarter shift gains over the peak", ("hrnet-w32-{}", "val2017"), ("hrnet-w32-{}", "argmax")),
        ("what moving the mirrored maps gains", ("hrnet-w32-{}", "val2017"), ("hrnet-w32-{}", "unshifted")),
        ("what the flip test gains", ("hrnet-w32-{}", "val2017"), ("hrnet-w32-{}", "no-flip")),
        ("what unbiased pixels and DARK gain", ("dark-w32-{}", "val2017"), ("hrnet-w32-{}", "val2017")),
        ("what a perfect network would gain", ("perfect-{}", "quarter-shift"), ("hrnet-w32-{}", "val2017")),
    ),
    "q3": _of_sizes(
        "q3", ("what leaving out the smoothing gains", ("udp-w32-{}", "unsmoothed"), ("udp-w32-{}", "val2017"))
    ),
    "q4": _of_sizes(
        "q4",
        ("what a second branch gains CAL", ("cal-w32-{}", "val2017"), ("cal-w32-{}-one-trunk", "val2017")),
        ("what it gains UDP, not smoothed", ("udp-w32-{}-two-branches", "unsmoothed"), ("udp-w32-{}", "unsmoothed")),
        ("CAL over UDP, both one trunk", ("cal-w32-{}-one-trunk", "val2017"), ("udp-w32-{}", "unsmoothed")),
        ("CAL over UDP, both two", ("cal-w32-{}", "val2017"), ("udp-w32-{}-two-branches", "unsmoothed")),
    ),
    "q5": _of_cal("q5", ("one Gaussian over two", "", "components2"), ("one over three", "", "components3")),
    "q6": _of_cal(
        "q6",
        ("disk: L1 over smooth L1", "disk", "disk-smooth-l1"),
        ("disk: L1 over L2", "disk", "disk-l2"),
        ("mixed Gaussian: L1 over smooth L1", "", "smooth-l1"),
        ("mixed Gaussian: L1 over L2", "", "l2"),
    ),
    "q7": _of_cal(
        "q7",
        ("Gaussian on the disk over the plane", "", "plane"),
        ("masks about the joint over its pixel", "", "pixel-masks"),
        ("offsets as they are over the code's scale", "paper-scale", "code-scale"),
    ),
    "q8": _of_cal(
        "q8",
        ("after 210 of 250 epochs over never", "", "disk"),
        ("after 210 over after 125", "", "masks-from-125"),
        ("after 210 over after 62", "", "masks-from-62"),
        ("after 210 over at once", "", "one-stage"),
    ),
    "q9": _of_sizes(
        "q9",
        ("Gaussian over binary, both L2", ("cal-w32-{}", "val2017"), ("cal-w32-{}-binary", "val2017")),
        ("Gaussian over binary, both BCE", ("cal-w32-{}-bce", "val2017"), ("cal-w32-{}-binary-bce", "val2017")),
        ("L2 over BCE, Gaussian", ("cal-w32-{}", "val2017"), ("cal-w32-{}-bce", "val2017")),
        (
            "the peak alone: Gaussian, L2 over binary, BCE",
            ("cal-w32-{}", "coarse"),
            ("cal-w32-{}-binary-bce", "coarse"),
        ),
    ),
}
