"""Who stands where, and the things around: seats, furniture, trees, objects in front."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from calbook.data.draws import Draws
from calbook.data.synthetic.bodies import Body, Build, articulate, coco_joints, draw_build
from calbook.data.synthetic.camera import Camera
from calbook.data.synthetic.config import SceneConfig
from calbook.data.synthetic.figure import dress
from calbook.data.synthetic.postures import draw_angles
from calbook.data.synthetic.shapes import Material, ShapeList, Shapes, upward
from calbook.data.synthetic.wardrobe import draw_outfit, hue

_BACKGROUND = 6  # things behind the people
_FOREGROUND = 3  # things in front of them


@dataclass(frozen=True)
class People:
    """The people of N scenes in world metres, on the ground.

    Attributes:
        shapes: Their bodies and clothes, ``(N, P, S)``.
        seats: What they sit on, ``(N, P, S')``.
        joints: ``(N, P, 17, 3)``.
        build: Their proportions, ``(N, P)``.
        present: Whether the slot is used, ``(N, P)``.
    """

    shapes: Shapes
    seats: Shapes
    joints: Tensor
    build: Build
    present: Tensor


def draw_people(draws: Draws, config: SceneConfig) -> People:
    """Draw, pose, dress and place the people of each picture."""
    count = len(config.people)
    build = draw_build(draws, count, config.children)
    angles, lift, seated = draw_angles(draws, count)
    body = articulate(build, angles, _headings(draws, count))
    shapes = dress(body, draw_outfit(draws, count, build.female))
    number = draws.choice(config.people)
    present = torch.arange(count, device=number.device) <= number[:, None]
    offset = _places(draws, count) + _standing(shapes, lift)[..., None] * upward(shapes.a)
    shapes = shapes.shifted(offset)
    seats = _seats(draws, body, offset, seated & present)
    shapes.active.logical_and_(present[..., None])
    return People(shapes, seats, coco_joints(body) + offset[..., None, :], build, present)


def _headings(draws: Draws, count: int) -> Tensor:
    """Which way people face ``(N, P)``: mostly the camera, often away or anywhere."""
    way = draws.choice((0.55, 0.18, 0.27), count)
    swing = draws.bell(count, spread=0.6)
    anywhere = draws.uniform(count, low=-math.pi, high=math.pi)
    heading = torch.where(way == 0, swing, torch.where(way == 1, math.pi + swing, anywhere))
    together = draws.chance(0.45, count)  # people side by side often look the same way
    return torch.where(together, heading[:, :1] + 0.5 * swing, heading)


def _standing(shapes: Shapes, lift: Tensor) -> Tensor:
    """How far to raise people ``(N, P)`` so that their lowest point is ``lift`` above the ground."""
    third = torch.linalg.cross(shapes.axis, shapes.side)[..., 1] * shapes.ratio
    reach = (shapes.side[..., 1].square() + third.square() + (shapes.axis[..., 1] * shapes.cap).square()).sqrt()
    low_a = shapes.a[..., 1] - shapes.radii[..., 0] * reach
    low_b = shapes.b[..., 1] - shapes.radii[..., 1] * reach
    lowest = torch.minimum(low_a, low_b).masked_fill(~shapes.active, torch.inf).amin(-1)
    return lift - lowest


def _places(draws: Draws, count: int) -> Tensor:
    """Places on the ground ``(N, P, 3)``: the first at the origin, others beside, behind, in front."""
    where = draws.choice((0.42, 0.40, 0.18), count)
    sign = torch.where(draws.chance(0.5, count), 1.0, -1.0).double()
    # The third person takes the other side, so that two do not stand in one spot.
    if count > 2:
        sign = torch.cat([sign[:, :2], -sign[:, 1:2] * torch.ones_like(sign[:, 2:])], 1)
    u, v = draws.uniform(count), draws.uniform(count)
    x = torch.where(where == 0, 0.42 + 0.7 * u, torch.where(where == 1, 0.15 + 1.5 * u, 0.42 + 0.5 * u))
    z = torch.where(where == 0, 0.6 * v - 0.3, torch.where(where == 1, -0.6 - 3.2 * v, 0.45 + 0.6 * v))
    place = torch.stack([sign * x, torch.zeros_like(x), z], -1)
    place[:, 0] = 0
    return place


def _seats(draws: Draws, body: Body, offset: Tensor, used: Tensor) -> Shapes:
    """A stool, bench or chair ``(N, P, 6)`` under each person that sits."""
    count = used.shape[1]
    colour = hue(draws.uniform(count) * 0.15, draws.uniform(count) * 0.7, draws.uniform(count, low=0.15, high=0.85))
    seats = ShapeList({"seat": Material(colour, colour * 0.7, 0.0, 0.4, folds=0.05).packed()})
    height = body.build.height
    pelvis = body.pelvis.origin + offset
    left, forward = body.pelvis.direction(1, 0, 0), body.pelvis.direction(0, 0, 1)
    up = upward(pelvis)
    level = (pelvis[..., 1] - 0.085 * height).clamp(min=0.12)
    centre = pelvis * pelvis.new_tensor([1.0, 0.0, 1.0]) + forward * 0.05
    top = centre + up * level[..., None]
    width = draws.uniform(count, low=0.22, high=0.34)
    seats.add(top - up * 0.05, top - up * 0.02, width, width, "seat", side=left, axis=-up.expand_as(top), ratio=0.8,
              cap=0.1, roundness=0.35, active=used)  # fmt: skip
    for sign_x in (1, -1):
        for sign_z in (1, -1):
            spot = left * (sign_x * 0.8 * width)[..., None] + forward * (sign_z * 0.6 * width)[..., None]
            seats.add(top + spot - up * 0.05, centre + spot, 0.022, 0.018, "seat", cap=0.2, active=used)
    back = top - forward * (0.75 * width + 0.08)[..., None]
    tall = draws.uniform(count, low=0.25, high=0.55)[..., None]
    seats.add(back, back + up * tall, width * 0.85, width * 0.8, "seat", side=left, ratio=0.12, cap=0.25,
              roundness=0.4, active=used & draws.chance(0.6, count))  # fmt: skip
    return seats.stack()


def _thing_colours(draws: Draws, count: int) -> dict[str, Tensor]:
    """Materials of things ``(N, count)``: painted, wooden or leafy."""
    painted = hue(draws.uniform(count), draws.uniform(count) ** 2, draws.uniform(count, low=0.1, high=0.95))
    wooden = hue(
        0.05 + 0.06 * draws.uniform(count),
        draws.uniform(count, low=0.25, high=0.65),
        draws.uniform(count, low=0.2, high=0.8),
    )
    leafy = hue(
        0.20 + 0.16 * draws.uniform(count),
        draws.uniform(count, low=0.3, high=0.8),
        draws.uniform(count, low=0.15, high=0.6),
    )
    kind = draws.choice((0.6, 0.1, 0.1, 0.2), count)
    bands, upright, checks = ((kind == index).double() for index in (1, 2, 3))
    pitch = draws.uniform(count, 2, low=1.5, high=6)
    second = hue(draws.uniform(count), draws.uniform(count) ** 2, draws.uniform(count))
    pattern = (bands + 0.4 * checks, upright + 0.4 * checks, 0.0, pitch, 0.06)
    return {
        "painted": Material(painted, second, *pattern).packed(),
        "wooden": Material(wooden, wooden * 0.7, 0.0, 0.3, 0.0, pitch * 3, 0.12).packed(),
        "leafy": Material(leafy, leafy * 0.35, print_=0.9, folds=0.35).packed(),
    }


def draw_background(draws: Draws, outdoors: Tensor) -> Shapes:
    """Furniture, poles, trees, posts, boxes behind the people, ``(N, S)``."""
    count = _BACKGROUND
    kind = torch.where(
        outdoors[:, None],
        draws.choice((2.5, 1.6, 2.0, 0.3, 2.4), count),
        draws.choice((0.5, 0.6, 3.4, 0.5, 2.0), count),
    )
    tree, pole, box, ball = (kind == index for index in range(4))
    things = ShapeList(_thing_colours(draws, count))
    z = torch.where(
        outdoors[:, None], draws.uniform(count, low=-9, high=-1.2), draws.uniform(count, low=-2.6, high=-0.7)
    )
    x = draws.uniform(count, low=-1, high=1) * (1.6 - 0.55 * z)
    foot = torch.stack([x, torch.zeros_like(x), z], -1)
    up = upward(foot)
    tall = torch.where(tree | pole, draws.uniform(count, low=1.6, high=4.2), draws.uniform(count, low=0.4, high=1.6))
    wide = draws.uniform(count)
    trunk = torch.where(tree, 0.06 + 0.12 * wide, 0.025 + 0.05 * wide)
    head = foot + up * tall[..., None]
    side = torch.stack([torch.cos(wide * 9), torch.zeros_like(wide), torch.sin(wide * 9)], -1)
    things.add(foot, head, trunk, trunk * 0.8, "wooden", cap=0.3, active=tree | pole)
    things.add(foot, head, 0.2 + 0.6 * wide, 0.2 + 0.6 * wide, "painted", side=side, cap=0.04,
               ratio=torch.where(wide > 0.65, 0.5, 0.07), roundness=0.3, active=box)  # fmt: skip
    size = 0.10 + 0.22 * wide
    things.add(foot + up * size[..., None], foot + up * (size[..., None] + 0.01), size, size, "painted", active=ball)
    crown = 0.5 + 0.6 * wide
    for lift, shrink, lean in ((0.0, 1.0, 0.3), (0.55, 0.8, -0.4)):
        centre = head + up * lift + side * lean
        things.add(centre, centre + up * 0.1, crown * shrink, crown * shrink, "leafy", ratio=0.8, cap=0.85,
                   roundness=0.8, active=tree)  # fmt: skip
    return things.stack().flatten()


def draw_occluders(draws: Draws, people: People, camera: Camera, probability: float) -> Shapes:
    """Objects between the camera and the main person, ``(N, S)``.

    Each stands before a random one of the main person's joints: a table or wall
    edge, a post, a bush, a ball, a rail.
    """
    count = _FOREGROUND
    here = draws.chance(probability)[:, None] & (
        torch.arange(count, device=camera.scale.device) < draws.choice((3, 1, 1))[:, None] + 1
    )
    kind = draws.choice((1.6, 1.2, 1.4, 0.7, 0.6), count)
    table, post, bush, ball, rail = (kind == index for index in range(5))
    joint = (draws.uniform(count) * 12).long() + 5  # below the head
    point = people.joints[:, 0].gather(1, joint[..., None].expand(-1, -1, 3))  # (N, count, 3)
    near = draws.uniform(count, low=0.35, high=0.8)[..., None]
    point = point + (camera.position[:, None] - point) * near * 0.6
    point = point + draws.uniform(count, 3, low=-0.22, high=0.22) * (1 - 0.5 * near)
    things = ShapeList(_thing_colours(draws, count))
    right, up = camera.axes[:, None, 0].expand_as(point), upward(point).expand_as(point)
    wide, tall = draws.uniform(count, low=0.0, high=1.0), draws.uniform(count)
    low = point - up * (0.15 + 0.5 * tall)[..., None] * 2
    broad = 0.25 + 0.5 * wide
    sunk = point - up * 0.28  # tables and walls stay below the joint: they hide legs rather than all
    things.add(low - up, sunk, broad, broad, "wooden", side=right, cap=0.05, ratio=0.5, roundness=0.25,
               active=here & table)  # fmt: skip
    things.add(sunk - up * 0.02, sunk, broad * 1.1, broad * 1.1, "painted", side=right, cap=0.05, ratio=0.55,
               roundness=0.25, active=here & table)  # fmt: skip
    thin = 0.02 + 0.05 * wide
    things.add(
        point - up * 3, point + up * (0.3 + 2.5 * tall)[..., None], thin, thin, "painted", cap=0.3, active=here & post
    )
    leaf = 0.12 + 0.16 * wide
    for x, y, shrink in ((0.0, 0.0, 1.0), (0.9, -0.5, 0.9), (-0.8, -0.7, 1.0)):
        centre = point + right * (leaf * x)[..., None] + up * (leaf * y)[..., None]
        things.add(centre, centre + up * 0.03, leaf * shrink, leaf * shrink, "leafy", cap=0.8, roundness=0.7,
                   active=here & bush)  # fmt: skip
    things.add(point, point + up * 0.01, 0.06 + 0.08 * wide, 0.06 + 0.08 * wide, "painted", active=here & ball)
    for drop in (0.0, 0.22):
        bar = point - up * drop
        things.add(
            bar - right * 3, bar + right * 3, 0.018 + 0.02 * wide, 0.018 + 0.02 * wide, "painted", active=here & rail
        )
    return things.stack().flatten()
