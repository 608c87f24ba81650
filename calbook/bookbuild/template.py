"""A new chapter with all its parts in place, that runs as it is."""

import re

import nbformat.v4 as make

from calbook.bookbuild.book import Book, BookError
from calbook.bookbuild.notebooks import Notebook, to_bytes
from calbook.results import write_atomically

SETUP = """import matplotlib.pyplot as plt
import numpy as np
import torch
from calbook import plotting
plotting.use_book_style()"""
GOALS = """**You will learn**

- the first thing,
- the second,
- and the third.

**Before you start** you should know what a heatmap is ({doc}`/book/04_heatmaps`).

Reading takes about 20 minutes; the chapter was executed in {{ run_time }}."""
SECTION = """## The first idea

The problem in words. Then the mathematics, numbered, with the number of the paper's equation where there is one:

$$
y = x^2
$$ (eq-LABEL-square)

and the code that computes {eq}`eq-LABEL-square`, with what it shows below."""
FIGURE = """x = np.linspace(0, 1, points)
figure, ax = plt.subplots(figsize=(6.4, 3.0))
ax.plot(x, x**2, color=plotting.COLORS["blue"])
ax.set(xlabel="x (heatmap px)", ylabel="y (squared heatmap px)")
plt.show()"""
TASKS = ("a check", "a derivation", "a small research question")
QUIZ = """from calbook.interactive import quiz

quiz(
    [
        {
            "question": "What is the question?",
            "options": [
                ("This answer.", True, "Say why it is right."),
                ("That answer.", False, "Say why it is wrong, and what would have to be so that it were right."),
            ],
        },
    ]
)"""
CLOSING = """## References and where to go next

The method is that of {cite:t}`wang2022cal`. The next chapter goes on from here."""


def new_chapter(book: Book, name: str, title: str) -> str:
    """Write ``book/<name>.ipynb`` and say what is left to do.

    Args:
        book: The book that gets a chapter.
        name: Two digits, an underscore and words: ``20_your_subject``.
        title: What stands over the chapter.

    Raises:
        BookError: The name is not of that form, is taken, or the title is missing.
    """
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", name):
        raise BookError(f"{name!r} is not a chapter's name: two digits, an underscore, small letters: 20_your_subject")
    if not title.strip():
        raise BookError(f'{name} needs a title: python -m calbook.bookbuild new {name} "Your subject"')
    taken = [path.name for path in (book.root / "book").glob(f"{name[:2]}_*.ipynb")]
    if taken:
        raise BookError(f"the number {name[:2]} is taken by {taken[0]}")
    write_atomically(book.root / "book" / f"{name}.ipynb", to_bytes(beginning(name, title.strip())))
    return f"book/{name}.ipynb is there; add it to _toc.yml and to the list in book/index.ipynb"


def beginning(name: str, title: str) -> Notebook:
    """The notebook that a new chapter begins with, part by part."""
    label = name.replace("_", "-")
    question = "What is asked here, in a sentence. Why the answer matters, in another."
    cells = [
        make.new_markdown_cell(f"# {title}\n\n{question}"),
        make.new_markdown_cell(GOALS),
        make.new_code_cell(SETUP),
        make.new_code_cell("points: int = 50  # how many are drawn", metadata={"tags": ["parameters"]}),
        make.new_markdown_cell(SECTION.replace("LABEL", label)),
        make.new_code_cell(FIGURE, metadata={"mystnb": _words(label)}),
        make.new_markdown_cell("What the figure shows, and what would have surprised us."),
        make.new_markdown_cell("## What can go wrong\n\nShow it by causing it."),
        make.new_code_cell("assert (x**2)[-1] == 1"),
        make.new_markdown_cell("## Summary\n\n| | |\n| --- | --- |\n| question | answer |"),
        make.new_markdown_cell("## Exercises"),
    ]
    for number, kind in enumerate(TASKS, start=1):
        cells += _exercise(f"ex-{label}-{number}", kind)
    cells += [
        make.new_markdown_cell("## Quiz"),
        make.new_code_cell(QUIZ, metadata={"tags": ["hide-input"]}),
        make.new_markdown_cell(CLOSING),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"{label[:40]}-{number:02d}"  # the same each time
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return make.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _words(label: str) -> dict[str, dict[str, str]]:
    """Caption, label and alternative text of the opening figure."""
    alt = "A blue line that rises from 0 to 1, slowly first and then faster: the square of x."
    return {"image": {"alt": alt}, "figure": {"caption": "The square of x.", "name": f"fig-{label}"}}


def _exercise(label: str, kind: str) -> list[Notebook]:
    """An exercise, and a solution to unfold whose code checks itself."""
    text = f"```{{exercise}} Title\n:label: {label}\n\nThe task, {kind}. *Self-check:* the value is 4.\n```"
    begin = f"```{{solution-start}} {label}\n:class: dropdown\n```\n\nHow to see it, in a sentence."
    return [
        make.new_markdown_cell(text),
        make.new_markdown_cell(begin),
        make.new_code_cell("value = 2 + 2\nassert value == 4\nvalue", metadata={"tags": ["hide-input"]}),
        make.new_markdown_cell("```{solution-end}\n```"),
    ]
