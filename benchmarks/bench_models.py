"""How much faster are our networks than the same networks run the published way?

    python benchmarks/bench_models.py [--threads 2] [--rounds 9] [--model hrnet-w32] [--batch 16]

The published way: float32, contiguous layout, batch norms as they are. Ours:
what `build_model` and `fast_inference` give without further options, and the
same in bfloat16 (autocast for training). Each variant is a process of its own,
and the processes take turns, so that a busy machine slows all of them alike.
Wall time and the process's CPU time are both recorded; ratios are of medians
within one run. Writes results/bench_models.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import common

from calbook import results, threads

TARGETS = {  # of the project: how many times as fast as the published way
    "train float32": 1.35,
    "train bfloat16": 1.8,
    "evaluate float32": 1.5,
    "evaluate bfloat16": 2.2,
}
VARIANTS = ["train published", *list(TARGETS)[:2], "evaluate published", *list(TARGETS)[2:]]


def make_step(variant: str, name: str, batch: int, size: tuple[int, int]) -> Callable[[], None]:
    """One timed step: forward, joint MSE and backward, or the forward pass alone."""
    import torch

    from calbook.models import build_model, fast_inference, hrnet

    task, precision = variant.split()
    torch.manual_seed(0)
    model = build_model(name, input_size=size)
    if precision == "published":
        hrnet.accept_images = lambda images, *_: images  # leaves the pictures in the contiguous layout
    images = torch.randn(batch, 3, *size)
    targets = torch.rand(batch, 17, size[0] // 4, size[1] // 4)

    def train() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            maps = model(images)
        (0.5 * (maps.heatmaps.float() - targets) ** 2).mean().backward()
        model.zero_grad(set_to_none=True)

    if task == "train":
        return train
    model.eval()
    network = model if precision == "published" else fast_inference(model, precision)

    def evaluate() -> None:
        with torch.inference_mode():
            network(images)

    return evaluate


def work(variant: str, name: str, batch: int, size: tuple[int, int]) -> None:
    """Warm up, then answer every line on standard input with the times of one step."""
    step = make_step(variant, name, batch, size)
    for _ in range(2):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)


def measure(options: argparse.Namespace) -> dict[str, list[list[float]]]:
    """[wall, cpu] seconds of every round of every variant; the variants take turns."""
    environment = (
        os.environ
        | {
            "OMP_NUM_THREADS": str(options.threads),
            "MKL_NUM_THREADS": str(options.threads),
        }
        | threads.WAITING
    )
    workers = {}
    for variant in VARIANTS:
        command = [sys.executable, __file__, "--worker", variant, "--model", options.model]
        command += ["--batch", str(options.batch), "--size", *map(str, options.size)]
        workers[variant] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
    times: dict[str, list[list[float]]] = {variant: [] for variant in VARIANTS}
    try:
        for variant, worker in workers.items():
            if worker.stdout.readline() != "ready\n":
                raise RuntimeError(f"the worker for {variant!r} failed")
        for done in range(options.rounds):
            for variant, worker in workers.items():
                worker.stdin.write("go\n")
                worker.stdin.flush()
                times[variant].append(json.loads(worker.stdout.readline()))
            print(f"round {done + 1} of {options.rounds}", file=sys.stderr)
    finally:
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()
    return times


def summarize(times: dict[str, list[list[float]]], batch: int) -> dict[str, dict[str, float]]:
    """Medians, spread and ratios to the published way of the same task."""
    figures = {}
    for variant, rounds in times.items():
        reference = times[f"{variant.split()[0]} published"]
        figure: dict[str, float] = {}
        for k, clock in enumerate(("wall", "cpu")):
            own = [seconds[k] for seconds in rounds]
            low, middle, high = statistics.quantiles(own, n=4)
            paired = [r[k] / o[k] for r, o in zip(reference, rounds, strict=True)]
            figure |= {
                f"{clock}_seconds": round(middle, 4),
                f"{clock}_quartiles": [round(low, 4), round(high, 4)],
                f"{clock}_speedup": round(statistics.median(seconds[k] for seconds in reference) / middle, 3),
                f"{clock}_speedup_quartiles": [round(q, 3) for q in statistics.quantiles(paired, n=4)[::2]],
            }
        figure["pictures_per_second"] = round(batch / figure["wall_seconds"], 1)
        if variant in TARGETS:
            figure["target"] = TARGETS[variant]
        figures[variant] = figure
    return figures


def table(record: dict[str, Any]) -> str:
    """The section of the README."""
    settings, figures = record["settings"], record["figures"]
    size = "x".join(map(str, settings["size"]))
    rows = [
        f"`{settings['model']}`, {size}, batch {settings['batch']}, {settings['threads']} thread(s), medians of "
        f"{settings['rounds']} interleaved rounds; quartiles of the paired ratios in brackets.",
        "",
        "| | pictures/s | times as fast (wall) | times as fast (CPU time) | goal |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for variant, f in figures.items():
        ratios = [
            f"{f[f'{clock}_speedup']:.2f} ({f[f'{clock}_speedup_quartiles'][0]:.2f}-"
            f"{f[f'{clock}_speedup_quartiles'][1]:.2f})"
            for clock in ("wall", "cpu")
        ]
        goal = f"{f['target']}" if "target" in f else ""
        rows.append(f"| {variant} | {f['pictures_per_second']} | {ratios[0]} | {ratios[1]} | {goal} |")
    return "\n".join(rows)


def main() -> None:
    parser = common.parser(__doc__, rounds=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="hrnet-w32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, nargs=2, default=[128, 96], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.model, options.batch, tuple(options.size))
        return

    start = time.perf_counter()
    figures = summarize(measure(options), options.batch)
    file = options.out / "bench_models.json"
    results.write(
        file,
        experiment="bench_models",
        settings={key: getattr(options, key) for key in ("model", "batch", "size", "threads", "rounds")},
        figures=figures,
        seconds=time.perf_counter() - start,
        command=" ".join(["python benchmarks/bench_models.py", *sys.argv[1:]]),
    )
    print(table(results.read(file)))
    common.written(file)


if __name__ == "__main__":
    main()
