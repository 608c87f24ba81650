"""Judging a built page with axe-core: what stops or greatly hinders a reader."""

from typing import Any

from built_pages import DESKTOP, PHONE, SET_MODE

# Every button is shown, and colours change at once.
# Pictures are one thing to a reader who cannot see them (their labels stay), and a token of code looks like the others
# of its kind: what is left out here says nothing new, and takes minutes to judge.
_LESS = """() => {
  const top = document.querySelector("#pst-back-to-top");
  if (top) top.style.display = "block";  // else only where the reader has scrolled
  const still = Object.assign(document.createElement("style"), {textContent: "* { transition: none !important }"});
  document.head.append(still);
  const drawn = "[role=img] svg > *, svg[role=img] > *, mjx-container > svg > *";
  document.querySelectorAll(drawn).forEach((e) => e.remove());
  for (const code of document.querySelectorAll(".highlight pre")) {
    const seen = new Set();
    for (const span of code.querySelectorAll("span"))
      if (seen.has(span.className)) span.replaceWith(...span.childNodes); else seen.add(span.className);
    code.normalize();
  }
}"""
# Contrast is what axe-core takes most of its time for. It is the same for all text of a kind: with the same elements,
# classes, colours and sizes from the top of the page down to it. One of each kind is judged, and once: where the page
# turns narrow or dark, what looks different now.
_JUDGE = """async (contrast) => {
  const kinds = () => {
    const {numbers, judged} = window.judgedKinds ??= {numbers: new Map(), judged: new Set()};
    const ids = new Map(), chosen = [];
    const kind = (element) => {
      if (!element) return 0;
      if (!ids.has(element)) {
        const s = getComputedStyle(element), above = kind(element.parentElement);
        const look = [s.color, s.backgroundColor, s.backgroundImage, s.opacity, s.fontSize, s.fontWeight];
        const key = [above, element.tagName, element.className, ...look].join("|");
        if (!numbers.has(key)) numbers.set(key, numbers.size + 1);
        ids.set(element, numbers.get(key));
      }
      return ids.get(element);
    };
    for (const element of document.querySelectorAll("body *:not(svg *):not(script):not(noscript):not(style)")) {
      const says = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
      if (!(says || element.matches("input, select, textarea")) || !element.checkVisibility()) continue;
      if (!judged.has(kind(element))) chosen.push(element);
      judged.add(kind(element));
    }
    return chosen;
  };
  const only = contrast ? {runOnly: ["color-contrast"]} : {rules: {"color-contrast": {enabled: false}}};
  const where = contrast ? {include: kinds()} : document;
  if (contrast && !where.include.length) return [];
  const {violations} = await axe.run(where, {resultTypes: ["violations"], preload: false, ...only});
  return violations.filter((v) => ["serious", "critical"].includes(v.impact))
    .flatMap((v) => v.nodes.map((n) => `${v.id}: ${v.help}: ${n.html.slice(0, 120)} at ${n.target.join(" ")}`));
}"""
_ADAPTED = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))"


def serious_findings(tab: Any, axe: str) -> list[str]:
    """What axe-core finds on a page, wide and narrow, light and dark; the milder findings are matters of taste.

    The page is not fit for other tests afterwards: what says nothing new was taken away.
    """
    tab.evaluate(_LESS)
    tab.evaluate(axe)
    findings: list[str] = []
    for viewport in (DESKTOP, PHONE):
        tab.set_viewport_size(viewport)
        tab.evaluate(_ADAPTED)
        findings += tab.evaluate(_JUDGE, False)
        for mode in ("dark", "light"):  # which changes nothing but colours
            tab.evaluate(SET_MODE, mode)
            findings += tab.evaluate(_JUDGE, True)
    return findings
