"""Writing a run folder so that a kill, a full disk or a second writer cannot spoil it.

One file is one generation. Everything that resuming needs, the network's tensors
included, is in ``state/checkpoint.safetensors``: tensors, and numbers as JSON in its
header. It is written beside the old one, flushed to the disk and renamed over it, so
that there is always one whole generation, the old or the new. The files under
``weights/`` are copies for users, each whole too, and each says which step it is of.
"""

import contextlib
import errno
import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from calbook.data.defects import DataError, Defect
from calbook.runs import RunFolder, read_config
from calbook.training.config import FREE

_HEADER = "calbook"  # key of our numbers in a file's metadata, which holds texts only


def save_tensors(path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Write tensors and plain numbers to a safetensors file, in one step and durably.

    Raises:
        OSError: With the file's name; the file is then as it was.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {_HEADER: json.dumps(numbers, allow_nan=False)}

    def write(partial: Path) -> None:
        partial.touch()
        mode = partial.stat().st_mode  # as the user's other files; safetensors would keep it to the owner
        try:
            save_file(plain, partial, metadata=header)
            partial.chmod(mode)
        except SafetensorError as error:  # the system's error is a number in its text
            code = re.search(r"(?:os error|code:) (\d+)", str(error))
            number = int(code[1]) if code else errno.EIO
            raise OSError(number, os.strerror(number)) from None

    replace_file(path, write)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What ``save_tensors`` wrote.

    Raises:
        DataError: The file is damaged or of another kind.
    """
    try:
        return load_file(path), load_numbers(path)
    except SafetensorError as error:
        problem = f"not a checkpoint of calbook ({error})"
        raise DataError(Defect(str(path), "", "", problem, "train again in another folder")) from None


def load_numbers(path: Path) -> dict[str, Any]:
    """The numbers of ``save_tensors`` alone.

    Raises:
        DataError: The file is damaged or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {})[_HEADER]))
    except (SafetensorError, KeyError, ValueError) as error:
        problem = f"not a checkpoint of calbook ({type(error).__name__}: {error})"
        raise DataError(Defect(str(path), "", "", problem, "train again in another folder")) from None


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Put a new file in the place of an old one: all of it, on the disk, or nothing.

    Args:
        path: The file; its folder is made where needed.
        write: Writes the content to the path that it is given.

    Raises:
        OSError: With the file's name; the file is then as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        _flush(partial)
        partial.replace(path)
        _flush(path.parent)  # the new name is on the disk too
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one step; see ``replace_file``."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """What ``write_json`` wrote.

    Raises:
        DataError: The file is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(Defect(str(path), "", "", f"not JSON ({error})", "delete it; it is written anew")) from None


def checkpoint(run: RunFolder) -> Path:
    """The one file that resuming needs."""
    return run.state / "checkpoint.safetensors"


def prepare(run: RunFolder, config: dict[str, Any], *, resume: bool) -> None:
    """Begin a run folder, or check that it may be continued.

    Args:
        run: The folder.
        config: What ``config.json`` is to hold, plain JSON values.
        resume: Continue if there is something to continue, else begin.

    Raises:
        DataError: There is a run already and ``resume`` is False, or it was configured
            differently: names the field.
        OSError: It cannot be written.
    """
    config = json.loads(json.dumps(config, allow_nan=False))  # lists for tuples, as in the file
    check_free(run, resume=resume)
    if not run.config.exists():
        write_json(run.config, config)
        return
    before = read_config(run)
    for field, old, new in _differences(before, config):
        if field not in {f"training.{name}" for name in FREE}:
            problem = f"the run was begun with {_shown(old)}, this command says {_shown(new)}"
            raise DataError(Defect(str(run.config), "", field, problem, "give the same value, or begin another run"))
    if before != config:
        write_json(run.config, config)


def check_free(run: RunFolder, *, resume: bool) -> None:
    """Refuse a folder that holds a run, unless that is to be continued, or somebody else's files.

    Raises:
        DataError: It does.
    """
    if run.config.exists():
        if not resume:
            remedy = "add --resume to continue it, or choose another folder with --run"
            raise DataError(Defect(str(run.path), "", "", "there is a run in this folder", remedy))
        return
    if run.path.exists() and not run.path.is_dir():
        raise DataError(Defect(str(run.path), "", "", "a file, not a folder", "choose another with --run"))
    for path in run.path.iterdir() if run.path.exists() else ():
        if path.name != ".lock" and not path.name.endswith(".partial"):
            problem = f"not empty and not a run folder (it holds {path.name})"
            raise DataError(Defect(str(run.path), "", "", problem, "choose an empty or new folder with --run"))


def remove_partials(run: RunFolder) -> None:
    """Remove what a killed process left half-written. Only for the holder of the lock."""
    for folder in (run.path, run.state, run.weights("last").parent, run.path / "curves"):
        for partial in (*folder.glob(".*.partial"), *folder.glob(".tmp*")):  # ours, and safetensors' own
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Keep other processes from training in the same folder; a killed process holds no lock.

    Raises:
        DataError: Another process does.
        OSError: The folder cannot be written.
    """
    import fcntl  # not on Windows

    run.path.mkdir(parents=True, exist_ok=True)
    file = run.path / ".lock"
    with file.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a record lock: not inherited by the loader's processes
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise OSError(error.errno, error.strerror, str(file)) from None
            lock.seek(0)
            problem = f"{lock.read().strip() or 'another process'} is training in this folder"
            remedy = "wait until it has ended, or choose another folder with --run"
            raise DataError(Defect(str(run.path), "", "", problem, remedy)) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        yield


def _flush(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Fields in which two configurations differ, as (dotted name, old value, new value)."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield path, old, new


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
