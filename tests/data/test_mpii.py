import contextlib
import csv
import gzip
import json
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mpii_mat import as_structs, struct, write_mat
from PIL import Image
from scipy.io import savemat

from calbook.data import mpii
from calbook.data.defects import DataError
from calbook.geometry import box_to_crop
from calbook.metrics import head_lengths
from calbook.skeletons import MPII

INPUT = (256, 256)
K = MPII.num_joints


def entry(**changes):
    """A person of the JSON form whose joints lie at (10 + k, 20 + 2k), 1-based; the first is not labelled."""
    sound = {
        "image": "a.jpg",
        "joints": [[10.0 + k, 20.0 + 2 * k] for k in range(K)],
        "joints_vis": [0] + [1] * (K - 1),
        "center": [101.0, 61.0],
        "scale": 0.5,
    }
    return sound | changes


def write_json(tmp_path, *entries):
    file = tmp_path / "valid.json"
    file.write_text(json.dumps(list(entries)))
    return file


def points(count=K, **first):
    """MATLAB points of the same joints; the two of the head do not say whether they are visible."""
    listed = [struct(x=10.0 + k, y=20.0 + 2 * k, id=float(k), is_visible=float(k % 2)) for k in range(count)]
    for k in (8, 9):
        if k < count:
            listed[k]["is_visible"] = np.zeros((0, 0))
    listed[1] |= first
    return listed


def person(**changes):
    sound = struct(
        x1=21.0, y1=31.0, x2=51.0, y2=71.0, scale=0.5, objpos=struct(x=101.0, y=61.0),
        annopoints=struct(point=as_structs(points())),
    )  # fmt: skip
    return sound | changes


def write_csv(tmp_path, *changes, name="mpii.csv"):
    columns = ["ID", "NAME", *(f"{joint}_{axis}" for joint in mpii._COLUMNS for axis in "XY"), "Scale", "Activity"]
    file = tmp_path / name
    rows = []
    for change in changes:
        row = {"ID": 1, "NAME": "a.jpg", "Scale": 0.5, "Activity": "rowing, upright"}
        for k, joint in enumerate(mpii._COLUMNS):
            row |= {f"{joint}_X": 10.0 + k, f"{joint}_Y": 20.0 + 2 * k}
        row |= {"r ankle_X": -1, "r ankle_Y": -1}
        rows.append(row | change)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return file


def test_the_published_crop_follows_from_the_box(tmp_path):
    """Centre 15 * scale lower and 1 less, side 200 * scale * 1.25, as the published readers have it."""
    people = mpii.read(write_json(tmp_path, entry(), entry(image="b.jpg", center=[7.0, 9.0], scale=2.0)))
    boxes, usable = people.clean_boxes()  # not clipped: the crops reach out of the picture
    assert usable.tolist() == [True, True]
    crop = box_to_crop(boxes, INPUT)
    assert crop.center.tolist() == [[100.0, 61.0 + 15 * 0.5 - 1], [6.0, 9.0 + 30 - 1]]
    assert crop.extent.tolist() == [[125.0, 125.0], [500.0, 500.0]]


def test_json_joints_count_from_zero(tmp_path):
    people = mpii.read(write_json(tmp_path, entry()))
    assert people.skeleton is MPII
    assert people.visible.tolist() == [[0] + [2] * (K - 1)]
    assert people.joints[0, :3].tolist() == [[0, 0], [10, 21], [11, 23]]
    assert people.file_names == ("a.jpg",)
    assert people.areas.isnan().all()
    assert people.picture_sizes.tolist() == [[0, 0]]


def test_an_unknown_place_is_the_middle_of_the_joints(tmp_path):
    people = mpii.read(write_json(tmp_path, entry(center=[-1.0, -1.0])))
    middle = people.joints[0, 1:].amin(0) / 2 + people.joints[0, 1:].amax(0) / 2
    assert torch.allclose(box_to_crop(people.boxes, INPUT).center[0], middle)


