import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_poses import reference

from calbook import metrics
from calbook.skeletons import COCO

SIGMAS = torch.tensor(COCO.sigmas, dtype=torch.float64)


def crowd(count, seed=0, joints=17):
    """Poses in a few heaps, so that some are alike: coords, joint scores, person scores, areas."""
    generator = torch.Generator().manual_seed(seed)
    heap = torch.randint(0, 4, (count,), generator=generator)
    coords = 300.0 * heap[:, None, None] + 8 * torch.randn(count, joints, 2, generator=generator, dtype=torch.float64)
    scores = torch.rand(count, joints, generator=generator, dtype=torch.float64)
    person_scores = torch.randperm(count, generator=generator).double() / max(count, 1)
    areas = 1e4 + 3e4 * torch.rand(count, generator=generator, dtype=torch.float64)
    return coords, scores, person_scores, areas


def similarity(a, b, area_a, area_b, sigmas, joints=None):
    """OKS of two poses, joint by joint, with the mean of both areas."""
    terms = [
        np.exp(-((ax - bx) ** 2 + (ay - by) ** 2) / (2 * (2 * s) ** 2 * (area_a + area_b) / 2))
        for index, ((ax, ay), (bx, by), s) in enumerate(zip(a, b, sigmas, strict=True))
        if joints is None or index in joints
    ]
    return float(np.mean(terms)) if terms else 0.0


def brute_force(coords, scores, person_scores, areas, threshold=0.9, joint_threshold=None):
    """The greedy rule in plain loops."""
    left = sorted(range(len(coords)), key=lambda i: -person_scores[i].item())
    kept = []
    while left:
        best, *left = left
        kept.append(best)
        survivors = []
        for i in left:
            sure = None
            if joint_threshold is not None:
                sure = {k for k in range(17) if min(scores[best, k], scores[i, k]) > joint_threshold}
            pair = [values.tolist() for values in (coords[best], coords[i], areas[best], areas[i])]
            if similarity(*pair, COCO.sigmas, sure) <= threshold:
                survivors.append(i)
        left = survivors
    return kept


def brute_force_soft(coords, person_scores, areas, threshold=0.9, limit=20):
    left = dict(enumerate(person_scores.tolist()))
    kept = []
    while left and len(kept) < limit:
        best = max(left, key=left.get)
        del left[best]
        kept.append(best)
        for i in left:
            pair = [values.tolist() for values in (coords[best], coords[i], areas[best], areas[i])]
            left[i] *= np.exp(-(similarity(*pair, COCO.sigmas) ** 2) / threshold)
    return kept


@pytest.mark.parametrize(("function", "answer"), [(metrics.oks_nms, "keep"), (metrics.soft_oks_nms, "keep_soft")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_published_code_keeps_the_same_poses_in_the_same_order(golden, function, answer, dtype):
    arrays = {key: torch.from_numpy(value) for key, value in np.load(golden / "oks_nms.npz").items()}
    keypoints = arrays["keypoints"].to(dtype)
    person_scores, areas = arrays["scores"].to(dtype), arrays["areas"].to(dtype)
    kept = function(keypoints[..., :2], keypoints[..., 2], person_scores, areas, SIGMAS.to(dtype), 0.9)
    assert kept.tolist() == arrays[answer].tolist()


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 12), seed=st.integers(0, 10**6), threshold=st.floats(0.3, 0.95))
def test_hard_suppression_is_the_greedy_rule(count, seed, threshold):
    coords, scores, person_scores, areas = crowd(count, seed)
    found = metrics.oks_nms(coords, scores, person_scores, areas, SIGMAS, threshold)
    assert found.tolist() == brute_force(coords, scores, person_scores, areas, threshold)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 9), seed=st.integers(0, 10**6), limit=st.integers(1, 10))
def test_soft_suppression_is_the_rule(count, seed, limit):
    coords, scores, person_scores, areas = crowd(count, seed)
    found = metrics.soft_oks_nms(coords, scores, person_scores, areas, SIGMAS, limit=limit)
    assert found.tolist() == brute_force_soft(coords, person_scores, areas, limit=limit)


def test_soft_suppression_takes_no_pose_twice_where_nothing_is_left_of_the_scores():
    """exp(-1 / threshold) is 0 in single precision here."""
    same = (torch.zeros(3, 17, 2), torch.ones(3, 17), torch.tensor([0.7, 0.9, 0.8]), torch.full((3,), 1e4))
    assert metrics.soft_oks_nms(*same, SIGMAS.float(), threshold=0.005).tolist() == [1, 2, 0]


def test_a_chain_is_settled_from_the_best_down():
    """Each pose is like its neighbours only: 0 removes 1, so 2 stays, which removes 3, and so on."""
    count = 31
    coords = torch.zeros(count, 17, 2, dtype=torch.float64)
    coords[..., 0] += 10.0 * torch.arange(count)[:, None]
    areas, person_scores = torch.full((count,), 1e4, dtype=torch.float64), -torch.arange(count).double()
    threshold = similarity(coords[0].tolist(), coords[1].tolist(), 1e4, 1e4, COCO.sigmas) - 1e-9
    kept = metrics.oks_nms(coords, torch.ones(count, 17), person_scores, areas, SIGMAS, threshold)
    assert kept.tolist() == list(range(0, count, 2))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), zoom=st.floats(0.1, 10), move=st.floats(-1e3, 1e3))
