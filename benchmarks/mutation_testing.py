"""Which small wrong changes to codecs, mixtures and losses the tests notice.

Every mutant (see mutants.py) is compiled in place of its module in a process of its
own, and tests of that part run until the first fails: those that call the changed
function on the sound package, the quickest first and the slowest not at all. A mutant
is killed if a test fails, the module cannot be imported or the tests take four times
the processor time that they should; what survives is listed in the results file. Some
survivors are no faults: a change that only costs time, or that matters on a GPU only.

    python benchmarks/mutation_testing.py losses
    python benchmarks/mutation_testing.py codecs --minutes 60

A surviving mutant costs all its tests. The mutants are tried in random order, so that
the share killed of the first ones is an estimate for all.
"""

import argparse
import gc
import importlib
import importlib.abc
import importlib.util
import io
import json
import os
import random
import resource
import select
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

import pytest
from mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
THOUSAND = "tests/test_gmm.py::test_no_batch_breaks_the_masks"  # half of the time, and slower than LONGEST
# Package part -> its modules, and the tests that are to notice.
PARTS: dict[str, tuple[list[str], list[str]]] = {
    part: (sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "calbook").glob(modules)), tests)
    for part, modules, tests in (
        ("losses", "losses.py", ["tests/test_losses.py"]),
        ("gmm", "gmm/*.py", ["tests/test_gmm_parts.py", "tests/test_gmm.py", f"--deselect={THOUSAND}"]),
        ("codecs", "codecs/*.py", ["tests/codecs"]),
    )
}
LONGEST = 2.0  # seconds of processor time; slower tests are left out: what they alone notice counts as surviving
PATIENCE = 4.0  # times the sound run's processor time
GRACE = 10.0  # seconds more
ASLEEP = 20.0  # times that in wall time, for a mutant that waits for something
# What tests import late: once before the forks, not once in each.
EARLY = ("hypothesis", "numpy.testing", "scipy.ndimage", "sklearn.mixture", "torch.distributed.tensor",
         "torch.fx.experimental.symbolic_shapes", "torch._subclasses.fake_tensor",
         "_pytest.doctest", "_pytest.junitxml", "_pytest.unittest", "pdb", "tomllib")  # fmt: skip

END = b"\0"  # of a word; the end of the pipe may come much later, with the last process that the tests have started

Place = tuple[str, int]  # a module's path, and the first line of a function


@dataclass
class Sound:
    """What the tests do on the sound package.

    Attributes:
        seconds: Processor time of every test, by its node id.
        callers: Node ids of the tests that call a function.
        always: Functions that are called outside of tests too: on import, or by fixtures.
    """

    seconds: dict[str, float]
    callers: dict[Place, set[str]]
    always: set[Place]

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that may notice a mutant, the quickest first."""
        place = (mutant.file.as_posix(), mutant.function or 0)
        everywhere = mutant.function is None or place in self.always
        chosen = self.seconds if everywhere else self.callers.get(place, ())
        return sorted((test for test in chosen if self.seconds[test] <= LONGEST), key=self.seconds.__getitem__)


class _Watch:
    """A pytest plugin for the sound run: what every test calls, and how long it takes."""

    def __init__(self, files: Collection[str]) -> None:
        self.names = {str(ROOT / file): file for file in files}
        self.test: str | None = None
        self.calls: dict[str | None, set[Place]] = defaultdict(set)
        self.seconds: dict[str, float] = {}

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        """Note a call; see ``sys.setprofile``."""
        if event == "call" and (file := self.names.get(frame.f_code.co_filename)):
            self.calls[self.test].add((file, frame.f_code.co_firstlineno))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        for module in [module for name, module in sys.modules.items() if name.startswith("calbook")]:
            for function in vars(module).values():
                if hasattr(function, "cache_clear"):
                    function.cache_clear()  # what is computed once is the work of every test that needs it
        self.test, begin = item.nodeid, time.process_time()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid], self.test = time.process_time() - begin, None

    def word(self) -> str:
        """All of it, as JSON."""
        return json.dumps([self.seconds, [[test, sorted(places)] for test, places in self.calls.items()]])


class _Chosen:
    """A pytest plugin that runs some tests in a certain order, says which fails first, and ends the process there."""

    def __init__(self, answer: int, tests: Sequence[str]) -> None:
        self.answer = answer
        self.order = {test: number for number, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.order), key=lambda i: self.order[i.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            _end(self.answer, report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            _end(self.answer, f"{report.nodeid} cannot be imported")


def _end(answer: int, word: str) -> NoReturn:
    with os.fdopen(answer, "wb") as stream:
        stream.write(word.encode() + END)
    os._exit(0)


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a changed module where the sound one is asked for."""

    def __init__(self, mutant: Mutant) -> None:
        parts = mutant.file.with_suffix("").parts
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self.path = ROOT / mutant.file
        self.mutant = mutant

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.name:
            return None
        folders = [str(self.path.parent)] if self.path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            name, self.path, loader=self, submodule_search_locations=folders
        )  # fmt: skip

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.tree(), str(self.path), "exec"), module.__dict__)


