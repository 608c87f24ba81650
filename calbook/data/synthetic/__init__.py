"""Synthetic people: procedural pictures with exact joints, for every device.

Articulated, dressed bodies in rooms and streets, drawn from a distribution that
`SceneConfig` describes. `render` makes batches, `SyntheticStream` endless crops
for training, `write_coco` a data set on disk in COCO's layout.
"""

from calbook.data.synthetic.coco_layout import write_coco
from calbook.data.synthetic.config import CROPS, PHOTOGRAPHS, SceneConfig, SyntheticBatch
from calbook.data.synthetic.rendering import render
from calbook.data.synthetic.stream import Crops, SyntheticStream

__all__ = [
    "CROPS",
    "PHOTOGRAPHS",
    "Crops",
    "SceneConfig",
    "SyntheticBatch",
    "SyntheticStream",
    "render",
    "write_coco",
]
