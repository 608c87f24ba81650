"""Synthetic people: the same everywhere, labelled exactly, and as varied as announced."""

import pytest
import torch

from calbook.data.draws import Draws
from calbook.data.synthetic import PHOTOGRAPHS, SceneConfig, SyntheticBatch, SyntheticStream, render
from calbook.skeletons import COCO

SIZE = (128, 96)


@pytest.fixture(scope="module")
def batch() -> SyntheticBatch:
    return render(seed=2, count=160, size=SIZE)


def _same(one: SyntheticBatch, other: SyntheticBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_series_is_the_same_in_every_run(batch):
    assert _same(render(2, 30, SIZE), SyntheticBatch(*(value[:30] for value in batch)))


@pytest.mark.parametrize(("start", "count"), [(0, 1), (7, 5), (23, 26), (159, 1)])
def test_a_picture_does_not_depend_on_its_batch(batch, start, count):
    part = render(2, count, SIZE, start=start)
    assert _same(part, SyntheticBatch(*(value[start : start + count] for value in batch)))


def test_threads_change_nothing(batch):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = render(2, 30, SIZE)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert _same(again, SyntheticBatch(*(value[:30] for value in batch)))


def test_more_random_numbers_than_a_picture_has_are_refused():
    draws = Draws(0, range(2), 4, torch.device("cpu"))
    assert draws.uniform(3).shape == (2, 3)
    with pytest.raises(RuntimeError, match="more than 4 random numbers are needed: raise columns"):
        draws.uniform(2)


def test_seeds_and_indices_make_different_pictures(batch):
    other = render(3, 4, SIZE)
    assert (other.pictures - batch.pictures[:4]).abs().mean() > 0.05
    means = batch.pictures.flatten(1).mean(1)
    assert len(means.unique()) == len(means)


def test_shapes_types_and_ranges(batch):
    n, p, k = 160, 3, COCO.num_joints
    assert batch.pictures.shape == (n, 3, *SIZE)
    assert batch.joints.shape == (n, p, k, 2)
    assert batch.visible.shape == (n, p, k)
    assert batch.boxes.shape == (n, p, 4)
    assert batch.areas.shape == batch.present.shape == (n, p)
    assert batch.pictures.dtype == batch.joints.dtype == batch.boxes.dtype == torch.float32
    assert batch.visible.dtype == torch.int64
    assert batch.present.dtype == torch.bool
    assert batch.pictures.min() >= 0
    assert batch.pictures.max() <= 1
    assert all(torch.isfinite(value.float()).all() for value in batch)


def test_joints_outside_are_zero_and_others_inside(batch):
    outside = batch.visible == 0
    assert (batch.joints[outside] == 0).all()
    x, y = batch.joints[~outside].unbind(-1)
    assert ((x >= -0.5) & (x < SIZE[1] - 0.5) & (y >= -0.5) & (y < SIZE[0] - 0.5)).all()
    assert set(batch.visible.unique().tolist()) == {0, 1, 2}


def test_empty_slots_hold_nothing(batch):
    empty = ~batch.present
    assert empty.any()
    for value in (batch.joints, batch.visible, batch.boxes, batch.areas):
        assert (value[empty] == 0).all()


def test_the_main_person_can_always_be_used(batch):
    assert batch.present[:, 0].all()
    assert (batch.areas[:, 0] > 0).all()
    assert ((batch.visible[:, 0] > 0).sum(-1) >= 1).all()
    assert (batch.boxes[:, 0, 2:] > 0).all()


def test_boxes_hold_the_area_and_the_joints_in_sight(batch):
    x, y, width, height = batch.boxes[batch.present].unbind(-1)
    assert (batch.areas[batch.present] <= width * height).all()
    assert (x >= 0).all()
    assert (y >= 0).all()
    assert (x + width <= SIZE[1]).all()
    assert (y + height <= SIZE[0]).all()
    first = batch.boxes[:, :, None, :2] - 2
    last = batch.boxes[:, :, None, :2] + batch.boxes[:, :, None, 2:] + 1
    held = ((batch.joints >= first) & (batch.joints <= last)).all(-1)[batch.visible == 2]
    assert held.float().mean() > 0.995


def test_shares_of_visibility_are_those_of_a_pose_data_set(batch):
    main = batch.visible[:, 0]
    shares = [(main == code).float().mean().item() for code in range(3)]
    assert shares[2] > 0.55
    assert 0.10 < shares[1] < 0.40
    assert shares[0] < 0.15
    assert (main > 0).float().mean(0).min() > 0.5  # no kind of joint is nearly always outside
    assert 0.25 < batch.present[:, 1].float().mean() < 0.55


def test_people_face_and_lean_every_way(batch):
    usable = (batch.visible[:, 0, 5] > 0) & (batch.visible[:, 0, 6] > 0)
    across = (batch.joints[:, 0, 5, 0] - batch.joints[:, 0, 6, 0])[usable]
    assert 0.5 < (across > 0).float().mean() < 0.85  # the own left is on the right of the picture when facing it
    heads_below_hips = batch.joints[:, 0, 0, 1] > batch.joints[:, 0, 11, 1]
    assert heads_below_hips.float().mean() < 0.3


def test_the_face_hides_when_people_turn_away():
    config = SceneConfig(people=(1.0,), occluder=0.0, cut=0.0, roll=0.0)
    lone = render(4, 160, SIZE, config=config)
    left, right = lone.joints[:, 0, 3, 0], lone.joints[:, 0, 4, 0]  # the ears
    upright = lone.joints[:, 0, 0, 1] < lone.joints[:, 0, 11, 1] - 20
    facing = upright & (left - right > 5)
    turned = upright & (right - left > 5)
    nose = lone.visible[:, 0, 0]
    assert facing.sum() > 30
    assert turned.sum() > 15
    assert (nose[facing] == 2).float().mean() > 0.9
    assert (nose[turned] == 1).float().mean() > 0.9


def test_pictures_have_no_preferred_side(batch):
    joints = render(8, 300, (16, 16)).joints[:, 0]
    assert abs(joints[..., 0].mean() - 7.5) < 0.7


def test_people_get_smaller_in_photographs():
    crops, photographs = render(6, 60, (64, 48)), render(6, 60, (64, 48), config=PHOTOGRAPHS)
    assert photographs.areas[:, 0].mean() < 0.7 * crops.areas[:, 0].mean()


def test_odd_sizes_and_empty_series():
    odd = render(0, 2, (61, 45))
    assert odd.pictures.shape == (2, 3, 61, 45)
    assert render(0, 0, (32, 24)).pictures.shape == (0, 3, 32, 24)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: render(0, 1, (8, 8)), "16 x 16"),
        (lambda: render(0, -1), "negative"),
        (lambda: SceneConfig(people=(0.5, 0.2)), "people"),
        (lambda: SceneConfig(cut=1.5), "cut"),
        (lambda: SceneConfig(fill=(1.0, 0.5)), "fill"),
        (lambda: SceneConfig(distance=(1.0, 9.0)), "at least 1.5 m"),
        (lambda: SceneConfig(fill=(0.0, 1.0)), "fill must be positive"),
        (lambda: SyntheticStream(0, (64, 48), seed=0), "batch_size"),
    ],
)
def test_bad_settings_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_streams_resume():
    stream = SyntheticStream(3, (64, 48), seed=9)
    first, state, second = next(stream), stream.state_dict(), next(stream)
    assert first.images.shape == (3, 3, 64, 48)
    assert first.joints.shape == (3, 17, 2)
    assert not torch.equal(first.images, second.images)
    again = SyntheticStream(3, (64, 48), seed=9)
    again.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(next(again), second, strict=True))
    with pytest.raises(ValueError, match="seed"):
        SyntheticStream(3, (64, 48), seed=1).load_state_dict(state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_renders_the_same_scenes():
    here, there = render(0, 40, SIZE), render(0, 40, SIZE, device="cuda")
    assert there.pictures.is_cuda
    assert (here.joints - there.joints.cpu()).abs().max() < 1e-3
    assert (here.visible == there.visible.cpu()).float().mean() > 0.999
    assert ((here.pictures - there.pictures.cpu()).abs() > 1e-3).float().mean() < 1e-3
