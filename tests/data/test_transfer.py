import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import pytest
from faulty_server import serving

from calbook.data.defects import DataError
from calbook.data.download import Patience, fetch

CONTENT = random.Random(0).randbytes(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(stall=0.3, retries=2, pause=0.01, longest=0.02)


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    """No proxy between these tests and this computer."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def site():
    with serving({"/a.bin": CONTENT}) as running:
        yield running


def get(site, folder, **options):
    options = {"size": len(CONTENT), "sha256": SHA, "patience": QUICK} | options
    return fetch(f"{site.address}/a.bin", folder / "a.bin", **options)


def kept(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("known", [{}, {"sha256": None}, {"size": None}, {"size": None, "sha256": None}])
def test_a_file_arrives_whole(site, tmp_path, known):
    assert get(site, tmp_path, **known) == SHA
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert kept(tmp_path) == ["a.bin"]
    assert site.requests == [(None, None)]


def test_what_is_there_is_checked_and_not_asked_for(site, tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    assert get(site, tmp_path) == SHA
    (tmp_path / "a.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=r"a\.bin: its SHA-256 is .*; remove the file"):
        get(site, tmp_path)
    assert site.requests == []


def test_dropped_connections_are_resumed(site, tmp_path):
    site.faults += [("drop", 100_000), ("drop", 250_000)]
    assert get(site, tmp_path) == SHA
    assert site.asked == [0, 100_000, 250_000]
    assert all(condition.startswith('"') for _, condition in site.requests[1:])


def test_a_stalled_connection_is_given_up_and_resumed(site, tmp_path):
    site.faults += [("stall", 70_000)]
    begun = time.monotonic()
    assert get(site, tmp_path) == SHA
    assert site.asked == [0, 70_000]
    assert time.monotonic() - begun < 0.9  # the server would have been silent for longer


def test_progress_renews_patience(site, tmp_path):
    """More drops than retries, but each brings something new."""
    site.faults += [("drop", 50_000 * i) for i in range(1, 6)]
    assert get(site, tmp_path) == SHA
    assert len(site.requests) == 6


def test_endless_faults_end_with_one_line_and_keep_what_came(site, tmp_path):
    site.faults += [("drop", 90_000)] * 9
    with pytest.raises(
        DataError, match=r"ended after 90000 of 300000 bytes \(3 tries .*0\.1 MB are kept\).*it resumes"
    ):
        get(site, tmp_path)
    assert kept(tmp_path) == ["a.bin.part", "a.bin.part.json"]
    site.faults.clear()
    assert get(site, tmp_path) == SHA
    assert site.asked[-1] == 90_000


def test_a_server_without_parts_is_asked_again_from_the_start(tmp_path):
    with serving({"/a.bin": CONTENT}, ranges=False) as site:
        site.faults += [("drop", 200_000)]
        assert get(site, tmp_path) == SHA
        assert site.asked == [0, 200_000]
        assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("length", [300_000, 280_000, 320_000])
def test_a_file_that_changed_in_between_starts_over(site, tmp_path, length):
    """No beginning of one version is ever joined to the end of another."""
    site.faults += [("drop", 200_000)] * 3
    with pytest.raises(DataError):
        get(site, tmp_path, size=None, sha256=None)
    changed = random.Random(1).randbytes(length)
    site.files["/a.bin"] = changed
    get(site, tmp_path, size=None, sha256=None)
    assert (tmp_path / "a.bin").read_bytes() == changed


def test_a_shorter_file_without_validators_is_noticed(tmp_path):
    with serving({"/a.bin": CONTENT}, validators=False) as site:
        site.faults += [("drop", 200_000)] * 3
        with pytest.raises(DataError):
            get(site, tmp_path, size=None)
        changed = random.Random(1).randbytes(150_000)
        site.files["/a.bin"] = changed
        get(site, tmp_path, size=None, sha256=hashlib.sha256(changed).hexdigest())
        assert (tmp_path / "a.bin").read_bytes() == changed


def test_nothing_is_joined_that_cannot_be_compared(tmp_path):
    """Neither validators nor a checksum: a rest could be of another file, so the whole is asked for."""
    with serving({"/a.bin": CONTENT}, validators=False) as site:
        site.faults += [("drop", 200_000)]
        get(site, tmp_path, sha256=None)
        assert site.asked == [0, 0]
        (tmp_path / "a.bin").unlink()
        site.faults += [("drop", 200_000)]
        get(site, tmp_path)
        assert site.asked == [0, 0, 0, 200_000]


def test_another_part_than_asked_for_is_not_used(site, tmp_path):
    site.faults += [("drop", 200_000), ("part",)]
    assert get(site, tmp_path) == SHA
    assert site.asked == [0, 200_000, 0]


def test_a_corrupted_file_is_fetched_anew(site, tmp_path):
    site.faults += [("corrupt", 1234)]
    assert get(site, tmp_path) == SHA
    assert site.asked == [0, 0]


def test_corruption_before_a_resumption_is_found(site, tmp_path):
    site.faults += [("drop", 100_000)] * 3
    with pytest.raises(DataError):
        get(site, tmp_path)
    part = tmp_path / "a.bin.part"
    part.write_bytes(b"\0" + part.read_bytes()[1:])
    assert get(site, tmp_path) == SHA
    assert site.asked[-2:] == [100_000, 0]


def test_what_stays_corrupted_is_refused(site, tmp_path):
    site.faults += [("corrupt", 1234)] * 2
    with pytest.raises(DataError, match=rf"arrives damaged: its SHA-256 is \w{{64}}, not {SHA}"):
        get(site, tmp_path)
    assert kept(tmp_path) == []


def test_a_truncated_file_on_the_server_is_another_file(site, tmp_path):
    site.files["/a.bin"] = CONTENT[:-1]
    with pytest.raises(DataError, match="the server's file has 299999 bytes, not 300000: it is another file"):
        get(site, tmp_path)
    assert kept(tmp_path) == []


def test_an_end_without_a_length_is_found_by_the_size(site, tmp_path):
    site.faults += [("unknown length",)]
    assert get(site, tmp_path) == SHA
    (tmp_path / "a.bin").unlink()
    site.files["/a.bin"] = CONTENT[:1000]
    site.faults += [("unknown length",)]
    with pytest.raises(DataError, match="another file"):
        get(site, tmp_path)


def test_busy_servers_are_asked_again(site, tmp_path):
    site.faults += [503, 429]
    assert get(site, tmp_path) == SHA
    assert len(site.requests) == 3


@pytest.mark.parametrize(("status", "tries"), [(500, 3), (404, 1), (403, 1)])
def test_refusals_are_said(site, tmp_path, status, tries):
    site.faults += [status] * 5
    with pytest.raises(DataError, match=f"the server says {status}") as caught:
        get(site, tmp_path)
    assert "\n" not in str(caught.value)
    assert len(site.requests) == tries
    assert kept(tmp_path) == []


def test_a_web_page_is_not_a_data_set(site, tmp_path):
    site.faults += [("html",)]
    with pytest.raises(DataError, match="a web page instead of the file; check the address, and sign in"):
        get(site, tmp_path, size=None, sha256=None)
    assert kept(tmp_path) == []


def test_offline_is_said_in_one_line(site, tmp_path):
    with serving({}) as gone:
        address = gone.address
    with pytest.raises(DataError, match=r"cannot be reached: .*is this computer online\?.*it resumes") as caught:
        fetch(f"{address}/a.bin", tmp_path / "a.bin", patience=QUICK)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="is this computer online"):
        fetch("http://host.invalid/a.bin", tmp_path / "a.bin", patience=QUICK)
    assert kept(tmp_path) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a", "a.zip", ""])
def test_only_web_addresses_are_opened(tmp_path, url):
    with pytest.raises(DataError, match="not an address that starts with http"):
        fetch(url, tmp_path / "a.bin")


def test_a_full_disk_is_seen_before_anything_is_written(site, tmp_path, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 64 << 20))
    with pytest.raises(DataError, match=r"a\.bin needs 0\.3 MB and 0\.0 MB are free; free some space"):
        get(site, tmp_path)
    assert kept(tmp_path) == []


def test_a_disk_that_fills_up_midway_is_said_and_resumed(site, tmp_path):
    """A process that may not write more than 100 kB to a file, as on a full disk."""
    code = f"""
import resource, signal, sys
from pathlib import Path
from calbook.data.defects import DataError
from calbook.data.download import Patience, fetch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    fetch("{site.address}/a.bin", Path("{tmp_path}") / "a.bin", size={len(CONTENT)}, sha256="{SHA}")
except DataError as error:
    sys.exit(str(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a.bin.part: cannot be written (File too large); then run the command again, it resumes" in done.stderr
    assert done.stderr.count("\n") == 1
    assert get(site, tmp_path) == SHA
    assert 0 < site.asked[-1] <= 100_000


@pytest.mark.parametrize("notes", ["", "[]", "{}", '{"size": "a", "etag": 1, "modified": 2}', None])
def test_damaged_notes_do_no_harm(site, tmp_path, notes):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    if notes is not None:
        (tmp_path / "a.bin.part.json").write_text(notes)
    assert get(site, tmp_path) == SHA


def test_killed_anywhere_the_same_call_completes(site, tmp_path):
    """SIGKILL at moments spread over a transfer that stalls now and then; the file is right in the end."""
    site.faults += [("stall", 30_000 * i) for i in range(1, 8)]
    code = f"""
from pathlib import Path
from calbook.data.download import Patience, fetch
fetch("{site.address}/a.bin", Path("{tmp_path}") / "a.bin", size={len(CONTENT)}, sha256="{SHA}",
      patience=Patience(stall=0.1, pause=0.01))
"""
    for delay in (0.05, 0.2):
        process = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 20
        asked = len(site.requests)
        while len(site.requests) == asked and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "a.bin").exists()
    assert get(site, tmp_path) == SHA
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert max(site.asked) > 0
