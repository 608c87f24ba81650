"""A picture that follows one or two sliders."""

import hashlib
import html
import itertools
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from calbook.interactive.frames import rename_ids, share_lines, to_svg
from calbook.interactive.text import rich

Value = Any  # what a slider hands to the drawing function: a number or a word

_ORDER = itertools.count(1)  # tells equal players of one notebook apart; the same in every run from the top

_SCRIPT = """(() => {
  const root = document.getElementById("%s");
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const stage = root.querySelector(".cb-stage");
  const sliders = [...root.querySelectorAll("input")];
  const show = () => {
    const at = sliders.reduce((sum, slider, i) => sum * data.texts[i].length + Number(slider.value), 0);
    stage.innerHTML = data.frames[at].map((line) => data.lines[line]).join("\\n");
    stage.setAttribute("aria-label", data.alts[at %% data.alts.length]);
    sliders.forEach((slider, i) => {
      slider.setAttribute("aria-valuetext", data.texts[i][slider.value]);
      slider.nextElementSibling.value = data.texts[i][slider.value];
    });
  };
  sliders.forEach((slider) => slider.addEventListener("input", show));
  root.querySelector(".cb-controls").hidden = false;
  show();
})();"""


@dataclass(frozen=True)
class Slider:
    """One slider of a player.

    Attributes:
        label: What the slider changes, as read beside it.
        values: The values it stops at, numbers or words.
        unit: Unit shown after the value.
        format: Format specification of the value; by default up to 4 digits.
        start: The value shown first (the nearest one of ``values``); by default the first.
    """

    label: str
    values: Sequence[Value]
    unit: str = ""
    format: str = ""
    start: Value | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(v.item() if hasattr(v, "item") else v for v in self.values))
        if len(self.values) < 2:
            raise ValueError(f"slider {self.label!r} needs at least two values, got {len(self.values)}")
        words = [value for value in (*self.values, self.start) if isinstance(value, str)]
        if words and self.start is not None and self.start not in self.values:
            raise ValueError(f"slider {self.label!r} has no value {self.start!r} to start at: it has {self.values}")

    @property
    def texts(self) -> list[str]:
        """Each value as the reader sees it.

        >>> Slider("Shift", [-0.5, 0.0, 0.5], unit="px", format="+.1f").texts
        ['-0.5 px', '+0.0 px', '+0.5 px']
        """
        return [f"{self._text(value)} {self.unit}".rstrip() for value in self.values]

    def _text(self, value: Value) -> str:
        default = ".4g" if isinstance(value, float) else ""
        return format(value, self.format or default)

    @property
    def first(self) -> int:
        """Index of the value shown first."""
        if self.start is None:
            return 0
        if self.start in self.values:
            return self.values.index(self.start)
        return min(range(len(self.values)), key=lambda i: abs(self.values[i] - self.start))


