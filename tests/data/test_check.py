import gzip
import json

import pytest
import tiny_coco
from PIL import Image

from calbook.data.check import check


def broken(tmp_path, change):
    """The report on the tiny set after a change of its document."""
    content = tiny_coco.document()
    change(content)
    tiny_coco.write(tmp_path / "set", content)
    return check(tmp_path / "set")


def lines(report):
    return [str(defect) for defect in report.defects]


def put(kind, index, **fields):
    return lambda document: document[kind][index].update(fields)


def drop(kind, index, field):
    return lambda document: document[kind][index].pop(field)


def test_a_sound_folder_passes(tmp_path):
    tiny_coco.write(tmp_path / "set")
    report = check(tmp_path / "set")
    assert report.passed
    assert report.defects == []
    assert report.summary == [
        "annotations/person_keypoints_val2017.json: 3 images, 4 persons, of which 1 crowds and 2 with joints "
        "(5 labelled joints of 3 kinds)"
    ]


NAN = float("nan")

DEFECTS = [
    (put("annotations", 0, keypoints=[1, 2, 2]), "annotation 10: keypoints: has 3 numbers instead of 9"),
    (put("annotations", 0, keypoints="abc"), "annotation 10: keypoints: 'abc', not a list"),
    (put("annotations", 0, keypoints=[20, "x", 2, 15, 50, 2, 25, 52, 1]), "y of nose is 'x', not a finite number"),
    (put("annotations", 0, keypoints=[20, 1, 2, NAN, 50, 2, 25, 52, 1]), "x of left_knee is nan"),
    (put("annotations", 0, keypoints=[20, 1, 2, 15, None, 2, 25, 52, 1]), "y of left_knee is None"),
    (put("annotations", 0, keypoints=[20, 1, 2, 15, 10**400, 2, 25, 52, 1]), "y of left_knee is 1000"),
    (put("annotations", 0, keypoints=[20, 1, 2, 15, 50, 2, 25, 52, 3]), "keypoints: v of right_knee is 3"),
    (put("annotations", 0, keypoints=[20, 1, 2, 15, 50, 2, 25, 52, 0.5]), "keypoints: v of right_knee is 0.5"),
    (drop("annotations", 0, "keypoints"), "annotation 10: keypoints: missing"),
    (put("annotations", 0, num_keypoints=2), "annotation 10: num_keypoints: 2, but 3 joints have v > 0; write 3"),
    (drop("annotations", 0, "num_keypoints"), "annotation 10: num_keypoints: missing; write 3"),
    (put("annotations", 0, bbox=[10, 20, 0, 40]), "annotation 10: bbox: the width of the box is 0"),
    (put("annotations", 0, bbox=[10, 20, 20, -4]), "annotation 10: bbox: the height of the box is -4"),
    (put("annotations", 0, bbox=[10, 20, 20]), "annotation 10: bbox: [10, 20, 20], not four finite numbers"),
    (put("annotations", 0, bbox=[10, 20, 20, NAN]), "annotation 10: bbox: [10, 20, 20, nan], not four"),
    (drop("annotations", 0, "bbox"), "annotation 10: bbox: missing"),
    (put("annotations", 0, bbox=[70, 20, 20, 40]), "bbox: the box lies outside the picture: [70, 20, 20, 40]"),
    (put("annotations", 0, bbox=[50, 20, 20, 40]), "bbox: the box reaches outside the picture: [50, 20, 20, 40]"),
    (put("annotations", 0, area=0), "annotation 10: area: 0 is not a positive number"),
    (put("annotations", 0, area="big"), "annotation 10: area: 'big' is not a positive number"),
    (put("annotations", 0, image_id=99), "annotation 10: image_id: 99, not an image of this file"),
    (drop("annotations", 0, "image_id"), "annotation 10: image_id: missing"),
    (drop("annotations", 0, "category_id"), "annotation 10: category_id: missing"),
    (put("annotations", 0, iscrowd=2), "annotation 10: iscrowd: 2, neither 0 nor 1"),
    (drop("annotations", 0, "iscrowd"), "annotation 10: iscrowd: missing"),
    (put("annotations", 0, id=11), "annotation 11: id: occurs twice"),
    (put("annotations", 0, id=0), "annotation 0: id: 0 means 'no match'"),
    (put("annotations", 0, id="a"), "annotation at index 0: id: 'a', not an integer"),
    (drop("annotations", 0, "id"), "annotation at index 0: id: missing"),
    (lambda d: d["annotations"].insert(0, 7), "annotation at index 0: is a number, not an object"),
    (lambda d: d["images"].insert(0, None), "image at index 0: is null, not an object"),
    (put("images", 2, id=1), "image 1: id: occurs twice"),
    (put("images", 2, width=0), "image 3: width: 0, not a positive integer"),
    (drop("images", 2, "height"), "image 3: height: missing"),
    (drop("images", 2, "file_name"), "image 3: file_name: missing"),
    (put("images", 2, file_name="/data/a.jpg"), "image 3: file_name: '/data/a.jpg', not the name of a file in"),
    (put("images", 2, file_name="../../x.jpg"), "image 3: file_name: '../../x.jpg', not the name of a file in"),
    (put("images", 2, file_name="a/../0003.jpg"), "image 3: file_name: 'a/../0003.jpg', not the name of a file in"),
    (put("images", 2, id=2**63), "image at index 2: id: 9223372036854775808, not an integer of 64 bits"),
    (put("images", 2, width=2**63), "image 3: width: 9223372036854775808, not a positive integer"),
    (lambda d: d.pop("images"), "images: missing"),
    (lambda d: d.update(annotations={}), "annotations: is an object, not a list"),
    (lambda d: d.update(categories=[]), "categories: none has joint names"),
    (lambda d: d.update(categories=[3]), "category at index 0: keypoints: not a list of joint names"),
    (put("categories", 0, keypoints=["a", "a", "b"]), "category 1: keypoints: a joint name occurs twice"),
    (put("categories", 0, skeleton=[[1, 9]]), "category 1: skeleton: not a list of limbs"),
    (drop("categories", 0, "id"), "category at index 0: id: None is not an integer"),
    (
        put("images", 0, width=61),
        "val2017/0001.jpg: image 1 of annotations/person_keypoints_val2017.json: width, height",
    ),
]


