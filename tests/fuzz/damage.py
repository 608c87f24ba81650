"""Ways to damage what a reader is given: bytes, JSON documents, text.

Every function draws from the ``random.Random`` that it is handed, so an input is
known by its seed.
"""

import json
import random
from pathlib import Path
from typing import Any

# Stand-ins that a JSON library would not write; they are put into the text.
DEEP, HUGE, INFINITE, TWICE = "@deep@", "@huge@", "@infinite@", "@twice@"

ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 17, 0.0, -0.0, 0.5, 1.5, 1e-320, 1e9, 1e300, 2**31, 2**53 + 1, 2**63 - 1, 2**63,
    -(2**63) - 1, 10**30, float("nan"), float("inf"), -float("inf"), "", " ", "0", "nan", "person", "a\nb", "\x00",
    "\u202ex", "\ud800", "ä" * 300, "../../x.jpg", "/etc/hostname", ".", "..", "a/../b", "C:\\x", "~/x", "x" * 5000,
    [], [[]], [None], {}, {"": ""}, {"id": 1}, {"\n": [1]}, [1, 2, 3], [0] * 1000, DEEP, HUGE, INFINITE,
]  # fmt: skip


def damaged_bytes(rng: random.Random, content: bytes) -> bytes:
    """One to three changes of a file's bytes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(_BYTE_CHANGES)(rng, content)
    return content


def damaged_json(rng: random.Random, document: Any) -> bytes:
    """A document with one to three odd values, as the text of a file in some encoding."""
    document = json.loads(json.dumps(document))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        document = _damaged_node(rng, document)
    return _encoded(rng, _text(rng, document))


def either(rng: random.Random, document: Any) -> bytes:
    """A JSON document damaged in its structure or in its bytes."""
    if rng.random() < 0.7:
        return damaged_json(rng, document)
    return damaged_bytes(rng, json.dumps(document).encode())


def put(folder: Path, name: str, content: bytes) -> Path:
    """Write a file; its folder is made where needed."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def odd(rng: random.Random) -> Any:
    """A value that does not belong."""
    return rng.choice(ODD_VALUES)


def _damaged_node(rng: random.Random, document: Any) -> Any:
    places = list(_places(document))
    if not places:
        return odd(rng)
    parent, key = rng.choice(places)
    change = rng.randrange(8)
    if change == 0:
        del parent[key]
    elif change == 1 and isinstance(parent, dict):
        parent[rng.choice((key.upper(), key + " ", "", "\n", TWICE + key))] = odd(rng)
    elif change == 2 and isinstance(parent, list):
        parent.insert(key, odd(rng))
    elif change == 3 and isinstance(parent[key], list | dict) and parent[key]:
        parent[key] = type(parent[key])(rng.choice(([], [*parent[key]] * 2))) if isinstance(parent[key], list) else {}
    elif change == 4:
        other, where = rng.choice(places)
        parent[key] = json.loads(json.dumps(other[where])) if where in _keys(other) else odd(rng)
    elif change == 5 and isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
        parent[key] = rng.choice((str(parent[key]), -parent[key], parent[key] + 0.5, [parent[key]], parent[key] * 1e12))
    else:
        parent[key] = odd(rng)
    return document


def _keys(value: Any) -> Any:
    return range(len(value)) if isinstance(value, list) else value


def _places(node: Any) -> Any:
    """All (container, key) of a document, big lists thinned."""
    if isinstance(node, dict | list):
        for key in list(_keys(node)):
            yield node, key
            yield from _places(node[key])


def _text(rng: random.Random, document: Any) -> str:
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    depth = rng.choice((50, 400, 900, 3000, 200_000))
    text = text.replace(f'"{DEEP}"', "[" * depth + "]" * depth)
    text = text.replace(f'"{HUGE}"', "9" * rng.choice((40, 400, 5000)))
    text = text.replace(f'"{INFINITE}"', rng.choice(("1e999", "-1e999")))
    return text.replace(f'"{TWICE}', '"')  # the same name a second time in one object


def _encoded(rng: random.Random, text: str) -> bytes:
    encoding = rng.choice(("utf-8",) * 12 + ("utf-8-sig", "utf-16", "utf-32-le", "latin-1", "utf-7"))
    return text.encode(encoding, errors="surrogatepass" if encoding.startswith("utf-8") else "replace")


def _flip(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 4, 16))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(rng: random.Random, content: bytes) -> bytes:
    patch = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80", rng.randbytes(8)))
    at = rng.randrange(len(content) + 1)
    return content[:at] + patch + content[at + len(patch) :]


def _cut(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _leave_out(rng: random.Random, content: bytes) -> bytes:
    begin, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:begin] + content[end:]


def _repeat(rng: random.Random, content: bytes) -> bytes:
    begin, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:end] + content[begin:end] + content[end:]


def _insert(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.randbytes(rng.choice((1, 2, 16, 300))) + content[at:]


def _replace_all(rng: random.Random, content: bytes) -> bytes:
    return rng.choice((b"", b"\0" * 100, b"\xef\xbb\xbf", b"<html>no</html>", b"[" * 100_000, rng.randbytes(200)))


_BYTE_CHANGES = (_flip, _flip, _flip, _overwrite, _overwrite, _cut, _leave_out, _repeat, _insert, _replace_all)
