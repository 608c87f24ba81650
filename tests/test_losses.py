"""Each loss against its equation, its derivative and the published value."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from calbook.codecs import build_codec
from calbook.losses import LOSSES, JointsLoss, OffsetLoss, build_loss, heatmap_bce, heatmap_l2, offset_error
from calbook.poses import PoseMaps, Targets

B, K, H, W = 3, 4, 6, 5


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    maps = PoseMaps(3 * rand(B, K, H, W) - 1, 4 * rand(B, K, 2, H, W) - 2)
    targets = Targets(rand(B, K, H, W), 2 * rand(B, K), 4 * rand(B, K, 2, H, W) - 2, rand(B, K, H, W))
    targets.weights[0, 0] = 0
    return maps, targets


@pytest.fixture
def corner(batch):
    """A part of the batch that is quick to differentiate: every number of it costs two losses."""
    maps, targets = batch
    return (
        PoseMaps(*(m[:2, :2, ..., :3, :2] for m in maps)),
        Targets(*(t[:2, :2, ..., :3, :2] if t.ndim > 2 else t[:2, :2] for t in targets)),
    )


def loop(batch, heatmap, offset):
    """Sums over pixels, mean over samples and joints, one number at a time."""
    maps, targets = batch
    coarse = fine = 0.0
    for n in range(B):
        for k in range(K):
            w = float(targets.weights[n, k])
            for row in range(H):
                for column in range(W):
                    p, t = float(maps.heatmaps[n, k, row, column]), float(targets.heatmaps[n, k, row, column])
                    if heatmap == "l2":
                        coarse += (w * (p - t)) ** 2
                    else:
                        s = 1 / (1 + math.exp(-p))
                        coarse -= w * (t * math.log(s) + (1 - t) * math.log(1 - s))
                    for axis in range(2):
                        d = float(maps.offsets[n, k, axis, row, column] - targets.offsets[n, k, axis, row, column])
                        d = abs(w * float(targets.masks[n, k, row, column]) * d)
                        smooth = d**2 / 2 if d < 1 else d - 0.5
                        fine += {"l1": d, "l2": d**2, "smooth_l1": smooth}[offset]
    return coarse / (B * K), fine / (B * K)


@pytest.mark.parametrize("heatmap", ["l2", "bce"])
@pytest.mark.parametrize("offset", ["l1", "smooth_l1", "l2"])
def test_equations(batch, heatmap, offset):
    coarse, fine = loop(batch, heatmap, offset)
    for normalization, divisor in (("paper", 1), ("published", 2 * H * W)):
        loss = OffsetLoss(heatmap, offset, offset_weight=0.3, normalization=normalization)(*batch)
        assert float(loss.heatmap) == pytest.approx(coarse / divisor)
        assert float(loss.offset) == pytest.approx(fine / divisor)
        assert float(loss.total) == pytest.approx((coarse + 0.3 * fine) / divisor)


@pytest.mark.parametrize("case", [0, 1])
def test_golden(golden, case):
    data = {k: torch.from_numpy(np.asarray(v)) for k, v in np.load(golden / "encode.npz").items()}
    target, predicted = data[f"mgm{case}_gt"], data[f"mgm{case}_pred"]
    fields = [
        data[f"loss{case}_offset_{side}"].reshape(*target.shape[:2], 2, *target.shape[2:]) for side in ("pred", "gt")
    ]
    targets = Targets(target, data[f"mgm{case}_visible"][..., 0], fields[1])
    loss = build_loss("cal", offset_weight=float(data[f"loss{case}_offset_weight"]), normalization="published")(
        PoseMaps(predicted, fields[0]), targets, data[f"mgm{case}_mask"]
    )
    assert float(loss.total) == pytest.approx(float(data[f"loss{case}_total"]), rel=1e-4)
    assert float(loss.offset) == pytest.approx(float(data[f"loss{case}_offset_term"]), rel=1e-4)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("normalization", ["paper", "published"])
def test_gradients(corner, name, normalization):
    maps, targets = corner
    loss = build_loss(name, normalization=normalization)
    inputs = (maps.heatmaps.clone().requires_grad_(), maps.offsets.clone().requires_grad_())
    if isinstance(loss, JointsLoss):
        assert gradcheck(lambda h: loss(PoseMaps(h), targets).total, inputs[:1])
    else:
        assert gradcheck(lambda h, o: loss(PoseMaps(h, o), targets).total, inputs)


@pytest.mark.parametrize("kind", ["l1", "smooth_l1", "l2"])
def test_gradients_of_each_term(corner, kind):
    maps, targets = corner
    offsets = maps.offsets.clone().requires_grad_()
    assert gradcheck(
        lambda o: offset_error(o, targets.offsets, targets.masks, targets.weights, kind=kind, scale=1.5), offsets
    )
    heatmaps = maps.heatmaps.clone().requires_grad_()
    assert gradcheck(lambda h: heatmap_l2(h, targets.heatmaps, targets.weights), heatmaps)
    assert gradcheck(lambda h: heatmap_bce(h, targets.heatmaps, targets.weights), heatmaps)


def test_joints_mse_is_half_the_mean_squared_error(batch):
    maps, targets = batch
    w = targets.weights[..., None, None]
    loss = build_loss("heatmap", normalization="published")(maps, targets)
    torch.testing.assert_close(loss.total, 0.5 * F.mse_loss(w * maps.heatmaps, w * targets.heatmaps))
    assert loss.offset == 0


def test_udp_is_three_half_mean_squared_errors():
    codec = build_codec("offset", (128, 96), (32, 24))
    targets = codec.encode(torch.rand(2, 17, 2) * 90, torch.randint(0, 2, (2, 17)))
    maps = PoseMaps(torch.rand(2, 17, 32, 24), torch.randn(2, 17, 2, 32, 24))
    w, disk = targets.weights[..., None, None], targets.masks
    expected = 0.5 * F.mse_loss(w * maps.heatmaps, w * targets.heatmaps)
    for axis in range(2):
        expected += 0.5 * F.mse_loss(disk * maps.offsets[:, :, axis] / 4, disk * targets.offsets[:, :, axis] / 4)
    torch.testing.assert_close(build_loss("udp")(maps, targets).total, expected)


def test_stage_two_uses_the_masks_given(batch):
    maps, targets = batch
    loss = build_loss("cal")
    masks = torch.rand(B, K, H, W, dtype=torch.float64)
    assert loss(maps, targets, masks) == loss(maps, targets._replace(masks=masks))
    assert loss(maps, targets, masks).heatmap == loss(maps, targets).heatmap
    assert loss(maps, targets, torch.zeros_like(masks)).offset == 0


def test_masks_are_constants(batch):
    maps, targets = batch
    masks = targets.masks.clone().requires_grad_()
    offsets = maps.offsets.clone().requires_grad_()
    offset_error(offsets, targets.offsets, masks).backward()
    assert masks.grad is None
    assert offsets.grad.abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_one_is_the_mean_of_its_parts(batch, name):
    """Losses that squeeze their batch axis broadcast silently when it has length one."""
    maps, targets = batch
    loss = build_loss(name)
    parts = [
        loss(PoseMaps(*(m[n : n + 1] for m in maps)), Targets(*(t[n : n + 1] for t in targets))).total for n in range(B)
    ]
    torch.testing.assert_close(torch.stack(parts).mean(), loss(maps, targets).total)
    one_joint = loss(PoseMaps(*(m[:1, :1] for m in maps)), Targets(*(t[:1, :1] for t in targets)))
    assert one_joint.total.shape == ()


def test_the_offset_scale_divides():
    error = {
        kind: offset_error(
            3 * torch.ones(1, 1, 2, 1, 1), torch.zeros(1, 1, 2, 1, 1), torch.ones(1, 1, 1, 1), kind=kind, scale=1.5
        )
        for kind in ("l1", "l2", "smooth_l1")
    }
    assert {kind: float(value) for kind, value in error.items()} == {"l1": 4, "l2": 8, "smooth_l1": 3}


def test_balance_is_the_same_in_paper_and_code(batch):
    paper = OffsetLoss(offset_weight=0.7)(*batch)
    code = OffsetLoss(offset_weight=0.7, normalization="published")(*batch)
    torch.testing.assert_close(paper.total, 2 * H * W * code.total)


def test_mistakes_are_named(batch):
    maps, targets = batch
    with pytest.raises(ValueError, match="unknown loss"):
        build_loss("cla")
    with pytest.raises(ValueError, match="no option 'beta'"):
        build_loss("cal", beta=1)
    with pytest.raises(ValueError, match=r"unknown offset 'L1' \(did you mean l1\?\): choose one of l1, smooth_l1, l2"):
        build_loss("cal", offset="L1")
    with pytest.raises(ValueError, match="unknown normalization 'papper'"):
        build_loss("heatmap", normalization="papper")
    with pytest.raises(ValueError, match="unknown normalization 'mean'"):
        heatmap_l2(maps.heatmaps, targets.heatmaps, normalization="mean")
    with pytest.raises(ValueError, match="unknown kind 'huber'"):
        offset_error(maps.offsets, targets.offsets, targets.masks, kind="huber")
    with pytest.raises(ValueError, match="needs predicted offsets"):
        build_loss("cal")(PoseMaps(maps.heatmaps), targets)
    with pytest.raises(ValueError, match="differ in shape"):
        heatmap_l2(maps.heatmaps, targets.heatmaps[:1])
    with pytest.raises(ValueError, match="masks"):
        offset_error(maps.offsets, targets.offsets, targets.masks[:1])
    with pytest.raises(ValueError, match="weights"):
        heatmap_l2(maps.heatmaps, targets.heatmaps, targets.weights[..., None])


def test_published_balances_and_scales():
    """G-RMI weighs cross-entropy 4 : 1, UDP divides offsets by its radius, CAL changes nothing."""
    expected = {"heatmap": None, "cal": (1.0, 1.0), "udp": (1.0, 4.0), "g-rmi": (0.25, 1.0)}
    for name, loss in LOSSES.items():
        assert expected[name] == (None if isinstance(loss, JointsLoss) else (loss.offset_weight, loss.offset_scale))


def test_an_offset_error_is_not_scaled_unless_asked(batch):
    maps, targets = batch
    plain = offset_error(maps.offsets, targets.offsets, targets.masks)
    assert plain == offset_error(maps.offsets, targets.offsets, targets.masks, scale=1.0)


@pytest.mark.parametrize("shape", [(1, K, H, W), (B, K, H, 1), (K, H, W)])
def test_shapes_that_would_broadcast_are_refused(batch, shape):
    maps, targets = batch
    with pytest.raises(ValueError, match="differ in shape"):
        heatmap_bce(maps.heatmaps, torch.zeros(shape, dtype=torch.float64))
    with pytest.raises(ValueError, match="differ in shape"):
        offset_error(maps.offsets, targets.offsets[:1], targets.masks)
