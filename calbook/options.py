"""Options that are one word of a few: which words there are, and which was meant."""

import difflib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word, empty when nothing is near.

    >>> nearest("epoch", ["epochs", "seed"])
    ' (did you mean epochs?)'
    """
    match = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {match[0]}?)" if match else ""


def check_choice(option: str, value: object, kind: Any) -> None:
    """Refuse a value that its type does not list.

    Args:
        option: Name of the option, for the message.
        value: What was given for it.
        kind: Its type. A ``Literal``, alone or in a union with None, lists its values; all other types allow any.

    Raises:
        ValueError: The value is not listed.

    >>> check_choice("convention", "unbiassed", Literal["unbiased", "biased"])
    Traceback (most recent call last):
    ValueError: unknown convention 'unbiassed' (did you mean unbiased?): choose one of unbiased, biased
    """
    words = [word for part in (kind, *get_args(kind)) if get_origin(part) is Literal for word in get_args(part)]
    missing = value is None and type(None) in get_args(kind)
    if words and value not in words and not missing:
        hint = nearest(str(value).lower(), words)
        raise ValueError(f"unknown {option} {value!r}{hint}: choose one of {', '.join(words)}")


def check_choices(config: Any) -> None:
    """Check every field of a dataclass that is a choice, see ``check_choice``.

    Raises:
        ValueError: A field holds what its type does not list.
    """
    for field in fields(config):
        check_choice(field.name, getattr(config, field.name), field.type)
