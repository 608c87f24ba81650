"""Which archives make up a data set, and where their content goes."""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

GB = 10**9


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
        path: Below the address of the data set.
        size: In bytes, None where it is not known for sure.
        sha256: Published or widely reproduced checksum, None where none is known.
        unpacked: What is extracted from it never exceeds this many bytes.
    """

    path: str
    size: int | None
    sha256: str | None
    unpacked: int

    @property
    def name(self) -> str:
        """The file's own name."""
        return posixpath.basename(self.path)


@dataclass(frozen=True)
class Part:
    """What a split takes from an archive.

    Attributes:
        archive: The archive.
        member: A file in it or, with a slash at its end, a folder.
        place: Where it goes, relative to the data folder.
    """

    archive: Archive
    member: str
    place: str


@dataclass(frozen=True)
class DataSet:
    """A data set that can be fetched.

    Attributes:
        name: What it is called on the command line.
        address: Where its archives are.
        splits: The parts of each split.
        default: The splits that are fetched when none are named.
        terms: One line on licence and citation.
        libraries: What ``finish`` needs besides this package's own dependencies.
        finish: What brings the extracted files into COCO's layout, called with the data folder.
    """

    name: str
    address: str
    splits: Mapping[str, tuple[Part, ...]]
    default: tuple[str, ...]
    terms: str
    libraries: tuple[str, ...] = ()
    finish: Callable[[Path], None] | None = field(default=None, compare=False)


_COCO_TRAINVAL = Archive(
    "annotations/annotations_trainval2017.zip",
    252_907_541,
    "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
    1 * GB,
)
_COCO_TEST = Archive(
    "annotations/image_info_test2017.zip",
    None,
    "e52f412dd7195ac8f98d782b44c6dd30ea10241e9f42521f67610fbe055a74f8",
    1 * GB,
)
_COCO_TEST_PICTURES = Archive(
    "zips/test2017.zip",
    6_646_970_404,
    "c7908c3c9f94ba2f3340ebbeec58c25db6be8774f18d68c2f15d0e369d95baba",
    8 * GB,
)


def _coco_split(split: str, size: int, sha256: str, unpacked: int) -> tuple[Part, ...]:
    keypoints = f"annotations/person_keypoints_{split}.json"
    pictures = Archive(f"zips/{split}.zip", size, sha256, unpacked)
    return (Part(_COCO_TRAINVAL, keypoints, keypoints), Part(pictures, f"{split}/", split))


COCO = DataSet(
    name="coco",
    address="http://images.cocodataset.org",  # its https certificate is another host's; the checksums stand in for it
    splits={
        "train2017": _coco_split(
            "train2017",
            19_336_861_798,
            "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            21 * GB,
        ),
        "val2017": _coco_split(
            "val2017",
            815_585_330,
            "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            1 * GB,
        ),
        "test2017": (
            Part(_COCO_TEST, "annotations/image_info_test-dev2017.json", "annotations/image_info_test-dev2017.json"),
            Part(_COCO_TEST_PICTURES, "test2017/", "test2017"),
        ),
    },
    default=("train2017", "val2017"),
    terms="COCO 2017 (Lin et al. 2014): annotations CC BY 4.0, pictures under their Flickr licences",
)


def _finish_mpii(folder: Path) -> None:
    from calbook.data.mpii import ANNOTATION_FILE, write_coco_layout

    write_coco_layout(folder / ANNOTATION_FILE, folder / "images", folder / "annotations" / "mpii_keypoints.json")


_MPII_PICTURES = Archive("mpii_human_pose_v1.tar.gz", None, None, 16 * GB)  # 12.9 GB, says the data set's page
_MPII_ANNOTATIONS = Archive("mpii_human_pose_v1_u12_2.zip", None, None, 1 * GB)  # 12.5 MB

MPII = DataSet(
    name="mpii",
    address="https://datasets.d2.mpi-inf.mpg.de/andriluka14cvpr",
    splits={
        "images": (
            Part(
                _MPII_ANNOTATIONS,
                "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat",
                "mpii_human_pose_v1_u12_1.mat",
            ),
            Part(_MPII_ANNOTATIONS, "mpii_human_pose_v1_u12_2/bsd.txt", "bsd.txt"),
            Part(_MPII_PICTURES, "images/", "images"),
        )
    },
    default=("images",),
    terms="MPII Human Pose (Andriluka et al. 2014): annotations under the Simplified BSD License, for research",
    libraries=("scipy",),
    finish=_finish_mpii,
)

SETS = {dataset.name: dataset for dataset in (COCO, MPII)}
