"""Figures with sliders and quizzes that need neither a kernel nor a network.

One Python function draws a picture for one value. In a rendered page its frames
are stored beside a slider and a few lines of plain JavaScript swap them; in a
live notebook the same function is called by an ipywidgets slider. So there is
one thing to test, and the picture always moves with the slider.

The environment variable ``CALBOOK_RENDER`` (set by :mod:`calbook.bookbuild`)
chooses between the two.
"""

from calbook.interactive.player import Player, Slider, play
from calbook.interactive.quiz import Quiz, quiz

__all__ = ["Player", "Quiz", "Slider", "play", "quiz"]
