import math

import pytest
import tiny_coco
import torch

from calbook import ceiling, geometry
from calbook.data import coco
from calbook.data.crops import person_crops
from calbook.metrics import oks
from calbook.skeletons import COCO

MEAN = (math.sqrt(2) + math.asinh(1)) / 6  # distance from the middle of a unit square
RMS = 1 / math.sqrt(12)  # along one axis


@pytest.fixture(scope="module")
def people(shared_data):
    """6,179 real persons; areas for some."""
    return coco.read(shared_data / "coco_annotations" / "val2017_keypoints_boxes.json.gz")


@pytest.fixture(scope="module")
def mini(shared_data):
    """249 real persons with everything that AP needs."""
    return coco.read_split(shared_data / "coco_mini", "val2017")


@pytest.mark.parametrize("size", [(128, 96), (256, 192)])
def test_argmax_error_on_real_joints_is_the_closed_form(people, size):
    poses = ceiling.perfect_poses(people, ceiling.build_decoder("argmax", size))
    figures = ceiling.error_figures(poses)
    assert figures["mean"] == pytest.approx(MEAN, rel=0.02)
    assert figures["rms_x"] == pytest.approx(RMS, rel=0.02)
    assert figures["rms_y"] == pytest.approx(RMS, rel=0.02)
    assert figures["rms"] == pytest.approx(math.hypot(figures["rms_x"], figures["rms_y"]))
    assert figures["mean"] < figures["p95"] < math.sqrt(0.5)
    assert figures["joints"] == poses.on_map.sum()


def test_error_figures_of_known_errors():
    errors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-3.0, 4.0], [50.0, 50.0]])[:, None]
    on_map = torch.tensor([True, True, True, False])[:, None]
    figures = ceiling.error_figures(ceiling.PerfectPoses(errors, errors, on_map, errors))
    assert figures["mean"] == pytest.approx(10 / 3)
    assert figures["mean_x"] == pytest.approx(2)
    assert figures["rms_y"] == pytest.approx(math.sqrt(32 / 3))
    assert figures["joints"] == 3


@pytest.mark.parametrize("size", ceiling.INPUT_SIZES)
def test_phases_of_real_joints_are_close_to_even(people, size):
    figures = ceiling.phase_figures(ceiling.perfect_poses(people, ceiling.build_decoder("argmax", size)))
    assert abs(figures["mean_x"]) < 0.01
    assert abs(figures["mean_y"]) < 0.01
    assert figures["rms_x"] == pytest.approx(RMS, rel=0.03)
    assert figures["rms_y"] == pytest.approx(RMS, rel=0.03)
    assert max(figures["gap_x"], figures["gap_y"]) < 0.02


def test_phase_gap_is_kolmogorov_smirnov():
    scipy_stats = pytest.importorskip("scipy.stats")
    phases = torch.rand(200, 1, 2, generator=torch.Generator().manual_seed(0)) ** 1.5 - 0.5
    on_map = torch.ones(200, 1, dtype=torch.bool)
    figures = ceiling.phase_figures(ceiling.PerfectPoses(phases, phases, on_map, phases))
    for axis, name in enumerate(("gap_x", "gap_y")):
        expected = scipy_stats.kstest(phases[:, 0, axis].double() + 0.5, "uniform").statistic
        assert figures[name] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("decoder", ["offset", "cal"])
@pytest.mark.parametrize("size", ceiling.INPUT_SIZES)
def test_offsets_lose_nothing_on_the_map(mini, decoder, size):
    poses = ceiling.perfect_poses(mini, ceiling.build_decoder(decoder, size))
    assert ceiling.error_figures(poses)["mean"] < 1e-4
    gap = (poses.coords - mini.joints)[poses.on_map].norm(dim=-1)
    assert gap.max() < 0.01  # picture pixels


def test_real_ceilings_fall_with_the_grid_and_rise_with_the_decoder(mini):
    argmax, shift, offset = (
        [
            ceiling.average_precision(mini, ceiling.perfect_poses(mini, ceiling.build_decoder(name, size)))["AP"]
            for size in ceiling.INPUT_SIZES
        ]
        for name in ("argmax", "quarter shift", "offset")
    )
    assert argmax == sorted(argmax, reverse=True)
    assert argmax[0] > 0.95 > 0.2 > argmax[-1]
    assert all(better > worse for better, worse in zip(shift, argmax, strict=True))
    assert min(offset) > 0.95