def _pytest(tests: Iterable[str], plugin: object) -> int:
    """Run tests quietly in this process; pytest's exit status."""
    from hypothesis import settings

    settings.register_profile("mutation", derandomize=True, database=None)
    settings.load_profile("mutation")
    # Plain assertions and no plugins: a process starts in a third of the time.
    options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-m", "not slow"]
    return int(pytest.main([*options, *tests], plugins=[plugin]))


def _watch(answer: int, files: Sequence[str], tests: Sequence[str]) -> NoReturn:
    """Run all tests on the sound package in this forked process and say what they did."""
    watch = _Watch(files)
    sys.setprofile(watch.profile)
    code = _pytest([*tests, *files], watch)
    sys.setprofile(None)
    _end(answer, watch.word() if code == 0 else f"exit status {code}")


def _try(answer: int, mutant: Mutant, tests: Sequence[str]) -> NoReturn:
    """Run tests on a mutant in this forked process and say which failed first."""
    try:
        changed = _Changed(mutant)
        sys.meta_path.insert(0, changed)
        importlib.import_module(changed.name)  # doctest collection finds it in sys.modules
        code = _pytest(dict.fromkeys(test.split("::")[0] for test in tests), _Chosen(answer, tests))
        word = "survived" if code == 0 else f"exit status {code}"
    except BaseException as error:
        word = f"{type(error).__name__} on import"
    _end(answer, word)


