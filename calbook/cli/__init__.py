"""The ``calbook`` command: it reads arguments, calls the package and says one line when something is wrong.

Exit status: 0 done; 1 a check found defects, a training failed, or something that could
not be read was left out; 2 bad input; 130 interrupted. Each command is a module with a
function ``add``; packages that take long to load are imported by the commands that need them.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

import calbook
from calbook import threads
from calbook.cli.common import Parser, say
from calbook.data.defects import DataError
from calbook.results import ResultsError

# In the order of the help. Whole names: in them the book's builder sees what a chapter runs that calls `main`.
COMMANDS = (
    "calbook.cli.info",
    "calbook.cli.data",
    "calbook.cli.train",
    "calbook.cli.evaluate",
    "calbook.cli.predict",
    "calbook.cli.export",
    "calbook.cli.reproduce",
    "calbook.cli.bench",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: As typed after ``calbook``; by default those of this process.

    Returns:
        The exit status.
    """
    threads.wait_briefly()
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return say("interrupted", 130)
    except (DataError, ResultsError) as error:
        return say(f"error: {error}", 2)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left; do not complain about it
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return say(f"error: {where}{error.strerror or error}", 2)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="calbook",
        description="Low-resolution human pose estimation: the commands beside the book.",
        epilog="example:\n  calbook data check data/coco",
    )
    parser.add_argument("--version", action="version", version=f"calbook {calbook.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        importlib.import_module(command).add(commands)
    return parser
