"""The steps of the fit one by one: what a whole fit forgives is seen here."""

import math
from itertools import pairwise

import pytest
import torch

from calbook import gmm
from calbook.gmm import em
from calbook.gmm.mixture import Mixture, bic, coefficients, features, moments


def points(count=60, seed=0):
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_main_axis_is_the_first_eigenvector():
    for seed in range(20):
        root = points(2, seed)
        covariance = root @ root.T + 0.01 * torch.eye(2)
        values, vectors = torch.linalg.eigh(covariance)
        axis = em._main_axis(covariance)
        assert float(axis.norm()) == pytest.approx(float(values[1].sqrt()))
        assert abs(float(axis @ vectors[:, 1])) == pytest.approx(float(values[1].sqrt()))


def test_where_em_begins():
    """Components lie at -1 ... 1 standard deviations along the main axis, the widths from half to twice."""
    sample = points() * torch.tensor([4.0, 1.0])
    pooled = features(sample).mean(0)
    mean, covariance = moments(pooled)
    begin = em._begin(pooled, 3, None, mean, 0.25)
    wide = covariance + 0.25 * torch.eye(2)
    assert begin.weights.tolist() == pytest.approx([1 / 3] * 3)
    torch.testing.assert_close(begin.covariances, torch.stack([wide / 2, wide, wide * 2]))
    torch.testing.assert_close(begin.means[1], mean)
    torch.testing.assert_close(begin.means[2] - begin.means[1], em._main_axis(wide))
    torch.testing.assert_close(begin.means[1] - begin.means[0], em._main_axis(wide))


def test_a_warm_start_is_centred_and_no_component_starts_without_weight():
    start = gmm.fit(points() + 5, 2)._replace(weights=torch.tensor([0.0, 1.0], dtype=torch.float64))
    begin = em._begin(features(points()).mean(0), 2, start, torch.tensor([5.0, 4.0]), 0.0)
    assert begin.weights.tolist() == pytest.approx([em.REVIVAL / (1 + em.REVIVAL), 1 / (1 + em.REVIVAL)])
    torch.testing.assert_close(begin.means, start.means - torch.tensor([5.0, 4.0]))
    assert torch.equal(begin.covariances, start.covariances)


def test_the_steps_are_the_equations():
    """E: responsibilities and likelihood of each point; M: weighted moments. One number at a time."""
    sample, shares = points(20), torch.linspace(0.5, 2, 20, dtype=torch.float64)
    mixture = gmm.fit(points(50, 1) * 2, 2)
    likelihood, statistics = em._expect(features(sample), shares, mixture, None)
    expected, total = torch.zeros(2, 6, dtype=torch.float64), 0.0
    for point, share in zip(sample, shares, strict=True):
        densities = []
        for weight, mean, covariance in zip(mixture.weights, mixture.means, mixture.covariances, strict=True):
            normal = torch.distributions.MultivariateNormal(mean, covariance)
            densities.append(float(weight) * math.exp(float(normal.log_prob(point))))
        total += float(share) * math.log(sum(densities))
        for m in range(2):
            expected[m] += float(share) * densities[m] / sum(densities) * features(point)
    assert float(likelihood) == pytest.approx(total)
    torch.testing.assert_close(statistics, expected)
    stepped = em._maximize(statistics, mixture, 0.5)
    torch.testing.assert_close(stepped.weights, expected[:, 0] / expected[:, 0].sum())
    for m in range(2):
        mean, covariance = moments(expected[m] / expected[m, 0])
        torch.testing.assert_close(stepped.means[m], mean)
        torch.testing.assert_close(stepped.covariances[m], covariance + 0.5 * torch.eye(2))


def test_a_component_without_points_keeps_its_place():
    mixture = gmm.fit(points(), 2)
    statistics = torch.stack([torch.zeros(6, dtype=torch.float64), features(points()).sum(0)])
    stepped = em._maximize(statistics, mixture, 1e-6)
    assert torch.equal(stepped.means[0], mixture.means[0])
    assert torch.equal(stepped.covariances[0], mixture.covariances[0])
    assert stepped.weights.tolist() == [0, 1]
    assert not torch.equal(stepped.means[1], mixture.means[1])


def test_defaults_are_those_of_scikit_learn():
    sample = points(200) * torch.tensor([3.0, 1.0])
    for ours, named in zip(
        gmm.fit(sample, 2), gmm.fit(sample, 2, max_iter=100, tol=1e-3, regularization=1e-6), strict=True
    ):
        assert torch.equal(ours, named)
    assert not torch.equal(gmm.fit(sample, 2).means, gmm.fit(sample, 2, tol=1e-9, max_iter=400).means)


