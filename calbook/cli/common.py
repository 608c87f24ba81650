"""What the commands share: the parser, one-line errors, and the types of their arguments."""

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from calbook.data.defects import one_line


class Parser(argparse.ArgumentParser):
    """A parser that answers a wrong argument with one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line and leave."""
        sys.exit(say(f"error: {message}; see {self.prog} --help", 2))


def say(message: str, status: int) -> int:
    """Say one line on standard error; gives back the exit status."""
    print(f"calbook: {one_line(message)}", file=sys.stderr)
    return status


def add_command(commands: Any, name: str, run: Any, help: str, example: str) -> argparse.ArgumentParser:
    """A command with its help, an example in it, and the function that runs it."""
    description = help[0].upper() + help[1:] + "."
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=description, epilog=f"example:\n  {example}"
    )
    parser.set_defaults(run=run)
    return parser


def plural(count: int, noun: str) -> str:
    """A count with its noun: ``no defects``, ``1 defect``, ``2 defects``."""
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


@contextmanager
def without_empty_folders(folder: Path) -> Iterator[None]:
    """Remove the folders that were made for a product that did not come about."""
    made = [path for path in (folder / "annotations", folder, *folder.parents) if not path.exists()]  # innermost first
    try:
        yield
    finally:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def split_name(text: str) -> str:
    """Type of an argument that names a split, such as ``train2017``."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text) or text == "annotations":
        raise argparse.ArgumentTypeError(f"{text!r} cannot name a set; use letters and digits, such as train2017")
    return text


def size(text: str) -> tuple[int, int]:
    """Type of an argument that is a size, height x width."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None or not all(16 <= int(side) <= 4096 for side in match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write height x width in pixels, such as 256x192")
    return int(match[1]), int(match[2])


def from_zero(text: str) -> float:
    """Type of an argument that is a number from 0 up, such as a score."""
    if not re.fullmatch(r"[0-9]*\.?[0-9]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up, such as 0.3")
    return float(text)


def whole(smallest: int) -> Any:
    """Type of an argument that is a whole number."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text) or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {smallest} up")
        return int(text)

    return parse
