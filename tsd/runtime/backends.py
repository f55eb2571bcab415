"""Who computes an exported graph: ONNX Runtime or OpenVINO, behind one call. (PyTorch runs the nets themselves.)"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from queue import SimpleQueue
from threading import Lock

import numpy as np
import torch

Graph = Callable[..., list[np.ndarray]]
"""graph(*inputs) -> outputs: arrays in the order of the graph's own inputs and outputs."""

PRECISIONS = {"torch": ("fp32",), "onnxruntime": ("fp32", "int8"), "openvino": ("fp32", "bf16", "int8")}
SHAPES = 4
"""Shapes of inputs that OpenVINO keeps a compiled graph for."""


def available() -> list[str]:
    """Every backend that is installed here, in each of its precisions: ``torch``, ``onnxruntime-int8``, …"""
    return [
        name if precision == "fp32" else f"{name}-{precision}"
        for name, precisions in PRECISIONS.items()
        if find_spec(name)
        for precision in precisions
        if precision != "bf16" or has_bf16()
    ]


def has_int8() -> bool:
    """Whether this processor multiplies 8 bits by 8 bits faster than float32 (VNNI)."""
    return torch.cpu._is_vnni_supported()


def has_bf16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this processor rather than emulating it."""
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def openvino_core():
    """The one ``openvino.Core`` of this process.

    A core gives the thread that first uses it a stack for signal handlers and takes it back when it ends. Several cores
    that do not end in reverse order, or end in another thread, leave in use a stack that is freed: the next signal
    (Ctrl-C, the end of a child) then kills the process.
    """
    import openvino

    return openvino.Core()


def parse(backend: str) -> tuple[str, str]:
    """``openvino-bf16`` -> ("openvino", "bf16"). Raises ValueError for what is unknown or not installed."""
    name, _, precision = backend.partition("-")
    precision = precision or "fp32"
    if precision not in PRECISIONS.get(name, ()):
        known = ", ".join(available())
        raise ValueError(f"backend={backend}: no such backend; here are {known}")
    if not find_spec(name):
        raise ValueError(f"backend={backend}: {name} is not installed; run `pip install {name}` or take backend=torch")
    return name, precision


def open_graph(backend: str, model: bytes, threads: int, fixed: bool = False, callers: int = 1) -> Graph:
    """An ONNX model made ready to run on ``threads`` threads.

    ``fixed``: its inputs come in few shapes, worth compiling for each where the backend can. ``callers``: how many may
    call it at once, each on ``threads`` threads.
    """
    name, precision = parse(backend)
    if name == "onnxruntime":
        return OnnxRuntimeGraph(model, threads)
    return OpenVinoGraph(model, threads, precision, fixed, callers)


class OnnxRuntimeGraph:
    """ONNX Runtime on the processor; any number may call it at once."""

    def __init__(self, model: bytes, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Every graph has threads of its own: those that spin after a call take the cores from the graph called next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = [entry.name for entry in self.session.get_inputs()]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        return self.session.run(None, dict(zip(self.inputs, inputs, strict=True)))


class OpenVinoGraph:
    """OpenVINO on the processor, a stream per caller; fp32 stays fp32 where the processor could do bfloat16, and what
    int8 leaves in floating point, too: bfloat16 does not tell 256 levels apart."""

    def __init__(self, model: bytes, threads: int, precision: str, fixed: bool, callers: int):
        self.model, self.fixed, self.callers = model, fixed, callers
        self.options = {
            "INFERENCE_NUM_THREADS": threads * callers,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": callers,
        }
        self.requests: dict[tuple, SimpleQueue] = {}
        """By shapes of inputs: the requests that nobody is using."""
        self.compiling = Lock()

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        shapes = tuple(x.shape for x in inputs) if self.fixed else ()
        with self.compiling:
            if shapes not in self.requests:
                if len(self.requests) == SHAPES:
                    del self.requests[next(iter(self.requests))]
                self.requests[shapes] = self._compile(shapes)
            free = self.requests[shapes]
        request = free.get()
        try:
            request.infer(dict(enumerate(inputs)), share_inputs=True)
            return [tensor.data.copy() for tensor in request.output_tensors]
        finally:
            free.put(request)

    def _compile(self, shapes: tuple) -> SimpleQueue:
        model = openvino_core().read_model(self.model)
        if shapes:
            model.reshape(dict(enumerate(map(list, shapes))))
        compiled, free = openvino_core().compile_model(model, "CPU", self.options), SimpleQueue()
        for _ in range(self.callers):
            free.put(compiled.create_infer_request())
        return free
