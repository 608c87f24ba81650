"""The articulated body: proportions, joint angles, and where every part is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from calbook.data.draws import Draws


@dataclass(frozen=True)
class Build:
    """Proportions of people, each ``(N, P)``.

    Attributes:
        height: Stature in metres.
        girth: Thickness relative to the average, about 0.85 to 1.4.
        female: 0 to 1, moves shoulders, hips and waist between typical sexes.
        head: Size of the head relative to an adult's of that stature.
        legs: Length of the legs relative to the average.
    """

    height: Tensor
    girth: Tensor
    female: Tensor
    head: Tensor
    legs: Tensor


def draw_build(draws: Draws, people: int, children: float) -> Build:
    """Draw proportions; a child is smaller with a relatively larger head."""
    female = (draws.uniform(people, low=-0.6, high=1.6)).clamp(0, 1)
    youth = torch.where(draws.chance(children, people), draws.uniform(people, low=0.25, high=1.0), 0.0)
    height = (1.78 - 0.13 * female + draws.bell(people, spread=0.06)) * (1 - 0.42 * youth)
    girth = 1.0 + draws.bell(people, spread=0.09) + 0.45 * (draws.uniform(people) - 0.72).clamp(min=0) + 0.10 * youth
    head = (1 + 0.42 * youth) * (1 + draws.bell(people, spread=0.03))
    legs = 1 + draws.bell(people, spread=0.025) - 0.06 * youth
    return Build(height, girth.clamp(0.78, 1.4), female, head, legs)


def turn(axis: int, angle: Tensor) -> Tensor:
    """Rotation matrices ``(..., 3, 3)`` about coordinate axis 0, 1 or 2, right-handed."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    entries = [[zero] * 3 for _ in range(3)]
    entries[axis][axis], entries[i][i], entries[j][j] = one, cos, cos
    entries[j][i], entries[i][j] = sin, -sin
    return torch.stack([torch.stack(row, -1) for row in entries], -2)


@dataclass(frozen=True)
class Frame:
    """Origin ``(..., 3)`` and axes ``(..., 3, 3)``: columns left, up, forward of a body part."""

    origin: Tensor
    axes: Tensor

    def point(self, x: Tensor | float, y: Tensor | float, z: Tensor | float) -> Tensor:
        """World position of a point given in this frame."""
        return self.origin + self.direction(x, y, z)

    def direction(self, x: Tensor | float, y: Tensor | float, z: Tensor | float) -> Tensor:
        """World direction of a vector given in this frame."""
        parts = [torch.as_tensor(v, dtype=self.origin.dtype, device=self.origin.device) for v in (x, y, z)]
        left, up, forward = self.axes.unbind(-1)
        return left * parts[0][..., None] + up * parts[1][..., None] + forward * parts[2][..., None]


@dataclass(frozen=True)
class Side:
    """One side of the body: frames hang at the joint, their -y axis along the limb."""

    upper_arm: Frame
    forearm: Frame
    hand: Frame
    thigh: Frame
    shin: Frame
    foot: Frame


@dataclass(frozen=True)
class Body:
    """Frames of all parts in world metres; the person's own left is +x in each."""

    build: Build
    pelvis: Frame
    waist: Frame
    chest: Frame
    neck: Frame
    head: Frame
    left: Side
    right: Side

    def sides(self) -> tuple[tuple[float, Side], tuple[float, Side]]:
        """Both sides with the sign of their x coordinate."""
        return (1.0, self.left), (-1.0, self.right)


