"""How far to trust a figure: intervals by drawing pictures again, with replacement.

Pictures are drawn, not persons: persons of one picture share its light, its
detector and each other's occlusion. The interval answers one question: how
would the figure change with another sample of pictures of this kind? It says nothing of
another training run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from calbook.data.annotations import Entry
from calbook.metrics.coco import FIGURES, evaluated
from calbook.metrics.curves import Array, Matches, figures

SAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure with a percentile interval.

    Attributes:
        value: The figure of the pictures as they are.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def bootstrap(
    values: Tensor, image_ids: Tensor, samples: int = SAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Interval for the mean of values that were measured in pictures.

    For mean OKS give each person's, for PCK 1 and 0 for each counted joint.

    Args:
        values: ``(N,)``. NaN is left out.
        image_ids: ``(N,)``, the picture of each value.
        samples: How often pictures are drawn.
        level: Share of the samples inside the interval.
        seed: Of the draws.

    Raises:
        ValueError: There is nothing to average, or ``samples`` or ``level`` make no sense.
    """
    sound = ~values.isnan()
    if not sound.any():
        raise ValueError("no values to average: the bootstrap needs at least one that is not NaN")
    _, picture = image_ids[sound].unique(return_inverse=True)
    sums = torch.bincount(picture, values[sound].double())  # (I,)
    counts = torch.bincount(picture).double()

    def mean(weights: Array) -> Array:
        drawn = torch.from_numpy(weights)
        return ((drawn @ sums) / (drawn @ counts)).numpy()[None]

    return _interval(mean, len(counts), samples, level, seed)[0]


def bootstrap_ap(
    annotations: Path | str | Entry,
    results: Sequence[Entry],
    sigmas: Sequence[float] | None = None,
    samples: int = SAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals for COCO's ten figures.

    Poses are matched to persons once, by pycocotools; a sample only weights the
    pictures, so a thousand samples cost seconds. ``value`` is to the digit what
    ``coco_ap`` gives. A picture drawn twice counts as two whose poses stand side by
    side in the ranking.

    Args:
        annotations: As of ``coco_ap``.
        results: As of ``coco_ap``.
        sigmas: As of ``coco_ap``.
        samples: How often pictures are drawn.
        level: Share of the samples inside the interval.
        seed: Of the draws.

    Returns:
        Name to interval; without the figures of sizes that no person has.

    Raises:
        DataError: As of ``coco_ap``.
        ValueError: ``samples`` or ``level`` make no sense.
    """
    matches = Matches.all_sizes(evaluated(annotations, results, sigmas))
    return _named(_interval(lambda weights: figures(matches, weights), len(matches[0].persons), samples, level, seed))


def bootstrap_ap_difference(
    annotations: Path | str | Entry,
    first: Sequence[Entry],
    second: Sequence[Entry],
    sigmas: Sequence[float] | None = None,
    samples: int = SAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals for the difference of two methods' figures on the same pictures, second minus first.

    Both see the same draws. A hard picture is hard for both, so the difference is
    usually known much better than either figure.

    Args:
        annotations: As of ``coco_ap``.
        first: Results of one method.
        second: Results of the other.
        sigmas: As of ``coco_ap``.
        samples: How often pictures are drawn.
        level: Share of the samples inside the interval.
        seed: Of the draws.

    Returns:
        As of ``bootstrap_ap``.
    """
    before, after = (Matches.all_sizes(evaluated(annotations, results, sigmas)) for results in (first, second))

    def difference(weights: Array) -> Array:
        return figures(after, weights) - figures(before, weights)

    return _named(_interval(difference, len(before[0].persons), samples, level, seed))


def _interval(
    statistic: Callable[[Array], Array], pictures: int, samples: int, level: float, seed: int
) -> list[Interval]:
    """Percentile intervals of figures (F, S) of picture weights (S, I)."""
    if samples < 1 or not 0 < level < 1:
        raise ValueError(f"samples must be positive and level between 0 and 1, not {samples} and {level}")
    draws = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), size=samples)
    values = statistic(np.ones((1, pictures)))[:, 0]
    drawn = statistic(draws.astype(np.float64))  # (F, S)
    return [_percentiles(float(value), row, level) for value, row in zip(values, drawn, strict=True)]


def _percentiles(value: float, drawn: Array, level: float) -> Interval:
    """The middle ``level`` of the draws, without those in which the figure is not defined."""
    defined = drawn[~np.isnan(drawn)]
    if np.isnan(value) or len(defined) == 0:
        return Interval(value, np.nan, np.nan)
    low, high = np.percentile(defined, [50 - 50 * level, 50 + 50 * level])
    return Interval(value, float(low), float(high))


def _named(intervals: Sequence[Interval]) -> dict[str, Interval]:
    return {name: found for name, found in zip(FIGURES, intervals, strict=True) if not np.isnan(found.value)}
