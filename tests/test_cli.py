import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_coco

import calbook
from calbook import cli, threads


def run(*arguments):
    """Exit status of the command, as a process would give it."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code


def only_line(capsys):
    """The one line of complaint; nothing else was printed."""
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith("calbook: error: ")
    return output.err


COMMANDS = [
    ("info",),
    ("data", "check"),
    ("data", "get"),
    ("data", "synthesize"),
    ("train",),
    ("evaluate",),
    ("predict",),
    ("export",),
    ("reproduce",),
    ("bench",),
]


def test_threads_wait_as_the_environment_says_or_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert run("info") == 0
    assert (os.environ["GOMP_SPINCOUNT"], os.environ["OMP_WAIT_POLICY"]) == ("7", threads.WAITING["OMP_WAIT_POLICY"])


def test_make_lets_threads_wait_as_the_command_does() -> None:
    lines = (Path(__file__).parents[1] / "Makefile").read_text().splitlines()
    assert {f"export {name} = {value}" for name, value in threads.WAITING.items()} <= set(lines)


@pytest.mark.parametrize("command", [(), ("data",), *COMMANDS])
def test_every_help_has_an_example(command, capsys):
    assert run(*command, "--help") == 0
    assert f"example:\n  calbook {' '.join(command)}" in capsys.readouterr().out


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"calbook {calbook.__version__}\n"


def test_help_does_not_load_torch():
    code = "import sys, calbook.cli; calbook.cli._parser().format_help(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_info_names_versions_and_data(capsys, tmp_path, monkeypatch):
    tiny_coco.write(tmp_path / "data" / "tiny")
    monkeypatch.chdir(tmp_path)
    assert run("info") == 0
    output = capsys.readouterr().out
    assert "torch" in output
    assert "data/tiny/annotations/person_keypoints_val2017.json" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "arguments are required: COMMAND; see calbook --help"),
        (("train-everything",), "invalid choice: 'train-everything'"),
        (("data", "check"), "required: FOLDER; see calbook data check --help"),
        (("data", "check", "nowhere"), "nowhere: No such file or directory"),
        (("data", "synthesize"), "required: --out"),
        (("data", "synthesize", "--out", "o", "--size", "64"), "--size: '64' is not a size; write height x width"),
        (("data", "synthesize", "--out", "o", "--size", "64x4"), "--size: '64x4' is not a size"),
        (("data", "synthesize", "--out", "o", "--count", "0"), "--count: '0' is not a whole number from 1 up"),
        (("data", "synthesize", "--out", "o", "--seed", "-1"), "--seed"),
        (("data", "synthesize", "--out", "o", "--split", "../up"), "--split: '../up' cannot name a set"),
        (("data", "synthesize", "--out", "o", "--cuont", "3"), "unrecognized arguments: --cuont 3"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert message in only_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_check_of_a_sound_folder(tmp_path, capsys):
    tiny_coco.write(tmp_path / "set")
    assert run("data", "check", tmp_path / "set") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path / 'set'}: no defects, no warnings"


def test_check_names_all_defects_and_fails(tmp_path, capsys):
    content = tiny_coco.document()
    content["annotations"][0] |= {"keypoints": [1], "area": -1}
    content["annotations"][1]["bbox"] = [5, 5, 0, 50]
    tiny_coco.write(tmp_path / "set", content)
    (tmp_path / "set" / "val2017" / "0003.jpg").unlink()
    assert run("data", "check", tmp_path / "set") == 1
    output = capsys.readouterr()
    assert "annotation 10: keypoints: has 1 numbers instead of 9" in output.out
    assert "annotation 11: bbox: the width of the box is 0" in output.out
    assert "val2017/0003.jpg: image 3" in output.out
    assert output.out.splitlines()[-1].endswith(": 3 defects, no warnings")
    assert output.err == ""


@pytest.mark.parametrize("damage", ["cut", "type", "jpeg", "unreadable name", "absolute name", "name above"])
def test_check_never_ends_in_a_traceback(tmp_path, damage, capsys):
    content = tiny_coco.document()
    text = json.dumps(content)
    if damage == "cut":
        text = text[: len(text) // 2]
    elif damage == "type":
        text = '{"images": [1], "annotations": ["a", null, {"id": {}}], "categories": "x"}'
    elif damage == "unreadable name":
        content["images"][0]["file_name"] = "a\0b\n.jpg"
        text = json.dumps(content)
    elif damage.endswith(("name", "above")):
        content["images"][0]["file_name"] = "/data/a.jpg" if damage == "absolute name" else "../../x.jpg"
        text = json.dumps(content)
    tiny_coco.write(tmp_path / "set", text)
    if damage == "jpeg":
        (tmp_path / "set" / "val2017" / "0001.jpg").write_bytes(b"\xff\xd8\xff")
    assert run("data", "check", tmp_path / "set") == 1
    output = capsys.readouterr()
    assert output.err == ""
    assert "Traceback" not in output.out


@pytest.fixture
def synthesize(monkeypatch, tmp_path):
    """Runs the command with ``write_coco`` replaced, or as it is."""

    def call(*arguments, writer=None):
        if writer is not None:
            monkeypatch.setattr("calbook.data.synthetic.write_coco", writer)
        return run("data", "synthesize", "--out", tmp_path / "new" / "set", *arguments)

    return call


def test_synthesize_writes_a_set_that_passes_the_check(synthesize, tmp_path, capsys):
    assert synthesize("--split", "val2017", "--count", 2, "--size", "64x48", "--seed", 5) == 0
    assert "2 pictures in" in capsys.readouterr().out
    assert run("data", "check", tmp_path / "new" / "set") == 0
    assert "2 images" in capsys.readouterr().out
    before = sorted(tmp_path.rglob("*"))
    assert synthesize("--split", "val2017", "--count", 1) == 2
    message = only_line(capsys)
    assert "already has a split 'val2017': choose another name" in message
    assert "--overwrite" in message
    assert sorted(tmp_path.rglob("*")) == before
    assert synthesize("--split", "val2017", "--count", 1, "--size", "64x48", "--overwrite") == 0
    assert "1 picture in" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("*.jpg"))) == 1


def test_synthesize_passes_its_arguments_on(synthesize, tmp_path):
    called = []

    def writer(*arguments, progress, overwrite):
        called.append((*arguments, overwrite))
        return "file"

    given = ("--split", "a", "--count", 3, "--size", "64x48", "--seed", 5)
    assert synthesize(*given, writer=writer) == 0
    assert synthesize(*given, "--overwrite", writer=writer) == 0
    assert called == [(tmp_path / "new" / "set", "a", 3, (64, 48), 5, overwrite) for overwrite in (False, True)]


@pytest.mark.parametrize(
    ("end", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "calbook: interrupted"),
        (OSError(28, "No space left on device"), 2, "calbook: error: No space left on device"),
    ],
)
@pytest.mark.parametrize("when", ["at once", "in the middle"])
def test_an_interrupted_synthesis_leaves_nothing(synthesize, monkeypatch, tmp_path, capsys, end, status, message, when):
    from calbook.data.synthetic import coco_layout

    render = coco_layout.render
    calls = []

    def stopped(*arguments, **options):
        calls.append(arguments)
        if when == "at once" or len(calls) > 1:
            raise end
        return render(*arguments, **options)

    monkeypatch.setattr(coco_layout, "render", stopped)
    monkeypatch.setattr(coco_layout, "_BATCH", 2)
    assert synthesize("--count", 6, "--size", "64x48") == status
    assert capsys.readouterr().err == message + "\n"
    assert list(tmp_path.iterdir()) == []