def test_em_takes_a_hundred_steps_at_most():
    """Two wide components on one place: the likelihood still rises after a hundred steps."""
    sample = points(200)
    hundred = gmm.fit(sample, 2, max_iter=100, tol=0.0)
    assert torch.equal(gmm.fit(sample, 2, tol=0.0).means, hundred.means)
    assert torch.equal(gmm.choose(sample, (2,), tol=0.0).means, hundred.means)
    assert not torch.equal(gmm.fit(sample, 2, max_iter=101, tol=0.0).means, hundred.means)
    for ours, named in zip(gmm.choose(sample, (2,)), gmm.fit(sample, 2, tol=1e-3), strict=True):
        assert torch.equal(ours, named)


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("n_components", [1, 2])
def test_a_fallback_says_how_much_was_fitted(count, n_components):
    """Equal weights, means of 0 and covariances of 1, and no likelihood: bic and aic then count parameters only."""
    plain = gmm.fit(points(count), n_components)
    assert plain.weights.tolist() == [1 / n_components] * n_components
    assert plain.means.tolist() == [[0.0, 0.0]] * n_components
    assert plain.covariances.tolist() == [[[1.0, 0.0], [0.0, 1.0]]] * n_components
    warm = gmm.fit(points(count), n_components, start=plain)
    for mixture in (plain, warm):
        assert (float(mixture.log_likelihood), float(mixture.samples)) == (0, count)
        assert {part.dtype for part in mixture} == {torch.float64}
        assert float(gmm.aic(mixture)) == 2 * (6 * n_components - 1)


def test_em_stops_at_the_first_small_rise():
    sample = points(200) * torch.tensor([3.0, 1.0])
    steps = [gmm.fit(sample, 2, max_iter=n, tol=0.0) for n in range(12)]
    rises = [float(b.log_likelihood - a.log_likelihood) for a, b in pairwise(steps)]
    tol = 0.5 * (rises[3] + rises[4])
    assert rises[2] > tol > rises[4]
    stopped = gmm.fit(sample, 2, tol=tol)
    taken = next(n for n, rise in enumerate(rises) if rise < tol) + 1  # the small step itself is taken
    assert torch.equal(stopped.means, steps[taken].means)


def test_weights_that_are_not_positive_count_nothing():
    sample = points(30)
    weights = torch.ones(30)
    weights[:3] = torch.tensor([-1.0, 0.0, math.nan])
    weights[3] = math.inf
    for m in (1, 2):
        for ours, alone in zip(gmm.fit(sample, m, weights=weights), gmm.fit(sample[4:], m), strict=True):
            torch.testing.assert_close(ours, alone)


@pytest.mark.parametrize(("count", "fitted"), [(1, False), (2, True)])
def test_a_fit_needs_two_displacements(count, fitted):
    mixture = gmm.fit(points(count) + 7)
    assert bool(mixture.means.abs().max() > 1) == fitted
    assert float(mixture.samples) == count


def test_displacements_count_up_to_the_farthest():
    near = gmm.fit(torch.tensor([[1e4, 0.0], [-1e4, 0.0], [0.0, 1e4]]))
    assert float(near.samples) == 3
    assert float(gmm.fit(torch.tensor([[10_000.5, 0.0], [0.0, 0.0], [1.0, 1.0]])).samples) == 2


def test_criteria_are_their_formulas():
    mixture = gmm.fit(points(50), 2)
    likelihood = float(mixture.log_likelihood) * 50
    parameters = 1 + 2 * 2 + 2 * 3
    assert float(bic(mixture)) == pytest.approx(parameters * math.log(50) - 2 * likelihood)
    assert float(gmm.aic(mixture)) == pytest.approx(2 * parameters - 2 * likelihood)
    empty = mixture._replace(samples=torch.zeros((), dtype=torch.float64))
    assert float(bic(empty)) == 0


def test_coefficients_give_the_density_of_a_correlated_gaussian():
    covariance = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    mean = torch.tensor([0.3, -1.2], dtype=torch.float64)
    theta = coefficients(torch.tensor(0.25, dtype=torch.float64), mean, covariance)
    normal = torch.distributions.MultivariateNormal(mean, covariance)
    torch.testing.assert_close(features(points()) @ theta, normal.log_prob(points()) + math.log(0.25))
    nothing = coefficients(torch.tensor(0.0, dtype=torch.float64), mean, covariance)
    assert nothing.isfinite().all()


