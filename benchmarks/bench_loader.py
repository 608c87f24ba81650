"""Augmented crops per second and core, and what the loader takes of a training step.

    python benchmarks/bench_loader.py --data ../shared/data [--device cuda] [--rounds 9]

The folder holds real pictures: ``lspet`` and ``coco_mini``, or any COCO-layout folders named by
--sets. Ways to a batch of 32 augmented crops, in turns on one core: the published way (decode
the whole picture, warp each person), ``DecodedCanvases``, ``CropCache``, and what is left to the
core where a GPU samples: reading the cache. Then training steps of a network with
batches from the cache, made ahead by a thread, on all cores. Writes
results/loader-<device>.json.
"""

import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import common
import timing
import torch
from reference_loader import WARP, PlainReader

from calbook import results
from calbook.codecs import build_codec
from calbook.data import coco
from calbook.data.coco import CocoPeople
from calbook.data.crops import CropCache, CropLoader, DecodedCanvases, Source, select
from calbook.geometry import Size
from calbook.losses import build_loss
from calbook.models import build_model

SETS = {"lspet": "images", "coco_mini": "train2017"}
SIZES: tuple[Size, ...] = ((64, 48), (128, 96))
BATCH = 32


def forever(loader: CropLoader) -> Iterator[Any]:
    """Batch after batch, epoch after epoch."""
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


def throughput(people: CocoPeople, size: Size, cache: CropCache, rounds: int) -> dict[str, Any]:
    """Milliseconds of processor time per batch of the three ways, in turns, and ratios to the published one."""
    plain = PlainReader(people, size)
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(0)).split(BATCH)
    indices = cycle([batch.tolist() for batch in order if len(batch) == BATCH])
    sources: dict[str, Source] = {"decoded": DecodedCanvases(people, size), "cache": cache}
    ways: dict[str, Callable[[], object]] = {"plain": lambda: plain.batch(next(indices))}
    for name, source in sources.items():
        batches = forever(CropLoader(source, size, BATCH, prefetch=0))
        ways[name] = lambda batches=batches: next(batches)
    ways["read"] = lambda: cache.canvases(torch.tensor(next(indices)))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            taken = [timing.once(way, "cpu") for _ in range(8 if name in ("cache", "read") else 2)]
            if turn:  # the first warms up
                times[name].append(statistics.median(taken))
    figures: dict[str, Any] = {}
    for name, taken in times.items():
        ratios = [a / b for a, b in zip(times["plain"], taken, strict=True)]
        figures[name] = {
            "crops_per_second": round(1e3 * BATCH / min(taken)),
            "median_crops_per_second": round(1e3 * BATCH / statistics.median(taken)),
            "times_as_fast": round(min(times["plain"]) / min(taken), 2),
            "median_times_as_fast": round(statistics.median(ratios), 2),
            "quartiles": timing.spread(ratios),
        }
    return figures


