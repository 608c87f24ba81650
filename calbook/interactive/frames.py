"""Pictures as compact SVG text that several players of a page can hold."""

import io
import re
from collections.abc import Sequence
from typing import Any


def to_svg(drawing: Any) -> str:
    """SVG text of what a drawing function returned: a matplotlib figure (closed here) or SVG text."""
    if isinstance(drawing, str):
        if not drawing.lstrip().startswith("<svg"):
            raise ValueError("the drawing function returned text that is not SVG (it must start with <svg)")
        return drawing.strip()
    if not hasattr(drawing, "savefig"):
        kind = type(drawing).__name__
        raise TypeError(f"the drawing function must return a matplotlib figure or SVG text, not {kind}")
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    text = io.StringIO()
    # Letters as paths look the same on every machine; the fixed salt keeps ids equal from frame to frame.
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "calbook", "savefig.bbox": None}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        drawing.savefig(text, format="svg", metadata=nothing)
    plt.close(drawing)
    return _strip_svg(text.getvalue())


def _strip_svg(text: str) -> str:
    """Drop prologue and comments, and let the page decide the width (at most the drawn one)."""
    # A style element would leak into the whole page: its two rules go to the root element instead.
    text = re.sub(r"<!--.*?-->\n?|<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    size = re.search(r'<svg[^>]*? width="([\d.]+)pt"', text)
    width = float(size[1]) * 96 / 72 if size else 640.0  # points to CSS pixels
    head, body = text.split(">", maxsplit=1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    style = f"width:100%;max-width:{width:.0f}px;height:auto;stroke-linejoin:round;stroke-linecap:butt"
    return f'{head} style="{style}" aria-hidden="true">{body.strip()}'


def rename_ids(frame: str, name: str) -> str:
    """Make the ids of a frame, and what refers to them, unique in the page."""
    frame = re.sub(r'(?<=\sid=")', f"{name}-", frame)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", frame)


def share_lines(frames: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    r"""Store equal lines once: axes, letters and grid are the same in every frame.

    >>> share_lines(["a\nb", "a\nc"])
    (['a', 'b', 'c'], [[0, 1], [0, 2]])
    """
    table: dict[str, int] = {}
    indices = [[table.setdefault(line, len(table)) for line in frame.split("\n")] for frame in frames]
    return list(table), indices
