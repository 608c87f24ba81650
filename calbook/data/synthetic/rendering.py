"""Rendering: from a seed and an index to a picture with exact labels."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from calbook.data.draws import Draws
from calbook.data.synthetic.backdrop import cloth_plate, draw_setting, paint_backdrop, random_plate
from calbook.data.synthetic.camera import Outlines, draw_camera, frame, project
from calbook.data.synthetic.config import CROPS, SceneConfig, SyntheticBatch
from calbook.data.synthetic.labels import boxes_and_areas, flesh_before_joints, place_joints, visibility
from calbook.data.synthetic.raster import Fragments, nearest, rasterize
from calbook.data.synthetic.scene import draw_background, draw_occluders, draw_people
from calbook.data.synthetic.sensor import draw_sensor, expose
from calbook.data.synthetic.shading import draw_light, shade, shading_table, shadow_shapes
from calbook.data.synthetic.shapes import Shapes, join
from calbook.geometry import Size

CHUNK_PIXELS = 40 * 128 * 96  # rendered at once on the CPU: more leave the cache, fewer cost calls
MIN_IN_SIGHT = 3  # joints of the main person that no object or other person may hide
_MIN_PIXELS = 12  # a bystander of fewer visible pixels is not annotated


def render(
    seed: int,
    count: int,
    size: Size = (128, 96),
    device: torch.device | str = "cpu",
    start: int = 0,
    config: SceneConfig = CROPS,
) -> SyntheticBatch:
    """Render pictures of synthetic people.

    Picture i of a series is a function of (seed, i) alone: it is the same in any
    batch. On another kind of device it is the same scene, equal to rounding.

    Args:
        seed: Seed of the series.
        count: Number of pictures, N.
        size: Height and width in pixels, at least 16 each.
        device: Where to compute and to return the result.
        start: Index of the first picture.
        config: Distribution of the scenes; ``len(config.people)`` is P.

    Raises:
        ValueError: If a size is below 16, or ``count`` or ``start`` is negative.

    >>> batch = render(seed=0, count=2, size=(64, 48))
    >>> tuple(batch.pictures.shape), tuple(batch.joints.shape), tuple(batch.boxes.shape)
    ((2, 3, 64, 48), (2, 3, 17, 2), (2, 3, 4))
    >>> torch.equal(render(0, 1, (64, 48), start=1).pictures[0], batch.pictures[1])
    True
    """
    if min(size) < 16:
        raise ValueError(f"pictures need at least 16 x 16 pixels, got {size}")
    if count < 0 or start < 0:
        raise ValueError(f"count and start must not be negative, got {count} and {start}")
    place = torch.device(device)
    plate = random_plate(place)
    step = max(1, CHUNK_PIXELS // (size[0] * size[1])) * (1 if place.type == "cpu" else 16)

    def chunk(first: int) -> SyntheticBatch:
        number = min(step, start + count - first)
        return _render_chunk(
            Draws(seed, range(first, first + number), columns(len(config.people)), place), size, config, plate
        )

    chunks = _map(
        chunk, range(start, start + max(count, 1), step), torch.get_num_threads() if place.type == "cpu" else 1
    )
    batch = SyntheticBatch(*(torch.cat(parts) for parts in zip(*chunks, strict=True)))
    return SyntheticBatch(*(value[:count] for value in batch))


def _map(chunk: Callable[[int], SyntheticBatch], firsts: range, threads: int) -> list[SyntheticBatch]:
    """Render chunks side by side: the many small operations of one do not divide well among threads."""
    if threads == 1 or len(firsts) == 1:
        return [chunk(first) for first in firsts]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(chunk, firsts))
    finally:
        torch.set_num_threads(threads)


def columns(people: int) -> int:
    """Random numbers that a picture with up to ``people`` people may use."""
    return 1400 + 300 * people


@torch.no_grad()
def _render_chunk(draws: Draws, size: Size, config: SceneConfig, plate: Tensor) -> SyntheticBatch:
    """Pictures of one chunk: draw the scene, project it, paint it, label it."""
    people = draw_people(draws, config)
    outdoors = draws.chance(config.outdoors)
    setting, light, sensor = draw_setting(draws, outdoors), draw_light(draws), draw_sensor(draws, config)
    middle = people.joints[:, 0, :, 1].mean(-1).clamp(min=0.3)
    camera = draw_camera(draws, config, middle)
    main = Shapes(*(getattr(people.shapes, name)[:, 0] for name in Shapes.__dataclass_fields__))
    camera = frame(camera, main, config, draws, size)

    bodies = people.shapes.flatten()
    occluders = draw_occluders(draws, people, camera, config.occluder)
    shapes = join([bodies, people.seats.flatten(), draw_background(draws, outdoors), occluders])
    exact, seen = project(shapes, camera)
    table = shading_table(shapes, exact, camera, light)
    outlines = Outlines(*(value.float() for value in exact))
    pixels, inside = place_joints(people.joints, camera, size)
    inside &= people.present[..., None]
    owner = _owners(people.present.shape[1], people.shapes.a.shape[2], shapes.a.shape[1], plate.device)
    flesh = flesh_before_joints(people.build)
    visible = visibility(pixels, inside, outlines, seen, flesh)
    _clear_view(visible, inside, seen, owner, pixels, outlines, flesh)

    pictures, ground = paint_backdrop(setting, camera, plate, size)
    flat, lying = project(shadow_shapes(bodies, light), camera)
    shadow = _shadow_mask(Outlines(*(value.float() for value in flat)), lying, size, len(pictures))
    dark = (shadow * ground) * light.shadow.float()[:, None, None]
    pictures = pictures * (1 - dark)[:, None]
    fragments = rasterize(outlines, seen, size)
    pictures, masks = _composite(pictures, fragments, table, cloth_plate(plate), owner, people.present.shape[1])

    boxes, areas = boxes_and_areas(masks)
    present = (areas >= _MIN_PIXELS) & (visible > 0).any(-1)
    present[:, 0] = True
    visible = visible * present[..., None]
    joints = torch.where((visible > 0)[..., None], pixels[..., :2], 0.0).float()
    pictures = expose(pictures, sensor, plate)
    return SyntheticBatch(pictures, joints, visible, boxes * present[..., None], areas * present, present)


def _clear_view(
    visible: Tensor, inside: Tensor, seen: Tensor, owner: Tensor, pixels: Tensor, outlines: Outlines, flesh: Tensor
) -> None:
    """Remove, in place, all that hides a main person of whom too little is in sight.

    Nobody annotates a person who cannot be seen. Where fewer than ``MIN_IN_SIGHT``
    joints are, all other people and things go.
    """
    buried = (visible[:, 0] == 2).sum(-1) < MIN_IN_SIGHT
    seen &= (owner == 0) | ~buried[:, None]
    inside[:, 1:] &= ~buried[:, None, None]
    rows = buried.nonzero()[:, 0]
    if len(rows):
        some = Outlines(*(value[rows] for value in outlines))
        visible[rows] = visibility(pixels[rows], inside[rows], some, seen[rows], flesh[rows])


def _owners(people: int, shapes_each: int, shapes: int, device: torch.device) -> Tensor:
    """Whose each of the S shapes is: the person's number, or P for things."""
    number = torch.arange(shapes, device=device)
    return torch.div(number, shapes_each, rounding_mode="floor").clamp(max=people)


