"""Predicting a data set: people a second against the plain loop, and memory against the number of people.

    python benchmarks/bench_inference.py [--model hrnet-w32] [--size 128 96] [--people 96] [--rounds 3] [--threads 1]

The plain loop is what a reader of the published code writes first: for each person
open the picture, cut the crop, run the network on it and on its mirror image, decode,
map back. Both do the flip test, both sample without smoothing. The two take turns.
Memory is the largest resident set of a child process that predicts 1,000 people, and of
one that predicts 10,000, with the same small network: once with ``predict_people``, which
holds the annotations and returns all poses, once with ``stream``, whose poses are dropped
as they come, and which here reads the pictures itself. Each is measured with the C library's own rule
for which blocks come from the heap, with the rule of the ``calbook`` command
(``calbook.inference.memory``), and with a library that gives freed blocks back at once:
what it keeps otherwise depends on the order of large and small blocks, and hides what the
program itself holds.

Writes results/inference-cpu.json.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import common
import torch

from calbook import geometry, results
from calbook.codecs import Codec, build_codec
from calbook.data import coco
from calbook.data.pictures import normalize
from calbook.data.synthetic import write_coco
from calbook.geometry import Size
from calbook.inference import Cutter, Job, annotated_boxes, average_maps, mirrored_maps, predict_people, stream
from calbook.inference.memory import keep_heap_flat
from calbook.models import build_model
from calbook.models.folding import fast_inference

PICTURES, PICTURE_SIZE = 48, (480, 640)
CROWDS = (1_000, 10_000)
ALLOCATORS = {
    "kept": "by the C library's own rule",
    "command": "as the `calbook` command runs it",
    "given_back": "freed blocks of a megabyte and more given back at once",
}
# GNU's C library reads this; others pass over it.
GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
WAYS = {"predict_people": "with all annotations and poses", "stream": "which keeps neither"}


@torch.no_grad()
def plain_loop(model: torch.nn.Module, codec: Codec, people: coco.CocoPeople) -> torch.Tensor:
    """One crop at a time, ``(N, K, 2)`` in picture pixels."""
    boxes, mirror, coords = annotated_boxes(people).boxes, people.skeleton.mirror, []
    for index in range(len(people)):
        crop = geometry.box_to_crop(boxes[index : index + 1], codec.input_size)
        matrix = geometry.crop_matrix(crop, codec.input_size, convention=codec.convention)
        image = normalize(geometry.sample_crops(people.picture(index), matrix, codec.input_size))
        maps = average_maps(model(image), mirrored_maps(model(image.flip(-1)), mirror))
        coords.append(geometry.transform(codec.decode(maps).coords, geometry.invert(matrix)))
    return torch.cat(coords)


def drawn(model: torch.nn.Module) -> torch.nn.Module:
    """The network with random weights that give distinct peaks; fresh ones give maps that are almost flat."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, a=1)
    return model


def crowd(people: coco.CocoPeople, count: int) -> coco.CocoPeople:
    """The people again and again, until there are ``count``, each time in pictures of their own."""
    rows, turns = torch.arange(count) % len(people), torch.arange(count) // len(people)
    document = people.pycocotools_dict()
    step = 1 + max(image["id"] for image in document["images"])
    copies = range(int(turns[-1]) + 1)
    document["images"] = [image | {"id": image["id"] + turn * step} for turn in copies for image in document["images"]]
    arrays = {name: getattr(people, name)[rows] for name in ("boxes", "joints", "visible", "areas", "picture_sizes")}
    return dataclasses.replace(
        people,
        **arrays,
        ids=torch.arange(1, count + 1),
        image_ids=people.image_ids[rows] + turns * step,
        file_names=tuple(people.file_names[row] for row in rows.tolist()),
        _document=document,
    )


