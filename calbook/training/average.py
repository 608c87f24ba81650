"""An exponential moving average of a network's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """The mean of a network's recent weights, often a better network than the last.

    After each step, a <- decay * a + (1 - decay) * w for parameters w. Buffers, the
    running statistics of batch normalisation, are means already: they are copied.

    Args:
        model: The network; its weights of now are where the average begins.
        decay: Share of the average that stays at each step. It remembers about
            1 / (1 - decay) steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._now = dict(model.state_dict())  # the network's own tensors, which stay the same objects
        self.weights: dict[str, Tensor] = {name: value.clone() for name, value in self._now.items()}
        parameters = {name for name, _ in model.named_parameters()}
        self._averaged = [name for name in self._now if name in parameters]
        self._copied = [name for name in self._now if name not in parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        averages = [self.weights[name] for name in self._averaged]
        torch._foreach_lerp_(averages, [self._now[name] for name in self._averaged], 1 - self.decay)
        for name in self._copied:
            self.weights[name].copy_(self._now[name])

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor]) -> None:
        """Continue from saved averages."""
        for name, value in self.weights.items():
            value.copy_(weights[name])

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Within this context the network has the averaged weights."""
        own = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.weights)
        try:
            yield
        finally:
            model.load_state_dict(own)
