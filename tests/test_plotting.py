"""What the figures draw, what they refuse, and what a cell puts into a page."""

import io
import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes

from calbook import page, plotting, quantization
from calbook.skeletons import COCO, LSP, from_category


@pytest.fixture
def axes() -> Axes:
    mpl.use("agg")
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(color)]
    return float(np.dot(channels, [0.2126, 0.7152, 0.0722]))


def test_lines_have_enough_contrast_on_the_ground_of_the_figures() -> None:
    """3 : 1 for graphics (WCAG 2.1, 1.4.11), 7 : 1 for text."""
    ground = luminance(plotting.PAPER)
    for name, color in plotting.COLORS.items():
        assert (ground + 0.05) / (luminance(color) + 0.05) > (7 if name == "ink" else 3), name


def test_left_and_right_differ_for_every_kind_of_colour_vision() -> None:
    """The simulation of Machado et al. 2009 at full severity."""
    matrices = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    for matrix in matrices.values():
        seen = {n: np.array(matrix) @ np.array(mpl.colors.to_rgb(plotting.COLORS[n])) for n in ("blue", "orange")}
        assert np.abs(seen["blue"] - seen["orange"]).max() > 0.2


def test_style_sets_an_opaque_light_ground() -> None:
    with mpl.rc_context():
        plotting.use_book_style()
        figure = plt.figure()
        text = io.StringIO()
        figure.savefig(text, format="svg")
        plt.close(figure)
    assert figure.get_facecolor() == mpl.colors.to_rgba(plotting.PAPER)
    assert plotting.PAPER.lower() in text.getvalue().lower()


def test_pose_draws_only_what_is_labelled(axes: Axes) -> None:
    joints = torch.arange(34.0).reshape(17, 2)
    visible = torch.full((17,), 2)
    visible[15], visible[16] = 0, 1  # no left ankle, hidden right ankle
    plotting.draw_pose(axes, joints, visible)
    limbs, *dots = axes.collections
    assert len(limbs.get_segments()) == len(COCO.limbs) - 1
    assert len(dots) == 16
    hidden = dots[-1]
    assert mpl.colors.same_color(hidden.get_facecolor()[0], plotting.PAPER)
    assert mpl.colors.same_color(hidden.get_edgecolor()[0], plotting.COLORS["orange"])


def test_pose_of_any_skeleton_colours_the_sides(axes: Axes) -> None:
    plotting.draw_pose(axes, np.zeros((14, 2)), skeleton=LSP, size=0)
    (limbs,) = axes.collections
    drawn = dict(zip(LSP.limbs, limbs.get_colors(), strict=True))
    for limb, side in {(0, 1): "orange", (3, 4): "blue", (12, 13): "grey", (8, 12): "orange", (2, 3): "grey"}.items():
        assert mpl.colors.same_color(drawn[limb], plotting.COLORS[side]), limb


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda axes: plotting.draw_pose(axes, np.zeros((16, 2))), "has 17 joints"),
        (lambda axes: plotting.show_picture(axes, np.zeros((8, 6, 3))), r"\(3, H, W\)"),
        (lambda axes: plotting.show_heatmap(axes, np.zeros((17, 8, 6))), "choose one joint"),
        (lambda axes: plotting.draw_offsets(axes, np.zeros((8, 6))), r"\(2, h, w\)"),
    ],
)
def test_wrong_shapes_are_named(axes: Axes, draw: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(axes)


def test_heatmap_puts_pixel_centres_at_integers(axes: Axes) -> None:
    image = plotting.show_heatmap(axes, torch.eye(4)[:, :3])
    assert tuple(image.get_extent()) == (-0.5, 2.5, 3.5, -0.5)
    lines = axes.collections[0].get_segments()
    assert len(lines) == (4 + 1) + (3 + 1)
    assert {float(line[0, 0]) for line in lines if line[0, 0] == line[1, 0]} == {-0.5, 0.5, 1.5, 2.5}


def test_offset_arrows_end_on_the_joint(axes: Axes) -> None:
    """Arrow start plus arrow is the joint, for every pixel of the mask."""
    joint = torch.tensor([4.3, 2.6])
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    field = joint[:, None, None] - torch.stack([x, y])
    mask = (field.norm(dim=0) <= 2).float()
    arrows = plotting.draw_offsets(axes, field, mask)
    assert int(mask.sum()) == arrows.N
    ends = np.stack([arrows.X + arrows.U, arrows.Y + arrows.V], 1)
    np.testing.assert_allclose(ends, np.tile([4.3, 2.6], (arrows.N, 1)), atol=1e-5)


def test_an_empty_mask_draws_no_arrows(axes: Axes) -> None:
    assert plotting.draw_offsets(axes, torch.zeros(2, 4, 4), torch.zeros(4, 4)).N == 0
    axes.figure.canvas.draw()


def test_source_is_the_package_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    page.show_source(quantization.shift_share)
    shown = capsys.readouterr().out
    assert shown.startswith("# calbook/quantization.py\ndef shift_share")
    assert "(width - 3, 0)" in shown


def test_table_as_text_and_as_page(capsys: pytest.CaptureFixture[str]) -> None:
    page.show_table(["size", "error"], [["64x48", 0.38264], ["<b>", None]], "Errors")
    assert capsys.readouterr().out.splitlines() == ["Errors", "size   error", "64x48  0.3826", "<b>    –"]
    text = page._html_table(["size", "error", "at"], [["64x48", "0.38 ± 0.1", "a"], ["<b>", "–", "b"]], "A & B")
    assert "&lt;b&gt;" in text
    assert "A &amp; B" in text
    assert [text.count('scope="row"'), text.count('scope="col"')] == [2, 3]
    assert '<td style="text-align:right;white-space:nowrap">0.38 ± 0.1</td>' in text  # figures stay on one line
    assert '<td style="text-align:left">b</td>' in text


def test_table_rows_fit_the_headings() -> None:
    with pytest.raises(ValueError, match="1 cells under 2 headings"):
        page.show_table(["a", "b"], [["only one"]])


@pytest.mark.parametrize("digits", [1, 3])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.25, 9.996e-4, 1.1e-3, 2.34e-7, 5e-300, -4.2e-5, 123456.0])
def test_a_figure_with_a_power_of_ten_reads_as_the_number(value: float, digits: int) -> None:
    text = page.power_of_ten(value, digits)
    plain = text.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    read = float(plain.replace("·10", "e"))
    assert read == pytest.approx(value, rel=0.51 * 10.0 ** (1 - digits), abs=0)
    assert ("·10" in text) == (0 < abs(value) < 1e-3 or abs(value) >= 10**digits)


def test_sides_agree_with_the_skeleton() -> None:
    for skeleton in (COCO, from_category(["LKnee", "RKnee", "knee_l", "knee_r", "nose"])):
        for index, partner in enumerate(skeleton.mirror):
            sides = {plotting.side_of(skeleton.joints[index]), plotting.side_of(skeleton.joints[partner])}
            assert sides == ({"grey"} if index == partner else {"blue", "orange"})


def test_cycle_has_a_line_style_of_its_own_for_every_colour() -> None:
    """Lines can be told apart without colour."""
    styles = [entry["linestyle"] for entry in plotting.STYLE["axes.prop_cycle"]]
    assert all(a != b for a, b in itertools.combinations(styles, 2))
