"""Mixtures against scikit-learn, on data that breaks naive fits, and across processes."""

import math
import os
import socket
import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calbook import gmm


def random_set(seed, n_components):
    """Displacements drawn from a random mixture, and a random start."""
    generator = np.random.default_rng(seed)
    count = int(generator.integers(60, 400))
    centers = generator.normal(0, 3, (n_components, 2))
    shapes = generator.normal(0, 0.3, (n_components, 2, 2)) + generator.uniform(
        0.8, 3.0, (n_components, 1, 1)
    ) * np.eye(2)
    which = generator.integers(0, n_components, count)
    points = centers[which] + np.einsum("nij,nj->ni", shapes[which], generator.normal(0, 1, (count, 2)))
    weights = generator.dirichlet(np.full(n_components, 5.0))
    means = points[generator.choice(count, n_components, replace=False)]
    roots = generator.normal(0, 0.5, (n_components, 2, 2)) + 1.5 * np.eye(2)
    return points, weights, means, roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(2)


def mixture_of(weights, means, covariances):
    zero = torch.zeros((), dtype=torch.float64)
    return gmm.Mixture(*(torch.as_tensor(part) for part in (weights, means, covariances)), zero, zero)


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_em_is_that_of_scikit_learn(n_components):
    """The same start, the same number of steps: the same mixture, for 200 random sets."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)  # its threads would wait for each other on busy cores
    for seed in range(200):
        points, *start = random_set(seed, n_components)
        steps = 1 + seed % 30
        theirs = GaussianMixture(
            n_components,
            tol=0.0,
            max_iter=steps,
            weights_init=start[0],
            means_init=start[1],
            precisions_init=np.linalg.inv(start[2]),
            init_params="random",
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            theirs.fit(points)
        begin = mixture_of(*start) if n_components > 1 else None
        ours = gmm.fit(torch.from_numpy(points), n_components, start=begin, max_iter=steps, tol=0.0)
        np.testing.assert_allclose(ours.weights, theirs.weights_, atol=1e-4)
        np.testing.assert_allclose(ours.means, theirs.means_, atol=1e-4)
        np.testing.assert_allclose(ours.covariances, theirs.covariances_, atol=1e-4)
        assert float(ours.log_likelihood) == pytest.approx(theirs.score(points), abs=1e-4)
        grid = np.stack(np.meshgrid(np.arange(-3.0, 4), np.arange(-3.0, 4)), -1)
        np.testing.assert_allclose(
            gmm.log_density(ours, torch.from_numpy(grid)).flatten(),
            theirs.score_samples(grid.reshape(-1, 2)),
            atol=1e-4,
        )
        assert float(gmm.bic(ours)) == pytest.approx(theirs.bic(points), rel=1e-5, abs=1e-2)
        assert float(gmm.aic(ours)) == pytest.approx(theirs.aic(points), rel=1e-5, abs=1e-2)


@pytest.mark.parametrize("n_components", [2, 3])
def test_the_likelihood_never_falls(n_components):
    for seed in range(30):
        points, *start = random_set(1000 + seed, n_components)
        if seed % 3 == 0:
            points = np.round(points)  # repeated values let components collapse
        mixture, likelihoods = mixture_of(*start), []
        for _ in range(25):
            mixture = gmm.fit(torch.from_numpy(points), n_components, start=mixture, max_iter=1, tol=0.0)
            likelihoods.append(float(mixture.log_likelihood))
        assert np.diff(likelihoods).min() >= -1e-8
        assert likelihoods[-1] > likelihoods[0]


def test_a_start_of_its_own_finds_places_and_widths():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2000, 2, generator=generator, dtype=torch.float64)
    two_places = noise * 0.5 + torch.where(torch.arange(2000) % 4 == 0, 3.0, -1.0)[:, None]
    places = gmm.fit(two_places, 2, tol=1e-8)
    assert sorted(places.means[:, 0].tolist()) == pytest.approx([-1, 3], abs=0.1)
    assert sorted(places.weights.tolist()) == pytest.approx([0.25, 0.75], abs=0.02)
    two_widths = noise * torch.where(torch.arange(2000) % 2 == 0, 0.3, 3.0)[:, None]
    widths = gmm.fit(two_widths, 2, tol=1e-8)
    assert sorted(widths.covariances[:, 0, 0].sqrt().tolist()) == pytest.approx([0.3, 3.0], rel=0.15)


def test_criteria_choose_the_number_of_components():
    generator = torch.Generator().manual_seed(1)
    one = torch.randn(800, 2, generator=generator)
    assert len(gmm.choose(one).weights) == 1
    two = torch.cat([0.5 * one[:400] + 3, one[400:] - 3])
    assert len(gmm.choose(two).weights) == 2
    three = torch.cat([two, one[:300] + torch.tensor([8.0, -8.0])])
    assert len(gmm.choose(three, criterion="aic", max_iter=300, tol=1e-6).weights) >= 3


def test_a_warm_start_needs_fewer_steps():
    points, *_ = random_set(7, 2)
    points = torch.from_numpy(points)
    settled = gmm.fit(points, 2, tol=1e-10, max_iter=1000)
    warm = gmm.fit(points + 0.01, 2, start=settled, max_iter=2)
    cold = gmm.fit(points + 0.01, 2, max_iter=2)
    assert warm.log_likelihood > cold.log_likelihood


def test_weights_are_repetitions():
    points = torch.randn(40, 2, dtype=torch.float64)
    times = torch.randint(0, 4, (40,), generator=torch.Generator().manual_seed(0))
    start = gmm.fit(points, 2, max_iter=1)
    weighted = gmm.fit(points, 2, weights=times.double(), start=start)
    repeated = gmm.fit(points.repeat_interleave(times, dim=0), 2, start=start)
    for a, b in zip(weighted, repeated, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_the_fallback(n_components):
    previous = gmm.fit(torch.randn(50, 2), n_components)
    for points in (
        torch.empty(0, 2),
        torch.tensor([[3.0, 1.0]]),
        torch.full((9, 2), math.nan),
        torch.full((9, 2), 1e30),
    ):
        plain = gmm.fit(points, n_components)
        assert torch.equal(plain.means, torch.zeros(n_components, 2, dtype=torch.float64))
        assert torch.equal(plain.covariances, torch.eye(2, dtype=torch.float64).expand(n_components, 2, 2))
        warm = gmm.fit(points, n_components, start=previous)
        assert torch.equal(warm.means, previous.means)
        assert float(warm.log_likelihood) == 0


def test_equal_displacements_make_a_mask_of_one_pixel():
    mixture = gmm.fit(torch.tensor([[1.0, -2.0]]).expand(30, 2))
    torch.testing.assert_close(mixture.covariances[0], 1e-6 * torch.eye(2, dtype=torch.float64))
    mask = gmm.mixed_gaussian_masks(mixture, torch.tensor([[[10.0, 12.0]]]), (32, 24))
    assert mask[0, 0, 10, 11] == 1
    assert mask.sum() == 1


def test_what_is_not_finite_is_passed_over():
    points = torch.randn(30, 2)
    dirty = torch.cat([points, torch.tensor([[math.nan, 0.0], [math.inf, 1.0], [0.0, -1e20]])])
    for n_components in (1, 2):
        for a, b in zip(gmm.fit(points, n_components), gmm.fit(dirty, n_components), strict=True):
            torch.testing.assert_close(a, b)


def test_displacements_and_their_options():
    heatmaps = torch.zeros(1, 4, 16, 12)
    heatmaps[0, 0, 5, 7] = heatmaps[0, 1, 5, 7] = heatmaps[0, 3, 5, 7] = 1.0
    joints = torch.tensor([[[6.4, 5.2], [0.0, 0.0], [3.0, 3.0], [math.nan, 1.0]]])
    visible = torch.tensor([[2, 0, 1, 2]])
    errors, weights = gmm.displacements(heatmaps, joints, visible)
    assert weights.tolist() == [1, 0, 0, 0]  # seen; not labelled; empty map; not finite
    torch.testing.assert_close(errors[0], torch.tensor([0.6, -0.2]))
    reverse, _ = gmm.displacements(heatmaps, joints, visible, direction="joint")
    torch.testing.assert_close(reverse[0], torch.tensor([-0.6, 0.2]))
    pixel, weights = gmm.displacements(heatmaps, joints, visible, reference="pixel", keep_empty=True)
    assert pixel[0].tolist() == [1, 0]
    assert pixel[2].tolist() == [-3, -3]
    assert weights.tolist() == [1, 0, 1, 0]


def test_masks_follow_the_density():
    """Brute force: the density at p - k over the square, divided by its largest."""
    mixture = gmm.fit(torch.randn(200, 2) * 2, 2)
    joints = torch.tensor([[[10.3, 12.8], [0.4, 31.2], [25.9, 15.0]]])
    masks = gmm.mixed_gaussian_masks(mixture, joints, (32, 24))
    for k, (x, y) in enumerate(joints[0].tolist()):
        expected = torch.zeros(32, 24)
        for row in range(32):
            for column in range(24):
                if abs(column - math.floor(x + 0.5)) <= 3 and abs(row - math.floor(y + 0.5)) <= 3:
                    place = torch.tensor([column - x, row - y], dtype=torch.float64)
                    expected[row, column] = gmm.log_density(mixture, place).exp()
        expected /= expected.max()
        torch.testing.assert_close(masks[0, k], expected, rtol=1e-4, atol=1e-5)
    assert masks[0, 2].sum() > 0  # 25.9 lies off the map, its square does not


def test_a_mask_on_whole_pixels_is_the_grid_mask():
    mixture = gmm.fit(torch.randn(200, 2) * 1.5 + 0.3, 1)
    joints = torch.tensor([[[10.0, 12.0]]])
    grid = gmm.grid_mask(mixture)
    assert grid.shape == (7, 7)
    assert grid.max() == 1
    for center in ("joint", "pixel"):
        mask = gmm.mixed_gaussian_masks(mixture, joints, (32, 24), center=center)
        torch.testing.assert_close(mask[0, 0, 9:16, 7:14].double(), grid, rtol=1e-5, atol=1e-6)
    cut = gmm.mixed_gaussian_masks(mixture, joints, (32, 24), radius=2.0)
    assert (cut > 0).sum() == 13  # integer points within two pixels
    wide = gmm.mixed_gaussian_masks(mixture, joints, (32, 24), size=11)
    assert (wide[0, 0].sum(0) > 0).sum() == 11


def test_shifting_joints_and_map_together_shifts_the_mask():
    mixture = gmm.fit(torch.randn(200, 2) * 2, 1)
    joint = torch.tensor([[[8.3, 9.6]]])
    mask = gmm.mixed_gaussian_masks(mixture, joint, (32, 24))
    moved = gmm.mixed_gaussian_masks(mixture, joint + torch.tensor([3.0, 5.0]), (32, 24))
    torch.testing.assert_close(moved, mask.roll((5, 3), (-2, -1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", [0, 1])
def test_golden_masks(golden, case):
    data = {k: torch.from_numpy(np.asarray(v)) for k, v in np.load(golden / "encode.npz").items()}
    predicted, target = data[f"mgm{case}_pred"], data[f"mgm{case}_gt"]
    visible, size = data[f"mgm{case}_visible"][..., 0], tuple(target.shape[-2:])
    flat = target.flatten(2).argmax(-1)
    joints = torch.stack([flat % size[1], flat // size[1]], -1).float()
    errors, weights = gmm.displacements(predicted, joints, visible, reference="pixel", keep_empty=True)
    mixture = gmm.fit(errors, weights=weights)
    np.testing.assert_allclose(mixture.means, data[f"mgm{case}_mean"], atol=1e-4)
    np.testing.assert_allclose(mixture.covariances, data[f"mgm{case}_cov"], atol=1e-4)
    for epsilon in (0.0, 1e-5):
        masks = gmm.mixed_gaussian_masks(mixture, joints, size, visible=visible, center="pixel", epsilon=epsilon)
        np.testing.assert_allclose(masks, data[f"mgm{case}_mask"], atol=1e-4)


# Batches that break naive fits.

KINDS = ("network", "empty", "negative", "nan", "constant", "single", "equal", "outlier", "huge", "binary")


def degenerate_batch(kind, seed, batch, joints_count, size):
    """Predicted maps, joints in heatmap pixels and visibilities of one bad mini-batch."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    heatmaps = torch.rand(batch, joints_count, height, width, generator=generator)
    spread = torch.tensor([width - 1.0, height - 1.0])
    joints = torch.rand(batch, joints_count, 2, generator=generator) * (spread + 8) - 4  # some off the map
    visible = torch.randint(0, 3, (batch, joints_count), generator=generator)
    if kind == "empty":
        heatmaps.zero_()
    elif kind == "negative":
        heatmaps.neg_()
    elif kind == "nan":
        heatmaps[torch.rand(heatmaps.shape, generator=generator) < 0.3] = math.nan
        joints[torch.rand(joints.shape[:2], generator=generator) < 0.3] = math.nan
    elif kind == "constant":
        heatmaps.fill_(0.5)
    elif kind == "single":
        visible.zero_()
        visible[0, 0] = 2
    elif kind == "equal":
        joints = joints.round().clamp(min=0).minimum(spread)
        heatmaps.zero_().flatten(2).scatter_(-1, (joints[..., 1] * width + joints[..., 0]).long()[..., None], 1.0)
    elif kind == "outlier":
        joints[0, 0] = torch.tensor([1e6, -1e9])
        visible[0, 0] = 2
    elif kind == "huge":
        heatmaps *= 1e38
        joints *= 1e35
    elif kind == "binary":
        heatmaps.round_()
    if seed % 7 == 0:
        visible.zero_()
    return heatmaps, joints, visible


