"""Damaged input of every kind has a documented outcome: a result, or one line that says what is wrong."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from fuzz.attempts import Reader, attempt
from fuzz.damage import damaged_bytes, damaged_json
from fuzz.guard import TimeIsUp, watched
from fuzz.readers import READERS, RECORD
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calbook import results, runs
from calbook.data.annotations import find_defects
from calbook.data.defects import DataError
from calbook.method import Method
from calbook.results import ResultsError

every_reader = pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name.replace(" ", "_"))


def try_many(reader: Reader, seeds: range, folder: Path) -> None:
    for seed in seeds:
        place = folder / str(seed)
        place.mkdir()
        outcome = attempt(reader, seed, place)
        assert outcome.sound, f"{reader.name}, seed {seed}: {outcome.kind}: {outcome.detail}"


@every_reader
def test_damaged_input_has_a_documented_outcome(reader: Reader, tmp_path: Path) -> None:
    try_many(reader, range(40), tmp_path)


@pytest.mark.slow
@every_reader
def test_much_damaged_input_has_a_documented_outcome(reader: Reader, tmp_path: Path) -> None:
    try_many(reader, range(40, 640), tmp_path)


# Documents of any shape, not only damaged ones.

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(["id", "image_id", "category_id", "keypoints", "bbox", "iscrowd", "num_keypoints", "area"])
entries = st.lists(st.dictionaries(fields, any_json, max_size=8) | any_json, max_size=3)
documents = st.fixed_dictionaries(
    {"images": entries, "annotations": entries, "categories": entries | st.just([{"id": 1, "keypoints": ["nose"]}])}
)
relaxed = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@relaxed
@given(document=any_json | documents)
def test_any_document_has_defects_of_one_line(document: Any) -> None:
    for defect in find_defects(document, "a.json"):
        assert str(defect).isprintable()


@relaxed
@given(changes=st.dictionaries(st.sampled_from(sorted(RECORD)), any_json, min_size=1, max_size=2))
def test_any_results_file_is_read_or_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(RECORD | changes))
    message = ""
    try:
        assert set(results.read(tmp_path / "a.json")) >= set(RECORD)
    except ResultsError as error:
        message = str(error)
    assert message.isprintable()


@relaxed
@given(config=any_json | st.fixed_dictionaries({"method": any_json, "skeleton": any_json}))
def test_any_configuration_of_a_run_is_refused_in_one_line(config: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError) as caught:
        runs.load(tmp_path)
    assert str(caught.value).isprintable()


def test_a_method_needs_its_fields() -> None:
    with pytest.raises(TypeError):
        Method.from_dict({})


# The tools themselves: a fault must not pass for a sound outcome.


def prepared(action: Any) -> Any:
    return lambda rng, folder: lambda: action(folder)


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (lambda folder: 3, "read"),
        (lambda folder: {}["a"], "traceback"),
        (lambda folder: _refuse("two\nlines"), "more than a line"),
        (lambda folder: _refuse("x" * 5000), "more than a line"),
        (lambda folder: _refuse(""), "more than a line"),
        (lambda folder: _refuse("a.json: id: missing"), "refused"),
        (lambda folder: (folder.parent / "elsewhere").write_text("a"), "wrote or ran"),
        (lambda folder: (folder / "here").write_text("a"), "read"),
        (lambda folder: __import__("os").system("true"), "wrote or ran"),
        (lambda folder: "wrong", "wrong result"),
    ],
)
def test_faults_are_seen(action: Any, kind: str, tmp_path: Path) -> None:
    def check(value: Any) -> None:
        assert value != "wrong"

    (tmp_path / "in").mkdir()
    outcome = attempt(Reader("a", prepared(action), (DataError, ResultsError), check), 0, tmp_path / "in")
    assert outcome.kind == kind


def _refuse(message: str) -> None:
    raise ResultsError(message) if message.isprintable() and len(message) < 10 else _RefusalError(message)


class _RefusalError(ResultsError):
    def __init__(self, message: str) -> None:
        ValueError.__init__(self, message)


def test_an_endless_reader_is_stopped(tmp_path: Path) -> None:
    def forever() -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:
                continue

    with pytest.raises(TimeIsUp), watched(tmp_path, 0.2):
        forever()


def test_damage_is_known_by_its_seed_and_changes_something() -> None:
    content = json.dumps(RECORD).encode()
    for make in (lambda rng: damaged_bytes(rng, content), lambda rng: damaged_json(rng, RECORD)):
        first, second = ([make(random.Random(seed)) for seed in range(60)] for _ in range(2))
        assert first == second
        assert len(set(first)) > 50
        assert sum(item == content for item in first) < 5


@every_reader
def test_what_is_not_damaged_is_read(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every outcome could be a refusal for a reason that has nothing to do with the damage."""
    for module in ("damage", "readers", "data_sets", "weights"):
        monkeypatch.setattr(f"fuzz.{module}.damaged_bytes", lambda rng, content: content)
    monkeypatch.setattr("fuzz.damage.damaged_json", lambda rng, document: json.dumps(document).encode())
    kinds = []
    for seed in range(12):
        (tmp_path / str(seed)).mkdir()
        kinds.append(attempt(reader, seed, tmp_path / str(seed)).kind)
    assert "read" in kinds
