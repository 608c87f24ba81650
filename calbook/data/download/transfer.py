"""One file over HTTP: resumed, retried, checked; complete or not there at all.

A download grows in ``<file>.part``; beside it ``<file>.part.json`` notes which
version of the remote file it is a beginning of (size, ETag, date). A later call
asks for the rest, on the condition that the remote file is still that version
(``If-Range``): a server that has another one, or cannot send parts, sends the
whole file and the download starts over. Only what has the right size and checksum
becomes ``<file>``.
"""

import email.utils
import hashlib
import http.client
import json
import re
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from calbook.data.defects import DataError, Defect

CHUNK = 1 << 20
RESERVE = 64 << 20  # bytes of the disk that are left free

_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses that may pass
_LATER = "run the command again later, it resumes"
_ADDRESS = "check the address, and sign in if the network shows a page first"


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try again.

    Attributes:
        stall: Seconds without a byte after which a connection is given up.
        retries: Failures in a row without anything new that are put up with.
        first: The same before anything at all has arrived: whoever is offline should not wait long to read so.
        pause: Seconds before the second try; doubled before each further one.
        longest: Longest pause in seconds.
        restarts: How often a file whose checksum is wrong is fetched from the beginning again.
    """

    stall: float = 60.0
    retries: int = 6
    first: int = 2
    pause: float = 1.0
    longest: float = 60.0
    restarts: int = 1


def fetch(
    url: str,
    file: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    patience: Patience | None = None,
    progress: bool = False,
) -> str:
    """Download a file, or what is missing of it.

    Args:
        url: ``http`` or ``https``.
        file: Where it goes; its folder exists. A file that is there already is only checked.
        size: Bytes it must have, where known.
        sha256: Checksum it must have, where known.
        patience: Time limits and retries.
        progress: Show a progress bar.

    Returns:
        The file's SHA-256 in hexadecimal.

    Raises:
        DataError: It cannot be had, in one line with what to do. What has arrived is
            kept, unless it is known to be wrong.
    """
    if not re.match(r"https?://", url):
        raise DataError(Defect(url, "", "", "not an address that starts with http:// or https://", "correct it"))
    if file.exists():
        found = checksum(file, progress)
        if sha256 not in (None, found):
            raise DataError(Defect(str(file), "", "", f"its SHA-256 is {found}, not {sha256}", "remove the file"))
        return found
    patience = patience or Patience()
    download = _Download(url, file, size, sha256 is not None, patience, progress)
    for _ in range(patience.restarts + 1):
        download.complete()
        found = checksum(download.part, progress)
        if sha256 in (None, found):
            download.part.replace(file)
            download.forget()
            return found
        download.forget()
    problem = f"arrives damaged: its SHA-256 is {found}, not {sha256}"
    raise DataError(Defect(url, "", "", problem, "try another network or another mirror"))


def checksum(file: Path, progress: bool = False) -> str:
    """SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream, _bar(f"checking {file.name}", file.stat().st_size, 0, progress) as bar:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def need_space(folder: Path, needed: int, what: str) -> None:
    """Check that the disk has room.

    Raises:
        DataError: It has not.
    """
    free = max(shutil.disk_usage(folder).free - RESERVE, 0)
    if needed > free:
        problem = f"{what} needs {_amount(needed)} and {_amount(free)} are free"
        raise DataError(Defect(str(folder), "", "", problem, "free some space or choose another folder"))


class _TryAgainError(Exception):
    """A fault that may pass; after how many seconds, where the server tells."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True)
class _Version:
    """Which version of a remote file a partial download is a beginning of."""

    size: int | None = None
    etag: str | None = None
    modified: str | None = None

    @property
    def condition(self) -> str | None:
        """What ``If-Range`` can compare: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


