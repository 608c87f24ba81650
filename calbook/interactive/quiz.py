"""Multiple-choice questions whose every answer explains itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calbook.interactive.text import rich

Option = tuple[str, bool, str]  # text, whether it is right, why


@dataclass(frozen=True)
class Quiz:
    """Questions whose every answer explains itself; see :func:`quiz`."""

    items: Sequence[Mapping[str, Any]]

    def _repr_html_(self) -> str:
        questions = "".join(_question(item) for item in self.items)
        return f'<section class="cb-quiz" aria-label="Quiz"><ol>{questions}</ol></section>'


def quiz(items: Sequence[Mapping[str, Any]]) -> Quiz:
    """Multiple-choice questions; opening an option tells whether and why it is right.

    Args:
        items: One mapping per question, with ``question`` (text) and ``options``, a
            sequence of (text, whether it is right, explanation). Texts may hold
            ``$...$`` and `` `code` ``.

    Raises:
        ValueError: A question lacks a text, has fewer than two options, no right
            one, or an option without explanation.

    Example:
        >>> page = quiz([{"question": "1 < 2?", "options": [("Yes", True, "By one."), ("No", False, "Count.")]}])
        >>> "1 &lt; 2?" in page._repr_html_()
        True
    """
    for number, item in enumerate(items, start=1):
        options: Sequence[Option] = item.get("options", ())
        if not item.get("question"):
            raise ValueError(f"quiz question {number} has no text")
        if len(options) < 2 or not any(right for _, right, _ in options):
            raise ValueError(f"quiz question {number} needs at least two options, one of them right")
        if not all(because.strip() for _, _, because in options):
            raise ValueError(f"quiz question {number}: explain every option, also the wrong ones")
    return Quiz(items)


def _question(item: Mapping[str, Any]) -> str:
    options = "".join(
        f'<details class="cb-option cb-{"right" if right else "wrong"}"><summary>{rich(text)}</summary>'
        f"<p><strong>{'Right.' if right else 'Not quite.'}</strong> {rich(because)}</p></details>"
        for text, right, because in item["options"]
    )
    return f'<li><p class="cb-question">{rich(item["question"])}</p>{options}</li>'
