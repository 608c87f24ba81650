"""What a release promises: one version everywhere, typed, on every Python, checked by the same commands as here."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import calbook

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def test_there_is_one_version() -> None:
    version = calbook.__version__
    assert str(Version(version)) == version
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version)
    assert PROJECT.get("version", version) == version
    assert yaml.safe_load(read("CITATION.cff"))["version"] == version
    newest = re.search(r"^## (\S+)", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert newest
    assert newest[1] == version


def test_the_package_is_typed_and_licensed() -> None:
    assert (ROOT / "calbook" / "py.typed").is_file()
    for name in PROJECT["license-files"]:
        assert len(read(name)) > 1000


def test_every_file_of_others_has_its_licence_beside_it() -> None:
    vendor = ROOT / "book" / "_static" / "vendor"
    table = (vendor / "README.md").read_text()
    for folder in (path for path in vendor.iterdir() if path.is_dir()):
        assert f"`{folder.name}`" in table
        assert list(folder.glob("LICENSE*")), folder
        assert folder.name.lower() in read("CONTRIBUTING.md").lower()


def test_hosted_ci_runs_what_we_run_on_every_promised_python() -> None:
    ci = ROOT / ".github" / "workflows" / "ci.yml"
    (job,) = yaml.safe_load(ci.read_text())["jobs"].values()
    promised = SpecifierSet(PROJECT["requires-python"])
    minors = [f"3.{minor}" for minor in range(8, 30) if promised.contains(f"3.{minor}.5")]
    assert job["strategy"]["matrix"]["python"] == minors
    classified = {c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if "Python :: 3." in c}
    assert classified == set(minors)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_scripts_that_are_there(workflow: Path) -> None:
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    assert ".ci/run" in commands
    for script in re.findall(r"\.ci/\w+", "\n".join(commands)):
        assert (ROOT / script).stat().st_mode & 0o111, f"{script} cannot be executed"
    for step in steps(workflow):
        assert re.fullmatch(r"[\w-]+/[\w-]+@\S+", step.get("uses", "a/b@c"))
