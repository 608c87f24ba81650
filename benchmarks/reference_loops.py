"""What the package is timed against: the published algorithms, one joint at a time.

The published implementations encode in the data loader and decode on the host, in
loops over persons and joints with NumPy, OpenCV and scikit-learn. These loops do the
same steps in the same order on the same maps, in the same types of numbers, and work out
anew at every joint what those do. The tests hold them to the same results as the
package, so that the ratio compares two ways to one answer.

OpenCV smooths faster than SciPy. It is used where it is installed, as in the
published code; ``SMOOTHER`` says which was.
"""

import numpy as np
from numpy.typing import NDArray

try:
    import cv2

    SMOOTHER = f"opencv {cv2.__version__}"
except ImportError:
    from scipy.ndimage import correlate1d

    from calbook.codecs.blur import gaussian_kernel

    SMOOTHER = "scipy"

Array = NDArray[np.float32]


def encode_heatmap(
    joints: Array, visible: Array, input_size: tuple[int, int], size: tuple[int, int], sigma: int
) -> tuple[Array, Array]:
    """SimpleBaseline and HRNet: a patch of a Gaussian pasted at each joint's pixel.

    As published, the stride and the patch are worked out anew for every joint.

    Args:
        joints: ``(B, K, 2)`` in input pixels.
        visible: ``(B, K)``.
        input_size: Height and width of the input.
        size: Height and width of the maps.
        sigma: In heatmap pixels.
    """
    pixels, cells = np.array(input_size[::-1]), np.array(size[::-1])  # width first
    reach = 3 * sigma
    targets = np.zeros((*joints.shape[:2], *size), np.float32)
    weights = visible.astype(np.float32)
    for n in range(joints.shape[0]):
        for k in range(joints.shape[1]):
            stride = pixels / cells
            x, y = int(joints[n, k, 0] / stride[0] + 0.5), int(joints[n, k, 1] / stride[1] + 0.5)
            first, last = [x - reach, y - reach], [x + reach + 1, y + reach + 1]
            if first[0] >= cells[0] or first[1] >= cells[1] or last[0] <= 0 or last[1] <= 0:
                weights[n, k] = 0
                continue
            steps = np.arange(0, 2 * reach + 1, 1, np.float32)
            patch = np.exp(-((steps - reach) ** 2 + (steps[:, np.newaxis] - reach) ** 2) / (2 * sigma**2))
            left, right = max(0, first[0]), min(last[0], cells[0])
            top, bottom = max(0, first[1]), min(last[1], cells[1])
            if weights[n, k] > 0.5:
                targets[n, k, top:bottom, left:right] = patch[
                    top - first[1] : bottom - first[1], left - first[0] : right - first[0]
                ]
    return targets, weights


def encode_cal(
    points: Array, visible: Array, size: tuple[int, int], sigma: float, radius: float, scale: float = 1.0
) -> tuple[Array, Array, Array, Array]:
    """CAL: dense Gaussian, offset field, disk and Gaussian mask of each joint, as its data loader makes them.

    As published, a grid of integers is laid out for every joint, and the disk is one of integers, so that
    NumPy goes over to double precision and back.

    Args:
        points: ``(B, K, 2)`` in heatmap pixels.
        visible: ``(B, K)``.
        size: Height and width of the maps.
        sigma: In heatmap pixels.
        radius: In heatmap pixels.
        scale: What offsets are divided by.

    Returns:
        Heatmaps ``(B, K, h, w)``, offsets ``(B, K, 2, h, w)``, disks and Gaussian masks ``(B, K, h, w)``.
    """
    height, width = size
    heatmaps = np.zeros((*points.shape[:2], height, width), np.float32)
    offsets = np.zeros((*points.shape[:2], 2, height, width), np.float32)
    disks, gaussian_masks = np.zeros_like(heatmaps), np.zeros_like(heatmaps)
    for n in range(points.shape[0]):
        for k in range(points.shape[1]):
            if visible[n, k] == 0:
                continue
            columns, rows = np.meshgrid(np.arange(width), np.arange(height))
            field = np.empty((2, height, width), np.float32)
            field[0], field[1] = points[n, k, 0] - columns, points[n, k, 1] - rows
            square = np.sum(field * field, axis=0)
            gaussian = np.exp(-square / (2 * sigma**2))
            gaussian[gaussian < np.finfo(gaussian.dtype).eps * gaussian.max()] = 0
            disk = np.where(square <= radius**2, 1, 0)
            field /= scale
            field *= disk
            heatmaps[n, k], offsets[n, k], disks[n, k] = gaussian, field, disk
            gaussian_masks[n, k] = np.exp(-square / (2 * sigma**2)) / sigma * disk
    return heatmaps, offsets, disks, gaussian_masks


