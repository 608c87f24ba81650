"""Parameters and multiply-adds of a network.

A multiply-add (MAC) is one multiplication and one addition of a convolution;
batch norms, activations, sums and upsampling are not counted, as in the papers.
What the papers print as "GFLOPs" is neither FLOPs nor 10^9: their script sums
(weights x output pixels) over the layers and divides by 2^30. For a transposed
convolution that is too much: each *input* pixel meets each weight once, so with
stride 2 the script counts four times the work. ``Cost`` has both numbers.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from calbook.geometry import Size
from calbook.models.modes import evaluating


@dataclass(frozen=True)
class Cost:
    """What a network costs for one picture.

    Attributes:
        parameters: Trainable numbers.
        macs: Multiply-adds of all convolutions.
        published_macs: The same in the published script's way, which counts
            transposed convolutions by their output pixels.
    """

    parameters: int
    macs: int
    published_macs: int

    @property
    def published_giga(self) -> float:
        """The papers' "GFLOPs": ``published_macs`` in units of 2^30."""
        return self.published_macs / 2**30


def count(model: nn.Module, input_size: Size) -> Cost:
    """Count by running one empty picture, with a hook on every convolution.

    Args:
        model: Any network whose work is in convolutions; left as it was.
        input_size: Height and width.

    >>> layer = nn.Conv2d(3, 8, kernel_size=3, padding=1)
    >>> count(layer, (10, 10))  # 8 * 3 * 9 weights + 8 biases; 216 * 100 multiply-adds
    Cost(parameters=224, macs=21600, published_macs=21600)
    """
    macs, published = 0, 0

    def add(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal macs, published
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        source, result = inputs[0].shape[-2:].numel(), output.shape[-2:].numel()  # pixels
        macs += layer.weight.numel() * (source if isinstance(layer, nn.ConvTranspose2d) else result)
        published += layer.weight.numel() * result

    convolutions = [part for part in model.modules() if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [part.register_forward_hook(add) for part in convolutions]
    parameter = next(model.parameters())
    try:
        with torch.inference_mode(), evaluating(model):
            model(torch.zeros(1, 3, *input_size, dtype=parameter.dtype, device=parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(sum(p.numel() for p in model.parameters()), macs, published)