def test_kept_poses_differ_dropped_ones_do_not_and_scale_does_not_matter(seed, zoom, move):
    coords, scores, person_scores, areas = crowd(15, seed)
    kept = metrics.oks_nms(coords, scores, person_scores, areas, SIGMAS, 0.6)
    alike = metrics.pairwise_oks(coords, areas, SIGMAS) > 0.6
    assert alike[kept][:, kept].sum() == len(kept)
    for dropped in set(range(15)) - set(kept.tolist()):
        assert any(alike[dropped, better] and person_scores[better] > person_scores[dropped] for better in kept)
    elsewhere = metrics.oks_nms(zoom * coords + move, scores, person_scores, zoom**2 * areas, SIGMAS, 0.6)
    assert elsewhere.tolist() == kept.tolist()


def test_of_two_equal_poses_the_first_stays():
    coords = torch.zeros(3, 17, 2)
    kept = metrics.oks_nms(coords, torch.ones(3, 17), torch.ones(3), torch.full((3,), 1e4), SIGMAS.float())
    assert kept.tolist() == [0]


def test_a_joint_threshold_compares_by_joints_that_are_sure_in_both():
    """HRNet's code reads the joints of the second pose alone; here both count."""
    coords, scores = torch.zeros(2, 17, 2, dtype=torch.float64), torch.zeros(2, 17, dtype=torch.float64)
    coords[1, 0] += 500.0  # the nose is elsewhere ...
    scores[0, 1:], scores[1, :5] = 0.9, 0.9  # ... and only the second pose is sure of it
    arguments = (coords, scores, torch.tensor([0.9, 0.8]), torch.full((2,), 1e4, dtype=torch.float64), SIGMAS, 0.95)
    assert metrics.oks_nms(*arguments).tolist() == [0, 1]
    assert metrics.oks_nms(*arguments, joint_threshold=0.5).tolist() == [0]
    scores[0] = 0.0
    assert metrics.oks_nms(*arguments, joint_threshold=0.5).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_a_joint_threshold_in_plain_loops(seed):
    arrays = crowd(12, seed)
    found = metrics.oks_nms(*arrays, SIGMAS, 0.5, joint_threshold=0.4)
    assert found.tolist() == brute_force(*arrays, 0.5, joint_threshold=0.4)


@pytest.mark.parametrize(("variant", "function"), [("hard", metrics.oks_nms), ("soft", metrics.soft_oks_nms)])
def test_pictures_do_not_touch_one_another(variant, function):
    arrays = crowd(60)
    image_ids = torch.randint(5, 9, (60,), generator=torch.Generator().manual_seed(1))
    kept = metrics.suppress(image_ids, *arrays, SIGMAS, 0.8, variant)
    expected = []
    for image in image_ids.unique():
        rows = (image_ids == image).nonzero()[:, 0]
        expected += rows[function(*(array[rows] for array in arrays), SIGMAS, 0.8)].tolist()
    assert kept.tolist() == sorted(expected)
    assert 0 < len(kept) <= 60


def test_nothing_to_suppress():
    arrays = crowd(0)
    for variant in ("hard", "soft"):
        assert metrics.suppress(torch.zeros(0, dtype=torch.long), *arrays, SIGMAS, variant=variant).tolist() == []


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match=r"unknown variant 'sofft' \(did you mean soft\?\)"):
        metrics.suppress(torch.zeros(3), *crowd(3), SIGMAS, variant="sofft")


def test_real_detections_through_rescoring_and_suppression(people, shared_data):
    """The annotated pose nearest to each real box: two boxes on one person give the same pose twice."""
    file = shared_data / "coco_mini" / "person_detection_results" / "COCO_val2017_detections_AP_H_56_person.json"
    found = json.loads(file.read_text())
    boxes, image_ids = torch.tensor([box["bbox"] for box in found]), torch.tensor([box["image_id"] for box in found])
    middles = boxes[:, :2] + boxes[:, 2:] / 2
    apart = torch.cdist(middles, people.boxes[:, :2] + people.boxes[:, 2:] / 2)
    apart[image_ids[:, None] != people.image_ids] = torch.inf
    nearest = apart.argmin(1)
    scores = torch.ones(len(found), 17)
    ranks = metrics.pose_scores(torch.tensor([box["score"] for box in found]), scores)
    pictures = people.pycocotools_dict()
    pictures["images"] = [image for image in pictures["images"] if image["id"] in image_ids]
    pictures["annotations"] = [entry for entry in pictures["annotations"] if entry["image_id"] in image_ids]

    def ap(rows):
        poses = (people.joints[nearest][rows], scores[rows], ranks[rows])
        results = metrics.coco_results(image_ids[rows], *poses)
        figures = metrics.coco_ap(pictures, results)
        assert list(figures.values()) == reference(pictures, results).stats.tolist()
        return figures["AP"]

    kept = metrics.suppress(image_ids, people.joints[nearest], scores, ranks, boxes[:, 2:].prod(1), SIGMAS.float())
    assert sorted(nearest[kept].tolist()) == sorted(set(nearest.tolist()))
    assert len(kept) < len(found)
    assert ap(kept) > ap(torch.arange(len(found)))
