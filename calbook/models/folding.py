"""The same network, faster, for prediction only.

Three things cost time in evaluation and change nothing in the result:

* Batch norms. With their statistics fixed they are affine maps, and an affine
  map after a convolution is a convolution: w' = w * g / s, b' = b_bn - g * m / s,
  for mean m, deviation s, weight g and bias b_bn of the batch norm.
* Memory traffic. A ReLU, or the sum of a residual block and its ReLU, can be
  applied while a convolution's output is still in registers. On a CPU, oneDNN
  has convolutions that do so.
* Layout. Pictures whose channels lie side by side (``channels_last``) suit both
  oneDNN and tensor cores.

The published code does none of them.
"""

import copy
import operator
from typing import Literal

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from calbook.models.blocks import accept_images
from calbook.options import check_choice
from calbook.poses import PoseMaps

Precision = Literal["float32", "bfloat16"]


def fast_inference(model: nn.Module, precision: Precision = "float32") -> nn.Module:
    """A copy of a network that predicts the same maps in less time.

    It holds the weights of this moment, cannot be trained, and stays on the
    device where the network is. What speeds it up there is chosen by itself.

    Args:
        model: Of ``build_model``, on the device where it will run; not changed.
        precision: Arithmetic of the convolutions. ``"bfloat16"`` keeps about
            three digits: fast where the processor has it.

    Returns:
        A module from pictures ``(B, 3, H, W)`` in any floating type to ``PoseMaps`` in float32.

    >>> from calbook.models import build_model
    >>> model = build_model("hrnet-tiny").eval()
    >>> images = torch.randn(2, 3, 64, 48)
    >>> torch.allclose(fast_inference(model)(images).heatmaps, model(images).heatmaps, atol=1e-5)
    True
    """
    check_choice("precision", precision, Precision)
    dtype = getattr(torch, precision)
    graph = fold_batch_norms(model).to(dtype).requires_grad_(False)
    graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's annotations lack it
    if _onednn_can_fuse(next(model.parameters()).device, dtype):
        fuse_convolutions(graph)
    return FastInference(graph, dtype)


class FastInference(nn.Module):
    """Converts pictures and maps around a folded network; made by ``fast_inference``."""

    def __init__(self, graph: fx.GraphModule, dtype: torch.dtype) -> None:
        super().__init__()
        self.graph = graph
        self.dtype = dtype
        self.eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> PoseMaps:
        """Pictures ``(B, 3, H, W)`` to maps in float32."""
        maps = self.graph(images.to(self.dtype))
        return PoseMaps(maps.heatmaps.float(), None if maps.offsets is None else maps.offsets.float())

    def train(self, mode: bool = True) -> "FastInference":
        """Refuse to be trained: the batch norms are gone."""
        if mode:
            raise RuntimeError("a network of fast_inference cannot be trained: train the one that it was made from")
        return super().train(False)


def fold_batch_norms(model: nn.Module) -> fx.GraphModule:
    """A traced copy of a network in which batch norms have become part of the convolutions before them."""
    model = copy.deepcopy(model).eval()
    tracer = fx.Tracer(autowrap_functions=(accept_images,))
    graph = fx.GraphModule(model, tracer.trace(model))
    for node in list(graph.graph.nodes):
        norm = _module(graph, node)
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        before = node.args[0]
        layer = _module(graph, before)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and len(before.users) == 1:
            folded = fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, nn.ConvTranspose2d))
            graph.add_submodule(before.target, folded)
            node.replace_all_uses_with(before)
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def _module(graph: fx.GraphModule, node: object) -> nn.Module | None:
    """The module that a node of the graph calls, if it calls one."""
    if isinstance(node, fx.Node) and node.op == "call_module":
        return graph.get_submodule(str(node.target))
    return None


def _onednn_can_fuse(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch and this processor have the fused convolutions for ``dtype``."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    operators = torch.ops.mkldnn
    if not all(hasattr(operators, name) for name in ("_convolution_pointwise", "_reorder_convolution_weight")):
        return False
    return dtype == torch.float32 or bool(operators._is_mkldnn_bf16_supported())


class FusedConv2d(nn.Module):
    """A convolution that adds another map and rectifies before it writes its output (oneDNN)."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Conv2d, relu: bool) -> None:
        super().__init__()
        self.geometry = (list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups)
        self.relu = relu
        packed = torch.ops.mkldnn._reorder_convolution_weight(layer.weight.detach(), *self.geometry)
        self.register_buffer("weight", packed, persistent=False)  # in oneDNN's own layout
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())

    def forward(self, maps: Tensor, other: Tensor | None = None) -> Tensor:
        """relu(conv(maps) + other), without the parts that are not there."""
        operators, weights = torch.ops.mkldnn, (self.weight, self.bias, *self.geometry)
        if other is None:
            after = "relu" if self.relu else "none"
            fused: Tensor = operators._convolution_pointwise(maps, *weights, after, [], "")
        else:
            final = "relu" if self.relu else None
            fused = operators._convolution_pointwise.binary(maps, other, *weights, "add", 1.0, final, [], None)
        return fused


def fuse_convolutions(graph: fx.GraphModule) -> None:
    """Draw the sum and the ReLU that follow a convolution into it, in place."""
    for node in list(graph.graph.nodes):
        layer = _module(graph, node)
        if not isinstance(layer, nn.Conv2d):
            continue
        chain, other = [node], None
        following = _only_user(node)
        if following is not None and following.target in (operator.add, operator.iadd):
            other = next((n for n in following.args if isinstance(n, fx.Node) and n is not node), None)
            chain += [following] if other is not None else []
        rectifier = _only_user(chain[-1])
        if rectifier is not None and isinstance(_module(graph, rectifier), nn.ReLU):
            chain.append(rectifier)
        graph.add_submodule(str(node.target), FusedConv2d(layer, relu=chain[-1] is rectifier))
        with graph.graph.inserting_before(chain[-1]):  # where ``other`` is known, too
            arguments = (node.args[0],) if other is None else (node.args[0], other)
            fused = graph.graph.call_module(str(node.target), arguments)
        chain[-1].replace_all_uses_with(fused)
        for replaced in reversed(chain):
            graph.graph.erase_node(replaced)
    graph.recompile()


def _only_user(node: fx.Node) -> fx.Node | None:
    """The node that uses this one, if there is exactly one."""
    return next(iter(node.users)) if len(node.users) == 1 else None
