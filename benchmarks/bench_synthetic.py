"""Synthetic pictures rendered side by side, against one after another.

    python benchmarks/bench_synthetic.py [--device cuda] [--rounds 5] [--count 40]

Both ways give the same pictures, to the bit. The loop asks the package itself for one picture at a
time, because nobody published a renderer of such people that could be the reference: the ratio
says what rendering in batches gains, and the milliseconds what a picture costs. Writes
results/synthetic-<device>.json.
"""

import sys
import time
from typing import Any

import common
import timing
import torch

from calbook import results
from calbook.data.synthetic import render

SIZES = ((64, 48), (128, 96), (256, 192))


def measure(count: int, rounds: int, device: str) -> dict[str, Any]:
    """Times of both ways at each size, and what a picture costs."""
    figures: dict[str, Any] = {}
    for size in SIZES:

        def loop(size: tuple[int, int] = size) -> list[torch.Tensor]:
            return [render(0, 1, size, start=index).pictures for index in range(count)]

        def package(size: tuple[int, int] = size) -> torch.Tensor:
            return render(0, count, size, device).pictures

        if device == "cpu" and not torch.equal(torch.cat(loop()), package()):
            raise SystemExit(f"the two ways differ at {size[0]}x{size[1]}")
        row = timing.compare(loop, package, rounds, device, repeats=1)
        row |= {
            "ms_per_picture": round(row["package_ms"] / count, 3),
            "pictures_per_second": round(1e3 * count / row["package_ms"]),
        }
        figures[f"{size[0]}x{size[1]}"] = row
        print(size, row, flush=True)
    return figures


def table(record: dict[str, Any]) -> str:
    """The section of the README."""
    lines = ["| size | pictures/s on one core | ms per picture | times as fast |", "| --- | ---: | ---: | ---: |"]
    for size, row in record["figures"].items():
        ratio = common.times(row["median_ratio"], row["quartiles"])
        lines.append(f"| {size} | {row['pictures_per_second']} | {row['ms_per_picture']:.2f} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    parser = common.parser(__doc__, rounds=5)
    parser.add_argument("--count", type=int, default=40, help="pictures of a batch (default: %(default)s)")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    begin = time.perf_counter()
    figures = measure(options.count, options.rounds, options.device)
    file = options.out / f"synthetic-{options.device}.json"
    results.write(
        file,
        experiment="synthetic_speed",
        settings={
            "count": options.count,
            "rounds": options.rounds,
            "threads": 1,
            "clock": timing.clock(options.device),
        },
        figures=figures,
        seconds=time.perf_counter() - begin,
        command=" ".join(["python benchmarks/bench_synthetic.py", *sys.argv[1:]]),
        device=None if options.device != "cpu" else "cpu",
    )
    common.written(file)


if __name__ == "__main__":
    timing.settle()
    main()
