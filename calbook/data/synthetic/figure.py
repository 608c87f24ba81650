"""From frames to flesh: the shapes of a dressed person.

Measures are shares of the stature (of the head's size for the head); they follow
common anthropometric tables (Winter, *Biomechanics and Motor Control of Human
Movement*, 2009, table 4.1) and were then adjusted by eye.
"""

from typing import Any

import torch
from torch import Tensor

from calbook.data.synthetic.bodies import Body, Frame
from calbook.data.synthetic.shapes import ShapeList, Shapes, unit
from calbook.data.synthetic.wardrobe import HAIRSTYLES, HATS, LOWER, SLEEVES, Outfit


class _Sculptor:
    """Adds shapes given in body frames, with measures in shares of a length."""

    def __init__(self, shapes: ShapeList, scale: Tensor, stout: Tensor) -> None:
        self.shapes, self.scale, self.stout = shapes, scale, stout

    def at(self, frame: Frame, x: Tensor | float, y: Tensor | float, z: Tensor | float) -> Tensor:
        return frame.point(x * self.scale, y * self.scale, z * self.scale)

    def limb(
        self, a: Tensor, b: Tensor, start: Tensor | float, end: Tensor | float, material: str | Tensor, **how: Any
    ) -> None:
        thick = self.scale * self.stout
        self.shapes.add(a, b, start * thick, end * thick, material, **how)


def dress(body: Body, outfit: Outfit) -> Shapes:
    """All shapes ``(N, P, S)`` of the people, feet not yet on the ground."""
    shapes = ShapeList(outfit.palette)
    build = body.build
    trunk = _Sculptor(shapes, build.height, build.girth)
    _trunk(trunk, body, outfit)
    limbs = _Sculptor(shapes, build.height, build.girth.sqrt() * (1 - 0.07 * build.female))
    for sign in (1, -1):
        _arm(limbs, body, outfit, sign)
        _leg(limbs, body, outfit, sign)
    scale = build.height * build.head
    head = _Sculptor(shapes, scale, torch.ones_like(scale))
    _head(head, body)
    _hair(head, body, outfit)
    return shapes.stack()


def _trunk(s: _Sculptor, body: Body, outfit: Outfit) -> None:
    build, pelvis, waist, chest = body.build, body.pelvis, body.waist, body.chest
    bare = outfit.index("skin", "top", outfit.swimwear)
    hip = 0.082 + 0.010 * build.female
    belly = (0.074 - 0.006 * build.female) * build.girth.sqrt()
    ribs = 0.084 - 0.007 * build.female
    left = chest.direction(1, 0, 0)
    s.limb(s.at(pelvis, 0, -0.012, -0.004), s.at(pelvis, 0, 0.045, -0.002), hip, hip * 0.95, "bottom",
           side=pelvis.direction(1, 0, 0), ratio=0.70, cap=0.62, shade=(0.82, 1.0))  # fmt: skip
    s.limb(s.at(waist, 0, -0.004, 0), s.at(chest, 0, 0.01, 0), belly, 0.5 * (belly + ribs), bare,
           side=waist.direction(1, 0, 0), ratio=0.72, cap=0.5)  # fmt: skip
    s.limb(s.at(chest, 0, 0.0, 0), s.at(chest, 0, 0.085, -0.004), 0.5 * (belly + ribs), ribs, bare,
           side=left, ratio=0.70, cap=0.50)  # fmt: skip
    sockets = [side.upper_arm.origin for _, side in body.sides()]
    middle = s.at(chest, 0, 0.112, -0.006)
    for socket in sockets:
        s.limb(middle * 0.75 + socket * 0.25, middle * 0.12 + socket * 0.88, 0.044, 0.036, bare)
        s.limb(s.at(body.neck, 0, 0.016, -0.004), middle * 0.35 + socket * 0.65, 0.030, 0.026, bare)
    s.limb(s.at(chest, -0.026, 0.050, 0.030), s.at(chest, 0.026, 0.050, 0.030), 0.041, 0.041, "top",
           active=build.female > 0.5)  # fmt: skip
    s.limb(s.at(body.neck, 0, -0.006, 0), s.at(body.head, 0, 0.030, 0.002), 0.034, 0.031, "skin", shade=(0.95, 0.7))
    s.limb(s.at(chest, 0, -0.01, -0.088), s.at(chest, 0, 0.085, -0.088), 0.068, 0.062, "bag",
           side=left, ratio=0.62, cap=0.5, active=outfit.backpack)  # fmt: skip
    # A skirt hangs from the hips around both thighs.
    knees = [side.thigh.point(0, -0.19 * s.scale, 0) for _, side in body.sides()]
    apart = knees[0] - knees[1]
    spread = apart.square().sum(-1).sqrt() / 2
    s.shapes.add(s.at(pelvis, 0, 0.03, 0), (knees[0] + knees[1]) / 2, 0.088 * s.scale * s.stout,
                 spread + 0.075 * s.scale, "bottom", side=unit(apart + 1e-3 * left), ratio=0.75, cap=0.12,
                 shade=(1.0, 0.92), active=outfit.lower == LOWER.index("skirt"))  # fmt: skip


