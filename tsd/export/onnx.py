"""A graph to an ONNX file's bytes."""

import logging
import warnings

import torch

from tsd.export.graphs import Graph

OPSET = 20
"""The first in which GridSample takes what our warps ask of it, and read by every runtime of the last two years."""


def to_onnx(graph: Graph) -> bytes:
    """The model with free dimensions as they are named in ``graph.shapes``; weights inside."""
    free = {
        name: {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(shape) if isinstance(size, str)}
        for name, shape in graph.shapes.items()
    }
    with torch.no_grad(), warnings.catch_warnings():
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