def test_head_boxes_of_the_published_file(tmp_path):
    file = write_json(tmp_path, entry(), entry(image="b.jpg", joints_vis=[0] * K), entry(image="c.jpg"))
    corners = np.zeros((2, 2, 3))
    corners[0] = [[11, 0, 1], [21, 0, 1]]  # x1 and y1 of the three persons
    corners[1] = [[41, 1, 4], [61, 1, 5]]
    savemat(tmp_path / "gt_valid.mat", {"headboxes_src": corners})
    people = mpii.read(file, heads=tmp_path / "gt_valid.mat")
    assert people.ids.tolist() == [1, 3]  # the second has no joints
    assert people.head_boxes.tolist() == [[10, 20, 30, 40], [0, 0, 3, 4]]
    assert head_lengths(people.head_boxes).tolist() == pytest.approx([30.0, 3.0])
    savemat(tmp_path / "gt_valid.mat", {"headboxes_src": corners[..., :2]})
    with pytest.raises(DataError, match=r"headboxes_src: shape \(2, 2, 2\), expected \(2, 2, 3\)"):
        mpii.read(file, heads=tmp_path / "gt_valid.mat")
    savemat(tmp_path / "gt_valid.mat", {"headboxes_src": corners[::-1]})
    with pytest.raises(DataError, match=r"person 1: headboxes_src: an empty head box"):
        mpii.read(file, heads=tmp_path / "gt_valid.mat")
    with pytest.raises(DataError, match=r"head boxes go with a \.json file"):
        mpii.read(write_csv(tmp_path, {}), heads=tmp_path / "gt_valid.mat")


def test_head_boxes_follow_from_the_two_joints_of_the_head(tmp_path):
    joints = entry()["joints"]
    joints[8], joints[9] = [40.0, 60.0], [64.0, 28.0]  # 40 apart: the diagonal is 50
    missing = entry(image="b.jpg", joints_vis=[1] * 9 + [0] + [1] * 6)
    people = mpii.read(write_json(tmp_path, entry(joints=joints), missing))
    box = people.head_boxes[0]
    assert box[2:].norm().item() == pytest.approx(50.0)
    assert (box[:2] + box[2:] / 2).tolist() == pytest.approx([51.0, 43.0])
    assert head_lengths(people.head_boxes)[0].item() == pytest.approx(30.0)
    assert people.head_boxes[1].isnan().all()
    assert head_lengths(people.head_boxes)[1].isnan()


@pytest.fixture(scope="module")
def table(shared_data):
    """The real table of 11,623 persons."""
    return mpii.read(shared_data / "mpii" / "mpii_human_pose.csv.gz")


def test_the_share_of_the_diagonal_is_a_fact_of_the_data(table):
    """Head boxes have whole corners: with the right share, and no other, so have their squared diagonals."""
    people = table
    both = (people.visible[:, [8, 9]] > 0).all(1)
    neck, top = people.joints[both][:, [8, 9]].double().unbind(1)
    between = (neck - top).norm(dim=1)
    between = between[between < 100]  # coordinates have four decimals: exact enough for short ones

    def share_of_whole(share):
        squared = (between / share).square()
        return ((squared - squared.round()).abs() < 0.1).double().mean().item()

    assert share_of_whole(mpii.HEAD_JOINTS_SHARE) > 0.95
    assert max(share_of_whole(share) for share in (0.6, 0.75, 0.79, 0.81, 0.9, 1.0)) < 0.35


def test_head_boxes_and_persons_stay_together(tmp_path):
    people = mpii.read(write_json(tmp_path, entry()))
    fields = vars(people) | {"head_boxes": people.head_boxes[:0]}
    with pytest.raises(ValueError, match="0 head boxes for 1 persons"):
        mpii.MpiiPeople(**fields)


def test_mat_is_read_as_published(tmp_path):
    file = write_mat(
        tmp_path,
        ("a.jpg", [person()]),
        ("test.jpg", [struct(scale=1.0, objpos=struct(x=5.0, y=5.0))]),  # of the test pictures: no joints
        ("empty.jpg", []),
        ("b.jpg", [person(), person(annopoints=struct(point=as_structs(points(3))), scale=1.0)]),
        ("c.jpg", [person(scale=np.zeros((0, 0)))]),
    )
    people = mpii.read(file)
    assert people.file_names == ("a.jpg", "b.jpg", "b.jpg")
    assert people.image_ids.tolist() == [1, 2, 2]
    assert people.visible[0].tolist() == [1, 2, 1, 2, 1, 2, 1, 2, 2, 2, 1, 2, 1, 2, 1, 2]
    assert people.visible[2].tolist() == [1, 2, 1] + [0] * 13
    assert people.joints[0, 1].tolist() == [10, 21]
    assert people.head_boxes[0].tolist() == [20, 30, 30, 40]
    assert head_lengths(people.head_boxes)[0].item() == pytest.approx(30.0)
    crop = box_to_crop(people.boxes, INPUT)
    assert crop.center[0].tolist() == [100.0, 67.5]
    assert crop.extent[:, 0].tolist() == [125.0, 125.0, 250.0]


