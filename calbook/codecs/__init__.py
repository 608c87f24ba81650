"""Codecs: joints to maps and back.

============  ==================================  ==========================================
name          targets                             decoding
============  ==================================  ==========================================
``heatmap``   Gaussian                            peak and quarter-pixel shift
``dark``      Gaussian                            peak and Newton step on the log of the map
``offset``    disk, offset field                  peak and offset there, or Hough voting
``cal``       Gaussian on the disk, offset field  peak and offset there
``integral``  Gaussian (auxiliary)                expectation over the map
============  ==================================  ==========================================
"""

from dataclasses import fields
from typing import Any

from calbook.codecs.base import Codec, default_sigma
from calbook.codecs.cal import CalCodec
from calbook.codecs.dark import DarkCodec
from calbook.codecs.heatmap import HeatmapCodec
from calbook.codecs.integral import IntegralCodec
from calbook.codecs.offset import OffsetCodec
from calbook.geometry import Size

CODECS: dict[str, type[Codec]] = {
    "heatmap": HeatmapCodec,
    "dark": DarkCodec,
    "offset": OffsetCodec,
    "cal": CalCodec,
    "integral": IntegralCodec,
}


def build_codec(name: str, input_size: Size, heatmap_size: Size, **options: Any) -> Codec:
    """Build a codec by name.

    Args:
        name: One of ``CODECS``.
        input_size: Height and width of the network's input.
        heatmap_size: Height and width of the maps.
        **options: Fields of the codec's class, see there.

    Raises:
        ValueError: The name or an option is unknown, or an option cannot have its value.

    >>> codec = build_codec("heatmap", input_size=(128, 96), heatmap_size=(32, 24), shift=False)
    >>> codec.shift, codec.convention
    (False, 'unbiased')
    """
    if name not in CODECS:
        raise ValueError(f"unknown codec {name!r}: choose one of {', '.join(CODECS)}")
    known = [field.name for field in fields(CODECS[name]) if field.init][2:]
    for option in options:
        if option not in known:
            raise ValueError(f"codec {name!r} has no option {option!r}: it has {', '.join(known)}")
    return CODECS[name]((input_size[0], input_size[1]), (heatmap_size[0], heatmap_size[1]), **options)


__all__ = [
    "CODECS",
    "CalCodec",
    "Codec",
    "DarkCodec",
    "HeatmapCodec",
    "IntegralCodec",
    "OffsetCodec",
    "build_codec",
    "default_sigma",
]
