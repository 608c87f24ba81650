"""What a cell puts into a page besides figures: sentences, source listings, tables.

In a notebook these are shown as Markdown and HTML, which the page's theme colours
for light and dark; outside one they are printed as text.
"""

import html
import inspect
import math
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from calbook.results import machine_name

_FIGURE = r"[+\-−–]?[\d.,]*\d(?:e[+-]?\d+)?\s?%?"
_FIGURES = re.compile(rf"{_FIGURE}(?: ?(?:/|…|±|to) ?{_FIGURE})?(?: \({_FIGURE}\))?")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NEGATIVE_ZERO = re.compile(r"-(?=0(?:\.0+)?(?![\d.e]))")


def say(text: str) -> None:
    """Put a computed sentence (Markdown) into the page."""
    _show(text, "Markdown")


def show_source(*objects: Callable[..., Any] | type | ModuleType) -> None:
    """Show the package's own source of functions, classes or modules, highlighted.

    A chapter that shows code this way cannot drift away from the package.
    """
    for thing in objects:
        module = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
        source = textwrap.dedent(inspect.getsource(thing)).rstrip()
        _show(f"# {module.replace('.', '/')}.py\n{source}", "Markdown", "```python\n{}\n```")


def show_table(headers: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> None:
    """Show a table whose cells were computed; numbers are set flush right.

    Args:
        headers: One heading per column.
        rows: Rows of cells: strings as they are, floats with four significant digits, in a column of floats with
            as many decimals as its largest has; None as a dash.
        caption: One line that says what the table shows.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    for row in cells:
        if len(row) != len(headers):
            raise ValueError(f"a row of {len(row)} cells under {len(headers)} headings: {row}")
    for i in range(1, len(headers)):
        for row, text in zip(cells, _same_decimals([row[i] for row in rows]), strict=False):
            row[i] = text
    _show(_text_table(headers, cells, caption), "HTML", rich=_html_table(headers, cells, caption))


def show_provenance(record: Mapping[str, Any], what: str = "Measured") -> None:
    """Say where, when and by which command a results file was made.

    Args:
        record: What ``results.read`` returned.
        what: How the sentence begins.
    """
    place = machine_name(record["machine"])
    sentence = f"{what} on {record['date'][:10]} in {duration(record['seconds'])} ({place}) with"
    say(f"{sentence}\n\n```sh\n{record['command']}\n```")


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    >>> duration(41.74), duration(1427.3), duration(9000), duration(0.2)
    ('41.7 s', '24 min', '2.5 h', 'less than a second')
    """
    if seconds < 1:
        return "less than a second"
    if seconds < 300:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def power_of_ten(value: float, digits: int) -> str:
    """A figure with so many significant digits; below a thousandth, or too long for them, with a power of ten.

    >>> power_of_ten(0.0123, 2), power_of_ten(0.00051, 1), power_of_ten(1.25e-12, 3), power_of_ten(-86400, 2)
    ('0.012', '5·10⁻⁴', '1.25·10⁻¹²', '-8.6·10⁴')
    """
    small = 0 < abs(value) < 1e-3
    figures, has_power, exponent = (f"{value:.{digits - 1}e}" if small else f"{value:.{digits}g}").partition("e")
    return f"{figures}·10{str(int(exponent)).translate(_RAISED)}" if has_power else figures


def _cell(value: object) -> str:
    """A cell's text: four significant digits for floats, a dash for nothing, no zero with a minus."""
    if value is None:
        return "–"
    return _NEGATIVE_ZERO.sub("", f"{value:.4g}" if isinstance(value, float) else str(value))


def _same_decimals(column: Sequence[object]) -> list[str]:
    """The texts of a column; floats of similar size get equally many decimals.

    >>> _same_decimals([0.5, None, 0.12345]), _same_decimals([1.0, 0.0001])
    (['0.5000', '–', '0.1235'], ['1', '0.0001'])
    """
    texts = [_cell(value) for value in column]
    floats = [abs(value) for value in column if isinstance(value, float)]
    sizes = [value for value in floats if value > 0]
    similar = sizes and max(sizes) <= 100 * min(sizes) and 1e-3 < max(sizes) < 1e3
    if not similar or len(floats) + column.count(None) < len(column):
        return texts
    longest = max(len(text.partition(".")[2]) for text in texts)
    decimals = min(longest, max(0, 3 - math.floor(math.log10(max(sizes)))))
    return [
        f"{value:.{decimals}f}" if isinstance(value, float) else text for value, text in zip(column, texts, strict=True)
    ]


def _is_number(text: str) -> bool:
    """Whether a cell is one figure, or two as in "1.5 ± 0.2", "93 … 96" or "0.38 (+1.2%)"."""
    return bool(_FIGURES.fullmatch(text.strip()))


def _html_table(headers: Sequence[str], cells: Sequence[Sequence[str]], caption: str) -> str:
    """The table as HTML with the theme's own class, so that it follows light and dark mode."""
    right = [all(_is_number(row[i]) or row[i] == "–" for row in cells) for i in range(len(headers))]
    align = ["right" if number and i > 0 else "left" for i, number in enumerate(right)]
    style = [f"text-align:{a}" + ";white-space:nowrap" * number for a, number in zip(align, right, strict=True)]
    head = "".join(
        f'<th scope="col" style="text-align:{a}">{html.escape(h)}</th>' for h, a in zip(headers, align, strict=True)
    )
    body = ""
    for row in cells:
        first = f'<th scope="row" style="{style[0]};font-weight:normal">{html.escape(row[0])}</th>'
        rest = "".join(f'<td style="{look}">{html.escape(c)}</td>' for c, look in zip(row[1:], style[1:], strict=True))
        body += f"<tr>{first}{rest}</tr>\n"
    title = f'<caption style="caption-side:top">{html.escape(caption)}</caption>\n' if caption else ""
    return (
        f'<div style="overflow-x:auto"><table class="table">\n{title}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def _text_table(headers: Sequence[str], cells: Sequence[Sequence[str]], caption: str) -> str:
    """The table as plain text, for a terminal."""
    widths = [max(len(row[i]) for row in [headers, *cells]) for i in range(len(headers))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in [headers, *cells]]
    return "\n".join(([caption] if caption else []) + lines)


def _show(text: str, kind: str, template: str = "{}", rich: str | None = None) -> None:
    """Display ``rich`` (or the templated text) in a notebook, print ``text`` elsewhere."""
    if "IPython" in sys.modules:
        from IPython import display
        from IPython.core.getipython import get_ipython

        if get_ipython() is not None:
            content = template.replace("{}", text) if rich is None else rich
            display.display(getattr(display, kind)(content))
            return
    print(text)
