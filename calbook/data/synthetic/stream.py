"""Training crops without end, made where they are used."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from calbook.data.synthetic.config import CROPS, SceneConfig
from calbook.data.synthetic.rendering import render
from calbook.geometry import Size


class Crops(NamedTuple):
    """A training batch.

    Attributes:
        images: ``(B, 3, H, W)`` in [0, 1].
        joints: ``(B, K, 2)`` as (x, y) in input pixels; synthetic people have COCO's 17.
        visible: ``(B, K)`` COCO codes.
    """

    images: Tensor
    joints: Tensor
    visible: Tensor


class SyntheticStream(Iterator[Crops]):
    """An endless iterator over crops of synthetic people, resumable at any batch.

    Crops are rendered at the input's size, framed as a padded box would be, so
    nothing is cut out or resampled. Batch b holds pictures b * batch_size to
    (b + 1) * batch_size - 1 of the series.

    Args:
        batch_size: Crops in a batch, B.
        input_size: Height and width of the network's input.
        seed: Seed of the series.
        device: Where to render.
        config: Distribution of the scenes.

    >>> stream = SyntheticStream(batch_size=2, input_size=(64, 48), seed=1)
    >>> _ = next(stream)
    >>> state = stream.state_dict()
    >>> again = SyntheticStream(batch_size=2, input_size=(64, 48), seed=1)
    >>> again.load_state_dict(state)
    >>> torch.equal(next(stream).images, next(again).images)
    True
    """

    def __init__(
        self,
        batch_size: int,
        input_size: Size,
        seed: int,
        device: torch.device | str = "cpu",
        config: SceneConfig = CROPS,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size, self.input_size, self.seed = batch_size, input_size, seed
        self.device, self.config = torch.device(device), config
        self.next_picture = 0

    def __next__(self) -> Crops:
        batch = render(self.seed, self.batch_size, self.input_size, self.device, self.next_picture, self.config)
        self.next_picture += self.batch_size
        return Crops(batch.pictures, batch.joints[:, 0], batch.visible[:, 0])

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands."""
        return {"seed": self.seed, "next_picture": self.next_picture}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where another stream stood.

        Raises:
            ValueError: If the state belongs to a series with another seed.
        """
        if state["seed"] != self.seed:
            raise ValueError(f"the state belongs to seed {state['seed']}, this stream has seed {self.seed}")
        self.next_picture = state["next_picture"]
