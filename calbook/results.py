"""Results files: what was measured, with which settings, where, when and by which command.

A results file is JSON, written once by the code that measured and read by the
pages that show the figures; it is never edited by hand. Its keys are those of
``FIELDS``: no more, no fewer. Among them is a digest of all the others, so that a
figure that somebody corrects is noticed when the file is read.
"""

import hashlib
import json
import math
import os
import platform
import reprlib
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import calbook

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "experiments" / "results"

FIELDS: dict[str, type | tuple[type, ...]] = {
    "experiment": str,  # what was measured, such as "quantization_error"
    "command": str,  # as a user would type it
    "settings": dict,  # everything that decides the figures
    "figures": dict,  # the outcome: nested names to finite numbers, texts and lists
    "seconds": (int, float),  # wall time of the measurement
    "date": str,  # UTC, ISO 8601
    "machine": dict,  # cpu, cores, device, system
    "versions": dict,  # python, torch, numpy, pycocotools, calbook
    "commit": (dict, type(None)),  # hash and dirty, or None outside a repository
    "sha256": str,  # of all the other fields
}
_SINCE_DIGESTS = ("sha256",)  # fields that older files lack; ``verify`` asks for them
_INNER: dict[str, dict[str, type]] = {
    "machine": {"cpu": str, "cores": int, "device": str, "system": str},
    "versions": dict.fromkeys(("python", "torch", "numpy", "pycocotools", "calbook"), str),
    "commit": {"hash": str, "dirty": bool},
}


class ResultsError(ValueError):
    """A results file that cannot be written or trusted. Its message is one line: file, field, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))


def write(
    path: Path | str,
    *,
    experiment: str,
    settings: dict[str, Any],
    figures: dict[str, Any],
    seconds: float,
    command: str,
    device: str | None = None,
) -> None:
    """Write a results file in one step: the whole file or none.

    The machine, the versions, the commit and the date are added. Absolute paths in
    the command and the settings mean nothing elsewhere: they are written relative
    to the repository if they lie in it or beside it, else cut to ``path/to/<name>``.

    Args:
        path: The file; its folder is made where needed.
        experiment: What was measured.
        settings: Everything that decides the figures; plain JSON values.
        figures: Nested dicts of finite numbers, texts and lists of these.
        seconds: Wall time of the measurement.
        command: The command that measures it again, as a user would type it.
        device: What computed; by default the first GPU's name, or ``cpu``.

    Raises:
        ResultsError: A setting or figure is not finite or not plain; the message
            names it.
    """
    path = Path(path)
    record = {
        "experiment": experiment,
        "command": shlex.join(_portable(word) for word in shlex.split(command)),
        "settings": _plain(settings, f"{path.name}: settings", setting=True),
        "figures": _plain(figures, f"{path.name}: figures", setting=False),
        "seconds": round(float(seconds), 3),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(device),
        "versions": versions(),
        "commit": commit(),
    }
    _validate(record, path.name)
    record["sha256"] = digest(record)
    try:
        content = (json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:
        raise ResultsError(f"{path.name}: a text holds half a character (a surrogate); write it whole") from None
    write_atomically(path, content)


def read(path: Path | str) -> dict[str, Any]:
    """Read a results file.

    Raises:
        ResultsError: It is not JSON, lacks a field, has an unknown one or one of the
            wrong type, or was changed after it was written.
        OSError: It cannot be opened.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
        _validate(record, str(path))
    except ResultsError:
        raise
    except ValueError as error:
        raise ResultsError(f"{path}: not a results file ({error}); measure again") from None
    except RecursionError:
        raise ResultsError(f"{path}: not a results file (nested far too deeply); measure again") from None
    return dict(record)


def digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record's fields other than the digest itself; layout and order of keys do not count."""
    content = {name: value for name, value in record.items() if name != "sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def verify(folder: Path | str = RESULTS) -> int:
    """Read every results file below a folder and check that none was changed.

    Returns:
        How many there are.

    Raises:
        ResultsError: One is not as it was written, or has no digest.
    """
    files = sorted(Path(folder).rglob("*.json"))
    for file in files:
        if "sha256" not in read(file):
            raise ResultsError(f"{file}: sha256: missing; measure again")
    return len(files)


def machine(device: str | None = None) -> dict[str, Any]:
    """What the measurement ran on: processor, usable cores, device, operating system."""
    if device is None:
        import torch  # takes seconds to load, which those who only read need not spend

        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"cpu": _processor(), "cores": cores(), "device": device, "system": platform.system()}


