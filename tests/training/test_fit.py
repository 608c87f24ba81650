"""Full training: the schedule, the stages, what it writes, where it stops."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from micro_training import CONFIG, METHOD, SKELETON, LargeLoader, MicroLoader, MicroNetwork, run
from safetensors.torch import load_file
from torch import nn

from calbook import runs
from calbook.codecs.base import Codec
from calbook.data.synthetic.stream import Crops
from calbook.method import Method, build_method
from calbook.runs import RunFolder
from calbook.training import NonFiniteLossError, TrainingConfig, build_fabric, curves, fit, learn, record, train_epoch
from calbook.training.average import MovingAverage
from calbook.training.folder import checkpoint, load_numbers
from calbook.training.keeper import Keeper
from calbook.training.learner import Learner
from calbook.training.record import read_metrics

PLAIN = replace(CONFIG, average=None, continue_mixture=False)


def lines(folder: Path, kind: str) -> list[dict[str, object]]:
    return [line for line in read_metrics(RunFolder(folder)) if line["kind"] == kind]


@pytest.mark.usefixtures("drawing")
def test_a_run_folder_holds_all_that_design_names(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", data={"set": "noise"})
    assert summary.steps == 4 * 5
    files = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    events = {file for file in files if file.startswith("tensorboard/events.out.tfevents")}
    assert len(events) == 1
    assert files - events == {
        ".lock", "config.json", "environment.json", "metrics.jsonl", "weights/last.safetensors",
        "weights/best.safetensors", "state/checkpoint.safetensors", "curves/loss.png", "curves/validation.png",
    }  # fmt: skip
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert set(config) == {"method", "skeleton", "training", "data"}
    assert config["training"] == json.loads(json.dumps(asdict(CONFIG)))
    assert Method.from_dict(config["method"]) == Method(**asdict(METHOD))
    assert runs.skeleton_from_dict(config["skeleton"]) == SKELETON
    [session] = json.loads((tmp_path / "run" / "environment.json").read_text())["sessions"]
    assert session["devices"] == {"kind": "cpu", "processes": 1}
    assert {"date", "machine", "versions", "commit"} <= set(session)


@pytest.mark.usefixtures("drawing")
def test_curves_have_labels_and_mark_stage_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {}
    monkeypatch.setattr(curves, "_save", lambda folder, name, figure: figures.update({name: figure.axes[0]}))
    run(tmp_path / "run")
    loss, validation = figures["loss"], figures["validation"]
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("step (mini-batches)", "loss (mean of the log interval)")
    assert validation.get_ylabel() == "score on the validation set"
    assert {line.get_label() for line in loss.lines} == {"loss", "heatmap", "offset", "stage two"}
    second = next(line for line in validation.lines if line.get_label() == "stage two")
    assert list(second.get_xdata()) == [10, 10]  # after two epochs of five steps
    assert list(validation.lines[0].get_xdata()) == [5, 10, 15, 20]


def test_stages_and_rates_follow_the_schedule(tmp_path: Path) -> None:
    run(tmp_path / "run", replace(CONFIG, log_every=5))
    train = lines(tmp_path / "run", "train")
    assert [line["epoch"] for line in train] == [1, 2, 3, 4]
    assert [line["stage"] for line in train] == [1, 1, 2, 2]
    assert [line["rate"] for line in train] == pytest.approx([1e-3, 1e-4, 1e-4, 1e-4])
    assert ["mixture" in line for line in train] == [False, False, True, True]


def test_the_rate_of_the_epoch_is_the_optimizers(tmp_path: Path) -> None:
    config = TrainingConfig(epochs=3, mask_epochs=0, milestones=(1, 2), batch_size=8)
    fabric = build_fabric(accelerator="cpu")
    learner = Learner(MicroNetwork(3), METHOD, config, fabric)
    rates = []
    for epoch in range(3):
        learner.epoch, learner.batch = epoch, 0
        train_epoch(learner, MicroLoader(2), config, fabric)
        rates.append(learner.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 1e-4, 1e-5])


def test_full_training_is_the_plain_loop(tmp_path: Path) -> None:
    """One epoch of ``fit`` equals Adam written out."""
    config = TrainingConfig(epochs=1, mask_epochs=0, milestones=(), batch_size=8)
    method = replace(METHOD, model_options={"norm": False})
    run(tmp_path / "run", config, method=method)
    torch.manual_seed(config.seed)
    network = method.build_model(3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    for batch in MicroLoader().epoch(0):
        learn(network, method.build_codec(), method.build_loss(), optimizer, batch)
    ours = load_file(RunFolder(tmp_path / "run").weights("last"))
    assert all(ours[name].equal(value) for name, value in network.state_dict().items())


def test_best_weights_are_those_of_the_best_validation(tmp_path: Path) -> None:
    scores = iter([0.2, 0.9, 0.5, 0.9])
    weights = []

    def validate(network: nn.Module, codec: Codec) -> dict[str, float]:
        assert not network.training
        assert not torch.is_grad_enabled()
        weights.append({name: value.clone() for name, value in network.state_dict().items()})
        return {"loss": 1.0, "AP": next(scores)}

    summary = run(tmp_path / "run", replace(CONFIG, best_by="AP"), validate=validate)
    best = load_file(RunFolder(tmp_path / "run").weights("best"))
    assert all(best[name].equal(value) for name, value in weights[1].items())  # of equals, the first
    assert summary.best == {"epoch": 2, "step": 10, "score": 0.9, "by": "AP"}
    assert summary.figures == {"loss": 1.0, "AP": 0.9}
    assert [line["AP"] for line in lines(tmp_path / "run", "validation")] == [0.2, 0.9, 0.5, 0.9]


def test_a_score_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    scores = iter([math.nan, 0.1, math.nan, 0.05])
    summary = run(tmp_path / "run", validate=lambda network, codec: {"PCK": next(scores)})
    assert summary.best["score"] == 0.1
    assert [line["PCK"] for line in lines(tmp_path / "run", "validation")] == [None, 0.1, None, 0.05]


def test_validation_comes_when_due_and_at_the_end(tmp_path: Path) -> None:
    run(tmp_path / "run", replace(CONFIG, validate_every=3))
    assert [line["epoch"] for line in lines(tmp_path / "run", "validation")] == [3, 4]


def test_the_speed_is_that_of_learning_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    def validate(network: nn.Module, codec: Codec) -> dict[str, float]:
        nonlocal now
        now += 1000
        return {"PCK": 0.5}

    monkeypatch.setattr(record, "time", SimpleNamespace(perf_counter=clock))
    run(tmp_path / "run", replace(CONFIG, log_every=5), validate=validate)
    assert {line["crops_per_second"] for line in lines(tmp_path / "run", "train")} == {5 * 8}  # a second per epoch


def test_a_trained_run_is_loaded_with_the_weights_asked_for(tmp_path: Path) -> None:
    config = TrainingConfig(epochs=1, mask_epochs=0, milestones=(), batch_size=8, log_every=1)
    run(tmp_path / "run", config, method=build_method("cal-tiny", (64, 48)), loader=LargeLoader(), validate=None)
    trained = runs.load(tmp_path / "run")  # never validated: the last are the best
    last = load_file(RunFolder(tmp_path / "run").weights("last"))
    assert not trained.model.training
    assert all(last[name].equal(value) for name, value in trained.model.state_dict().items())
    assert trained.skeleton == SKELETON
    assert trained.method == build_method("cal-tiny", (64, 48))


# Stopping where it must.


class _Poisoned(MicroLoader):
    """Batch 3 of the second epoch is not a number."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Crops]:
        for number, crops in enumerate(super().epoch(epoch, start), start):
            yield crops._replace(images=crops.images * float("nan")) if (epoch, number) == (1, 2) else crops


