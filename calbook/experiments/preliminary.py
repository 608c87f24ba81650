"""What small trainings that rows stand on have in common: the neutral trunk's and the super-resolver's."""

from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from calbook.data.crops.building import exclusively

if TYPE_CHECKING:
    from calbook.data.crops.loader import Loader


def made_once(file: Path, make: Callable[[], None]) -> Path:
    """A file that is made where it is not there yet, by one process while the others wait.

    Args:
        file: The file.
        make: Makes it, whole or not at all.
    """
    if not file.exists():
        with exclusively(file):
            if not file.exists():  # by now somebody else may have made it
                make()
    return file


def first_batches(loader: "Loader", steps: int, what: str, progress: bool) -> Any:
    """A progress bar over the first ``steps`` mini-batches of a loader, epoch after epoch."""
    batches = (crops for epoch in count() for crops in loader.epoch(epoch))
    return tqdm(islice(batches, steps), total=steps, desc=what, disable=not progress, leave=False)
