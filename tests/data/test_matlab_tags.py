"""A damaged MATLAB file is refused before scipy, which it could crash, sees it."""

import io
import struct
import sys

import numpy as np
import pytest
from scipy.io import savemat

from calbook.data.defects import DataError
from calbook.data.matlab import load_mat
from calbook.data.matlab_tags import HEADER, check_tags

CONTENT = {
    "numbers": np.arange(30.0).reshape(2, 15),
    "bytes": np.arange(3, dtype=np.uint8),
    "text": "a name",
    "nested": {"inner": np.ones((2, 2)), "list": np.array([1, "two"], dtype=object)},
    "empty": np.zeros((0, 0)),
}


def saved(compressed: bool) -> bytes:
    file = io.BytesIO()
    savemat(file, CONTENT, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_writes_passes(compressed, tmp_path):
    (tmp_path / "a.mat").write_bytes(saved(compressed))
    check_tags(saved(compressed))
    np.testing.assert_array_equal(load_mat(tmp_path / "a.mat", "numbers"), CONTENT["numbers"])


@pytest.mark.parametrize("version", [b"\0\2IM", b"\2\0MI"])
def test_version_7_3_is_named(version, tmp_path):
    content = b"MATLAB 7.3 MAT-file".ljust(HEADER - 4) + version + b"\x89HDF\r\n\x1a\n" + bytes(500)
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mat: a MATLAB file of version 7\.3, which scipy cannot read; save it"):
        load_mat(tmp_path / "a.mat", "numbers")


def test_without_scipy_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DataError, match="scipy is not installed; install it: pip install scipy"):
        load_mat(tmp_path / "a.mat", "numbers")


def number_tags(content: bytes) -> list[int]:
    """Places of the tags of elements of doubles (kind 9)."""
    return [at for at in range(HEADER, len(content) - 8, 8) if struct.unpack_from("<I", content, at)[0] == 9]


@pytest.mark.parametrize("kind", [0, 8, 10, 11, 19, 200, 0xFFFF])
def test_a_kind_that_does_not_exist_is_refused(kind, tmp_path):
    content = bytearray(saved(False))
    places = number_tags(content)
    assert places
    struct.pack_into("<I", content, places[0], kind)
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mat: not a MATLAB file, cut short or damaged"):
        load_mat(tmp_path / "a.mat", "numbers")


def test_an_element_ends_inside_what_it_lies_in():
    content = bytearray(saved(False))
    struct.pack_into("<I", content, number_tags(content)[0] + 4, 2**31)
    with pytest.raises(ValueError, match="no element of kind 9 and 2147483648 bytes"):
        check_tags(bytes(content))


@pytest.mark.parametrize("content", [b"", b"MATLAB", b"\0" * 400, b"x" * 126 + b"IM"])
def test_other_files_are_left_to_the_reader(content):
    check_tags(content)
