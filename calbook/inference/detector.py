"""Finding people with torchvision's small detector, if its weights are on this machine.

Nothing is ever downloaded: weights are looked for where torchvision keeps them, or
where they are said to be.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calbook.data.defects import DataError, Defect
from calbook.inference.cutting import resize

NAME = "fasterrcnn_mobilenet_v3_large_320_fpn"
FILE = "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth"  # torchvision's COCO_V1 weights, 74 MB
PERSON = 1  # COCO's category
LONGEST_SIDE = 1280  # larger pictures are shrunk first; the detector works on 640 at most


class PersonDetector:
    """Boxes of people in a picture.

    Args:
        weights: The weights' file; by default where torchvision would have put it.
        min_score: Boxes that score less are left out.

    Raises:
        DataError: The weights are not there or not these; the line says what to do.
    """

    def __init__(self, weights: Path | str | None = None, min_score: float = 0.5) -> None:
        self.min_score = min_score
        path = Path(torch.hub.get_dir()) / "checkpoints" / FILE if weights is None else Path(weights)
        self._network = _load(path)

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes ``(N, 4)`` as x, y, width, height in pixels and scores ``(N,)``, best first.

        Args:
            picture: ``(3, H, W)``, uint8.
        """
        height, width = picture.shape[-2:]
        factor = max(1.0, max(height, width) / LONGEST_SIDE)
        small = resize(picture, (max(1, round(height / factor)), max(1, round(width / factor))))
        found = self._network([small.float() / 255])[0]
        people = (found["labels"] == PERSON) & (found["scores"] >= self.min_score)
        corners = found["boxes"][people] * torch.tensor([width / small.shape[2], height / small.shape[1]]).repeat(2)
        return torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1), found["scores"][people]


def _load(path: Path) -> Any:
    """The detector in evaluation mode."""
    from torchvision.models import detection

    if not path.is_file():
        remedy = f"put {FILE} there (torchvision's, 74 MB), or give boxes with --boxes, or leave both out"
        raise DataError(Defect(str(path), "", "", "the person detector's weights are not on this machine", remedy))
    digest = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    if digest and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest[1]):
        problem = "damaged: its SHA-256 is not the one in its name"
        raise DataError(Defect(str(path), "", "", problem, "copy or download it again"))
    network = getattr(detection, NAME)(weights=None, weights_backbone=None)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many kinds on files that are not its own
        problem = f"not the weights of {NAME} ({type(error).__name__})"
        raise DataError(Defect(str(path), "", "", problem, f"give {FILE}")) from None
    return network.eval()
