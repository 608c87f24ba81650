"""The judge of accessibility finds what it is there to find; ``test_pages.py`` has it judge every page."""

from typing import Any

import pytest
from accessible import serious_findings

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ("<img src='data:,'>", "image-alt"),
        ("<input type='range'>", "label"),
        ("<p style='color: #999; background: #fff'>hardly to be read</p>", "color-contrast"),
        ("<p style='color: #999'>the second of its kind, but for its colour</p>", "color-contrast"),
        ("<div style='background: #555'><p>the third, but for what is behind it</p></div>", "color-contrast"),
        ("<style>[data-theme=dark] p { color: #999 }</style>", "color-contrast"),
        ("<style>@media (max-width: 500px) { p { color: #999 } }</style>", "color-contrast"),
        ("<style>@media (min-width: 500px) { .phone { display: none } }</style><i class=phone><button></button></i>",
         "button-name"),
    ],
)  # fmt: skip
def test_findings_are_found(chromium: Any, axe: str, broken: str, rule: str) -> None:
    tab = chromium.new_page()
    page = f"<html lang='en'><title>A page</title><main><h1>A page</h1><div><p>sound</p></div>{broken}</main>"
    tab.set_content(page)
    assert {finding.split(":")[0] for finding in serious_findings(tab, axe)} == {rule}
    tab.close()


def test_a_sound_page_has_none(chromium: Any, axe: str) -> None:
    tab = chromium.new_page()
    tab.set_content("<html lang='en'><title>A page</title><main><h1>A page</h1><p>sound</p></main>")
    assert serious_findings(tab, axe) == []
    tab.close()
