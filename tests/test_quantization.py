"""Closed forms of the grid's error, against integration, simulation and the codec."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calbook import geometry, quantization
from calbook.codecs import build_codec
from calbook.geometry import CropBox
from calbook.metrics import oks
from calbook.skeletons import COCO

SIDES = st.floats(0.05, 20.0)


def midpoints(cell: tuple[float, float], steps: int = 400) -> torch.Tensor:
    """A fine grid of points ``(steps ** 2, 2)`` over a cell about the origin."""
    line = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps - 0.5
    return torch.cartesian_prod(line * cell[0], line * cell[1])


@settings(max_examples=25, deadline=None)
@given(SIDES, SIDES)
def test_cell_error_is_the_integral_over_the_cell(width: float, height: float) -> None:
    closed = quantization.cell_error((width, height))
    summed = quantization.measure(midpoints((width, height)))
    for field in dataclasses.fields(closed):
        assert getattr(closed, field.name) == pytest.approx(getattr(summed, field.name), rel=2e-5)


def test_published_constants() -> None:
    error = quantization.cell_error()
    assert error.mean == pytest.approx((math.sqrt(2) + math.asinh(1)) / 6, rel=1e-12)
    assert error.rms == pytest.approx(1 / math.sqrt(6), rel=1e-12)
    assert error.rms_x == pytest.approx(1 / math.sqrt(12), rel=1e-12)
    shifted = quantization.quarter_shift_error()
    assert shifted.mean_y == pytest.approx(1 / 8, rel=1e-12)
    assert shifted.rms_y == pytest.approx(1 / (4 * math.sqrt(3)), rel=1e-12)


@pytest.mark.parametrize("cell", [(0.0, 1.0), (1.0, -2.0)])
def test_a_cell_has_positive_sides(cell: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="positive sides"):
        quantization.cell_error(cell)


def test_shift_share_counts_the_pixels_that_the_codec_moves() -> None:
    """The formula equals a count of which peaks the codec really moves."""
    for size in [(16, 12), (32, 24), (8, 6)]:
        codec = build_codec("heatmap", (4 * size[0], 4 * size[1]), size, shift=True)
        rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
        pixels = torch.stack([columns, rows], dim=-1).reshape(1, -1, 2).double()
        joints = codec.to_input(pixels + 0.3)
        on_map = (pixels + 0.3 < pixels.new_tensor([size[1] - 0.5, size[0] - 0.5])).all(-1)
        assert on_map.all()
        errors, _ = quantization.decode_errors(codec, joints, torch.ones(joints.shape[:2]))
        moved = (errors + 0.3).abs().amax(-1) > 0.1
        assert moved.double().mean().item() == pytest.approx(quantization.shift_share(size), abs=1e-9)


def test_mixture_of_errors_is_that_of_the_pooled_joints() -> None:
    first, second = midpoints((1.0, 1.0), 60), midpoints((0.5, 0.5), 60)
    pooled = quantization.measure(torch.cat([first, second, second, second]))
    mixed = quantization.mix(quantization.measure(second), quantization.measure(first), share=0.75)
    for field in dataclasses.fields(mixed):
        assert getattr(mixed, field.name) == pytest.approx(getattr(pooled, field.name), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(SIDES, SIDES, st.floats(0.2, 20.0))
def test_expected_similarity_is_the_integral_of_the_kernel(width: float, height: float, tolerance: float) -> None:
    points = midpoints((width, height))
    summed = torch.exp(-points.square().sum(1) / (2 * tolerance**2)).mean()
    closed = quantization.expected_similarity(
        torch.tensor([width, height], dtype=torch.float64), torch.tensor(tolerance, dtype=torch.float64)
    )
    assert closed.item() == pytest.approx(summed.item(), rel=1e-2, abs=1e-6)


def test_expected_similarity_of_no_cell_is_one_and_of_a_small_one_follows_the_series() -> None:
    tolerance = torch.tensor([3.0, 3.0], dtype=torch.float64)
    cells = torch.tensor([[0.0, 0.0], [0.3, 0.2]], dtype=torch.float64)
    exact, near = quantization.expected_similarity(cells, tolerance)
    assert exact == 1
    assert 1 - near.item() == pytest.approx((0.3**2 + 0.2**2) / (24 * 3**2), rel=1e-2)


def test_expected_oks_is_the_mean_of_the_measured_oks() -> None:
    """People at random places in their pixels, scored by the package's own OKS."""
    generator = torch.Generator().manual_seed(0)
    truth = 100 * torch.rand(17, 2, generator=generator, dtype=torch.float64).expand(4000, 17, 2)
    cell = torch.tensor([9.0, 7.0], dtype=torch.float64)
    errors = (torch.rand(4000, 17, 2, generator=generator, dtype=torch.float64) - 0.5) * cell
    visible = torch.full((4000, 17), 2)
    visible[:, 3:8] = 0
    areas = torch.full((4000,), 2500.0, dtype=torch.float64)
    sigmas = COCO.sigma_tensor(truth)
    expected = quantization.expected_oks(cell.expand(4000, 2), visible, areas, sigmas)
    measured = oks(truth + errors, truth, visible, areas, sigmas).mean()
    assert expected[0].item() == pytest.approx(measured.item(), abs=0.003)
    nobody = quantization.expected_oks(cell[None], torch.zeros(1, 17), areas[:1], sigmas)
    assert nobody.isnan().all()


