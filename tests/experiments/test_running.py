"""Nothing is lost, nothing is counted twice, nothing is changed unnoticed."""

import fcntl
import hashlib
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny_coco
import torch
from lightning_fabric.utilities import rank_zero_only

from calbook import cli, results, runs
from calbook.experiments import reports, running, trunk
from calbook.experiments.presets import PRESETS
from calbook.experiments.running import Job, Place, is_done, jobs_of, run_jobs, settings_of
from calbook.results import ResultsError
from calbook.runs import RunFolder
from calbook.training import loop
from calbook.training.folder import checkpoint, save_tensors

CAL = "cal-tiny-64x48"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A smoke run of CAL from beginning to end, with its data and trunk."""
    folder = tmp_path_factory.mktemp("undisturbed")
    place = Place(folder / "data", folder / "runs", folder / "rows")
    assert run_jobs([job()], place) == []
    return place


def job(seed=0):
    (found,) = jobs_of("3", "smoke", [seed], [CAL])
    return found


def again(place, folder):
    """The same data and trunk, and no run yet."""
    fresh = replace(place, runs=folder / "runs", rows=folder / "rows")
    (fresh.runs / "smoke").mkdir(parents=True)
    shutil.copy(place.runs / "smoke" / "trunk-tiny.safetensors", fresh.runs / "smoke")
    return fresh


def figures(place):
    return results.read(job().file(place.rows))["figures"]


def test_a_results_file_says_all(undisturbed):
    record = results.read(job().file(undisturbed.rows))
    assert record["settings"] == settings_of(job())
    assert record["command"] == f"calbook reproduce 3 --preset smoke --rows {CAL} --seed 0"
    found = record["figures"]
    assert set(found["evaluations"]) == {"val2017", "coarse"}
    assert found["displacements"]["joints"] > 0
    assert found["curve"][-1]["stage"] == 2
    assert found["weights"] == runs.load(job().folder(undisturbed.runs), "last").weights_hash
    start = undisturbed.runs / "smoke" / "trunk-tiny.safetensors"
    assert found["start"] == hashlib.sha256(start.read_bytes()).hexdigest()
    assert found["parameters"] == sum(p.numel() for p in job().experiment.method.build_model(17).parameters())


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 1])
def test_a_training_that_was_cut_off_continues_to_the_bit(undisturbed, tmp_path, monkeypatch, step):
    place, learn, calls = again(undisturbed, tmp_path), loop.learn, []

    def cut_off(*arguments, **options):
        calls.append(1)
        if len(calls) == step + 1:
            raise KeyboardInterrupt
        return learn(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learn", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run_jobs([job()], place)
    assert not place.rows.exists()
    run_jobs([job()], place)
    assert figures(place)["weights"] == figures(undisturbed)["weights"]
    assert figures(place)["evaluations"] == figures(undisturbed)["evaluations"]
    assert len(figures(place)["curve"]) == len(figures(undisturbed)["curve"])


@pytest.mark.slow
def test_scoring_that_was_cut_off_does_not_train_again(undisturbed, tmp_path, monkeypatch):
    place = again(undisturbed, tmp_path)

    def cut_off(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, "score", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run_jobs([job()], place)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "learn", cut_off)
        run_jobs([job()], place)
    assert figures(place)["weights"] == figures(undisturbed)["weights"]


def test_what_is_done_is_not_run_again(undisturbed, monkeypatch):
    monkeypatch.setattr(running, "run_job", None)
    said = []
    assert run_jobs([job()], undisturbed, said.append) == []
    assert said == ["1 of 1 are done"]


def test_a_job_that_another_process_runs_is_left_to_it(undisturbed, tmp_path, monkeypatch):
    place = again(undisturbed, tmp_path)
    monkeypatch.setattr(running, "run_job", None)
    folder = job().folder(place.runs)
    with folder.with_name(f".{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run_jobs([job()], place) == [job()]


def test_rows_that_two_tables_show_are_one_file():
    of_table_8 = {found.name for found in jobs_of("8", "laptop", [0, 1])}
    of_table_3 = {found.name for found in jobs_of("3", "laptop", [0, 1])}
    assert len(of_table_8) == 16
    assert of_table_8 & of_table_3 == {"cal-tiny-64x48-laptop-seed0", "cal-tiny-64x48-laptop-seed1"}
    assert len(jobs_of("8", "paper", [0])) == 16  # both widths


def test_every_row_has_its_first_seed_before_any_has_its_second():
    assert [found.seed for found in jobs_of("3", "laptop", [0, 1])] == [0, 0, 1, 1]
    assert len(jobs_of("q1", "laptop", [0, 1, 2])) == 4  # a perfect network has no seed
    assert {found.seed for found in jobs_of("q1", "laptop", [2]) if not found.experiment.is_trained} == {0}


def test_rows_are_chosen_by_either_name():
    by_ours, by_theirs = (jobs_of("8", "laptop", [0], [name]) for name in (CAL, "cal-w32-64x48"))
    assert by_ours == by_theirs
    with pytest.raises(ValueError, match="did you mean cal-tiny-64x48"):
        jobs_of("8", "laptop", [0], ["cal-tiny-64x4"])


def test_a_file_of_other_settings_is_not_done_and_not_shown(undisturbed, tmp_path):
    changed = json.loads(json.dumps(settings_of(job())))
    changed["training"]["learning_rate"] = 0.5
    write(tmp_path, job(), {"val2017": {"AP": 0.5}}, settings=changed)
    assert not is_done(job(), tmp_path)
    assert not any(line.records for line in reports.lines_of("3", "smoke", tmp_path))


def write(rows, found, evaluations, settings=None, **more):
    results.write(
        found.file(rows),
        experiment="table row",
        settings=settings or settings_of(found),
        figures={"evaluations": evaluations, **more},
        seconds=1,
        command=found.command,
    )


def test_a_table_puts_ours_beside_theirs(tmp_path):
    for seed, ap in enumerate((0.61, 0.62, 0.66)):
        (found,) = jobs_of("3", "laptop", [seed], [CAL])
        write(tmp_path, found, {"val2017": {"AP": ap, "AP50": -1.0}, "coarse": {"AP": 0.1}})
    disk, mixed = reports.cells(reports.lines_of("3", "laptop", tmp_path), "3")
    assert disk[:6] == ["binary heatmap (disk)", "HRNet-W32 128x96", "cal-tiny-64x48-disk", "73.3", None, 0]
    assert mixed[:7] == ["mixed Gaussian mask", "HRNet-W32 128x96", "cal-tiny-64x48", "74.3", "63.0 ± 2.6", 3, None]
    text = reports.text_table("3", "laptop", tmp_path)
    assert text.splitlines()[0] == "Table 3: Mask of the offset loss (laptop)"
    assert "63.0 ± 2.6" in text
    (found,) = reports.summary("3", "laptop", tmp_path).values()
    assert found["seeds"] == [0, 1, 2]
    assert found["mean"]["AP"] == pytest.approx(63.0)
    assert len(reports.headers(reports.lines_of("3", "laptop", tmp_path), "3")) == len(mixed)


def test_cited_rows_are_marked_and_mpii_has_its_own_columns(tmp_path):
    rows = reports.cells(reports.lines_of("mr-mpii", "laptop", tmp_path), "mr-mpii")
    assert rows[0][0] == "Pishchulin et al. (cited)"
    assert rows[0][2] is None
    pictures = reports.headers(reports.lines_of("mr-mpii", "paper", tmp_path), "mr-mpii")
    assert pictures[3:8] == ["PCKh, paper", "PCKh, ours", "seeds", "head, ours", "shoulder, ours"]
    headers = reports.headers(reports.lines_of("mr-mpii", "laptop", tmp_path), "mr-mpii")
    assert headers[3:7] == ["PCKh, paper", "AP, ours", "seeds", "AP50, ours"]
    assert len(headers) == len(rows[0])
    (found,) = jobs_of("mr-mpii", "laptop", [0], ["simple-baseline-r50-256x256-mpii"])
    write(tmp_path, found, {"val2017": {"AP": 0.5}})
    assert "50.0" in reports.text_table("mr-mpii", "laptop", tmp_path)
    assert rows[12][:5] == ["SimpleBaseline", "ResNet-50 256x256", "simple-baseline-r18-128x128-mpii", "88.5", None]


def test_edited_results_are_noticed(undisturbed, tmp_path):
    rows = tmp_path / "rows"
    shutil.copytree(undisturbed.rows, rows)
    assert reports.check_rows(rows) == 1
    assert results.verify(rows) == 1
    file = job().file(rows)
    text = file.read_text()
    record = json.loads(text)
    record["figures"]["evaluations"]["val2017"]["AP"] = 0.99
    file.write_text(json.dumps(record))
    for check in (reports.check_rows, results.verify):
        with pytest.raises(ResultsError, match="the file was changed after it was written"):
            check(rows)
    del record["sha256"]
    file.write_text(json.dumps(record))
    with pytest.raises(ResultsError, match="sha256: missing"):
        results.verify(rows)
    file.write_text(text)
    file.rename(file.with_name("cal-tiny-64x48-smoke-seed1.json"))
    with pytest.raises(ResultsError, match="the name does not belong to its settings"):
        reports.check_rows(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda settings, more: settings["training"].update(epochs=9), "settings.training: not those"),
        (lambda settings, more: settings.pop("data"), "settings.data: not those"),
        (lambda settings, more: more.update(parameters=1), "figures.parameters: the network has"),
        (lambda settings, more: settings.update(name="cal-tiny"), "table 3 has no cal-tiny at smoke"),
    ],
)
def test_forged_results_are_noticed(tmp_path, change, message):
    settings, more = settings_of(job()), {"parameters": 759_075}
    change(settings, more)
    write(tmp_path, job(), {"val2017": {"AP": 0.99}}, settings, **more)
    with pytest.raises(ResultsError, match=message):
        reports.check_rows(tmp_path)


def test_a_row_from_another_trunk_is_noticed(undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(trunk, "KEPT", tmp_path)
    kept = tmp_path / "trunk-tiny-smoke.safetensors"
    shutil.copy(undisturbed.runs / "smoke" / "trunk-tiny.safetensors", kept)
    assert reports.check_rows(undisturbed.rows) == 1
    kept.write_bytes(kept.read_bytes()[:-4] + bytes(4))
    with pytest.raises(ResultsError, match=r"figures\.start: not the trunk that is kept, trunk-tiny-smoke"):
        reports.check_rows(undisturbed.rows)


def test_committed_rows_are_what_their_experiments_write():
    assert reports.check_rows() >= 0


def test_the_learning_rates_are_those_of_the_search():
    """Before the search is committed, every method has the published rate."""
    assert dict(PRESETS["laptop"].learning_rates) == reports.searched_rates("laptop")


def test_the_search_picks_by_people_whom_no_table_shows(tmp_path):
    for found in jobs_of("rates", "laptop", [100]):
        assert [evaluation.split for evaluation in found.experiment.evaluations] == ["tune2017"]
        assert reports.searched_rates("laptop", tmp_path) == {}
        rate = found.experiment.training.learning_rate
        write(
            tmp_path, found, {"tune2017": {"AP": 0.5 if (rate == 2e-3) == (found.experiment.family == "cal") else 0.4}}
        )
    assert reports.searched_rates("laptop", tmp_path) == {"hrnet": 5e-4, "udp": 5e-4, "dark": 5e-4, "cal": 2e-3}


def test_the_time_of_a_run_in_pieces_is_that_of_all_pieces(tmp_path, monkeypatch):
    """The clock of a training goes on from its checkpoint, here after 100 seconds."""
    place, run = Place(rows=tmp_path, runs=tmp_path), RunFolder(job().folder(tmp_path))
    save_tensors(checkpoint(run), {"weight": torch.zeros(1)}, {"seconds": 100.0})
    run.metrics.write_text(json.dumps({"kind": "train", "step": 2, "stage": 1, "loss": 0.5, "seconds": 150.0}) + "\n")
    network = job().experiment.method.build_model(17)
    monkeypatch.setattr(running, "prepare", lambda *_: None)
    monkeypatch.setattr(running, "check_data", lambda *_: None)
    monkeypatch.setattr(running, "_start", lambda *_: None)
    monkeypatch.setattr(running, "train", lambda *_: SimpleNamespace(is_global_zero=True, device="cpu"))
    monkeypatch.setattr(running.runs, "load", lambda *_: SimpleNamespace(model=network, weights_hash=""))
    monkeypatch.setattr(running, "score", lambda *_: {"evaluations": {"val2017": {"AP": 0.5}}})
    record = results.read(running.run_job(job(), place))
    assert record["figures"]["training_seconds"] == 150.0
    assert 100.0 < record["seconds"] < 140.0


def calbook(monkeypatch, *words):
    monkeypatch.setattr(cli, "COMMANDS", ("calbook.cli.reproduce",))
    return cli.main(["reproduce", *words])


def test_the_command_lists_and_shows(monkeypatch, capsys, undisturbed):
    assert calbook(monkeypatch, "--list", "--preset", "laptop") == 0
    assert "cal-tiny-64x48-one-stage" in capsys.readouterr().out
    assert calbook(monkeypatch, "3", "--preset", "smoke", "--show", "--results", str(undisturbed.rows)) == 0
    assert "74.3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["10"], "unknown table '10'"),
        (["10", "--list"], "unknown table '10'"),
        (["8", "--rows", "nobody"], "table 8 has no row 'nobody'"),
        (["8", "--preset", "paper", "--rows", "cal-w32-64x48", "--data", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(monkeypatch, capsys, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    assert calbook(monkeypatch, *words, "--results", str(tmp_path / "rows")) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("8", "cal-w32-128x96", "no split 'test-dev2017'"),  # which table 1 asks for
        ("mr-val", "simple-baseline-r50-256x192", "AP_H_56_person.json: missing"),
    ],
)
def test_what_scoring_needs_is_looked_for_before_training(monkeypatch, capsys, tmp_path, table, row, message):
    monkeypatch.chdir(tmp_path)
    tiny_coco.write(tmp_path / "data")
    monkeypatch.setattr(running, "train", None)
    assert calbook(monkeypatch, table, "--preset", "paper", "--rows", row, "--results", "rows") == 2
    assert message in capsys.readouterr().err


def test_the_first_process_prints_for_all(monkeypatch, capsys, undisturbed):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert calbook(monkeypatch, "3", "--preset", "smoke", "--show", "--results", str(undisturbed.rows)) == 0
    assert capsys.readouterr().out == ""


def test_a_job_is_named_by_what_it_is():
    assert job(3).name == "cal-tiny-64x48-smoke-seed3"
    assert Job(jobs_of("q1", "smoke", [0])[0].experiment, 0, "q1").name.endswith("-smoke")