def test_all_forms_give_the_same_person(tmp_path):
    """One person in the three forms: the same joints, and where the form tells it, the same box."""
    visible = [1.0] * K
    listed = [point | {"is_visible": flag} for point, flag in zip(points(), visible, strict=True)][1:]
    from_mat = mpii.read(write_mat(tmp_path, ("a.jpg", [person(annopoints=struct(point=as_structs(listed)))])))
    from_json = mpii.read(write_json(tmp_path, entry()))
    from_csv = mpii.read(write_csv(tmp_path, {}))
    for other in (from_json, from_csv):
        assert other.joints.equal(from_mat.joints)
        assert other.visible.equal(from_mat.visible)
        assert other.boxes[:, 2:].equal(from_mat.boxes[:, 2:])
    assert from_json.boxes.equal(from_mat.boxes)


def test_csv_may_be_compressed(tmp_path):
    plain = write_csv(tmp_path, {}, {"NAME": "b.jpg"})
    packed = tmp_path / "b.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert mpii.read(packed).joints.equal(mpii.read(plain).joints)
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DataError, match="cut short or damaged"):
        mpii.read(packed)


JSON_DEFECTS = [
    ({"image": "../a.jpg"}, "image: '../a.jpg', not the name of a file"),
    ({"image": None}, "image: None, not the name of a file"),
    ({"joints": [[1, 2]] * 15}, "joints: not a list of 16 points"),
    ({"joints": [[1, 2]] * 15 + [[1]]}, "joints: [1] for left_wrist is not a point"),
    ({"joints": [[1, 2]] * 15 + [[1, float("nan")]]}, "joints: [1, nan] for left_wrist is not a point"),
    ({"joints_vis": [1] * 15}, "joints_vis: not a list of 16 flags"),
    ({"joints_vis": [1] * 15 + [3]}, "joints_vis: 3 for left_wrist, neither 0 nor 1"),
    ({"center": [1]}, "center: [1] is not a point"),
    ({"center": [1, float("inf")]}, "center: [1, inf] is not a point"),
    ({"scale": 0}, "scale: 0 is not a positive number"),
    ({"scale": "1"}, "scale: '1' is not a positive number"),
    ({"scale": None}, "scale: None is not a finite number"),
]


@pytest.mark.parametrize(("change", "message"), JSON_DEFECTS, ids=[m[:30] for _, m in JSON_DEFECTS])
def test_json_defects_are_named_in_one_line(tmp_path, change, message):
    with pytest.raises(DataError) as caught:
        mpii.read(write_json(tmp_path, entry(), entry(**change)))
    assert f"valid.json: person at index 1: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["image", "joints", "joints_vis", "center", "scale"])
def test_every_missing_json_field_is_named(tmp_path, field):
    broken = entry()
    del broken[field]
    with pytest.raises(DataError, match=rf"valid\.json: person at index 0: {field}: "):
        mpii.read(write_json(tmp_path, broken))


@pytest.mark.parametrize(("content", "message"), [("{}", "not a list of persons"), ("[7]", "7, not an object")])
def test_json_that_is_no_list_of_persons_is_refused(tmp_path, content, message):
    file = tmp_path / "valid.json"
    file.write_text(content)
    with pytest.raises(DataError, match=message):
        mpii.read(file)


CSV_DEFECTS = [
    ({"NAME": "/a.jpg"}, "line 3: NAME: '/a.jpg', not the name of a file"),
    ({"Scale": "-2"}, "line 3: Scale: -2.0 is not a positive number"),
    ({"Scale": ""}, "line 3: Scale: '' is not a finite number"),
    ({"l wrist_Y": "x"}, "line 3: l wrist_Y: 'x' is not a finite number"),
    ({"l wrist_Y": "nan"}, "line 3: l wrist_Y: 'nan' is not a finite number"),
]


@pytest.mark.parametrize(("change", "message"), CSV_DEFECTS, ids=[m[:25] for _, m in CSV_DEFECTS])
def test_csv_defects_are_named_in_one_line(tmp_path, change, message):
    with pytest.raises(DataError) as caught:
        mpii.read(write_csv(tmp_path, {}, change))
    assert f"mpii.csv: {message}" in str(caught.value)


