import json

import pytest
import torch
from pycocotools.cocoeval import Params

from calbook import skeletons
from calbook.skeletons import COCO, LSP, MPII, Skeleton, from_category


@pytest.mark.parametrize(("skeleton", "joints"), [(COCO, 17), (MPII, 16), (LSP, 14)])
def test_skeletons_are_whole(skeleton, joints):
    assert skeleton.num_joints == len(set(skeleton.joints)) == joints
    assert {joint for limb in skeleton.limbs for joint in limb} == set(range(joints))
    assert skeletons.SKELETONS[skeleton.name] is skeleton


@pytest.mark.parametrize("skeleton", [COCO, MPII, LSP])
def test_mirror_swaps_sides_and_is_an_involution(skeleton):
    for joint, partner in enumerate(skeleton.mirror):
        assert skeleton.mirror[partner] == joint
        sides = {"left": "right", "right": "left"}
        side, _, rest = skeleton.joints[joint].partition("_")
        assert skeleton.joints[partner] == (f"{sides[side]}_{rest}" if side in sides else skeleton.joints[joint])
    limbs = {frozenset(limb) for limb in skeleton.limbs}
    assert {frozenset(skeleton.mirror[joint] for joint in limb) for limb in limbs} == limbs
    assert [skeleton.sigmas[partner] for partner in skeleton.mirror] == list(skeleton.sigmas)


def test_mirror_pairs_are_the_published_ones():
    assert MPII.mirror[:6] == (5, 4, 3, 2, 1, 0)
    assert [MPII.mirror[joint] for joint in (10, 11, 12)] == [15, 14, 13]
    assert COCO.mirror == (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)


@pytest.mark.parametrize(
    "names", [("LKnee", "RKnee"), ("knee_l", "knee_r"), ("Left Hip", "Right Hip"), ("l_ear", "r_ear")]
)
def test_mirror_reads_the_usual_spellings(names):
    assert from_category([*names, "nose"]).mirror == (1, 0, 2)


@pytest.mark.parametrize("skeleton", [COCO, MPII, LSP, from_category(["LKnee", "RKnee", "hip_l", "hip_r", "tail"])])
def test_partners_lie_on_opposite_sides(skeleton):
    opposite = {"left": "right", "right": "left", "middle": "middle"}
    sides = [skeletons.side_of(name) for name in skeleton.joints]
    assert [opposite[sides[partner]] for partner in skeleton.mirror] == sides
    assert [side == "middle" for side in sides] == [i == partner for i, partner in enumerate(skeleton.mirror)]


def test_sigmas_are_pycocotools():
    torch.testing.assert_close(
        COCO.sigma_tensor(torch.zeros(1, dtype=torch.float64)), torch.tensor(Params("keypoints").kpt_oks_sigmas)
    )


def test_skeleton_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="2 joints but 1 sigmas"):
        Skeleton("s", ("a", "b"), (), (0.1,))
    with pytest.raises(ValueError, match="limb with a joint beyond"):
        Skeleton("s", ("a", "b"), ((0, 2),), (0.1, 0.1))


def test_from_category_knows_coco_and_makes_others():
    assert from_category(COCO.joints) is COCO
    custom = from_category(["tip", "base"], [[1, 2]])
    assert custom.limbs == ((0, 1),)
    assert custom.sigmas == pytest.approx((sum(COCO.sigmas) / 17,) * 2)


@pytest.mark.parametrize(
    ("file", "skeleton"),
    [("coco_mini/annotations/person_keypoints_val2017.json", COCO), ("lspet/annotations/lspet_keypoints.json", LSP)],
)
def test_real_files_have_these_joints_and_limbs(shared_data, file, skeleton):
    category = json.loads((shared_data / file).read_text())["categories"][0]
    assert tuple(category["keypoints"]) == skeleton.joints
    assert {frozenset(limb) for limb in category["skeleton"]} == {
        frozenset(joint + 1 for joint in limb) for limb in skeleton.limbs
    }