def _arm(s: _Sculptor, body: Body, outfit: Outfit, sign: int) -> None:
    side = body.left if sign > 0 else body.right
    long = outfit.sleeves == SLEEVES.index("long")
    sleeve = outfit.index("top", "skin", long)
    loose = 1 + 0.16 * long.double()
    shoulder, elbow, wrist = side.upper_arm.origin, side.forearm.origin, side.hand.origin
    s.limb(shoulder, elbow, 0.0315 * loose, 0.0235 * loose, sleeve, shade=(0.95, 1.0))
    s.limb(shoulder, shoulder * 0.45 + elbow * 0.55, 0.038, 0.037, "top", cap=0.6, shade=(1.0, 0.95),
           active=outfit.sleeves == SLEEVES.index("short"))  # fmt: skip
    belly = elbow * 0.72 + wrist * 0.28
    s.limb(elbow, belly, 0.0225 * loose, 0.0255 * loose, sleeve)
    s.limb(belly, wrist, 0.0255 * loose, 0.0165 * loose, sleeve)
    front = side.hand.direction(0, 0, 1)
    knuckles = s.at(side.hand, 0, -0.046, 0.0)
    s.limb(wrist, knuckles, 0.0165, 0.021, "skin", side=front, ratio=0.55, cap=0.7)
    s.limb(knuckles, s.at(side.hand, -0.012 * sign, -0.090, 0.0), 0.019, 0.012, "skin", side=front, ratio=0.5, cap=0.7,
           shade=(0.97, 0.9))  # fmt: skip
    s.limb(s.at(side.hand, 0, -0.012, 0.010), s.at(side.hand, -0.004 * sign, -0.052, 0.029), 0.008, 0.0065, "skin")


def _leg(s: _Sculptor, body: Body, outfit: Outfit, sign: int) -> None:
    side = body.left if sign > 0 else body.right
    covered = outfit.lower == LOWER.index("trousers")
    cloth = outfit.index("bottom", "skin", covered)
    wide = 1 + 0.10 * covered.double()
    hip, knee, ankle = side.thigh.origin, side.shin.origin, side.foot.origin
    s.limb(s.at(body.pelvis, sign * 0.040, -0.004, -0.026), s.at(side.thigh, 0, -0.06, -0.012), 0.056, 0.054, "bottom")
    # The upper thigh is always covered, so that no skin shows through at the hip.
    middle = hip * 0.6 + knee * 0.4
    s.limb(hip, middle, 0.056 * wide, 0.0485 * wide, "bottom", shade=(0.88, 0.95))
    s.limb(middle, knee, 0.0475 * wide, 0.036 * wide, cloth, shade=(0.95, 1.0))
    s.limb(hip, hip * 0.35 + knee * 0.65, 0.062, 0.056, "bottom", cap=0.35, shade=(0.9, 0.97),
           active=outfit.lower == LOWER.index("shorts"))  # fmt: skip
    calf = s.at(side.shin, 0, -0.075, -0.011)
    s.limb(knee, calf, 0.0345 * wide, 0.0345 * wide, cloth)
    s.limb(calf, ankle, 0.0345 * wide, 0.0215 + 0.010 * covered.double(), cloth)
    foot, left = side.foot, side.foot.direction(1, 0, 0)
    s.limb(ankle, s.at(foot, 0, -0.022, -0.010), 0.0225, 0.026, "shoe")
    s.limb(s.at(foot, 0, -0.020, -0.012), s.at(foot, 0, -0.026, 0.066), 0.0245, 0.0225, "shoe", side=left, ratio=0.75)
    s.limb(s.at(foot, 0, -0.026, 0.06), s.at(foot, 0, -0.028, 0.088), 0.0225, 0.017, "shoe", side=left, ratio=0.62)
    s.limb(s.at(foot, 0, -0.038, -0.014), s.at(foot, 0, -0.038, 0.086), 0.0235, 0.021, "sole", side=left, ratio=0.22)