def training_share(
    people: CocoPeople, cache: CropCache, name: str, size: Size, batch: int, steps: int, device: str
) -> dict[str, Any]:
    """Training steps with batches from the cache: how long they wait, and what the making costs."""
    model = build_model(name, num_joints=people.skeleton.num_joints).to(device).train()
    codec = build_codec("cal", size, (size[0] // 4, size[1] // 4))
    loss, optimizer = build_loss("cal"), torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = forever(CropLoader(cache, size, batch, device=device))
    fixed = next(batches)

    def step(crops: Any) -> None:
        targets = codec.encode(crops.joints, crops.visible)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=device != "cpu"):
            maps = model(crops.images)
        loss(type(maps)(*(part.float() for part in maps if part is not None)), targets).total.backward()
        optimizer.step()
        optimizer.zero_grad()

    def synchronized() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    for _ in range(3):
        step(next(batches))
    waits, loaded, alone = [], [], []
    for _ in range(steps):  # in turns, so that what else runs on the machine hits both
        begin = synchronized()
        crops = next(batches)
        waits.append(time.perf_counter() - begin)
        step(crops)
        loaded.append(synchronized() - begin)
        begin = synchronized()
        step(fixed)
        alone.append(synchronized() - begin)
    made = forever(CropLoader(cache, size, batch, device=device, prefetch=0))
    processor, work = [], []
    for _ in range(min(steps, 20)):
        begin_cpu = time.process_time()
        next(made)
        processor.append(time.process_time() - begin_cpu)
        begin_cpu = time.process_time()
        step(fixed)
        synchronized()
        work.append(time.process_time() - begin_cpu)
    return {
        "step_ms": round(1e3 * statistics.median(loaded), 2),
        "step_with_a_fixed_batch_ms": round(1e3 * statistics.median(alone), 2),
        "wait_ms": round(1e3 * statistics.mean(waits), 4),
        "share_of_waiting": round(sum(waits) / sum(loaded), 5),
        "processor_ms_of_a_batch": round(1e3 * statistics.median(processor), 3),
        "processor_ms_of_a_step": round(1e3 * statistics.median(work), 2),
        "share_of_processor": round(statistics.median(processor) / statistics.median(work), 5),
    }


def table(record: dict[str, Any]) -> str:
    """The section of the README."""
    figures, training = record["figures"]["throughput"], record["figures"]["training"]
    name = {
        "plain": "published way",
        "decoded": "`DecodedCanvases`",
        "cache": "`CropCache`",
        "read": "`CropCache`, reading alone, where a GPU samples",
    }
    lines = [
        "| pictures | crops | way | crops/s on one core | times as fast |",
        "| --- | --- | --- | ---: | ---: |",
    ]
    for data, sizes in figures.items():
        for size, ways in sizes.items():
            for way, row in ways.items():
                fast = f"{row['times_as_fast']:.1f} ({row['median_times_as_fast']:.1f})"
                lines.append(f"| {data} | {size} | {name[way]} | {row['crops_per_second']:,} | {fast} |")
    lines += [
        "",
        "Best of the rounds, and in brackets the median of the ratios within each round. "
        f"A training step of `{training['model']}` at {training['size']} with {training['batch']} crops on "
        f"{training['threads']} threads waits for its batch {100 * training['share_of_waiting']:.2f} % of the time; "
        f"making the batch, beside it, takes {100 * training['share_of_processor']:.2f} % of the processor time of a "
        f"step ({training['processor_ms_of_a_batch']:.1f} of {training['processor_ms_of_a_step']:.0f} ms).",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = common.parser(__doc__, rounds=9)
    parser.add_argument("--data", type=Path, default=results.REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="folders in --data; the first one is trained on")
    parser.add_argument("--steps", type=int, default=60, help="training steps")
    parser.add_argument("--model", default="cal-hrnet-tiny")
    parser.add_argument("--size", default="64x48", help="of the trained crops, height x width")
    parser.add_argument("--batch", type=int, default=32, help="of the training step")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=results.cores(), help="of the training step")
    args = parser.parse_args()
    if not args.data.is_dir():
        raise SystemExit(f"{args.data}: no such folder, nothing measured; name one with --data")
    begin = time.perf_counter()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.sets:
            people = select(coco.read_split(args.data / name, SETS.get(name, "train2017")))
            for size in SIZES:
                cache = CropCache.build(people, folder, size)
                rows = throughput(people, size, cache, args.rounds)
                figures.setdefault(name, {})[f"{size[0]}x{size[1]}"] = rows
                print(name, size, rows)
        height, width = (int(side) for side in args.size.split("x"))
        people = select(coco.read_split(args.data / args.sets[0], SETS.get(args.sets[0], "train2017")))
        cache = CropCache.build(people, folder, (height, width))
        torch.set_num_threads(args.threads)
        share = training_share(people, cache, args.model, (height, width), args.batch, args.steps, args.device)
    training = {"model": args.model, "size": args.size, "batch": args.batch, "threads": args.threads, **share}
    print(training)
    file = args.out / f"loader-{args.device}.json"
    results.write(
        file,
        experiment="loader_speed",
        settings={
            "sets": args.sets,
            "batch": BATCH,
            "rounds": args.rounds,
            "steps": args.steps,
            "augmentation": "published",
            "warp_of_the_published_way": WARP,
            "clock": "processor time of one thread; training step: wall time, median",
            "files": "in memory after the first round",
        },
        figures={"throughput": figures, "training": training},
        seconds=time.perf_counter() - begin,
        command=shlex.join(["python", "benchmarks/bench_loader.py", *sys.argv[1:]]),
        device=None if args.device != "cpu" else "cpu",
    )
    common.written(file)


if __name__ == "__main__":
    timing.settle()
    main()
