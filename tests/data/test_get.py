import dataclasses
import fcntl
import hashlib
import importlib.util
import io
import json
import os
import random
import shutil
import tarfile
import zipfile
from types import SimpleNamespace

import mpii_mat
import pytest
import tiny_coco
from faulty_server import serving

from calbook import cli
from calbook.cli import data as data_command
from calbook.data import coco, download, mpii
from calbook.data.check import check
from calbook.data.defects import DataError
from calbook.data.download import SETS, Archive, DataSet, Part, Patience
from calbook.data.download.get import CHECKSUMS, WORK

QUICK = Patience(stall=0.3, retries=2, pause=0.01, longest=0.02)
MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    """No proxy between these tests and this computer."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def zipped(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The tiny set as COCO publishes its own: one archive of annotations, one of pictures."""
    folder = tmp_path_factory.mktemp("tiny") / "set"
    tiny_coco.write(folder)
    split = tiny_coco.SPLIT
    annotations = (folder / "annotations" / f"person_keypoints_{split}.json").read_bytes()
    names = (f"annotations/person_keypoints_{split}.json", "annotations/captions.json")
    pictures = {f"{split}/{path.name}": path.read_bytes() for path in sorted((folder / split).iterdir())}
    return {
        "/annotations.zip": zipped(dict.fromkeys(names, annotations)),
        f"/zips/{split}.zip": zipped({f"{split}/": b""} | pictures),
    }


def tiny_set(archives, **changes):
    """The description of the tiny set, as that of COCO."""
    known = {}
    for path, content in archives.items():
        sound = Archive(path[1:], len(content), hashlib.sha256(content).hexdigest(), MEGABYTE)
        known[path] = dataclasses.replace(sound, **changes)
    split = tiny_coco.SPLIT
    keypoints = f"annotations/person_keypoints_{split}.json"
    parts = (
        Part(known["/annotations.zip"], keypoints, keypoints),
        Part(known[f"/zips/{split}.zip"], f"{split}/", split),
    )
    return DataSet("tiny", "http://host.invalid", {split: parts}, (split,), "Free.")


@pytest.fixture
def site(archives):
    with serving(dict(archives)) as running:
        yield running


def get(site, folder, dataset, **options):
    return download.get(dataset, folder, address=site.address, patience=QUICK, **options)


def test_a_split_arrives_in_coco_s_layout(site, archives, tmp_path):
    outcome = get(site, tmp_path / "data" / "tiny", tiny_set(archives))
    folder = tmp_path / "data" / "tiny"
    assert outcome.placed == ["annotations/person_keypoints_val2017.json", "val2017"]
    assert outcome.present == []
    assert outcome.noted == {}
    assert check(folder).defects == []
    assert len(coco.read_split(folder, "val2017")) == 2
    assert sorted(path.name for path in folder.iterdir()) == ["annotations", CHECKSUMS, "val2017"]
    assert [path.name for path in (folder / "annotations").iterdir()] == ["person_keypoints_val2017.json"]
    noted = json.loads((folder / CHECKSUMS).read_text())
    assert noted["val2017.zip"]["checksum"] == "published"
    assert noted["val2017.zip"]["sha256"] == hashlib.sha256(archives["/zips/val2017.zip"]).hexdigest()


def test_what_is_there_is_not_fetched_again(site, archives, tmp_path):
    get(site, tmp_path, tiny_set(archives))
    picture = tmp_path / "val2017" / "0001.jpg"
    before = picture.stat().st_mtime_ns
    (tmp_path / "annotations" / "person_keypoints_val2017.json").unlink()
    site.requests.clear()
    outcome = get(site, tmp_path, tiny_set(archives))
    assert outcome.present == ["val2017"]
    assert outcome.placed == ["annotations/person_keypoints_val2017.json"]
    assert len(site.requests) == 1
    assert picture.stat().st_mtime_ns == before
    site.requests.clear()
    get(site, tmp_path, tiny_set(archives))
    assert site.requests == []


def test_an_empty_folder_is_filled(site, archives, tmp_path):
    (tmp_path / "val2017").mkdir()
    get(site, tmp_path, tiny_set(archives))
    assert check(tmp_path).passed


