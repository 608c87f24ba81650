"""Every row of every published table has an experiment or is marked cited; presets change sizes and nothing else."""

import hashlib
from dataclasses import fields

import pytest
import torch

from calbook import experiments
from calbook.experiments.catalogue import EXPERIMENTS, TABLES
from calbook.experiments.experiment import Experiment
from calbook.experiments.presets import PRESETS
from calbook.experiments.published import FILE, all_rows, published
from calbook.experiments.published import TABLES as PUBLISHED_TABLES
from calbook.experiments.tables import PAPER_TABLES
from calbook.models import build_model

SMALL = ("smoke", "laptop", "gpu")


def test_every_published_row_is_covered_once():
    shown = [row.published.key for table in PUBLISHED_TABLES for row in TABLES[table].rows if row.published]
    assert sorted(shown) == sorted(row.key for row in all_rows())


def test_the_published_file_is_read_whole():
    rows = all_rows()
    assert sum(len(row.figures) for row in rows) == len(FILE.read_text().splitlines()) - 1 == 834
    assert len(rows) == 114
    assert hashlib.sha256(FILE.read_bytes()).hexdigest().startswith("96033a13a9ea536f")


@pytest.mark.parametrize("name", TABLES)
def test_a_row_is_run_or_cited(name):
    for row in TABLES[name].rows:
        assert row.experiment is not None or row.cited, row.label
        if row.experiment is not None:
            assert EXPERIMENTS[row.experiment.name] is row.experiment
            assert row.evaluation in {evaluation.name for evaluation in row.experiment.evaluations}
        if row.published is not None:
            assert row.published in published(name if name in PUBLISHED_TABLES else "8")


def test_only_figures_of_others_are_cited():
    cited = {row.label for table in PAPER_TABLES.values() for row in table.rows if row.cited}
    ours = {"HRNet", "UDP", "DARK", "CAL", "SimpleBaseline", "MRHeatNet1", "MRHeatNet2", "MRFeaNet1", "MRFeaNet2"}
    assert not cited & ours
    assert {"CPN", "OpenPose", "RMPE", "8-stage Hourglass", "IPR"} <= cited
    run_as_well = [row for table in PAPER_TABLES.values() for row in table.rows if row.cited and row.experiment]
    assert {row.experiment.family for row in run_as_well} == {"integral"}


@pytest.mark.parametrize("name", TABLES)
def test_a_row_runs_at_the_size_and_width_it_is_printed_with(name):
    for row in TABLES[name].rows:
        if row.published is None or row.experiment is None or "SPSR" in row.label or row.cited:
            continue
        height, width = row.experiment.method.input_size
        assert f"{height}x{width}" == row.published.input_size
        depth = row.published.backbone.lower().replace("hrnet-", "").replace("resnet-", "r")
        assert row.experiment.backbone == depth
        assert row.experiment.method.model.endswith(depth)


@pytest.mark.parametrize("preset", PRESETS)
def test_names_tell_trainings_apart(preset):
    """``runs_of`` raises where two different trainings would share a name."""
    names = {run.experiment.name for table in TABLES for run in experiments.runs_of(table, preset)}
    assert len(names) > 30


@pytest.mark.parametrize("preset", SMALL)
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if EXPERIMENTS[name].is_trained])
def test_a_preset_changes_sizes_and_budgets_only(name, preset):
    published, small = EXPERIMENTS[name], EXPERIMENTS[name].at(preset)
    assert small.preset == preset
    assert small.family == published.family
    assert small.variant == published.variant
    for part in ("model", "codec", "loss"):
        options = f"{part}_options"
        tied = published.constants.get(part, {})
        changed = {
            key: value
            for key, value in getattr(published.method, options).items()
            if getattr(small.method, options).get(key) != value
        }
        assert changed.items() <= tied.items(), (options, changed)
        assert not getattr(small.method, options).keys() - getattr(published.method, options).keys()
    assert small.method.codec == published.method.codec
    assert small.method.loss == published.method.loss
    assert small.method.model.rpartition("-")[0] == published.method.model.rpartition("-")[0]
    free = {"epochs", "mask_epochs", "milestones", "learning_rate", "batch_size", "precision", "validate_every"}
    for field in fields(published.training):
        if field.name not in free:
            assert getattr(small.training, field.name) == getattr(published.training, field.name), field.name
    assert bool(small.training.mask_epochs) == bool(published.training.mask_epochs)
    assert bool(small.training.epochs) == bool(published.training.epochs)


