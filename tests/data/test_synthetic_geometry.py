"""The drawing is where the labels say: joints, outlines, masks, depth."""

import dataclasses
import math

import pytest
import torch

from calbook.data.draws import Draws
from calbook.data.synthetic import CROPS, SceneConfig, bodies, figure, labels, postures, raster, rendering, scene
from calbook.data.synthetic.camera import Camera, Outlines, project
from calbook.data.synthetic.shapes import Material, ShapeList
from calbook.skeletons import COCO

SIZE = (128, 96)


def _build(count: int = 1) -> bodies.Build:
    one = torch.ones(1, count, dtype=torch.float64)
    return bodies.Build(height=1.75 * one, girth=one, female=0 * one, head=one, legs=one)


def _angles(name: str) -> torch.Tensor:
    posture = next(p for p in postures.POSTURES if p.name == name)
    return torch.deg2rad(torch.tensor(posture.angles, dtype=torch.float64))[None, None]


def _joints(name: str, heading: float = 0.0) -> dict[str, torch.Tensor]:
    body = bodies.articulate(_build(), _angles(name), torch.full((1, 1), heading, dtype=torch.float64))
    return dict(zip(COCO.joints, bodies.coco_joints(body)[0, 0], strict=True))


def test_every_posture_is_complete_and_within_limits():
    low, high = torch.tensor(postures.LIMITS, dtype=torch.float64).unbind(-1)
    for posture in postures.POSTURES:
        angles = torch.tensor(posture.angles, dtype=torch.float64)
        assert angles.shape == (postures.DEGREES_OF_FREEDOM,), posture.name
        assert ((angles >= low) & (angles <= high)).all(), posture.name
    assert len({posture.name for posture in postures.POSTURES}) == len(postures.POSTURES)


def test_standing_is_upright_with_left_on_the_own_left():
    person = _joints("standing")  # faces +z, so the own left is +x
    for name in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        assert person[f"left_{name}"][0] > person[f"right_{name}"][0]
    assert person["nose"][1] > person["left_shoulder"][1] > person["left_hip"][1] > person["left_knee"][1]
    assert person["nose"][2] > person["left_ear"][2]


def test_turning_left_brings_the_nose_to_the_left():
    person = _joints("standing", heading=math.pi / 2)
    assert person["nose"][0] > person["left_ear"][0] + 0.05


@pytest.mark.parametrize(
    ("name", "higher", "lower"),
    [
        ("arms up", "left_wrist", "nose"),
        ("waving", "left_wrist", "left_elbow"),
        ("sitting on the floor", "left_wrist", "left_ankle"),
        ("bending down", "left_hip", "left_elbow"),
        ("kneeling", "left_knee", "right_knee"),
    ],
)
def test_postures_do_what_they_say(name, higher, lower):
    person = _joints(name)
    assert person[higher][1] > person[lower][1]


def test_limbs_keep_their_length_in_every_posture():
    lengths = []
    for posture in postures.POSTURES:
        person = _joints(posture.name)
        pairs = (("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("right_hip", "right_knee"))
        lengths.append(torch.stack([(person[a] - person[b]).norm() for a, b in pairs]))
    lengths = torch.stack(lengths)
    torch.testing.assert_close(lengths, lengths[:1].expand_as(lengths))


def test_angles_stay_within_limits():
    draws = Draws(0, range(200), 2000, torch.device("cpu"))
    angles, lift, _ = postures.draw_angles(draws, 3)
    low, high = torch.deg2rad(torch.tensor(postures.LIMITS, dtype=torch.float64)).unbind(-1)
    assert ((angles >= low) & (angles <= high)).all()
    assert (lift >= 0).all()


def test_people_stand_on_the_ground():
    people = scene.draw_people(Draws(1, range(60), rendering.columns(3), torch.device("cpu")), CROPS)
    ends = torch.minimum(people.shapes.a, people.shapes.b)[..., 1]
    lowest = ends.masked_fill(~people.shapes.active, torch.inf).amin(-1)[people.present]
    assert lowest.min() > -0.001  # the middle of a foot is above the ground, by no more than its thickness and a jump
    assert lowest.max() < 0.45
    assert lowest.median() < 0.05


def _camera() -> Camera:
    axes = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]], dtype=torch.float64)[None]
    return Camera(
        torch.tensor([[0, 0, 4.0]], dtype=torch.float64), axes, torch.tensor([200.0], dtype=torch.float64),
        torch.tensor([[47.5, 63.5]], dtype=torch.float64),
    )  # fmt: skip


