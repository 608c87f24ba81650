"""Players and quizzes: the same picture in a page and in a live notebook, and nothing that breaks out of it."""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from calbook.interactive import Player, Slider, play, quiz
from calbook.interactive.frames import to_svg

BAR = '<svg viewBox="0 0 90 9"><g id="bar"><rect width="{}" height="{}"/><use href="#bar"/></g></svg>'


def bar(width: float, height: float = 9) -> str:
    return BAR.format(width, height)


def figure(width: float) -> Figure:
    fig, ax = plt.subplots(figsize=(3, 2))
    ax.plot([0, width], [0, 1])
    ax.set(xlim=(0, 10), title="A title")
    return fig


def stored(player: Player) -> dict[str, Any]:
    """The frames and texts in the page's JSON."""
    found = re.search(r'<script type="application/json">(.*?)</script>', player.to_html(), re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


@pytest.fixture(autouse=True)
def no_window() -> None:
    mpl.use("agg")


def test_the_page_stores_exactly_what_the_function_draws() -> None:
    values = np.linspace(1, 9, 5)
    player = play(figure, values, label="Width", alt="A line.")
    data = stored(player)
    name = re.search(r'id="(cb-[0-9a-f]+)"', player.to_html())
    assert name
    for value, indices in zip(values, data["frames"], strict=True):
        frame = "\n".join(data["lines"][i] for i in indices)
        assert frame.replace(f"{name[1]}-", "") == to_svg(figure(value))
    assert len(set(map(tuple, data["frames"]))) == 5


def test_equal_parts_of_the_frames_are_stored_once() -> None:
    player = play(figure, range(1, 41), label="Width", alt="A line.")
    assert len(player.to_html()) < 0.4 * sum(map(len, player.frames))


def test_two_sliders_the_second_runs_fastest() -> None:
    also = Slider("Height", ["low", "high"])
    player = play(
        lambda w, h: bar(w, 3 if h == "low" else 8), [1, 2, 3], label="Width", alt="A bar.", also=also, start=2
    )
    assert [re.findall(r"\d+", frame)[-2:] for frame in player.frames][:3] == [["1", "3"], ["1", "8"], ["2", "3"]]
    assert '<rect width="2" height="3"/>' in player.to_html().split("</svg>")[0]
    assert stored(player)["texts"] == [["1", "2", "3"], ["low", "high"]]


def test_the_live_widget_draws_the_same_picture() -> None:
    drawn = []
    player = play(lambda v: (drawn.append(v), bar(v))[1], [1, 2, 3], label="Width", alt=lambda v: f"{v} wide", start=2)
    widget = player.to_widget()
    picture, slider = widget.children
    assert bar(2) in picture.value
    assert drawn == [2]  # drawn when asked for, not in advance
    slider.value = 3
    assert bar(3) in picture.value
    assert 'aria-label="3 wide"' in picture.value


@pytest.mark.parametrize(("variable", "kind"), [("1", "text/html"), ("", "application/vnd.jupyter.widget-view+json")])
def test_the_environment_chooses_page_or_widget(monkeypatch: pytest.MonkeyPatch, variable: str, kind: str) -> None:
    monkeypatch.setenv("CALBOOK_RENDER", variable)
    assert kind in play(bar, [1, 2], label="Width", alt="A bar.")._repr_mimebundle_()


def test_text_cannot_break_out_of_the_page() -> None:
    evil = '</script><img src=x onerror="alert(1)">&'
    player = play(bar, [1, 2], label=evil, alt=lambda v: evil + str(v), unit=evil, caption=evil)
    page = player.to_html()
    assert "<img" not in page.split('<script type="application/json">')[0]
    assert page.count("</script>") == 2  # the two that belong there
    assert stored(player)["alts"] == [evil + "1", evil + "2"]
    shown = quiz([{"question": evil, "options": [(evil, True, evil), ("no", False, evil)]}])._repr_html_()
    assert "<img" not in shown


def test_players_of_a_page_have_names_of_their_own() -> None:
    first, second = (play(bar, [1, 2], label="Width", alt="A bar.").to_html() for _ in range(2))
    ids = re.findall(r'\bid="([^"]+)"', first)
    assert len(ids) == len(set(ids))
    assert not set(ids) & set(re.findall(r'\bid="([^"]+)"', second))
    assert f'href="#{re.search(r"cb-[0-9a-f]+", first)[0]}-bar"' in first


def test_figures_are_closed_and_carry_no_date() -> None:
    before = plt.get_fignums()
    assert to_svg(figure(3)) == to_svg(figure(3))
    assert plt.get_fignums() == before
    assert "<style" not in to_svg(figure(3))  # would leak into the page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alt": ""}, "alternative text"),
        ({"values": [1]}, "at least two values"),
        ({"draw": lambda v: 3}, "must return a matplotlib figure or SVG text, not int"),
        ({"draw": lambda v: "<p>"}, "not SVG"),
        ({"limit_kb": 0}, "use fewer than 2 frames"),
    ],
)
def test_misuse_is_refused(change: dict[str, Any], message: str) -> None:
    arguments = {"draw": bar, "values": [1, 2], "label": "Width", "alt": "A bar."} | change
    with pytest.raises((ValueError, TypeError), match=message):
        play(arguments.pop("draw"), arguments.pop("values"), **arguments).to_html()


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"options": [("a", True, "b"), ("c", False, "d")]}, "question 1 has no text"),
        ({"question": "?", "options": [("a", True, "b")]}, "at least two options"),
        ({"question": "?", "options": [("a", False, "b"), ("c", False, "d")]}, "one of them right"),
        ({"question": "?", "options": [("a", True, "b"), ("c", False, " ")]}, "explain every option"),
    ],
)
def test_a_quiz_is_complete(item: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quiz([item])


def test_every_answer_of_a_quiz_unfolds_without_scripts() -> None:
    page = quiz(
        [{"question": "How wide, $a$?", "options": [("`1`", True, "$a<b$"), ("2", False, "No.")]}]
    )._repr_html_()
    assert page.count("<details") == page.count("<summary>") == 2
    assert "<script" not in page
    assert r"\(a&lt;b\)" in page
    assert page.index("Right.") < page.index("Not quite.")


@pytest.mark.browser
def test_sliders_in_a_bare_page(chromium: Any, tmp_path: Path) -> None:
    also = Slider("Height", [3, 8])
    players = [play(bar, [1, 2, 3], label="Width", alt=lambda w, h: f"{w} by {h}", also=also) for _ in range(2)]
    (tmp_path / "page.html").write_text("".join(p.to_html() for p in players))
    tab = chromium.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    (tmp_path / "empty.html").write_text("")
    tab.goto((tmp_path / "empty.html").as_uri())
    before = set(tab.evaluate("() => Object.keys(window)"))
    tab.goto((tmp_path / "page.html").as_uri())
    width, height = tab.locator(".cb-player").last.locator("input").all()
    stage = tab.locator(".cb-stage").last
    for slider, key in [(width, "End"), (height, "ArrowRight"), (width, "ArrowLeft")]:
        slider.focus()
        tab.keyboard.press(key)
    assert '<rect width="2" height="8">' in stage.inner_html()
    assert stage.get_attribute("aria-label") == "2 by 8"
    assert '<rect width="1" height="3">' in tab.locator(".cb-stage").first.inner_html()  # the other one stands still
    assert errors == []
    named = {name for name in tab.evaluate("() => Object.keys(window)") if not name.startswith("cb-")}
    assert named <= before  # the scripts leave no globals
    tab.close()


def test_a_slider_of_words_starts_at_one_of_them():
    assert Slider("Mask", ["disk", "mixed"], start="mixed").first == 1
    with pytest.raises(ValueError, match="slider 'Mask' has no value 'mixd' to start at"):
        Slider("Mask", ["disk", "mixed"], start="mixd")
