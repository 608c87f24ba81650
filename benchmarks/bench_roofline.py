"""How far from the limit of this machine: multiply-adds and bytes against time.

    python benchmarks/bench_roofline.py [--rounds 5]

First the limits of one core: multiply-adds per second in float32 and in bfloat16 of a large
matrix product and of large convolutions, the best of which counts because they come from different libraries,
and bytes per second of a copy, far larger than the caches and small enough for
them. Then each piece of work. It must make its multiply-adds, and read what it is given and write what
it returns once; whichever of both takes longer at the limits is the least time, and ``share``
is that part of the time taken.

Networks: convolutions alone, each reading its input and weights and writing its output once. The
layers' least times are added, because one layer waits for the other; training is three times the forward pass.
Encoding, decoding and masks: few multiply-adds (the formulas are in ``small_work``), so it is bytes
that bind them; against the copy that fits into the caches where their bytes do. Writes
results/roofline-cpu.json.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import bench_gmm
import common
import timing
import torch
from torch import Tensor, nn

from calbook import gmm, results
from calbook.codecs import build_codec
from calbook.losses import build_loss
from calbook.models import build_model, count, fast_inference
from calbook.poses import PoseMaps

SIDE = 1536  # of the matrices
CHANNELS, PIXELS = 256, 48  # of the convolutions
LARGE, SMALL = 256 * 2**20, 4 * 2**20  # bytes of the copied tensors
CACHES = 16 * 2**20  # bytes; work that moves fewer is held against the small copy
PERSONS, JOINTS, SIZE, TAPS = 64, 17, (32, 24), 11
BATCH, TRAINED = 8, 32
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Work:
    """What is timed, and what it cannot do without.

    Attributes:
        run: One call.
        pieces: Multiply-adds and bytes of each part that must end before the next begins.
        precision: Of the multiply-adds.
    """

    run: Callable[[], object]
    pieces: list[tuple[float, float]]
    precision: str = "float32"


def milliseconds(run: Callable[[], object], rounds: int) -> list[float]:
    """Processor time of each of ``rounds`` calls, and of more until they took a fifth of a second together."""
    for _ in range(2):
        run()  # warms up
    taken: list[float] = []
    while len(taken) < rounds or sum(taken) < 200:
        taken.append(timing.once(run, "cpu"))
    return taken


def products(dtype: torch.dtype) -> Iterator[tuple[float, Callable[[], object]]]:
    """Multiply-adds of large products, and the functions that make them."""
    a, b, out = (torch.ones(SIDE, SIDE, dtype=dtype) for _ in range(3))
    yield SIDE**3, lambda: torch.mm(a, b, out=out)
    images = torch.ones(4, CHANNELS, PIXELS, PIXELS, dtype=dtype).to(memory_format=torch.channels_last)
    for side in (1, 3):
        layer = nn.Conv2d(CHANNELS, CHANNELS, side, padding=side // 2, bias=False, dtype=dtype)
        layer = layer.to(memory_format=torch.channels_last).requires_grad_(False)
        yield layer.weight.numel() * 4 * PIXELS**2, lambda layer=layer: layer(images)


def limits(rounds: int) -> dict[str, float]:
    """Multiply-adds and bytes per second, the best of the rounds."""
    found = {}
    for name, dtype in DTYPES.items():
        rates = [1e3 * macs / min(milliseconds(run, rounds)) for macs, run in products(dtype)]
        found[f"{name}_macs_per_second"] = max(rates)
        for way, rate in zip(("matrix", "convolution_1x1", "convolution_3x3"), rates, strict=True):
            found[f"{name}_{way}"] = rate
    for name, size in (("memory", LARGE), ("caches", SMALL)):
        a, b = (torch.ones(size // 4) for _ in range(2))
        repeats = LARGE // size

        def copies(a: Tensor = a, b: Tensor = b, repeats: int = repeats) -> None:
            for _ in range(repeats):
                b.copy_(a)

        best = min(milliseconds(copies, rounds))
        found[f"{name}_bytes_per_second"] = 2 * repeats * size / best * 1e3  # read and written
    return found


def layers(model: nn.Module, images: Tensor, width: int) -> list[tuple[float, float]]:
    """Multiply-adds and bytes of each convolution, with ``width`` bytes per number."""
    pieces: list[tuple[float, float]] = []

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        pixels = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        macs = layer.weight.numel() * pixels.shape[0] * pixels.shape[-2:].numel()
        pieces.append((macs, width * (inputs[0].numel() + layer.weight.numel() + output.numel())))

    hooks = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    with torch.inference_mode():
        model(images)
    for hook in hooks:
        hook.remove()
    size = (images.shape[2], images.shape[3])
    assert sum(macs for macs, _ in pieces) == len(images) * count(model, size).macs
    return pieces


def networks() -> dict[str, Work]:
    """HRNet-W32 in evaluation, as published and ours; a training step of the tiny CAL network."""
    torch.manual_seed(0)
    model = build_model("hrnet-w32").eval()
    images = torch.randn(BATCH, 3, 128, 96)

    def evaluate(network: nn.Module) -> Callable[[], object]:
        return torch.inference_mode()(lambda: network(images))

    found = {"HRNet-W32, plain evaluation": Work(evaluate(model), layers(model, images, 4))}
    for name, width in (("float32", 4), ("bfloat16", 2)):
        network = fast_inference(model, name)
        found[f"HRNet-W32, fast_inference, {name}"] = Work(evaluate(network), layers(model, images, width), name)

    tiny, loss = build_model("cal-hrnet-tiny"), build_loss("cal")
    codec = build_codec("cal", (64, 48), (16, 12))
    crops = torch.randn(TRAINED, 3, 64, 48)
    pieces = layers(tiny.eval(), crops, 4)
    targets = codec.encode(torch.rand(TRAINED, JOINTS, 2) * 47, torch.ones(TRAINED, JOINTS))
    optimizer = torch.optim.Adam(tiny.train().parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss(tiny(crops), targets).total.backward()
        optimizer.step()

    found["cal-hrnet-tiny, training step"] = Work(step, [(3 * macs, 3 * moved) for macs, moved in pieces])
    return found


def small_work() -> dict[str, Work]:
    """Encoding, decoding and masks of a mini-batch.

    Multiply-adds: a target pixel of CAL takes one product for its Gaussian (a product of a row's and a
    column's factor), one sum of squares for its disk and one difference for each offset; DARK smooths 5 x 5
    pixels around each peak along rows and columns; a mask's fit takes six sums per displacement, and its
    49 pixels two products each.
    """
    predicted, target, points, visible = bench_gmm.mini_batch()
    pixels, joints = predicted.numel(), PERSONS * JOINTS
    cal, dark = build_codec("cal", (128, 96), SIZE), build_codec("dark", (128, 96), SIZE, blur=TAPS)
    places, maps = cal.to_input(points), target + 0.02 * torch.randn_like(target)
    both = PoseMaps(maps, torch.zeros(PERSONS, JOINTS, 2, *SIZE))

    def masks() -> Tensor:
        errors, weights = gmm.displacements(predicted, points, visible)
        return gmm.mixed_gaussian_masks(gmm.fit(errors, weights=weights), points, SIZE, visible=visible)

    return {
        "encode, CAL": Work(lambda: cal.encode(places, visible), [(4.0 * pixels, 4.0 * 4 * pixels)]),
        "decode, CAL": Work(lambda: cal.decode(both), [(0.0, 4.0 * pixels)]),
        "decode, DARK": Work(lambda: dark.decode(PoseMaps(maps)), [(joints * 25.0 * 2 * TAPS, 4.0 * pixels)]),
        "masks": Work(masks, [(joints * (6.0 + 2 * 49), 2 * 4.0 * pixels)]),
    }


def judge(work: Work, found: dict[str, float], rounds: int) -> dict[str, Any]:
    """The least time at the limits beside the time taken."""
    taken = milliseconds(work.run, rounds)
    macs, moved = (sum(column) for column in zip(*work.pieces, strict=True))
    peak = found[f"{work.precision}_macs_per_second"]
    line = found["caches_bytes_per_second" if moved < CACHES else "memory_bytes_per_second"]
    least = sum(1e3 * max(m / peak, b / line) for m, b in work.pieces)
    arithmetic = 1e3 * macs / peak
    shares = [least / t for t in taken]
    return {
        "macs": macs,
        "bytes": moved,
        "ms": round(statistics.median(taken), 3),
        "least_ms": round(least, 4),
        "arithmetic_ms": round(arithmetic, 4),
        "moving_ms": round(1e3 * moved / line, 4),
        "bound": "arithmetic" if arithmetic > 1e3 * moved / line else "bytes",
        "share": round(statistics.median(shares), 3),
        "range": timing.spread(shares, digits=3),
    }


def table(record: dict[str, Any]) -> str:
    """The section of the README."""
    found = record["figures"]["limits"]
    line = (
        f"One core: {found['float32_macs_per_second'] / 1e9:.0f} x 10^9 multiply-adds per second in float32, "
        f"{found['bfloat16_macs_per_second'] / 1e9:.0f} x 10^9 in bfloat16; a copy moves "
        f"{found['memory_bytes_per_second'] / 1e9:.0f} GB/s in memory and "
        f"{found['caches_bytes_per_second'] / 1e9:.0f} GB/s in the caches."
    )
    lines = [
        line,
        "",
        "| work | multiply-adds (10^6) | bytes (10^6) | least time (ms) | bound by | time (ms) | share of the limit |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for name, row in record["figures"]["work"].items():
        share = f"{100 * row['share']:.0f} % ({100 * row['range'][0]:.0f}-{100 * row['range'][1]:.0f})"
        counts = f"{row['macs'] / 1e6:,.1f} | {row['bytes'] / 1e6:,.1f}"
        lines.append(f"| {name} | {counts} | {row['least_ms']:.2f} | {row['bound']} | {row['ms']:.2f} | {share} |")
    return "\n".join(lines)


def main() -> None:
    options = common.parser(__doc__, rounds=5).parse_args()
    begin = time.perf_counter()
    found = limits(options.rounds)
    print(found, flush=True)
    work: dict[str, Any] = {}
    for name, each in {**small_work(), **networks()}.items():
        work[name] = judge(each, found, options.rounds)
        print(name, work[name], flush=True)
    file = options.out / "roofline-cpu.json"
    results.write(
        file,
        experiment="roofline",
        settings={
            "matrix": SIDE,
            "convolution": [4, CHANNELS, PIXELS, PIXELS],
            "copied": [LARGE, SMALL],
            "persons": PERSONS,
            "joints": JOINTS,
            "map": list(SIZE),
            "taps": TAPS,
            "evaluated": {"batch": BATCH, "size": [128, 96]},
            "trained": {"batch": TRAINED, "size": [64, 48]},
            "rounds": options.rounds,
            "threads": 1,
            "clock": "processor time; limits: best of the rounds",
        },
        figures={"limits": found, "work": work},
        seconds=time.perf_counter() - begin,
        command=" ".join(["python benchmarks/bench_roofline.py", *sys.argv[1:]]),
        device="cpu",
    )
    common.written(file)


if __name__ == "__main__":
    timing.settle()
    main()
