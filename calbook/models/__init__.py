"""The networks: pictures ``(B, 3, H, W)`` in, ``PoseMaps`` out."""

from calbook.models.counting import Cost, count
from calbook.models.folding import fast_inference
from calbook.models.reference_weights import LoadReport, load_reference_weights
from calbook.models.registry import build_model, model_names

__all__ = ["Cost", "LoadReport", "build_model", "count", "fast_inference", "load_reference_weights", "model_names"]