@pytest.mark.parametrize("preset", ["smoke", "laptop"])
def test_small_networks_can_be_built_and_take_their_sizes(preset):
    built = set()
    for table in TABLES:
        for run in experiments.runs_of(table, preset):
            method = run.experiment.method
            if run.experiment.is_trained and (method.model, method.input_size) not in built:
                built.add((method.model, method.input_size))
                with torch.device("meta"):  # no memory, no random numbers
                    build_model(method.model, 17, input_size=method.input_size, **method.model_options)
                method.build_codec()
                method.build_loss()
    assert len(built) >= 6


def test_the_published_configuration():
    """Against the published files, row by row: sigma, batch, lambda, scale, blocks."""
    cal = experiments.get("cal-w32-64x48")
    assert cal.method.build_codec().sigma == 0.3
    assert (cal.method.build_loss().offset_weight, cal.method.build_loss().offset_scale) == (0.7, 1.5)
    assert (cal.training.batch_size, cal.training.epochs, cal.training.mask_epochs) == (128, 210, 40)
    assert cal.training.milestones == (170, 200)
    wide = experiments.get("cal-w48-64x48")
    assert wide.method.build_codec()._sigma == 0.5
    assert (wide.method.build_loss().offset_weight, wide.method.build_loss().offset_scale) == (1.0, 1.0)
    assert wide.training.batch_size == 256
    low = experiments.get("cal-w32-128x96")
    assert low.method.build_codec()._sigma == 1.0
    assert low.method.build_codec().heatmap_support == "disk"
    assert low.method.build_loss().offset == "l1"
    high = experiments.get("cal-w48-384x288")
    assert high.training.batch_size == 72
    assert high.method.model_options == {"head_blocks": 1}
    hrnet = experiments.get("hrnet-w32-64x48")
    assert hrnet.method.build_codec().convention == "biased"
    assert hrnet.evaluations[0].shift
    assert hrnet.training.mask_epochs == 0
    udp = experiments.get("udp-w32-64x48").method
    assert udp.build_codec().blur == (15, 7)
    assert udp.model == "udp-hrnet-w32"
    assert experiments.get("mrfeanet2-r50-256x192").training.milestones == (120, 150)
    assert experiments.get("simple-baseline-r50-256x256-mpii").data.augmentation == "mpii"


@pytest.mark.parametrize(("name", "parameters"), [("cal-w32-64x48", 17_846_739), ("hrnet-w32-64x48", 12_802_417)])
def test_networks_of_the_smallest_size_have_three_branches(name, parameters):
    network = experiments.get(name).method.build_model(17)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_controls_learn_for_as_long():
    epochs = {name: experiments.get(name).training.all_epochs for name in EXPERIMENTS if "w32-128x96-" in name}
    assert {count for name, count in epochs.items() if name.startswith("cal")} == {250}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: experiments.get("cal-w32-128"), "did you mean"),
        (lambda: experiments.table("10"), "unknown table '10'"),
        (lambda: experiments.get("cal-w32-128x96").at("huge"), "unknown preset 'huge'"),
        (lambda: experiments.get("cal-w32-128x96").at("gpu").at("laptop"), "at preset gpu already"),
    ],
)
def test_unknown_names_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_experiment_at_its_own_preset_is_itself():
    experiment: Experiment = experiments.get("cal-w32-128x96")
    assert experiment.at("paper") is experiment
    small = experiment.at("laptop")
    assert small.at("laptop") is small


def test_nine_questions():
    assert [name for name in TABLES if name.startswith("q")] == [f"q{number}" for number in range(1, 10)]
