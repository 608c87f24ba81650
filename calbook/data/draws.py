"""Random numbers that belong to a picture or a person, not to the batch it is in."""

from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15  # the constants of SplitMix64 (Steele, Lea, Flood, 2014)
_MASK = (1 << 64) - 1


def picture_seed(seed: int, index: int) -> int:
    """A well-mixed 63-bit seed for picture, person or epoch ``index`` of the series ``seed``.

    >>> picture_seed(0, 1) != picture_seed(1, 0)
    True
    """
    state = (seed * _GOLDEN + (index + 1) * 0xD1B54A32D192ED03) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return (state ^ (state >> 31)) >> 1


class Draws:
    """Hands out the uniform numbers of N pictures or persons, column by column.

    Each has a generator of its own, on the CPU, so that its numbers are the same
    in any batch and on any device. They are float64: the geometry made from them then
    rounds to the same float32 whatever vector instructions computed it.

    Args:
        seed: Seed of the series.
        indices: Which pictures or persons of the series; N of them.
        columns: Numbers available to each.
        device: Where they are needed.
    """

    def __init__(self, seed: int, indices: Sequence[int], columns: int, device: torch.device | str = "cpu") -> None:
        generator = torch.Generator()
        numbers = torch.empty(len(indices), columns)
        for row, index in zip(numbers, indices, strict=True):
            generator.manual_seed(picture_seed(seed, index))
            torch.rand(columns, generator=generator, out=row)
        self._numbers = numbers.double().to(device)
        self._next = 0

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers ``(N, *shape)`` uniform in [low, high)."""
        size = 1
        for side in shape:
            size *= side
        first, self._next = self._next, self._next + size
        if self._next > self._numbers.shape[1]:
            raise RuntimeError(f"more than {self._numbers.shape[1]} random numbers are needed: raise columns")
        block = self._numbers[:, first : self._next].reshape(-1, *shape)
        return low + (high - low) * block

    def bell(self, *shape: int, spread: float = 1.0) -> Tensor:
        """Numbers ``(N, *shape)`` of mean 0 and standard deviation ``spread``, none beyond 3 of them.

        The sum of three uniform numbers has standard deviation 1/2.
        """
        return (self.uniform(*shape, 3).sum(-1) - 1.5) * (2 * spread)

    def normal(self, *shape: int) -> Tensor:
        """Numbers ``(N, *shape)`` of the normal distribution with mean 0 and variance 1."""
        numbers: Tensor = torch.special.ndtri(self.uniform(*shape).clamp(min=2.0**-25))  # they are multiples of 2^-24
        return numbers

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Booleans ``(N, *shape)``, true with the given probability."""
        return self.uniform(*shape) < probability

    def choice(self, weights: Sequence[float], *shape: int) -> Tensor:
        """Indices ``(N, *shape)`` drawn in proportion to ``weights``."""
        edges = torch.tensor(weights, dtype=torch.float64).cumsum(0)
        edges = (edges[:-1] / edges[-1]).to(self._numbers.device)
        return torch.searchsorted(edges, self.uniform(*shape).contiguous(), right=True)
