"""The training loop: it learns, it changes stage where told, it stops where it must."""

import math
from collections.abc import Iterator
from itertools import repeat

import pytest
import torch
from torch import Tensor, nn

from calbook import gmm
from calbook.codecs import build_codec
from calbook.losses import build_loss
from calbook.models import build_model
from calbook.poses import PoseMaps
from calbook.training import NonFiniteLossError, Plan, Step, mixed_masks, normalize, train

INPUT, HEATMAP = (64, 48), (16, 12)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, *INPUT, generator=generator)
    joints = torch.rand(8, 17, 2, generator=generator) * torch.tensor([47.0, 63.0])
    return images, joints, torch.full((8, 17), 2)


def run(method: str, batch: tuple[Tensor, Tensor, Tensor], plan: Plan, network: str = "cal-hrnet-tiny") -> list[Step]:
    torch.manual_seed(0)
    codec = build_codec("cal" if method == "cal" else "heatmap", INPUT, HEATMAP)
    return train(build_model(network), codec, build_loss(method), repeat(batch), plan)


def test_the_loss_falls_and_stage_two_begins_where_told(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    history = run("cal", batch, Plan(steps=24, stage_two=16, drops=()))
    assert [step.step for step in history] == list(range(24))
    assert history[15].loss < 0.95 * history[0].loss
    assert all(step.mixture is None for step in history[:16])
    assert all(step.mixture is not None and step.mixture.samples == 8 * 17 for step in history[16:])


def test_training_is_repeatable(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    first, second = (run("heatmap", batch, Plan(steps=3), "hrnet-tiny") for _ in range(2))
    assert [step.loss for step in first] == [step.loss for step in second]


def test_the_rate_drops_at_the_published_shares_of_stage_one(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    rates = []
    optimizer = torch.optim.Adam

    class Spy(optimizer):
        def step(self, *args: object, **kwargs: object) -> object:
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "Adam", Spy)
        run("cal", batch, Plan(steps=25, stage_two=21))
    assert rates[0] == 1e-3
    assert [step for step in range(1, 25) if rates[step] != rates[step - 1]] == [17, 20]
    assert math.isclose(rates[-1], 1e-5)


def test_masks_from_the_start_train_at_the_full_rate(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """Without a stage one the drops are counted in all steps, not in none."""
    plain = run("cal", batch, Plan(steps=4, stage_two=0, drops=()))
    dropping = run("cal", batch, Plan(steps=4, stage_two=0, drops=(0.75,)))
    assert [step.loss for step in dropping] == [step.loss for step in plain]  # the drop comes after the last loss


def test_looking_at_the_network_after_a_step_does_not_stop_it_training(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    modes = []

    def look(step: Step, model: nn.Module) -> None:
        modes.append(model.training)
        model.eval()

    codec = build_codec("heatmap", INPUT, HEATMAP)
    train(build_model("hrnet-tiny"), codec, build_loss("heatmap"), repeat(batch), Plan(steps=3), after_step=look)
    assert modes == [True, True, True]


def test_logits_below_zero_count_in_the_mixture() -> None:
    codec = build_codec("offset", INPUT, HEATMAP, logits=True)
    joints = torch.tensor([[[20.0, 30.0], [30.0, 40.0]]])
    targets = codec.encode(joints, torch.full((1, 2), 2))
    logits = torch.full((1, 2, *HEATMAP), -6.0)
    logits[0, :, 5, 6] = -0.2  # a peak of probability 0.45
    _, mixture = mixed_masks(PoseMaps(logits), targets, joints, codec, None)
    assert mixture.samples == 2


def test_masks_of_a_batch_are_those_of_its_own_displacements() -> None:
    codec = build_codec("cal", INPUT, HEATMAP)
    joints = torch.tensor([[[20.0, 30.0], [30.0, 40.0], [10.0, 12.0]]])
    visible = torch.tensor([[2, 1, 0]])
    targets = codec.encode(joints, visible)
    moved = codec.encode(joints + 4.2, visible).heatmaps  # every coarse prediction is about a pixel off
    masks, mixture = mixed_masks(PoseMaps(moved), targets, joints, codec, None)
    peaks = moved[0, :2].flatten(1).argmax(1)
    coarse = torch.stack([peaks % HEATMAP[1], peaks // HEATMAP[1]], dim=1)
    moves = (coarse - codec.to_heatmap(joints[0, :2])).double()
    torch.testing.assert_close(mixture.means[0], moves.mean(0), atol=1e-5, rtol=0)
    assert mixture.samples == 2
    assert masks[0, 2].abs().max() == 0  # an unlabelled joint has no mask
    assert (masks[0, :2].amax((-1, -2)) == 1).all()


def test_masks_lie_where_the_codec_says() -> None:
    """About the joint they differ with its place in the pixel; about the pixel they do not."""
    joints = torch.tensor([[[20.0, 30.0], [21.3, 31.1]]])  # both in the same pixel of the map
    visible, found = torch.full((1, 2), 2), {}
    for center in ("joint", "pixel"):
        codec = build_codec("cal", INPUT, HEATMAP, mask_center=center)
        targets, maps = codec.encode(joints, visible), torch.zeros(1, 2, *HEATMAP)
        maps[0, 0, 3, 4] = maps[0, 1, 9, 6] = 1.0  # coarse predictions far apart: wide masks
        found[center], _ = mixed_masks(PoseMaps(maps), targets, joints, codec, None)
    assert (found["joint"][0, 0] - found["joint"][0, 1]).abs().max() > 0.01
    assert torch.equal(found["pixel"][0, 0], found["pixel"][0, 1])


def test_the_fallback_mixture_does_not_stop_training(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    images, joints, visible = batch
    history = run("cal", (images, joints, torch.zeros_like(visible)), Plan(steps=2, stage_two=0))
    assert history[-1].mixture is not None
    assert isinstance(history[-1].mixture, gmm.Mixture)
    assert history[-1].mixture.samples == 0
    assert history[-1].loss == history[-1].offset == 0


def test_a_loss_that_is_no_number_stops_at_its_step(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    images, joints, visible = batch

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        yield batch
        yield images * float("nan"), joints, visible

    codec = build_codec("heatmap", INPUT, HEATMAP)
    with pytest.raises(NonFiniteLossError, match="at step 1: lower the learning rate"):
        train(build_model("hrnet-tiny"), codec, build_loss("heatmap"), batches(), Plan(steps=2))


def test_too_few_batches_and_masks_without_offsets_are_refused(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    codec = build_codec("heatmap", INPUT, HEATMAP)
    with pytest.raises(ValueError, match="3 steps, but there were only 1"):
        train(build_model("hrnet-tiny"), codec, build_loss("heatmap"), [batch], Plan(steps=3))
    with pytest.raises(ValueError, match="choose a method with offsets"):
        train(build_model("hrnet-tiny"), codec, build_loss("heatmap"), [batch], Plan(steps=3, stage_two=1))


def test_normalize_centres_imagenet_colours() -> None:
    grey = torch.tensor([0.485, 0.456, 0.406])[None, :, None, None].expand(1, 3, 2, 2)
    assert normalize(grey).abs().max() == 0
    torch.testing.assert_close(normalize(grey + 0.229)[0, 0], torch.ones(2, 2))
