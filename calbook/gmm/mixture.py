"""The mixture itself: its density, its features and its criteria.

A point x enters every formula through its features phi = (1, x, y, xx, xy, yy):
the log density of a Gaussian is linear in them, log N(x) = phi . theta.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Mixture(NamedTuple):
    """A mixture of M bivariate Gaussians (equation 12), in float64 where the device has it.

    Attributes:
        weights: ``(M,)``, summing to one.
        means: ``(M, 2)`` as (x, y) in heatmap pixels.
        covariances: ``(M, 2, 2)`` in heatmap pixels squared.
        log_likelihood: Mean log density of the displacements fitted, scalar; 0 of a
            fallback.
        samples: How many displacements were fitted (their total weight), scalar.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor
    log_likelihood: Tensor
    samples: Tensor


def precise(device: torch.device) -> torch.dtype:
    """The dtype of the fit: float64, or float32 on devices without it."""
    return torch.float32 if device.type == "mps" else torch.float64


def features(points: Tensor) -> Tensor:
    """Features (1, x, y, xx, xy, yy) of points ``(..., 2)``, as ``(..., 6)``."""
    x, y = points.unbind(-1)
    return torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], dim=-1)


def moments(statistics: Tensor) -> tuple[Tensor, Tensor]:
    """Means ``(..., 2)`` and covariances ``(..., 2, 2)`` of averaged features ``(..., 6)``."""
    mean = statistics[..., 1:3]
    square = statistics[..., [3, 4, 4, 5]].reshape(*mean.shape, 2)  # (..., 4) -> (..., 2, 2)
    return mean, square - mean[..., :, None] * mean[..., None, :]


def coefficients(weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    """The theta ``(..., 6)`` with phi(x) . theta = log(pi N(x | mu, Sigma)).

    With P the inverse of Sigma: -1/2 (x - mu)' P (x - mu) - log(2 pi) + 1/2 log det P + log pi.

    Args:
        weights: ``(...)``.
        means: ``(..., 2)``.
        covariances: ``(..., 2, 2)``, positive definite.
    """
    a, b, c = covariances[..., 0, 0], covariances[..., 0, 1], covariances[..., 1, 1]
    determinant = a * c - b * b
    pa, pb, pc = c / determinant, -b / determinant, a / determinant
    mx, my = means.unbind(-1)
    lx, ly = pa * mx + pb * my, pb * mx + pc * my  # P mu
    constant = weights.clamp(min=torch.finfo(weights.dtype).tiny).log() - math.log(2 * math.pi)
    constant = constant - 0.5 * (determinant.log() + lx * mx + ly * my)
    quadratic = [part.expand_as(constant) for part in (-0.5 * pa, -pb, -0.5 * pc)]
    return torch.stack([constant, lx, ly, *quadratic], dim=-1)


def log_density(mixture: Mixture, points: Tensor) -> Tensor:
    """Log of the mixture's density (equation 12) at points ``(..., 2)``, as ``(...)``.

    >>> zero = torch.zeros(1, dtype=torch.float64)
    >>> unit = Mixture(zero + 1, torch.zeros(1, 2).double(), torch.eye(2)[None].double(), zero, zero)
    >>> round(float(log_density(unit, torch.zeros(2)).exp()), 4)  # 1 / (2 pi)
    0.1592
    """
    theta = coefficients(mixture.weights, mixture.means, mixture.covariances)
    joint = features(points.to(theta.dtype)) @ theta.T  # (..., M)
    return joint[..., 0] if len(theta) == 1 else torch.logsumexp(joint, dim=-1)


def _freedom(mixture: Mixture) -> int:
    """Free parameters: M - 1 weights, 2 M means, 3 M covariances."""
    return 6 * len(mixture.weights) - 1


def bic(mixture: Mixture) -> Tensor:
    """Bayesian information criterion on the data of the fit, -2 L + p ln N; lower is better."""
    return _freedom(mixture) * mixture.samples.clamp(min=1).log() - 2 * mixture.samples * mixture.log_likelihood


def aic(mixture: Mixture) -> Tensor:
    """Akaike information criterion on the data of the fit, -2 L + 2 p; lower is better."""
    return 2 * _freedom(mixture) - 2 * mixture.samples * mixture.log_likelihood
