"""Figures of the book, and what else a cell puts into a page.

Every figure of the book is drawn in one style: colours that people with any
colour vision can tell apart (Okabe and Ito, *Color Universal Design*, 2008), an
opaque light background, so that a figure reads the same on a light and on a dark
page, and vector graphics. The functions draw into axes that the caller made.

Axes are in pixels with pixel centres at integers: pixel (i, j) covers the
square from (j - 1/2, i - 1/2) to (j + 1/2, i + 1/2).
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from cycler import cycler
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from matplotlib.quiver import Quiver
from numpy.typing import NDArray
from torch import Tensor

from calbook import skeletons
from calbook.page import say, show_provenance, show_source, show_table
from calbook.skeletons import COCO, Skeleton

__all__ = [
    "COLORS", "GRID", "PAPER", "STYLE", "bare_axes", "draw_offsets", "draw_pixel_grid", "draw_pose",
    "say", "show_heatmap", "show_picture", "show_provenance", "show_source", "show_table", "side_of", "to_array",
    "use_book_style",
]  # fmt: skip

Array = NDArray[Any]

# Okabe and Ito's colours, without the yellow that vanishes on a light ground.
COLORS = {
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#00805F",
    "purple": "#A8518A",
    "amber": "#B97A00",
    "sky": "#3A8FC2",
    "ink": "#1B1F24",
    "grey": "#6B7280",
}
SIDE_COLORS = {"left": "blue", "right": "orange", "middle": "grey"}
PAPER = "#FCFCFA"  # ground of every figure
GRID = "#D9D9D4"

_CYCLE = cycler(color=[COLORS[name] for name in ("blue", "orange", "green", "purple", "amber", "ink")]) + cycler(
    linestyle=["-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1))]
)

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLORS["grey"],
    "axes.facecolor": PAPER,
    "axes.grid": False,
    "axes.labelcolor": COLORS["ink"],
    "axes.labelsize": 11,
    "axes.prop_cycle": _CYCLE,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.facecolor": PAPER,
    "figure.figsize": (6.6, 3.6),
    "font.size": 11,
    "grid.color": GRID,
    "image.cmap": "magma",
    "image.interpolation": "nearest",
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.5,
    "savefig.facecolor": PAPER,
    "svg.hashsalt": "calbook",  # the same picture gives the same file
    "text.color": COLORS["ink"],
    "xtick.color": COLORS["ink"],
    "xtick.labelsize": 10,
    "ytick.color": COLORS["ink"],
    "ytick.labelsize": 10,
}


def use_book_style() -> None:
    """Set the style of the book's figures, as vector graphics in a notebook."""
    style.use(STYLE)
    if "IPython" not in sys.modules:
        return
    from IPython.core.getipython import get_ipython

    if get_ipython() is None:
        return
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("svg", metadata={"Date": None})  # no time stamp


def to_array(values: Tensor | Array | Sequence[Any]) -> Array:
    """A numpy array of a tensor on any device, or of anything array-like."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def bare_axes(axes: Axes) -> None:
    """Take ticks and frame off axes that show a picture."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def show_picture(axes: Axes, picture: Tensor | Array) -> AxesImage:
    """Show a picture ``(3, H, W)`` with values in [0, 1]; one pixel is one flat square.

    >>> from matplotlib.figure import Figure
    >>> tuple(show_picture(Figure().add_subplot(), np.zeros((3, 8, 6))).get_extent())
    (-0.5, 5.5, 7.5, -0.5)
    """
    values = to_array(picture)
    if values.ndim != 3 or values.shape[0] != 3:
        raise ValueError(f"a picture is (3, H, W), got {values.shape}")
    image = axes.imshow(values.transpose(1, 2, 0).clip(0, 1))  # (H, W, 3)
    bare_axes(axes)
    return image


def side_of(name: str) -> str:
    """The colour of a joint by its name, as ``skeletons.side_of`` reads it: left blue, right orange, middle grey.

    >>> side_of("left_knee"), side_of("RKnee"), side_of("nose")
    ('blue', 'orange', 'grey')
    """
    return SIDE_COLORS[skeletons.side_of(name)]