@dataclass(frozen=True, eq=False)
class Player:
    """A picture with one or more sliders; see :func:`play`."""

    draw: Callable[..., Any]
    sliders: tuple[Slider, ...]
    alt: str | Callable[..., str]
    caption: str = ""
    limit_kb: int = 1500
    order: int = field(default_factory=lambda: next(_ORDER))

    def picture(self, *values: Value) -> str:
        """The frame for these slider values, as SVG text."""
        return to_svg(self.draw(*values))

    def describe(self, *values: Value) -> str:
        """The alternative text for these slider values."""
        return self.alt(*values) if callable(self.alt) else self.alt

    @cached_property
    def frames(self) -> list[str]:
        """Every frame, the last slider running fastest."""
        return [self.picture(*values) for values in itertools.product(*(s.values for s in self.sliders))]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if os.environ.get("CALBOOK_RENDER"):
            return {"text/html": self.to_html(), "text/plain": f"<player: {self.sliders[0].label}>"}
        bundle: dict[str, Any] = self.to_widget()._repr_mimebundle_(include=include, exclude=exclude)
        return bundle

    def to_html(self) -> str:
        """The player as a piece of a page: all frames, sliders, and the script that joins them.

        Raises:
            ValueError: The frames weigh more than ``limit_kb``.
        """
        name = "cb-" + hashlib.sha1(f"{self.order}{self.sliders[0].label}".encode()).hexdigest()[:8]
        frames = [rename_ids(frame, name) for frame in self.frames]
        lines, indices = share_lines(frames)
        alts = self._alts()
        data = {"lines": lines, "frames": indices, "texts": [s.texts for s in self.sliders], "alts": alts}
        # "<\/" and "<\!--" keep the browser from ending or hiding the script element early.
        payload = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
        payload = payload.replace("<!--", "\\u003c!--")
        if len(payload) > self.limit_kb * 1024:
            raise ValueError(
                f"player {self.sliders[0].label!r} weighs {len(payload) // 1024} kB (limit {self.limit_kb} kB): "
                f"use fewer than {len(frames)} frames or simpler pictures"
            )
        first = self._first()
        alt = html.escape(alts[first % len(alts)])
        controls = "".join(_control(slider, f"{name}-{i}") for i, slider in enumerate(self.sliders))
        shown = ", ".join(f"{html.escape(s.label)}: {html.escape(s.texts[s.first])}" for s in self.sliders)
        caption = f"<figcaption>{rich(self.caption)}</figcaption>" if self.caption else ""
        return (
            f'<figure class="cb-player" id="{name}">'
            f'<div class="cb-stage" role="img" aria-label="{alt}">{frames[first]}</div>'
            f'<div class="cb-controls" hidden>{controls}</div>'
            f"<noscript><p>The slider needs JavaScript. Shown here: {shown}.</p></noscript>{caption}"
            f'<script type="application/json">{payload}</script><script>{_SCRIPT % name}</script></figure>'
        )

    def _first(self) -> int:
        """Index of the frame shown first."""
        return sum(
            slider.first * math.prod(len(s.values) for s in self.sliders[i + 1 :])
            for i, slider in enumerate(self.sliders)
        )

    def _alts(self) -> list[str]:
        """One description for all frames, or one for each."""
        if not callable(self.alt):
            return [self.alt]
        return [self.describe(*values) for values in itertools.product(*(s.values for s in self.sliders))]

    def to_widget(self) -> Any:
        """The player for a live notebook: the same frames, drawn when they are asked for."""
        import ipywidgets

        picture = ipywidgets.HTML()
        sliders = [
            ipywidgets.SelectionSlider(
                options=list(zip(s.texts, s.values, strict=True)),
                value=s.values[s.first],
                description=s.label,
                style={"description_width": "initial"},
                layout={"width": "min(100%, 36em)"},
            )
            for s in self.sliders
        ]

        def show(_: Any = None) -> None:
            values = [slider.value for slider in sliders]
            alt = html.escape(self.describe(*values))
            picture.value = f'<div class="cb-stage" role="img" aria-label="{alt}">{self.picture(*values)}</div>'

        for slider in sliders:
            slider.observe(show, names="value")
        show()
        return ipywidgets.VBox([picture, *sliders])


def play(
    draw: Callable[..., Any],
    values: Sequence[Value],
    *,
    label: str,
    alt: str | Callable[..., str],
    unit: str = "",
    format: str = "",
    start: Value | None = None,
    also: Slider | None = None,
    caption: str = "",
    limit_kb: int = 1500,
) -> Player:
    """A picture that follows a slider, in a page and in a live notebook.

    Args:
        draw: Called with one value (two with ``also``); returns a matplotlib figure or SVG text.
        values: The values the slider stops at.
        label: What the slider changes.
        alt: What the picture shows, for those who cannot see it: text, or a function of the value.
        unit: Unit shown after the value.
        format: Format specification of the value, such as ``"+.2f"``.
        start: The value shown first; by default the first one.
        also: A second slider; ``draw`` then takes its value as second argument.
        caption: Text below the sliders; may hold ``$...$`` and `` `code` ``.
        limit_kb: Largest weight of all frames together in the page.

    Example:
        >>> square = '<svg viewBox="0 0 9 9"><rect width="{}" height="9"/></svg>'
        >>> player = play(square.format, [1, 5, 9], label="Width", alt="A bar.", unit="px")
        >>> player.picture(5)
        '<svg viewBox="0 0 9 9"><rect width="5" height="9"/></svg>'
    """
    if not (alt if isinstance(alt, str) else callable(alt)):
        raise ValueError(f"player {label!r} needs an alternative text (alt=...)")
    sliders = (Slider(label, values, unit, format, start),) + ((also,) if also else ())
    return Player(draw, sliders, alt, caption, limit_kb)


def _control(slider: Slider, name: str) -> str:
    """Label, slider and value of one parameter."""
    text = html.escape(slider.texts[slider.first])
    return (
        f'<div class="cb-control"><label for="{name}">{html.escape(slider.label)}</label>'
        f'<input type="range" id="{name}" min="0" max="{len(slider.values) - 1}" step="1" '
        f'value="{slider.first}" autocomplete="off" aria-valuetext="{text}">'
        f'<output for="{name}" aria-live="off">{text}</output></div>'
    )
