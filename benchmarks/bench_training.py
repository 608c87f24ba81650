"""Steps of full training per second, with each option, as ratios to training without it.

    python benchmarks/bench_training.py [--method cal-tiny] [--size 64x48] [--batch 32] [--rounds 7]
    python benchmarks/bench_training.py --method cal-w32 --size 128x96 --batch 128 --device cuda

Each variant is a network of its own that learns from the same mini-batch, held in
memory; in a round each takes some steps in its turn, so that a busy machine slows all
alike. Times are processor time on one core, or on a GPU wall time until it is done. "plain
loop" is the same step without Lightning Fabric. "checkpoint" is what one costs, on
a disk, in steps. Writes results/bench_training-<device>.json.
"""

import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import common
import timing
import torch

from calbook import results
from calbook.cli.common import size
from calbook.data.synthetic import render
from calbook.data.synthetic.stream import Crops
from calbook.method import Method, build_method
from calbook.runs import RunFolder
from calbook.training import TrainingConfig, build_fabric, learn, train_epoch
from calbook.training.keeper import Keeper
from calbook.training.learner import Learner
from calbook.training.network import build_network
from calbook.training.record import Recorder

BASE = TrainingConfig(epochs=1, mask_epochs=0, milestones=())
MASKS = {"epochs": 0, "mask_epochs": 1}
VARIANTS: dict[str, dict[str, object]] = {
    "fit": {},
    "channels_last": {"channels_last": True},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "16-mixed": {"precision": "16-mixed"},
    "bf16-mixed, channels_last": {"precision": "bf16-mixed", "channels_last": True},
    "compile": {"compile": True},
    "bf16-mixed, channels_last, compile": {"precision": "bf16-mixed", "channels_last": True, "compile": True},
    "average": {"average": 0.999},
    "clip": {"clip": 1.0},
    "masks, 1 component": {**MASKS, "components": 1},
    "masks, 2 components": {**MASKS, "components": 2},
    "masks, 2 components, continued": {**MASKS, "components": 2, "continue_mixture": True},
}


class OneBatch:
    """A loader that gives the same mini-batch, already on the device, a number of times."""

    def __init__(self, crops: Crops, steps: int) -> None:
        self.crops, self.batches_per_epoch = crops, steps

    def epoch(self, epoch: int, start: int = 0) -> list[Crops]:
        """All of it."""
        return [self.crops] * self.batches_per_epoch


def make(method: Method, config: TrainingConfig, loader: OneBatch, device: str) -> tuple[Learner, Callable[[], None]]:
    """A learner, and a function that takes the loader's number of steps."""
    fabric = build_fabric(precision=config.precision, accelerator=device)
    network, _ = build_network(method, 17, config, warm=False)
    learner = Learner(network, method, config, fabric)

    def steps() -> None:
        learner.batch = 0
        train_epoch(learner, loader, config, fabric)

    return learner, steps


def make_plain(method: Method, loader: OneBatch, device: str) -> Callable[[], None]:
    """The same steps, without Fabric."""
    network, _ = build_network(method, 17, BASE, warm=False)
    network.to(device).train()
    codec, loss = method.build_codec(), method.build_loss()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def steps() -> None:
        for batch in loader.epoch(0):
            learn(network, codec, loss, optimizer, batch)

    return steps


def checkpoint_seconds(learner: Learner, config: TrainingConfig, rounds: int) -> float:
    """Wall time of a checkpoint, on the disk when it ends."""
    times = []
    with tempfile.TemporaryDirectory(dir=common.HERE) as folder:
        run = RunFolder(Path(folder))
        recorder = Recorder(run, config, learner, 1, 0, progress=False)
        keeper = Keeper(run, config, learner, recorder)
        for _ in range(rounds):
            begin = time.perf_counter()
            keeper.save()
            times.append(time.perf_counter() - begin)
        recorder.close()
    return statistics.median(times)