@pytest.mark.parametrize("convention", ["unbiased", "biased"])
def test_pixel_in_picture_is_the_distance_between_neighbouring_pixels(convention: geometry.Convention) -> None:
    crop = CropBox(torch.tensor([[40.0, 60.0]]), torch.tensor([[75.0, 100.0]]))
    picture_from_map = geometry.invert(geometry.crop_matrix(crop, (16, 12), convention=convention))
    pixels = geometry.transform(torch.tensor([[[3.0, 5.0], [4.0, 6.0]]]), picture_from_map)
    cell = quantization.pixel_in_picture(crop, (16, 12), convention)
    torch.testing.assert_close(pixels[:, 1] - pixels[:, 0], cell)


@pytest.mark.parametrize(("shift", "closed"), [(False, quantization.cell_error()), (True, None)])
def test_codec_errors_agree_with_the_closed_form(shift: bool, closed: quantization.GridError | None) -> None:
    """Uniform joints through encode and decode; 2 % as the book promises."""
    codec = build_codec("heatmap", (128, 96), (32, 24), shift=shift)
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(400, 17, 2, generator=generator) * torch.tensor([24.0, 32.0]) - 0.5
    errors, on_map = quantization.decode_errors(codec, codec.to_input(points), torch.ones(400, 17))
    assert on_map.all()
    measured = quantization.measure(errors[on_map])
    expected = closed or quantization.quarter_shift_error(quantization.shift_share((32, 24)))
    for field in dataclasses.fields(expected):
        assert getattr(measured, field.name) == pytest.approx(getattr(expected, field.name), rel=0.02)


def test_joints_off_the_map_and_unlabelled_joints_are_set_aside() -> None:
    codec = build_codec("heatmap", (64, 48), (16, 12), shift=False)
    joints = codec.to_input(torch.tensor([[[5.2, 5.2], [-0.6, 4.0], [11.6, 4.0], [4.0, 4.0]]]))
    _, on_map = quantization.decode_errors(codec, joints, torch.tensor([[2, 2, 2, 0]]))
    assert on_map.tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("people", [0, 2])
def test_nobody_to_encode_says_so(people: int) -> None:
    codec = build_codec("heatmap", (64, 48), (16, 12), shift=False)
    with pytest.raises(ValueError, match="no labelled people"):
        quantization.decode_errors(codec, torch.zeros(people, 17, 2), torch.zeros(people, 17))


def test_nothing_to_measure_says_so() -> None:
    with pytest.raises(ValueError, match="no errors"):
        quantization.measure(torch.zeros(0, 2))
