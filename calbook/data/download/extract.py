"""Unpacking archives from elsewhere: nothing leaves the folder, nothing grows beyond what was announced.

Archives are read entry by entry and only plain files and folders are written, by
this module itself, so that an archive cannot set permissions, owners, links or
devices. One entry that does not belong in a data set condemns the archive.
"""

import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from calbook.data.defects import DataError, Defect, shown

MEMBERS = 1_000_000  # no data set has more files in an archive
CHUNK = 1 << 20

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    NotImplementedError,  # zipfile's, of a compression that it does not know
)


class Entry(NamedTuple):
    """A plain file in an archive."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes] | None]


def extract(
    archive: Path,
    folder: Path,
    wanted: Callable[[PurePosixPath], bool],
    limit: int,
    seen: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the wanted files of a zip or tar archive below a folder.

    Args:
        archive: Told apart by its content.
        folder: A new folder, which does not exist yet.
        wanted: Whether a file, by its path in the archive, is extracted.
        limit: Bytes that may be written in all.
        seen: Called with the size of each file written, for a progress bar.

    Returns:
        How many files were written.

    Raises:
        DataError: The archive is damaged, holds a link or a path that leads out
            of the folder, or more than ``limit``. The folder is to be thrown away.
        FileExistsError: The folder exists.
    """
    folder.mkdir(parents=True)
    root = folder.resolve()
    written, left, names = 0, limit, set[str]()
    with _reading(archive) as entries:
        for count, entry in enumerate(entries, start=1):
            name = entry.path.as_posix().casefold()  # some file systems take A for a
            if count > MEMBERS or name in names:
                raise _refusal(archive, entry.path, "occurs twice" if name in names else "is one file too many")
            names.add(name)
            if not wanted(entry.path):
                continue
            if entry.size > left:
                raise _refusal(archive, entry.path, f"brings the content above the {limit} bytes of this data set")
            target = root / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(archive, entry, target)
            seen(entry.size)
            left -= entry.size
            written += 1
    return written


@contextmanager
def _reading(archive: Path) -> Iterator[Iterator[Entry]]:
    """The archive's plain files, checked by name and kind."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                yield _zip_entries(archive, content)
        else:
            with tarfile.open(archive) as pack:
                yield _tar_entries(archive, pack)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # a full disk, for example
            problem, remedy = f"cannot be unpacked ({error.strerror})", "then run the command again"
            raise DataError(Defect(str(archive), "", "", problem, remedy)) from None
        problem = f"the archive is damaged ({type(error).__name__})"
        raise DataError(Defect(str(archive), "", "", problem, "remove it and run the command again")) from None


def _zip_entries(archive: Path, content: zipfile.ZipFile) -> Iterator[Entry]:
    for info in content.infolist():
        path = _checked(archive, info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(archive, path, "is a link or a device")
        if info.flag_bits & 1:
            raise _refusal(archive, path, "is encrypted")
        if not info.is_dir():
            yield Entry(path, info.file_size, partial(content.open, info))


def _tar_entries(archive: Path, content: tarfile.TarFile) -> Iterator[Entry]:
    for info in content:
        path = _checked(archive, info.name)
        if not (info.isreg() or info.isdir()):
            raise _refusal(archive, path, "is a link or a device")
        if info.isreg():
            yield Entry(path, info.size, partial(content.extractfile, info))


def _checked(archive: Path, name: str) -> PurePosixPath:
    """The path of an entry, which must stay inside the folder that it is unpacked in."""
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in name or re.match(r"[A-Za-z]:", name)
    if outside or not name.isprintable():
        raise _refusal(archive, name, "leads out of the folder" if outside else "is no name of a file")
    return path


def _copy(archive: Path, entry: Entry, target: Path) -> None:
    """Write one file, not a byte more than its entry announces."""
    left = entry.size
    source = entry.open()
    if source is None:
        raise _refusal(archive, entry.path, "is not a plain file")
    with source, target.open("xb") as file:
        while chunk := source.read(min(CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise _refusal(archive, entry.path, "is larger than it says")
            file.write(chunk)
    if left:
        raise EOFError


def _refusal(archive: Path, path: object, problem: str) -> DataError:
    text = f"{shown(str(path))} {problem}"
    return DataError(Defect(str(archive), "", "", f"not unpacked: {text}", "get the archive from its own publisher"))
