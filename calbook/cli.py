"""The ``calbook`` command: it reads arguments, calls the package and says one line when something is wrong.

Exit status: 0 done; 1 a check found defects; 2 bad input; 130 interrupted. Packages
that take long to load are imported by the commands that need them.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import calbook
from calbook.data.defects import DataError, one_line
from calbook.results import ResultsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: As typed after ``calbook``; by default those of this process.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except (DataError, ResultsError) as error:
        return _say(f"error: {error}", 2)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left; do not complain about it
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"error: {where}{error.strerror or error}", 2)


class _Parser(argparse.ArgumentParser):
    """A parser that answers a wrong argument with one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        sys.exit(_say(f"error: {message}; see {self.prog} --help", 2))


def _say(message: str, status: int) -> int:
    print(f"calbook: {one_line(message)}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="calbook",
        description="Low-resolution human pose estimation: the commands beside the book.",
        epilog="example:\n  calbook data check data/coco",
    )
    parser.add_argument("--version", action="version", version=f"calbook {calbook.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add(commands, "info", _info, "versions, devices and data found here", "calbook info")
    data = commands.add_parser("data", help="make and check data", description="Make and check data.")
    data.epilog = "example:\n  calbook data synthesize --out data/synthetic --split val2017 --count 500"
    _add_data(data.add_subparsers(title="commands", metavar="COMMAND", required=True))
    return parser


def _add(commands: Any, name: str, run: Any, help: str, example: str) -> argparse.ArgumentParser:
    """A command with its help, an example in it, and the function that runs it."""
    description = help[0].upper() + help[1:] + "."
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=description, epilog=f"example:\n  {example}"
    )
    parser.set_defaults(run=run)
    return parser


def _add_data(commands: Any) -> None:
    check = _add(
        commands,
        "check",
        _check,
        "look over a data folder: name every defect of its annotations and pictures",
        "calbook data check data/coco",
    )
    check.add_argument("path", metavar="FOLDER", type=Path, help="a folder in COCO's layout, or one annotation file")
    synthesize = _add(
        commands,
        "synthesize",
        _synthesize,
        "make pictures of synthetic people with exact joints, in COCO's layout",
        "calbook data synthesize --out data/synthetic --split train2017 --count 5000 --size 256x192 --seed 0",
    )
    synthesize.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write to")
    synthesize.add_argument("--split", type=_split, default="train2017", help="name of the set (default: %(default)s)")
    synthesize.add_argument(
        "--count", type=_whole(1), default=1000, metavar="N", help="pictures (default: %(default)s)"
    )
    synthesize.add_argument(
        "--size", type=_size, default=(256, 192), metavar="HxW", help="height x width of a picture (default: 256x192)"
    )
    synthesize.add_argument(
        "--seed", type=_whole(0), default=0, metavar="S", help="the same seed makes the same pictures (default: 0)"
    )
    synthesize.add_argument("--overwrite", action="store_true", help="replace the set if there is one of this name")


def _info(_: argparse.Namespace) -> int:
    from calbook import results
    from calbook.data.coco import annotation_files

    for name, version in results.versions().items():
        print(f"{name:12}{version}")
    for name, value in results.machine().items():
        print(f"{name:12}{value}")
    folders = [Path(), *sorted(path for path in Path("data").glob("*") if path.is_dir())]
    files = [file.as_posix() for folder in folders for file in annotation_files(folder)]
    print(f"{'data':12}{', '.join(files) or 'none under data/; make some: calbook data synthesize --help'}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from calbook.data.check import check

    report = check(options.path, progress=sys.stderr.isatty())
    for line in report.summary:
        print(line)
    for defect in report.defects:
        print(f"{'warning: ' if defect.severity == 'warning' else ''}{defect}")
    found = sum(defect.severity != "warning" for defect in report.defects)
    warnings = len(report.defects) - found
    print(f"{options.path}: {_plural(found, 'defect')}, {_plural(warnings, 'warning')}")
    return 0 if report.passed else 1


def _plural(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _synthesize(options: argparse.Namespace) -> int:
    from calbook.data.synthetic import write_coco

    with _without_empty_folders(options.out):
        file = write_coco(
            options.out,
            options.split,
            options.count,
            options.size,
            options.seed,
            progress=sys.stderr.isatty(),
            overwrite=options.overwrite,
        )
    print(f"{file}: {_plural(options.count, 'picture')} in {options.out / options.split}")
    return 0


@contextmanager
def _without_empty_folders(folder: Path) -> Iterator[None]:
    """Remove the folders that were made for a product that did not come about."""
    made = [path for path in (folder / "annotations", folder, *folder.parents) if not path.exists()]  # innermost first
    try:
        yield
    finally:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _split(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text) or text == "annotations":
        raise argparse.ArgumentTypeError(f"{text!r} cannot name a set; use letters and digits, such as train2017")
    return text


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None or not all(16 <= int(side) <= 4096 for side in match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write height x width in pixels, such as 256x192")
    return int(match[1]), int(match[2])


def _whole(smallest: int) -> Any:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text) or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {smallest} up")
        return int(text)

    return parse


if __name__ == "__main__":
    sys.exit(main())
