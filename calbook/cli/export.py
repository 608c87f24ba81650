"""``calbook export``: a trained network as ONNX, compared with the original."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calbook.cli.common import add_command, split_name, whole
from calbook.data.defects import DataError, Defect

if TYPE_CHECKING:
    from torch import Tensor

    from calbook.runs import Trained

CROPS = 8  # compared on


def add(commands: Any) -> None:
    """Add the command to the parser."""
    export = add_command(
        commands,
        "export",
        _export,
        "write a trained network as ONNX, with any batch size, and compare it with the original",
        "calbook export runs/cal-w32 --out cal-w32.onnx",
    )
    export.add_argument("folder", metavar="RUN", type=Path, help="a run folder")
    export.add_argument("--out", required=True, type=Path, metavar="FILE", help="the ONNX file to write")
    export.add_argument(
        "--opset", type=whole(18), default=18, metavar="N", help="version of the operators (default: 18)"
    )
    export.add_argument("--weights", choices=("best", "last"), default="best", help="which weights (default: best)")
    export.add_argument(
        "--data", type=Path, metavar="DIR", help="compare on crops of this COCO-layout set, not synthetic"
    )
    export.add_argument("--split", type=split_name, help="which set of it (default: val2017)")
    export.add_argument("--overwrite", action="store_true", help="replace the file that is there")


def _export(options: argparse.Namespace) -> int:
    from calbook import runs
    from calbook.inference.export import export_onnx

    if options.split is not None and options.data is None:
        remedy = "give the folder of the set with --data DIR, or leave it out"
        raise DataError(Defect("calbook export", "", "--split", "there is no --data", remedy))
    if options.out.exists() and not options.overwrite:
        raise DataError(Defect(str(options.out), "", "", "exists already", "choose another --out, or say --overwrite"))
    trained = runs.load(options.folder, options.weights)
    report = export_onnx(trained, options.out, _crops(options, trained), opset=options.opset)
    size = options.out.stat().st_size / 1e6
    of = f" of {options.data}" if options.data else ", synthetic people"
    print(f"{options.out}: {size:.1f} MB, opset {options.opset}")
    print(
        f"compared on {report.crops} crops{of}: differs by at most {report.heatmaps:.1e} (heatmaps) and "
        f"{report.offsets:.1e} (offsets) of the maps' largest value"
    )
    return 0


def _crops(options: argparse.Namespace, trained: "Trained") -> "Tensor":
    """Crops to compare on, ``(CROPS, 3, H, W)``."""
    import torch

    from calbook import geometry
    from calbook.data.coco import read_split
    from calbook.data.pictures import read_pixels
    from calbook.data.synthetic import render
    from calbook.inference import Cutter, annotated_boxes

    codec = trained.codec
    if options.data is None:
        return render(seed=0, count=CROPS, size=codec.input_size).pictures
    split = options.split or "val2017"
    people = read_split(options.data, split)
    if len(people) < 2 or people.pictures is None:
        problem = f"{len(people)} people are too few to compare on"
        raise DataError(Defect(str(options.data), split, "", problem, "choose another split"))
    boxes = annotated_boxes(people).boxes[:CROPS]
    crops = geometry.box_to_crop(boxes, codec.input_size)
    cut = Cutter(codec.input_size, codec.convention)
    images = [
        cut(read_pixels(people.pictures / name), geometry.CropBox(center[None], extent[None]))
        for name, center, extent in zip(people.file_names, *crops, strict=False)
    ]
    return torch.cat(images)
