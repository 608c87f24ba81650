"""The recipe of ``experiments/more_people.py``: what it keeps of Table 8's and what it multiplies."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from calbook import results
from calbook.data.synthetic import write_coco
from calbook.experiments.catalogue import get
from calbook.experiments.sets import SPLITS

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module("more_people")


@pytest.mark.parametrize("family", ["hrnet", "udp", "dark", "cal"])
def test_twice_the_mini_batches_and_else_the_recipe_of_the_table(script: ModuleType, family: str) -> None:
    ours, table = script.experiment_of(family), get(f"{family}-w32-64x48").at("laptop")
    for name in script.SCHEDULE:
        longer, before = getattr(ours.training, name), getattr(table.training, name)
        pairs = zip(longer, before, strict=True) if name == "milestones" else [(longer, before)]
        assert all(script.MORE * after == script.LONGER * it for after, it in pairs)
    kept = ours.recipe() | {"training": None}
    assert kept == table.recipe() | {"training": None}
    same = {"learning_rate", "drop", "batch_size", "precision", "components"}
    assert all(getattr(ours.training, name) == getattr(table.training, name) for name in same)


def test_the_preset_s_own_people_are_among_the_more_numerous(tmp_path: Path) -> None:
    documents = []
    for count in (3, 7):
        folder = tmp_path / str(count)
        write_coco(folder, "train2017", count, (96, 72), SPLITS["train2017"], progress=False)
        documents.append(json.loads((folder / "annotations" / "person_keypoints_train2017.json").read_text()))
    few, many = ([person["keypoints"] for person in document["annotations"]] for document in documents)
    assert few == many[: len(few)]
    assert len(many) > len(few)


def test_the_recorded_run_is_of_this_recipe(script: ModuleType) -> None:
    file = results.RESULTS / "ch15_more_people.json"
    if not file.exists():
        pytest.skip("not measured yet")
    record = results.read(file)
    for family, seeds in record["figures"].items():
        training = script.experiment_of(family).training
        recorded = record["settings"]["training"][family]
        assert recorded == {name: json.loads(json.dumps(getattr(training, name))) for name in script.SCHEDULE}
        assert len({run["start"] for run in seeds.values()}) == 1
