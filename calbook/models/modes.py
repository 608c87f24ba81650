"""A network's two modes: batch norms and dropout behave differently while it learns."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block, then for every part the mode from before.

    Parts may differ: batch norms that were frozen by ``eval()`` stay so in a network that learns.

    >>> layer = nn.Sequential(nn.BatchNorm2d(3).eval(), nn.Dropout())
    >>> with evaluating(layer):
    ...     [part.training for part in layer]
    [False, False]
    >>> [part.training for part in layer]
    [False, True]
    """
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
