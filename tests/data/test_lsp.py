import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from calbook.data import coco, lsp
from calbook.data.check import check
from calbook.data.defects import DataError
from calbook.skeletons import LSP

SIZE = (60, 50)  # height and width of the pictures


def joints(count=3):
    """Joints ``(N, 14, 3)``: of person n at (10 + k + n, 20 + 2k), all flags 0."""
    k, n = np.meshgrid(np.arange(14.0), np.arange(float(count)))
    return np.stack([10 + k + n, 20 + 2 * k, 0 * k], axis=-1)


def write(folder, array, digits):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(1, 4):
        Image.new("RGB", SIZE[::-1]).save(folder / "images" / f"im{number:0{digits}d}.jpg")
    savemat(folder / "joints.mat", {"joints": array})
    return folder


def test_lsp_flags_what_is_hidden(tmp_path):
    array = joints()
    array[1, 2, 2] = 1
    people = lsp.read(write(tmp_path, array.transpose(2, 1, 0), 4))
    assert people.skeleton is LSP
    assert people.file_names == ("im0001.jpg", "im0002.jpg", "im0003.jpg")
    assert people.visible[0].tolist() == [2] * 14
    assert people.visible[1].tolist() == [2, 2, 1] + [2] * 11
    assert people.joints[1, 1].tolist() == [12, 22]
    assert people.picture_sizes.tolist() == [list(SIZE)] * 3
    assert people.picture(2).shape == (3, *SIZE)


def test_lspet_flags_what_is_labelled(tmp_path):
    array = joints()
    array[..., 2] = 1
    array[0, :4] = [-7, np.nan, 0]  # not labelled: its place does not matter
    array[1, ..., 2] = 0  # nobody labelled the second
    array[2, 1:, 2] = 0  # one joint only
    people = lsp.read(write(tmp_path, array.transpose(1, 2, 0), 5))
    assert people.file_names == ("im00001.jpg", "im00003.jpg")
    assert people.visible[0].tolist() == [0] * 4 + [2] * 10
    assert people.joints[0, 0].tolist() == [0, 0]
    assert people.boxes[0].tolist() == pytest.approx([14 - 0.2 * 9, 28 - 0.2 * 18, 1.4 * 9, 1.4 * 18])
    assert people.boxes[1].tolist() == pytest.approx([11.8, 19.8, 1.4, 1.4])


def test_boxes_stop_at_the_picture(tmp_path):
    array = 3 * joints()
    array[..., 2] = 0
    box = lsp.read(write(tmp_path, array.transpose(2, 1, 0), 4)).boxes[0].tolist()
    assert box[0] + box[2] == pytest.approx(SIZE[1])
    assert box[1] + box[3] == pytest.approx(SIZE[0])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((14, 2, 5)), r"joints: an array of shape \(14, 2, 5\), expected"),
        (np.zeros((3, 14)), r"joints: an array of shape \(3, 14\)"),
        ("text", "joints: an array of shape"),
        (np.full((3, 14, 2), 0.5), "person 1: joints: the flag of right_ankle is 0.5; write 0 or 1"),
        (np.full((3, 14, 2), np.nan), "the flag of right_ankle is nan"),
        (np.stack([np.full((14, 1), np.inf)] * 2 + [np.zeros((14, 1))]), "person 1: joints: not a finite number"),
    ],
)
def test_malformed_arrays_are_refused_in_one_line(tmp_path, array, message):
    folder = write(tmp_path, array, 4)
    with pytest.raises(DataError, match=rf"joints\.mat: .*{message}|joints\.mat: {message}") as caught:
        lsp.read(folder)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        lsp.read(tmp_path)
    write(tmp_path, joints().transpose(2, 1, 0), 4)
    (tmp_path / "images" / "im0002.jpg").unlink()
    with pytest.raises(DataError, match=r"im0002\.jpg: the picture is missing"):
        lsp.read(tmp_path)
    savemat(tmp_path / "joints.mat", {"points": np.zeros(2)})
    with pytest.raises(DataError, match=r"joints\.mat: joints: missing; the file holds points"):
        lsp.read(tmp_path)


def test_the_published_form_and_the_coco_layout_agree(shared_data, tmp_path):
    """The same real persons through both readers: joints, visibility, boxes."""
    people = coco.read_split(shared_data / "lspet", "images")
    first = range(12)
    array = np.zeros((14, 3, 12))
    (tmp_path / "images").mkdir()
    for i in first:
        array[:, :2, i] = people.joints[i].double()
        array[:, 2, i] = people.visible[i] > 0
        source = shared_data / "lspet" / "images" / people.file_names[i]
        (tmp_path / "images" / f"im{i + 1:05d}.jpg").write_bytes(source.read_bytes())
    savemat(tmp_path / "joints.mat", {"joints": array})
    same = lsp.read(tmp_path)
    assert same.skeleton is people.skeleton
    assert same.joints.equal(people.joints[:12])
    assert same.visible.equal(people.visible[:12])
    assert same.picture_sizes.equal(people.picture_sizes[:12])
    assert (same.boxes - people.boxes[:12]).abs().max() < 1.0
    assert same.picture(3).equal(people.picture(3))


def test_a_set_with_its_own_skeleton_needs_no_reader(tmp_path):
    """Five joints of a made-up creature in COCO's layout, from the file to a crop's joints."""
    names = ["snout", "left_paw", "right_paw", "tail_l", "tail_r"]
    category = {"id": 3, "name": "fox", "keypoints": names, "skeleton": [[1, 2], [1, 3], [4, 5]]}
    keypoints = [25, 10, 2, 10, 40, 2, 40, 40, 1, 0, 0, 0, 45, 50, 2]
    annotation = {"id": 1, "image_id": 7, "category_id": 3, "iscrowd": 0, "bbox": [8, 8, 40, 45], "num_keypoints": 4}
    document = {
        "images": [{"id": 7, "file_name": "fox.png", "width": 50, "height": 60}],
        "annotations": [annotation | {"keypoints": keypoints}],
        "categories": [category],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations" / "foxes_keypoints.json").write_text(json.dumps(document))
    Image.new("RGB", (50, 60), (255, 0, 0)).save(tmp_path / "images" / "fox.png")
    assert check(tmp_path).passed
    people = coco.read_split(tmp_path, "images")
    assert people.skeleton.joints == tuple(names)
    assert people.skeleton.limbs == ((0, 1), (0, 2), (3, 4))
    assert people.skeleton.mirror == (0, 2, 1, 4, 3)
    assert len(people.skeleton.sigmas) == 5
    assert people.joints[0, 2].tolist() == [40, 40]
    assert people.visible.tolist() == [[2, 2, 1, 0, 2]]
    assert people.picture(0)[0].eq(1).all()
    assert people.pycocotools_dict()["categories"][0]["keypoints"] == names