def test_average_precision_agrees_with_similarities_counted_directly(mini):
    """AR is the mean share of persons above each threshold, where nobody is taken for a neighbour."""
    poses = ceiling.perfect_poses(mini, ceiling.build_decoder("argmax", (64, 48)))
    similarity = oks(poses.coords, mini.joints, mini.visible, mini.areas, COCO.sigma_tensor(mini.joints))
    thresholds = torch.linspace(0.5, 0.95, 10)
    share = (similarity[:, None] >= thresholds).float().mean()
    assert ceiling.average_precision(mini, poses)["AR"] == pytest.approx(share.item(), abs=0.01)


def test_pixel_centred_gaussians_have_nothing_to_shift(mini):
    plain, shifted = (
        ceiling.perfect_poses(mini, ceiling.build_decoder(name, (64, 48), center="pixel"))
        for name in ("argmax", "quarter shift")
    )
    torch.testing.assert_close(plain.coords[plain.on_map], shifted.coords[plain.on_map])
    free = ceiling.perfect_poses(mini, ceiling.build_decoder("quarter shift", (64, 48), center="joint"))
    assert ceiling.error_figures(free)["mean"] < 0.6 * ceiling.error_figures(plain)["mean"]


@pytest.mark.parametrize("convention", ["unbiased", "biased"])
def test_coords_and_errors_tell_the_same(mini, convention):
    codec = ceiling.build_decoder("argmax", (64, 48), convention=convention)
    poses = ceiling.perfect_poses(mini, codec)
    crops = person_crops(mini, codec.input_size)
    to_map = geometry.crop_matrix(crops, codec.heatmap_size, convention=convention)
    moved = geometry.transform(poses.coords, to_map) - geometry.transform(mini.joints, to_map)
    torch.testing.assert_close(moved[poses.on_map], poses.errors[poses.on_map], rtol=0, atol=1e-3)
    decoded = geometry.transform(poses.coords, to_map)[poses.on_map]
    torch.testing.assert_close(decoded, decoded.round(), rtol=0, atol=1e-3)  # argmax answers with pixels


def test_joints_off_the_map_stay_in_the_evaluation(tmp_path):
    content = tiny_coco.document()
    content["annotations"][0] |= {
        "keypoints": [20, 22, 2, 0, 0, 0, 59, 79, 2],
        "num_keypoints": 2,
        "bbox": [15, 18, 8, 10],
    }
    people = coco.read(tiny_coco.write(tmp_path / "set", content))
    poses = ceiling.perfect_poses(people, ceiling.build_decoder("argmax", (64, 48)))
    assert poses.on_map[0].tolist() == [True, False, False]
    assert (poses.coords[0, 2] - people.joints[0, 2]).norm() > 20
    assert ceiling.average_precision(people, poses)["AP"] < 1


def test_unlabelled_joints_are_put_in_the_middle_of_the_person(tmp_path):
    people = coco.read(tiny_coco.write(tmp_path / "set"))
    poses = ceiling.perfect_poses(people, ceiling.build_decoder("offset", (64, 48)))
    torch.testing.assert_close(poses.coords[1, 1], people.joints[1, [0, 2]].mean(0))


def test_a_person_on_the_very_edge_has_a_crop(tmp_path):
    content = tiny_coco.document()
    content["annotations"][0]["bbox"] = [59.5, 20, 10, 20]  # nothing is left of it once cleaned
    people = coco.read(tiny_coco.write(tmp_path / "set", content))
    crops = person_crops(people, (64, 48))
    assert crops.center[0].tolist() == [64.5, 30]


def test_nobody_has_no_ceiling(tmp_path):
    people = coco.read(tiny_coco.write(tmp_path / "set", tiny_coco.document() | {"annotations": []}))
    with pytest.raises(ValueError, match="no labelled people"):
        ceiling.perfect_poses(people, ceiling.build_decoder("argmax", (64, 48)))
    zeros = torch.zeros(1, 1, 2)
    nowhere = ceiling.PerfectPoses(zeros, zeros, torch.zeros(1, 1, dtype=torch.bool), zeros)
    with pytest.raises(ValueError, match="no labelled people"):
        ceiling.phase_figures(nowhere)


def test_unknown_decoders_are_refused():
    with pytest.raises(ValueError, match="unknown decoder 'arg max': choose one of argmax"):
        ceiling.build_decoder("arg max", (64, 48))
    with pytest.raises(ValueError, match="no option 'centre'"):
        ceiling.build_decoder("argmax", (64, 48), centre="pixel")