def table(record: dict[str, Any]) -> str:
    """The section of the README."""
    settings, checkpoint = record["settings"], record["figures"]["checkpoint"]
    lines = [
        f"`{settings['method']}` at {settings['size'][0]}x{settings['size'][1]}, {settings['batch']} crops, "
        f"{settings['rounds']} rounds; a checkpoint takes as long as {checkpoint['steps']:.1f} steps.",
        "",
        "| variant | ms per step | crops/s | times as fast as `fit` |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, row in record["figures"].items():
        if "step_ms" in row:
            ratio = common.times(row["times_as_fast"], row["quartiles"])
            lines.append(f"| {name} | {row['step_ms']:.1f} | {row['crops_per_second']:.0f} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    parser = common.parser(__doc__, rounds=7)
    parser.add_argument("--method", default="cal-tiny", help="default: %(default)s")
    parser.add_argument("--size", type=size, default=(64, 48), help="default: 64x48")
    parser.add_argument("--batch", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=4, help="of each variant in a round (default: %(default)s)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--without", action="append", default=[], choices=("compile",), help="leave these variants out")
    options = parser.parse_args()
    timing.settle()
    start = time.perf_counter()

    method = build_method(options.method, options.size)
    people = render(0, options.batch, options.size, options.device)
    loader = OneBatch(Crops(people.pictures, people.joints[:, 0], people.visible[:, 0]), options.steps)
    base = replace(BASE, batch_size=options.batch)
    chosen = {
        name: change
        for name, change in VARIANTS.items()
        if not (options.device == "cpu" and change.get("precision") == "16-mixed")
        and not ("compile" in options.without and change.get("compile"))
    }
    makers = {name: make(method, replace(base, **change), loader, options.device) for name, change in chosen.items()}
    run = {"plain loop": make_plain(method, loader, options.device)} | {
        name: steps for name, (_, steps) in makers.items()
    }

    times: dict[str, list[float]] = {name: [] for name in run}
    for round_ in range(options.rounds + 1):  # the first warms up, and compiles
        for name, steps in run.items():
            milliseconds = timing.once(steps, options.device) / options.steps
            if round_:
                times[name].append(milliseconds)
        print(f"round {round_} of {options.rounds}", file=sys.stderr)

    figures: dict[str, dict[str, float | list[float]]] = {}
    for name, own in times.items():
        ratios = sorted(a / b for a, b in zip(times["fit"], own, strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4)
        figures[name] = {
            "step_ms": round(statistics.median(own), 2),
            "crops_per_second": round(1e3 * options.batch / statistics.median(own), 1),
            "times_as_fast": round(middle, 3),
            "quartiles": [round(low, 3), round(high, 3)],
        }
    seconds = checkpoint_seconds(makers["fit"][0], base, options.rounds)
    figures["checkpoint"] = {
        "ms": round(1e3 * seconds, 1),
        "steps": round(1e3 * seconds / figures["fit"]["step_ms"], 2),
    }

    print(f"{'':36}{'ms/step':>9}{'crops/s':>9}  times as fast as fit (quartiles)")
    for name, f in figures.items():
        if "step_ms" in f:
            print(
                f"{name:36}{f['step_ms']:9.2f}{f['crops_per_second']:9.1f}  {f['times_as_fast']:.3f} {f['quartiles']}"
            )
    print(f"a checkpoint costs {figures['checkpoint']['ms']} ms, {figures['checkpoint']['steps']} steps")
    file = options.out / f"bench_training-{options.device}.json"
    results.write(
        file,
        experiment="bench_training",
        settings={key: getattr(options, key) for key in ("method", "size", "batch", "steps", "rounds", "device")},
        figures=figures,
        seconds=time.perf_counter() - start,
        command=shlex.join(["python", "benchmarks/bench_training.py", *sys.argv[1:]]),
    )
    common.written(file)


if __name__ == "__main__":
    main()