def _shape(a: list[float], b: list[float], start: float, end: float, **how: float) -> tuple[Outlines, torch.Tensor]:
    grey = torch.full((1, 3), 0.5, dtype=torch.float64)
    things = ShapeList({"grey": Material(grey, grey).packed()})
    points = (torch.tensor([point], dtype=torch.float64) for point in (a, b))
    things.add(*points, start, end, "grey", **how)
    outlines, seen = project(things.stack(), _camera())
    return Outlines(*(value.float() for value in outlines)), seen


def _coverage(outlines: Outlines, seen: torch.Tensor) -> torch.Tensor:
    fragments = raster.rasterize(outlines, seen, SIZE)
    mask = torch.zeros(SIZE[0] * SIZE[1])
    mask.scatter_reduce_(0, fragments.pixel, fragments.surface.coverage.flatten()[fragments.point], "amax")
    return mask.reshape(SIZE)


@pytest.mark.parametrize(("x", "y", "radius"), [(0.0, 0.0, 0.3), (0.137, -0.211, 0.2), (-0.3, 0.41, 0.11)])
def test_a_ball_covers_its_disk_about_its_own_centre(x, y, radius):
    mask = _coverage(*_shape([x, y, 0.0], [x, y + 1e-4, 0.0], radius, radius))
    pixels = 200 * radius / 4
    assert mask.sum().item() == pytest.approx(math.pi * pixels**2, rel=0.01)
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    centre = (mask * columns).sum() / mask.sum(), (mask * rows).sum() / mask.sum()
    assert centre[0].item() == pytest.approx(47.5 + 50 * x, abs=0.02)
    assert centre[1].item() == pytest.approx(63.5 - 50 * y, abs=0.02)


def test_a_tapered_limb_covers_what_its_spheres_cover():
    outlines, seen = _shape([-0.3, -0.5, 0.0], [0.35, 0.4, 0.0], 0.25, 0.08)
    mask = _coverage(outlines, seen)
    # Brute force: the union of many disks along the line, sampled 4 x 4 in every pixel.
    share = torch.linspace(0, 1, 400)[:, None, None]
    step = (torch.arange(4) + 0.5) / 4 - 0.5
    y = (torch.arange(SIZE[0])[:, None] + step).reshape(-1, 1)
    x = (torch.arange(SIZE[1])[:, None] + step).reshape(1, -1)
    inside = torch.zeros(len(y), x.shape[1], dtype=torch.bool)
    for part in share.split(50):
        dx = x - (47.5 + 50 * (-0.3 + 0.65 * part))
        dy = y - (63.5 - 50 * (-0.5 + 0.9 * part))
        inside |= (dx.square() + dy.square() < (50 * (0.25 - 0.17 * part)).square()).any(0)
    truth = inside.reshape(SIZE[0], 4, SIZE[1], 4).float().mean((1, 3))
    assert (mask - truth).abs().max() < 0.2
    assert mask.sum().item() == pytest.approx(truth.sum().item(), rel=0.005)


def test_tiles_miss_nothing():
    outlines, seen = _shape([-0.6, -0.5, 0.3], [0.5, 0.7, -0.4], 0.2, 0.05, ratio=0.4, cap=0.5)
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    whole = raster.surface(outlines, columns[..., None] - outlines.x[0], rows[..., None] - outlines.y[0]).coverage[
        ..., 0
    ]
    whole = torch.where(whole > 1 / 32, whole, 0.0)
    torch.testing.assert_close(_coverage(outlines, seen), whole)


