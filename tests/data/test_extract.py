import io
import random
import stat
import struct
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calbook.data.defects import DataError
from calbook.data.download.extract import extract

FILES = {"set/a.jpg": b"a" * 3000, "set/deep/b.jpg": random.Random(0).randbytes(2000), "set/c.txt": b""}


def make_zip(path, files=FILES, **changes):
    """A zip archive; ``changes`` sets attributes of the last entry."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("set")
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if name == list(files)[-1]:
                for field, value in changes.items():
                    setattr(info, field, value)
            archive.writestr(info, content)
    return path


def make_tar(path, files=FILES, mode="w:gz", **changes):
    """A tar archive; ``changes`` sets attributes of the last entry."""
    with tarfile.open(path, mode) as archive:
        folder = tarfile.TarInfo("set")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if name == list(files)[-1]:
                for field, value in changes.items():
                    setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


def everything(_):
    return True


def written(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=[make_zip, make_tar], ids=["zip", "tar"])
def make(request):
    return request.param


def test_plain_archives_are_unpacked(make, tmp_path):
    sizes = []
    count = extract(make(tmp_path / "a"), tmp_path / "out", everything, 5000, sizes.append)
    assert count == 3
    assert sizes == [3000, 2000, 0]
    assert written(tmp_path / "out") == FILES


@pytest.mark.parametrize("mode", ["w", "w:bz2", "w:xz"])
def test_other_compressions_are_unpacked(tmp_path, mode):
    extract(make_tar(tmp_path / "a", mode=mode), tmp_path / "out", everything, 5000)
    assert written(tmp_path / "out") == FILES


def test_only_what_is_wanted_is_written(make, tmp_path):
    archive = make(tmp_path / "a")
    assert extract(archive, tmp_path / "out", lambda path: path.name == "b.jpg", 2000) == 1
    assert list(written(tmp_path / "out")) == ["set/deep/b.jpg"]


@pytest.mark.parametrize(
    "name", ["../x", "set/../../x", "/x", "//x", "C:/x", "c:x", "set\\..\\..\\x", "..", "set/..", "a\nb", "a\x1bb"]
)
def test_no_path_leaves_the_folder(make, tmp_path, name):
    inside = tmp_path / "in"
    archive = make(tmp_path / "a", FILES | {name: b"evil"})
    with pytest.raises(DataError, match=r"not unpacked: .*(leads out of the folder|is no name of a file)") as caught:
        extract(archive, inside / "out", everything, 10_000)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "in"]


def test_unwanted_paths_that_leave_the_folder_condemn_the_archive_too(make, tmp_path):
    archive = make(tmp_path / "a", {"../x": b"evil"} | FILES)
    with pytest.raises(DataError, match="leads out"):
        extract(archive, tmp_path / "out", lambda path: path.name == "b.jpg", 10_000)
    assert written(tmp_path / "out") == {}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_tar_links_and_devices_are_refused(tmp_path, kind):
    archive = make_tar(tmp_path / "a", FILES | {"set/link": b""}, type=kind, linkname="../../x")
    with pytest.raises(DataError, match="'set/link' is a link or a device"):
        extract(archive, tmp_path / "out", everything, 10_000)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_zip_links_and_devices_are_refused(tmp_path, kind):
    archive = make_zip(tmp_path / "a", FILES | {"set/link": b"../../x"}, external_attr=(kind | 0o777) << 16)
    with pytest.raises(DataError, match="'set/link' is a link or a device"):
        extract(archive, tmp_path / "out", everything, 10_000)


def test_a_link_cannot_be_written_through(tmp_path):
    """The classic: a link to the outside, then a file below it."""
    with tarfile.open(tmp_path / "a", "w") as archive:
        link = tarfile.TarInfo("set")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
        archive.addfile(link)
        below = tarfile.TarInfo("set/x")
        below.size = 4
        archive.addfile(below, io.BytesIO(b"evil"))
    (tmp_path / "outside").mkdir()
    with pytest.raises(DataError, match="is a link"):
        extract(tmp_path / "a", tmp_path / "out", everything, 10_000)
    assert not list((tmp_path / "outside").iterdir())


def test_permissions_and_owners_are_not_taken_over(tmp_path):
    archive = make_tar(tmp_path / "a", {"set/a.sh": b"x"}, mode="w", uid=12345)
    with tarfile.open(tmp_path / "b", "w") as pack:
        info = tarfile.TarInfo("set/a.sh")
        info.size, info.mode = 1, 0o6777
        pack.addfile(info, io.BytesIO(b"x"))
    for number, source in enumerate((archive, tmp_path / "b")):
        extract(source, tmp_path / str(number), everything, 10)
        assert (tmp_path / str(number) / "set" / "a.sh").stat().st_mode & 0o7111 == 0


def test_more_than_announced_is_refused(make, tmp_path):
    archive = make(tmp_path / "a", {"set/bomb": bytes(10_000_000)})
    assert archive.stat().st_size < 50_000
    with pytest.raises(DataError, match="brings the content above the 9999999 bytes of this data set"):
        extract(archive, tmp_path / "out", everything, 9_999_999)
    assert written(tmp_path / "out") == {}
    assert extract(archive, tmp_path / "out2", everything, 10_000_000) == 1


def test_a_zip_entry_that_is_larger_than_it_says(tmp_path):
    archive = make_zip(tmp_path / "a", {"bomb": bytes(1_000_000)})
    content = bytearray(archive.read_bytes())
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):  # the size in both of its headers
        at = content.rindex(signature) + place
        content[at : at + 4] = struct.pack("<L", 10)
    archive.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"damaged|larger than it says"):
        extract(archive, tmp_path / "out", everything, 10_000)
    assert sum(len(content) for content in written(tmp_path / "out").values()) <= 10


def test_names_that_fall_together_are_refused(make, tmp_path):
    with pytest.raises(DataError, match=r"'SET/A\.jpg' occurs twice"):
        extract(make(tmp_path / "a", FILES | {"SET/A.jpg": b"x"}), tmp_path / "out", everything, 10_000)


def test_encrypted_archives_are_refused(tmp_path):
    archive = make_zip(tmp_path / "a", {"set/a": b"x"})
    content = bytearray(archive.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(bytes(content))
    with pytest.raises(DataError, match="'set/a' is encrypted"):
        extract(archive, tmp_path / "out", everything, 10)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_archives_that_are_cut_short_are_refused(make, tmp_path, share):
    archive = make(tmp_path / "a")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="the archive is damaged"):
        extract(archive, tmp_path / "out", everything, 10_000)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_archives_raise_one_line_and_stay_inside(make, tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("fuzz")
    archive = make(folder / "a")
    content = bytearray(archive.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    archive.write_bytes(bytes(content))
    try:
        extract(archive, folder / "in" / "out", everything, 10_000)
    except DataError as error:
        text = str(error)
    else:
        text = ""
    assert "\n" not in text
    assert {path.name for path in folder.iterdir()} <= {"a", "in"}
    assert sum(len(content) for content in written(folder / "in").values()) <= 10_000
