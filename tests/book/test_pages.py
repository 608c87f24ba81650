"""Every built page, opened from its folder in headless Chromium, as a reader without a network does."""

import itertools
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from urllib.request import url2pathname

import pytest
from accessible import serious_findings
from built_pages import DESKTOP, HTML, PAGES, PHONE, SET_MODE, Opened, open_page

pytestmark = pytest.mark.browser

# Elements that hold text themselves and stand too little out from what is behind them.
LOW_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (color) => {  // any CSS colour as red, green, blue, opacity
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255, 1]);
  };
  const light = (color) => {
    const [r, g, b] = color.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *:not(svg *):not(script):not(noscript)")) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join("").trim();
    if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const style = getComputedStyle(element), ground = behind(element);
    const [a, b] = [light(over(rgba(style.color), ground)), light(ground)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio >= (large ? 3 : 4.5)) continue;
    faint.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className}: ${text.slice(0, 40)}`);
  }
  return faint;
}"""


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest, chromium: Any) -> Iterator[Opened]:
    """One built page after the other."""
    context = chromium.new_context(viewport=DESKTOP, reduced_motion="reduce")  # colours change at once
    yield open_page(context, request.param)
    context.close()


@pytest.fixture
def phone(page: Opened) -> Iterator[Opened]:
    """The page on a narrow screen."""
    page.tab.set_viewport_size(PHONE)
    yield page
    page.tab.set_viewport_size(DESKTOP)


def test_a_book_is_built(missing: Callable[[str], None]) -> None:
    if not PAGES:
        missing(f"no pages in {HTML}: build the book first (make book)")
    assert "book/index.html" in PAGES


def test_console_is_empty(page: Opened) -> None:
    assert page.console == []


def test_no_request_leaves_the_machine(page: Opened) -> None:
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_every_picture_has_alt_text(page: Opened) -> None:
    texts: list[tuple[str, str]] = page.tab.evaluate(
        """() => [...document.querySelectorAll("img, [role=img], svg:not([aria-hidden=true])")]
        .filter((e) => !e.closest("[aria-hidden=true], mjx-container, button, [role=img] *"))
        .map((e) => [e.getAttribute("alt") ?? e.getAttribute("aria-label") ?? "", e.outerHTML.slice(0, 120)])"""
    )
    for text, source in texts:
        assert text.strip(), f"no alternative text: {source}"
        assert not re.search(r"[0-9a-f]{32}|\.(png|svg)$", text), f"a file name is no alternative text: {source}"


def test_formulas_are_set(page: Opened) -> None:
    assert page.tab.locator("[data-mjx-error], mjx-merror").count() == 0
    unset = page.tab.evaluate(
        """() => [...document.querySelectorAll(".bd-article .math")]
        .filter((e) => !e.querySelector("mjx-container")).map((e) => e.textContent.slice(0, 60))"""
    )
    assert unset == []


def test_every_slider_changes_the_picture(page: Opened) -> None:
    for player in page.tab.locator(".cb-player").all():
        stage = player.locator(".cb-stage")
        for slider in player.locator("input[type=range]").all():
            assert slider.is_visible()
            assert slider.evaluate("e => e.labels.length === 1 && e.labels[0].textContent.trim() !== ''")
            slider.focus()
            page.tab.keyboard.press("Home")
            first, said = stage.inner_html(), slider.get_attribute("aria-valuetext")
            page.tab.keyboard.press("ArrowRight")
            assert stage.inner_html() != first, "the arrow key moves the slider, but not the picture"
            assert slider.get_attribute("aria-valuetext") != said
            assert slider.evaluate("e => e.nextElementSibling.value") == slider.get_attribute("aria-valuetext")
            page.tab.keyboard.press("Home")
            assert stage.inner_html() == first
            box = slider.bounding_box()
            assert box is not None
            slider.click(position={"x": box["width"] * 0.9, "y": box["height"] / 2})
            assert stage.inner_html() != first, "the mouse moves the slider, but not the picture"


def test_the_tab_key_reaches_every_slider(page: Opened) -> None:
    keys = page.tab.keyboard
    for slider in page.tab.locator(".cb-player input[type=range]").all():
        slider.focus()
        keys.press("Shift+Tab")
        assert not slider.evaluate("e => e === document.activeElement"), "the focus is caught in a slider"
        keys.press("Tab")
        assert slider.evaluate("e => e === document.activeElement")
        assert slider.evaluate("e => getComputedStyle(e).outlineStyle !== 'none'"), "the focus is not seen"


def test_players_do_not_share_ids(page: Opened) -> None:
    doubled = page.tab.evaluate(
        """() => { const ids = [...document.querySelectorAll(".cb-player, .cb-player [id]")].map((e) => e.id);
        return ids.filter((id, i) => id && ids.indexOf(id) !== i); }"""
    )
    assert doubled == []


def test_fits_a_phone(phone: Opened) -> None:
    wide = phone.tab.evaluate(
        """() => { const width = document.documentElement.clientWidth;
        const scrolls = (e) => e && e !== document.body
          && (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
        const sticks = (e) => e.getBoundingClientRect().right > width + 1 && e.checkVisibility();
        const all = [...document.querySelectorAll(".bd-article *")];
        const wide = all.filter((e) => sticks(e) && !scrolls(e.parentElement));
        return [document.documentElement.scrollWidth - width, ...wide.map((e) => e.outerHTML.slice(0, 100))]; }"""
    )
    assert wide == [0]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_stands_out(page: Opened, mode: str) -> None:
    page.tab.evaluate(SET_MODE, mode)
    faint = page.tab.evaluate(LOW_CONTRAST)
    page.tab.evaluate(SET_MODE, "light")
    assert faint == []


def test_figures_keep_their_light_paper_in_dark_mode(page: Opened) -> None:
    page.tab.evaluate(SET_MODE, "dark")
    looks = page.tab.evaluate(
        """() => [...document.querySelectorAll(".cell_output img, .cb-stage")]
        .map((e) => [getComputedStyle(e).filter, getComputedStyle(e).backgroundColor])"""
    )
    page.tab.evaluate(SET_MODE, "light")
    assert all(look == ["none", "rgb(252, 252, 250)"] for look in looks), looks


def test_headings_are_in_order(page: Opened) -> None:
    levels = page.tab.evaluate(
        """() => [...document.querySelectorAll("main :is(h1, h2, h3, h4, h5, h6)")]
        .filter((e) => e.checkVisibility()).map((e) => Number(e.tagName[1]))"""
    )
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels


def test_links_inside_the_book_resolve(page: Opened) -> None:
    links: list[str] = page.tab.evaluate("() => [...document.querySelectorAll('a[href]')].map((e) => e.href)")
    for link in sorted(set(links)):
        parts = urlsplit(link)
        if parts.scheme != "file":
            continue
        target = Path(url2pathname(parts.path))
        assert target.is_file(), f"{page.name} links to {link}"
        if parts.fragment and target.suffix == ".html":
            assert unquote(parts.fragment) in places(target), f"{page.name} links to a missing place: {link}"


@cache
def places(page: Path) -> frozenset[str]:
    """What links into a page can name."""
    return frozenset(re.findall(r'\b(?:id|name)="([^"]*)"', page.read_text(encoding="utf-8")))


def test_no_serious_hindrance(page: Opened, axe: str) -> None:
    """The last test of a page: it takes away from the page what would be judged twice."""
    assert serious_findings(page.tab, axe) == []


def test_first_picture_shows_without_scripts(chromium: Any, missing: Callable[[str], None]) -> None:
    pages = [name for name in PAGES if 'class="cb-player"' in (HTML / name).read_text(encoding="utf-8")]
    if not pages:
        missing("no page with a player is built")
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((HTML / pages[0]).as_uri())
    player = tab.locator(".cb-player").first
    assert player.locator(".cb-stage > svg").is_visible()
    assert not player.locator(".cb-controls").is_visible()
    assert "JavaScript" in player.inner_text()
    context.close()


@pytest.mark.parametrize(
    ("typed", "page"),
    [
        ("small people", "01_small_people"),
        ("OKS", "01_small_people"),
        ("quantization", "02_quantization_error"),
        ("flip test", "03_unbiased_coordinates"),
        ("heatmap", "04_heatmaps"),
        ("DARK", "04_heatmaps"),
        ("soft-argmax", "04_heatmaps"),
        ("offset field", "05_offsets"),
        ("UDP", "05_offsets"),
        ("binary heatmap", "06_binary_or_gaussian"),
        ("displacements", "07_displacements"),
        ("EM", "08_gaussian_mixtures"),
        ("Gaussian mixture", "08_gaussian_mixtures"),
        ("mask", "09_mixed_gaussian_masks"),
        ("confidence-aware learning", "10_confidence_aware_learning"),
        ("HRNet", "11_hrnet"),
        ("SimpleBaseline", "12_multi_resolution"),
        ("notation", "appendix/notation"),
    ],
)
def test_search_finds_the_right_page_first(searching: Any, typed: str, page: str) -> None:
    searching.goto((HTML / "search.html").as_uri() + f"?q={quote(typed)}")
    searching.wait_for_selector("#search-results li a", timeout=20_000)
    searching.wait_for_function("() => /Search finished/.test(document.querySelector('#search-results').innerText)")
    first = searching.locator("#search-results li a").first.get_attribute("href")
    assert first is not None
    assert first.startswith(f"book/{page}.html"), f"{typed!r} finds {first} first"


@pytest.fixture(scope="module")
def searching(chromium: Any, missing: Callable[[str], None]) -> Iterator[Any]:
    """A tab for the search page."""
    if not PAGES:
        missing(f"no pages in {HTML}: build the book first (make book)")
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def test_search_works_from_a_folder(chromium: Any, missing: Callable[[str], None]) -> None:
    if not PAGES:
        missing(f"no pages in {HTML}: build the book first (make book)")
    context = chromium.new_context()
    tab = context.new_page()
    tab.goto((HTML / "search.html").as_uri() + "?q=heatmap")
    tab.wait_for_selector("#search-results li a", timeout=10_000)
    assert tab.locator("#search-results li a").count() > 0
    context.close()
