"""What a camera adds: exposure, colour cast, slight blur and noise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from calbook.data.draws import Draws
from calbook.data.synthetic.backdrop import PLATE
from calbook.data.synthetic.config import SceneConfig


@dataclass(frozen=True)
class Sensor:
    """Imperfections of N cameras.

    Attributes:
        gain: ``(N, 3)`` of red, green, blue.
        blur: ``(N,)`` weight of each neighbour of a pixel.
        noise: ``(N,)`` standard deviation in units of full scale.
        offset: ``(N, 2, 3)`` where to read the plate of random numbers.
    """

    gain: Tensor
    blur: Tensor
    noise: Tensor
    offset: Tensor


def draw_sensor(draws: Draws, config: SceneConfig) -> Sensor:
    """Draw the imperfections of each picture's camera."""
    exposure = draws.uniform(1, low=0.88, high=1.26)
    gain = exposure * (1 + draws.uniform(3, low=-config.cast, high=config.cast))
    blur = draws.uniform(low=config.blur[0], high=config.blur[1])
    noise = config.noise[0] + (config.noise[1] - config.noise[0]) * draws.uniform() ** 2
    return Sensor(gain.float(), blur.float(), noise.float(), (draws.uniform(2, 3) * PLATE).long())


def expose(pictures: Tensor, sensor: Sensor, plate: Tensor) -> Tensor:
    """Pictures ``(N, 3, H, W)`` as the sensor records them, clamped to [0, 1]."""
    pictures = pictures * sensor.gain[..., None, None]
    side = sensor.blur[:, None, None, None]
    for dim in (2, 3):
        # Out = x + s (left - 2 x + right): three taps; the outermost pixels stay as they are.
        size = pictures.shape[dim] - 2
        bend = pictures.narrow(dim, 0, size) + pictures.narrow(dim, 2, size) - 2 * pictures.narrow(dim, 1, size)
        pictures.narrow(dim, 1, size).add_(side * bend)
    return pictures.add_(_grain(sensor, pictures.shape[2], pictures.shape[3], plate)).clamp_(0, 1)


def _grain(sensor: Sensor, height: int, width: int, plate: Tensor) -> Tensor:
    """Noise ``(N, 3, H, W)``: a window of the plate for each channel.

    The plate is uniform on [-1, 1), of variance 1/3, hence the factor sqrt(3).
    """
    row = torch.arange(height, device=plate.device)[:, None] + sensor.offset[:, 0, :, None, None]
    column = torch.arange(width, device=plate.device) + sensor.offset[:, 1, :, None, None]
    index = (row & (PLATE - 1)) * PLATE + (column & (PLATE - 1))  # (N, 3, H, W)
    return plate.flatten()[index] * (sensor.noise[:, None, None, None] * 3**0.5)
