"""Check the parameters given to a chapter before it runs.

papermill itself takes unknown names and wrong types without a word, and hands
``-p fast false`` over as the (true) text "false".
"""

import ast
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from calbook.bookbuild.book import BookError, Chapter
from calbook.bookbuild.notebooks import read_notebook
from calbook.data.defects import one_line, shown
from calbook.options import nearest

TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def declared(chapter: Chapter) -> dict[str, str]:
    """Names and types of a chapter's parameters, from its cell tagged ``parameters``.

    Raises:
        BookError: The chapter is not a notebook, or names no kernel that papermill knows.
    """
    import papermill
    from papermill.exceptions import PapermillException

    read_notebook(chapter.source)

    logger = logging.getLogger("papermill")
    level = logger.level
    logger.setLevel(logging.ERROR)  # a chapter without parameters is no reason to warn
    try:
        found = papermill.inspect_notebook(str(chapter.source))
    except (PapermillException, ValueError) as error:
        raise BookError(f"{chapter.name}: its parameters cannot be read: {one_line(str(error))}") from None
    finally:
        logger.setLevel(level)
    return {name: _type_of(entry) for name, entry in found.items()}


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Split ``name=value`` words of the command line.

    >>> parse_assignments(["seed=3", "name=a=b"])
    {'seed': '3', 'name': 'a=b'}
    """
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not (equals and name.isidentifier()):
            raise BookError(f"-p {one_line(assignment[:200])}: write it as name=value")
        values[name] = value
    return values


def validated(chapter: Chapter, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given parameters, text turned into the declared type.

    Raises:
        BookError: The chapter has no such parameter, or the value is not of its type.
    """
    if not given:
        return {}
    types = declared(chapter)
    for name in given:
        if name not in types:
            known = ", ".join(f"{n}: {t}" for n, t in types.items()) or "none"
            raise BookError(f"{chapter.name} has no parameter {shown(name)}{nearest(name, types)}; it has {known}")
    return {name: _converted(chapter, name, value, types[name]) for name, value in given.items()}


def _converted(chapter: Chapter, name: str, value: Any, kind: str) -> Any:
    """One value as the declared type."""
    try:
        if isinstance(value, str) and kind != "str":
            return WORDS[value.strip().lower()] if kind == "bool" else TYPES[kind](value)
        if kind == "float" and type(value) is int:
            return float(value)
        if type(value) is TYPES[kind]:  # exact: True is an int to isinstance
            return value
    except (KeyError, ValueError):
        if kind not in TYPES:
            advice = f"which cannot be given; declare it as one of {', '.join(TYPES)}"
            raise BookError(f"{chapter.name}: parameter {name!r} is {kind}, {advice}") from None
    example = {"int": "3", "float": "0.5", "bool": "true or false", "str": "text"}[kind]
    raise BookError(f"{chapter.name}: parameter {name!r} is of type {kind} (such as {example}), not {shown(value)}")


def _type_of(entry: Mapping[str, Any]) -> str:
    """Declared type of a parameter; where none is declared, that of its default."""
    if entry["inferred_type_name"] != "None":
        return str(entry["inferred_type_name"])
    try:
        return type(ast.literal_eval(entry["default"])).__name__
    except (SyntaxError, TypeError, ValueError):
        return "an expression without a type"  # known only to those who run it