def test_a_loss_that_is_no_number_stops_at_its_batch_and_keeps_the_weights_before(tmp_path: Path) -> None:
    with pytest.raises(
        NonFiniteLossError, match=r"the loss is nan in epoch 2, batch 3 \(step 7\); the last checkpoint is kept"
    ):
        run(tmp_path / "run", loader=_Poisoned())
    saved = load_numbers(checkpoint(RunFolder(tmp_path / "run")))
    assert saved["step"] == 6
    assert all(value.isfinite().all() for value in load_file(RunFolder(tmp_path / "run").weights("last")).values())


def test_weights_that_are_no_numbers_never_take_the_place_of_sound_ones(tmp_path: Path) -> None:
    """A finite loss can have infinite gradients: the next loss would tell, but a checkpoint may come first."""

    def validate(network: nn.Module, codec: Codec) -> dict[str, float]:
        next(network.parameters()).fill_(float("inf"))
        return {"PCK": 0.0}

    config = replace(PLAIN, epochs=1, mask_epochs=0)
    with pytest.raises(NonFiniteLossError, match="a weight is not finite after step 5; the last checkpoint is kept"):
        run(tmp_path / "run", config, validate=validate)
    assert all(value.isfinite().all() for value in load_file(checkpoint(RunFolder(tmp_path / "run"))).values())


def test_masks_without_offsets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mask_epochs=0"):
        run(tmp_path / "run", method=replace(METHOD, codec="heatmap", loss="heatmap"))
    assert not (tmp_path / "run").exists()


def test_an_unknown_figure_cannot_decide(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="best_by='AP' is none of the validation's figures: PCK"):
        run(tmp_path / "run", replace(CONFIG, best_by="AP"))


# Options.


def test_the_average_remembers_and_buffers_are_copied() -> None:
    network = MicroNetwork(3)
    average = MovingAverage(network, 0.75)
    first = network.last.weight.detach().clone()
    with torch.no_grad():
        network.last.weight += 1
        network.norm.running_mean += 2
    average.update()
    torch.testing.assert_close(average.weights["last.weight"], first + 0.25)
    assert average.weights["norm.running_mean"].equal(network.norm.running_mean)
    with average.in_place_of(network):
        torch.testing.assert_close(network.last.weight.detach(), first + 0.25)
    torch.testing.assert_close(network.last.weight.detach(), first + 1)


