"""Precision and recall of weighted pictures: COCO's ten figures without matching poses again.

Which pose finds which person is settled within each picture. So when pictures are
drawn again, or weighted, only the ranking over all pictures has to be summed up
anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbook.metrics.coco import FIGURES

Array = npt.NDArray[np.float64]

_SIZE = {"M": 1, "L": 2}  # index in pycocotools' ranges: all, medium, large
_THRESHOLD = {"50": slice(0, 1), "75": slice(5, 6)}  # of 0.50, 0.55, ..., 0.95


@dataclass(frozen=True, eq=False)
class Matches:
    """What pycocotools found for one range of sizes, poses from the highest score to the lowest.

    Attributes:
        picture: ``(D,)``, index of each pose's picture.
        correct: ``(T, D)``, 1 where a pose matches a person at that OKS threshold.
        wrong: ``(T, D)``, 1 where it matches nobody. Poses that are ignored are neither.
        persons: ``(I,)``, how many are scored in each picture.
        recall_levels: ``(R,)``, at which precision is read.
    """

    picture: npt.NDArray[np.intp]
    correct: Array
    wrong: Array
    persons: Array
    recall_levels: Array

    @classmethod
    def all_sizes(cls, evaluation: Any) -> list["Matches"]:
        """One for each range of sizes of an ``evaluated`` pycocotools evaluation."""
        images = len(evaluation.params.imgIds)
        starts = range(0, len(evaluation.evalImgs), images)
        return [cls._of(evaluation.evalImgs[start : start + images], evaluation.params) for start in starts]

    @classmethod
    def _of(cls, entries: Sequence[Any], params: Any) -> "Matches":
        """From one entry for each picture, None for a picture without persons and poses."""
        known = {index: entry for index, entry in enumerate(entries) if entry is not None}
        scores = np.concatenate([np.zeros(0), *(entry["dtScores"] for entry in known.values())])
        order = np.argsort(-scores, kind="mergesort")  # as pycocotools: equal scores stay in the pictures' order
        picture = np.repeat(np.array(list(known), dtype=np.intp), [len(e["dtScores"]) for e in known.values()])
        none = np.zeros((len(params.iouThrs), 0))
        matched, ignored = (
            np.concatenate([none, *(entry[key] for entry in known.values())], axis=1)[:, order] > 0
            for key in ("dtMatches", "dtIgnore")
        )
        persons = np.zeros(len(entries))
        for index, entry in known.items():
            persons[index] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
        correct, wrong = (matched & ~ignored).astype(float), (~matched & ~ignored).astype(float)
        return cls(picture[order], correct, wrong, persons, params.recThrs)


def figures(matches: Sequence[Matches], weights: Array) -> Array:
    """The ten figures under weights of the pictures.

    Args:
        matches: Of all sizes.
        weights: ``(S, I)``, how often each picture counts; S different weightings.

    Returns:
        ``(10, S)`` in the order of ``FIGURES``; NaN where no person has the size.
    """
    columns = [[precision_recall(part, row) for part in matches] for row in weights]
    return np.array([[_mean(name, *parts[_SIZE.get(name[2:], 0)]) for parts in columns] for name in FIGURES])


def precision_recall(matches: Matches, weights: Array) -> tuple[Array, Array]:
    """Precision at each level of recall, and the recall reached, pictures counted ``weights`` (I,) times.

    Precision at rank i is raised to the largest one at any later rank, then read
    where recall first reaches each level; it is 0 at levels never reached.

    Returns:
        Precision ``(T, R)`` and recall ``(T,)``; NaN if no person is scored.
    """
    precision = np.zeros((len(matches.correct), len(matches.recall_levels)))
    persons = matches.persons @ weights
    if persons == 0:
        return np.full_like(precision, np.nan), np.full(len(precision), np.nan)
    if len(matches.picture) == 0:
        return precision, np.zeros(len(precision))
    counts = weights[matches.picture]  # (D,)
    correct = np.cumsum(matches.correct * counts, axis=1)  # (T, D)
    wrong = np.cumsum(matches.wrong * counts, axis=1)
    recall = correct / persons
    raised = np.maximum.accumulate((correct / (wrong + correct + np.spacing(1)))[:, ::-1], axis=1)[:, ::-1]
    for row in range(len(precision)):
        rank = np.searchsorted(recall[row], matches.recall_levels, side="left")
        reached = rank < recall.shape[1]
        precision[row, reached] = raised[row, rank[reached]]
    return precision, recall[:, -1]


def _mean(name: str, precision: Array, recall: Array) -> float:
    """One figure, such as AP50: precision (T, R) or recall (T,), averaged over its thresholds."""
    table = precision if name.startswith("AP") else recall
    return float(np.mean(table[_THRESHOLD.get(name[2:], slice(None))]))
