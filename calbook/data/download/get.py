"""A data set by name: download, check, unpack, put in place."""

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from calbook.data.defects import DataError, Defect, shown
from calbook.data.download.extract import extract
from calbook.data.download.sets import Archive, DataSet, Part
from calbook.data.download.transfer import Patience, fetch, need_space
from calbook.results import write_atomically

WORK = ".download"  # folder below the data folder for what is not complete yet
CHECKSUMS = "checksums.json"


@dataclass
class Outcome:
    """What ``get`` did.

    Attributes:
        placed: Files and folders that are new, relative to the data folder.
        present: Those that were there already.
        noted: Archives without a published checksum, with the one noted now.
    """

    placed: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    noted: dict[str, str] = field(default_factory=dict)


def get(
    dataset: DataSet,
    folder: Path | str,
    splits: Sequence[str] = (),
    *,
    address: str | None = None,
    keep: bool = False,
    patience: Patience | None = None,
    progress: bool = False,
) -> Outcome:
    """Fetch splits of a data set into a folder in COCO's layout.

    What is there already is left alone. Everything is downloaded and unpacked in
    ``<folder>/.download`` and moved to its place when complete; interrupted, the same
    call goes on where it stopped. The checksum of every archive is noted in
    ``<folder>/checksums.json``. Where none is published, the first download's is
    noted, and a later one must have the same.

    Args:
        dataset: One of ``SETS``.
        folder: The data folder; made where needed.
        splits: Those of ``dataset.splits``; by default ``dataset.default``.
        address: A mirror, instead of the publisher's address.
        keep: Keep the archives after unpacking.
        patience: Time limits and retries.
        progress: Show progress bars.

    Raises:
        DataError: Anything that cannot be got, in one line with what to do.
        OSError: The folder cannot be written.
    """
    folder = Path(folder)
    parts = _parts(dataset, splits)
    for library in dataset.libraries:
        if importlib.util.find_spec(library) is None:
            problem = f"converting its annotations needs {library}, which is not installed"
            raise DataError(Defect(dataset.name, "", "", problem, f"install it: pip install {library}"))
    outcome = Outcome()
    with _working(folder) as work:
        outcome.present = [part.place for part in parts if _is_there(folder / part.place)]
        for archive in dict.fromkeys(part.archive for part in parts):
            missing = [part for part in parts if part.archive == archive and part.place not in outcome.present]
            if missing:
                url = f"{(address or dataset.address).rstrip('/')}/{archive.path}"
                found, noted = _fetch(archive, url, folder, work, patience, progress)
                _unpack(archive, missing, folder, work, progress)
                _note(archive, url, found, (work / archive.name).stat().st_size, folder)
                if noted:
                    outcome.noted[archive.name] = found
                outcome.placed += [part.place for part in missing]
                if not keep:
                    (work / archive.name).unlink()
        if dataset.finish is not None:
            dataset.finish(folder)
    return outcome


def _is_there(place: Path) -> bool:
    """Whether a file or a folder that is not empty is in its place. What is there is whole, for it is moved there."""
    return any(place.iterdir()) if place.is_dir() else place.exists()


def _parts(dataset: DataSet, splits: Sequence[str]) -> list[Part]:
    """The parts of the splits asked for, each once."""
    for split in splits:
        if split not in dataset.splits:
            remedy = f"choose one of {', '.join(dataset.splits)}"
            raise DataError(Defect(dataset.name, "", "", f"no split {shown(split)}", remedy))
    return list(dict.fromkeys(part for split in splits or dataset.default for part in dataset.splits[split]))


@contextlib.contextmanager
def _working(folder: Path) -> Iterator[Path]:
    """The folder for unfinished things, for one process at a time; removed when empty in the end."""
    work = folder / WORK
    made = [path for path in (folder, *folder.parents) if not path.exists()]  # innermost first
    work.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = "another process is downloading into this folder"
            raise DataError(Defect(str(folder), "", "", problem, "wait for it to finish")) from None
        try:
            yield work
        finally:
            for path in (work, *made):
                with contextlib.suppress(OSError):
                    path.rmdir()  # only if it is empty
    finally:
        os.close(handle)


def _fetch(
    archive: Archive, url: str, folder: Path, work: Path, patience: Patience | None, progress: bool
) -> tuple[str, bool]:
    """Download an archive; its checksum, and whether that is the first one ever seen of it."""
    before = _read_checksums(folder).get(archive.name, {}).get("sha256")
    file = work / archive.name
    if not file.exists():
        part = work / f"{archive.name}.part"
        missing = (archive.size or archive.unpacked) - (part.stat().st_size if part.exists() else 0)
        need_space(work, missing + archive.unpacked, f"{archive.name} with its content")
    known = archive.sha256 or before
    found = fetch(url, file, size=archive.size, sha256=known, patience=patience, progress=progress)
    return found, known is None


def _note(archive: Archive, url: str, sha256: str, size: int, folder: Path) -> None:
    """Note an archive's checksum, for later downloads and for whoever asks what the data are."""
    noted = _read_checksums(folder)
    source = "published" if archive.sha256 else "first download"
    noted.setdefault(archive.name, {"sha256": sha256, "size": size, "url": url, "checksum": source})
    write_atomically(folder / CHECKSUMS, (json.dumps(noted, indent=1) + "\n").encode())


def _unpack(archive: Archive, parts: Sequence[Part], folder: Path, work: Path, progress: bool) -> None:
    """Unpack parts of an archive beside their place, then move them there."""
    file, draft = work / archive.name, work / f"{archive.name}.unpacked"
    shutil.rmtree(draft, ignore_errors=True)  # of a run that was interrupted
    need_space(work, archive.unpacked, f"the content of {archive.name}")
    try:
        with tqdm(
            desc=f"unpacking {archive.name}", unit="B", unit_scale=True, delay=2, disable=not progress, leave=False
        ) as bar:
            extract(file, draft, _chosen(parts), archive.unpacked, bar.update)
        for part in parts:
            _place(draft / part.member, folder / part.place, file, part)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _chosen(parts: Sequence[Part]) -> Callable[[PurePosixPath], bool]:
    """Whether a path in the archive belongs to one of the parts."""
    folders = [PurePosixPath(part.member) for part in parts if part.member.endswith("/")]
    files = {PurePosixPath(part.member) for part in parts if not part.member.endswith("/")}
    return lambda path: path in files or any(folder in path.parents for folder in folders)


def _place(source: Path, target: Path, archive: Path, part: Part) -> None:
    if not source.exists():
        problem = f"there is no {part.member} in it"
        raise DataError(Defect(str(archive), "", "", problem, "check that it is the data set's own archive"))
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _read_checksums(folder: Path) -> dict[str, Any]:
    file = folder / CHECKSUMS
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(noted, dict) and all(isinstance(entry, dict) for entry in noted.values()):
            return noted
    except FileNotFoundError:
        return {}
    except ValueError:
        pass
    raise DataError(Defect(str(file), "", "", "not a file of checksums", "remove it and run the command again"))
