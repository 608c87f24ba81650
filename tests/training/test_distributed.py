"""Two processes that share a mini-batch do what one does with all of it."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from micro_training import METHOD, MicroLoader, processes, run, run_on
from safetensors.torch import load_file
from torch import Tensor

from calbook.data import coco
from calbook.data.coco import CocoPeople
from calbook.data.defects import DataError
from calbook.data.pictures import read_pixels
from calbook.data.synthetic import write_coco
from calbook.inference import Predictions, predict_people
from calbook.inference import people as pictures_of_people
from calbook.method import build_method
from calbook.runs import RunFolder
from calbook.training import MaskPlan, build_fabric, keeper, normalize, objective, validate_on
from calbook.training.launch import processes as announced
from calbook.training.step import mixed_masks

CLOSE = 1e-5


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _announce(rank: int, port: int, patch: pytest.MonkeyPatch) -> None:
    """What torchrun tells a process."""
    for name, value in {
        "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank,
        "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2,
    }.items():  # fmt: skip
        patch.setenv(name, str(value))


def two(target: object, *arguments: object) -> dict[int, object]:
    """Call ``target(rank, port, answers, *arguments)`` in two processes; gives their answers."""
    port = _free_port()
    with processes.Manager() as manager:
        answers = manager.dict()
        workers = [processes.Process(target=target, args=(rank, port, answers, *arguments)) for rank in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(90)
            assert worker.exitcode == 0
        return dict(answers)


def _step(share: slice, components: int, group: object, fabric: object = None) -> dict[str, Tensor]:
    """Masks, loss and gradients of a share of a mini-batch of a real two-branch network."""
    torch.manual_seed(0)
    method = build_method("cal-tiny", (64, 48))
    network, codec, loss = method.build_model(3).eval(), method.build_codec(), method.build_loss()
    with torch.no_grad():
        for weight in network.parameters():  # maps with peaks of their own, not all zero
            weight += 0.03 * torch.randn(weight.shape)
    images, joints, visible = next(iter(MicroLoader(batch_size=8).epoch(3)))
    images, joints = torch.nn.functional.interpolate(images, (64, 48)), joints * 2
    visible[5, 1] = visible[6] = 0  # the shares have different numbers of joints
    batch = images[share], joints[share], visible[share]
    model = network if fabric is None else fabric.setup(network)
    plan = MaskPlan(components, group=group)
    terms, mixture = objective(model, codec, loss, batch, plan)
    fabric.backward(terms.total) if fabric else terms.total.backward()
    targets = codec.encode(*batch[1:])
    with torch.no_grad():
        masks, _ = mixed_masks(network(normalize(batch[0])), targets, batch[1], codec, components, group=group)
    total = terms.total.detach() if fabric is None else fabric.all_reduce(terms.total.detach(), reduce_op="mean")
    gradients = torch.cat([weight.grad.flatten() for weight in network.parameters()])
    return {"masks": masks, "loss": total, "gradients": gradients, "means": mixture.means}


def _share_of_step(rank: int, port: int, answers: dict[int, object], components: int) -> None:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        _announce(rank, port, patch)
        fabric = build_fabric(accelerator="cpu")
        fabric.launch()
        assert (fabric.world_size, fabric.global_rank) == (2, rank)
        answer = _step(slice(4 * rank, 4 * rank + 4), components, torch.distributed.group.WORLD, fabric)
        answers[rank] = {name: value.numpy() for name, value in answer.items()}


@pytest.mark.parametrize("components", [1, 2])
def test_masks_losses_and_gradients_of_two_processes_are_those_of_one(components: int) -> None:
    alone = _step(slice(0, 8), components, None)
    answers = two(_share_of_step, components)
    shares = [{name: torch.from_numpy(value) for name, value in answers[rank].items()} for rank in range(2)]
    masks = torch.cat([share["masks"] for share in shares])
    assert (masks - alone["masks"]).abs().max() <= CLOSE
    assert masks.amax() == 1
    for share in shares:
        assert (share["means"] - alone["means"]).abs().max() <= CLOSE
        assert (share["loss"] - alone["loss"]).abs() <= CLOSE * alone["loss"].abs()
        assert (share["gradients"] - alone["gradients"]).abs().max() <= CLOSE * alone["gradients"].abs().max()
    assert alone["gradients"].abs().max() > 0
    own = _step(slice(0, 4), components, None)  # what a process would do by itself is something else
    assert (own["masks"] - alone["masks"][:4]).abs().max() > 100 * CLOSE


def _share_of_run(rank: int, port: int, answers: dict[int, object], path: Path, method: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _announce(rank, port, patch)
        patch.setattr(keeper, "draw_curves", lambda *_: None)
        fabric = build_fabric(accelerator="cpu")
        fabric.launch()
        summary = run_on(fabric, path, method=method, loader=MicroLoader(rank=rank, world_size=2))
        answers[rank] = summary.steps


def test_a_run_on_two_processes_is_that_on_one(tmp_path: Path) -> None:
    """Both stages, with checkpoints, an average and a validation; a network without batch statistics."""
    method = replace(METHOD, model_options={"norm": False})
    answers = two(_share_of_run, tmp_path / "two", method)
    assert answers == {0: 20, 1: 20}
    run(tmp_path / "one", method=method)
    ours, theirs = (load_file(RunFolder(tmp_path / name).weights("last")) for name in ("two", "one"))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert (ours[name] - value).abs().max() <= 1e-4  # after 20 steps of Adam, which divides by small numbers


def _predict(folder: Path) -> tuple[CocoPeople, Predictions, dict[str, float]]:
    """What a network with weights of its own finds on some pictures, and how it is scored."""
    torch.manual_seed(0)
    method = build_method("cal-tiny", (64, 48))
    network, people = method.build_model(17).eval(), coco.read_split(folder, "val2017")
    found = predict_people(network, method.build_codec(), people, shared=True)
    return people, found, validate_on(people)(network, method.build_codec())


def _share_of_prediction(rank: int, port: int, answers: dict[int, object], folder: Path) -> None:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        _announce(rank, port, patch)
        build_fabric(accelerator="cpu").launch()
        opened = []
        patch.setattr(pictures_of_people, "read_pixels", lambda path: opened.append(path.name) or read_pixels(path))
        _, found, figures = _predict(folder)
        answers[rank] = (found.coords.numpy(), found.scores.numpy(), found.areas.numpy(), figures, opened)


def test_two_processes_that_share_the_pictures_find_what_one_finds(tmp_path: Path) -> None:
    write_coco(tmp_path, "val2017", 5, (96, 72), seed=4)
    people, alone, scored = _predict(tmp_path)
    answers = two(_share_of_prediction, tmp_path)
    for coords, scores, areas, figures, _ in answers.values():
        assert (torch.from_numpy(coords) - alone.coords).abs().max() <= CLOSE * 100  # pixels of the picture
        assert (torch.from_numpy(scores) - alone.scores).abs().max() <= CLOSE
        assert torch.equal(torch.from_numpy(areas), alone.areas)
        assert figures == pytest.approx(scored, abs=1e-6)
    opened = [set(answer[-1]) for answer in answers.values()]
    assert all(opened)
    assert not opened[0] & opened[1]  # neither did the other's work
    assert len(opened[0] | opened[1]) == len(set(people.image_ids.tolist()))


def test_a_folder_that_cannot_be_used_stops_both_processes(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    assert two(_refused, tmp_path) == {0: "DataError", 1: "SystemExit"}


def _refused(rank: int, port: int, answers: dict[int, object], path: Path) -> None:
    try:
        _share_of_run(rank, port, answers, path, METHOD)
    except (Exception, SystemExit) as error:
        answers[rank] = type(error).__name__


def test_what_torchrun_and_slurm_announce_is_understood() -> None:
    assert announced({"SLURM_NTASKS": "4", "SLURM_NNODES": "1"}) == (4, 1)
    assert announced({"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "bash"}) == (None, None)  # a shell in a job


def test_devices_that_are_not_there_are_one_line() -> None:
    with pytest.raises(DataError, match="--precision: 16-mixed needs a GPU of CUDA, this is cpu"):
        build_fabric(precision="16-mixed", accelerator="cpu")
    with pytest.raises(DataError, match=r"--devices: 99 GPUs asked for, \d+ found"):
        build_fabric(99, accelerator="cuda")
