import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import calbook
from calbook import results
from calbook.results import ResultsError

GOOD = {
    "experiment": "quantization",
    "settings": {"size": (64, 48), "flip": True, "seed": None},
    "figures": {"argmax": {"mean": 0.38, "joints": np.int64(7)}, "ap": [np.float32(0.5), 1], "verdict": "yes"},
    "seconds": 1.23456,
    "command": "calbook reproduce table1 --preset laptop",
}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "a.json"
    results.write(path, **GOOD)
    record = results.read(path)
    assert set(record) == set(results.FIELDS)
    assert record["experiment"] == "quantization"
    assert record["command"] == GOOD["command"]
    assert record["settings"] == {"size": [64, 48], "flip": True, "seed": None}
    assert record["figures"] == {"argmax": {"mean": 0.38, "joints": 7}, "ap": [0.5, 1], "verdict": "yes"}
    assert record["seconds"] == 1.235
    assert record["date"].endswith("+00:00")
    assert record["versions"]["calbook"] == calbook.__version__
    assert record["machine"]["cores"] >= 1
    assert list(path.parent.iterdir()) == [path]


def test_figures_keep_every_digit(tmp_path):
    results.write(tmp_path / "a.json", **(GOOD | {"figures": {"third": 1 / 3, "tiny": 1e-300}}))
    assert results.read(tmp_path / "a.json")["figures"] == {"third": 1 / 3, "tiny": 1e-300}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"figures": {"a": {"b": [0.0, math.nan]}}}, r"a\.json: figures\.a\.b\[1\]: nan is not finite"),
        ({"figures": {"a": -math.inf}}, r"figures\.a: -inf is not finite"),
        ({"figures": {"a": None}}, r"figures\.a: a NoneType cannot be recorded"),
        ({"figures": {"a": np.zeros(2)}}, r"figures\.a: a ndarray cannot be recorded"),
        ({"figures": {1: 2}}, "figures: the key 1 is not a text"),
        ({"figures": {}}, "figures: empty"),
        ({"settings": {"lr": math.nan}}, r"settings\.lr: nan is not finite"),
        ({"experiment": 3}, "experiment: a int does not belong here"),
    ],
)
def test_bad_records_are_refused_and_leave_nothing(tmp_path, change, message):
    with pytest.raises(ResultsError, match=message):
        results.write(tmp_path / "a.json", **(GOOD | change))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    results.write(path, **GOOD)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space left"):
        results.write(path, **(GOOD | {"seconds": 9}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_whole_or_absent(tmp_path):
    target = tmp_path / "folder" / "file"
    results.write_atomically(target, b"first")
    with pytest.raises(TypeError):
        results.write_atomically(target, "no bytes")
    assert target.read_bytes() == b"first"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("machine"), "machine: missing"),
        (lambda r: r.update(note="by hand"), "note: unknown field"),
        (lambda r: r.update(seconds="1"), "seconds: a str does not belong here"),
        (lambda r: r.update(seconds=True), "seconds: a bool does not belong here"),
        (lambda r: r["machine"].pop("cpu"), "machine: cpu: missing"),
        (lambda r: r["versions"].update(pip="1"), "versions: pip: unknown field"),
        (lambda r: r["figures"].update(x=None), r"figures\.x: a NoneType"),
        (lambda r: r.update(date="yesterday"), "date: 'yesterday' is not a date"),
        (lambda r: r.update(commit={"hash": "abc"}), "commit: dirty: missing"),
        (lambda r: r["figures"].update(x=math.nan), "NaN is not a number"),
    ],
)
def test_a_file_changed_by_hand_is_refused(tmp_path, change, message):
    path = tmp_path / "a.json"
    results.write(path, **GOOD)
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ResultsError, match=message) as caught:
        results.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_what_is_not_a_results_file_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ResultsError, match=r"a\.json: not a results file"):
        results.read(tmp_path / "a.json")


