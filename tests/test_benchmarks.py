"""The benchmarks measure what they say, and `calbook bench` lists and runs them."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from calbook import cli, results
from calbook.cli import bench
from calbook.cli.bench import RESULTS, ratios, recorded
from calbook.codecs import build_codec
from calbook.losses import build_loss
from calbook.poses import PoseMaps, Targets

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("bench_*.py"))


def run(*words: object) -> int:
    """Exit status of the command, as a process would give it."""
    try:
        return cli.main([str(word) for word in words])
    except SystemExit as stop:
        return int(str(stop.code))


@pytest.fixture(scope="module")
def load() -> Iterator[Any]:
    """Imports a script of the benchmarks as they import each other."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(ROOT / "benchmarks") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("visible", [1.0, 0.5])
def test_the_losses_timed_are_those_of_the_package(load: Any, visible: float) -> None:
    loops, generator = load("reference_losses"), torch.Generator().manual_seed(0)
    shape = (3, 5, 8, 6)
    heatmaps, target, masks = (torch.rand(shape, generator=generator) for _ in range(3))
    offsets, goal = (torch.randn(3, 5, 2, 8, 6, generator=generator) for _ in range(2))
    weights = (torch.rand(3, 5, generator=generator) < visible).float()
    heatmaps.requires_grad_()
    offsets.requires_grad_()
    value = loops.heatmap(heatmaps, target, weights) + loops.offsets(offsets, goal, masks, weights)
    loss = build_loss("cal", normalization="published")
    same = loss(PoseMaps(heatmaps, offsets), Targets(target, weights, goal, masks)).total
    torch.testing.assert_close(same, value)
    for ours, theirs in zip(
        torch.autograd.grad(same, (heatmaps, offsets)), torch.autograd.grad(value, (heatmaps, offsets)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_both_ways_of_the_growth_benchmark_give_the_same(load: Any) -> None:
    growth = load("bench_growth")
    base = growth.BASE | {"batch": 2, "joints": 3}
    loop, package = growth.encode(**base)
    torch.testing.assert_close(torch.from_numpy(loop()[1]), package().offsets, atol=1e-4, rtol=0)
    loop, package = growth.decode(**base)
    found = build_codec("dark", (128, 96), (32, 24)).to_heatmap(package().coords)
    torch.testing.assert_close(torch.from_numpy(loop()[0]), found, atol=1e-3, rtol=0)
    loop, package = growth.loss(**base)
    torch.testing.assert_close(loop(), package())
    loop, package = growth.masks(**base)
    assert loop().shape == tuple(package().shape)
    loop, package = growth.fit(data=400, components=1)
    torch.testing.assert_close(torch.from_numpy(loop().means_), package().means.double(), atol=1e-4, rtol=0)


def test_exponents_of_powers(load: Any) -> None:
    exponent = load("bench_growth").exponent
    values = (2, 8, 32, 128)
    assert exponent(values, [v**1.5 for v in values], "batch") == 1.5
    assert exponent(values, [3.0 * v**2 for v in values], "height") == 1.0  # by its pixels
    assert exponent(values, [99.0, 5.0, 5.0, 5.0], "joints") == 0


def test_the_share_of_the_limit(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    roofline = load("bench_roofline")
    monkeypatch.setattr(roofline, "milliseconds", lambda run, rounds: [2.0, 4.0, 8.0])
    limits = {"float32_macs_per_second": 1e9, "caches_bytes_per_second": 1e9, "memory_bytes_per_second": 1e8}
    # 1 ms of arithmetic, then 1 ms of bytes: neither hides the other.
    row = roofline.judge(roofline.Work(lambda: None, [(1e6, 5e5), (5e5, 1e6)]), limits, 3)
    assert (row["least_ms"], row["share"], row["range"]) == (2.0, 0.5, [0.25, 1.0])
    large = roofline.judge(roofline.Work(lambda: None, [(0.0, 2.0 * roofline.CACHES)]), limits, 3)
    assert large["moving_ms"] == pytest.approx(2e3 * roofline.CACHES / 1e8)
    assert large["bound"] == "bytes"
    tiny = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1))
    assert roofline.layers(tiny, torch.zeros(2, 3, 10, 10), 4) == [(2 * 216 * 100, 4 * (600 + 216 + 1600))]


def test_the_spread_of_few_and_of_many_rounds(load: Any) -> None:
    timing = load("timing")
    assert timing.spread([3.0, 1.0]) == [1.0, 3.0]
    assert timing.spread([5.0, 4.0, 3.0, 2.0, 1.0]) == [2.0, 4.0]


def test_a_part_of_the_book_is_a_book(load: Any, tmp_path: Path) -> None:
    book = load("bench_book")
    (tmp_path / "_toc.yml").write_text((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    book.keep_only(tmp_path, ["04_heatmaps"])
    toc = yaml.safe_load((tmp_path / "_toc.yml").read_text())
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    assert [file for file in files if re.search(r"/\d\d_", file)] == ["book/04_heatmaps"]
    assert "book/appendix/notation" in files


@pytest.mark.slow
def test_every_section_of_the_readme_is_what_the_results_say(load: Any) -> None:
    common = load("common")
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for name in common.SECTIONS:
        found = re.search(f"<!-- begin {name} -->\n\n(.*?)\n\n<!-- end {name} -->", page, re.DOTALL)
        assert found, f"no section {name}"
        assert found[1] == common.section(name), f"fill it: python benchmarks/common.py ({name})"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_benchmark_takes_the_common_options_and_has_a_section(script: Path, load: Any) -> None:
    source = script.read_text(encoding="utf-8")
    assert "common.parser(__doc__" in source
    assert "common.written(file)" in source
    assert script.stem in {name for name, _ in load("common").SECTIONS.values()}


def test_every_recorded_benchmark_has_a_ratio() -> None:
    found = recorded()
    assert {"codecs", "models", "loader"} <= set(found) <= {path.stem.removeprefix("bench_") for path in SCRIPTS}
    for name, records in found.items():
        for record in records.values():
            rows = list(ratios(record["figures"]))
            assert rows, name
            assert all(row.value > 0 for row in rows if row.kind != "exponent of growth")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a benchmark that measures nothing, and one that fails."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "timing.py").touch()
    (folder / "bench_failing.py").write_text('"""Fails."""\nraise SystemExit(3)\n')
    (folder / "bench_nothing.py").write_text(
        '"""Nothing, against\nnothing.\n\nMore."""\n'
        "import argparse\nfrom pathlib import Path\nfrom calbook import results\n"
        "parser = argparse.ArgumentParser()\n"
        'parser.add_argument("--rounds", type=int, default=7)\n'
        f'parser.add_argument("--out", type=Path, default=Path({str(folder / "results")!r}))\n'
        "options = parser.parse_args()\n"
        'results.write(options.out / "nothing.json", experiment="nothing", settings={}, seconds=1.0, device="cpu",\n'
        '    command="python benchmarks/bench_nothing.py", figures={"a": {"median_ratio": options.rounds}})\n'
    )
    monkeypatch.setattr(bench, "SCRIPTS", folder)
    monkeypatch.setattr(bench, "RESULTS", folder / "results")
    return folder


def test_benchmarks_are_listed_with_what_was_recorded(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "--out", checkout / "results") == 0
    assert capsys.readouterr().out.splitlines() == [
        "failing     Fails.",
        "            not recorded",
        "nothing     Nothing, against nothing.",
        "            not recorded",
    ]


def test_benchmarks_are_run(checkout: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    assert run("bench", "nothing", "--rounds", 3, "--out", mine) == 0
    name, place, row = capsys.readouterr().out.splitlines()
    assert name == "nothing     Nothing, against nothing."
    assert re.search(r"nothing\.json: \d{4}-\d\d-\d\d, .+, \d+ cores?, (commit [0-9a-f]{7}|no commit)", place)
    assert row.split() == ["a", "3.00", "times", "as", "fast"]
    assert results.read(mine / "nothing.json")["figures"] == {"a": {"median_ratio": 3}}
    assert run("bench", "all", "--out", mine) == 1
    output = capsys.readouterr()
    assert output.err == "calbook: error: benchmarks/bench_failing.py failed (exit status 3)\n"
    assert "7.00 times as fast" in output.out  # the others are run all the same


def test_what_cannot_be_run_is_one_line(
    checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run("bench", "nothingg", "--out", tmp_path / "mine") == 2
    message = "calbook bench: unknown benchmark 'nothingg' (did you mean nothing?); choose among all, failing, nothing"
    assert capsys.readouterr().err == f"calbook: error: {message}\n"
    assert not (tmp_path / "mine").exists()
    (tmp_path / "file").touch()
    assert run("bench", "nothing", "--out", tmp_path / "file") == 2
    assert capsys.readouterr().err.count("\n") == 1
    (checkout / "results").mkdir()
    (checkout / "results" / "a.json").write_text("{}")
    assert run("bench", "--out", checkout / "results") == 2
    assert "a.json: experiment: missing; measure again" in capsys.readouterr().err
    monkeypatch.setattr(bench, "SCRIPTS", tmp_path / "site-packages" / "benchmarks")
    for words in (("bench",), ("bench", "nothing")):
        assert run(*words) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.count("\n") == 1
        assert "not part of the installed package; check out calbook's repository" in output.err


def test_a_listing_leaves_references_to_themselves_out() -> None:
    figures = {
        "published": {"cpu_speedup": 1.0, "cpu_speedup_quartiles": [1.0, 1.0]},
        "ours": {"cpu_speedup": 1.0, "cpu_speedup_quartiles": [0.9, 1.1], "wall_speedup": 2.0},
        "memory": {"growth": 1.02},
    }
    assert list(ratios(figures)) == [(("ours",), 1.0, (0.9, 1.1), "times as fast")]
    assert RESULTS == ROOT / "benchmarks" / "results"
