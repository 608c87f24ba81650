"""Super-resolution: the published generator, its gradient maps and losses, and that it learns."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_tensors import golden_tensor
from torch import Tensor

from calbook.data.synthetic import render
from calbook.models import load_reference_weights
from calbook.models.super_resolution import (
    SIZES,
    SuperResolved,
    SuperResolver,
    SuperResolverSize,
    build_super_resolver,
    enlarge,
    gradient_map,
    shrink,
    super_resolution_loss,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "models"
TINY = SuperResolverSize(width=4, growth=2, blocks=2, dense=1, taps=(1, 2))


def published_weights() -> tuple[dict[str, Tensor], int]:
    """A checkpoint in published names, and how many parameters that network trains."""
    published = json.loads((GOLDEN / "spsr.json").read_text())
    weights = {}
    for key, shape in published["state_dict"].items():
        known_as = key.replace("model.8.", "HR_conv0_new.0.")  # the same tensor twice
        weights[key] = torch.zeros(shape) if key.startswith("get_g") else golden_tensor(known_as, tuple(shape))
    return weights, published["parameters"]


def test_the_published_generator_loads_and_agrees() -> None:
    """Outputs of the published generator, transcribed to run with today's PyTorch, on the same weights."""
    weights, parameters = published_weights()
    network = build_super_resolver("spsr").eval()
    assert sum(p.numel() for p in network.parameters()) == parameters == 24_796_230
    report = load_reference_weights(network, weights)
    assert report.missing == ()
    assert report.unexpected == ("get_g_nopadding.weight_h", "get_g_nopadding.weight_v")
    assert len(report.loaded) == len(weights) - 2
    pictures = np.random.RandomState(zlib.crc32(b"spsr")).uniform(size=(1, 3, 12, 8)).astype(np.float32)
    with torch.inference_mode():
        resolved = network(torch.from_numpy(pictures))
    expected = np.load(GOLDEN / "forward_spsr.npz")
    np.testing.assert_allclose(gradient_map(torch.from_numpy(pictures)), expected["input_gradients"], atol=1e-6)
    for name in ("pictures", "gradients"):
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(getattr(resolved, name), expected[name], rtol=1e-4, atol=1e-4 * scale)


def parameters(size: SuperResolverSize) -> int:
    """The number of parameters by counting: a convolution has outputs * (9 * inputs + 1)."""

    def conv(inputs: int, outputs: int, pixels: int = 9) -> int:
        return outputs * (pixels * inputs + 1)

    def rrdb(width: int) -> int:
        adding = sum(conv(width + i * size.growth, size.growth) for i in range(4))
        return size.dense * (adding + conv(width + 4 * size.growth, width))

    w = size.width
    trunk = conv(3, w) + size.blocks * rrdb(w) + conv(w, w) + 2 * conv(w, w) + 2 * conv(w, w)
    guides = len(size.taps) * (rrdb(2 * w) + conv(2 * w, w))
    branch = conv(3, w) + guides + conv(w, w) + 2 * conv(w, w) + 2 * conv(w, w) + conv(w, 3, pixels=1)
    return trunk + branch + rrdb(2 * w) + conv(2 * w, w) + conv(w, w) + conv(w, 3)


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_as_many_as_the_formula_says(name: str) -> None:
    network = build_super_resolver(name)
    assert sum(p.numel() for p in network.parameters()) == parameters(SIZES[name])


@pytest.mark.parametrize("size", [(16, 12), (7, 5), (1, 1)])
@pytest.mark.parametrize("skip", [True, False])
def test_every_size_becomes_four_times_as_large(size: tuple[int, int], skip: bool) -> None:
    network = build_super_resolver("spsr-tiny", skip=skip).eval()
    resolved = network(torch.rand(2, 3, *size))
    assert resolved.pictures.shape == resolved.gradients.shape == (2, 3, 4 * size[0], 4 * size[1])


def test_an_untrained_network_with_a_skip_is_bicubic() -> None:
    pictures = torch.rand(1, 3, 8, 8)
    resolved = build_super_resolver("spsr-tiny")(pictures)
    assert resolved.pictures.equal(enlarge(pictures))
    assert resolved.gradients.equal(gradient_map(enlarge(pictures)))


def test_every_parameter_is_trained() -> None:
    torch.manual_seed(0)
    network = SuperResolver(TINY)
    truth = torch.rand(1, 3, 16, 16)
    super_resolution_loss(network(shrink(truth)), truth).total.backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_unknown_names_and_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown super-resolver 'spsr-tyni' \(did you mean spsr-tiny\?\): choose"):
        build_super_resolver("spsr-tyni")
    with pytest.raises(ValueError, match=r"taps must rise from 1 to at most 4, got \(1, 9\)"):
        build_super_resolver("spsr-tiny", taps=(1, 9))
    with pytest.raises(ValueError, match="at least 1"):
        build_super_resolver("spsr-tiny", width=0)
    with pytest.raises(TypeError, match="depth"):
        build_super_resolver("spsr-tiny", depth=3)
    with pytest.raises(ValueError, match=r"expected pictures of shape \(B, 3, H, W\), got \(3, 8, 8\)"):
        build_super_resolver("spsr-tiny")(torch.rand(3, 8, 8))