def test_archives_are_kept_on_request(site, archives, tmp_path):
    get(site, tmp_path, tiny_set(archives), keep=True)
    assert (tmp_path / WORK / "val2017.zip").read_bytes() == archives["/zips/val2017.zip"]
    (tmp_path / "val2017").rename(tmp_path / "elsewhere")
    site.requests.clear()
    get(site, tmp_path, tiny_set(archives))
    assert site.requests == []
    assert check(tmp_path).passed


def test_interrupted_the_same_call_goes_on(site, archives, tmp_path):
    size = len(archives["/zips/val2017.zip"])
    site.faults += [("none",), *[("drop", size // 2)] * 3]
    with pytest.raises(DataError, match="it resumes"):
        get(site, tmp_path, tiny_set(archives))
    assert not (tmp_path / "val2017").exists()
    assert (tmp_path / "annotations" / "person_keypoints_val2017.json").exists()
    get(site, tmp_path, tiny_set(archives))
    assert site.asked[-1] == size // 2
    assert check(tmp_path).passed
    assert not (tmp_path / WORK).exists()


def test_a_failure_leaves_nothing_half_done(site, archives, tmp_path):
    site.faults += [404]
    with pytest.raises(DataError, match="404"):
        get(site, tmp_path / "a" / "b", tiny_set(archives))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"val2017/0001.jpg": b"x", "../evil": b"x"}), "leads out of the folder"),
        (zipped({"val2017/0001.jpg": bytes(2 * MEGABYTE)}), "brings the content above"),
        (zipped({"other/0001.jpg": b"x"}), "there is no val2017/ in it"),
        (b"no archive", "the archive is damaged"),
    ],
)
def test_bad_archives_leave_no_pictures(archives, tmp_path, content, message):
    files = archives | {"/zips/val2017.zip": content}
    with serving(files) as site, pytest.raises(DataError, match=message):
        get(site, tmp_path, tiny_set(files))
    assert not (tmp_path / "val2017").exists()
    assert [path.name for path in (tmp_path / WORK).iterdir()] == ["val2017.zip"]
    assert sorted(path.name for path in tmp_path.parent.iterdir() if path.name == "evil") == []


def test_an_unknown_checksum_is_noted_and_then_held_to(site, archives, tmp_path):
    unknown = tiny_set(archives, sha256=None, size=None)
    outcome = get(site, tmp_path, unknown)
    found = hashlib.sha256(archives["/zips/val2017.zip"]).hexdigest()
    assert outcome.noted["val2017.zip"] == found
    assert json.loads((tmp_path / CHECKSUMS).read_text())["val2017.zip"]["checksum"] == "first download"
    (tmp_path / "val2017").rename(tmp_path / "elsewhere")
    content = bytearray(site.files["/zips/val2017.zip"])
    content[100] ^= 1
    site.files["/zips/val2017.zip"] = bytes(content)
    with pytest.raises(DataError, match=f"arrives damaged: its SHA-256 is .*, not {found}"):
        get(site, tmp_path, unknown)
    assert not (tmp_path / "val2017").exists()


def test_a_damaged_first_download_is_not_noted(archives, tmp_path):
    files = archives | {"/annotations.zip": b"no archive"}
    with serving(files) as site, pytest.raises(DataError, match="damaged"):
        get(site, tmp_path, tiny_set(files, sha256=None, size=None))
    assert not (tmp_path / CHECKSUMS).exists()


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', "\x00"])
def test_damaged_notes_of_checksums_are_named(site, archives, tmp_path, text):
    (tmp_path / CHECKSUMS).write_text(text)
    with pytest.raises(DataError, match=r"checksums\.json: not a file of checksums"):
        get(site, tmp_path, tiny_set(archives))


def test_two_at_once_are_refused(site, archives, tmp_path):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(DataError, match="another process is downloading into this folder"):
        get(site, tmp_path, tiny_set(archives))
    os.close(handle)
    get(site, tmp_path, tiny_set(archives))


def test_room_is_made_sure_of_before_anything_is_asked_for(site, archives, tmp_path):
    with pytest.raises(DataError, match=r"annotations\.zip with its content needs 9.*GB and .* are free"):
        get(site, tmp_path, tiny_set(archives, unpacked=9 * 10**18))
    assert site.requests == []
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_folder_is_one_line(site, archives, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SETS, "coco", tiny_set(archives))
    (tmp_path / "file").write_text("")
    arguments = ["data", "get", "coco", "--out", str(tmp_path / "file" / "data"), "--url-base", site.address]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Not a directory" in error


