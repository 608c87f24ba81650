"""A network as an ONNX file, believed only after it has been compared.

The file takes pictures in [0, 1], any number at once; normalisation is inside. It gives
``heatmaps`` and, for methods that have them, ``offsets`` in heatmap pixels: what
``Codec.decode`` reads. Its metadata say which codec, skeleton and sizes belong to it.
"""

import contextlib
import importlib
import io
import json
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calbook.data.defects import DataError, Defect
from calbook.data.pictures import normalize
from calbook.models.folding import fold_batch_norms
from calbook.poses import PoseMaps
from calbook.runs import Trained

OPSET = 18
TOLERANCE = 1e-4  # largest difference allowed, as a share of the largest value of the maps


@dataclass(frozen=True)
class ExportReport:
    """How far the file's maps are from the network's.

    Attributes:
        heatmaps: Largest difference, as a share of the largest absolute value.
        offsets: Likewise; 0 where there are none.
        crops: How many crops were compared.
        batches: In batches of these sizes.
    """

    heatmaps: float
    offsets: float
    crops: int
    batches: tuple[int, ...]


class _Exported(nn.Module):
    """Pictures in [0, 1] to a tuple of maps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps: PoseMaps = self.model(normalize(images))
        return (maps.heatmaps,) if maps.offsets is None else (maps.heatmaps, maps.offsets)


def export_onnx(
    trained: Trained, path: Path | str, crops: Tensor, *, opset: int = OPSET, tolerance: float = TOLERANCE
) -> ExportReport:
    """Write a network as ONNX and compare it, in onnxruntime, on crops.

    Args:
        trained: Of ``runs.load``.
        path: The file to write. It appears only after the comparison.
        crops: ``(N, 3, H, W)`` in [0, 1], to compare on; N at least 2.
        opset: Version of ONNX's operators.
        tolerance: Largest difference allowed, as a share of the maps' largest value.

    Raises:
        DataError: A library is missing, the export failed, or the maps differ by more.
    """
    onnx, runtime = _library("onnx", path), _library("onnxruntime", path)
    _library("onnxscript", path)
    path = Path(path)
    model = _Exported(trained.model).eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial.onnx")
    try:
        _write(_Exported(fold_batch_norms(trained.model)).eval(), partial, crops[:2], opset, path)
        document = onnx.load(str(partial))
        for key, value in _metadata(trained).items():
            document.metadata_props.add(key=key, value=value)
        onnx.save(document, str(partial))
        onnx.checker.check_model(str(partial))
        report = _compare(model, runtime.InferenceSession(str(partial), providers=["CPUExecutionProvider"]), crops)
        if not max(report.heatmaps, report.offsets) <= tolerance:
            share = f"{max(report.heatmaps, report.offsets):.2g}"
            problem = f"its maps differ from the network's by {share} of their largest value, removed"
            raise DataError(Defect(str(path), "", "", problem, f"try another --opset than {opset}"))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return report


def _library(name: str, path: Path | str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        remedy = "install it: pip install 'calbook[export]'"
        raise DataError(Defect(str(path), "", "", f"export needs {name}, which is not installed", remedy)) from None


def _write(model: nn.Module, partial: Path, example: Tensor, opset: int, path: Path) -> None:
    """Trace and write, without the exporter's own remarks."""
    names = ["heatmaps", "offsets"][: len(model(example))]
    try:
        with _silence():
            torch.onnx.export(
                model,
                (example,),
                str(partial),
                input_names=["images"],
                output_names=names,
                dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
                opset_version=opset,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(Defect(str(path), "", "", f"cannot be exported ({reason})", "try another --opset")) from None


@contextmanager
def _silence() -> Iterator[None]:
    """Without warnings, log lines or prints."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@torch.no_grad()
def _compare(model: nn.Module, session: Any, crops: Tensor) -> ExportReport:
    """The largest differences, over batches of one and of the rest."""
    worst, largest = [0.0, 0.0], [0.0, 0.0]
    batches: Sequence[Tensor] = (crops[:1], crops[1:])
    for batch in batches:
        found = session.run(None, {"images": batch.numpy()})
        for index, (ours, theirs) in enumerate(zip(model(batch), found, strict=True)):
            difference = (ours - torch.from_numpy(theirs)).abs().max().item()
            worst[index] = max(worst[index], difference if math.isfinite(difference) else math.inf)
            largest[index] = max(largest[index], ours.abs().max().item())
    heatmaps, offsets = (a / b if b else a for a, b in zip(worst, largest, strict=True))
    return ExportReport(heatmaps, offsets, len(crops), tuple(len(batch) for batch in batches))


def _metadata(trained: Trained) -> dict[str, str]:
    """What a reader of the file needs to know, as texts."""
    return {
        "calbook_method": json.dumps(asdict(trained.method)),
        "calbook_joints": json.dumps(trained.skeleton.joints),
        "calbook_convention": trained.codec.convention,
        "calbook_weights_sha256": trained.weights_hash,
    }