def _fork(limit: float, work: Any, *arguments: Any) -> str:
    """The word of a forked process that does some work, within a limit of processor seconds."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 1))
        os.close(reader)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            work(writer, *arguments)
        os._exit(1)
    os.close(writer)
    word, end = b"", time.monotonic() + ASLEEP * limit
    while not word.endswith(END) and select.select([reader], [], [], max(end - time.monotonic(), 0))[0]:
        part = os.read(reader, 1 << 16)
        if not part:
            break
        word += part
    os.close(reader)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)  # also what the tests have started
    os.waitpid(process, 0)
    return word.removesuffix(END).decode() or f"no end within {limit:.0f} s of processor time"


def sound_run(files: Sequence[str], tests: Sequence[str]) -> Sound:
    """What the tests do on the sound package; they must pass."""
    word = _fork(1800, _watch, files, tests)
    if not word.startswith("["):
        sys.exit(f"mutation testing: the tests of the sound package end with {word}; mend that first")
    seconds, calls = json.loads(word)
    callers: dict[Place, set[str]] = defaultdict(set)
    always: set[Place] = set()
    for test, places in calls:
        for file, line in places:
            if test is None:
                always.add((file, line))
            else:
                callers[file, line].add(test)
    if not callers:
        sys.exit(f"mutation testing: the tests call nothing of {', '.join(files)}: is another calbook imported?")
    return Sound(seconds, callers, always)


def outcome(mutant: Mutant, sound: Sound) -> str:
    """What became of a mutant: the word ``survived``, or what killed it."""
    tests = sound.tests(mutant)
    if not tests:
        return "survived"
    return _fork(PATIENCE * sum(sound.seconds[test] for test in tests) + GRACE, _try, mutant, tests)


def run(part: str, minutes: float, seed: int) -> dict[str, Any]:
    """Try the mutants of a part, as many as the minutes allow; figures for its results file."""
    files, tests = PARTS[part]
    sound = sound_run(files, tests)
    slow = [test for test, seconds in sound.seconds.items() if seconds > LONGEST]
    print(f"{part}: {len(sound.seconds)} tests take {sum(sound.seconds.values()):.0f} s, watched", flush=True)
    print("\n".join(f"left out: {test}" for test in slow), flush=True)
    every = [m for file in files for m in mutants(Path(file), (ROOT / file).read_text(encoding="utf-8"))]
    random.Random(seed).shuffle(every)
    control = Path(files[-1])
    word = outcome(Mutant(control, 0, "", None, (ROOT / control).read_text(encoding="utf-8"), -1, 0), sound)
    if word != "survived":
        sys.exit(f"mutation testing: {control} is killed unchanged by {word}; mend that first")
    end = time.monotonic() + 60 * minutes
    killed: dict[str, int] = dict.fromkeys(files, 0)
    tried: dict[str, int] = dict.fromkeys(files, 0)
    survivors, endless = [], 0
    for number, mutant in enumerate(every, 1):
        begin = time.monotonic()
        if begin > end:
            break
        word = outcome(mutant, sound)
        tried[mutant.file.as_posix()] += 1
        killed[mutant.file.as_posix()] += word != "survived"
        endless += word.startswith("no end")
        if word == "survived":
            survivors.append(str(mutant))
        print(f"{number}/{len(every)} {time.monotonic() - begin:5.1f} s  {mutant}  [{word}]", flush=True)
    return {
        "mutants": len(every),
        "tried": sum(tried.values()),
        "killed": sum(killed.values()),
        "killed for taking too long": endless,
        "share killed": round(sum(killed.values()) / max(sum(tried.values()), 1), 4),
        "by file": {f: {"tried": tried[f], "killed": killed[f]} for f in files if tried[f]},
        "survivors": sorted(survivors),
    }


def table(record: Any) -> str:
    """A section of the README, of the results file of a part."""
    figures = record["figures"]
    lines = [
        f"`{record['command']}`: of {figures['mutants']:,} mutants {figures['tried']:,} were tried and "
        f"{figures['killed']:,} killed, **{100 * figures['share killed']:.1f} %**.",
        "",
        "| module | tried | killed | |",
        "| --- | ---: | ---: | ---: |",
    ]
    for file, counts in figures["by file"].items():
        share = 100 * counts["killed"] / counts["tried"]
        lines.append(f"| `{file}` | {counts['tried']:,} | {counts['killed']:,} | {share:.0f} % |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS, help="what to change")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no further mutant after so long")
    parser.add_argument("--seed", type=int, default=0, help="of their order (default: 0)")
    parser.add_argument("--out", type=Path, help="results file (default: benchmarks/results/mutation-<part>.json)")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))  # this calbook, whichever is installed
    for name in EARLY:
        importlib.import_module(name)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    gc.freeze()  # spares every fork a walk over all that was imported
    begin = time.monotonic()
    figures = run(options.part, options.minutes, options.seed)
    import common  # these two only now: until the fork nothing of calbook may be loaded

    from calbook import results

    settings = {"part": options.part, "seed": options.seed}
    command = f"python benchmarks/mutation_testing.py {options.part} --seed {options.seed}"
    if options.minutes < 1e6:
        settings["minutes"] = options.minutes
        command += f" --minutes {options.minutes:g}"
    out = options.out or common.RESULTS / f"mutation-{options.part}.json"
    results.write(
        out,
        experiment="mutation_testing",
        settings=settings,
        figures=figures,
        seconds=time.monotonic() - begin,
        command=command,
        device="cpu",
    )
    common.written(out)
    print(f"{options.part}: {figures['killed']} of {figures['tried']} killed, {100 * figures['share killed']:.1f} %")


if __name__ == "__main__":
    main()