def peaks(heatmaps: Array) -> tuple[Array, Array]:
    """Integer peaks ``(B, K, 2)`` and scores ``(B, K)``, (0, 0) for maps without a positive value."""
    batch, joints, _, width = heatmaps.shape
    flat = heatmaps.reshape(batch, joints, -1)
    index, scores = flat.argmax(2), flat.max(2)
    coords = np.stack([index % width, index // width], axis=-1).astype(np.float32)
    coords[scores <= 0] = 0
    return coords, scores


def decode_shift(heatmaps: Array) -> tuple[Array, Array]:
    """SimpleBaseline and HRNet: peak and quarter-pixel shift, in heatmap pixels."""
    height, width = heatmaps.shape[2:]
    coords, scores = peaks(heatmaps)
    for n in range(coords.shape[0]):
        for k in range(coords.shape[1]):
            map_ = heatmaps[n, k]
            x, y = int(np.floor(coords[n, k, 0] + 0.5)), int(np.floor(coords[n, k, 1] + 0.5))
            if 1 < x < width - 1 and 1 < y < height - 1:
                difference = np.array([map_[y, x + 1] - map_[y, x - 1], map_[y + 1, x] - map_[y - 1, x]])
                coords[n, k] += np.sign(difference) * 0.25
    return coords, scores


def _smooth(map_: Array, taps: int) -> Array:
    """One map smoothed with zeros beyond its border."""
    if SMOOTHER == "scipy":
        kernel = np.array(gaussian_kernel(taps))
        across: Array = correlate1d(map_, kernel, axis=1, mode="constant")
        down: Array = correlate1d(across, kernel, axis=0, mode="constant")
        return down
    border = (taps - 1) // 2
    padded = np.zeros((map_.shape[0] + 2 * border, map_.shape[1] + 2 * border), np.float32)
    padded[border:-border, border:-border] = map_
    padded = cv2.GaussianBlur(padded, (taps, taps), 0)
    return padded[border:-border, border:-border]


def _taylor(logs: Array, coord: Array) -> Array:
    """One Newton step on the log of one map."""
    height, width = logs.shape
    x, y = int(coord[0]), int(coord[1])
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return coord
    dx = 0.5 * (logs[y, x + 1] - logs[y, x - 1])
    dy = 0.5 * (logs[y + 1, x] - logs[y - 1, x])
    dxx = 0.25 * (logs[y, x + 2] - 2 * logs[y, x] + logs[y, x - 2])
    dxy = 0.25 * (logs[y + 1, x + 1] - logs[y - 1, x + 1] - logs[y + 1, x - 1] + logs[y - 1, x - 1])
    dyy = 0.25 * (logs[y + 2, x] - 2 * logs[y, x] + logs[y - 2, x])
    hessian = np.array([[dxx, dxy], [dxy, dyy]])
    if dxx * dyy - dxy**2 == 0:
        return coord
    step: Array = coord - np.linalg.inv(hessian) @ np.array([dx, dy])
    return step


def decode_dark(heatmaps: Array, taps: int) -> tuple[Array, Array]:
    """DARK: each map smoothed and scaled, logarithms of all, one Newton step for each joint; heatmap pixels."""
    coords, scores = peaks(heatmaps)
    smooth = np.empty_like(heatmaps)
    for n in range(heatmaps.shape[0]):
        for k in range(heatmaps.shape[1]):
            top = heatmaps[n, k].max()
            smooth[n, k] = _smooth(heatmaps[n, k], taps)
            smooth[n, k] *= top / smooth[n, k].max()
    logs = np.log(np.maximum(smooth, 1e-10))
    for n in range(coords.shape[0]):
        for k in range(coords.shape[1]):
            coords[n, k] = _taylor(logs[n, k], coords[n, k])
    return coords, scores


def masks(predicted: Array, target: Array, visible: Array, components: int) -> Array:
    """CAL: displacements of the mini-batch, scikit-learn's mixture, a patch pasted at each joint's pixel.

    Args:
        predicted: Heatmaps ``(B, K, h, w)``.
        target: Target heatmaps ``(B, K, h, w)``.
        visible: ``(B, K)``.
        components: Number of Gaussians.
    """
    from sklearn.mixture import GaussianMixture

    height, width = predicted.shape[2:]
    coarse, _ = peaks(predicted)
    truth, _ = peaks(target)
    mixture = GaussianMixture(components, random_state=0).fit((coarse - truth)[visible > 0])
    reach = 3
    steps = np.arange(-reach, reach + 1, dtype=np.float64)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    patch = np.exp(mixture.score_samples(grid)).reshape(7, 7).astype(np.float32)
    drawn = np.zeros_like(predicted)
    for n in range(drawn.shape[0]):
        for k in range(drawn.shape[1]):
            if visible[n, k] == 0:
                continue
            x, y = int(truth[n, k, 0]), int(truth[n, k, 1])
            left, right = max(0, x - reach), min(x + reach + 1, width)
            top, bottom = max(0, y - reach), min(y + reach + 1, height)
            drawn[n, k, top:bottom, left:right] = patch[
                top - y + reach : bottom - y + reach, left - x + reach : right - x + reach
            ]
    low, high = drawn.min((2, 3), keepdims=True), drawn.max((2, 3), keepdims=True)
    result: Array = (drawn - low) / (high - low + 1e-5)
    return result