def test_paths_beside_the_repository_can_be_run_again(tmp_path, monkeypatch):
    home = tmp_path / "me"
    monkeypatch.setattr(results, "REPOSITORY", home / "calbook")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(home))
    settings = {
        "inside": f"{home}/calbook/experiments/a.json",
        "beside": f"--data={home}/shared/data/coco",
        "dots": f"{home}/calbook/../../secret/b.json",
        "here": f"{tmp_path}/elsewhere/c.json",
        "home": "~/shared/d.json",
        "away": f"{tmp_path}/f.json",
    }
    results.write(tmp_path / "a.json", **(GOOD | {"settings": settings}))
    assert results.read(tmp_path / "a.json")["settings"] == {
        "inside": "experiments/a.json",
        "beside": "--data=../shared/data/coco",
        "dots": "path/to/b.json",
        "here": "c.json",
        "home": "../shared/d.json",
        "away": "path/to/f.json",
    }
    monkeypatch.setattr(results, "REPOSITORY", Path("/calbook"))  # everything on the disk lies beside it
    results.write(tmp_path / "b.json", **(GOOD | {"settings": {"away": f"{home}/f.json"}}))
    assert results.read(tmp_path / "b.json")["settings"] == {"away": "path/to/f.json"}


def test_a_tilde_is_home_only_before_a_slash(tmp_path):
    texts = {"note": "~0.3 px", "user": "~nobody-of-this-name/x", "share": "~"}
    results.write(tmp_path / "a.json", **(GOOD | {"figures": texts, "settings": {"note": "~0.3 px"}}))
    record = results.read(tmp_path / "a.json")
    assert record["figures"] == texts
    assert record["settings"] == {"note": "~0.3 px"}


def test_no_folder_of_this_machine_is_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "REPOSITORY", tmp_path / "calbook-0")
    command = f"{tmp_path}/calbook evaluate {tmp_path}/runs/a --data=/somewhere/else/coco --size 64x48"
    settings = {"data": "/somewhere/else/coco", "inner": [{"file": f"{tmp_path}/runs/a"}], "unit": "images/s"}
    results.write(tmp_path / "a.json", **(GOOD | {"command": command, "settings": settings}))
    record = results.read(tmp_path / "a.json")
    assert record["command"] == "calbook evaluate runs/a --data=path/to/coco --size 64x48"
    assert record["settings"] == {"data": "path/to/coco", "inner": [{"file": "runs/a"}], "unit": "images/s"}
    text = (tmp_path / "a.json").read_text()
    assert str(tmp_path) not in text
    assert "/somewhere" not in text


def git(folder, *arguments):
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | identity).stdout


def test_the_commit_is_recorded_and_other_results_do_not_make_it_dirty(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "REPOSITORY", tmp_path)
    assert results.commit() is None
    git(tmp_path, "init", "-q")
    assert results.commit() is None  # no commit yet
    (tmp_path / "code.py").write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD").strip()
    assert results.commit() == {"hash": head, "dirty": False}
    results.write(tmp_path / "experiments" / "results" / "a.json", **GOOD)
    assert results.commit() == {"hash": head, "dirty": False}
    (tmp_path / "code.py").write_text("a = 2\n")
    assert results.commit() == {"hash": head, "dirty": True}


def test_every_recorded_result_is_as_it_was_written():
    assert results.verify() >= len(list(results.RESULTS.glob("*.json"))) > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["figures"]["argmax"].update(mean=0.39),
        lambda r: r["settings"].update(flip=False),
        lambda r: r.update(seconds=2),
        lambda r: r["machine"].update(cpu="another"),
        lambda r: r.update(sha256="0" * 64),
    ],
)
def test_a_changed_figure_is_noticed(tmp_path, change):
    path = tmp_path / "a.json"
    results.write(path, **GOOD)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record, sort_keys=True))  # the layout does not count
    assert results.verify(tmp_path) == 1
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ResultsError, match=r"a\.json: sha256: the file was changed"):
        results.verify(tmp_path)


def test_a_file_without_a_digest_is_read_but_not_verified(tmp_path):
    path = tmp_path / "a.json"
    results.write(path, **GOOD)
    record = json.loads(path.read_text())
    del record["sha256"]
    path.write_text(json.dumps(record))
    assert results.read(path)["figures"] == record["figures"]
    with pytest.raises(ResultsError, match="sha256: missing"):
        results.verify(tmp_path)
