"""Does enlarging a picture help to find joints? A small super-resolver and a probe, on synthetic people.

    python experiments/super_resolution.py [--resolver-steps 400] [--probe-steps 400]

1. ``spsr-tiny`` learns to undo ``shrink``: patches of 64x48 from their 16x12. Its weights go to
   ``experiments/networks/spsr-tiny.safetensors``.
2. The small pose network of the book goes on at 128x96, once on true crops alone, once on
   true crops, bicubic ones and restored ones in equal parts. Small pictures are 32x24: the
   published factor of four at half the published sizes.
3. Both networks read unseen people in all three kinds of crops. What they say is then rounded to
   the grids that a small and a large picture would have: so the detail of the picture and
   the ruler that reads it are changed one at a time.

About five minutes of a free core. The chapter on super-resolution shows the figures.
"""

import argparse
import copy
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calbook import geometry, metrics, results, runs
from calbook.codecs import Codec
from calbook.data import synthetic
from calbook.inference import predict_crops
from calbook.models import super_resolution as sr
from calbook.skeletons import COCO
from calbook.training import Plan, train
from calbook.training.folder import save_tensors

NETWORKS = Path(__file__).parent / "networks"
LARGE, PUBLISHED = (128, 96), (256, 192)
RESOLVER_SEED, PROBE_SEED, UNSEEN_SEED = 200, 201, 998
RESOLVER_PEOPLE, PROBE_PEOPLE, UNSEEN, JUDGED = 384, 1536, 512, 48
PATCH, PATCHES, BATCH = (64, 48), 16, 16
RATE = 1e-3
RULERS = {"offset": None, "32x24": (32, 24), "8x6": (8, 6)}  # heatmap sizes at 128x96 and at 32x24
STEPS_OF_RULER = (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0, 24.0)  # input pixels
KINDS = ("true", "bicubic", "restored")
MIRROR = list(COCO.mirror)


def to_bytes(pictures: Tensor) -> Tensor:
    """Pictures in [0, 1] as uint8, which is what a file would keep."""
    return (pictures * 255).round().clamp(0, 255).to(torch.uint8)