@dataclass(frozen=True)
class _Download:
    """A file on its way. ``checked``: a checksum will be compared in the end."""

    url: str
    file: Path
    size: int | None
    checked: bool
    patience: Patience
    progress: bool

    @property
    def part(self) -> Path:
        """What has arrived."""
        return self.file.with_name(f"{self.file.name}.part")

    @property
    def notes(self) -> Path:
        """Which version that belongs to."""
        return self.file.with_name(f"{self.file.name}.part.json")

    def forget(self) -> None:
        """Remove what has arrived."""
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def have(self) -> int:
        """How many bytes have arrived."""
        return self.part.stat().st_size if self.part.exists() else 0

    def complete(self) -> None:
        """Bring ``part`` to its full length; faults that may pass are tried again."""
        failures, most = 0, self.have()
        while True:
            try:
                return self._ask()
            except _TryAgainError as error:
                failures = 1 if self.have() > most else failures + 1
                most = max(most, self.have())
                if failures > (self.patience.retries if most else self.patience.first):
                    kept = f"; {_amount(self.have())} are kept" if self.have() else ""
                    problem = f"{error} ({failures} tries without anything new{kept})"
                    raise DataError(Defect(self.url, "", "", problem, _LATER)) from None
                pause = self.patience.pause * 2 ** (failures - 1)
                time.sleep(min(max(pause, error.after), self.patience.longest))

    def _ask(self) -> None:
        """One request for what is missing, written behind what is there."""
        version, have = self._read_notes(), self.have()
        if have and have == (self.size or version.size):
            return  # all had arrived when the last run ended
        with self._open(self._headers(version, have)) as response:
            start, version = self._place(response, version, have)
            if version.size is not None:
                need_space(self.part.parent, version.size - start, self.file.name)
            try:
                self._write(response, start, version)
            except OSError as error:
                problem = f"cannot be written ({error.strerror or error})"
                raise DataError(
                    Defect(str(self.part), "", "", problem, "then run the command again, it resumes")
                ) from None
        if version.size is not None and self.have() != version.size:
            raise _TryAgainError(f"the connection ended after {self.have()} of {version.size} bytes")

    def _headers(self, version: _Version, have: int) -> dict[str, str]:
        headers = {"User-Agent": "calbook", "Accept-Encoding": "identity"}
        # Without a checksum and anything to compare versions by, a rest could belong to another file.
        if have and (version.condition or self.checked):
            headers["Range"] = f"bytes={have}-"
            if version.condition:
                headers["If-Range"] = version.condition
        return headers

    def _open(self, headers: dict[str, str]) -> http.client.HTTPResponse:
        """The response to a request, or the right exception for what went wrong."""
        request = urllib.request.Request(self.url, headers=headers)
        try:
            response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=self.patience.stall)
        except urllib.error.HTTPError as error:
            with error:
                problem = f"the server says {error.code} {error.reason}"
            if error.code == 416:  # more is here than there: another version
                self.forget()
            if error.code in (416, *_TEMPORARY):
                raise _TryAgainError(problem, _wait(error.headers.get("Retry-After"))) from None
            raise DataError(Defect(self.url, "", "", problem, _ADDRESS)) from None
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            reason = getattr(error, "reason", None) or error
            text = str(reason) or type(reason).__name__
            raise _TryAgainError(f"the server cannot be reached: {text}; is this computer online?") from None
        return response

    def _place(self, response: http.client.HTTPResponse, version: _Version, have: int) -> tuple[int, _Version]:
        """At which byte the response begins, and the version that it is of."""
        headers = response.headers
        if response.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
            expected = self.size or version.size
            other = version.etag and headers.get("ETag", version.etag) != version.etag
            if match is None or other or int(match[1]) != have or expected not in (None, int(match[2])):
                self.forget()
                raise _TryAgainError("the server sent another part than was asked for")
            return have, _Version(int(match[2]), version.etag, version.modified)
        length = headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else self.size
        problem = None
        if self.size not in (None, total):
            problem = f"the server's file has {total} bytes, not {self.size}: it is another file"
        elif headers.get_content_type() == "text/html":
            problem = "the server sends a web page instead of the file"
        if problem:
            raise DataError(Defect(self.url, "", "", problem, _ADDRESS))
        return 0, _Version(total, headers.get("ETag"), headers.get("Last-Modified"))

    def _write(self, response: http.client.HTTPResponse, start: int, version: _Version) -> None:
        """Append the response to the first ``start`` bytes, never beyond the version's size."""
        left = None if version.size is None else version.size - start
        with self.part.open("ab") as stream, _bar(self.file.name, version.size, start, self.progress) as bar:
            stream.truncate(start)
            self.notes.write_text(json.dumps(asdict(version)), encoding="utf-8")
            while left != 0 and (chunk := _next(response, CHUNK if left is None else min(CHUNK, left))):
                stream.write(chunk)
                bar.update(len(chunk))
                left = None if left is None else left - len(chunk)

    def _read_notes(self) -> _Version:
        """The notes; of no version where they are missing or damaged."""
        try:
            content = json.loads(self.notes.read_text(encoding="utf-8"))
            version = _Version(content["size"], content["etag"], content["modified"])
        except (OSError, ValueError, TypeError, KeyError):
            return _Version()
        texts = isinstance(version.etag, str | None) and isinstance(version.modified, str | None)
        return version if texts and isinstance(version.size, int | None) else _Version()


def _next(response: http.client.HTTPResponse, most: int) -> bytes:
    """Some more bytes of a response, none at its end."""
    try:
        return response.read1(most)
    except TimeoutError:
        raise _TryAgainError("the connection stalled") from None
    except (OSError, http.client.HTTPException) as error:
        raise _TryAgainError(f"the connection broke ({type(error).__name__})") from None


def _wait(value: str | None) -> float:
    """Seconds that a ``Retry-After`` asks for, be it a number or a date."""
    if value and value.isdigit():
        return float(value)
    try:
        return max(email.utils.parsedate_to_datetime(value or "").timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return 0.0


def _bar(name: str, total: int | None, start: int, progress: bool) -> Any:
    """A progress bar in bytes, shown if it takes longer than two seconds."""
    return tqdm(
        desc=name, total=total, initial=start, unit="B", unit_scale=True, delay=2, disable=not progress, leave=False
    )


def _amount(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