def _head(s: _Sculptor, body: Body) -> None:
    head = body.head
    left, up, front = head.direction(1, 0, 0), head.direction(0, 1, 0), head.direction(0, 0, 1)
    s.limb(s.at(head, 0, 0.066, -0.008), s.at(head, 0, 0.0661, -0.008), 0.0450, 0.0450, "skin",
           side=left, axis=up, ratio=1.24, cap=1.14)  # fmt: skip
    s.limb(s.at(head, 0, 0.050, 0.010), s.at(head, 0, 0.010, 0.022), 0.0425, 0.026, "skin",
           side=left, ratio=1.0, cap=0.7, shade=(1.0, 0.9))  # fmt: skip
    s.limb(s.at(head, 0, 0.056, 0.049), s.at(head, 0, 0.0375, 0.0575), 0.005, 0.0085, "blush", shade=(1.0, 0.95))
    s.limb(s.at(head, -0.013, 0.018, 0.0405), s.at(head, 0.013, 0.018, 0.0405), 0.0042, 0.0042, "lip")
    for x in (1, -1):
        eye = s.at(head, x * 0.0185, 0.053, 0.0455)
        s.limb(eye, s.at(head, x * 0.0190, 0.053, 0.0455), 0.0095, 0.0095, "white",
               side=left, axis=front, ratio=0.62, cap=0.5)  # fmt: skip
        s.limb(s.at(head, x * 0.0180, 0.053, 0.0490), s.at(head, x * 0.0182, 0.053, 0.0490), 0.0054, 0.0054, "iris",
               side=left, axis=front, cap=0.6)  # fmt: skip
        s.limb(s.at(head, x * 0.028, 0.0645, 0.044), s.at(head, x * 0.010, 0.066, 0.049), 0.0034, 0.0038, "hair")
        s.limb(s.at(head, x * 0.0445, 0.052, -0.001), s.at(head, x * 0.0440, 0.037, 0.003), 0.0125, 0.0085, "blush",
               side=front, ratio=0.5)  # fmt: skip


def _hair(s: _Sculptor, body: Body, outfit: Outfit) -> None:
    head, neck = body.head, body.neck
    left, up = head.direction(1, 0, 0), head.direction(0, 1, 0)
    style, hat = outfit.hairstyle, outfit.hat

    def wears(*names: str) -> Tensor:
        return torch.stack([style == HAIRSTYLES.index(name) for name in names]).any(0)

    s.limb(s.at(head, 0, 0.0785, -0.0150), s.at(head, 0, 0.0787, -0.0150), 0.0490, 0.0490, "hair",
           side=left, axis=up, ratio=1.17, cap=1.06, active=~wears("bald"))  # fmt: skip
    s.limb(s.at(head, 0, 0.060, -0.024), s.at(head, 0, 0.020, -0.026), 0.045, 0.036, "hair",
           side=left, ratio=0.85, shade=(1.0, 0.8), active=~wears("bald"))  # fmt: skip
    low = torch.where(wears("long")[..., None], s.at(neck, 0, -0.045, -0.040), s.at(head, 0, -0.008, -0.014))
    s.limb(s.at(head, 0, 0.066, -0.016), low, 0.0500, 0.0520, "hair", side=left, ratio=0.62, cap=0.5,
           shade=(1.0, 0.85), active=wears("long", "bob"))  # fmt: skip
    tail = torch.where(wears("bun")[..., None], s.at(head, 0, 0.112, -0.056), s.at(neck, 0, 0.0, -0.085))
    s.limb(s.at(head, 0, 0.100, -0.060), tail, 0.021, 0.020, "hair", active=wears("ponytail", "bun"))
    s.limb(s.at(head, 0, 0.024, 0.020), s.at(head, 0, 0.004, 0.026), 0.0365, 0.0235, "hair",
           side=left, ratio=0.90, active=outfit.beard)  # fmt: skip
    helmet = (hat == HATS.index("helmet")).double()
    s.limb(s.at(head, 0, 0.088, -0.010), s.at(head, 0, 0.0882, -0.010), 0.052 + 0.006 * helmet, 0.052 + 0.006 * helmet,
           "hat", side=left, axis=up, ratio=1.20, cap=0.82 + 0.04 * helmet, active=hat > 0)  # fmt: skip
    s.limb(s.at(head, 0, 0.090, 0.040), s.at(head, 0, 0.083, 0.085), 0.040, 0.032, "hat", side=left, ratio=0.13,
           cap=0.5, shade=(0.85, 1.0), active=hat == HATS.index("cap"))  # fmt: skip
    s.limb(s.at(head, 0, 0.0850, -0.004), s.at(head, 0, 0.0852, -0.004), 0.098, 0.098, "hat", side=left, axis=up,
           ratio=1.05, cap=0.10, active=hat == HATS.index("sun hat"))  # fmt: skip
