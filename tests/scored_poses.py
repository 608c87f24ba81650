"""Poses to be scored, and pycocotools alone as the judge."""

import json

import numpy as np
import torch
from pycocotools import coco as pycoco
from pycocotools.cocoeval import COCOeval

from calbook import metrics


def poses(count, seed=0, spread=20.0):
    """Random truth, predictions near it, visibilities and areas, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(count, 17, 2, generator=generator, dtype=torch.float64) * 400
    pred = truth + torch.randn(count, 17, 2, generator=generator, dtype=torch.float64) * spread
    visible = torch.randint(0, 3, (count, 17), generator=generator)
    visible[:, 0] = 2
    areas = torch.rand(count, generator=generator, dtype=torch.float64) * 40000
    return pred, truth, visible, areas


def noisy_results(people, spread, seed=0):
    """Every person with Gaussian errors of ``spread`` pixels and a random score."""
    generator = torch.Generator().manual_seed(seed)
    coords = people.joints + spread * torch.randn(people.joints.shape, generator=generator)
    scores = torch.rand(len(people), generator=generator)
    return metrics.coco_results(people.image_ids, coords, torch.rand(people.visible.shape), scores)


def reference(document, results, sigmas=None, ranges=None):
    """The figures by pycocotools alone, used as its own example uses it."""
    truth = pycoco.COCO()
    truth.dataset = json.loads(json.dumps(document))
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(json.loads(json.dumps(results))), "keypoints")
    if sigmas is not None:
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    if ranges is not None:
        evaluation.params.areaRng, evaluation.params.areaRngLbl = list(map(list, ranges.values())), list(ranges)
    evaluation.evaluate()
    evaluation.accumulate()
    if ranges is None:
        evaluation.summarize()
    return evaluation
