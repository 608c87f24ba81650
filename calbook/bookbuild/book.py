"""Where the parts of the book are: sources, executed copies, pages."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from calbook.data.defects import one_line
from calbook.options import nearest

REPOSITORY = Path(__file__).resolve().parents[2]


class BookError(Exception):
    """Something the author or reader can mend; its text is one line."""


@dataclass(frozen=True)
class Chapter:
    """One notebook of the book.

    Attributes:
        name: File name without suffix, ``02_quantization_error``.
        source: The notebook without outputs.
        executed: Where its executed copy belongs.
    """

    name: str
    source: Path
    executed: Path


@dataclass(frozen=True)
class Book:
    """The folders of a book under one root."""

    root: Path = REPOSITORY

    @property
    def build(self) -> Path:
        """Everything that can be made again."""
        return self.root / "_build"

    @property
    def html(self) -> Path:
        """The finished pages."""
        return self.build / "html"

    @property
    def pages(self) -> list[str]:
        """Pages in reading order, as ``_toc.yml`` lists them (paths without suffix)."""
        toc = self.root / "_toc.yml"
        if not toc.is_file():
            raise BookError(f"no book in {self.root}: it holds no _toc.yml")
        try:
            return list(_files(yaml.safe_load(toc.read_text(encoding="utf-8"))))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            reason = one_line(str(error).splitlines()[0][:200])
            raise BookError(f"_toc.yml cannot be read: {reason}") from None

    @property
    def chapters(self) -> list[Chapter]:
        """The pages that are notebooks."""
        found = []
        for page in self.pages:
            path = self.root / f"{page.removesuffix('.ipynb')}.ipynb"
            if path.is_file():
                found.append(Chapter(path.stem, path, self.build / "executed" / path.relative_to(self.root)))
            elif not any((self.root / page).with_suffix(suffix).is_file() for suffix in (".md", ".rst")):
                raise BookError(f"_toc.yml lists {one_line(page[:200])}, but there is no such notebook or .md file")
        return found

    def choose(self, names: Iterable[str]) -> list[Chapter]:
        """The chapters of these names (or numbers, or paths); all of them where none is named.

        Raises:
            BookError: A name is not a chapter of the book.
        """
        chapters = self.chapters
        by_name = {chapter.name: chapter for chapter in chapters}
        by_number = {c.name.split("_")[0].lstrip("0"): c for c in chapters if c.name[0].isdigit()}
        chosen = []
        for name in names:
            stem = Path(name).name.removesuffix(".ipynb")
            chapter = by_name.get(stem) or by_number.get(stem.lstrip("0"))
            if chapter is None:
                raise BookError(f"no chapter {name!r}{nearest(stem, by_name)}; chapters: {', '.join(by_name)}")
            chosen.append(chapter)
        return chosen or chapters


def _files(node: Any) -> Iterator[str]:
    """All ``root`` and ``file`` entries of a table of contents, in order."""
    if isinstance(node, list):
        for item in node:
            yield from _files(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("root", "file"):
                yield str(value)
            else:
                yield from _files(value)
