import json

import numpy as np
import pytest
import tiny_coco
import torch
from pycocotools import coco as pycoco
from pycocotools.cocoeval import COCOeval

from calbook import metrics
from calbook.data import coco
from calbook.data.defects import DataError
from calbook.skeletons import COCO

SIGMAS = torch.tensor(COCO.sigmas, dtype=torch.float64)


def poses(count, seed=0, spread=20.0):
    """Random truth, predictions near it, visibilities and areas, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(count, 17, 2, generator=generator, dtype=torch.float64) * 400
    pred = truth + torch.randn(count, 17, 2, generator=generator, dtype=torch.float64) * spread
    visible = torch.randint(0, 3, (count, 17), generator=generator)
    visible[:, 0] = 2
    areas = torch.rand(count, generator=generator, dtype=torch.float64) * 40000
    return pred, truth, visible, areas


@pytest.fixture(scope="module")
def people(shared_data):
    return coco.read_split(shared_data / "coco_mini", "val2017")


def noisy_results(people, spread, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coords = people.joints + spread * torch.randn(people.joints.shape, generator=generator)
    scores = torch.rand(len(people), generator=generator)
    return metrics.coco_results(people.image_ids, coords, torch.rand(people.visible.shape), scores)


def reference(document, results, sigmas=None):
    """The ten figures by pycocotools alone, used as its own example uses it."""
    truth = pycoco.COCO()
    truth.dataset = json.loads(json.dumps(document))
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(json.loads(json.dumps(results))), "keypoints")
    if sigmas is not None:
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def brute_force_oks(pred, truth, visible, area, sigmas):
    """COCOeval's computeOks for one pair, joint by joint."""
    total, labelled = 0.0, 0
    for (xd, yd), (xg, yg), v, sigma in zip(pred, truth, visible, sigmas, strict=True):
        if v > 0:
            variance = (sigma * 2) ** 2
            total += np.exp(-(((xd - xg) ** 2 + (yd - yg) ** 2) / variance / (area + np.spacing(1)) / 2))
            labelled += 1
    return total / labelled


@pytest.mark.parametrize("spread", [0.0, 1.0, 20.0, 500.0])
def test_oks_is_the_definition(spread):
    pred, truth, visible, areas = poses(40, spread=spread)
    expected = [
        brute_force_oks(*values, COCO.sigmas)
        for values in zip(pred.tolist(), truth.tolist(), visible.tolist(), areas.tolist(), strict=True)
    ]
    np.testing.assert_allclose(metrics.oks(pred, truth, visible, areas, SIGMAS), expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("area", [0.0, 1e-16, 1e-12])
def test_oks_adds_pycocotools_epsilon_to_the_area(area):
    pred, truth, visible, _ = poses(1, spread=1e-9)
    found = metrics.oks(pred, truth, visible, torch.tensor([area], dtype=torch.float64), SIGMAS)
    expected = brute_force_oks(pred[0].tolist(), truth[0].tolist(), visible[0].tolist(), area, COCO.sigmas)
    assert 0 < expected < 1
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_oks_is_what_pycocotools_computes(people):
    results = noisy_results(people, 8.0)
    evaluation = reference(people.pycocotools_dict(), results)
    document = {entry["id"]: entry for entry in people.pycocotools_dict()["annotations"]}
    compared = 0
    for (image, category), matrix in evaluation.ious.items():
        truths = evaluation._gts[image, category]
        found = sorted(evaluation._dts[image, category], key=lambda d: -d["score"])[:20]
        for column, truth in enumerate(truths):
            entry = np.array(document[truth["id"]]["keypoints"], dtype=float).reshape(17, 3)
            if not (entry[:, 2] > 0).any():
                continue
            pred = torch.tensor(np.array([d["keypoints"] for d in found]).reshape(-1, 17, 3)[..., :2])
            many = len(found)
            truth_joints = torch.tensor(entry[:, :2]).expand(many, 17, 2)
            visible = torch.tensor(entry[:, 2]).expand(many, 17)
            areas = torch.full((many,), truth["area"], dtype=torch.float64)
            ours = metrics.oks(pred, truth_joints, visible, areas, SIGMAS)
            np.testing.assert_allclose(ours, matrix[:, column], rtol=1e-12, atol=1e-300)
            compared += many
    assert compared > 500


def test_oks_without_labelled_joints_is_not_a_number():
    pred, truth, visible, areas = poses(2)
    visible[1] = 0
    assert metrics.oks(pred, truth, visible, areas, SIGMAS).isnan().tolist() == [False, True]


def test_pose_scores_are_the_published_rescoring():
    scores = torch.tensor([[0.9, 0.5, 0.2], [0.1, 0.0, 0.2], [0.3, 0.3, 0.3]])
    found = metrics.pose_scores(torch.tensor([1.0, 1.0, 0.5]), scores)
    torch.testing.assert_close(found, torch.tensor([0.7, 0.0, 0.15]))


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


def test_ground_truth_scores_one(people):
    results = metrics.coco_results(people.image_ids, people.joints, people.visible.float(), torch.ones(len(people)))
    assert set(metrics.coco_ap(people.pycocotools_dict(), results).values()) == {1.0}


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
