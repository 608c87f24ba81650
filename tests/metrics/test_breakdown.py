import math

import pytest
import tiny_coco
import torch
from scored_poses import noisy_results, poses, reference

from calbook import metrics
from calbook.data import coco
from calbook.skeletons import COCO, LSP, MPII, from_category

SIGMAS = torch.tensor(COCO.sigmas, dtype=torch.float64)


def test_joint_figures_in_plain_loops():
    pred, truth, visible, areas = poses(20)
    visible[:, 4] = 0
    found = metrics.joint_breakdown(pred, truth, visible, areas, SIGMAS)
    for joint in range(17):
        rows = [n for n in range(20) if visible[n, joint] > 0]
        errors = [math.dist(pred[n, joint], truth[n, joint]) for n in rows]
        scales = [math.sqrt(areas[n]) for n in rows]
        assert found.labelled[joint] == len(rows)
        if not rows:
            assert joint == 4
            assert found.error[joint].isnan()
            assert found.similarity[joint].isnan()
            continue
        kappa = 2 * COCO.sigmas[joint]
        alike = [math.exp(-(e**2) / (2 * s**2 * kappa**2)) for e, s in zip(errors, scales, strict=True)]
        relative = [e / s for e, s in zip(errors, scales, strict=True)]
        assert found.error[joint].item() == pytest.approx(sum(errors) / len(rows))
        assert found.relative_error[joint].item() == pytest.approx(sum(relative) / len(rows))
        assert found.similarity[joint].item() == pytest.approx(sum(alike) / len(rows))


def test_similarities_of_the_joints_add_up_to_oks():
    pred, truth, _, areas = poses(20)
    visible = torch.full((20, 17), 2)
    found = metrics.joint_breakdown(pred, truth, visible, areas, SIGMAS)
    assert found.similarity.mean().item() == pytest.approx(
        metrics.oks(pred, truth, visible, areas, SIGMAS).mean().item()
    )


def test_noise_in_units_of_the_tolerance_gives_every_joint_the_same_similarity(people):
    """E exp(-d^2 / (2 tau^2)) = 1 / (1 + t^2) for errors of standard deviation t tau along each axis."""
    noise = torch.randn(people.joints.shape, generator=torch.Generator().manual_seed(0))
    tau = 2 * people.skeleton.sigma_tensor(people.areas) * people.areas.sqrt()[:, None]
    arguments = (people.joints, people.visible, people.areas, people.skeleton.sigma_tensor(people.areas))
    for t in (0.3, 1.0, 2.0):
        pred = people.joints + t * tau[..., None] * noise
        found = metrics.joint_breakdown(pred, *arguments)
        worst = (found.similarity - 1 / (1 + t**2)).abs().max().item()
        assert worst < 0.09  # 104 to 182 labels of each joint
        pooled = (found.similarity * found.labelled).sum() / found.labelled.sum()
        assert pooled.item() == pytest.approx(1 / (1 + t**2), abs=0.015)


def test_groups_by_name():
    assert metrics.joint_groups(MPII)["shoulder"] == (12, 13)
    assert metrics.joint_groups(MPII)["head"] == (9,)
    assert metrics.joint_groups(LSP) == {
        "ankle": (0, 5), "knee": (1, 4), "hip": (2, 3), "wrist": (6, 11), "elbow": (7, 10), "shoulder": (8, 9),
        "neck": (12,), "head": (13,),
    }  # fmt: skip
    custom = from_category(["LWrist", "RWrist", "tail", "ear_l", "ear_r"])
    assert metrics.joint_groups(custom) == {"wrist": (0, 1), "tail": (2,), "head": (3, 4)}


@pytest.mark.parametrize("spread", [3.0, 15.0])
def test_sizes_by_area_are_pycocotools(people, spread):
    document, results = people.pycocotools_dict(), noisy_results(people, spread)
    found = metrics.size_breakdown(document, results)
    official = metrics.coco_ap(document, results)
    assert (official["APM"], official["ARM"]) == (found["medium"].AP, found["medium"].AR)
    assert (official["APL"], official["ARL"]) == (found["large"].AP, found["large"].AR)
    ranges = {"all": (0, 1e10), "odd": (500, 5000), "giant": (1e9, 1e10)}
    found = metrics.size_breakdown(document, results, ranges=ranges)
    evaluation = reference(document, results, ranges=ranges)
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    for index, figures in enumerate(found.values()):
        assert precision[:, :, 0, index, 0].mean() == figures.AP
        assert precision[0, :, 0, index, 0].mean() == figures.AP50
        assert precision[5, :, 0, index, 0].mean() == figures.AP75
        assert recall[:, 0, index, 0].mean() == figures.AR
    assert [official[name] for name in ("AP", "AP50", "AP75", "AR")] == [
        found["all"].AP,
        found["all"].AP50,
        found["all"].AP75,
        found["all"].AR,
    ]
    assert found["giant"] == metrics.SizeFigures(0, -1.0, -1.0, -1.0, -1.0)
    assert found["all"].persons == len(people)


def test_small_persons_are_scored_although_coco_leaves_them_out(tmp_path):
    people = coco.read(tiny_coco.write(tmp_path / "set"))  # areas of 500, boxes 40 and 50 high
    results = metrics.coco_results(people.image_ids, people.joints, people.visible, torch.ones(2))
    found = metrics.size_breakdown(people.pycocotools_dict(), results)
    assert (found["small"].persons, found["small"].AP) == (2, 1.0)
    by_height = metrics.size_breakdown(people.pycocotools_dict(), results, "height", {"low": (0, 45), "high": (45, 99)})
    assert [part.persons for part in by_height.values()] == [1, 1]


def test_sizes_by_height_are_those_of_the_persons_alone(people):
    """With every pose on its own person, each range scores as if nobody else had been annotated."""
    document, results = people.pycocotools_dict(), noisy_results(people, 1.0)
    found = metrics.size_breakdown(document, results, "height")
    assert sum(part.persons for part in found.values()) == len(people)
    assert found["128 to 256 px"].AP > found["32 to 64 px"].AP + 0.05
    everything = metrics.size_breakdown(document, results, "height", {"all": (0, 1e5)})["all"]
    assert metrics.coco_ap(document, results)["AP"] == everything.AP
    low, high = metrics.HEIGHTS["128 to 256 px"]
    heights = people.boxes[:, 3]
    chosen = {number for number, h in zip(people.ids.tolist(), heights.tolist(), strict=True) if low <= h <= high}
    alone = people.pycocotools_dict()
    alone["annotations"] = [entry for entry in alone["annotations"] if entry["id"] in chosen]
    own = [result for result, number in zip(results, people.ids.tolist(), strict=True) if number in chosen]
    assert found["128 to 256 px"].persons == len(chosen)
    assert pytest.approx(metrics.coco_ap(alone, own)["AP"], abs=0.02) == found["128 to 256 px"].AP


def test_no_results_have_sizes_too(people):
    found = metrics.size_breakdown(people.pycocotools_dict(), [], "height")
    assert {part.AP for part in found.values() if part.persons} == {0.0}


def test_an_unknown_measure_is_refused(people):
    with pytest.raises(ValueError, match="unknown by 'width': choose one of area, height"):
        metrics.size_breakdown(people.pycocotools_dict(), [], "width")
