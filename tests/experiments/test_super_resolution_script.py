"""The parts of ``experiments/super_resolution.py``, and what it left: weights that are better than bicubic."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from calbook import geometry, results
from calbook.data import synthetic
from calbook.experiments.upscaling import load_resolver
from calbook.models import super_resolution as sr

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("super_resolution_script", EXPERIMENTS / "super_resolution.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_positions_on_a_ruler(script: ModuleType) -> None:
    x, y = geometry.stride(script.LARGE, (8, 6), "unbiased")
    coords = torch.tensor([[[0.4 * x, 0.6 * y], [5.0 * x, 7.0 * y], [95.0, 127.0], [-30.0, 400.0]]])
    rounded = script.on_ruler(coords, (8, 6))
    expected = torch.tensor([[[0.0, y], [5 * x, 7 * y], [5 * x, 7 * y], [0.0, 7 * y]]])
    assert torch.allclose(rounded, expected)
    assert script.on_ruler(coords, None) is coords


def test_a_finer_ruler_is_never_far_off(script: ModuleType) -> None:
    coords = torch.rand(4, 17, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([95.0, 127.0])
    for size in ((32, 24), (8, 6)):
        step = torch.tensor(geometry.stride(script.LARGE, size, "unbiased"))
        assert ((script.on_ruler(coords, size) - coords).abs() <= step / 2 + 1e-4).all()


def test_scores_of_the_truth_itself(script: ModuleType) -> None:
    batch = synthetic.render(5, 3, script.LARGE)
    joints, visible, areas = batch.joints[:, 0], batch.visible[:, 0], batch.areas[:, 0]
    found = script.scores(joints, joints, visible, areas)
    assert found["mean"] == 0.0
    assert found["passed"] == 1.0
    assert script.scores(joints + 100, joints, visible, areas)["passed"] == 0.0
    difference = script.compare(torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5]))
    assert difference["difference"] == 0.5
    assert difference["standard_error"] == pytest.approx(0.5)


def test_patches_of_every_set_in_turn(script: ModuleType) -> None:
    dark, bright = torch.zeros(2, 3, 128, 96, dtype=torch.uint8), torch.full((2, 3, 80, 64), 255, dtype=torch.uint8)
    source = script.patches([dark, bright], torch.Generator().manual_seed(0))
    first, second = next(source), next(source)
    assert first.shape == second.shape == (script.PATCHES, 3, *script.PATCH)
    assert (first.unique().item(), second.unique().item()) == (0.0, 1.0)


def test_the_probe_sees_every_kind_or_true_crops_alone(script: ModuleType) -> None:
    count = 64
    grey = dict(zip(script.KINDS, (0, 51, 255), strict=True))
    kinds = {kind: torch.full((count, 3, 8, 6), value, dtype=torch.uint8) for kind, value in grey.items()}
    joints, visible = torch.zeros(count, 17, 2), torch.ones(count, 17)
    for mixed, values in ((False, {0.0}), (True, {0.0, 0.2, 1.0})):
        source = script.crops_for_probe(kinds, joints, visible, mixed, torch.Generator().manual_seed(0))
        seen = {round(float(value), 3) for _ in range(4) for value in next(source)[0].unique()}
        assert seen == values


def test_the_stored_resolver_beats_bicubic(script: ModuleType) -> None:
    resolver = load_resolver(EXPERIMENTS / "networks" / "spsr-tiny.safetensors").cpu()
    unseen = script.to_bytes(synthetic.render(4321, 12, script.LARGE).pictures)
    found = script.quality(script.kinds_of(resolver, unseen))
    assert found["restored"]["psnr"] > found["bicubic"]["psnr"] + 0.2
    assert found["bicubic"]["edges"] < found["restored"]["edges"] < 1.0


def test_the_record_is_of_this_script(script: ModuleType) -> None:
    record = results.read(results.RESULTS / "ch17_super_resolution.json")
    settings = record["settings"]
    assert record["command"].startswith("python experiments/super_resolution.py")
    assert (settings["unseen"], settings["judged"]) == (script.UNSEEN, script.JUDGED)
    assert settings["resolver"]["people"] == script.RESOLVER_PEOPLE
    assert settings["probe"]["people"] == script.PROBE_PEOPLE
    assert set(record["figures"]["probe"]) == {"true", "mixed"}
    parameters = sum(parameter.numel() for parameter in sr.build_super_resolver("spsr-tiny").parameters())
    assert record["figures"]["resolver"]["parameters"] == parameters
