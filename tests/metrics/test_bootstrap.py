import copy
import math

import numpy as np
import pytest
import tiny_coco
import torch
from scored_poses import noisy_results, reference

from calbook import metrics
from calbook.data import coco
from calbook.metrics.coco import evaluated
from calbook.metrics.curves import Matches, figures


def with_duplicates(people):
    """Several poses for a person, poses for nobody, no two scores alike."""
    results = (
        noisy_results(people, 4.0) + noisy_results(people, 9.0, seed=1)[::2] + noisy_results(people, 400.0, seed=2)[::5]
    )
    ranks = torch.randperm(len(results), generator=torch.Generator().manual_seed(3)).tolist()
    return [result | {"score": rank / len(ranks)} for result, rank in zip(results, ranks, strict=True)]


@pytest.mark.parametrize("spread", [0.0, 2.0, 8.0, 30.0])
def test_every_picture_once_is_pycocotools_to_the_digit(people, spread):
    document, results = people.pycocotools_dict(), noisy_results(people, spread)
    found = metrics.bootstrap_ap(document, results, samples=2)
    assert [interval.value for interval in found.values()] == reference(document, results).stats.tolist()
    results = with_duplicates(people)
    found = metrics.bootstrap_ap(document, results, samples=2)
    assert [interval.value for interval in found.values()] == reference(document, results).stats.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_a_drawn_sample_is_pycocotools_on_copied_pictures(people, seed):
    document, results = people.pycocotools_dict(), with_duplicates(people)
    order = sorted(image["id"] for image in document["images"])
    weights = np.random.default_rng(seed).multinomial(len(order), np.full(len(order), 1 / len(order)))
    copies = {"categories": document["categories"], "images": [], "annotations": []}
    copied = []
    for image, weight in zip(order, weights.tolist(), strict=True):
        for _ in range(weight):
            number = len(copies["images"]) + 1
            copies["images"].append({"id": number, "file_name": f"{number}.jpg", "width": 640, "height": 640})
            for entry in document["annotations"]:
                if entry["image_id"] == image:
                    copies["annotations"].append(entry | {"id": len(copies["annotations"]) + 1, "image_id": number})
            copied += [result | {"image_id": number} for result in results if result["image_id"] == image]
    expected = reference(copies, copied).stats
    matches = Matches.all_sizes(evaluated(document, results))
    assert figures(matches, weights[None].astype(float))[:, 0].tolist() == expected.tolist()


def test_intervals_hold_the_value_and_are_the_seeds_own(people):
    document, results = people.pycocotools_dict(), noisy_results(people, 5.0)
    first = metrics.bootstrap_ap(document, results, samples=60, seed=1)
    assert first == metrics.bootstrap_ap(document, results, samples=60, seed=1)
    assert first["AP"] != metrics.bootstrap_ap(document, results, samples=60, seed=2)["AP"]
    for interval in first.values():
        assert interval.low <= interval.value <= interval.high
        assert 0.01 < interval.high - interval.low < 0.4
    narrow = metrics.bootstrap_ap(document, results, samples=60, seed=1, level=0.5)["AP"]
    assert first["AP"].low < narrow.low < narrow.high < first["AP"].high


def test_a_method_does_not_differ_from_itself(people):
    document, results = people.pycocotools_dict(), noisy_results(people, 5.0)
    same = metrics.bootstrap_ap_difference(document, results, copy.deepcopy(results), samples=20)
    assert set(same.values()) == {metrics.Interval(0.0, 0.0, 0.0)}


def test_a_difference_on_the_same_pictures_is_known_better_than_its_parts(people):
    document = people.pycocotools_dict()
    worse, better = noisy_results(people, 5.0), noisy_results(people, 4.0)
    difference = metrics.bootstrap_ap_difference(document, worse, better, samples=100)["AP"]
    parts = [metrics.bootstrap_ap(document, results, samples=100)["AP"] for results in (worse, better)]
    assert difference.value == pytest.approx(parts[1].value - parts[0].value, abs=1e-12)
    assert difference.low > 0
    assert difference.high - difference.low < 0.7 * min(part.high - part.low for part in parts)


def test_sizes_that_nobody_has_are_left_out(tmp_path):
    people = coco.read(tiny_coco.write(tmp_path / "set"))
    results = metrics.coco_results(people.image_ids, people.joints, people.visible, torch.ones(2))
    found = metrics.bootstrap_ap(people.pycocotools_dict(), results, samples=30)
    assert list(found) == ["AP", "AP50", "AP75", "AR", "AR50", "AR75"]
    assert [found["AP"].low, found["AP"].high] == pytest.approx([1, 1])  # samples without a person do not count


def test_no_results(people):
    found = metrics.bootstrap_ap(people.pycocotools_dict(), [], samples=5)
    assert set(found.values()) == {metrics.Interval(0.0, 0.0, 0.0)}


def test_interval_of_a_mean_is_the_textbooks():
    """For one value in each picture: mean -+ 1.96 standard errors."""
    values = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = metrics.bootstrap(values, torch.arange(400), samples=4000)
    error = values.std().item() / math.sqrt(400)
    assert found.value == pytest.approx(values.mean().item())
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.15 * error)


def test_values_of_one_picture_are_drawn_together():
    """Ten equal values in each picture know no more than one."""
    values = torch.randn(100, generator=torch.Generator().manual_seed(0))
    images = torch.arange(100)
    single = metrics.bootstrap(values, images)
    repeated = metrics.bootstrap(values.repeat_interleave(10), images.repeat_interleave(10))
    assert repeated.low == pytest.approx(single.low)
    assert repeated.high == pytest.approx(single.high)
    apart = metrics.bootstrap(values.repeat_interleave(10), torch.arange(1000))
    assert apart.high - apart.low < 0.5 * (single.high - single.low)


def test_values_that_are_not_defined_are_left_out():
    values, images = torch.tensor([1.0, torch.nan, 3.0]), torch.tensor([7, 7, 9])
    assert metrics.bootstrap(values, images).value == 2.0
    with pytest.raises(ValueError, match="no values to average"):
        metrics.bootstrap(torch.full((3,), torch.nan), images)


@pytest.mark.parametrize("options", [{"samples": 0}, {"level": 1.0}, {"level": 0.0}, {"level": 95}])
def test_senseless_options_are_refused(options):
    with pytest.raises(ValueError, match="samples must be positive and level between 0 and 1"):
        metrics.bootstrap(torch.ones(3), torch.arange(3), **options)