def draw_pose(
    axes: Axes,
    joints: Tensor | Array,
    visible: Tensor | Array | None = None,
    skeleton: Skeleton = COCO,
    *,
    color: str | None = None,
    size: float = 18,
    width: float = 2.0,
) -> None:
    """Draw one person: limbs as lines, seen joints filled, hidden joints hollow.

    The person's left side is blue, the right orange, so that swapped sides show.

    Args:
        axes: Where to draw, in the pixels of ``joints``.
        joints: ``(K, 2)`` as (x, y).
        visible: ``(K,)`` in COCO's code; None means that all are visible.
        skeleton: Names and limbs of the K joints.
        color: One colour for the whole person instead of the sides' colours.
        size: Area of a joint's dot in square points; 0 draws limbs only.
        width: Width of a limb in points.
    """
    points = to_array(joints)
    if points.shape != (skeleton.num_joints, 2):
        raise ValueError(f"skeleton {skeleton.name!r} has {skeleton.num_joints} joints, got {points.shape}")
    seen = np.full(len(points), 2) if visible is None else to_array(visible)
    limbs = [(a, b) for a, b in skeleton.limbs if seen[a] > 0 and seen[b] > 0]
    lines = LineCollection(
        [points[[a, b]] for a, b in limbs],
        colors=[color or COLORS[SIDE_COLORS[skeletons.side_of_limb(skeleton, a, b)]] for a, b in limbs],
        linewidths=width,
        capstyle="round",
    )
    axes.add_collection(lines)
    for index in np.flatnonzero(seen > 0) if size > 0 else ():
        tone = color or COLORS[side_of(skeleton.joints[index])]
        fill = tone if seen[index] > 1 else PAPER
        axes.scatter(
            points[index, 0], points[index, 1], s=size, facecolor=fill, edgecolor=tone, linewidth=1.2, zorder=3
        )


def show_heatmap(
    axes: Axes, heatmap: Tensor | Array, *, maximum: float | None = 1.0, cmap: str = "magma", grid: bool = True
) -> AxesImage:
    """Show one heatmap ``(h, w)`` in its own pixels, with the pixel borders.

    Args:
        axes: Where to draw.
        heatmap: Values ``(h, w)``.
        maximum: Value of the brightest colour; None takes the map's own maximum.
        cmap: Colour map.
        grid: Whether to draw the borders between pixels.
    """
    values = to_array(heatmap)
    if values.ndim != 2:
        raise ValueError(f"a heatmap is (h, w), got {values.shape}: choose one joint of one person")
    image = axes.imshow(values, vmin=0, vmax=maximum, cmap=cmap)
    if grid:
        draw_pixel_grid(axes, (values.shape[0], values.shape[1]), color="white", alpha=0.25)
    axes.spines[:].set_visible(False)
    return image


def draw_pixel_grid(
    axes: Axes,
    size: tuple[int, int],
    *,
    scale: tuple[float, float] = (1.0, 1.0),
    color: str = "white",
    alpha: float = 0.6,
    width: float = 0.6,
) -> None:
    """Draw the borders of a grid of pixels, for example of a heatmap over its picture.

    Args:
        axes: Where to draw.
        size: Height and width of the grid in its own pixels.
        scale: (x, y) axes units per grid pixel, ``geometry.stride`` to lay a heatmap over its input.
        color: Colour of the lines.
        alpha: Opacity of the lines.
        width: Width of the lines in points.
    """
    (high, wide), (x, y) = size, scale
    columns = (np.arange(wide + 1) - 0.5) * x
    rows = (np.arange(high + 1) - 0.5) * y
    lines = [[(c, rows[0]), (c, rows[-1])] for c in columns] + [[(columns[0], r), (columns[-1], r)] for r in rows]
    # The outer borders reach beyond the last pixel centres: they must not move the limits of a picture.
    axes.add_collection(LineCollection(lines, colors=color, alpha=alpha, linewidths=width), autolim=False)


def draw_offsets(
    axes: Axes, offsets: Tensor | Array, mask: Tensor | Array | None = None, *, step: int = 1, color: str | None = None
) -> Quiver:
    """Draw an offset field: an arrow from each pixel to where it says the joint is.

    Args:
        axes: Where to draw, in heatmap pixels, y downwards.
        offsets: ``(2, h, w)`` as (x, y) in heatmap pixels.
        mask: ``(h, w)``; arrows are drawn where it is above 0, fainter where it is small. None draws all.
        step: Draw every step-th pixel.
        color: Colour of the arrows.
    """
    field = to_array(offsets)
    if field.ndim != 3 or field.shape[0] != 2:
        raise ValueError(f"an offset field is (2, h, w), got {field.shape}")
    weight = np.ones(field.shape[1:]) if mask is None else to_array(mask).clip(0, 1)
    chosen = np.zeros(field.shape[1:], dtype=bool)
    chosen[::step, ::step] = True
    y, x = np.nonzero(chosen & (weight > 0))
    return axes.quiver(
        x,
        y,
        field[0, y, x],
        field[1, y, x],
        angles="xy",
        scale_units="xy",
        scale=1,
        color=color or COLORS["blue"],
        alpha=0.25 + 0.75 * weight[y, x] if len(x) else None,  # no arrows take no list of opacities
        width=0.006,
    )