def clocks(run: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def measure_speed(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """People a second of both ways, and the largest difference of their answers."""
    size: Size = (options.size[0], options.size[1])
    codec = build_codec("heatmap", size, (size[0] // 4, size[1] // 4))
    model = drawn(build_model(options.model, input_size=size).eval())
    people = crowd(coco.read_split(folder, "val2017"), options.people)
    cutter = Cutter(size, antialias=False)
    network = fast_inference(model)

    def package() -> torch.Tensor:
        return predict_people(network, codec, people, cutter=cutter).coords

    difference = (package() - plain_loop(model, codec, people)).abs().max().item()
    rounds = []
    for turn in range(options.rounds):
        rounds.append((clocks(lambda: plain_loop(model, codec, people)), clocks(package)))
        print(f"round {turn + 1} of {options.rounds}", file=sys.stderr)
    figures: dict[str, Any] = {"largest_difference_px": difference}
    for which, name in enumerate(("wall", "processor")):
        loop, ours = (statistics.median(r[way][which] for r in rounds) for way in (0, 1))
        ratios = [r[0][which] / r[1][which] for r in rounds]
        figures |= {
            f"{name}_loop_people_per_second": round(options.people / loop, 2),
            f"{name}_package_people_per_second": round(options.people / ours, 2),
            f"{name}_ratio": round(statistics.median(ratios), 3),
            f"{name}_ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        }
    return figures


def child(folder: Path, allocator: str, way: str, count: int) -> None:
    """Predict ``count`` people in one of ``WAYS`` and print the largest resident set in MB."""
    torch.set_num_threads(1)
    if allocator == "command":
        keep_heap_flat()
    model, codec = build_model("cal-hrnet-tiny"), build_codec("cal", (64, 48), (16, 12))
    people = coco.read_split(folder, "val2017")
    if way == "predict_people":
        predict_people(model, codec, crowd(people, count))
    else:
        boxes = annotated_boxes(people).boxes
        rows = (index % len(people) for index in range(count))
        jobs = (Job(row, partial(people.picture, row), boxes[row : row + 1]) for row in rows)
        deque(stream(model, codec, jobs, mirror=people.skeleton.mirror, workers=0), maxlen=0)
    print(json.dumps(peak_megabytes()))


def peak_megabytes() -> float:
    """Largest resident set of this program so far.

    ``ru_maxrss`` would also count what the parent held when it started this process.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure_memory(folder: Path, repeats: int) -> dict[str, Any]:
    """Largest resident sets, in MB, by allocator and way; the median of a few processes each."""
    figures: dict[str, Any] = {}
    for allocator in ALLOCATORS:
        environment = os.environ | (GIVEN_BACK if allocator == "given_back" else {})
        for way in WAYS:
            peaks = {}
            for count in CROWDS:
                found = []
                for _ in range(repeats):
                    command = [sys.executable, __file__, "--child", allocator, way, str(count), "--folder", str(folder)]
                    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                    found.append(json.loads(answer.stdout))
                peaks[count] = statistics.median(found)
                name = f"{allocator}_{way}_peak_mb_{count}_people"
                figures |= {name: round(peaks[count], 1), f"{name}_range": [round(min(found), 1), round(max(found), 1)]}
            figures[f"{allocator}_{way}_growth"] = round(peaks[CROWDS[1]] / peaks[CROWDS[0]], 4)
    return figures


def table(record: dict[str, Any]) -> str:
    """The section of the README."""
    settings, speed, memory = record["settings"], record["figures"]["speed"], record["figures"]["memory"]
    size = "x".join(map(str, settings["size"]))
    lines = [
        f"`{settings['model']}` at {size}, flip test, {settings['people']} people, {settings['threads']} thread(s), "
        f"{settings['rounds']} rounds; in brackets the lowest and the highest ratio.",
        "",
        "| clock | plain loop (people/s) | `predict_people` (people/s) | times as fast |",
        "| --- | ---: | ---: | ---: |",
    ]
    for clock in ("wall", "processor"):
        loop, package = (speed[f"{clock}_{way}_people_per_second"] for way in ("loop", "package"))
        ratio = common.times(speed[f"{clock}_ratio"], speed[f"{clock}_ratio_range"])
        lines.append(f"| {clock} | {loop:.1f} | {package:.1f} | {ratio} |")
    lines += ["", "| peak memory of a process | " + " | ".join(f"{crowd:,} people (MB)" for crowd in CROWDS) + " |"]
    lines.append("| --- |" + " ---: |" * len(CROWDS))
    for allocator, what in ALLOCATORS.items():
        for way, remark in WAYS.items():
            peaks = (f"{memory[f'{allocator}_{way}_peak_mb_{crowd}_people']:.0f}" for crowd in CROWDS)
            lines.append(f"| `{way}`, {remark}; {what} | " + " | ".join(peaks) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = common.parser(__doc__, rounds=3)
    parser.add_argument("--model", default="hrnet-w32")
    parser.add_argument("--size", type=int, nargs=2, default=[128, 96], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--people", type=int, default=96)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="of each way and crowd, for the median of their peaks")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.folder, *options.child[:2], int(options.child[2]))
        return
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_coco(folder, "val2017", PICTURES, PICTURE_SIZE, seed=0)
        figures = {"speed": measure_speed(options, folder), "memory": measure_memory(folder, options.processes)}
    print(json.dumps(figures, indent=1))
    settings = {name: getattr(options, name) for name in ("model", "size", "people", "rounds", "processes", "threads")}
    file = options.out / "inference-cpu.json"
    results.write(
        file,
        experiment="inference_speed",
        settings=settings | {"pictures": PICTURES, "picture_size": list(PICTURE_SIZE), "flip_test": True},
        figures=figures,
        seconds=time.perf_counter() - begin,
        command=" ".join(["python benchmarks/bench_inference.py", *sys.argv[1:]]),
        device="cpu",
    )
    common.written(file)


if __name__ == "__main__":
    main()
