"""The weights with which the golden outputs of networks were computed."""

import zlib

import numpy as np
import torch
from torch import Tensor


def golden_tensor(key: str, shape: tuple[int, ...]) -> Tensor:
    """One of them: a function of key and shape."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    draw = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        draw = 1 + 0.1 * np.abs(draw)
    elif key.endswith(("running_mean", "bias")):
        draw = 0.1 * draw
    elif len(shape) == 1:  # weight of a batch norm
        draw = 1 + 0.1 * draw
    else:
        draw = draw * np.float32(0.5 * np.sqrt(2.0 / np.prod(shape[1:])))
    return torch.from_numpy(np.asarray(draw, dtype=np.float32))
