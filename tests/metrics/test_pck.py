import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calbook import metrics
from calbook.data import coco
from calbook.metrics.pck import PCKH_FINE_THRESHOLD, PCKH_FINE_THRESHOLD_PUBLISHED
from calbook.skeletons import COCO, LSP, MPII


def mpii_poses(count, seed=0, spread=0.3):
    """Random truth, predictions off by ``spread`` head lengths, visibility, lengths."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(count, 16, 2, generator=generator, dtype=torch.float64) * 300
    lengths = 20 + 40 * torch.rand(count, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, 16, 2, generator=generator, dtype=torch.float64)
    visible = (torch.rand(count, 16, generator=generator) < 0.8).long()
    return truth + spread * lengths[:, None, None] * noise, truth, visible, lengths


def published_pckh(pred, truth, visible, lengths):
    """PCKh written down from its description, one number at a time; thresholds from a list in steps of 0.01."""
    steps = np.arange(0, 0.51, 0.01)

    pred, truth, lengths = pred.tolist(), truth.tolist(), lengths.tolist()

    def share(joint, threshold):
        right = labelled = 0
        for person in range(len(pred)):
            if visible[person, joint] > 0:
                labelled += 1
                right += math.dist(pred[person][joint], truth[person][joint]) / lengths[person] <= threshold
        return right / labelled

    def mean(threshold):
        joints = [joint for joint in range(16) if joint not in (6, 7)]
        counts = [(visible[:, joint] > 0).sum().item() for joint in joints]
        return sum(share(joint, threshold) * n / sum(counts) for joint, n in zip(joints, counts, strict=True))

    pairs = {"shoulder": (12, 13), "elbow": (11, 14), "wrist": (10, 15), "hip": (2, 3), "knee": (1, 4), "ankle": (0, 5)}
    figures = {"head": share(9, 0.5)} | {name: (share(a, 0.5) + share(b, 0.5)) / 2 for name, (a, b) in pairs.items()}
    return figures | {"mean": mean(0.5), "mean@0.1": mean(steps[10]), "mean@0.1 published": mean(steps[11])}


@pytest.mark.parametrize("seed", range(3))
def test_pckh_is_the_published_count(seed):
    arrays = mpii_poses(40, seed)
    found, expected = metrics.pckh(*arrays), published_pckh(*arrays)
    assert list(found) == list(expected)
    assert list(found.values()) == pytest.approx(list(expected.values()), abs=1e-6)
    assert tuple(found)[:7] == metrics.PCKH_GROUPS


def test_pelvis_and_thorax_do_not_count():
    pred, truth, visible, lengths = mpii_poses(30)
    before = metrics.pckh(pred, truth, visible, lengths)
    pred[:, 6:8] += 1e4
    assert metrics.pckh(pred, truth, visible, lengths) == before
    visible[:, 6:8] = 1 - visible[:, 6:8]
    assert metrics.pckh(pred, truth, visible, lengths) == before


def test_the_published_fine_threshold_lets_more_through():
    truth = torch.zeros(1, 16, 2, dtype=torch.float64)
    pred = truth.clone()
    pred[..., 0] = 10.5  # 0.105 head lengths
    found = metrics.pckh(pred, truth, torch.ones(1, 16), torch.tensor([100.0], dtype=torch.float64))
    assert (found["mean"], found["mean@0.1"], found["mean@0.1 published"]) == (1.0, 0.0, 1.0)
    steps = np.arange(0, 0.51, 0.01)
    assert (steps[10], steps[11]) == (PCKH_FINE_THRESHOLD, PCKH_FINE_THRESHOLD_PUBLISHED)


def test_pckh_of_other_skeletons_is_refused():
    with pytest.raises(ValueError, match="PCKh is defined for MPII's 16 joints, not for 17: use pck"):
        metrics.pckh(torch.zeros(1, 17, 2), torch.zeros(1, 17, 2), torch.ones(1, 17), torch.ones(1))


def test_head_length_is_a_share_of_the_diagonal():
    assert metrics.head_lengths(torch.tensor([[5.0, 6.0, 30.0, 40.0]])).tolist() == pytest.approx([30.0])


def test_pck_by_hand():
    truth = torch.zeros(3, 2, 2)
    pred = torch.tensor([[[5.0, 0.0], [5.1, 0.0]], [[0.0, 9.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    visible = torch.tensor([[2, 1], [1, 0], [2, 2]])
    found = metrics.pck(pred, truth, visible, torch.tensor([25.0, 50.0, torch.nan]), 0.2)
    assert found.correct.tolist() == [[True, False], [True, False], [False, False]]
    assert found.counted.tolist() == [[True, True], [True, False], [False, False]]
    assert found.joints.tolist() == [1.0, 0.0]
    assert found.mean == pytest.approx(2 / 3)


def test_a_joint_that_is_never_labelled_has_no_share():
    visible = torch.ones(2, 17)
    visible[:, 9:11] = 0
    found = metrics.pck(torch.zeros(2, 17, 2), torch.zeros(2, 17, 2), visible, torch.ones(2))
    assert found.joints.isnan().nonzero()[:, 0].tolist() == [9, 10]
    assert math.isnan(found.groups(COCO)["wrist"])
    assert found.groups(COCO)["elbow"] == 1.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), threshold=st.floats(0.01, 1), zoom=st.floats(0.1, 10))
def test_pck_grows_with_the_threshold_and_forgets_the_scale(seed, threshold, zoom):
    pred, truth, visible, lengths = mpii_poses(10, seed)
    found = metrics.pck(pred, truth, visible, lengths, threshold)
    wider = metrics.pck(pred, truth, visible, lengths, 1.1 * threshold)
    assert (found.correct <= wider.correct).all()
    zoomed = metrics.pck(zoom * pred, zoom * truth, visible, zoom * lengths, threshold)
    assert (zoomed.correct != found.correct).sum() <= 1  # rounding at the very threshold
    assert torch.equal(metrics.pck(pred, truth, visible, lengths, torch.inf).correct, found.counted)


def test_torso_is_left_shoulder_to_right_hip():
    joints = torch.rand(2, 14, 2)
    visible = torch.ones(2, 14)
    visible[1, LSP.joints.index("right_hip")] = 0
    found = metrics.torso_lengths(joints, visible, LSP)
    assert found[0] == pytest.approx(math.dist(joints[0, 9].tolist(), joints[0, 2].tolist()))
    assert found[1].isnan()
    headless = replace(MPII, joints=tuple(f"joint{i}" for i in range(16)))
    with pytest.raises(ValueError, match="'mpii' has no left_shoulder and no right_hip"):
        metrics.torso_lengths(torch.zeros(1, 16, 2), torch.ones(1, 16), headless)


def test_noise_on_real_athletes_follows_the_rayleigh_law(shared_data):
    """With errors of standard deviation c torsos per axis, PCK@t is 1 - exp(-t^2 / (2 c^2))."""
    people = coco.read_split(shared_data / "lspet", "images")
    lengths = metrics.torso_lengths(people.joints, people.visible, people.skeleton)
    noise = torch.randn(people.joints.shape, generator=torch.Generator().manual_seed(0))
    for c in (0.05, 0.15, 0.4):
        pred = people.joints + c * lengths[:, None, None] * noise
        found = metrics.pck(pred, people.joints, people.visible, lengths)
        assert found.counted.sum() > 10_000
        assert found.mean == pytest.approx(1 - math.exp(-(0.2**2) / (2 * c**2)), abs=0.01)
    exact = metrics.pck(people.joints, people.joints, people.visible, lengths)
    assert exact.mean == 1.0


def test_mpii_visible_counts_weight_the_mean():
    pred, truth, visible, lengths = mpii_poses(50, spread=0.6)
    visible[:, :6] = 0
    visible[0, :6] = 1
    found = metrics.pckh(pred, truth, visible, lengths)
    pooled = metrics.pck(pred, truth, visible, lengths, 0.5)
    keep = [joint for joint in range(16) if joint not in (6, 7)]
    assert found["mean"] == pytest.approx((pooled.correct[:, keep].sum() / pooled.counted[:, keep].sum()).item())
    assert found["mean"] != pytest.approx(pooled.joints[keep].mean().item(), abs=1e-3)
