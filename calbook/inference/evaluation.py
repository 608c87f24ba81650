"""Scores, and beside them all that makes two scores incomparable.

The same network scores several AP higher on annotated boxes than on detected ones,
a point or two higher with the flip test, and differently with another suppression,
another version or other weights. So a score is never given without its ``Protocol``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from calbook import results
from calbook.data.coco import CocoPeople
from calbook.data.defects import DataError, Defect
from calbook.metrics import FIGURES, coco_ap, pck, torso_lengths

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Protocol:
    """How a score came about.

    Attributes:
        split: What was scored.
        people: Persons in it.
        pictures: Pictures in it.
        network: Name of the network.
        codec: How its maps were read.
        input_size: Height x width of the crops.
        weights: Which weights, and the beginning of their SHA-256.
        boxes: ``gt`` or the detector's file.
        box_count: How many boxes were looked into.
        box_score: Boxes that score less were left out.
        flip: Whether the network looked twice, and whether shifted.
        antialias: Whether pictures were smoothed before sampling.
        suppression: Variant and threshold.
        joint_score: Joints that score less do not count in a pose's score.
        versions: Of the packages that decide figures.
        device: What computed.
    """

    split: str
    people: int
    pictures: int
    network: str = UNKNOWN
    codec: str = UNKNOWN
    input_size: str = UNKNOWN
    weights: str = UNKNOWN
    boxes: str = UNKNOWN
    box_count: int | str = UNKNOWN
    box_score: float | str = UNKNOWN
    flip: str = UNKNOWN
    antialias: str = UNKNOWN
    suppression: str = UNKNOWN
    joint_score: float | str = UNKNOWN
    versions: str = ""
    device: str = UNKNOWN

    def rows(self) -> list[tuple[str, str]]:
        """Names and values for a table."""
        return [(name.replace("_", " "), str(value)) for name, value in asdict(self).items()]


def versions_line() -> str:
    """The versions that decide figures, in one line."""
    return ", ".join(f"{name} {version}" for name, version in results.versions().items())


def has_areas(people: CocoPeople) -> bool:
    """Whether every person's area is known, without which there is no OKS."""
    return bool(people.areas.isfinite().all())


def check_scorable(people: CocoPeople, source: str, split: str = "") -> None:
    """Refuse, before anything is predicted, people who can be scored neither by AP nor by PCK.

    Args:
        people: To be scored.
        source: Where they were read from, and
        split: which set of it, for the message.

    Raises:
        DataError: Somebody's area is unknown, and the skeleton has no torso to measure.
    """
    if has_areas(people):
        return
    try:
        torso_lengths(people.joints, people.visible, people.skeleton)
    except ValueError as error:
        remedy = "add the persons' areas to the annotations"
        raise DataError(Defect(source, split, "area", f"unknown, and {error}", remedy)) from None


def score_results(people: CocoPeople, poses: Sequence[dict[str, Any]]) -> dict[str, float]:
    """COCO's ten figures of results, in [0, 1]; -1 where no person has the size asked for."""
    return coco_ap(people.pycocotools_dict(), poses, people.skeleton.sigmas)


def score_pck(people: CocoPeople, coords: Tensor) -> dict[str, float]:
    """PCK of poses, row i of person i, relative to the torso: by joint, and over all as ``PCK``.

    For data sets without areas, such as LSP. Persons whose torso is not labelled do not
    count.
    """
    lengths = torso_lengths(people.joints, people.visible, people.skeleton)
    score = pck(coords, people.joints, people.visible, lengths)
    joints = dict(zip(people.skeleton.joints, score.joints.tolist(), strict=True))
    return {"PCK": float(score.mean), **{name: value for name, value in joints.items() if value == value}}


def report(figures: dict[str, float], protocol: Protocol) -> str:
    """The figures, and beneath them the protocol, as a table in plain text."""
    names = [name for name in FIGURES if name in figures] or list(figures)
    width = max(6, *map(len, names)) + 2
    cells = [f"{100 * figures[name]:.1f}" if figures[name] >= 0 else "-" for name in names]
    lines = []
    for start in range(0, len(names), 10):
        lines.append("".join(name.rjust(width) for name in names[start : start + 10]))
        lines.append("".join(cell.rjust(width) for cell in cells[start : start + 10]))
    return "\n".join([*lines, "", *(f"{name:14}{value}" for name, value in protocol.rows())])
