"""Graphs with weights and activations of 8 bits, their ranges learnt from what real clips send through them."""

import tempfile
from pathlib import Path

import numpy as np

QUANTISED = ("step", "decoder")
"""What every frame costs. Speech is heard in float32: it is cheap, and lips depend on it."""

KEPT = ("to_flow", "to_picture", "leave", "enter")
"""Layers that stay in float32, by their name in the net: where pixels, flow and latents are read and written."""


def quantise(model: bytes, inputs: list[dict[str, np.ndarray]]) -> bytes:
    """The model with its convolutions in int8 (one scale per channel), calibrated on ``inputs``."""
    import onnx
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(q.CalibrationDataReader):
        left = iter(inputs)

        def get_next(self):
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        path, ready, result = (Path(folder) / name for name in ("model.onnx", "ready.onnx", "int8.onnx"))
        path.write_bytes(model)
        quant_pre_process(path, ready, skip_symbolic_shape=True)
        nodes = onnx.load(ready).graph.node
        kept = [n.name for n in nodes if n.op_type == "Conv" and any(f".{word}" in n.input[1] for word in KEPT)]
        q.quantize_static(
            ready,
            result,
            Reader(),
            quant_format=q.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            # Weights of 7 bits: processors without VNNI add two products in 16 bits, which 8 bits overflow.
            reduce_range=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            nodes_to_exclude=kept,
            calibrate_method=q.CalibrationMethod.MinMax,
        )
        return result.read_bytes()
