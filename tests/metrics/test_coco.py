import json

import numpy as np
import pytest
import tiny_coco
import torch
from scored_poses import noisy_results, reference

from calbook import metrics
from calbook.data import coco
from calbook.data.defects import DataError


@pytest.mark.parametrize("spread", [2.0, 8.0, 30.0])
def test_all_ten_figures_equal_pycocotools(people, spread):
    results = noisy_results(people, spread)
    expected = reference(people.pycocotools_dict(), results).stats
    assert list(metrics.coco_ap(people.pycocotools_dict(), results).values()) == expected.tolist()


def test_figures_from_the_file_equal_those_from_the_reader(people, shared_data):
    file = shared_data / "coco_mini" / "annotations" / "person_keypoints_val2017.json"
    results = noisy_results(people, 8.0)
    found = metrics.coco_ap(file, results)
    assert found == metrics.coco_ap(people.pycocotools_dict(), results)
    assert tuple(found) == metrics.FIGURES


def test_real_detections_with_poses_are_scored_alike(people, shared_data):
    """Several detections per person, more than 20 in a picture, pictures without any."""
    file = shared_data / "coco_mini" / "person_detection_results" / "COCO_val2017_detections_AP_H_56_person.json"
    generator = np.random.default_rng(0)
    results = []
    for box in json.loads(file.read_text()):
        x, y, width, height = box["bbox"]
        joints = np.column_stack([x + width * generator.random(17), y + height * generator.random(17), np.ones(17)])
        results.append({"image_id": box["image_id"], "category_id": 1, "score": box["score"]})
        results[-1]["keypoints"] = joints.ravel().tolist()
    results += noisy_results(people, 5.0)
    expected = reference(people.pycocotools_dict(), results).stats
    assert list(metrics.coco_ap(people.pycocotools_dict(), results).values()) == expected.tolist()


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_ground_truth_scores_one(shared_data, split):
    people = coco.read_split(shared_data / "coco_mini", split)
    results = metrics.coco_results(people.image_ids, people.joints, people.visible.float(), torch.ones(len(people)))
    assert set(metrics.coco_ap(people.pycocotools_dict(), results).values()) == {1.0}


@pytest.mark.parametrize("noise", [0.2, 0.5, 1.0])
def test_ap_of_noisy_ground_truth_follows_oks(people, noise):
    """Ranked by OKS, AP is the share of persons above each threshold, on COCO's grid of recall."""
    sigmas = people.skeleton.sigma_tensor(people.areas)
    tolerance = 2 * sigmas * people.areas.sqrt()[:, None]  # (N, K)
    draws = torch.randn(people.joints.shape, generator=torch.Generator().manual_seed(0))
    coords = people.joints + noise * tolerance[..., None] * draws
    similar = metrics.oks(coords, people.joints, people.visible, people.areas, sigmas)
    assert similar.mean().item() == pytest.approx(1 / (1 + noise**2), abs=0.02)  # of a Gaussian in a Gaussian
    results = metrics.coco_results(people.image_ids, coords, torch.ones(people.visible.shape), similar)
    found = metrics.coco_ap(people.pycocotools_dict(), results)
    assert list(found.values()) == reference(people.pycocotools_dict(), results).stats.tolist()
    above = [(similar >= threshold).double().mean().item() for threshold in np.linspace(0.5, 0.95, 10)]
    assert found["AR"] == pytest.approx(np.mean(above), abs=0.01)
    levels = np.linspace(0, 1, 101)
    expected = np.mean([(levels <= share).mean() if share else 0.0 for share in above])
    assert found["AP"] == pytest.approx(expected, abs=0.015)


def test_no_results_score_zero(people):
    assert set(metrics.coco_ap(people.pycocotools_dict(), []).values()) == {0.0}


def test_no_person_of_a_size_gives_minus_one(tmp_path):
    people = coco.read(tiny_coco.write(tmp_path / "set"))  # areas of 500: neither medium nor large
    results = metrics.coco_results(people.image_ids, people.joints, people.visible, torch.ones(2))
    found = metrics.coco_ap(people.pycocotools_dict(), results)
    assert (found["AP"], found["APM"], found["APL"]) == (1.0, -1.0, -1.0)


def test_other_skeletons_use_their_own_sigmas(tmp_path):
    people = coco.read(tiny_coco.write(tmp_path / "set"))
    results = metrics.coco_results(people.image_ids, people.joints + 1, people.visible, torch.ones(2))
    for sigmas in (None, (0.02, 0.03, 0.04), (0.2, 0.2, 0.2)):
        expected = reference(people.pycocotools_dict(), results, sigmas or people.skeleton.sigmas).stats
        assert list(metrics.coco_ap(people.pycocotools_dict(), results, sigmas).values()) == expected.tolist()
    with pytest.raises(ValueError, match="2 sigmas for 3 joints"):
        metrics.coco_ap(people.pycocotools_dict(), results, (0.1, 0.1))


def test_evaluation_is_quiet_and_changes_nothing(people, capsys):
    document, results = people.pycocotools_dict(), noisy_results(people, 5.0)
    before = json.dumps([document, results])
    metrics.coco_ap(document, results)
    assert capsys.readouterr() == ("", "")
    assert json.dumps([document, results]) == before


def test_annotations_without_areas_are_refused(shared_data):
    with pytest.raises(
        DataError, match=r"lspet_keypoints.json: annotation 16: area: missing; .* areas, or score by PCK"
    ):
        metrics.coco_ap(shared_data / "lspet" / "annotations" / "lspet_keypoints.json", [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 77}, "results: entry 1: image_id: 77, not an image of the annotations"),
        ({"image_id": [1]}, r"results: entry 1: image_id: \[1\]"),
        ({"category_id": 2}, "results: entry 1: category_id: 2, not the persons' 1"),
        ({"keypoints": [1.0, 2.0]}, "results: entry 1: keypoints: .*, not 9 finite numbers"),
        ({"keypoints": [1.0, "a"] * 4 + [1]}, "results: entry 1: keypoints"),
        ({"keypoints": [float("nan")] * 9}, "results: entry 1: keypoints"),
        ({"keypoints": ["3", *[3] * 8]}, "results: entry 1: keypoints"),
        ({"keypoints": [True, *[3] * 8]}, "results: entry 1: keypoints"),
        ({"keypoints": 3}, "results: entry 1: keypoints: 3, not 9 finite numbers"),
        ({"score": None}, "results: entry 1: score: None, not a finite number"),
        ({"score": "0.5"}, "results: entry 1: score: '0.5', not a finite number"),
        ({"score": True}, "results: entry 1: score: True, not a finite number"),
        ({"score": 10**400}, "results: entry 1: score: 1000.*, not a finite number"),
        ({"image_id": True}, "results: entry 1: image_id: True, not an image"),
        ({"category_id": True}, "results: entry 1: category_id: True, not the persons' 1"),
    ],
)
def test_results_that_do_not_fit_are_refused(tmp_path, change, message):
    people = coco.read(tiny_coco.write(tmp_path / "set"))
    results = metrics.coco_results(people.image_ids, people.joints, people.visible, torch.ones(2))
    results[1] |= change
    with pytest.raises(DataError, match=message):
        metrics.coco_ap(people.pycocotools_dict(), results)


def test_an_annotation_numbered_zero_is_refused(tmp_path):
    """pycocotools would count that person as missed, without a word."""
    content = tiny_coco.document()
    content["annotations"][0]["id"] = 0
    with pytest.raises(DataError, match="annotation 0: id: 0 means 'no match'"):
        metrics.coco_ap(tiny_coco.write(tmp_path / "set", content), [])
