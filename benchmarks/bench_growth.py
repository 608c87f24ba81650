"""How cost grows with the batch, the joints, the map, the components and the data.

    python benchmarks/bench_growth.py [--rounds 5]

Encoding (CAL), decoding (DARK), masks, loss and gradient (CAL), and the mixture alone: one
quantity changes at a time, the others stay at 32 persons, 17 joints, maps of 32x24, one
component. The published loops run beside the package (for the mixture alone: scikit-learn), so
that each point is a ratio taken in one run. ``exponent`` is the slope of the package's best time
over the upper half of the values, both as logarithms: 1 where twice as much costs twice the
time. Writes results/growth-cpu.json.
"""

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import bench_losses
import common
import reference_loops as loops
import timing
import torch

from calbook import gmm, results
from calbook.codecs import build_codec
from calbook.poses import PoseMaps

BASE = {"batch": 32, "joints": 17, "height": 32, "components": 1}  # a map of height 32 has 32x24 pixels
VALUES = {
    "batch": (2, 8, 32, 128),
    "joints": (4, 17, 68, 133),
    "height": (16, 32, 64, 96),
    "components": (1, 2, 3, 4),
    "data": (30, 300, 3_000, 30_000),
}
AXES = {
    "encode": ("batch", "joints", "height"),
    "decode": ("batch", "joints", "height"),
    "masks": ("batch", "joints", "height", "components"),
    "loss": ("batch", "joints", "height"),
    "fit": ("components", "data"),
}
TAPS = 11
Pair = tuple[Callable[[], object], Callable[[], object]]


def people(batch: int, joints: int, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints in heatmap pixels ``(B, K, 2)`` and visibilities ``(B, K)``, all visible."""
    generator = torch.Generator().manual_seed(0)
    last = torch.tensor([size[1] - 1.0, size[0] - 1.0])
    return torch.rand(batch, joints, 2, generator=generator) * last, torch.ones(batch, joints)


def encode(batch: int, joints: int, height: int, components: int) -> Pair:
    """Targets of CAL."""
    size = (height, height * 3 // 4)
    codec = build_codec("cal", (4 * size[0], 4 * size[1]), size)
    points, visible = people(batch, joints, size)
    places, raw = codec.to_input(points), (points.numpy(), visible.numpy())
    return (
        lambda: loops.encode_cal(*raw, size, sigma=height / 32, radius=4.0),
        lambda: codec.encode(places, visible),
    )


def decode(batch: int, joints: int, height: int, components: int) -> Pair:
    """DARK on noisy maps."""
    size = (height, height * 3 // 4)
    codec = build_codec("dark", (4 * size[0], 4 * size[1]), size, blur=TAPS)
    points, visible = people(batch, joints, size)
    clean = codec.encode(codec.to_input(points), visible).heatmaps
    maps = clean + 0.02 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    return partial(loops.decode_dark, maps.numpy(), TAPS), lambda: codec.decode(PoseMaps(maps))


def masks(batch: int, joints: int, height: int, components: int) -> Pair:
    """From predicted maps to mixed-Gaussian masks."""
    size = (height, height * 3 // 4)
    codec = build_codec("cal", (4 * size[0], 4 * size[1]), size)
    points, visible = people(batch, joints, size)
    errors = 2 * torch.randn(points.shape, generator=torch.Generator().manual_seed(1))
    last = torch.tensor([size[1] - 1.0, size[0] - 1.0])
    target = codec.encode(codec.to_input(points), visible).heatmaps
    predicted = codec.encode(codec.to_input((points + errors).clamp(min=0).minimum(last)), visible).heatmaps

    def package() -> torch.Tensor:
        found, weights = gmm.displacements(predicted, points, visible)
        mixture = gmm.fit(found, components, weights=weights)
        return gmm.mixed_gaussian_masks(mixture, points, size, visible=visible)

    return partial(loops.masks, predicted.numpy(), target.numpy(), visible.numpy(), components), package


def loss(batch: int, joints: int, height: int, components: int) -> Pair:
    """CAL's loss and its gradient."""
    size = (height, height * 3 // 4)
    maps = bench_losses.mini_batch((4 * size[0], 4 * size[1]), size, batch, joints)
    loop, package = bench_losses.ways(*maps)["cal"]
    return loop, package


def fit(data: int = 1_000, components: int = 2, **_: int) -> Pair:
    """A mixture fitted to displacements, against scikit-learn's."""
    from sklearn.mixture import GaussianMixture

    generator = torch.Generator().manual_seed(0)
    wide = torch.rand(data, 1, generator=generator) < 0.2
    errors = torch.randn(data, 2, generator=generator) * torch.where(wide, 5.0, 1.0)
    reference = GaussianMixture(components, random_state=0)
    return partial(reference.fit, errors.double().numpy()), lambda: gmm.fit(errors, components)


MAKERS: dict[str, Callable[..., Pair]] = {
    "encode": encode,
    "decode": decode,
    "masks": masks,
    "loss": loss,
    "fit": fit,
}


def exponent(values: tuple[int, ...], milliseconds: list[float], axis: str) -> float:
    """Slope of the logarithm of the time over the upper half of the values; a map by its pixels."""
    first = len(values) // 2 - 1
    power = 2 if axis == "height" else 1
    grown = power * math.log(values[-1] / values[first])
    return round(math.log(milliseconds[-1] / milliseconds[first]) / grown, 2)


def measure(rounds: int) -> dict[str, Any]:
    """All operations along all of their axes."""
    figures: dict[str, Any] = {}
    for operation, axes in AXES.items():
        for axis in axes:
            base = {} if operation == "fit" else BASE
            points = {
                str(value): timing.compare(*MAKERS[operation](**base | {axis: value}), rounds, "cpu", repeats=3)
                for value in VALUES[axis]
            }
            slope = exponent(VALUES[axis], [point["package_ms"] for point in points.values()], axis)
            figures.setdefault(operation, {})[axis] = {"points": points, "exponent": slope}
            print(operation, axis, slope, {v: p["median_ratio"] for v, p in points.items()}, flush=True)
    return figures


def table(record: dict[str, Any]) -> str:
    """The section of the README."""
    lines = [
        "| operation | quantity | from, to | package (ms) | loop (ms) | times as fast | exponent |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for operation, axes in record["figures"].items():
        for axis, found in axes.items():
            (first, a), *_, (last, b) = found["points"].items()
            ends = [f"{a[way]:.2f}, {b[way]:.2f}" for way in ("package_ms", "loop_ms")]
            ratios = f"{a['median_ratio']:.1f}, {b['median_ratio']:.1f}"
            lines.append(
                f"| {operation} | {axis} | {first}, {last} | {ends[0]} | {ends[1]} | {ratios} | {found['exponent']} |"
            )
    return "\n".join(lines)


def main() -> None:
    options = common.parser(__doc__, rounds=5).parse_args()
    begin = time.perf_counter()
    figures = measure(options.rounds)
    file = options.out / "growth-cpu.json"
    results.write(
        file,
        experiment="growth",
        settings={
            "base": BASE,
            "fit": {"data": 1_000, "components": 2},
            "taps": TAPS,
            "rounds": options.rounds,
            "threads": 1,
            "clock": timing.clock("cpu"),
            "smoother_of_the_loop": loops.SMOOTHER,
        },
        figures=figures,
        seconds=time.perf_counter() - begin,
        command=" ".join(["python benchmarks/bench_growth.py", *sys.argv[1:]]),
        device="cpu",
    )
    common.written(file)


if __name__ == "__main__":
    timing.settle()
    main()
