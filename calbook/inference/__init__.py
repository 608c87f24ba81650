"""From a network to poses in pictures.

``predict_crops`` for a batch of crops, ``predict_people`` for a data set with annotated
or detected boxes, ``stream`` for pictures of any number and origin, ``export_onnx`` for
other programs.
"""

from calbook.inference.boxes import Boxes, annotated_boxes, read_boxes
from calbook.inference.cutting import Cutter
from calbook.inference.flip import average_maps, mirrored_maps, predict_crops, predict_maps
from calbook.inference.people import Predictions, predict_people
from calbook.inference.stream import Job, PicturePoses, stream

__all__ = [
    "Boxes",
    "Cutter",
    "Job",
    "PicturePoses",
    "Predictions",
    "annotated_boxes",
    "average_maps",
    "mirrored_maps",
    "predict_crops",
    "predict_maps",
    "predict_people",
    "read_boxes",
    "stream",
]
