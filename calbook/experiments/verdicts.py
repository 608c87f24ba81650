"""By what rule a claim counts as seen in our rows.

The rule was fixed before any row was run. Networks of the same seed saw the same people in
the same order, so differences are taken seed by seed; a claim is *seen* where the 95 %
interval of their mean, by Student's t, lies above zero, *contrary* where it lies below, and
*not seen* where it holds zero. With fewer than ``SEEDS`` seeds there is no verdict.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calbook.experiments.claims import CLAIMS, Contrast, RowName
from calbook.experiments.presets import PresetName
from calbook.experiments.reports import Line, lines_of
from calbook.experiments.running import ROWS

SEEDS = 3
CONFIDENCE = 0.95

Verdict = Literal["seen", "contrary", "not seen", "too few seeds", "not run"]


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


def findings(contrasts: tuple[Contrast, ...], preset: PresetName, rows: Path = ROWS) -> list[Finding]:
    """What the results files say of some contrasts.

    Raises:
        ValueError: A table has no such row.
        ResultsError: A file was changed by hand.
    """
    tables = {name: lines_of(name, preset, rows) for name in dict.fromkeys(item.table for item in contrasts)}
    return [finding_of(contrast, tables[contrast.table]) for contrast in contrasts]


def finding_of(contrast: Contrast, lines: Sequence[Line]) -> Finding:
    """What the rows of its table say of one contrast; differences are in points of AP.

    Raises:
        ValueError: The table has no such row.
    """
    chosen = [line_of(row, contrast.table, lines) for row in contrast.plus + contrast.minus]
    signs = [1] * len(contrast.plus) + [-1] * len(contrast.minus)
    values = _differences(chosen, signs)
    printed = [line.theirs("AP") for line in chosen]
    known = [value for value in printed if value is not None]
    paper = sum(s * v for s, v in zip(signs, known, strict=True)) if len(known) == len(printed) else None
    return judge(contrast, paper, values)


def judge(contrast: Contrast, paper: float | None, values: tuple[float, ...]) -> Finding:
    """A finding by the rule of this module.

    Args:
        contrast: What was compared.
        paper: The difference by the printed figures, in points; None where there is none.
        values: Our differences in points, one per seed.

    >>> judge(Contrast("A over B", "8", (), ()), 0.5, (1.0, 1.1, 0.9)).verdict
    'seen'
    """
    return Finding(contrast, paper, values, mean_interval(values), verdict(values))


def _differences(lines: list[Line], signs: list[int]) -> tuple[float, ...]:
    """Sums of the rows' AP with signs, one for each seed that all trained rows have."""
    scores = [line.by_seed("AP") for line in lines]
    if not all(scores):
        return ()
    trained = [set(found) for found, line in zip(scores, lines, strict=True) if _is_trained(line)]
    seeds = set.intersection(*trained) if trained else {0}  # perfect networks alone have one value
    return tuple(
        sum(
            sign * (found[seed] if _is_trained(line) else next(iter(found.values())))
            for sign, found, line in zip(signs, scores, lines, strict=True)
        )
        for seed in sorted(seeds)
    )


def _is_trained(line: Line) -> bool:
    return line.run is not None and line.run.experiment.is_trained


def line_of(row: RowName, table: str, lines: Sequence[Line]) -> Line:
    """The row of this name among those of a table.

    Raises:
        ValueError: The table has no such row.

    >>> line_of(RowName("cal-w32-64x48"), "8", lines_of("8", "smoke", Path("nowhere"))).row.label
    'CAL (Ours)'
    """
    for line in lines:
        network = "" if line.row.experiment is None else line.row.experiment.name
        if network == row.network and row.evaluation in (None, line.row.evaluation):
            return line
    raise ValueError(f"table {table} has no row of {row.network}, {row.evaluation or 'any evaluation'}")


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


def cells(found: Mapping[str, Sequence[Finding]]) -> list[list[object]]:
    """A row per finding of some claims, by the claim's name, for ``HEADERS``; differences are in points of AP.

    >>> cells({"mask": findings(CLAIMS["mask"].contrasts, "smoke", Path("nowhere"))})[0][2:]
    ['+1.0', None, None, 0, 'not run']
    """
    return [
        [f"{CLAIMS[name].says} ({CLAIMS[name].source})", item.contrast.label, *figures(item)]
        for name, items in found.items()
        for item in items
    ]


def figures(item: Finding) -> list[object]:
    """The figures of a finding: the paper's, ours, interval, seeds, verdict."""
    ours = f"{statistics.fmean(item.ours):+.1f}" if item.ours else None
    interval = f"{item.interval[0]:+.1f} to {item.interval[1]:+.1f}" if item.interval else None
    paper = None if item.paper is None else f"{item.paper:+.1f}"
    return [paper, ours, interval, len(item.ours), item.verdict]