def test_averaged_weights_are_those_validated_and_kept(tmp_path: Path) -> None:
    seen = []

    def validate(network: nn.Module, codec: Codec) -> dict[str, float]:
        seen.append(network.last.weight.clone())
        return {"PCK": 1.0}

    run(tmp_path / "run", validate=validate)
    last = load_file(RunFolder(tmp_path / "run").weights("last"))
    state = load_file(checkpoint(RunFolder(tmp_path / "run")))
    assert last["last.weight"].equal(seen[-1])
    assert last["last.weight"].equal(state["average.last.weight"])
    assert not last["last.weight"].equal(state["model.last.weight"])


def test_clipping_bounds_the_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    step = torch.optim.Adam.step

    def spy(self: torch.optim.Adam, *arguments: object) -> object:
        gradients = [parameter.grad for group in self.param_groups for parameter in group["params"]]
        norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    run(tmp_path / "free", PLAIN)
    free, norms = norms, []
    run(tmp_path / "clipped", replace(PLAIN, clip=0.5))
    assert min(free) > 1
    assert max(norms) <= 0.5 + 1e-5


@pytest.mark.parametrize(("clip", "precision", "fused"), [(1.0, "16-mixed", False), (1.0, "32-true", True)])
def test_adam_leaves_the_scaling_of_clipped_gradients_to_fabric(clip: float, precision: str, fused: bool) -> None:
    config = replace(PLAIN, clip=clip, precision=precision)
    learner = Learner(MicroNetwork(3), METHOD, config, build_fabric(accelerator="cpu"))
    assert hasattr(learner.optimizer.optimizer, "_step_supports_amp_scaling") == fused  # what Fabric looks at


@pytest.mark.parametrize("change", [{"precision": "bf16-mixed"}, {"channels_last": True}])
def test_precision_and_layout_change_the_loss_only_by_rounding(tmp_path: Path, change: dict[str, object]) -> None:
    config = replace(PLAIN, log_every=1, epochs=1, mask_epochs=0)
    method = replace(METHOD, model_options={"norm": False})  # without dropout, which draws in another order
    run(tmp_path / "plain", config, method=method)
    run(tmp_path / "changed", replace(config, **change), method=method)
    first, other = (lines(tmp_path / name, "train")[0]["loss"] for name in ("plain", "changed"))
    assert other == pytest.approx(first, rel=0.02 if "precision" in change else 1e-5)
    if "precision" in change:
        assert other != first  # it was another precision


@pytest.mark.slow
def test_a_compiled_network_is_traced_and_keeps_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, compile_ = [], nn.Module.compile

    def traced(network: nn.Module) -> None:  # the tracing without the compiler, which takes long
        compiled.append(network)
        compile_(network, backend="eager")

    monkeypatch.setattr(nn.Module, "compile", traced)
    config = replace(PLAIN, epochs=1, mask_epochs=0)
    method = replace(METHOD, model_options={"norm": False})
    run(tmp_path / "plain", config, method=method)
    assert not compiled
    run(tmp_path / "compiled", replace(config, compile=True), method=method)
    assert len(compiled) == 1
    ours, theirs = (load_file(RunFolder(tmp_path / name).weights("last")) for name in ("compiled", "plain"))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value)


def test_a_run_continues_with_channels_last_and_half_precision(tmp_path: Path) -> None:
    config = replace(CONFIG, channels_last=True, precision="bf16-mixed")
    run(tmp_path / "alone", config)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", config, loader=_Interrupted())
    run(tmp_path / "stopped", config)
    ours, theirs = (load_file(checkpoint(RunFolder(tmp_path / name))) for name in ("stopped", "alone"))
    assert all(ours[name].equal(value) for name, value in theirs.items())


def test_a_run_stopped_after_the_same_validation_again_and_again_has_its_lines_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is behind the checkpoint: each continuation cuts it off, and writes it anew."""

    def stopping(self: Keeper, figures: dict[str, float]) -> None:
        validated(self, figures)
        raise KeyboardInterrupt

    validated = Keeper.after_validation
    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "after_validation", stopping)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / "run")
    run(tmp_path / "run")
    assert [line["step"] for line in lines(tmp_path / "run", "validation")] == [5, 10, 15, 20]


def test_a_run_continues_where_the_loss_does_not_read_all_of_the_network(tmp_path: Path) -> None:
    """Weights without gradients have no state in the optimiser."""
    method = Method("cal-hrnet-tiny", "heatmap", "heatmap", (32, 32), {"head_blocks": 1})
    config = replace(PLAIN, epochs=1, mask_epochs=0, batch_size=2)
    loader = _Larger(batches=2, batch_size=2)
    fit(method, loader, None, config, RunFolder(tmp_path / "run"))
    assert fit(method, loader, None, config, RunFolder(tmp_path / "run"), resume=True).steps == 2


class _Larger(MicroLoader):
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Crops]:
        for crops in super().epoch(epoch, start):
            yield crops._replace(images=nn.functional.interpolate(crops.images, (32, 32)))


class _Interrupted(MicroLoader):
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Crops]:
        for number, crops in enumerate(super().epoch(epoch, start), start):
            if (epoch, number) == (2, 3):
                raise KeyboardInterrupt
            yield crops
