"""``calbook predict``: poses in one's own pictures."""

import argparse
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calbook.cli.common import add_command, from_zero, plural, say, whole, without_empty_folders
from calbook.data.defects import DataError, Defect

if TYPE_CHECKING:
    from calbook.inference import PicturePoses
    from calbook.inference.sources import Look
    from calbook.runs import Trained


def add(commands: Any) -> None:
    """Add the command to the parser."""
    predict = add_command(
        commands,
        "predict",
        _predict,
        "find the joints of people in pictures, folders of pictures and videos",
        "calbook predict runs/cal-w32 holiday.jpg street/ --boxes people.json --out poses",
    )
    predict.description = (
        "Find the joints of people in pictures, folders of pictures and videos. Writes DIR/poses.json, a COCO "
        "document, and each picture with the poses drawn into it. Without --boxes or --detector the whole picture "
        "is taken for one person."
    )
    predict.add_argument("folder", metavar="RUN", type=Path, help="a run folder")
    predict.add_argument(
        "pictures", metavar="PICTURE", type=Path, nargs="+", help="pictures, videos, or folders of them"
    )
    where = predict.add_mutually_exclusive_group()
    where.add_argument("--boxes", type=Path, metavar="FILE", help="boxes in COCO's format, by file_name or image_id")
    where.add_argument("--detector", action="store_true", help="find people with torchvision's small detector")
    predict.add_argument("--detector-weights", type=Path, metavar="FILE", help="its weights, if they are elsewhere")
    predict.add_argument(
        "--out", type=Path, default=Path("poses"), metavar="DIR", help="where to write (default: poses)"
    )
    predict.add_argument("--overwrite", action="store_true", help="replace the poses.json that is there")
    predict.add_argument("--no-drawings", action="store_true", help="write the poses only")
    predict.add_argument(
        "--shrink",
        type=_shrink,
        metavar="F|HxW",
        help="simulate low resolution: shrink pictures by a factor, or each person's crop to a size",
    )
    predict.add_argument(
        "--threshold", type=from_zero, default=0.2, metavar="S", help="least score of a joint (default: 0.2)"
    )
    predict.add_argument("--every", type=whole(1), default=1, metavar="N", help="take every Nth frame of a video")
    predict.add_argument("--no-flip", action="store_true", help="look once: no flip test")
    predict.add_argument("--weights", choices=("best", "last"), default="best", help="which weights (default: best)")
    predict.add_argument("--batch", type=whole(1), default=64, metavar="N", help="crops at once (default: 64)")
    predict.add_argument("--device", default=None, metavar="NAME", help="such as cuda:1 (default: cuda if found)")


def _shrink(text: str) -> tuple[int, int] | float:
    size = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if size and all(2 <= int(side) <= 4096 for side in size.groups()):
        return int(size[1]), int(size[2])
    if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text) and float(text) >= 1:
        return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a factor from 1 up nor a size such as 64x48")


def _predict(options: argparse.Namespace) -> int:
    from PIL import Image

    from calbook import results, runs
    from calbook.inference.memory import keep_heap_flat
    from calbook.inference.pose_files import PoseWriter
    from calbook.inference.sources import find_pictures

    keep_heap_flat()
    # Above 89 million pixels Pillow warns of attacks; such pictures are reduced or refused in one line.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    paths = find_pictures(options.pictures)
    file = options.out / "poses.json"
    if file.exists() and not options.overwrite:
        raise DataError(Defect(str(file), "", "", "exists already", "choose another --out, or say --overwrite"))
    look = _look(options, paths)
    trained = runs.load(options.folder, options.weights)
    info = {
        "run": trained.path.resolve().name,
        "weights_sha256": trained.weights_hash,
        "shrink": options.shrink,
        "flip": not options.no_flip,
        "versions": results.versions(),
    }
    unread: list[DataError] = []
    with (
        without_empty_folders(options.out),
        PoseWriter(file, trained.skeleton, options.threshold, info) as writer,
    ):
        for found in _poses(options, trained, paths, look, unread):
            writer.add(found)
            if not options.no_drawings:
                _draw(options, trained, found, writer.pictures)
        if not writer.pictures:
            remedy = "name pictures, or videos that have some"
            raise unread[0] if unread else DataError(Defect(str(paths[0]), "", "", "no pictures in it", remedy))
    if unread and len(paths) == 1:
        say(f"cut short: {unread[0]}", 1)
    people = plural(writer.people, "person").replace("persons", "people")
    print(f"{file}: {people} in {plural(writer.pictures, 'picture')}")
    return 1 if unread else 0


def _look(options: argparse.Namespace, paths: list[Path]) -> "Look":
    """Where to look for people, as the options say."""
    from calbook.inference.boxes import PictureBoxes
    from calbook.inference.detector import PersonDetector
    from calbook.inference.sources import VIDEO_SUFFIXES, from_detector, from_file, whole_picture

    if options.boxes is not None and options.detector_weights is not None:
        remedy = "leave one of the two out"
        raise DataError(Defect("calbook predict", "", "--detector-weights", "there are --boxes, too", remedy))
    if options.detector or options.detector_weights is not None:
        return from_detector(PersonDetector(options.detector_weights))
    if options.boxes is None:
        return whole_picture
    boxes = PictureBoxes(options.boxes)
    videos = any(path.suffix.lower() in VIDEO_SUFFIXES for path in paths)
    if not videos and not any(path.name in boxes for path in paths):
        remedy = "name the pictures by file_name, or by image_id where a file's name is a number"
        raise DataError(Defect(str(options.boxes), "", "", "no person's box is of one of these pictures", remedy))
    return from_file(boxes, lambda defect: print(f"calbook: {defect}", file=sys.stderr))


def _poses(
    options: argparse.Namespace, trained: "Trained", paths: list[Path], look: "Look", unread: list[DataError]
) -> "Iterator[PicturePoses]":
    """Poses picture by picture; those that cannot be read are named, and noted in ``unread``."""
    from tqdm import tqdm

    from calbook.cli.evaluate import find_device
    from calbook.inference import Cutter, stream
    from calbook.inference.sources import picture_jobs

    def leave_out(_: Any, error: DataError) -> None:
        unread.append(error)
        if len(paths) > 1:  # a single one is told of at the end: as cut short, or as the error of the whole
            say(f"left out: {error}", 1)

    codec = trained.codec
    with tqdm(unit="picture", leave=False, disable=not sys.stderr.isatty()) as bar:
        for found in stream(
            trained.model,
            codec,
            picture_jobs(paths, look, options.every, leave_out),
            mirror=None if options.no_flip else trained.skeleton.mirror,
            batch_size=options.batch,
            cutter=Cutter(codec.input_size, codec.convention, shrink=options.shrink),
            device=find_device(options.device),
            keep_pictures=True,
            on_error=leave_out,
        ):
            yield found
            bar.update()


def _draw(options: argparse.Namespace, trained: "Trained", found: "PicturePoses", number: int) -> None:
    """Write the picture with its poses, named by its number in poses.json and its own name."""
    from calbook.inference.drawing import draw_poses

    assert found.picture is not None  # the stream was asked for it
    drawing = draw_poses(found.picture, found.coords, found.scores, trained.skeleton, options.threshold)
    target = options.out / f"{number:06d}_{Path(found.key.name).stem}.jpg"
    partial = target.with_name(f".{target.name}.partial")
    try:
        drawing.save(partial, format="JPEG", quality=92)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