def check_degenerate(kind, seed, batch, joints_count, size, n_components, side, center, warm):
    heatmaps, joints, visible = degenerate_batch(kind, seed, batch, joints_count, size)
    errors, weights = gmm.displacements(heatmaps, joints, visible, keep_empty=seed % 2 == 0)
    start = (
        gmm.fit(10 * torch.randn(3, 2, generator=torch.Generator().manual_seed(seed)), n_components) if warm else None
    )
    mixture = gmm.fit(errors, n_components, weights=weights, start=start, max_iter=20)
    assert all(part.isfinite().all() for part in mixture)
    assert float(mixture.weights.sum()) == pytest.approx(1)
    masks = gmm.mixed_gaussian_masks(mixture, joints, size, visible=visible, size=side, center=center)
    assert masks.isfinite().all()
    assert masks.min() >= 0
    assert masks.max() <= 1
    top = masks.amax((-1, -2))
    pixel = torch.trunc(joints + 0.5)
    last = torch.tensor([size[1] - 1, size[0] - 1])
    reaches = ((pixel >= -(side // 2)) & (pixel <= last + side // 2)).all(-1)  # false for NaN
    expected = ((visible > 0) & reaches).float()
    torch.testing.assert_close(top, expected, rtol=0, atol=1e-6)


degenerate = given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 3),
    joints_count=st.integers(1, 4),
    size=st.sampled_from([(16, 12), (8, 6), (32, 24), (1, 1), (3, 5)]),
    n_components=st.integers(1, 3),
    side=st.sampled_from([1, 3, 7, 9]),
    center=st.sampled_from(["joint", "pixel"]),
    warm=st.booleans(),
)
relaxed = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}


