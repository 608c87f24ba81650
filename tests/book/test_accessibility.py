"""axe-core, the rules that accessibility audits use, on every built page: wide and narrow, light and dark."""

from collections.abc import Callable
from typing import Any

import pytest
from built_pages import DESKTOP, HTML, PAGES, PHONE, SET_MODE, open_page

pytestmark = pytest.mark.browser

# Pictures are one thing to a reader who cannot see them (their labels stay), and a token of code looks like the others
# of its kind: what is left out here says nothing new, and takes minutes to judge.
LESS = """() => {
  const drawn = "[role=img] svg > *, svg[role=img] > *, mjx-container > svg > *";
  document.querySelectorAll(drawn).forEach((e) => e.remove());
  for (const code of document.querySelectorAll(".highlight pre")) {
    const seen = new Set();
    for (const span of code.querySelectorAll("span"))
      if (seen.has(span.className)) span.replaceWith(...span.childNodes); else seen.add(span.className);
    code.normalize();
  }
}"""
# What stops or greatly hinders a reader; the milder findings are matters of taste in a book.
JUDGE = """async (rules) => {
  const options = {resultTypes: ["violations"], preload: false, ...(rules && {runOnly: {type: "rule", values: rules}})};
  const {violations} = await axe.run(document, options);
  return violations.filter((v) => ["serious", "critical"].includes(v.impact))
    .flatMap((v) => v.nodes.map((n) => `${v.id}: ${v.help}: ${n.html.slice(0, 120)} at ${n.target.join(" ")}`));
}"""


@pytest.fixture(scope="session")
def axe(missing: Callable[[str], None]) -> str:
    """The script of axe-core."""
    try:
        from axe_playwright_python.base import AXE_SCRIPT
    except ImportError:
        missing("axe-core is not installed: run make setup")
    return str(AXE_SCRIPT)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_no_serious_finding(chromium: Any, axe: str, name: str) -> None:
    context = chromium.new_context(viewport=DESKTOP, reduced_motion="reduce")  # colours change at once
    tab = open_page(context, name).tab
    tab.evaluate(LESS)
    tab.evaluate(axe)
    findings: list[str] = []
    for viewport in (DESKTOP, PHONE):
        tab.set_viewport_size(viewport)
        tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")  # it adapts
        tab.evaluate(SET_MODE, "light")
        findings += tab.evaluate(JUDGE, None)
        tab.evaluate(SET_MODE, "dark")  # which changes nothing but colours
        findings += tab.evaluate(JUDGE, ["color-contrast"])
    context.close()
    assert findings == []


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ("<img src='data:,'>", "image-alt"),
        ("<p style='color: #999; background: #fff'>hardly to be read</p>", "color-contrast"),
        ("<input type='range'>", "label"),
    ],
)
def test_findings_are_found(chromium: Any, axe: str, broken: str, rule: str) -> None:
    tab = chromium.new_page()
    tab.set_content(f"<html lang='en'><title>A page</title><main><h1>A page</h1>{broken}</main>")
    tab.evaluate(axe)
    assert [finding.split(":")[0] for finding in tab.evaluate(JUDGE, None)] == [rule]
    tab.close()


def test_there_are_pages_to_judge(missing: Callable[[str], None]) -> None:
    if not PAGES:
        missing(f"no pages in {HTML}: build the book first (make book)")
