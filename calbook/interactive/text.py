"""Text of authors as safe HTML."""

import html
import re


def rich(text: str) -> str:
    r"""Escape text for a page, keeping ``$...$`` as a formula and backquotes as code.

    >>> rich("`a<b` if $x<1$")
    '<code>a&lt;b</code> if <span class="math notranslate nohighlight">\\(x&lt;1\\)</span>'
    """
    parts = re.split(r"(\$[^$]+\$|`[^`]+`)", text)
    for i, part in enumerate(parts):
        inner = html.escape(part[1:-1] if i % 2 else part)
        if i % 2:
            is_math = part.startswith("$")
            inner = (
                rf'<span class="math notranslate nohighlight">\({inner}\)</span>'
                if is_math
                else f"<code>{inner}</code>"
            )
        parts[i] = inner
    return "".join(parts)
