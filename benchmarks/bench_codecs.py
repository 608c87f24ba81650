"""Encoding and decoding 64 persons x 17 joints, against loops over persons and joints.

    python benchmarks/bench_codecs.py [--device cuda] [--rounds 9]

Writes results/codecs-<device>.json.
"""

import sys
import time
from typing import Any

import common
import reference_loops as loops
import timing
import torch

from calbook import results
from calbook.codecs import build_codec
from calbook.poses import PoseMaps

PERSONS, JOINTS, NOISE = 64, 17, 0.02
SIZES = {"128x96": ((128, 96), (32, 24), 3), "256x192": ((256, 192), (64, 48), 11)}  # input, map, DARK's taps


def measure(label: str, rounds: int, device: str) -> dict[str, dict[str, float]]:
    """All comparisons at one size."""
    input_size, size, taps = SIZES[label]
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(PERSONS, JOINTS, 2, generator=generator) * torch.tensor([size[1] - 1.0, size[0] - 1.0])
    visible = torch.ones(PERSONS, JOINTS)
    sigma = size[0] // 32
    cal, heatmap = build_codec("cal", input_size, size), build_codec("heatmap", input_size, size, convention="biased")
    dark, shift = build_codec("dark", input_size, size, blur=taps), build_codec("heatmap", input_size, size)
    joints, biased = cal.to_input(points), 4 * points
    clean = dark.encode(joints, visible).heatmaps
    maps = clean + NOISE * torch.randn(clean.shape, generator=generator)
    on = {
        name: t.to(device) for name, t in (("joints", joints), ("biased", biased), ("visible", visible), ("maps", maps))
    }
    raw = {"points": points.numpy(), "biased": biased.numpy(), "visible": visible.numpy(), "maps": maps.numpy()}
    pairs = {
        "encode_cal": (
            lambda: loops.encode_cal(raw["points"], raw["visible"], size, sigma, 4.0, scale=1.5),
            lambda: cal.encode(on["joints"], on["visible"]),
        ),
        "encode_heatmap": (
            lambda: loops.encode_heatmap(raw["biased"], raw["visible"], input_size, size, sigma),
            lambda: heatmap.encode(on["biased"], on["visible"]),
        ),
        "decode_dark": (lambda: loops.decode_dark(raw["maps"], taps), lambda: dark.decode(PoseMaps(on["maps"]))),
        "decode_shift": (lambda: loops.decode_shift(raw["maps"]), lambda: shift.decode(PoseMaps(on["maps"]))),
    }
    return {name: timing.compare(*pair, rounds, device) for name, pair in pairs.items()}


def table(record: dict[str, Any]) -> str:
    """The section of the README."""
    lines = [
        "| input | | loop (ms) | package (ms) | best times | within a round |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for size, rows in record["figures"].items():
        for name, row in rows.items():
            numbers = f"{row['loop_ms']:.2f} | {row['package_ms']:.2f} | {row['ratio']:.1f}"
            ratio = common.times(row["median_ratio"], row.get("quartiles"))
            lines.append(f"| {size} | {name} | {numbers} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    parser = common.parser(__doc__, rounds=9)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    begin = time.perf_counter()
    figures = {label: measure(label, args.rounds, args.device) for label in SIZES}
    settings = {
        "persons": PERSONS,
        "joints": JOINTS,
        "noise": NOISE,
        "rounds": args.rounds,
        "threads": 1,
        "clock": timing.clock(args.device),
        "smoother_of_the_loop": loops.SMOOTHER,
        "allocator": "glibc, freed memory kept",
        "encode_cal": "loop: heatmap, offsets, disk and Gaussian mask, as published; package: heatmap, offsets, disk",
    }
    file = args.out / f"codecs-{args.device}.json"
    results.write(
        file,
        experiment="codec_speed",
        settings=settings,
        figures=figures,
        seconds=time.perf_counter() - begin,
        command=" ".join(["python benchmarks/bench_codecs.py", *sys.argv[1:]]),
        device=None if args.device != "cpu" else "cpu",
    )
    for label, rows in figures.items():
        for name, row in rows.items():
            times = f"loop {row['loop_ms']:8.2f} ms  package {row['package_ms']:7.3f} ms"
            print(f"{label:8} {name:15} {times}  x{row['ratio']:.1f}")
    common.written(file)


if __name__ == "__main__":
    timing.settle()
    main()
