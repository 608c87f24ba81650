"""Loaders: the same batches on any number of processes, from any point of an epoch, with or without a thread."""

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from crop_people import people_in

from calbook.data import coco
from calbook.data.crops import (
    NONE,
    RESNET,
    Augmentation,
    CanvasOptions,
    CropLoader,
    Crops,
    DecodedCanvases,
    SyntheticLoader,
    augment,
    select,
)
from calbook.data.crops.prefetch import prefetched
from calbook.data.defects import DataError
from calbook.data.synthetic import SyntheticStream

SIZE = (32, 24)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DecodedCanvases:
    boxes = [(10.0 + 3 * i, 8.0 + i, 20.0 + i, 40.0) for i in range(14)]
    return DecodedCanvases(people_in(tmp_path_factory.mktemp("people"), boxes, (70, 90), per_picture=5), SIZE)


def same(first: Crops, second: Crops) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def joined(parts: list[Crops]) -> Crops:
    return Crops(*(torch.cat(values) for values in zip(*parts, strict=True)))


def test_an_epoch_shows_everybody_once_in_a_new_order(source: DecodedCanvases) -> None:
    loader = CropLoader(source, SIZE, 7, seed=1)
    assert loader.batches_per_epoch == 2
    orders = [loader.order(epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(14)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert orders[0] != CropLoader(source, SIZE, 7, seed=2).order(0).tolist()
    plain = CropLoader(source, SIZE, 7, seed=1, augmentation=NONE)
    everybody = augment(source.canvases(torch.tensor(orders[0])), SIZE, source.skeleton, NONE)
    assert same(joined(list(plain.epoch(0))), everybody)


@pytest.mark.parametrize("make", ["crops", "synthetic"])
def test_batches_do_not_depend_on_processes_prefetching_or_the_point_of_resuming(
    source: DecodedCanvases, make: str
) -> None:
    def loader(**options: int) -> CropLoader | SyntheticLoader:
        if make == "crops":
            return CropLoader(source, SIZE, 4, seed=3, **options)
        return SyntheticLoader(14, SIZE, 4, seed=3, **options)

    whole = list(loader().epoch(5))
    assert len(whole) == 3
    assert whole[0].images.shape == (4, 3, *SIZE)
    assert whole[0].images.dtype == torch.float32
    assert whole[0].images.min() >= 0
    assert whole[0].images.max() <= 1
    for options in ({"prefetch": 0}, {"prefetch": 5}):
        assert all(same(a, b) for a, b in zip(whole, loader(**options).epoch(5), strict=True))
    for start in (1, 2, 3):
        assert all(same(a, b) for a, b in zip(whole[start:], loader().epoch(5, start), strict=True))
    for count in (2, 4):
        ranks = [list(loader(rank=rank, world_size=count).epoch(5)) for rank in range(count)]
        assert all(same(whole[i], joined([parts[i] for parts in ranks])) for i in range(3))
    assert not same(whole[0], next(loader().epoch(6)))


def test_a_smaller_last_batch(source: DecodedCanvases) -> None:
    loader = CropLoader(source, SIZE, 4, drop_last=False)
    assert loader.batches_per_epoch == 4
    assert [len(crops.images) for crops in loader.epoch(0)] == [4, 4, 4, 2]
    ranks = [CropLoader(source, SIZE, 4, drop_last=False, rank=rank, world_size=2) for rank in (0, 1)]
    assert [[len(crops.images) for crops in loader.epoch(0)] for loader in ranks] == [[2, 2, 2, 1]] * 2
    assert CropLoader(source, SIZE, 12, drop_last=False, world_size=4).batches_per_epoch == 1  # 2 cannot be shared by 4


def test_what_cannot_be_is_refused(source: DecodedCanvases) -> None:
    with pytest.raises(ValueError, match="a global batch of 5 cannot be shared equally by 2"):
        CropLoader(source, SIZE, 5, world_size=2)
    with pytest.raises(ValueError, match="rank must be from 0 to 1"):
        CropLoader(source, SIZE, 4, rank=2, world_size=2)
    with pytest.raises(ValueError, match="14 people do not fill a batch of 16"):
        CropLoader(source, SIZE, 16)
    narrow = DecodedCanvases(source._people, SIZE, CanvasOptions(reach=1.3))
    CropLoader(narrow, SIZE, 4, augmentation=RESNET)
    with pytest.raises(ValueError, match=r"beyond the canvases' reach of 1.3: .*reach=1.35"):
        CropLoader(narrow, SIZE, 4)
    whole = DecodedCanvases(source._people, SIZE, CanvasOptions(half_body=False))
    with pytest.raises(ValueError, match="half bodies"):
        CropLoader(whole, SIZE, 4)
    CropLoader(whole, SIZE, 4, augmentation=Augmentation(half_body=0))


def test_synthetic_batches_are_those_of_the_stream() -> None:
    stream = SyntheticStream(4, SIZE, seed=3)
    loader = SyntheticLoader(8, SIZE, 4, seed=3)
    for epoch in range(2):
        for crops in loader.epoch(epoch):
            assert same(crops, next(stream))


def test_rendering_ahead_leaves_the_threads_of_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`render` divides large batches among threads by changing a global setting, which would change sums elsewhere."""
    from calbook.data.crops import loader as module

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr(torch, "set_num_threads", lambda number: pytest.fail("the number of threads was changed"))
        monkeypatch.setattr(module, "CHUNK_PIXELS", 2 * SIZE[0] * SIZE[1])
        monkeypatch.setattr("calbook.data.synthetic.rendering.CHUNK_PIXELS", 2 * SIZE[0] * SIZE[1])
        crops = next(SyntheticLoader(3, SIZE, 3, seed=3, prefetch=0).epoch(0))
    finally:
        monkeypatch.undo()
        torch.set_num_threads(before)
    assert same(crops, next(SyntheticLoader(3, SIZE, 3, seed=3).epoch(0)))


def test_an_error_in_the_thread_is_raised_in_the_training(tmp_path: Path) -> None:
    people = people_in(tmp_path, [(10.0, 8.0, 20.0, 40.0)] * 8, (70, 90))
    (tmp_path / "003.jpg").unlink()
    loader = CropLoader(DecodedCanvases(people, SIZE), SIZE, 2)
    with pytest.raises(DataError, match=r"003.jpg: the picture is missing"):
        list(loader.epoch(0))
    assert not prefetching()


def prefetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


class Counter(Iterator[int]):
    """Counts up to 100, each number taking a moment, and knows how far it has been asked."""

    asked = 0

    def __next__(self) -> int:
        if self.asked == 100:
            raise StopIteration
        self.asked += 1
        time.sleep(0.001)
        return self.asked


def test_prefetching_stays_within_its_depth_and_ends_with_its_user() -> None:
    counter = Counter()
    numbers = prefetched(counter, 3)
    assert not prefetching()  # nothing is made before it is asked for
    assert [next(numbers), next(numbers)] == [1, 2]
    time.sleep(0.1)
    assert counter.asked <= 2 + 3 + 1  # three wait, one is in the hand
    assert len(prefetching()) == 1
    del numbers
    gc.collect()
    assert not prefetching()
    assert list(prefetched(Counter(), 2)) == list(range(1, 101))


def test_a_dropped_epoch_stops_its_thread(source: DecodedCanvases) -> None:
    for crops in CropLoader(source, SIZE, 2).epoch(0):
        assert len(crops.images) == 2
        break
    gc.collect()
    assert not prefetching()


def test_making_ahead_overlaps_with_using() -> None:
    made = [threading.Event() for _ in range(5)]

    def items() -> Iterator[int]:
        for i in range(5):
            made[i].set()
            yield i

    for i in prefetched(items(), 2):  # while one is used, the next is made, though nobody has asked for it
        assert made[min(i + 1, 4)].wait(20)


def test_real_people_in_batches(shared_data: Path) -> None:
    for folder, split, joints in (("lspet", "images", 14), ("coco_mini", "train2017", 17)):
        people = select(coco.read_split(shared_data / folder, split))
        loader = CropLoader(DecodedCanvases(people, SIZE, workers=2), SIZE, 16, seed=0)
        crops = next(loader.epoch(0))
        assert crops.images.shape == (16, 3, *SIZE)
        assert crops.joints.shape == (16, joints, 2)
        assert loader.skeleton.num_joints == joints
        shown = crops.joints[crops.visible > 0]
        inside = ((shown >= 0) & (shown <= torch.tensor([SIZE[1] - 1.0, SIZE[0] - 1.0]))).all(-1)
        assert 0.75 < inside.double().mean() <= 1  # zoom and half bodies push some out
        assert crops.images.std() > 0.1