def test_the_command_fetches_and_says_so(site, archives, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SETS, "coco", tiny_set(archives, sha256=None))
    arguments = ["data", "get", "coco", "--out", str(tmp_path / "x"), "--url-base", f"{site.address}/"]
    assert cli.main([*arguments, "--split", "val2017"]) == 0
    output = capsys.readouterr().out
    assert "Free." in output
    assert f"{tmp_path / 'x' / 'val2017'}: done" in output
    assert "val2017.zip: no published checksum is known; SHA-256 " in output
    assert cli.main(["data", "check", str(tmp_path / "x")]) == 0
    assert cli.main(arguments) == 0
    assert "already there" in capsys.readouterr().out
    assert cli.main([*arguments, "--split", "train2018"]) == 2
    assert "tiny: no split 'train2018'; choose one of val2017" in capsys.readouterr().err


def test_the_command_knows_the_sets_there_are(capsys):
    assert tuple(SETS) == data_command.SETS
    with pytest.raises(SystemExit) as stop:
        cli.main(["data", "get", "imagenet", "--out", "x"])
    assert stop.value.code == 2
    assert "invalid choice: 'imagenet'" in capsys.readouterr().err


def test_the_published_sets_are_described_soundly():
    for dataset in SETS.values():
        assert dataset.address.startswith("http")
        assert set(dataset.default) <= set(dataset.splits)
        for part in (part for parts in dataset.splits.values() for part in parts):
            assert part.archive.sha256 is None or len(bytes.fromhex(part.archive.sha256)) == 32
            assert part.archive.size is None or part.archive.size <= 1.1 * part.archive.unpacked + 10**9
            assert not part.place.startswith("/")


def test_mpii_becomes_coco_s_layout(shared_data, tmp_path, monkeypatch):
    """The published archives in small: five real pictures, annotations as the .mat file has them."""
    source = shared_data / "mpii" / "images"
    entries = json.loads((shared_data / "mpii" / "sample.json").read_text())
    mat = mpii_mat.write_mat(tmp_path, *map(mpii_mat.of_json, entries)).read_bytes()
    folder = "mpii_human_pose_v1_u12_2"
    pictures = {f"images/{path.name}": path.read_bytes() for path in sorted(source.iterdir())}
    files = {
        "/mpii_human_pose_v1.tar.gz": tarred(pictures),
        "/mpii_human_pose_v1_u12_2.zip": zipped(
            {f"{folder}/README.md": b"", f"{folder}/bsd.txt": b"terms", f"{folder}/{mpii.ANNOTATION_FILE}": mat}
        ),
    }
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
    with serving(files) as site:
        outcome = get(site, tmp_path / "mpii", SETS["mpii"])
    assert set(outcome.noted) == {"mpii_human_pose_v1.tar.gz", "mpii_human_pose_v1_u12_2.zip"}
    assert check(tmp_path / "mpii").passed
    people = coco.read_split(tmp_path / "mpii", "images")
    published = mpii.read(tmp_path / "mpii" / mpii.ANNOTATION_FILE, tmp_path / "mpii" / "images")
    assert people.skeleton is published.skeleton
    assert people.joints.equal(published.joints)
    assert people.picture(2).equal(published.picture(2))
    assert published.boxes.equal(mpii.read(shared_data / "mpii" / "sample.json").boxes)


def test_a_missing_library_is_said_before_the_download(site, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DataError, match="converting its annotations needs scipy, which is not installed; install it"):
        get(site, tmp_path, SETS["mpii"])
    assert site.requests == []


def test_random_faults_never_leave_a_wrong_file(archives, tmp_path):
    """Whatever happens on the way, in the end there is the right set or none."""
    for seed in range(12):
        rng = random.Random(seed)
        folder = tmp_path / str(seed)
        with serving(dict(archives), ranges=rng.random() < 0.7, validators=rng.random() < 0.7) as site:
            places = [rng.randrange(1, 9000) for _ in range(6)]
            kinds = [rng.choice(["drop", "corrupt", "part", "html", 503, "none"]) for _ in places]
            site.faults += [k if isinstance(k, int) else (k, p) for k, p in zip(kinds, places, strict=True)]
            messages: list[str] = []
            for _ in range(8):
                try:
                    get(site, folder, tiny_set(archives))
                    break
                except DataError as error:
                    messages.append(str(error))
        assert not any("\n" in message for message in messages)
        assert check(folder).passed