def test_a_missing_column_is_named(tmp_path):
    file = write_csv(tmp_path, {})
    file.write_text(file.read_text().replace("upper neck_X", "neck_X"))
    with pytest.raises(DataError, match=r"mpii\.csv: upper neck_X: the column is missing"):
        mpii.read(file)
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="not text at byte 0"):
        mpii.read(file)


MAT_DEFECTS = [
    (person(x2=21.0), "x1, y1, x2, y2: an empty head box"),
    (person(x2="a"), "x1, y1, x2, y2: 'a' is not a finite number"),
    (person(scale=-1.0), "scale: -1.0 is not a positive number"),
    (person(objpos=struct(x=np.nan, y=2.0)), "objpos.x: nan is not a finite number"),
    (person(objpos=struct(x=1.0)), "objpos.y: None is not a finite number"),
    (person(annopoints=struct(point=as_structs(points(id=16.0)))), "annopoints.point.id: 16.0 is no joint"),
    (person(annopoints=struct(point=as_structs(points(id="x")))), "annopoints.point.id: 'x' is not a finite number"),
    (person(annopoints=struct(point=as_structs(points(y=np.inf)))), "annopoints.point.x, y of right_knee: inf is not"),
    (person(annopoints=struct(point=as_structs(points(is_visible="?")))), "is_visible: '?' is not a finite number"),
]


@pytest.mark.parametrize(("broken", "message"), MAT_DEFECTS, ids=[m[:30] for _, m in MAT_DEFECTS])
def test_mat_defects_are_named_in_one_line(tmp_path, broken, message):
    file = write_mat(tmp_path, ("a.jpg", [person()]), ("b.jpg", [person(), broken]))
    with pytest.raises(DataError) as caught:
        mpii.read(file)
    text = str(caught.value)
    assert "mpii_human_pose_v1_u12_1.mat: annolist(2).annorect(2): " in text
    assert message in text
    assert "\n" not in text


def test_files_that_are_not_matlab_are_refused(tmp_path):
    file = tmp_path / "a.mat"
    sound = write_mat(tmp_path, ("a.jpg", [person()])).read_bytes()
    for content in (b"", b"hello", sound[: len(sound) // 2], b"MATLAB 7.3 MAT-file" + bytes(200)):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.mat: "):
            mpii.read(file)
    savemat(file, {"joints": np.zeros(3)})
    with pytest.raises(DataError, match=r"a\.mat: RELEASE: missing; the file holds joints"):
        mpii.read(file)
    with pytest.raises(DataError, match="not a form of MPII's annotations"):
        mpii.read(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError):
        mpii.read(tmp_path / "nothing.mat")


def test_without_scipy_one_line_says_so(tmp_path, monkeypatch):
    file = write_mat(tmp_path, ("a.jpg", [person()]))
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DataError, match="scipy is not installed; install it"):
        mpii.read(file)


def test_missing_pictures_are_named(tmp_path):
    file = write_json(tmp_path, entry())
    with pytest.raises(DataError, match=r"a\.jpg: the picture is missing"):
        mpii.read(file, tmp_path)
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(DataError, match=r"a\.jpg: this is not a picture"):
        mpii.read(file, tmp_path)
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg")
    people = mpii.read(file, tmp_path)
    assert people.picture_sizes.tolist() == [[20, 30]]
    assert people.picture(0).shape == (3, 20, 30)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(entry())), values)
def test_no_value_of_a_field_does_anything_but_read_or_raise(tmp_path, field, value):
    file = write_json(tmp_path, entry(**{field: value}))
    with contextlib.suppress(DataError):
        people = mpii.read(file)
        assert people.boxes.isfinite().all()
        assert people.joints.isfinite().all()


def test_the_real_samples_are_read(shared_data, table):
    folder = shared_data / "mpii"
    people = mpii.read(folder / "sample.json", folder / "images")
    assert len(people) == 5
    assert people.picture(0).shape[1:] == tuple(people.picture_sizes[0].tolist())
    assert len(table) == 11623
    for i, name in enumerate(people.file_names):
        j = table.file_names.index(name)
        assert (people.joints[i] - table.joints[j]).abs().max() < 0.01
        assert people.visible[i].equal(table.visible[j])
        assert (people.boxes[i] - table.boxes[j]).abs().max() < 0.15 * people.boxes[i, 3]
        assert people.head_boxes[i].tolist() == pytest.approx(table.head_boxes[j].tolist(), rel=1e-4)
    assert (head_lengths(people.head_boxes) / people.boxes[:, 3]).tolist() == pytest.approx([0.125] * 5, rel=0.1)