@pytest.mark.parametrize(("change", "message"), DEFECTS, ids=[message[:40] for _, message in DEFECTS])
def test_every_defect_is_named(tmp_path, change, message):
    report = broken(tmp_path, change)
    assert not report.passed
    matching = [line for line in lines(report) if message in line]
    assert matching, lines(report)
    assert all("person_keypoints_val2017.json" in line and "\n" not in line and "; " in line for line in matching)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("annotations", 3, bbox=[9.98, 18.5, 5.5, 0.0], area=0.0), "annotation 13: bbox: the height"),
        (put("annotations", 0, keypoints=[99, 22, 2, 15, 50, 2, 25, 52, 1]), "nose at (99, 22) lies outside"),
        (put("images", 2, file_name="0001.jpg"), "file_name: '0001.jpg' occurs twice"),
    ],
)
def test_oddities_are_warnings(tmp_path, change, message):
    report = broken(tmp_path, change)
    assert report.passed
    assert any(message in line for line in lines(report))


@pytest.mark.parametrize(
    "keypoints", [[1, 2, 2, 0, 0, 0, 90, 3, 0], [60, 80, 2, 0, 0, 0, 0, 0, 0], [-0.5, 2, 1] + [0] * 6]
)
def test_joints_outside_the_box_or_on_the_picture_s_edge_are_fine(tmp_path, keypoints):
    assert broken(tmp_path, put("annotations", 0, keypoints=keypoints, num_keypoints=1)).defects == []


def test_all_defects_are_listed_not_only_the_first(tmp_path):
    def change(document):
        document["annotations"][0] |= {"bbox": [10, 20, 0, 0], "area": -1}
        document["annotations"][1]["keypoints"] = [1]

    assert len(broken(tmp_path, change).defects) == 4


@pytest.mark.parametrize("text", ["[]", "3", "null", '"a"'])
def test_wrong_top_level(tmp_path, text):
    tiny_coco.write(tmp_path / "set", text)
    assert "not an object" in lines(check(tmp_path / "set"))[0]


