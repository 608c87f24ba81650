import gzip
import json

import numpy as np
import pytest
import tiny_coco
import torch
from PIL import Image

from calbook.data import annotations, coco
from calbook.data.annotations import load
from calbook.data.defects import DataError
from calbook.data.pictures import open_picture
from calbook.skeletons import COCO, LSP


def test_reads_the_selected_persons_as_arrays(tmp_path):
    people = coco.read(tiny_coco.write(tmp_path / "set"))
    assert len(people) == 2
    assert people.ids.tolist() == [10, 11]
    assert people.image_ids.tolist() == [1, 2]
    assert people.boxes.tolist() == [[10, 20, 20, 40], [5, 5, 40, 50]]
    assert people.joints[1].tolist() == [[20.5, 30], [0, 0], [50, 5]]
    assert people.visible.tolist() == [[2, 2, 1], [2, 0, 1]]
    assert people.areas.tolist() == [500, 500]
    assert people.picture_sizes.tolist() == [[80, 60], [80, 60]]
    assert people.skeleton.joints == tiny_coco.JOINTS
    assert people.skeleton.limbs == ((0, 1), (0, 2))


def test_evaluation_document_keeps_crowds_and_drops_other_categories(tmp_path):
    people = coco.read(tiny_coco.write(tmp_path / "set"))
    document = people.pycocotools_dict()
    assert [entry["id"] for entry in document["annotations"]] == [10, 11, 12, 13]
    document["annotations"][0]["ignore"] = 1  # as pycocotools does
    assert "ignore" not in people.pycocotools_dict()["annotations"][0]


def test_compressed_file_reads_the_same(tmp_path):
    plain = tiny_coco.write(tmp_path / "set")
    packed = plain.with_name(plain.name + ".gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert coco.read(packed).joints.equal(coco.read(plain).joints)


def test_a_file_without_persons_gives_empty_arrays(tmp_path):
    content = tiny_coco.document() | {"annotations": []}
    people = coco.read(tiny_coco.write(tmp_path / "set", content))
    assert people.joints.shape == (0, 3, 2)
    assert people.boxes.shape == (0, 4)
    assert people.picture_sizes.shape == (0, 2)


def test_boxes_for_crops_are_clipped_to_the_pictures(tmp_path):
    content = tiny_coco.document()
    content["annotations"][0]["bbox"] = [-4, 20, 30, 70]
    boxes, usable = coco.read(tiny_coco.write(tmp_path / "set", content)).clean_boxes()
    assert boxes[0].tolist() == [0, 20, 29, 59]
    assert usable.tolist() == [True, True]


def test_missing_areas_are_nan(tmp_path):
    content = tiny_coco.document()
    del content["annotations"][0]["area"]
    assert coco.read(tiny_coco.write(tmp_path / "set", content)).areas.isnan().tolist() == [True, False]


def test_pictures_open_on_demand_as_rgb(tmp_path):
    tiny_coco.write(tmp_path / "set")
    people = coco.read_split(tmp_path / "set", "val2017")
    picture = people.picture(0)
    stored = np.asarray(Image.open(tmp_path / "set" / "val2017" / "0001.jpg"))
    assert picture.shape == (3, 80, 60)
    assert picture.dtype == torch.float32
    np.testing.assert_allclose(picture.permute(1, 2, 0).numpy() * 255, stored, atol=1e-4)


def test_pictures_that_do_not_fit_are_refused(tmp_path):
    tiny_coco.write(tmp_path / "set")
    people = coco.read_split(tmp_path / "set", "val2017")
    file = tmp_path / "set" / "val2017" / "0001.jpg"
    Image.new("RGB", (61, 80)).save(file)
    with pytest.raises(DataError, match=r"0001\.jpg: the picture is 80x61, annotated as 80x60"):
        people.picture(0)
    file.unlink()
    with pytest.raises(DataError, match=r"0001\.jpg: the picture is missing"):
        people.picture(0)
    with pytest.raises(DataError, match="pictures' folder"):
        coco.read(tmp_path / "set" / "annotations" / "person_keypoints_val2017.json").picture(0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode):
    file = tmp_path / ("a.jpg" if mode in ("L", "CMYK") else "a.png")
    Image.new("RGB", (4, 3), (200, 200, 200)).convert(mode).save(file)
    picture = open_picture(file)
    assert picture.shape == (3, 3, 4)
    assert picture.sub(200 / 255).abs().max() < 0.02


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_pictures_are_refused(tmp_path, share):
    file = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)).save(file)
    assert open_picture(file).shape == (3, 90, 70)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="cut short"):
        open_picture(file)
    file.write_bytes(whole[:-2])  # all rows are there, the end marker is not
    with pytest.raises(DataError, match="cut short"):
        open_picture(file)
    file.write_bytes(b"not a picture")
    with pytest.raises(DataError, match="not a picture that can be read"):
        open_picture(file)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("keypoints", [1, 2, 2], r"annotation 10: keypoints: has 3 numbers instead of 9"),
        ("bbox", [10, 20, 0, 40], r"annotation 10: bbox: the width of the box is 0"),
        ("image_id", 99, r"annotation 10: image_id: 99, not a"),
        ("id", 2**63, r"annotation at index 0: id: 9223372036854775808, not an integer of 64 bits"),
    ],
)
def test_malformed_entries_raise_one_line(tmp_path, field, value, message):
    content = tiny_coco.document()
    content["annotations"][0][field] = value
    with pytest.raises(DataError, match=message) as caught:
        coco.read(tiny_coco.write(tmp_path / "set", content))
    assert "\n" not in str(caught.value)
    assert "person_keypoints_val2017.json" in str(caught.value)