def test_the_nearer_surface_wins():
    near, _ = _shape([0.0, 0, 1.0], [0.0, 0.01, 1.0], 0.2, 0.2)
    far, _ = _shape([0.0, 0, 0.0], [0.0, 0.01, 0.0], 0.6, 0.6)
    both = Outlines(*(torch.cat([a, b], 1) for a, b in zip(far, near, strict=True)))
    fragments = raster.rasterize(both, torch.ones(1, 2, dtype=torch.bool), SIZE)
    pixel, point = raster.nearest(fragments, SIZE[0] * SIZE[1])[0]
    middle = (pixel == 63 * SIZE[1] + 47).nonzero()[0, 0]
    assert fragments.shape[point[middle] % len(fragments.shape)] == 1


def test_boxes_and_areas_of_known_masks():
    masks = torch.zeros(1, 2, 10, 8, dtype=torch.bool)
    masks[0, 0, 5, 3] = True
    boxes, areas = labels.boxes_and_areas(masks)
    assert boxes.tolist() == [[[3, 5, 1, 1], [0, 0, 0, 0]]]
    assert areas.tolist() == [[1, 0]]


@pytest.fixture(scope="module")
def scenes():
    """Labels and masks of the same scenes: what the renderer saw before it threw the masks away."""
    kept = {}
    original = rendering.boxes_and_areas

    def spy(masks):
        kept.setdefault("masks", []).append(masks)
        return original(masks)

    patch = pytest.MonkeyPatch()
    patch.setattr(rendering, "boxes_and_areas", spy)
    batch = rendering.render(12, 96, SIZE)
    patch.undo()
    return batch, torch.cat(kept["masks"])


def test_joints_in_sight_lie_on_the_person(scenes):
    batch, masks = scenes
    hits = {}
    for code in (1, 2):
        n, p, k = (batch.visible == code).nonzero().unbind(-1)
        x, y = batch.joints[n, p, k].round().long().unbind(-1)
        hits[code] = masks[n, p, y.clamp(0, SIZE[0] - 1), x.clamp(0, SIZE[1] - 1)].float().mean().item()
    assert hits[2] > 0.985  # the rest sits on an outline and rounds to the pixel beside it
    assert hits[1] < 0.90  # hidden ones lie on the own body or on something else


def test_areas_count_the_mask(scenes):
    batch, masks = scenes
    counts = masks.flatten(2).sum(-1)
    assert torch.equal(batch.areas[batch.present], counts[batch.present].float())
    assert (masks.sum(1) <= 1).float().mean() > 0.9999  # a pixel belongs to one person


def test_an_object_in_front_hides_joints():
    config = SceneConfig(people=(1.0,), cut=0.0, occluder=0.0)
    free = rendering.render(3, 80, (64, 48), config=config)
    blocked = rendering.render(3, 80, (64, 48), config=dataclasses.replace(config, occluder=1.0))
    torch.testing.assert_close(free.joints[:, 0], blocked.joints[:, 0])
    assert (blocked.visible[:, 0] == 2).sum() < 0.9 * (free.visible[:, 0] == 2).sum()
    assert ((blocked.visible > 0) == (free.visible > 0)).all()
    assert (blocked.areas <= free.areas).all()


def test_all_parts_of_the_figure_are_named_by_the_same_palette():
    draws = Draws(0, range(2), rendering.columns(1), torch.device("cpu"))
    build = bodies.draw_build(draws, 1, 0.5)
    angles, _, _ = postures.draw_angles(draws, 1)
    body = bodies.articulate(build, angles, torch.zeros(2, 1, dtype=torch.float64))
    shapes = figure.dress(body, scene.draw_outfit(draws, 1, build.female))
    assert shapes.a.shape[:2] == (2, 1)
    assert shapes.active.sum(-1).min() > 40
    assert torch.isfinite(shapes.material).all()
    assert (shapes.radii >= 0).all()