@degenerate
@settings(max_examples=200, **relaxed)
def test_no_batch_breaks_the_masks(**case):
    check_degenerate(**case)


@pytest.mark.slow
@degenerate
@settings(max_examples=10_000, **relaxed)
def test_no_batch_of_ten_thousand_breaks_the_masks(**case):
    check_degenerate(**case)


@pytest.mark.parametrize("bad", [{"n_components": 0}, {"weights": torch.ones(3)}, {"n_components": 2, "start": "one"}])
def test_shapes_that_do_not_fit(bad):
    if bad.get("start") == "one":
        bad = {**bad, "start": gmm.fit(torch.randn(5, 2))}
    with pytest.raises(ValueError, match=r"component|weights"):
        gmm.fit(torch.randn(5, 2), **bad)
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        gmm.fit(torch.randn(5, 3))
    with pytest.raises(ValueError, match="odd"):
        gmm.grid_mask(gmm.fit(torch.randn(5, 2)), size=4)


def test_unknown_names_are_refused():
    maps, joints, visible = torch.rand(1, 2, 16, 12), torch.rand(1, 2, 2), torch.ones(1, 2)
    mixture = gmm.fit(torch.randn(5, 2))
    with pytest.raises(ValueError, match=r"unknown reference 'pixle'.*did you mean pixel"):
        gmm.displacements(maps, joints, visible, reference="pixle")
    with pytest.raises(ValueError, match="unknown direction 'truth'"):
        gmm.displacements(maps, joints, visible, direction="truth")
    with pytest.raises(ValueError, match="unknown center 'peak'"):
        gmm.mixed_gaussian_masks(mixture, joints, (16, 12), center="peak")
    with pytest.raises(ValueError, match=r"unknown criterion 'BIC'.*did you mean bic"):
        gmm.choose(torch.randn(5, 2), criterion="BIC")
    with pytest.raises(ValueError, match="at least one number of components"):
        gmm.choose(torch.randn(5, 2), candidates=())


# Across processes.


def _fit_share(rank, port, results):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    points = _shared_points()
    mine = points[:30] if rank == 0 else points[30:]  # the last mini-batch of an epoch is not split evenly
    for n_components in (1, 2):
        mixture = gmm.fit(mine, n_components, group=dist.group.WORLD)
        results[rank, n_components] = [part.tolist() for part in mixture]
    dist.destroy_process_group()


def _shared_points():
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(100, 2, generator=generator)
    points[:40] += 4
    return points


def test_processes_fit_the_global_mini_batch():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("fork")  # the tests' own process has loaded torch already
    with context.Manager() as manager:
        results = manager.dict()
        workers = [context.Process(target=_fit_share, args=(rank, port, results)) for rank in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
        shared = dict(results)
    for n_components in (1, 2):
        alone = gmm.fit(_shared_points(), n_components)
        assert shared[0, n_components] == shared[1, n_components]
        for ours, theirs in zip(alone, shared[0, n_components], strict=True):
            torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64))