@pytest.mark.parametrize("name", ["{outside}", "../../x.jpg"])
def test_pictures_outside_their_folder_are_never_opened(tmp_path, name):
    content = tiny_coco.document()
    content["images"][0]["file_name"] = name.format(outside=tmp_path / "x.jpg")
    tiny_coco.write(tmp_path / "set", content)
    with pytest.raises(DataError, match=r"image 1: file_name: .*x\.jpg', not the name of a file in the folder"):
        coco.read_split(tmp_path / "set", "val2017")


def test_the_largest_numbers_are_read(tmp_path):
    content = tiny_coco.document()
    content["annotations"][0]["id"] = 2**63 - 1
    assert coco.read(tiny_coco.write(tmp_path / "set", content)).ids[0] == 2**63 - 1


def test_coco_s_own_odd_entries_do_not_stop_the_reader(tmp_path):
    """A person without joints may have a flat box: COCO's training file has one."""
    content = tiny_coco.document()
    content["annotations"][3] |= {"bbox": [9.98, 18.5, 5.54, 0.0], "area": 0.0}
    content["annotations"][0]["bbox"] = [-4, 20, 30, 40]  # reaches out of the picture: clipped by clean_boxes
    assert len(coco.read(tiny_coco.write(tmp_path / "set", content))) == 2


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_file_cut_anywhere_is_said_to_end_in_the_middle(tmp_path, share):
    whole = json.dumps(tiny_coco.document())
    file = tiny_coco.write(tmp_path / "set", whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="ends in the middle"):
        coco.read(file)


def test_every_cut_of_a_file_raises_the_documented_error(tmp_path):
    whole = json.dumps(tiny_coco.document() | {"images": [], "extra": [None, True, "ü", -1.5e3]}, ensure_ascii=False)
    file = tmp_path / "a.json"
    for length in range(0, len(whole.encode()), 7):
        file.write_bytes(whole.encode()[:length])
        with pytest.raises(DataError):
            load(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b'{"a": "\xff\xfe"}', "not text at byte 7"),
        (b"hello", "not valid JSON at line 1, column 1"),
        (b'{"a": 1,, "b": 22222222222222}', "not valid JSON at line 1, column 9"),
        (b"[" * 100_000, "nested far too deeply"),
        (b"9" * 5_000, "not valid JSON .*4300 digits"),
    ],
)
def test_what_is_not_json_is_refused(tmp_path, content, message):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(file)


def test_damaged_compression_is_refused(tmp_path):
    packed = gzip.compress(json.dumps(tiny_coco.document()).encode())
    file = tmp_path / "a.json.gz"
    for content in (packed[: len(packed) // 2], b"plain", packed[:20] + b"\0\0\0\0" + packed[24:]):
        file.write_bytes(content)
        with pytest.raises(DataError, match="cut short or damaged"):
            load(file)


def test_a_file_that_unpacks_to_far_more_than_annotations_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(annotations, "UNPACKED", 1 << 20)
    file = tmp_path / "a.json.gz"
    file.write_bytes(gzip.compress(b"[" + b" " * (1 << 20) + b"]"))
    with pytest.raises(DataError, match="unpacks to more than 1 MiB"):
        load(file)
    file.write_bytes(gzip.compress(b"[" + b" " * ((1 << 20) - 2) + b"]"))
    assert load(file) == []


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (("person_keypoints_val.json", "person_keypoints_val.json.gz"), "val"),
        (("lsp_keypoints.json", "lspet_keypoints.json"), "images"),
    ],
)
def test_two_files_of_one_split_are_refused_by_name(tmp_path, names, split):
    text = json.dumps(tiny_coco.document()).encode()
    (tmp_path / "annotations").mkdir()
    for name in (*names, "person_keypoints_other.json"):
        (tmp_path / "annotations" / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    with pytest.raises(DataError, match=f"{names[1]}: describes the same pictures as {names[0]}, those in {split}/"):
        coco.read_split(tmp_path, split)
    assert len(coco.read_split(tmp_path, "other")) == 2


def test_unknown_split_names_those_there_are(tmp_path):
    tiny_coco.write(tmp_path / "set")
    with pytest.raises(DataError, match="no split 'train2017'; choose one of val2017"):
        coco.read_split(tmp_path / "set", "train2017")
    with pytest.raises(DataError, match="expected annotations/"):
        coco.read_split(tmp_path, "train2017")


@pytest.mark.parametrize(
    ("folder", "split", "skeleton", "persons", "joints"),
    [
        ("coco_mini", "train2017", COCO, 254, 2491),
        ("coco_mini", "val2017", COCO, 249, 2636),
        ("lspet", "images", LSP, 1200, 14819),
    ],
)
def test_real_sets_are_read_whole(shared_data, folder, split, skeleton, persons, joints):
    people = coco.read_split(shared_data / folder, split)
    assert people.skeleton is skeleton
    assert len(people) == persons
    assert (people.visible > 0).sum() == joints
    assert people.picture(0).shape[1:] == tuple(people.picture_sizes[0].tolist())


def test_real_coordinates_without_pictures_are_read(shared_data):
    people = coco.read(shared_data / "coco_annotations" / "val2017_keypoints_boxes.json.gz")
    assert len(people) == 6179
    assert (people.visible > 0).sum() == 66409
    assert people.areas.isfinite().sum() == 1433
