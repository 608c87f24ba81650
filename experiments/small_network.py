"""Train the small network that comes with the book, on synthetic people, and write its run folder.

    python experiments/small_network.py [--steps 4000] [--out experiments/networks/small]

One trunk of 0.54 million parameters at 64x48, with CAL's targets and both its stages;
the coarse map is learnt with cross-entropy, which gets further than L2 in a short
training from fresh weights. A few minutes on two quiet cores. Weights are stored in half
precision. Chapter 19 begins from it; it is no row of any table.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from calbook import geometry, results
from calbook.data import synthetic
from calbook.inference import predict_crops
from calbook.method import Method
from calbook.runs import RunFolder, skeleton_to_dict
from calbook.skeletons import COCO
from calbook.training import Plan, Step, train

SIZE = (64, 48)
METHOD = Method(
    "offset-hrnet-tiny", "cal", "cal", SIZE, codec_options={"logits": True}, loss_options={"heatmap": "bce"}
)
SEED, PEOPLE_SEED, UNSEEN_SEED = 0, 100, 999
PEOPLE, BATCH, CHUNK, UNSEEN = 6144, 32, 256, 256
RATE = 2e-3
MIRROR = list(COCO.mirror)


def render_people() -> tuple[Tensor, Tensor, Tensor]:
    """Pictures ``(N, 3, 64, 48)`` uint8, joints ``(N, 17, 2)`` and visibilities of the main persons."""
    parts = []
    for start in range(0, PEOPLE, CHUNK):
        batch = synthetic.render(PEOPLE_SEED, CHUNK, SIZE, start=start)
        parts.append(((batch.pictures * 255).round().to(torch.uint8), batch.joints[:, 0], batch.visible[:, 0]))
    pictures, joints, visible = (torch.cat(part) for part in zip(*parts, strict=True))
    return pictures, joints, visible


def batches(people: tuple[Tensor, Tensor, Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless mini-batches: in random order, half of them mirrored, all grown and some turned at random."""
    draw = torch.Generator().manual_seed(SEED)
    middle = torch.tensor([[(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2]])
    while True:
        for index in torch.randperm(PEOPLE, generator=draw).split(BATCH):
            images, joints, visible = people[0][index].float() / 255, people[1][index], people[2][index]
            if torch.rand((), generator=draw) < 0.5:
                images, visible = images.flip(-1), visible[:, MIRROR]
                joints = geometry.flip_joints(joints, SIZE[1], MIRROR)
            count = len(index)
            angle = 30 * torch.randn(count, generator=draw).clamp(-2, 2) * (torch.rand(count, generator=draw) < 0.4)
            growth = 1 + 0.2 * torch.randn(count, generator=draw).clamp(-1, 1)
            crop = geometry.CropBox(middle.expand(count, 2), 2 * middle * growth[:, None])
            matrices = geometry.crop_matrix(crop, SIZE, angle)
            yield geometry.sample_crops(images, matrices, SIZE), geometry.transform(joints, matrices), visible


def mean_error(model: nn.Module) -> float:
    """Mean distance of the labelled joints of unseen people, in input pixels, with the flip test."""
    unseen = synthetic.render(UNSEEN_SEED, UNSEEN, SIZE)
    pose = predict_crops(model, METHOD.build_codec(), unseen.pictures, mirror=MIRROR)
    distance = (pose.coords - unseen.joints[:, 0]).norm(dim=-1)
    return distance[unseen.visible[:, 0] > 0].mean().item()


def write_run(folder: Path, model: nn.Module, settings: dict[str, object], seconds: float) -> None:
    """Write config, environment and weights, in half precision."""
    run = RunFolder(folder)
    config = {
        "method": asdict(METHOD),
        "skeleton": skeleton_to_dict(COCO),
        "training": settings,
        "data": {"people": "synthetic", "seed": PEOPLE_SEED, "count": PEOPLE},
    }
    environment = {
        "command": f"python experiments/small_network.py --steps {settings['steps']}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "machine": results.machine("cpu"),
        "versions": results.versions(),
    }
    tensors = {
        name: tensor.half().contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    results.write_atomically(run.weights("best"), save(tensors))
    results.write_atomically(run.environment, (json.dumps(environment, indent=1) + "\n").encode())
    results.write_atomically(run.config, (json.dumps(config, indent=1) + "\n").encode())


def main() -> None:
    """Train, write, and say how good it became."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "networks" / "small")
    options = parser.parse_args()
    begin = time.perf_counter()
    people = render_people()
    torch.manual_seed(SEED)
    model = METHOD.build_model(COCO.num_joints)
    plan = Plan(steps=options.steps, learning_rate=RATE, stage_two=round(options.steps * 210 / 250))

    def report(step: Step, network: nn.Module) -> None:
        if step.step % 250 == 249:
            print(f"step {step.step + 1}: loss {step.loss:.4g}, {mean_error(network):.2f} px off on unseen people")

    train(model, METHOD.build_codec(), METHOD.build_loss(), batches(people), plan, report)
    settings = {"steps": options.steps, "batch_size": BATCH, "learning_rate": RATE, "stage_two": plan.stage_two}
    write_run(options.out, model.eval(), settings, time.perf_counter() - begin)
    print(f"{options.out}: {mean_error(model):.2f} px off on unseen people")


if __name__ == "__main__":
    main()
