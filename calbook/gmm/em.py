"""Fitting: closed form for one component, expectation-maximisation for more.

Weighted sums of the features (see ``calbook.gmm.mixture``) are all that the M step
needs. So a step of EM is two small matrix products, and processes that share a
mini-batch exchange six numbers per component. Everything runs on the device of
the displacements; on a GPU nothing waits for the host.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from calbook.gmm.mixture import Mixture, aic, bic, coefficients, features, moments, precise
from calbook.options import check_choice

Criterion = Literal["bic", "aic"]

REGULARIZATION = 1e-6  # added to the diagonal of each covariance, pixels^2 (scikit-learn's reg_covar)
SLACK = 1e-8  # fall of the mean log-likelihood that the regularisation may cause; more, and a step is not taken
FARTHEST = 1e4  # displacements beyond this many pixels are errors of the caller and are passed over
FEWEST = 2  # displacements that a fit needs; with fewer the fallback is returned
REVIVAL = 1e-3  # smallest weight of a component at the start, so that a warm start cannot be stuck
NOTHING = 1e-12  # a component with less than this total responsibility keeps its mean and covariance


@torch.no_grad()
def fit(
    displacements: Tensor,
    n_components: int = 1,
    *,
    weights: Tensor | None = None,
    start: Mixture | None = None,
    max_iter: int = 100,
    tol: float = 1e-3,
    regularization: float = REGULARIZATION,
    group: dist.ProcessGroup | None = None,
) -> Mixture:
    """Fit a mixture to displacements by maximum likelihood.

    One component is fitted in closed form: mean and maximum-likelihood covariance.
    More are fitted by EM, which stops when the mean log-likelihood rises by less
    than ``tol``, or before a step that would lower it by more than ``SLACK``: what is
    added to the covariances can, once a component is as thin. On a GPU all
    ``max_iter`` steps are issued, those after the last without effect, because asking
    whether to stop would wait for the device.

    Displacements that are not finite, or longer than ``FARTHEST`` along an axis, are
    passed over. With fewer than ``FEWEST`` left the result is the *fallback*:
    ``start`` if given, else components of mean 0 and covariance 1, and
    ``log_likelihood`` is 0. Equal displacements have the covariance
    ``regularization`` times the identity.

    Args:
        displacements: ``(N, 2)`` as (x, y) in heatmap pixels.
        n_components: Number of components M.
        weights: ``(N,)``, how much each counts; None for 1.
        start: Where EM begins, M components: for instance the mixture of the last
            mini-batch. None begins from the moments of all displacements.
        max_iter: Largest number of EM steps.
        tol: Rise of the mean log-likelihood at which EM stops.
        regularization: Added to the diagonal of each covariance, in pixels squared.
        group: Processes that share the mini-batch (``dist.group.WORLD`` for all). The
            fit is then that of all their displacements together, on each of them.

    Raises:
        ValueError: Shapes do not fit together, or ``start`` has another M.

    >>> mixture = fit(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
    >>> mixture.means.tolist(), mixture.covariances.round(decimals=3).tolist()
    ([[1.0, 1.0]], [[[1.0, 0.0], [0.0, 0.0]]])
    """
    _check(displacements, n_components, weights, start)
    points, shares = _clean(displacements, weights)
    total = _share(shares @ features(points), group)  # (6,), over all processes
    count = total[0]
    origin = total[1:3] / count.clamp(min=NOTHING)  # EM in centred coordinates loses no digits
    points = (points - origin) * (shares > 0)[:, None]
    phi = features(points)
    pooled = _share(shares @ phi, group) / count.clamp(min=NOTHING)
    begin = _begin(pooled, n_components, start, origin, regularization)
    likelihood, statistics = _expect(phi, shares, begin, group)
    current = begin._replace(log_likelihood=likelihood / count.clamp(min=NOTHING), samples=count)
    if n_components > 1:
        current = _climb(phi, shares, current, statistics, max_iter, tol, regularization, group)
    current = current._replace(means=current.means + origin)
    enough = count >= FEWEST
    fallback = _fallback(n_components, start, count)
    return Mixture(*(torch.where(enough, a, b) for a, b in zip(current, fallback, strict=True)))


def choose(
    displacements: Tensor,
    candidates: Sequence[int] = (1, 2, 3),
    *,
    weights: Tensor | None = None,
    criterion: Criterion = "bic",
    max_iter: int = 100,
    tol: float = 1e-3,
    group: dist.ProcessGroup | None = None,
) -> Mixture:
    """Fit each number of components and keep the one with the lowest BIC or AIC.

    Args:
        displacements: ``(N, 2)`` in heatmap pixels.
        candidates: Numbers of components to try.
        weights: See ``fit``, also for the rest.
        criterion: ``"bic"`` or ``"aic"``.
        max_iter: See ``fit``.
        tol: See ``fit``.
        group: See ``fit``.

    Raises:
        ValueError: There are no candidates, or the criterion is unknown; see ``fit`` for the rest.
    """
    check_choice("criterion", criterion, Criterion)
    if not candidates:
        raise ValueError("candidates must hold at least one number of components")
    score = {"bic": bic, "aic": aic}[criterion]
    fits = [fit(displacements, m, weights=weights, max_iter=max_iter, tol=tol, group=group) for m in candidates]
    return min(fits, key=lambda mixture: float(score(mixture)))


def _check(displacements: Tensor, n_components: int, weights: Tensor | None, start: Mixture | None) -> None:
    if displacements.ndim != 2 or displacements.shape[1] != 2:
        raise ValueError(f"displacements have shape (N, 2), got {tuple(displacements.shape)}")
    if n_components < 1:
        raise ValueError(f"a mixture has at least one component, got {n_components}")
    if weights is not None and weights.shape != displacements.shape[:1]:
        raise ValueError(f"weights have shape ({len(displacements)},), got {tuple(weights.shape)}")
    if start is not None and len(start.weights) != n_components:
        raise ValueError(f"the start has {len(start.weights)} components, the fit {n_components}")


def _clean(displacements: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Displacements and weights in the fit's dtype; what is passed over is at 0 with weight 0."""
    points = displacements.to(precise(displacements.device))
    shares = torch.ones_like(points[:, 0]) if weights is None else weights.to(points.dtype)
    usable = (points.abs() <= FARTHEST).all(-1) & (shares > 0) & shares.isfinite()  # NaN compares false
    return torch.where(usable[:, None], points, 0.0), torch.where(usable, shares, 0.0)


def _share(numbers: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The sum over the processes of a group."""
    if group is not None:
        dist.all_reduce(numbers, group=group)
    return numbers


def _regularize(covariances: Tensor, regularization: float) -> Tensor:
    return covariances + regularization * torch.eye(2, dtype=covariances.dtype, device=covariances.device)


def _begin(pooled: Tensor, n_components: int, start: Mixture | None, origin: Tensor, regularization: float) -> Mixture:
    """Where EM begins, in centred coordinates; of one component also where it ends.

    Without a start, component m lies at t_m standard deviations along the main axis
    of all displacements, t from -1 to 1, and has their covariance times 2^t_m: the
    fit can become one of places as well as one of widths.
    """
    mean, covariance = moments(pooled)
    zero = torch.zeros_like(pooled[0])
    covariance = _regularize(covariance, regularization)
    if n_components == 1:
        return Mixture(torch.ones_like(pooled[:1]), mean[None], covariance[None], zero, zero)
    if start is not None:
        weights = start.weights.to(pooled).clamp(min=REVIVAL)
        return Mixture(
            weights / weights.sum(), start.means.to(pooled) - origin, start.covariances.to(pooled), zero, zero
        )
    t = torch.linspace(-1, 1, n_components, dtype=pooled.dtype, device=pooled.device)
    means = mean + t[:, None] * _main_axis(covariance)
    return Mixture(torch.full_like(t, 1 / n_components), means, 2 ** t[:, None, None] * covariance, zero, zero)


def _main_axis(covariance: Tensor) -> Tensor:
    """Direction of largest variance ``(2,)``, one standard deviation long."""
    a, b, c = covariance[0, 0], covariance[0, 1], covariance[1, 1]
    angle = 0.5 * torch.atan2(2 * b, a - c)
    variance = 0.5 * (a + c) + torch.hypot(0.5 * (a - c), b)  # the larger eigenvalue
    return variance.sqrt() * torch.stack([angle.cos(), angle.sin()])


def _fallback(n_components: int, start: Mixture | None, count: Tensor) -> Mixture:
    """The mixture of a mini-batch with nothing to fit."""
    if start is not None:
        return Mixture(start.weights.to(count), start.means.to(count), start.covariances.to(count), 0 * count, count)
    weights = torch.full((n_components,), 1 / n_components, dtype=count.dtype, device=count.device)
    return Mixture(
        weights,
        weights.new_zeros(n_components, 2),
        _regularize(weights.new_zeros(n_components, 2, 2), 1),
        0 * count,
        count,
    )


def _expect(phi: Tensor, shares: Tensor, mixture: Mixture, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor]:
    """E step: total log-likelihood, and responsible weight times features ``(M, 6)``."""
    theta = coefficients(mixture.weights, mixture.means, mixture.covariances)
    joint = phi @ theta.T  # (N, M), log(pi_m N(x | m))
    density = torch.logsumexp(joint, dim=1)  # (N,)
    responsible = torch.exp(joint - density[:, None]) * shares[:, None]
    numbers = torch.cat([(shares @ density)[None], (responsible.T @ phi).flatten()])
    numbers = _share(numbers, group)
    return numbers[0], numbers[1:].reshape(-1, 6)


def _maximize(statistics: Tensor, mixture: Mixture, regularization: float) -> Mixture:
    """M step: weights, means and covariances from the statistics ``(M, 6)`` of the E step."""
    mass = statistics[:, 0]
    alive = mass > NOTHING
    means, covariances = moments(statistics / torch.where(alive, mass, 1.0)[:, None])
    return mixture._replace(
        weights=mass / mass.sum().clamp(min=NOTHING),
        means=torch.where(alive[:, None], means, mixture.means),
        covariances=torch.where(alive[:, None, None], _regularize(covariances, regularization), mixture.covariances),
    )


def _climb(
    phi: Tensor,
    shares: Tensor,
    current: Mixture,
    statistics: Tensor,
    max_iter: int,
    tol: float,
    regularization: float,
    group: dist.ProcessGroup | None,
) -> Mixture:
    """EM steps from ``current``, whose E step gave ``statistics``, until the likelihood stops rising."""
    count = current.samples.clamp(min=NOTHING)
    running = torch.ones_like(count, dtype=torch.bool)
    for _ in range(max_iter):
        proposal = _maximize(statistics, current, regularization)
        likelihood, statistics = _expect(phi, shares, proposal, group)
        proposal = proposal._replace(log_likelihood=likelihood / count)
        rise = proposal.log_likelihood - current.log_likelihood
        accept = running & (rise >= -SLACK)
        current = Mixture(*(torch.where(accept, a, b) for a, b in zip(proposal, current, strict=True)))
        running = accept & (rise.abs() >= tol)
        if not phi.is_cuda and not running:
            break
    return current
