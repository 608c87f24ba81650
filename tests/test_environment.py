"""pyproject.toml, requirements.lock and environment.yml must say the same."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_versions() -> dict[str, set[Version]]:
    """Versions of each package in the lock; several where they depend on the Python version."""
    versions: dict[str, set[Version]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.+!]+)", LOCK, flags=re.MULTILINE):
        versions.setdefault(canonical(name), set()).add(Version(version))
    return versions


DECLARED = [
    (extra, Requirement(text))
    for extra, texts in {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items()
    for text in texts
]


@pytest.mark.parametrize(("extra", "requirement"), DECLARED, ids=lambda value: str(value) or "package")
def test_the_lock_satisfies_every_declared_requirement(extra: str, requirement: Requirement) -> None:
    versions = locked_versions().get(canonical(requirement.name))
    assert versions, f"{requirement.name} is declared but not locked: run `make lock`"
    assert all(version in requirement.specifier for version in versions)


def test_the_book_extra_is_exact() -> None:
    for text in PROJECT["optional-dependencies"]["book"]:
        assert re.search(r"==[\d.]+(post\d+)?$", text), f"{text} must pin one version"


def test_every_locked_package_has_hashes_and_no_address() -> None:
    blocks = re.findall(r"^\S.*(?:\n[ ]+\S.*)*", LOCK, flags=re.MULTILINE)
    assert len(blocks) > 100
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in LOCK


def test_conda_installs_the_lock_on_the_same_pythons() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = next(d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python"))
    pip = next(d for d in environment["dependencies"] if isinstance(d, dict))["pip"]
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])
    assert pip == ["--requirement requirements.lock"]


def test_this_environment_is_the_locked_one() -> None:
    import importlib.metadata as metadata

    locked = locked_versions()
    for name in ("torch", "torchvision", "numpy", "papermill", "jupyter-book"):
        installed = Version(metadata.version(name))
        assert Version(installed.public) in locked[name]


def run_setup(tmp_path: Path, patch: str) -> subprocess.CompletedProcess[str]:
    """Run setup_env.py's main in a folder without an environment, with something broken."""
    program = (
        f"import setup_env, sys, collections\nsetup_env.STAMP = {str(tmp_path / 'stamp')!r}\n"
        f"setup_env.VENV = {str(tmp_path / 'venv')!r}\nsys.argv = ['setup_env.py']\n{patch}\nsetup_env.main()\n"
    )
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ("sys.version_info = (3, 9, 2)", ["Python 3.9", "3.11 to 3.13"]),
        ("sys.modules['ensurepip'] = None", ["venv", "install it"]),
        (
            "import shutil; shutil.disk_usage = lambda p: collections.namedtuple('U', 'free')(1e9)",
            ["1.0 GB free", "make room"],
        ),
    ],
)
def test_a_machine_that_cannot_hold_the_book_is_told_in_one_line(tmp_path: Path, patch: str, words: list[str]) -> None:
    run = run_setup(tmp_path, patch)
    assert run.returncode == 1
    assert len(run.stderr.strip().splitlines()) == 1
    assert all(word in run.stderr for word in words)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_environment_is_made_anew(tmp_path: Path) -> None:
    """`python -m venv` makes the interpreter before pip: without pip it is not usable."""
    sys.path.insert(0, str(ROOT))
    import setup_env

    assert not setup_env.usable(str(tmp_path / "bin" / "python"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "half")], check=True)
    assert not setup_env.usable(str(tmp_path / "half" / "bin" / "python"))
    assert setup_env.usable(sys.executable)


@pytest.mark.parametrize(
    ("stamp", "given", "expected"),
    [
        (None, [], [("default", False)]),
        (None, ["--torch", "cpu"], [("cpu", False)]),
        ("cpu", [], []),
        ("cpu", ["--torch", "cpu"], []),
        ("cpu", ["--torch", "default"], [("default", True)]),
        ("default", ["--torch", "cpu"], [("cpu", True)]),
        ("cpu old", [], [("cpu", False)]),
    ],
)
def test_the_choice_of_torch_is_kept_and_a_change_makes_the_environment_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stamp: str | None, given: list[str], expected: list[object]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    import setup_env

    done: list[object] = []
    monkeypatch.setattr(setup_env, "STAMP", str(tmp_path / "stamp"))
    monkeypatch.setattr(setup_env, "install", lambda variant, anew: done.append((variant, anew)))
    monkeypatch.setattr(sys, "argv", ["setup_env.py", *given])
    if stamp is not None:
        variant, _, mark = stamp.partition(" ")
        (tmp_path / "stamp").write_text(f"{variant} {mark or setup_env.fingerprint(variant)}")
    setup_env.main()
    assert done == expected
    setup_env.main()
    assert done == expected  # nothing is left to do


def test_the_cpu_switch_leaves_out_torch_and_cuda_only() -> None:
    sys.path.insert(0, str(ROOT))
    import setup_env

    blocks = setup_env.lock_blocks()
    left_out = {block.split("==")[0] for block in blocks if setup_env.GPU_ONLY.match(block)}
    assert {"torch", "torchvision", "triton", "nvidia-cudnn-cu13"} <= left_out
    assert left_out.isdisjoint({"numpy", "pycocotools", "papermill", "jupyter-book", "safetensors"})
