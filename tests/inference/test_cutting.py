"""Crops: registered to a hundredth of a pixel, smoothed where large, shrunk where asked."""

import pytest
import torch

from calbook import geometry
from calbook.data.crops import CanvasOptions
from calbook.geometry import CropBox, crop_matrix, sample_crops, transform
from calbook.inference import Cutter
from calbook.inference.cutting import DETAIL

INPUT = (64, 48)


def crop(x: float, y: float, width: float) -> CropBox:
    return CropBox(torch.tensor([[x, y]]), torch.tensor([[width, width * 4 / 3]]))


def blob(center: tuple[float, float], sigma: float, size: tuple[int, int]) -> torch.Tensor:
    """A picture with a Gaussian at (x, y)."""
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in size), indexing="ij")
    values = torch.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * sigma**2))
    return values.float().expand(3, *size)


def centroid(image: torch.Tensor) -> torch.Tensor:
    height, width = image.shape[-2:]
    mass = image.double().mean(0)
    x, y = torch.arange(width).double(), torch.arange(height).double()
    return torch.stack([(mass.sum(0) * x).sum(), (mass.sum(1) * y).sum()]) / mass.sum()


@pytest.mark.parametrize("convention", ["unbiased", "biased"])
@pytest.mark.parametrize("width", [20.0, 48.0, 70.0])
def test_small_people_are_sampled_as_published(convention, width):
    picture = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(0))
    where = crop(50.3, 41.7, width)
    expected = sample_crops(picture, crop_matrix(where, INPUT, convention=convention), INPUT)
    found = Cutter(INPUT, convention)(picture, where)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("width", [100.0, 333.0])
def test_without_smoothing_large_people_too(width):
    picture = torch.rand(3, 300, 400, generator=torch.Generator().manual_seed(0))
    where = crop(150.3, 141.7, width)
    expected = sample_crops(picture, crop_matrix(where, INPUT), INPUT)
    torch.testing.assert_close(Cutter(INPUT, antialias=False)(picture, where), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("convention", ["unbiased", "biased"])
@pytest.mark.parametrize("width", [60.0, 97.0, 250.0, 390.0])
@pytest.mark.parametrize("shrink", [None, 3.0, 2.7, (32, 24)])
def test_smoothing_and_shrinking_keep_places(convention, width, shrink):
    joint = torch.tensor([[[213.4, 178.9]]], dtype=torch.float64)
    where = crop(205.0, 170.0, width)
    picture = blob((213.4, 178.9), width / 12, (420, 430))
    matrix = crop_matrix(CropBox(where.center.double(), where.extent.double()), INPUT, convention=convention)
    found = centroid(Cutter(INPUT, convention, shrink=shrink)(picture, where)[0])
    torch.testing.assert_close(found, transform(joint, matrix)[0, 0], atol=0.03, rtol=0)


def test_a_checkerboard_becomes_grey():
    """Sampling one pixel in eight of a pattern sees black or white; every pixel counts here."""
    y, x = torch.meshgrid(torch.arange(600), torch.arange(500), indexing="ij")
    picture = (((x // 2 + y // 2) % 2) * 255).to(torch.uint8).expand(3, -1, -1)
    where = crop(250.0, 300.0, 300.0)
    smooth, rough = Cutter(INPUT)(picture, where), Cutter(INPUT, antialias=False)(picture, where)
    assert rough.std() > 0.2
    assert smooth.std() < 0.05
    assert smooth.mean() == pytest.approx(0.5, abs=0.01)


def test_shrinking_removes_detail():
    picture = torch.rand(3, 300, 400, generator=torch.Generator().manual_seed(0))
    where = crop(200.0, 150.0, 60.0)
    details = [Cutter(INPUT, shrink=shrink)(picture, where).std() for shrink in (None, 2.0, 6.0)]
    assert details[0] > 1.5 * details[1] > 2 * details[2]
    assert Cutter(INPUT, shrink=(8, 6))(picture, where).std() < details[0] / 2


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (300, 1)])
def test_one_pixel_and_lines(size):
    picture = torch.full((3, *size), 255, dtype=torch.uint8)
    where = geometry.box_to_crop(torch.tensor([[0.0, 0.0, float(size[1]), float(size[0])]]), INPUT)
    found = Cutter(INPUT)(picture, where)
    assert found.isfinite().all()
    assert found.min() == 0  # the padding has nothing to show, a line is narrower than a pixel of the crop
    assert found.max() <= 1


def test_outside_is_black_and_nobody_is_no_crop():
    picture = torch.full((3, 40, 30), 255, dtype=torch.uint8)
    assert not Cutter(INPUT)(picture, crop(500.0, 500.0, 30.0)).any()
    assert Cutter(INPUT)(picture, CropBox(torch.zeros(0, 2), torch.zeros(0, 2))).shape == (0, 3, 64, 48)


def test_as_fine_as_the_crops_of_the_training():
    assert CanvasOptions().density == DETAIL
