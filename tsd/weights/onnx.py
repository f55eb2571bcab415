"""A graph to an ONNX file's bytes, and these without their weights."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from tsd.weights.graphs import Graph

OPSET = 20
"""The first in which GridSample takes what our warps ask of it, and read by every runtime of the last two years."""


def by_means(layer: nn.GroupNorm, x: Tensor) -> Tensor:
    """Group normalisation of x [N, C, h, w] from means per channel: it never takes x apart into groups.

    The exporter's own form does, and there OpenVINO carries pictures from its fast layout to the plain one and back:
    the decoder took 1.6 times as long in float32.
    """
    groups = layer.num_groups

    def of_group(channels: Tensor) -> Tensor:
        grouped = channels.reshape(-1, groups, layer.num_channels // groups)
        return grouped.mean(2, keepdim=True).expand_as(grouped).reshape(-1, layer.num_channels, 1, 1)

    centred = x - of_group(x.mean((2, 3)))
    squares = torch.linalg.vector_norm(centred, dim=(2, 3)).square() / (x.shape[2] * x.shape[3])
    scale = (of_group(squares) + layer.eps).rsqrt() * layer.weight[:, None, None]
    return centred * scale + layer.bias[:, None, None]


@contextmanager
def norms_by_means(net: nn.Module) -> Iterator[None]:
    """Every GroupNorm of a net computed by ``by_means`` inside the block."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.GroupNorm)]
    for layer in layers:
        layer.forward = partial(by_means, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def to_onnx(graph: Graph) -> bytes:
    """The model with free dimensions as they are named in ``graph.shapes``; weights inside."""
    free = {
        name: {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(shape) if isinstance(size, str)}
        for name, shape in graph.shapes.items()
    }
    # A step's pictures are small: there the more numerous nodes cost more than the layout.
    norms = norms_by_means(graph.function.net) if graph.large else nullcontext()
    with torch.no_grad(), warnings.catch_warnings(), norms:
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            graph.function.eval(),
            tuple(graph.example().values()),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=list(graph.shapes),
            output_names=graph.outputs,
            dynamic_shapes=(tuple(free.values()),),
        )
    model = program.model_proto
    for entry in model.graph.input:
        for dimension, size in zip(entry.type.tensor_type.shape.dim, graph.shapes[entry.name], strict=True):
            if isinstance(size, str):
                dimension.dim_param = size
    return model.SerializeToString()


def without_weights(model: bytes, arrays: dict[str, np.ndarray]) -> tuple[bytes, dict[str, str]]:
    """A model less the constants that are equal to ``arrays`` of a weights file, and {name of such a constant: name of
    its array}; ``runtime.graph_files.with_weights`` puts them back. What the exporter noted of every node goes, too."""
    import onnx

    proto, taken = onnx.load_from_string(model), {}
    for constant in proto.graph.initializer:
        name = constant.name.partition(".")[2]  # without the name of the traced module
        array = arrays.get(name)
        if array is None or array.dtype != np.float32 or constant.data_type != onnx.TensorProto.FLOAT:
            continue
        if np.array_equal(onnx.numpy_helper.to_array(constant), array):
            taken[constant.name] = name
    kept = [constant for constant in proto.graph.initializer if constant.name not in taken]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info):
        del part.metadata_props[:]
    del proto.graph.value_info[:]
    return proto.SerializeToString(), taken
