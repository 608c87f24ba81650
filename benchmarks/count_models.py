"""Parameters and multiply-adds of every network beside the published figures.

    python benchmarks/count_models.py

Counts on empty tensors (no weights are made), so it takes a minute or so. Writes
`results/models.json` and the section "Networks" of the README beside this file.
"""

import argparse
import time
from typing import Any

import common
import torch

from calbook import results
from calbook.models import Cost, build_model, count

SIZES = [(64, 48), (128, 96), (256, 192), (384, 288)]
RESNETS = ("r50", "r101", "r152")
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    *(
        (f"{kind}-{width}", {})
        for kind in ("hrnet", "udp-hrnet", "offset-hrnet", "cal-hrnet")
        for width in ("w32", "w48")
    ),
    ("cal-hrnet-w48", {"head_blocks": 1}),
    ("cal-hrnet-w48", {"offset_width": 144}),
    *((f"simple-baseline-{depth}", {}) for depth in RESNETS),
    *((f"{kind}-{depth}", {}) for kind in ("mrheatnet1", "mrheatnet2", "mrfeanet1", "mrfeanet2") for depth in RESNETS),
    *((f"{kind}-tiny", {}) for kind in ("hrnet", "udp-hrnet", "offset-hrnet", "cal-hrnet")),
]

_CAL_1 = "CAL, table 1"
_CAL_9 = "CAL, table 9"
_HRNET = "HRNet paper and code"
# (network with options, size) -> printed parameters in millions, printed "GFLOPs", where, and what there is to say
PUBLISHED: dict[tuple[str, tuple[int, int]], tuple[float | None, float, str, str]] = {
    ("hrnet-w32", (128, 96)): (28.5, 1.8, _CAL_1, ""),
    ("hrnet-w32", (256, 192)): (28.5, 7.1, _HRNET, ""),
    ("hrnet-w32", (384, 288)): (28.5, 16.0, _HRNET, ""),
    ("hrnet-w48", (128, 96)): (63.6, 3.7, _CAL_1, "DARK's page prints 3.6"),
    ("hrnet-w48", (256, 192)): (63.6, 14.6, _HRNET, ""),
    ("hrnet-w48", (384, 288)): (63.8, 32.9, _CAL_9, "63.8 M is a slip: the HRNet paper has 63.6 M"),
    ("udp-hrnet-w32", (128, 96)): (28.6, 1.8, _CAL_1, ""),
    ("udp-hrnet-w48", (128, 96)): (63.7, 3.7, _CAL_1, ""),
    ("udp-hrnet-w48", (384, 288)): (
        63.6,
        33.0,
        _CAL_9,
        "63.6 M is plain HRNet's count, 33.0 is UDP's work; UDP's page prints 63.8 M",
    ),
    ("cal-hrnet-w32", (128, 96)): (49.3, 2.5, _CAL_1, ""),
    ("cal-hrnet-w48", (128, 96)): (110.3, 5.3, _CAL_1, ""),
    ("cal-hrnet-w48 head_blocks=1", (384, 288)): (
        110.2,
        47.2,
        _CAL_9,
        "table 9 fits heads of one block, table 1 heads of two",
    ),
    ("simple-baseline-r50", (128, 96)): (None, 2.3, "DARK's page", "transposed convolutions counted by output pixels"),
    ("simple-baseline-r101", (128, 96)): (None, 3.1, "DARK's page", "the same"),
    ("simple-baseline-r152", (128, 96)): (None, 3.9, "DARK's page", "the same"),
    ("simple-baseline-r50", (256, 192)): (
        34.0,
        8.9,
        "SimpleBaseline's page",
        "the same; ours counts the last layer, too",
    ),
    ("simple-baseline-r101", (256, 192)): (53.0, 12.4, "SimpleBaseline's page", "the same"),
    ("simple-baseline-r152", (256, 192)): (68.6, 15.7, "SimpleBaseline's page", "the same"),
    ("simple-baseline-r50", (384, 288)): (None, 20.0, "SimpleBaseline's page", "the same"),
    ("simple-baseline-r101", (384, 288)): (None, 27.9, "SimpleBaseline's page", "the same"),
    ("simple-baseline-r152", (384, 288)): (68.6, 35.6, _CAL_9, "the same; SimpleBaseline's page prints 35.3"),
}
EXPLANATION = """\
*Multiply-adds* count each weight of a convolution once for each pixel that it meets. *Paper's count* is how the
published scripts arrive at what the papers print as "GFLOPs": neither FLOPs nor 10^9, but multiply-adds in units of
2^30 (1.074 x 10^9), with transposed convolutions counted by their output pixels, four times too many at stride 2.
That explains every difference between the two columns: 2^30 alone for the HRNets, both for the networks with
transposed convolutions (SimpleBaseline-R50 at 256x192: 5.43 x 10^9, printed as 8.9).

At 64x48 four branches do not divide (48 / 32 = 1.5), so the HRNets have three branches in stage 4 there, less than
half of the parameters; the papers do not say so, the published configuration does. Networks on a ResNet need multiples
of 32 and are refused. The published configuration of CAL-W48 at 128x96 gives the offset branch 144 channels
(`offset_width=144`): 117.2 M parameters, not the 110.3 M of the paper's table 1."""


def label(name: str, options: dict[str, Any]) -> str:
    """How a network with its options is called in the table."""
    return " ".join([name, *(f"{key}={value}" for key, value in options.items())])


def count_all() -> list[tuple[str, tuple[int, int], Cost]]:
    """Every network at every size that it takes."""
    rows = []
    for name, options in NETWORKS:
        for size in SIZES:
            with torch.device("meta"):
                try:
                    model = build_model(name, input_size=size, **options)
                except ValueError:  # a ResNet at 64x48: says why itself
                    continue
            rows.append((label(name, options), size, count(model, size)))
    return rows


def table(rows: list[tuple[str, tuple[int, int], Cost]]) -> str:
    """The README's section."""
    lines = [
        EXPLANATION,
        "",
        "| network | input | parameters | multiply-adds (10^9) | paper's count (2^30) | printed | where; remarks |",
        "| --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    for name, size, cost in rows:
        parameters, work, source, remark = PUBLISHED.get((name, size), (None, None, "", ""))
        printed = " / ".join(([f"{parameters} M"] if parameters else []) + ([f"{work}"] if work else []))
        where = "; ".join(filter(None, (source, remark)))
        lines.append(
            f"| `{name}` | {size[0]}x{size[1]} | {cost.parameters:,} | {cost.macs / 1e9:.3f} | "
            f"{cost.published_giga:.3f} | {printed} | {where} |"
        )
    return "\n".join(lines)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    start = time.perf_counter()
    rows = count_all()
    figures = {
        f"{name} {size[0]}x{size[1]}": {
            "parameters": cost.parameters,
            "macs": cost.macs,
            "published_macs": cost.published_macs,
            "published_giga": round(cost.published_giga, 3),
        }
        for name, size, cost in rows
    }
    results.write(
        common.RESULTS / "models.json",
        experiment="count_models",
        settings={"sizes": [list(size) for size in SIZES], "num_joints": 17},
        figures=figures,
        seconds=time.perf_counter() - start,
        command="python benchmarks/count_models.py",
    )
    common.fill("networks", table(rows))
    print(f"{len(rows)} rows written to {common.RESULTS / 'models.json'} and {common.HERE / 'README.md'}")


if __name__ == "__main__":
    main()