def test_gradient_maps_by_brute_force() -> None:
    picture = torch.rand(5, 6, dtype=torch.float64)

    def at(y: int, x: int) -> float:
        return picture[y, x].item() if 0 <= y < 5 and 0 <= x < 6 else 0.0

    expected = [
        [((at(y, x + 1) - at(y, x - 1)) ** 2 + (at(y + 1, x) - at(y - 1, x)) ** 2 + 1e-6) ** 0.5 for x in range(6)]
        for y in range(5)
    ]
    torch.testing.assert_close(gradient_map(picture[None, None])[0, 0], torch.tensor(expected, dtype=torch.float64))


def test_gradients_of_maps_and_loss_are_right() -> None:
    """Central differences in double precision, on a plain area too, where the root is steepest."""
    torch.manual_seed(0)
    pictures = torch.rand(1, 3, 8, 4, dtype=torch.float64)
    pictures[..., :4, :] = 0.5
    pictures.requires_grad_()
    assert torch.autograd.gradcheck(gradient_map, pictures, eps=1e-7, atol=1e-4)
    edges = torch.rand(1, 3, 8, 4, dtype=torch.float64, requires_grad=True)
    truth = torch.rand(1, 3, 8, 4, dtype=torch.float64)

    def total(given: Tensor, predicted: Tensor) -> Tensor:
        return super_resolution_loss(SuperResolved(given, predicted), truth, 0.7, 0.3).total

    assert torch.autograd.gradcheck(total, (pictures, edges), eps=1e-7, atol=1e-4)


def test_the_loss_is_the_sum_of_its_terms() -> None:
    truth = torch.rand(2, 3, 8, 8)
    perfect = super_resolution_loss(SuperResolved(truth, gradient_map(truth)), truth)
    assert perfect.total == 0
    off = super_resolution_loss(SuperResolved(truth + 0.1, gradient_map(truth) + 0.2), truth, 2.0, 3.0)
    assert off.picture.item() == pytest.approx(0.1, rel=1e-4)
    assert off.branch.item() == pytest.approx(0.2, rel=1e-4)
    assert off.total.item() == pytest.approx((off.picture + 2 * off.gradient + 3 * off.branch).item(), rel=1e-5)
    inside = gradient_map(truth + 0.1)[..., 1:-1, 1:-1] - gradient_map(truth)[..., 1:-1, 1:-1]
    assert inside.abs().max() < 1e-5  # a brighter picture has the same edges; only the border sees the black around it
    with pytest.raises(ValueError, match=r"pictures of shape \(2, 3, 8, 8\) but truth \(2, 3, 8, 4\)"):
        super_resolution_loss(SuperResolved(truth, truth), truth[..., :4])


def test_shrinking_and_enlarging_keep_places() -> None:
    """Pixel x of the small picture is at 4x + 1.5 of the large one: a ramp stays the same ramp."""
    ramp = (torch.arange(64.0) / 64).expand(1, 1, 32, 64)
    small = shrink(ramp)
    x = torch.arange(16.0)
    torch.testing.assert_close(small[0, 0, 4, 3:-3], ((4 * x + 1.5) / 64)[3:-3], atol=1e-4, rtol=0)
    torch.testing.assert_close(enlarge(small)[..., 16:-16], ramp[..., 16:-16], atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="multiples of 4, got 6x8"):
        shrink(torch.rand(1, 3, 6, 8))


def psnr(pictures: Tensor, truth: Tensor) -> float:
    return -10 * (pictures.clamp(0, 1) - truth).square().mean().log10().item()


@pytest.mark.slow
def test_a_small_network_soon_beats_bicubic() -> None:
    """On synthetic people it has not seen: pictures, their edges, and the edges that the branch predicts."""
    torch.manual_seed(0)
    network = build_super_resolver("spsr-tiny")
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    train, test = render(0, 48, (96, 64)).pictures, render(1, 16, (96, 64)).pictures
    for _ in range(100):
        y, x = torch.randint(96 - 48, ()), torch.randint(64 - 32, ())
        truth = train[torch.randint(48, (4,)), :, y : y + 48, x : x + 32]
        optimizer.zero_grad()
        super_resolution_loss(network(shrink(truth)), truth).total.backward()
        optimizer.step()
    with torch.inference_mode():
        resolved = network(shrink(test))
    bicubic, edges = enlarge(shrink(test)), gradient_map(test)
    of_bicubic = (gradient_map(bicubic) - edges).abs().mean()
    assert psnr(resolved.pictures, test) > psnr(bicubic, test) + 0.15
    assert (gradient_map(resolved.pictures) - edges).abs().mean() < 0.985 * of_bicubic
    assert (resolved.gradients - edges).abs().mean() < 0.985 * of_bicubic
