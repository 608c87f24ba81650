"""Where the tensors of SPSR's published checkpoints belong.

A published checkpoint holds two things besides: ``get_g_nopadding``, the constant
kernels of the gradient map, which have no place here; and ``HR_conv0_new`` a second
time, as ``model.8``.
"""

from itertools import product

_DENSE = list(product(range(1, 4), range(1, 6)))  # the three dense blocks of an RRDB and their five convolutions


def _rrdb(published: str, ours: str) -> tuple[tuple[str, str], ...]:
    """Rules for an RRDB, with the patterns of its place in both."""
    return tuple((rf"{published}\.RDB{j}\.conv{k}\.0\.", rf"{ours}.dense.{j - 1}.convs.{k - 1}.") for j, k in _DENSE)


SPSR_RULES: tuple[tuple[str, str], ...] = (
    *_rrdb(r"model\.1\.sub\.(\d+)", r"blocks.\1"),
    *(rule for i in range(4) for rule in _rrdb(f"b_block_{i + 1}", f"guides.{i}.0")),
    *_rrdb("f_block", "fuse.0"),
    (r"model\.0\.", "read."),
    (r"model\.1\.sub\.\d+\.", "after_blocks."),  # what is no RRDB in there is the convolution at its end
    (r"model\.3\.", "enlarge.1."),
    (r"model\.6\.", "enlarge.4."),
    (r"(?:model\.8|HR_conv0_new\.0)\.", "detail.0."),
    (r"HR_conv1_new\.0\.", "detail.2."),
    (r"b_fea_conv\.0\.", "read_gradient."),
    *((rf"b_concat_{i + 1}\.0\.", f"guides.{i}.1.") for i in range(4)),
    (r"b_LR_conv\.0\.", "after_guides."),
    (r"b_module\.1\.", "enlarge_gradient.1."),
    (r"b_module\.4\.", "enlarge_gradient.4."),
    (r"b_module\.6\.", "gradient_detail.0."),
    (r"b_module\.8\.", "gradient_detail.2."),
    (r"conv_w\.0\.", "draw_gradient."),
    (r"f_concat\.0\.", "fuse.1."),
    (r"f_HR_conv0\.0\.", "draw.0."),
    (r"f_HR_conv1\.0\.", "draw.2."),
)
