"""What the papers claim, and what the book asks besides, as contrasts between rows; by what rule one counts as seen.

The rule was fixed before any row was run. Networks of the same seed saw the same people in
the same order, so differences are taken seed by seed; a claim is *seen* where the 95 %
interval of their mean, by Student's t, lies above zero, *contrary* where it lies below, and
*not seen* where it holds zero. With fewer than ``SEEDS`` seeds there is no verdict.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calbook.experiments.presets import PresetName
from calbook.experiments.reports import Line, lines_of
from calbook.experiments.running import ROWS

SEEDS = 3
CONFIDENCE = 0.95

Verdict = Literal["seen", "contrary", "not seen", "too few seeds", "not run"]


@dataclass(frozen=True)
class Row:
    """A row of a table, by its network.

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
    plus: tuple[Row, ...]
    minus: tuple[Row, ...]


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, in our words.

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


@dataclass(frozen=True)
class Finding:
    """A contrast with its figures, in points of AP.

    Attributes:
        contrast: The contrast.
        paper: By the printed figures; None where one of them is not printed.
        ours: One value per seed that all its rows have.
        interval: Of the mean of ours; None with fewer than two seeds.
        verdict: By the rule of this module.
    """

    contrast: Contrast
    paper: float | None
    ours: tuple[float, ...]
    interval: tuple[float, float] | None
    verdict: Verdict


def _better(table: str, better: str, worse: str, label: str = "") -> Contrast:
    return Contrast(label or f"{better} over {worse}", table, (Row(better),), (Row(worse),))


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
                    (Row("udp-w32-64x48"), Row("hrnet-w32-128x96")),
                    (Row("hrnet-w32-64x48"), Row("udp-w32-128x96")),
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
                _better("4", _LOW, f"{_LOW}-components2", "lower size, one over two"),
                _better("4", _LOW, f"{_LOW}-components3", "lower size, one over three"),
                _better("4", f"{_HIGH}-components2", f"{_HIGH}-components1", "higher size, two over one"),
                _better("4", f"{_HIGH}-components2", f"{_HIGH}-components3", "higher size, two over three"),
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
            "L1 is the best offset loss",
            "Table 6",
            (
                _better("6", _LOW, f"{_LOW}-smooth-l1", "L1 over smooth L1"),
                _better("6", _LOW, f"{_LOW}-l2", "L1 over L2"),
            ),
        ),
        Claim(
            "stages",
            "Two stages beat masks from the start",
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
                    (Row("hrnet-w32-256x192", "spsr"),),
                    (Row("hrnet-w32-64x48"),),
                ),
                Contrast(
                    "CAL at 64x48 over UDP on enlarged pictures",
                    "2",
                    (Row("cal-w32-64x48"),),
                    (Row("udp-w32-256x192", "spsr"),),
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
                _better("mr-val", f"{better}-r50-256x192", f"{worse}-r50-256x192")
                for better, worse in (
                    ("mrfeanet1", "simple-baseline"),
                    ("mrfeanet2", "simple-baseline"),
                    ("mrfeanet1", "mrheatnet1"),
                    ("mrfeanet2", "mrheatnet2"),
                )
            ),
        ),
    )
}


def _rows(table: str, label: str, plus: tuple[str, str], minus: tuple[str, str]) -> Contrast:
    """A contrast between two rows by network and evaluation."""
    return Contrast(label, table, (Row(*plus),), (Row(*minus),))


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


# What the questions' rows are asked. Nobody has printed figures for them: a contrast says what would be a gain.
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
        ("what it gains UDP", ("udp-w32-{}-two-branches", "unsmoothed"), ("udp-w32-{}", "unsmoothed")),
        ("CAL over UDP, both one trunk", ("cal-w32-{}-one-trunk", "val2017"), ("udp-w32-{}", "unsmoothed")),
        ("CAL over UDP, both two", ("cal-w32-{}", "val2017"), ("udp-w32-{}-two-branches", "unsmoothed")),
    ),
    "q5": _of_cal("q5", ("one component over two", "", "components2"), ("one over three", "", "components3")),
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


