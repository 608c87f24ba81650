"""``calbook info``: versions, devices and data found."""

import argparse
from pathlib import Path
from typing import Any

from calbook.cli.common import add_command


def add(commands: Any) -> None:
    """Add the command to the parser."""
    add_command(commands, "info", _info, "versions, devices and data found here", "calbook info")


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