def _shadow_mask(outlines: Outlines, seen: Tensor, size: Size, count: int) -> Tensor:
    """How much of each pixel lies in shadow, ``(N, H, W)``."""
    fragments = rasterize(outlines, seen, size)
    mask = torch.zeros(count * size[0] * size[1], device=seen.device)
    mask.scatter_reduce_(0, fragments.pixel, fragments.surface.coverage.flatten()[fragments.point], "amax")
    return mask.reshape(count, *size)


def _composite(
    pictures: Tensor, fragments: Fragments, table: Tensor, cloth: Tensor, owner: Tensor, people: int
) -> tuple[Tensor, Tensor]:
    """Lay the surfaces over the backdrop, front to back.

    Returns:
        Pictures ``(N, 3, H, W)`` and masks ``(N, P, H, W)``: pixels of which at
        least half shows the person.
    """
    count, _, height, width = pictures.shape
    pixels = count * height * width
    light = torch.ones(pixels, device=pictures.device)  # share that still comes from behind
    # Every pixel counts for one slot per person and one for things, kept as a flat array.
    shares = torch.zeros(pixels * (people + 1), device=pictures.device)
    layers = []
    for pixel, point in nearest(fragments, pixels):
        before = light[pixel]
        lit = (before > 0.01).nonzero()[:, 0]
        pixel, point, before = pixel[lit], point[lit], before[lit]
        coverage = fragments.surface.coverage.flatten()[point]
        light[pixel] = before * (1 - coverage)
        whose = owner[fragments.shape[point % len(fragments.shape)] % len(owner)]
        shares[pixel * (people + 1) + whose] += before * coverage
        layers.append((pixel, coverage, shade(fragments, point, table, cloth)))
    # Paint from back to front: out = behind + coverage (colour - behind).
    canvas = pictures.transpose(0, 1).reshape(3, pixels).contiguous()
    for pixel, coverage, colour in reversed(layers):
        behind = canvas.index_select(1, pixel)
        canvas.index_copy_(1, pixel, behind + coverage * (colour - behind))
    painted = canvas.reshape(3, count, height, width).transpose(0, 1).contiguous()
    masks = shares.reshape(count, height, width, people + 1)[..., :people] >= 0.5
    return painted, masks.permute(0, 3, 1, 2)