def findings(contrasts: tuple[Contrast, ...], preset: PresetName, rows: Path = ROWS) -> list[Finding]:
    """What the results files say of some contrasts.

    Raises:
        ValueError: A table has no such row.
        ResultsError: A file was changed by hand.
    """
    tables = {name: lines_of(name, preset, rows) for name in dict.fromkeys(item.table for item in contrasts)}
    return [_finding(contrast, tables[contrast.table]) for contrast in contrasts]


def _finding(contrast: Contrast, lines: list[Line]) -> Finding:
    chosen = [_line(row, contrast, lines) for row in contrast.plus + contrast.minus]
    signs = [1] * len(contrast.plus) + [-1] * len(contrast.minus)
    values = _differences(chosen, signs)
    printed = [line.theirs("AP") for line in chosen]
    known = [value for value in printed if value is not None]
    paper = sum(s * v for s, v in zip(signs, known, strict=True)) if len(known) == len(printed) else None
    return Finding(contrast, paper, values, mean_interval(values), verdict(values))


def _differences(lines: list[Line], signs: list[int]) -> tuple[float, ...]:
    """Sums of the rows' AP with signs, one for each seed that all trained rows have."""
    scores = [_by_seed(line) for line in lines]
    if not all(scores):
        return ()
    seeds = set.intersection(*(set(found) for found, line in zip(scores, lines, strict=True) if _is_trained(line)))
    return tuple(
        sum(
            sign * (found[seed] if _is_trained(line) else next(iter(found.values())))
            for sign, found, line in zip(signs, scores, lines, strict=True)
        )
        for seed in sorted(seeds)
    )


def _is_trained(line: Line) -> bool:
    return line.run is not None and line.run.experiment.is_trained


def _line(row: Row, contrast: Contrast, lines: list[Line]) -> Line:
    for line in lines:
        network = "" if line.row.experiment is None else line.row.experiment.name
        if network == row.network and row.evaluation in (None, line.row.evaluation):
            return line
    raise ValueError(f"table {contrast.table} has no row of {row.network}, {row.evaluation or 'any evaluation'}")


def _by_seed(line: Line) -> dict[int, float]:
    """AP in percent by seed."""
    return dict(zip((int(record["settings"]["seed"]) for record in line.records), line.ours("AP"), strict=True))


def mean_interval(values: tuple[float, ...]) -> tuple[float, float] | None:
    """The 95 % interval of the mean by Student's t; None with fewer than two values.

    >>> low, high = mean_interval((1.0, 2.0, 3.0))
    >>> round(low, 2), round(high, 2)
    (-0.48, 4.48)
    """
    from scipy import stats  # comes with what the book needs

    if len(values) < 2:
        return None
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * deviation / len(values) ** 0.5
    return mean - reach, mean + reach


def verdict(values: tuple[float, ...]) -> Verdict:
    """The verdict on a claim that differences are above zero.

    >>> verdict((1.0, 1.1, 0.9)), verdict((1.0, 1.1))
    ('seen', 'too few seeds')
    """
    interval = mean_interval(values)
    if len(values) < SEEDS or interval is None:
        return "too few seeds" if values else "not run"
    if interval[0] > 0:
        return "seen"
    return "contrary" if interval[1] < 0 else "not seen"


HEADERS = ["claim", "where", "paper", "ours", "95 % interval", "seeds", "verdict"]


def cells(names: tuple[str, ...], preset: PresetName, rows: Path = ROWS) -> list[list[object]]:
    """A row per contrast of some claims, for ``HEADERS``; differences are in points of AP.

    >>> cells(("mask",), "smoke", Path("nowhere"))[0][2:]
    ['+1.0', None, None, 0, 'not run']
    """
    found = []
    for name in names:
        claim = CLAIMS[name]
        for item in findings(claim.contrasts, preset, rows):
            found.append([f"{claim.says} ({claim.source})", item.contrast.label, *figures(item)])
    return found


def figures(item: Finding) -> list[object]:
    """The figures of a finding: the paper's, ours, interval, seeds, verdict."""
    ours = f"{statistics.fmean(item.ours):+.1f}" if item.ours else None
    interval = f"{item.interval[0]:+.1f} to {item.interval[1]:+.1f}" if item.interval else None
    paper = None if item.paper is None else f"{item.paper:+.1f}"
    return [paper, ours, interval, len(item.ours), item.verdict]
