"""``calbook data``: make, fetch and check data."""

import argparse
import sys
from pathlib import Path
from typing import Any

from calbook.cli.common import add_command, plural, size, split_name, whole, without_empty_folders

SETS = ("coco", "mpii")  # those of calbook.data.download, which is imported only when needed


def add(commands: Any) -> None:
    """Add the command and its own commands to the parser."""
    data = commands.add_parser("data", help="make, fetch and check data", description="Make, fetch and check data.")
    data.epilog = "example:\n  calbook data synthesize --out data/synthetic --split val2017 --count 500"
    actions = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_check(actions)
    _add_synthesize(actions)
    _add_get(actions)


def _add_check(commands: Any) -> None:
    check = add_command(
        commands,
        "check",
        _check,
        "look over a data folder: name every defect of its annotations and pictures",
        "calbook data check data/coco",
    )
    check.add_argument("path", metavar="FOLDER", type=Path, help="a folder in COCO's layout, or one annotation file")


def _add_synthesize(commands: Any) -> None:
    synthesize = add_command(
        commands,
        "synthesize",
        _synthesize,
        "make pictures of synthetic people with exact joints, in COCO's layout",
        "calbook data synthesize --out data/synthetic --split train2017 --count 5000 --size 256x192 --seed 0",
    )
    synthesize.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write to")
    synthesize.add_argument(
        "--split", type=split_name, default="train2017", help="name of the set (default: train2017)"
    )
    synthesize.add_argument("--count", type=whole(1), default=1000, metavar="N", help="pictures (default: %(default)s)")
    synthesize.add_argument(
        "--size", type=size, default=(256, 192), metavar="HxW", help="height x width of a picture (default: 256x192)"
    )
    synthesize.add_argument(
        "--seed", type=whole(0), default=0, metavar="S", help="the same seed makes the same pictures (default: 0)"
    )
    synthesize.add_argument("--overwrite", action="store_true", help="replace the set if there is one of this name")


def _add_get(commands: Any) -> None:
    get = add_command(
        commands,
        "get",
        _get,
        "fetch a published data set into COCO's layout; interrupted, the same command goes on",
        "calbook data get coco --out data/coco --split val2017",
    )
    get.add_argument("name", choices=SETS, help="which data set: %(choices)s")
    get.add_argument("--out", required=True, type=Path, metavar="DIR", help="data folder to write to")
    get.add_argument(
        "--split",
        action="append",
        default=[],
        type=split_name,
        help="part of the data set, may be given several times (default: train2017 and val2017 of coco, all of mpii)",
    )
    get.add_argument("--url-base", metavar="URL", help="a mirror that has the publisher's files under the same names")
    get.add_argument("--keep", action="store_true", help="keep the archives after unpacking")


def _check(options: argparse.Namespace) -> int:
    from calbook.data.check import check

    report = check(options.path, progress=sys.stderr.isatty())
    for line in report.summary:
        print(line)
    for defect in report.defects:
        print(f"{'warning: ' if defect.severity == 'warning' else ''}{defect}")
    found = sum(defect.severity != "warning" for defect in report.defects)
    warnings = len(report.defects) - found
    print(f"{options.path}: {plural(found, 'defect')}, {plural(warnings, 'warning')}")
    return 0 if report.passed else 1


def _synthesize(options: argparse.Namespace) -> int:
    from calbook.data.synthetic import write_coco

    with without_empty_folders(options.out):
        file = write_coco(
            options.out,
            options.split,
            options.count,
            options.size,
            options.seed,
            progress=sys.stderr.isatty(),
            overwrite=options.overwrite,
        )
    print(f"{file}: {plural(options.count, 'picture')} in {options.out / options.split}")
    return 0


def _get(options: argparse.Namespace) -> int:
    from calbook.data import download

    dataset = download.SETS[options.name]
    print(dataset.terms)
    outcome = download.get(
        dataset,
        options.out,
        options.split,
        address=options.url_base,
        keep=options.keep,
        progress=sys.stderr.isatty(),
    )
    for place in outcome.present:
        print(f"{options.out / place}: already there")
    for place in outcome.placed:
        print(f"{options.out / place}: done")
    for archive, checksum in outcome.noted.items():
        print(
            f"{archive}: no published checksum is known; SHA-256 {checksum} noted in {options.out / 'checksums.json'}"
        )
    return 0
