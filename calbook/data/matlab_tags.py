"""Whether a MATLAB file's elements are of kinds that there are.

scipy looks an element's kind up in a table without asking whether the table is as
long: a file with one byte wrong, or made on purpose, ends the whole process. The
format is MathWorks' *MAT-File Format*, level 5: a header of 128 bytes, then elements,
each with a tag of its kind and its length.
"""

import struct
import zlib

HEADER = 128  # bytes, the last two say the byte order
HDF5 = 2  # the major version of files that are of another format behind the header, which scipy says in words
MATRIX, COMPRESSED = 14, 15
KINDS = frozenset((*range(1, 8), 9, *range(12, 19)))


def check_tags(content: bytes) -> None:
    """Look over all tags of a file of level 5; other levels are left to the reader.

    Raises:
        ValueError: A tag has an unknown kind, or its element reaches beyond what it lies in.
        zlib.error: A compressed element is damaged.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[HEADER - 2 : HEADER])
    if order is not None and content[HEADER - 4 + (order == "<")] != HDF5:
        _check(memoryview(content)[HEADER:], struct.Struct(f"{order}I"))


def _check(elements: memoryview, word: struct.Struct) -> None:
    """Check elements that lie one behind the other, and those inside them."""
    position = 0
    while position + 8 <= len(elements):
        (kind,) = word.unpack_from(elements, position)
        if kind >> 16:  # a small element: its length shares the tag's first word, its data are the second
            kind, size, begin, step = kind & 0xFFFF, kind >> 16, position + 4, 8
        else:
            (size,) = word.unpack_from(elements, position + 4)
            begin = position + 8
            step = 8 + (size if kind == COMPRESSED else -(-size // 8) * 8)  # padded to eight bytes
        if kind not in KINDS or begin + size > len(elements) or (begin == position + 4 and size > 4):
            raise ValueError(f"no element of kind {kind} and {size} bytes can be at byte {position}")
        inner = elements[begin : begin + size]
        if kind == COMPRESSED:
            _check(memoryview(zlib.decompress(inner)), word)
        elif kind == MATRIX:
            _check(inner, word)
        position += step