def machine_name(machine: Mapping[str, Any]) -> str:
    """What ``machine`` found, for readers: processor and cores, or the GPU.

    >>> machine_name({"cpu": "Some processor", "cores": 1, "device": "cpu", "system": "Linux"})
    'Some processor, 1 core'
    """
    if machine["device"] != "cpu":
        return str(machine["device"])
    return f"{machine['cpu']}, {machine['cores']} core{'s' * (machine['cores'] != 1)}"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide figures."""
    found = {name: version(name) for name in ("torch", "numpy", "pycocotools")}
    return {"python": platform.python_version(), **found, "calbook": calbook.__version__}


def commit() -> dict[str, Any] | None:
    """The commit that the package is at, and whether files differ from it; None outside its repository.

    Results files themselves do not count: measuring several in a row leaves the rest clean.
    """
    if not (REPOSITORY / ".git").exists():
        return None
    try:
        head = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--", ".", ":(exclude)experiments/results")
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or no commit yet
    return {"hash": head, "dirty": bool(changes)}


def _git(*arguments: str) -> str:
    finished = subprocess.run(
        ["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, timeout=30, check=True
    )
    return finished.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "unknown"


def _portable(word: str) -> str:
    """A word of a command or a setting without this machine's folders.

    >>> _portable("--data=/home/me/coco"), _portable("64x48")
    ('--data=path/to/coco', '64x48')
    """
    option, equals, value = word.rpartition("=")
    path = Path(value).expanduser() if value == "~" or value.startswith("~/") else Path(value)
    if not path.is_absolute() or len(path.parts) < 2:
        return word
    if path.parent in (Path(sys.executable).parent, Path(sys.executable).resolve().parent):
        return path.name  # python, calbook
    path = Path(os.path.normpath(path))
    beside = REPOSITORY.parent
    for folder, base in ((REPOSITORY, REPOSITORY), (Path.cwd(), Path.cwd()), (beside, REPOSITORY)):
        if path.is_relative_to(folder) and folder.parent != folder:  # everything lies in the root
            return f"{option}{equals}{Path(os.path.relpath(path, base)).as_posix()}"
    return f"{option}{equals}path/to/{path.name}"


def _plain(value: Any, where: str, *, setting: bool) -> Any:
    """The value as JSON will hold it. Raises on what is not plain or not finite.

    A setting, unlike a figure, may be None, and its paths are made portable.
    """
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ResultsError(f"{where}: the key {key!r} is not a text; name it")
        return {key: _plain(inner, f"{where}.{key}", setting=setting) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, f"{where}[{i}]", setting=setting) for i, inner in enumerate(value)]
    if isinstance(value, str):
        return _portable(value) if setting else value
    if isinstance(value, bool) or (value is None and setting):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        if not math.isfinite(value):
            raise ResultsError(f"{where}: {float(value)} is not finite; leave it out or find out why")
        return float(value)
    raise ResultsError(f"{where}: a {type(value).__name__} cannot be recorded; give numbers, texts, lists or dicts")


def _validate(record: Any, file: str) -> None:
    if not isinstance(record, dict):
        raise ResultsError(f"{file}: not a results file; measure again")
    _compare(record, FIELDS, file)
    for name, fields in _INNER.items():
        if record[name] is not None:
            _compare(record[name], fields, f"{file}: {name}")
    try:
        _plain(record["figures"], f"{file}: figures", setting=False)
        datetime.fromisoformat(record["date"])
    except ResultsError:
        raise
    except ValueError:
        raise ResultsError(f"{file}: date: {reprlib.repr(record['date'])} is not a date; measure again") from None
    if not abs(record["seconds"]) < math.inf:  # unlike isfinite, also of whole numbers beyond floats
        raise ResultsError(f"{file}: seconds: {reprlib.repr(record['seconds'])} is not finite; measure again")
    if not record["figures"]:
        raise ResultsError(f"{file}: figures: empty; there is nothing to record")
    if record.get("sha256", digest(record)) != digest(record):
        raise ResultsError(f"{file}: sha256: the file was changed after it was written; measure again")


def _compare(record: dict[str, Any], fields: dict[str, Any], where: str) -> None:
    """Raise unless the record has exactly these fields, of these types."""
    for name in fields:
        if name not in record and name not in _SINCE_DIGESTS:
            raise ResultsError(f"{where}: {name}: missing; measure again")
    for name, value in record.items():
        if name not in fields:
            raise ResultsError(f"{where}: {name}: unknown field; results files are not edited by hand")
        if not isinstance(value, fields[name]) or (isinstance(value, bool) and fields[name] is not bool):
            raise ResultsError(f"{where}: {name}: a {type(value).__name__} does not belong here; measure again")


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number that JSON knows")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file in one step, so that nobody ever reads half of it; its folder is made where needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
