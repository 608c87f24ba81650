"""Mixed-Gaussian masks of a mini-batch of 64 persons x 17 joints on 32x24, against the published way.

    python benchmarks/bench_gmm.py [--device cuda] [--rounds 9] [--step]

From predicted maps to masks: displacements, fit, drawing. With --step, also one
training step of CAL-W32 at 128x96 and batch 64 on the same device and thread, and the
masks' share of it. Writes results/masks-<device>.json.
"""

import sys
import time
from functools import partial
from typing import Any

import common
import reference_loops as loops
import timing
import torch

from calbook import gmm, results
from calbook.codecs import build_codec
from calbook.losses import build_loss

PERSONS, JOINTS, SIZE, VISIBLE, SPREAD = 64, 17, (32, 24), 0.8, 2.0


def mini_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Predicted and target maps, joints in heatmap pixels, visibilities; predictions err by 2 pixels."""
    generator = torch.Generator().manual_seed(0)
    codec = build_codec("cal", (128, 96), SIZE)
    joints = torch.rand(PERSONS, JOINTS, 2, generator=generator) * torch.tensor([SIZE[1] - 1.0, SIZE[0] - 1.0])
    visible = (torch.rand(PERSONS, JOINTS, generator=generator) < VISIBLE).float()
    errors = SPREAD * torch.randn(joints.shape, generator=generator)
    everywhere = torch.ones(PERSONS, JOINTS)
    last = torch.tensor([SIZE[1] - 1.0, SIZE[0] - 1.0])
    predicted = codec.encode(codec.to_input((joints + errors).clamp(min=0).minimum(last)), everywhere).heatmaps
    return predicted, codec.encode(codec.to_input(joints), everywhere).heatmaps, joints, visible


def measure(rounds: int, device: str) -> dict[str, Any]:
    """One and two components, from scratch and from the mixture of the last mini-batch."""
    predicted, target, joints, visible = mini_batch()
    p, j, v = predicted.to(device), joints.to(device), visible.to(device)

    def masks(n_components: int, start: gmm.Mixture | None = None) -> torch.Tensor:
        errors, weights = gmm.displacements(p, j, v)
        mixture = gmm.fit(errors, n_components, weights=weights, start=start)
        return gmm.mixed_gaussian_masks(mixture, j, SIZE, visible=v)

    figures: dict[str, Any] = {}
    for m in (1, 2):
        published = partial(loops.masks, predicted.numpy(), target.numpy(), visible.numpy(), m)
        figures[f"components_{m}"] = timing.compare(published, lambda m=m: masks(m), rounds, device)
    errors, weights = gmm.displacements(p, j, v)
    start = gmm.fit(errors, 2, weights=weights)
    figures["components_2_warm"] = timing.compare(published, lambda: masks(2, start), rounds, device)
    return figures


def training_step(device: str) -> float:
    """Milliseconds of one step of CAL-W32 at 128x96, batch 64: forward, loss, backward, Adam."""
    from calbook.models import build_model

    joints, visible = (t.to(device) for t in mini_batch()[2:])
    model = build_model("cal-hrnet-w32", num_joints=JOINTS).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    codec = build_codec("cal", (128, 96), SIZE)
    targets = codec.encode(codec.to_input(joints), visible)
    images = torch.randn(PERSONS, 3, 128, 96, device=device)
    loss = build_loss("cal")

    def step() -> None:
        optimizer.zero_grad()
        loss(model(images), targets).total.backward()
        optimizer.step()

    repeats = 1 if device == "cpu" else 5
    timing.once(step, device)
    return min(timing.once(step, device) for _ in range(repeats))


def table(record: dict[str, Any]) -> str:
    """The section of the README."""
    lines = [
        "| mixture | loop (ms) | package (ms) | best times | within a round |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in record["figures"].items():
        if "ratio" in row:
            numbers = f"{row['loop_ms']:.2f} | {row['package_ms']:.2f} | {row['ratio']:.1f}"
            lines.append(f"| {name} | {numbers} | {common.times(row['median_ratio'], row.get('quartiles'))} |")
    step = record["figures"].get("training_step")
    if step:
        share = f"{100 * step['share_of_masks']:.3f} % of a training step of CAL-W32 ({step['step_ms'] / 1e3:.1f} s)"
        lines += ["", f"Masks of one component take {share} with the same mini-batch."]
    return "\n".join(lines)


def main() -> None:
    parser = common.parser(__doc__, rounds=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--step", action="store_true", help="also time a training step of CAL-W32 (a minute on a CPU)")
    args = parser.parse_args()
    begin = time.perf_counter()
    figures = measure(args.rounds, args.device)
    if args.step:
        step = training_step(args.device)
        share = figures["components_1"]["package_ms"] / step
        figures["training_step"] = {"step_ms": round(step, 1), "share_of_masks": round(share, 6)}
    settings = {
        "persons": PERSONS,
        "joints": JOINTS,
        "map": list(SIZE),
        "visible": VISIBLE,
        "error_of_predictions": SPREAD,
        "rounds": args.rounds,
        "threads": 1,
        "clock": timing.clock(args.device),
        "allocator": "glibc, freed memory kept",
    }
    file = args.out / f"masks-{args.device}.json"
    results.write(
        file,
        experiment="mask_speed",
        settings=settings,
        figures=figures,
        seconds=time.perf_counter() - begin,
        command=" ".join(["python benchmarks/bench_gmm.py", *sys.argv[1:]]),
        device=None if args.device != "cpu" else "cpu",
    )
    for name, row in figures.items():
        print(name, row)
    common.written(file)


if __name__ == "__main__":
    timing.settle()
    main()