def test_pictures_outside_the_folder_are_not_looked_at(tmp_path):
    """A sound picture that happens to be there does not make the name sound."""
    content = tiny_coco.document()
    content["images"][0]["file_name"] = str(tmp_path / "x.jpg")
    content["images"][1]["file_name"] = "../../x.jpg"
    tiny_coco.write(tmp_path / "set", content)
    (tmp_path / "set" / "val2017" / "0001.jpg").rename(tmp_path / "x.jpg")
    report = check(tmp_path / "set")
    names = [defect for defect in report.defects if defect.field == "file_name"]
    assert [defect.entry for defect in names] == ["image 1", "image 2"]
    assert not any("x.jpg" in defect.file for defect in report.defects)


def test_two_files_of_one_split_are_a_defect(tmp_path):
    file = tiny_coco.write(tmp_path / "set")
    file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
    (line,) = lines(check(tmp_path / "set"))
    assert line.startswith("annotations/person_keypoints_val2017.json.gz: describes the same pictures as ")
    assert "person_keypoints_val2017.json, those in val2017/; remove" in line


def test_cut_annotations_are_named(tmp_path):
    tiny_coco.write(tmp_path / "set", json.dumps(tiny_coco.document())[:300])
    (line,) = lines(check(tmp_path / "set"))
    assert line.startswith("annotations/person_keypoints_val2017.json: the file ends in the middle (line 1, column ")


def test_what_cannot_be_opened_is_a_defect(tmp_path):
    (tmp_path / "annotations" / "person_keypoints_val2017.json").mkdir(parents=True)
    assert lines(check(tmp_path)) == [
        "annotations/person_keypoints_val2017.json: cannot be read (Is a directory); make it a readable file"
    ]


def test_lists_that_are_none_are_named(tmp_path):
    report = broken(tmp_path, lambda document: document.update(categories={"id": 1}))
    assert any("categories: is an object, not a list" in line for line in lines(report))


def test_pictures_are_decoded_to_the_end(tmp_path):
    tiny_coco.write(tmp_path / "set")
    folder = tmp_path / "set" / "val2017"
    first = (folder / "0001.jpg").read_bytes()
    (folder / "0001.jpg").write_bytes(first[: len(first) // 2])
    (folder / "0002.jpg").unlink()
    (folder / "0003.jpg").write_text("hello")
    Image.new("RGB", (5, 5)).save(folder / "other.PNG")
    report = check(tmp_path / "set")
    where = "of annotations/person_keypoints_val2017.json: file_name"
    assert lines(report) == [
        f"val2017/0001.jpg: image 1 {where}: the picture is cut short; copy or download it again",
        f"val2017/0002.jpg: image 2 {where}: the picture is missing; copy or download it again",
        f"val2017/0003.jpg: image 3 {where}: this is not a picture that can be read; copy or download it again",
        "val2017: pictures without an entry in annotations/person_keypoints_val2017.json: 1 (other.PNG); "
        "add entries or remove the files",
    ]
    assert [defect.severity for defect in report.defects] == ["fatal"] * 3 + ["warning"]


def test_a_missing_folder_of_pictures_is_one_defect(tmp_path):
    tiny_coco.write(tmp_path / "set")
    (tmp_path / "set" / "val2017").rename(tmp_path / "elsewhere")
    (line,) = lines(check(tmp_path / "set"))
    assert "the folder of its pictures, val2017/, is missing" in line


def test_a_folder_without_annotations_says_what_is_expected(tmp_path):
    (line,) = lines(check(tmp_path))
    assert "expected annotations/person_keypoints_<split>.json" in line
    with pytest.raises(FileNotFoundError):
        check(tmp_path / "nowhere")


def test_one_file_is_checked_without_pictures(tmp_path):
    file = tiny_coco.write(tmp_path / "set")
    (tmp_path / "set" / "val2017" / "0001.jpg").unlink()
    assert check(file).passed


@pytest.mark.parametrize(
    "path",
    ["coco_mini", "lspet", "coco_annotations/val2017_keypoints_boxes.json.gz"],
)
def test_real_sets_pass(shared_data, path):
    report = check(shared_data / path)
    assert report.defects == []
    assert report.summary