def articulate(build: Build, angles: Tensor, heading: Tensor) -> Body:
    """Forward kinematics, pelvis at the world's origin.

    Args:
        build: Proportions ``(N, P)``.
        angles: ``(N, P, D)`` radians in the order of ``postures.LIMITS``.
        heading: ``(N, P)`` radians; 0 faces +z, positive turns to the person's left.
    """
    height = build.height
    trunk = angles.unbind(-1)[:8]
    pelvis = Frame(torch.zeros_like(angles[..., :3]), turn(1, heading) @ turn(0, trunk[0]) @ turn(2, -trunk[1]))
    half = turn(1, trunk[4] / 2) @ turn(2, -trunk[3] / 2) @ turn(0, trunk[2] / 2)
    waist = Frame(pelvis.point(0, 0.065 * height, 0), pelvis.axes @ half)
    chest = Frame(waist.point(0, 0.105 * height, 0), waist.axes @ half)
    neck_axes = chest.axes @ turn(1, trunk[7] / 2) @ turn(2, -trunk[6] / 2) @ turn(0, trunk[5] / 2 + 0.12)
    neck = Frame(chest.point(0, 0.145 * height, -0.012 * height), neck_axes)
    half_turn = turn(1, trunk[7] / 2) @ turn(2, -trunk[6] / 2) @ turn(0, trunk[5] / 2 - 0.12)
    head = Frame(neck.point(0, 0.055 * height, 0.004 * height), neck_axes @ half_turn)
    left = _side(build, pelvis, chest, 1.0, angles[..., 8:13], angles[..., 18:23])
    right = _side(build, pelvis, chest, -1.0, angles[..., 13:18], angles[..., 23:28])
    return Body(build, pelvis, waist, chest, neck, head, left, right)


def _side(build: Build, pelvis: Frame, chest: Frame, sign: float, arm: Tensor, leg: Tensor) -> Side:
    """One arm and one leg; ``sign`` is +1 on the person's left."""
    height = build.height
    flex, abduct, inward, elbow, wrist = arm.unbind(-1)
    # A raised arm lifts its shoulder: up to 2.5 % of the stature.
    raised = ((torch.maximum(flex, abduct) - 0.9) / 2).clamp(0, 1)
    across = (0.112 - 0.012 * build.female) * (0.75 + 0.25 * build.girth) - 0.018 * raised
    socket = chest.point(sign * across * height, (0.118 + 0.025 * raised) * height, -0.006 * height)
    upper_axes = chest.axes @ turn(0, -flex) @ turn(2, sign * abduct) @ turn(1, -sign * inward)
    upper = Frame(socket, upper_axes)
    forearm = Frame(upper.point(0, -0.172 * height, 0), upper_axes @ turn(0, -elbow))
    hand = Frame(forearm.point(0, -0.146 * height, 0), forearm.axes @ turn(0, -wrist))

    flex, abduct, outward, knee, ankle = leg.unbind(-1)
    thigh_axes = pelvis.axes @ turn(0, -flex) @ turn(2, sign * abduct) @ turn(1, sign * outward)
    thigh = Frame(pelvis.point(sign * (0.050 + 0.006 * build.female) * height, 0, 0), thigh_axes)
    shin = Frame(thigh.point(0, -0.245 * build.legs * height, 0), thigh_axes @ turn(0, knee))
    foot = Frame(shin.point(0, -0.240 * build.legs * height, 0), shin.axes @ turn(0, -ankle))
    return Side(upper, forearm, hand, thigh, shin, foot)


def coco_joints(body: Body) -> Tensor:
    """The 17 COCO joints ``(N, P, 17, 3)`` in world metres; left is the person's own left."""
    scale = body.build.height * body.build.head
    head = body.head
    points = [head.point(0, 0.038 * scale, 0.060 * scale)]  # tip of the nose
    points += [head.point(sign * 0.0185 * scale, 0.053 * scale, 0.047 * scale) for sign in (1, -1)]
    points += [head.point(sign * 0.044 * scale, 0.044 * scale, 0.002 * scale) for sign in (1, -1)]
    for part in ("upper_arm", "forearm", "hand", "thigh", "shin", "foot"):
        points += [getattr(side, part).origin for _, side in body.sides()]
    return torch.stack(points, dim=-2)
