"""The arrows of ARCHITECTURE.md: a module imports from its own layer or below."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "calbook"
LAYERS = [
    {"geometry", "skeletons", "poses", "options", "results", "threads"},
    {"codecs", "gmm", "losses", "models", "data", "metrics", "method"},
    {"runs", "training", "inference"},
    {"ceiling", "quantization", "experiments"},
    {"cli"},
    {"bookbuild", "interactive", "page", "plotting", "results_page"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def unit(path: Path) -> str:
    """First name below the package: `calbook/codecs/dark.py` belongs to `codecs`."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_names(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def imported_units(path: Path) -> set[str]:
    names = imported_names(path)
    return {parts[1] for name in names if (parts := name.split("."))[0] == "calbook" and len(parts) > 1} & set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_layer_or_below(path: Path) -> None:
    assert unit(path) in LEVEL, f"{unit(path)} has no layer: add it to ARCHITECTURE.md and to LAYERS"
    upward = {name for name in imported_units(path) if LEVEL[name] > LEVEL[unit(path)]}
    assert not upward, f"{path.name} imports {sorted(upward)} from a layer above its own"


def test_nothing_imports_the_drawing_modules_but_the_book() -> None:
    importers = {unit(path) for path in FILES if imported_units(path) & {"plotting", "interactive"}}
    assert importers <= {"plotting", "interactive", "bookbuild"}


def test_every_module_is_named_in_the_architecture_page() -> None:
    page = (PACKAGE.parent / "ARCHITECTURE.md").read_text()
    assert {unit(path) for path in FILES} <= {name for name in LEVEL if f"`{name}`" in page}


@pytest.mark.parametrize(("library", "owner"), [("papermill", "bookbuild"), ("pycocotools", "metrics")])
def test_a_library_has_one_owner(library: str, owner: str) -> None:
    users = {unit(path) for path in FILES if any(name.split(".")[0] == library for name in imported_names(path))}
    assert users == {owner}


def test_the_package_gives_its_modules_by_attribute() -> None:
    import calbook

    assert callable(calbook.gmm.fit)
    assert callable(calbook.codecs.build_codec)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = calbook.nothing
