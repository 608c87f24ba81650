"""What people do: named postures as joint angles, and how they vary."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from calbook.data.draws import Draws

Angles = tuple[float, ...]

# Degrees of freedom in degrees, and their limits. Positive is: leaning forward, to
# the left, turning left; arm: forward, away from the body, turned inward, bent;
# leg: forward, away, toes outward, knee bent, toes up.
TRUNK = ("pitch", "roll", "bend", "side", "twist", "nod", "tilt", "turn")
ARM = ("flex", "abduct", "inward", "elbow", "wrist")
LEG = ("flex", "abduct", "outward", "knee", "ankle")
_TRUNK_LIMITS = ((-95, 95), (-95, 95), (-20, 75), (-28, 28), (-40, 40), (-35, 45), (-28, 28), (-65, 65))
_ARM_LIMITS = ((-50, 178), (-12, 150), (-95, 85), (2, 145), (-45, 45))
_LEG_LIMITS = ((-30, 120), (-8, 60), (-20, 75), (1, 145), (-45, 30))
LIMITS = _TRUNK_LIMITS + 2 * _ARM_LIMITS + 2 * _LEG_LIMITS
DEGREES_OF_FREEDOM = len(LIMITS)
# How far people stray from the posture, degrees (standard deviation).
_SPREAD = (3, 3, 5, 4, 7, 8, 5, 16) + 2 * (12, 7, 14, 12, 10) + 2 * (6, 3.5, 6, 7, 6)


@dataclass(frozen=True)
class Posture:
    """A posture by name; the left side acts, a coin decides about mirroring.

    Attributes:
        name: What it is.
        share: How often it is drawn, relative to the others.
        left_arm, right_arm: Angles in the order of ``ARM``.
        left_leg, right_leg: Angles in the order of ``LEG``.
        trunk: Angles in the order of ``TRUNK``.
        lift: Height of the lowest point above the ground, metres.
        seat: Whether a seat stands below.
    """

    name: str
    share: float
    left_arm: Angles
    right_arm: Angles
    left_leg: Angles
    right_leg: Angles
    trunk: Angles = field(default=(0,) * 8)
    lift: float = 0.0
    seat: bool = False

    @property
    def angles(self) -> Angles:
        """All degrees of freedom in the order of ``LIMITS``."""
        return (*self.trunk, *self.left_arm, *self.right_arm, *self.left_leg, *self.right_leg)


_HANG = (4, 9, 12, 16, 0)
_STAND = (2, 5, 7, 4, 1)

POSTURES = (
    Posture("standing", 3.0, _HANG, _HANG, _STAND, _STAND),
    Posture("weight on one leg", 2.0, _HANG, (8, 12, 20, 35, 0),
            (0, 7, 6, 3, 1), (14, 8, 20, 24, 6), (0, 0, 2, 5, 4, 4, 4, 10)),
    Posture("hands on hips", 1.0, (-28, 44, 62, 98, 20), (-28, 44, 62, 98, 20),
            (0, 9, 10, 4, 1), (0, 9, 10, 4, 1)),
    Posture("arms crossed", 0.8, (38, 6, 72, 100, 0), (34, 4, 70, 108, 0),
            _STAND, (6, 6, 12, 10, 3)),
    Posture("looking at a phone", 1.2, (32, 8, 26, 118, 0), _HANG,
            _STAND, (6, 6, 10, 10, 3), (0, 0, 5, 0, 0, 24, 0, 8)),
    Posture("holding something", 1.2, (30, 10, 30, 80, 0), (30, 10, 30, 82, 0),
            _STAND, _STAND, (0, 0, 0, 0, 0, 10, 0, 0)),
    Posture("pointing", 0.8, (86, 14, 0, 8, 0), _HANG, _STAND, _STAND, (0, 0, 0, 0, 8, 0, 0, 20)),
    Posture("waving", 1.0, (12, 84, -86, 88, 0), _HANG, _STAND, _STAND),
    Posture("arms up", 1.0, (160, 14, 0, 18, 0), (160, 14, 0, 18, 0),
            (0, 8, 8, 4, 1), (0, 8, 8, 4, 1), (0, 0, -4, 0, 0, -8, 0, 0)),
    Posture("arms out", 0.6, (4, 84, 0, 10, 0), (4, 84, 0, 10, 0),
            (0, 10, 10, 4, 1), (0, 10, 10, 4, 1)),
    Posture("hand on head", 0.7, (60, 70, -60, 128, 0), _HANG, _STAND, (8, 8, 12, 14, 4)),
    Posture("walking", 3.0, (-22, 8, 10, 18, 0), (28, 8, 14, 34, 0),
            (26, 2, 5, 10, 2), (-18, 2, 6, 24, -14), (0, 0, 3, 0, 7, 0, 0, 0)),
    Posture("running", 1.6, (-42, 14, 10, 88, 0), (44, 12, 30, 94, 0),
            (62, 2, 3, 84, 4), (-18, 2, 5, 42, -26), (8, 0, 8, 0, 10, -8, 0, 0), 0.04),
    Posture("running, pushing off", 1.0, (40, 12, 30, 84, 0), (-40, 14, 10, 70, 0),
            (-26, 2, 5, 16, -28), (66, 2, 3, 102, 0), (10, 0, 8, 0, -8, -8, 0, 0)),
    Posture("stepping up", 0.6, (20, 10, 10, 40, 0), _HANG,
            (68, 4, 5, 72, 4), (-4, 3, 6, 6, 8), (0, 0, 10, 0, 0, 0, 0, 0)),
    Posture("sitting", 2.4, (30, 10, 24, 52, 0), (34, 10, 24, 46, 0),
            (88, 9, 6, 84, 0), (86, 9, 6, 86, 0), (0, 0, 6, 0, 0, 4, 0, 0), 0, True),
    Posture("sitting, leaning forward", 1.0, (58, 8, 28, 74, 0), (58, 8, 28, 74, 0),
            (88, 14, 6, 92, 4), (88, 14, 6, 92, 4), (8, 0, 30, 0, 0, -6, 0, 0), 0, True),
    Posture("sitting, legs crossed", 0.8, (24, 10, 40, 60, 0), (24, 10, 40, 60, 0),
            (100, -6, 12, 70, -10), (86, 6, 4, 80, 0), (-6, 0, 8, 0, 0, 4, 0, 0), 0, True),
    Posture("sitting on the floor", 0.7, (44, 16, 34, 40, 0), (44, 16, 34, 40, 0),
            (84, 38, 58, 128, -20), (84, 40, 56, 124, -20), (0, 0, 18, 0, 0, 0, 0, 0)),
    Posture("sitting, legs straight", 0.5, (-40, 20, 0, 8, -30), (-40, 20, 0, 8, -30),
            (92, 10, 12, 10, -14), (94, 10, 12, 24, -14), (-12, 0, 4, 0, 0, 6, 0, 0)),
    Posture("crouching", 1.0, (64, 10, 26, 52, 0), (56, 12, 26, 60, 0),
            (112, 16, 14, 134, 22), (108, 16, 14, 132, 22), (8, 0, 28, 0, 0, -16, 0, 0)),
    Posture("half crouch", 0.9, (40, 22, 22, 60, 0), (40, 22, 22, 60, 0),
            (66, 16, 12, 74, 14), (60, 16, 12, 70, 14), (12, 0, 24, 0, 0, -18, 0, 0)),
    Posture("balancing on a board", 0.8, (24, 62, 0, 30, 0), (10, 68, 0, 26, 0),
            (46, 24, 18, 58, 12), (40, 24, 18, 50, 10), (4, 0, 18, 0, 14, -6, 0, 30)),
    Posture("kneeling", 0.6, (20, 10, 20, 40, 0), (40, 10, 20, 50, 0),
            (84, 8, 6, 86, 2), (0, 4, 0, 92, -36), (0, 0, 8, 0, 0, 8, 0, 0)),
    Posture("lunging", 0.7, (50, 20, 0, 30, 0), (-20, 20, 0, 40, 0),
            (74, 4, 4, 78, 4), (-26, 4, 6, 18, 12), (0, 0, 12, 0, 6, 0, 0, 0)),
    Posture("swinging a bat", 0.8, (78, -8, 20, 30, 0), (66, 10, 30, 50, 0),
            (22, 14, 12, 28, 4), (24, 14, 16, 26, 4), (6, 0, 14, 0, 32, 0, 0, 24)),
    Posture("throwing", 0.8, (130, 48, -50, 82, 0), (70, 26, 0, 26, 0),
            (-12, 12, 18, 10, -4), (34, 10, 6, 22, -2), (0, 0, 0, 8, -18, 0, 0, -8)),
    Posture("reaching up", 0.6, (168, 8, 0, 6, 0), (10, 20, 10, 30, 0),
            (-4, 6, 5, 3, -24), (4, 6, 5, 8, -20), (0, 0, -2, -10, 0, -22, 0, 0)),
    Posture("kicking", 0.8, (-14, 44, 0, 22, 0), (40, 46, 0, 30, 0),
            (66, 6, 6, 20, -30), (2, 5, 10, 10, 6), (-8, 0, 2, 0, -10, 8, 0, 0)),
    Posture("jumping", 0.8, (146, 22, 0, 24, 0), (140, 24, 0, 26, 0),
            (24, 6, 4, 56, -30), (30, 6, 4, 74, -30), (4, 0, 0, 0, 0, -8, 0, 0), 0.28),
    Posture("star jump", 0.4, (8, 128, -20, 10, 0), (8, 128, -20, 10, 0),
            (4, 30, 14, 8, -26), (4, 30, 14, 8, -26), (0,) * 8, 0.30),
    Posture("bending down", 0.8, (84, 8, 10, 12, 0), (70, 8, 10, 20, 0),
            (44, 5, 6, 10, 2), (48, 5, 6, 16, 2), (36, 0, 44, 0, 0, -6, 0, 0)),
    Posture("bending over a table", 0.7, (66, 10, 20, 42, 0), (60, 10, 20, 50, 0),
            (18, 5, 6, 6, 2), (22, 5, 6, 10, 2), (16, 0, 34, 0, 0, 10, 0, 0)),
    Posture("on hands and knees", 0.4, (82, 6, 0, 8, -40), (90, 6, 0, 8, -40),
            (84, 6, 0, 88, -40), (76, 6, 0, 88, -40), (80, 0, 4, 0, 0, -32, 0, 0)),
    Posture("press-up", 0.3, (78, 12, 0, 14, -40), (78, 12, 0, 14, -40),
            (2, 4, 0, 4, 24), (2, 4, 0, 4, 24), (70, 0, 2, 0, 0, -26, 0, 0)),
    Posture("lying on the back", 0.6, (12, 26, 10, 18, 0), (20, 20, 40, 70, 0),
            (6, 8, 16, 8, -28), (34, 8, 10, 56, -20), (-88, 0, 2, 0, 0, 6, 0, 14)),
    Posture("lying on the side", 0.5, (52, 10, 20, 60, 0), (60, 6, 20, 76, 0),
            (40, 2, 0, 52, -16), (24, 4, 0, 34, -16), (0, -86, 10, 0, 0, 4, 8, 0)),
    Posture("lying on the front", 0.3, (130, 20, 0, 70, 0), (110, 30, 0, 90, 0),
            (0, 8, 8, 6, -40), (-4, 10, 8, 20, -40), (86, 0, -6, 0, 0, -24, 0, 20)),
)  # fmt: skip

_MIRRORED = (*range(8), *range(13, 18), *range(8, 13), *range(23, 28), *range(18, 23))
_SIGNS = (1, -1, 1, -1, -1, 1, -1, -1) + (1,) * 20


def draw_angles(draws: Draws, people: int) -> tuple[Tensor, Tensor, Tensor]:
    """Joint angles of ``people`` people in each picture.

    Returns:
        Angles ``(N, P, D)`` in radians within ``LIMITS``, lift ``(N, P)`` in
        metres, and whether the person needs a seat ``(N, P)``.
    """
    which = draws.choice([posture.share for posture in POSTURES], people)  # (N, P)
    like = draws.uniform(people)

    def table(values: object) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)

    angles = table([posture.angles for posture in POSTURES])[which]  # (N, P, D)
    # Some people hold a posture exactly, others only roughly.
    looseness = 0.35 + 0.9 * like[..., None]
    angles = angles + draws.bell(people, DEGREES_OF_FREEDOM) * table(_SPREAD) * looseness
    mirrored = angles[..., list(_MIRRORED)] * table(_SIGNS)
    angles = torch.where(draws.chance(0.5, people)[..., None], mirrored, angles)
    low, high = table(LIMITS).unbind(-1)
    lift = table([posture.lift for posture in POSTURES])[which]
    seat = table([float(posture.seat) for posture in POSTURES])[which] > 0
    return torch.deg2rad(torch.minimum(torch.maximum(angles, low), high)), lift, seat