def render(seed: int, count: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures ``(N, 3, H, W)`` uint8; of the main persons joints, visibilities and areas."""
    parts = []
    for start in range(0, count, 256):
        batch = synthetic.render(seed, min(256, count - start), size, start=start)
        parts.append((to_bytes(batch.pictures), batch.joints[:, 0], batch.visible[:, 0], batch.areas[:, 0]))
    pictures, joints, visible, areas = (torch.cat(part) for part in zip(*parts, strict=True))
    return pictures, joints, visible, areas


def patches(sets: list[Tensor], draw: torch.Generator) -> Iterator[Tensor]:
    """Endless mini-batches ``(B, 3, 64, 48)`` cut at random places out of pictures of every size in turn."""
    height, width = PATCH
    while True:
        for pictures in sets:
            found = []
            for index in torch.randint(len(pictures), (PATCHES,), generator=draw):
                room = torch.tensor([pictures.shape[-2] - height, pictures.shape[-1] - width])
                top, left = (torch.rand(2, generator=draw) * (room + 1)).long().tolist()
                found.append(pictures[index, :, top : top + height, left : left + width])
            images = torch.stack(found).float() / 255
            yield images.flip(-1) if torch.rand((), generator=draw) < 0.5 else images


def learn_to_restore(steps: int, seed: int) -> tuple[sr.SuperResolver, list[dict[str, float]]]:
    """Train the resolver; the loss's terms, averaged over fiftieths of the training."""
    sets = [render(RESOLVER_SEED, RESOLVER_PEOPLE, size)[0] for size in (LARGE, PUBLISHED)]
    torch.manual_seed(seed)
    network = sr.build_super_resolver("spsr-tiny")
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    source = patches(sets, torch.Generator().manual_seed(seed))
    terms = []
    for step in range(steps):
        images = next(source)
        with torch.autocast("cpu", torch.bfloat16):
            resolved = network(sr.shrink(images))
        loss = sr.super_resolution_loss(sr.SuperResolved(*(part.float() for part in resolved)), images)
        optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        optimizer.step()
        schedule.step()
        terms.append(torch.stack(loss).detach())
        if step % 100 == 99:
            print(f"resolver, step {step + 1}: loss {torch.stack(terms[-100:])[:, 0].mean():.4f}", flush=True)
    every = max(1, steps // 50)
    means = [torch.stack(terms[i : i + every]).mean(0).tolist() for i in range(0, steps, every)]
    names = ("total", "picture", "gradient", "branch")
    curve = [{"step": i * every} | dict(zip(names, mean, strict=True)) for i, mean in enumerate(means)]
    return network.eval(), curve


@torch.no_grad()
def kinds_of(network: sr.SuperResolver, pictures: Tensor) -> dict[str, Tensor]:
    """The same crops ``(N, 3, H, W)`` uint8 three times: as they are, and brought back from a quarter of their size."""
    bicubic, restored = [], []
    for part in pictures.split(32):
        small = sr.shrink(part.float() / 255)
        bicubic.append(to_bytes(sr.enlarge(small)))
        restored.append(to_bytes(network(small).pictures))
    return {"true": pictures, "bicubic": torch.cat(bicubic), "restored": torch.cat(restored)}


def quality(kinds: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """PSNR in decibels, the strength of edges beside the truth's and the error of the gradient map."""
    truth = kinds["true"].float() / 255
    edges = sr.gradient_map(truth)
    found = {}
    for name in KINDS[1:]:
        pictures = kinds[name].float() / 255
        errors = (pictures - truth).square().mean((1, 2, 3))
        own = sr.gradient_map(pictures)
        found[name] = {
            "psnr": (-10 * errors.log10()).mean().item(),
            "edges": (own.mean() / edges.mean()).item(),
            "edge_error": (own - edges).abs().mean().item(),
        }
    return found


def crops_for_probe(
    kinds: dict[str, Tensor], joints: Tensor, visible: Tensor, mixed: bool, draw: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless mini-batches, half of them mirrored; every crop true, or of any kind by chance."""
    while True:
        for index in torch.randperm(len(joints), generator=draw).split(BATCH):
            kind = torch.randint(3 if mixed else 1, (len(index),), generator=draw)
            images = torch.stack([kinds[KINDS[k]][i] for k, i in zip(kind, index, strict=True)]).float() / 255
            points, seen = joints[index], visible[index]
            if torch.rand((), generator=draw) < 0.5:
                images, seen = images.flip(-1), seen[:, MIRROR]
                points = geometry.flip_joints(points, LARGE[1], MIRROR)
            yield images, points, seen


def learn_poses(
    kinds: dict[str, Tensor], joints: Tensor, visible: Tensor, steps: int, seed: int
) -> tuple[Codec, dict[str, nn.Module]]:
    """The small network of the book, taken to 128x96: first on true crops, then on true or on mixed ones."""
    small = runs.load(NETWORKS / "small", "best")
    method = replace(small.method, input_size=LARGE)
    codec, loss = method.build_codec(), method.build_loss()
    model = method.build_model(COCO.num_joints)
    model.load_state_dict(small.model.state_dict())

    def go_on(network: nn.Module, mixed: bool, plan: Plan, name: str) -> nn.Module:
        source = crops_for_probe(kinds, joints, visible, mixed, torch.Generator().manual_seed(seed + mixed))
        steps = train(network, codec, loss, source, plan)
        print(f"probe, {name}: loss {sum(s.loss for s in steps[-100:]) / len(steps[-100:]):.4f}", flush=True)
        return network.eval()

    go_on(model, False, Plan(steps=steps, learning_rate=RATE, drops=()), "true crops")
    halves = Plan(steps=steps, learning_rate=RATE)
    return codec, {
        "true": go_on(copy.deepcopy(model), False, halves, "true crops again"),
        "mixed": go_on(copy.deepcopy(model), True, halves, "crops of all kinds"),
    }


def on_ruler(coords: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Positions ``(N, K, 2)`` rounded to the pixels of a heatmap of some size, in input pixels."""
    if size is None:
        return coords
    x, y = geometry.stride(LARGE, size, "unbiased")
    step = torch.tensor([x, y])
    last = torch.tensor([size[1] - 1, size[0] - 1])
    return torch.minimum((coords / step).round().clamp(min=0), last) * step


def scores(coords: Tensor, joints: Tensor, visible: Tensor, areas: Tensor) -> dict[str, Any]:
    """Errors in input pixels over labelled joints, and OKS over people."""
    seen = visible > 0
    errors = (coords - joints)[seen]
    similarity = metrics.oks(coords, joints, visible, areas, COCO.sigma_tensor(areas))
    thresholds = torch.arange(0.5, 0.96, 0.05)
    passed = (similarity[:, None] >= thresholds).double().mean(1)  # of each person, over the thresholds
    distance = errors.norm(dim=-1)
    return {
        "mean": distance.mean().item(),
        "median": distance.median().item(),
        "oks": similarity.double().mean().item(),
        "passed": passed.mean().item(),
        "standard_error": (passed.std() / len(passed) ** 0.5).item(),
        "each": passed,
    }


def compare(a: Tensor, b: Tensor) -> dict[str, float]:
    """Mean of the differences over the same people, with its standard error."""
    difference = a - b
    return {
        "difference": difference.mean().item(),
        "standard_error": (difference.std() / len(difference) ** 0.5).item(),
    }


def probe(
    codec: Codec, model: nn.Module, kinds: dict[str, Tensor], joints: Tensor, visible: Tensor, areas: Tensor
) -> dict[str, Any]:
    """What a network makes of each kind of crop, on each ruler."""
    found: dict[str, Any] = {"crops": {}, "sweep": {}, "detail": {}}
    each = {}
    for kind in KINDS:
        coords = predict_crops(model, codec, kinds[kind].float() / 255).coords
        found["crops"][kind] = {}
        for name, size in RULERS.items():
            figures = scores(on_ruler(coords, size), joints, visible, areas)
            each[kind, name] = figures.pop("each")
            found["crops"][kind][name] = figures
        found["sweep"][kind] = [
            {"step": step} | {name: value for name, value in scores(
                (coords / step).round() * step if step else coords, joints, visible, areas
            ).items() if name in ("mean", "passed")}
            for step in STEPS_OF_RULER
        ]  # fmt: skip
    for name in RULERS:
        found["detail"][name] = {
            "restored over bicubic": compare(each["restored", name], each["bicubic", name]),
            "true over restored": compare(each["true", name], each["restored", name]),
        }
    found["ruler"] = {kind: compare(each[kind, "32x24"], each[kind, "8x6"]) for kind in KINDS}
    return found


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolver-steps", type=int, default=400)
    parser.add_argument("--probe-steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=NETWORKS, help="folder for the resolver's weights")
    parser.add_argument("--out", type=Path, default=results.RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    network, curve = learn_to_restore(options.resolver_steps, options.seed)
    weights = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    save_tensors(options.runs / "spsr-tiny.safetensors", weights, {"steps": options.resolver_steps})
    network.load_state_dict(weights)  # as they will be read: in half precision
    shown = {f"{h}x{w}": kinds_of(network, render(UNSEEN_SEED, JUDGED, (h, w))[0]) for h, w in (LARGE, PUBLISHED)}
    figures: dict[str, Any] = {
        "resolver": {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "curve": curve,
            "quality": {size: quality(kinds) for size, kinds in shown.items()},
        }
    }
    print(figures["resolver"]["quality"], flush=True)
    pictures, joints, visible, _ = render(PROBE_SEED, PROBE_PEOPLE, LARGE)
    codec, models = learn_poses(kinds_of(network, pictures), joints, visible, options.probe_steps, options.seed)
    pictures, joints, visible, areas = render(UNSEEN_SEED, UNSEEN, LARGE)
    unseen = kinds_of(network, pictures)
    figures["probe"] = {name: probe(codec, model, unseen, joints, visible, areas) for name, model in models.items()}
    settings = {
        "resolver": {"network": "spsr-tiny", "steps": options.resolver_steps, "patch": PATCH, "batch": PATCHES,
                     "learning_rate": RATE, "people": RESOLVER_PEOPLE, "seed": RESOLVER_SEED,
                     "precision": "bf16-mixed"},
        "probe": {"network": "offset-hrnet-tiny", "start": "experiments/networks/small", "steps": options.probe_steps,
                  "batch": BATCH, "learning_rate": RATE, "people": PROBE_PEOPLE, "seed": PROBE_SEED},
        "input_size": LARGE, "small_size": (LARGE[0] // sr.FACTOR, LARGE[1] // sr.FACTOR),
        "unseen": UNSEEN, "judged": JUDGED, "unseen_seed": UNSEEN_SEED, "seed": options.seed,
    }  # fmt: skip
    file = options.out / "ch17_super_resolution.json"
    results.write(
        file,
        experiment="super-resolution and the ruler",
        settings=settings,
        figures=figures,
        seconds=time.perf_counter() - begin,
        command=(
            f"python experiments/super_resolution.py --resolver-steps {options.resolver_steps} "
            f"--probe-steps {options.probe_steps} --seed {options.seed}"
        ),
    )
    print(file)


if __name__ == "__main__":
    main()
