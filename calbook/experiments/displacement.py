"""Displacements of a network's coarse predictions: how wide, how Gaussian, of how many kinds (Figure 5)."""

from typing import Any

import torch
from torch import Tensor

from calbook import geometry, gmm
from calbook.codecs import Codec
from calbook.data.coco import CocoPeople
from calbook.data.crops import person_crops

REACH = 4.0  # heatmap pixels that the histograms show, to each side
BINS = 33
MOST = 3  # components that are tried


def displacements(coarse: Tensor, people: CocoPeople, codec: Codec) -> Tensor:
    """Coarse predictions minus truth, ``(M, 2)`` in heatmap pixels, of all labelled joints.

    Args:
        coarse: ``(N, K, 2)`` in picture pixels, row i of person i, read by argmax.
        people: The persons.
        codec: The method's, for its sizes and convention.
    """
    matrices = geometry.crop_matrix(
        person_crops(people, codec.input_size), codec.input_size, convention=codec.convention
    )

    def on_map(points: Tensor) -> Tensor:
        return codec.to_heatmap(geometry.transform(points, matrices.to(points)))

    return (on_map(coarse) - on_map(people.joints.to(coarse)))[people.visible > 0]


def describe(moves: Tensor) -> dict[str, Any]:
    """Figures of displacements ``(M, 2)``; kurtosis is in excess of a Gaussian's, likelihoods are per joint.

    >>> figures = describe(torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)))
    >>> round(figures["spread_x"], 1), abs(figures["kurtosis_x"]) < 0.3
    (1.0, True)
    """
    moves = moves.double()
    figures: dict[str, Any] = {"joints": len(moves), "beyond_mask": (moves.abs() > 3.5).any(1).double().mean().item()}
    for axis, values in zip("xy", moves.T, strict=True):
        spread = values.std().clamp(min=1e-12)
        figures[f"mean_{axis}"], figures[f"spread_{axis}"] = values.mean().item(), spread.item()
        figures[f"kurtosis_{axis}"] = (((values - values.mean()) / spread) ** 4).mean().item() - 3
        figures[f"histogram_{axis}"] = torch.histc(values, BINS, -REACH, REACH).tolist()
        middle = (values - values.median()).abs().median()
        figures[f"robust_spread_{axis}"] = 1.4826 * middle.item()  # of a Gaussian the same as the spread
    for count in range(1, MOST + 1):
        if len(moves) <= 2 * count:
            break
        mixture = gmm.fit(moves, n_components=count)
        figures[f"likelihood_{count}"] = gmm.log_density(mixture, moves).mean().item()
        figures[f"weights_{count}"] = mixture.weights.tolist()
        figures[f"spreads_{count}"] = mixture.covariances.diagonal(dim1=-2, dim2=-1).mean(-1).sqrt().tolist()
    return figures
