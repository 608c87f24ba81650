"""A method of pose estimation: the three objects in which methods differ.

HRNet, DARK, UDP, CAL and the rest are trained by one loop and read by one
predictor. What is their own is the network, the codec between joints and maps,
and the loss. ``build_method`` knows the published combinations.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from calbook.codecs import Codec, build_codec
from calbook.geometry import Size
from calbook.losses import JointsLoss, OffsetLoss, build_loss
from calbook.models import build_model
from calbook.options import nearest

STRIDE = 4  # input pixels per heatmap pixel, the same for every network of the papers


@dataclass(frozen=True)
class Method:
    """A network, a codec and a loss, by name and options.

    Attributes:
        model: Name for ``models.build_model``.
        codec: Name for ``codecs.build_codec``.
        loss: Name for ``losses.build_loss``.
        input_size: Height and width of the network's input.
        model_options: Options of the network.
        codec_options: Options of the codec.
        loss_options: Options of the loss.

    >>> method = Method("cal-hrnet-tiny", "cal", "cal", (64, 48))
    >>> method.heatmap_size
    (16, 12)
    >>> from dataclasses import asdict
    >>> Method.from_dict(asdict(method)) == method
    True
    """

    model: str
    codec: str
    loss: str
    input_size: Size
    model_options: dict[str, Any] = field(default_factory=dict)
    codec_options: dict[str, Any] = field(default_factory=dict)
    loss_options: dict[str, Any] = field(default_factory=dict)

    @property
    def heatmap_size(self) -> Size:
        """Height and width of the maps."""
        return self.input_size[0] // STRIDE, self.input_size[1] // STRIDE

    def build_model(self, num_joints: int) -> nn.Module:
        """The network, with fresh weights."""
        return build_model(self.model, num_joints, input_size=self.input_size, **self.model_options)

    def build_codec(self) -> Codec:
        """The codec between joints and maps."""
        return build_codec(self.codec, self.input_size, self.heatmap_size, **self.codec_options)

    def build_loss(self) -> JointsLoss | OffsetLoss:
        """What training minimises."""
        return build_loss(self.loss, **self.loss_options)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Method":
        """The method that ``dataclasses.asdict`` wrote, also after JSON made lists of its sizes.

        Raises:
            TypeError: A field is missing or unknown.
        """
        method = cls(**record)
        return replace(
            method,
            input_size=(int(method.input_size[0]), int(method.input_size[1])),
            model_options=_with_tuples(method.model_options),
            codec_options=_with_tuples(method.codec_options),
            loss_options=_with_tuples(method.loss_options),
        )


def _with_tuples(options: dict[str, Any]) -> dict[str, Any]:
    """Options as Python has them: no option is a list, JSON knows no tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


_Recipe = Callable[[str, Size], Method]

# The published combinations, for a width of HRNet (w32, w48, tiny) and an input size.
METHODS: dict[str, _Recipe] = {
    "hrnet": lambda width, size: Method(f"hrnet-{width}", "heatmap", "heatmap", size),
    "dark": lambda width, size: Method(f"hrnet-{width}", "dark", "heatmap", size),
    "udp": lambda width, size: Method(f"udp-hrnet-{width}", "offset", "udp", size),
    "cal": lambda width, size: Method(f"cal-hrnet-{width}", "cal", "cal", size),
}


def build_method(name: str, input_size: Size, **changes: Any) -> Method:
    """A published method by name, such as ``cal-w32``.

    Args:
        name: Name of the method and width of its network, joined by a dash.
        input_size: Height and width of the network's input.
        **changes: Fields of ``Method`` to replace.

    Raises:
        ValueError: Unknown method.

    >>> build_method("dark-tiny", (64, 48)).model
    'hrnet-tiny'
    """
    method, _, width = name.partition("-")
    if method not in METHODS:
        raise ValueError(f"unknown method {name!r}{nearest(method, METHODS)}: choose one of {', '.join(METHODS)}")
    return replace(METHODS[method](width, input_size), **changes)
