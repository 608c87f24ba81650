"""Skin, hair and clothes: the colours and patterns of people, and what they wear."""

from dataclasses import dataclass

import torch
from torch import Tensor

from calbook.data.draws import Draws
from calbook.data.synthetic.shapes import Material

_SKIN = (
    (0.97, 0.82, 0.72),
    (0.92, 0.73, 0.60),
    (0.82, 0.62, 0.48),
    (0.66, 0.47, 0.34),
    (0.47, 0.32, 0.22),
    (0.33, 0.22, 0.16),
)
_HAIR = (
    (0.06, 0.05, 0.05),
    (0.15, 0.10, 0.07),
    (0.30, 0.19, 0.11),
    (0.50, 0.34, 0.18),
    (0.80, 0.66, 0.40),
    (0.52, 0.22, 0.10),
    (0.62, 0.60, 0.58),
)
_HAIR_SHARES = (3.0, 3.0, 2.0, 1.2, 1.2, 0.4, 0.8)
_PLAIN = (
    (0.94, 0.94, 0.93),
    (0.62, 0.62, 0.64),
    (0.33, 0.34, 0.37),
    (0.09, 0.09, 0.11),
    (0.13, 0.18, 0.34),
    (0.28, 0.38, 0.55),
    (0.76, 0.69, 0.56),
    (0.42, 0.34, 0.26),
)
_SHOES = (
    (0.93, 0.93, 0.92),
    (0.10, 0.10, 0.11),
    (0.36, 0.23, 0.14),
    (0.55, 0.56, 0.60),
    (0.60, 0.14, 0.14),
    (0.15, 0.22, 0.45),
)
SLEEVES = ("none", "short", "long")
LOWER = ("trousers", "shorts", "skirt")
HAIRSTYLES = ("short", "long", "bob", "ponytail", "bun", "bald")
HATS = ("none", "cap", "sun hat", "helmet")


@dataclass(frozen=True)
class Outfit:
    """What people wear, indices ``(N, P)`` into the tuples above, and its materials.

    Attributes:
        sleeves, lower, hairstyle, hat: Index of the kind.
        beard, backpack, swimwear: Booleans.
        palette: Materials by name, each ``(N, P, 12)``.
    """

    sleeves: Tensor
    lower: Tensor
    hairstyle: Tensor
    hat: Tensor
    beard: Tensor
    backpack: Tensor
    swimwear: Tensor
    palette: dict[str, Tensor]

    def index(self, chosen: str, other: str, where: Tensor) -> Tensor:
        """Palette indices ``(N, P)``: ``chosen`` where true, ``other`` elsewhere."""
        names = list(self.palette)
        return torch.where(where, names.index(chosen), names.index(other))


def hue(angle: Tensor, strength: Tensor, value: Tensor) -> Tensor:
    """Colours ``(..., 3)`` from hue (turns), saturation and value, all ``(...)``."""
    shift = angle.new_tensor([0.0, 2 / 3, 1 / 3])
    wheel = ((angle[..., None] + shift).frac() * 6 - 3).abs() - 1
    return value[..., None] * (1 - strength[..., None] * (1 - wheel.clamp(0, 1)))


def _pick(
    draws: Draws, table: tuple[tuple[float, float, float], ...], weights: tuple[float, ...], people: int
) -> Tensor:
    index = draws.choice(weights, people)
    return torch.tensor(table, dtype=torch.float64, device=index.device)[index]


def _cloth_colour(draws: Draws, people: int, plain: float) -> Tensor:
    """A colour of cloth ``(N, P, 3)``: a neutral one with probability ``plain``."""
    neutral = _pick(draws, _PLAIN, (1.0,) * len(_PLAIN), people)
    vivid = hue(
        draws.uniform(people),
        draws.uniform(people, low=0.25, high=0.95),
        draws.uniform(people, low=0.3, high=0.97),
    )
    return torch.where(draws.chance(plain, people)[..., None], neutral, vivid)


