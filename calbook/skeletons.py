"""Which joints a person has: names, limbs, mirror pairs, OKS tolerances."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Side = Literal["left", "right", "middle"]

# How a joint's name tells its side: left and right anywhere, l and r as a word at either end, L and R before a capital.
SIDE_WORD = re.compile(r"(?i:left|right)|^[lr](?=[_. -])|(?<=[_. -])[lr]$|^[LR](?=[_. A-Z-])|(?<=[_. -])[LR]$")


@dataclass(frozen=True)
class Skeleton:
    """The joints of one annotation scheme, in the order of its arrays.

    Attributes:
        name: How the scheme is called in this package.
        joints: Joint names; their order is the order of every ``(K, 2)`` array.
        limbs: Pairs of joint indices to join by a line in a drawing.
        sigmas: Per-joint standard deviations of the annotators, as a share of
            the square root of the person's area (COCO keypoint evaluation;
            equation 16 of the CAL paper uses kappa = 2 * sigma).
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(0 <= joint < len(self.joints) for limb in self.limbs for joint in limb):
            raise ValueError(f"skeleton {self.name!r} has a limb with a joint beyond 0 to {len(self.joints) - 1}")
        if len(self.sigmas) != len(self.joints):
            raise ValueError(f"skeleton {self.name!r} has {len(self.joints)} joints but {len(self.sigmas)} sigmas")

    @property
    def num_joints(self) -> int:
        """Number of joints, K."""
        return len(self.joints)

    @property
    def mirror(self) -> tuple[int, ...]:
        """Index of each joint's partner in a mirrored picture, itself if none.

        Partners are found by name: ``left_knee`` and ``right_knee``, ``LKnee`` and
        ``RKnee``, ``knee_l`` and ``knee_r``.

        >>> COCO.mirror[:5]
        (0, 2, 1, 4, 3)
        """
        index = {name: i for i, name in enumerate(self.joints)}
        return tuple(index.get(_other_side(name), i) for i, name in enumerate(self.joints))

    def sigma_tensor(self, like: Tensor) -> Tensor:
        """The OKS tolerances as a ``(K,)`` tensor on the device of ``like``."""
        return torch.tensor(self.sigmas, dtype=like.dtype, device=like.device)


def _other_side(name: str) -> str:
    """The name of a joint's mirror partner: left for right, l for r at either end.

    >>> [_other_side(name) for name in ("left_knee", "RightHip", "l_ear", "knee_r", "LWrist", "nose", "rib")]
    ['right_knee', 'LeftHip', 'r_ear', 'knee_l', 'RWrist', 'nose', 'rib']
    """
    swap = {"left": "right", "right": "left", "l": "r", "r": "l"}

    def other(match: re.Match[str]) -> str:
        word = match.group()
        swapped = swap[word.lower()]
        return swapped.upper() if word.isupper() else swapped.capitalize() if word[0].isupper() else swapped

    return SIDE_WORD.sub(other, name)


def side_of(name: str) -> Side:
    """The side of the body that a joint's name tells, as ``Skeleton.mirror`` reads it.

    >>> [side_of(name) for name in ("left_knee", "RightHip", "LWrist", "knee_r", "nose", "rib")]
    ['left', 'right', 'left', 'right', 'middle', 'middle']
    """
    word = SIDE_WORD.search(name)
    return "middle" if word is None else "left" if word.group()[0] in "lL" else "right"


def side_of_limb(skeleton: Skeleton, first: int, second: int) -> Side:
    """The side of a limb: that of its two joints, of which one may be in the middle.

    >>> [side_of_limb(COCO, *limb) for limb in ((13, 11), (11, 12), (0, 2))]
    ['left', 'middle', 'right']
    """
    sides = {side_of(skeleton.joints[first]), side_of(skeleton.joints[second])} - {"middle"}
    return sides.pop() if len(sides) == 1 else "middle"


COCO = Skeleton(
    name="coco",
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    limbs=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
        (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
        0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    ),
)  # fmt: skip

# MPII and LSP are scored with PCK, which has no sigmas. Where a joint has no COCO
# counterpart, the tolerance of the nearest one with a similar spread is used.
MPII = Skeleton(
    name="mpii",
    joints=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
        "pelvis", "thorax", "upper_neck", "head_top",
        "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
    ),
    limbs=(
        (0, 1), (1, 2), (2, 6), (3, 6), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9),
        (10, 11), (11, 12), (12, 7), (13, 7), (13, 14), (14, 15),
    ),
    sigmas=(
        0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.107, 0.079, 0.079, 0.079,
        0.062, 0.072, 0.079, 0.079, 0.072, 0.062,
    ),
)  # fmt: skip

LSP = Skeleton(
    name="lsp",
    joints=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
        "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
        "neck", "head_top",
    ),
    limbs=(
        (0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 8), (9, 10), (10, 11),
        (8, 12), (9, 12), (12, 13), (2, 8), (3, 9), (2, 3),
    ),
    sigmas=(
        0.089, 0.087, 0.107, 0.107, 0.087, 0.089,
        0.062, 0.072, 0.079, 0.079, 0.072, 0.062, 0.079, 0.079,
    ),
)  # fmt: skip

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO, MPII, LSP)}


def from_category(keypoints: Sequence[str], skeleton: Sequence[Sequence[int]] = ()) -> Skeleton:
    """The skeleton that a COCO ``categories`` entry describes.

    A known list of joint names gives the known skeleton. Any other gets the mean
    COCO tolerance for all its joints, so that OKS stays defined.

    Args:
        keypoints: Joint names, as in ``categories[0]["keypoints"]``.
        skeleton: Limbs as pairs of 1-based joint numbers, as COCO writes them.
    """
    for known in SKELETONS.values():
        if known.joints == tuple(keypoints):
            return known
    limbs = tuple((int(a) - 1, int(b) - 1) for a, b in skeleton)
    sigma = sum(COCO.sigmas) / COCO.num_joints
    return Skeleton("custom", tuple(keypoints), limbs, (sigma,) * len(keypoints))
