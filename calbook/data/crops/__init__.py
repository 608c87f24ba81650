"""Top-down training crops: people cut out once, augmented on the device, served in batches.

```text
CocoPeople --select--> people --DecodedCanvases or CropCache--> Canvases --augment--> Crops --CropLoader--> training
```

A *canvas* is the part of a picture that any augmentation of a person may show, at
about the resolution that the network's input needs. Cutting canvases out is the
slow part (pictures are decoded); a `CropCache` does it once. From a canvas to an
augmented crop it is one affine sampling of a whole batch.
"""

from calbook.data.crops.augmentation import MPII, NONE, PUBLISHED, RESNET, Augmentation, augment, augmentation_draws
from calbook.data.crops.cache import CropCache
from calbook.data.crops.canvases import Canvases, CanvasOptions, Source
from calbook.data.crops.decoding import DecodedCanvases
from calbook.data.crops.loader import CropLoader, SyntheticLoader
from calbook.data.crops.selection import person_crops, select, subset
from calbook.data.synthetic.stream import Crops

__all__ = [
    "MPII",
    "NONE",
    "PUBLISHED",
    "RESNET",
    "Augmentation",
    "CanvasOptions",
    "Canvases",
    "CropCache",
    "CropLoader",
    "Crops",
    "DecodedCanvases",
    "Source",
    "SyntheticLoader",
    "augment",
    "augmentation_draws",
    "person_crops",
    "select",
    "subset",
]