def test_the_pixel_of_a_joint_off_the_map_is_its_nearest():
    """As in the published code, where the peak of a target is on the map: displacements are measured from there."""
    heatmaps = torch.zeros(1, 5, 6, 4)
    heatmaps[..., 2, 1] = 1
    joints = torch.tensor([[[-3.0, -2.0], [9.0, 1.0], [0.0, 8.0], [3.4, 4.6], [1.0, 2.0]]])
    errors, weights = gmm.displacements(heatmaps, joints, torch.ones(1, 5), reference="pixel")
    assert errors.tolist() == [[1, 2], [-2, 1], [1, -3], [-2, -3], [0, 0]]
    assert weights.tolist() == [1, 1, 1, 1, 1]
    reverse, _ = gmm.displacements(heatmaps, joints, torch.ones(1, 5), reference="pixel", direction="joint")
    assert torch.equal(reverse, -errors)


def test_a_map_no_higher_than_the_floor_shows_no_joint():
    heatmaps = torch.zeros(1, 3, 6, 4)
    heatmaps[0, :, 2, 1] = torch.tensor([0.5, 0.25, 0.0])
    joints, visible = torch.ones(1, 3, 2), torch.ones(1, 3)
    for floor, counted in ((0.0, [1, 1, 0]), (0.25, [1, 0, 0]), (0.5, [0, 0, 0])):
        assert gmm.displacements(heatmaps, joints, visible, floor=floor)[1].tolist() == counted
    assert gmm.displacements(heatmaps, joints, visible)[1].tolist() == [1, 1, 0]
    empty, weights = gmm.displacements(heatmaps, joints, visible, keep_empty=True)
    assert weights.tolist() == [1, 1, 1]
    assert empty[2].tolist() == [-1, -1]  # an empty map points to pixel (0, 0)


def test_the_mask_follows_its_options():
    mixture = Mixture(*(part.clone() for part in gmm.fit(points(100))))
    joint = torch.tensor([[[10.4, 12.2]]])
    plain = gmm.mixed_gaussian_masks(mixture, joint, (32, 24))
    near = gmm.mixed_gaussian_masks(mixture, joint, (32, 24), radius=1.5)
    for row in range(32):
        for column in range(24):
            inside = (column - 10.4) ** 2 + (row - 12.2) ** 2 <= 1.5**2
            assert (float(near[0, 0, row, column]) > 0) == inside
    assert torch.equal(near[near > 0], plain[near > 0])  # the largest value lies within
    density = gmm.log_density(mixture, torch.tensor([[0.0, 0.0]], dtype=torch.float64)).exp()
    pixel = gmm.mixed_gaussian_masks(mixture, torch.tensor([[[10.0, 12.0]]]), (32, 24), epsilon=0.01)
    grid = torch.stack(torch.meshgrid(torch.arange(-3.0, 4), torch.arange(-3.0, 4), indexing="xy"), -1).double()
    largest = gmm.log_density(mixture, grid).exp().max()
    assert float(pixel.max()) == pytest.approx(float(largest / (largest + 0.01)), rel=1e-5)
    assert float(pixel[0, 0, 12, 10]) == pytest.approx(float(density / (largest + 0.01)), rel=1e-5)


def test_epsilon_is_added_to_the_density_of_all_components():
    zero = torch.zeros((), dtype=torch.float64)
    covariances = torch.eye(2, dtype=torch.float64).expand(2, 2, 2)
    means = torch.zeros(2, 2, dtype=torch.float64)
    mixture = Mixture(torch.tensor([0.5, 0.5], dtype=torch.float64), means, covariances, zero, zero)
    mask = gmm.mixed_gaussian_masks(mixture, torch.tensor([[[10.0, 12.0]]]), (32, 24), epsilon=0.1)
    largest = 1 / (2 * math.pi)  # twice the same Gaussian is that Gaussian
    assert float(mask.max()) == pytest.approx(largest / (largest + 0.1))


def test_two_components_from_the_first_row_beyond_thirty_two():
    assert [gmm.default_components(size) for size in ((32, 48), (33, 24), (24, 33))] == [1, 2, 1]


def test_a_square_may_reach_the_map_from_outside():
    mixture = gmm.fit(points(100) * 3)
    for joint, drawn in (((-3.4, 10.0), True), ((-4.6, 10.0), False), ((26.4, 10.0), True), ((27.0, 10.0), False)):
        mask = gmm.mixed_gaussian_masks(mixture, torch.tensor([[joint]]), (32, 24))
        assert bool(mask.any()) == drawn, joint
    with pytest.raises(ValueError, match="odd side, got -1"):
        gmm.grid_mask(mixture, size=-1)
    assert gmm.grid_mask(mixture, size=1).tolist() == [[1.0]]
