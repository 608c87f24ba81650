"""Loss and gradient for 64 persons x 17 joints, against the published loops over joints.

    python benchmarks/bench_losses.py [--device cuda] [--rounds 9]

Writes results/losses-<device>.json.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import common
import reference_losses as loops
import timing
import torch
from torch import Tensor

from calbook import results
from calbook.codecs import build_codec
from calbook.losses import build_loss
from calbook.poses import PoseMaps, Targets

PERSONS, JOINTS, VISIBLE = 64, 17, 0.8
SIZES = {"128x96": ((128, 96), (32, 24)), "256x192": ((256, 192), (64, 48))}  # input, map


def mini_batch(
    input_size: tuple[int, int], size: tuple[int, int], persons: int, joints: int
) -> tuple[Tensor, Tensor, Targets]:
    """Predicted heatmaps and offsets that ask for gradients, and targets of CAL."""
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(persons, joints, 2, generator=generator) * torch.tensor([size[1] - 1.0, size[0] - 1.0])
    visible = (torch.rand(persons, joints, generator=generator) < VISIBLE).float()
    codec = build_codec("cal", input_size, size)
    targets = codec.encode(codec.to_input(places), visible)
    heatmaps = torch.randn(persons, joints, *size, generator=generator).requires_grad_()
    offsets = torch.randn(persons, joints, 2, *size, generator=generator).requires_grad_()
    return heatmaps, offsets, targets


def ways(heatmaps: Tensor, offsets: Tensor, targets: Targets) -> dict[str, list[Callable[[], Tensor]]]:
    """For each loss, the loop and the package: loss and gradient."""

    def gradient(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            heatmaps.grad = offsets.grad = None
            value = loss()
            value.backward()
            return value

        return run

    plain, cal = (build_loss(name, normalization="published") for name in ("heatmap", "cal"))
    maps, weights, masks = PoseMaps(heatmaps, offsets), targets.weights, targets.masks

    def published_cal() -> Tensor:
        return loops.heatmap(heatmaps, targets.heatmaps, weights) + loops.offsets(
            offsets, targets.offsets, masks, weights
        )

    pairs = {
        "heatmap": (lambda: loops.heatmap(heatmaps, targets.heatmaps, weights), lambda: plain(maps, targets).total),
        "cal": (published_cal, lambda: cal(maps, targets).total),
    }
    return {name: [gradient(loss) for loss in pair] for name, pair in pairs.items()}


def table(record: dict[str, Any]) -> str:
    """The section of the README."""
    lines = ["| loss | input | loop (ms) | package (ms) | times as fast |", "| --- | --- | ---: | ---: | ---: |"]
    for size, rows in record["figures"].items():
        for name, row in rows.items():
            ratio = common.times(row["median_ratio"], row["quartiles"])
            lines.append(f"| `{name}` | {size} | {row['loop_ms']:.2f} | {row['package_ms']:.2f} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    parser = common.parser(__doc__, rounds=9)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    begin = time.perf_counter()
    figures: dict[str, Any] = {}
    for label, (input_size, size) in SIZES.items():
        heatmaps, offsets, targets = mini_batch(input_size, size, PERSONS, JOINTS)
        loops_here = ways(heatmaps, offsets, targets)
        moved = [t.detach().to(options.device).requires_grad_() for t in (heatmaps, offsets)]
        there = ways(*moved, Targets(*(t.to(options.device) for t in targets)))
        figures[label] = {
            name: timing.compare(loop, there[name][1], options.rounds, options.device)
            for name, (loop, _) in loops_here.items()
        }
        print(label, figures[label], flush=True)
    file = options.out / f"losses-{options.device}.json"
    results.write(
        file,
        experiment="loss_speed",
        settings={
            "persons": PERSONS,
            "joints": JOINTS,
            "visible": VISIBLE,
            "rounds": options.rounds,
            "threads": 1,
            "clock": timing.clock(options.device),
            "timed": "loss and its gradient",
        },
        figures=figures,
        seconds=time.perf_counter() - begin,
        command=" ".join(["python benchmarks/bench_losses.py", *sys.argv[1:]]),
        device=None if options.device != "cpu" else "cpu",
    )
    common.written(file)


if __name__ == "__main__":
    timing.settle()
    main()