def _cloth(draws: Draws, people: int, plain: float, patterned: float) -> Tensor:
    """A garment ``(N, P, 12)``: plain, bands along or around, checks or a print."""
    colour, second = _cloth_colour(draws, people, plain), _cloth_colour(draws, people, 0.6)
    kind = draws.choice((1 - patterned, *([patterned / 5] * 5)), people)
    bands = ((kind == 1) | (kind == 2)).double()
    upright, checks, print_ = (kind == 3).double(), (kind == 4).double(), (kind == 5).double()
    pitch = torch.stack([draws.uniform(people, low=6, high=16), draws.uniform(people, low=8, high=18)], -1)
    folds = draws.uniform(people, low=0.04, high=0.16)
    return Material(colour, second, bands + 0.5 * checks, upright + 0.5 * checks, print_, pitch, folds).packed()


def draw_outfit(draws: Draws, people: int, female: Tensor) -> Outfit:
    """Dress ``people`` people in each picture; ``female (N, P)`` shifts the choices."""
    woman = female > 0.5
    tone = draws.uniform(people) ** 1.15 * (len(_SKIN) - 1.001)
    table = torch.tensor(_SKIN, dtype=torch.float64, device=tone.device)
    low, share = tone.floor().long(), tone.frac()[..., None]
    skin = table[low] * (1 - share) + table[low + 1] * share
    skin = skin * (1 + draws.bell(people, 3, spread=0.015))
    hair = _pick(draws, _HAIR, _HAIR_SHARES, people)
    hair = (hair * draws.uniform(people, low=0.75, high=1.2)[..., None]).clamp(0, 1)
    top, bottom = _cloth(draws, people, 0.45, 0.42), _cloth(draws, people, 0.75, 0.14)
    # A dress is a skirt of the colour of the top; overalls come out of the same rule.
    bottom = torch.where((draws.chance(0.14, people))[..., None], top, bottom)
    shoe = _pick(draws, _SHOES, (2.5, 2.5, 1.0, 0.8, 0.4, 0.4), people)

    def flat(colour: Tensor, second: Tensor | None = None, folds: float = 0.03, print_: float = 0.0) -> Tensor:
        return Material(colour, colour if second is None else second, print_=print_, folds=folds).packed()

    palette = {
        "skin": flat(skin), "top": top, "bottom": bottom, "shoe": flat(shoe),
        "hair": flat(hair, hair * 0.6, 0.16, 0.5),
        "sole": flat(shoe * 0.35 + 0.35 * draws.uniform(people)[..., None]),
        "hat": _cloth(draws, people, 0.5, 0.2), "bag": _cloth(draws, people, 0.4, 0.1),
        "white": flat(torch.full_like(skin, 0.93)), "iris": flat(hair * 0.25 + 0.04),
        "lip": flat(skin * skin.new_tensor([0.80, 0.52, 0.52])),
        "blush": flat(skin * skin.new_tensor([0.97, 0.86, 0.84])),
    }  # fmt: skip
    swim = draws.chance(0.05, people)
    styles = torch.where(
        woman,
        draws.choice((0.7, 2.6, 1.4, 1.8, 0.9, 0.0), people),
        draws.choice((5.0, 0.3, 0.3, 0.15, 0.1, 0.7), people),
    )
    lower = torch.where(woman, draws.choice((5.5, 2.2, 2.6), people), draws.choice((6.5, 3.5, 0.0), people))
    return Outfit(
        sleeves=torch.where(swim, 0, draws.choice((0.8, 4.0, 4.2), people)),
        lower=torch.where(swim, 1, lower),
        hairstyle=styles,
        hat=draws.choice((7.6, 1.4, 0.5, 0.6), people),
        beard=draws.chance(0.3, people) & ~woman,
        backpack=draws.chance(0.1, people),
        swimwear=swim & ~woman,
        palette=palette,
    )
