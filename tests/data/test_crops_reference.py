"""The loader against the plain reader that the benchmark times it against."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from calbook.data import coco
from calbook.data.crops import (
    NONE,
    PUBLISHED,
    Canvases,
    CropLoader,
    DecodedCanvases,
    augment,
    augmentation_draws,
    select,
    subset,
)
from calbook.data.crops.canvases import lay_out

SIZE = (128, 96)


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "reference_loader.py"
    spec = importlib.util.spec_from_file_location("reference_loader", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_plain_crops_are_the_same(reader: ModuleType, shared_data: Path) -> None:
    people = select(coco.read_split(shared_data / "coco_mini", "train2017"))
    source = DecodedCanvases(people, SIZE)
    small = (lay_out(people, SIZE, source.options).steps == 1).nonzero()[:8, 0]  # nothing is resampled
    crops = augment(source.canvases(small), SIZE, people.skeleton, NONE)
    plain = reader.PlainReader(people, SIZE)
    for row, index in enumerate(small.tolist()):
        image, joints, visible = plain.person(index, augment=False)
        shown = torch.from_numpy(visible) > 0
        torch.testing.assert_close(crops.joints[row][shown], torch.from_numpy(joints).float()[shown], atol=1e-3, rtol=0)
        assert (crops.images[row] - image).abs()[:, 2:-2, 2:-2].mean() < 1.5 / 255  # warped in 8 bits there


def test_augmented_joints_are_spread_alike(reader: ModuleType, shared_data: Path) -> None:
    """Half bodies, growth, rotation and mirroring together: the same distribution of joints in the crop."""
    people = select(coco.read_split(shared_data / "lspet", "images"))
    complete = ((people.visible > 0).all(1)).nonzero()[:1, 0]
    people = subset(people, complete.repeat(400))
    canvas = DecodedCanvases(people, (32, 24)).canvases(torch.tensor([0]))
    everybody = Canvases(*(value.expand(400, *value.shape[1:]) for value in canvas))
    ours = augment(everybody, (32, 24), people.skeleton, PUBLISHED, augmentation_draws(0, 0, range(400))).joints
    plain = reader.PlainReader(people, (32, 24))
    plain.warp = lambda *_: torch.zeros(1)  # only the joints matter here
    theirs = plain.batch(list(range(400)))[1].float()
    for measure in (torch.mean, torch.std):
        assert (measure(ours, 0) - measure(theirs, 0)).abs().max() < 2.5, measure


def test_batches_have_the_same_shape(reader: ModuleType, shared_data: Path) -> None:
    people = select(coco.read_split(shared_data / "lspet", "images"))
    images, joints, visible = reader.PlainReader(people, SIZE).batch([0, 1, 2])
    crops = next(CropLoader(DecodedCanvases(people, SIZE), SIZE, 3).epoch(0))
    assert (images.shape, joints.shape, visible.shape) == (crops.images.shape, crops.joints.shape, crops.visible.shape)
    assert images.dtype == crops.images.dtype
