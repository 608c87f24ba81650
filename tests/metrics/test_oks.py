import numpy as np
import pytest
import torch
from scored_poses import noisy_results, poses, reference

from calbook import metrics
from calbook.skeletons import COCO

SIGMAS = torch.tensor(COCO.sigmas, dtype=torch.float64)


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
