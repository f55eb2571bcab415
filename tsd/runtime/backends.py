"""Backends that run exported graphs: ONNX Runtime and OpenVINO, behind one call. (PyTorch runs the nets directly.)"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from queue import SimpleQueue
from threading import Lock

import numpy as np

from tsd.media import processor

Graph = Callable[..., list[np.ndarray]]
"""graph(*inputs) -> outputs: arrays in the order of the graph's own inputs and outputs."""

PRECISIONS = {
    "torch": ("fp32",),
    "onnxruntime": ("fp32", "int8", "xnnpack"),
    "openvino": ("fp32", "bf16", "int8"),
}
"""``onnxruntime-xnnpack``: float32 by XNNPACK, where ONNX Runtime was built with it (its wheels on PyPI are not)."""

MEMORY = ("usual", "least")
"""``least``: ONNX Runtime gives memory back after every node instead of keeping it for the next call, and does not plan
ahead where results lie. For boards with little of it."""

SHAPES = 4
"""Number of input shapes for which OpenVINO keeps a compiled graph."""


def available() -> list[str]:
    """The installed backends in each of their precisions: ``torch``, ``onnxruntime-int8``, …"""
    return [
        name if precision == "fp32" else f"{name}-{precision}"
        for name, precisions in PRECISIONS.items()
        if find_spec(name)
        for precision in precisions
        if can(precision)
    ]


def has_int8() -> bool:
    """Whether this processor multiplies 8 bits by 8 bits faster than float32 (VNNI)."""
    return "avx512_vnni" in processor.features()


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16 natively, by OpenVINO's account."""
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def has_xnnpack() -> bool:
    """Whether the installed ONNX Runtime has XNNPACK."""
    import onnxruntime

    return "XnnpackExecutionProvider" in onnxruntime.get_available_providers()


def can(precision: str) -> bool:
    """Whether processor and installed packages compute in this precision."""
    return has_bf16() if precision == "bf16" else precision != "xnnpack" or has_xnnpack()


@cache
def openvino_core():
    """The one ``openvino.Core`` of this process.

    A core installs a stack for signal handlers in the thread that first uses it and frees it when the core is
    destroyed. If several cores are not destroyed in reverse order, or in another thread, a freed stack stays in use:
    the next signal (Ctrl-C, the end of a child) then kills the process. With one core for the whole process this cannot
    happen.
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
    if precision == "xnnpack" and not has_xnnpack():
        raise ValueError(f"backend={backend}: this onnxruntime was built without XNNPACK; take backend=onnxruntime")
    return name, precision


def open_graph(
    backend: str, model: bytes, threads: int, fixed: bool = False, callers: int = 1, memory: str = "usual"
) -> Graph:
    """Load an ONNX model to run on ``threads`` threads.

    ``fixed``: its inputs have few different shapes, so the backend may compile it for each. ``callers``: how many
    threads may call it at the same time, each using ``threads`` threads. ``memory``: one of MEMORY.
    """
    name, precision = parse(backend)
    if name == "onnxruntime":
        return OnnxRuntimeGraph(model, threads, precision == "xnnpack", memory == "least")
    return OpenVinoGraph(model, threads, precision, fixed, callers)


class OnnxRuntimeGraph:
    """ONNX Runtime on the CPU; any number of threads may call it at the same time."""

    def __init__(self, model: bytes, threads: int, xnnpack: bool = False, least: bool = False):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Every graph has its own threads. If they kept spinning after a call, they would slow down the next graph.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = options.enable_mem_pattern = not least
        providers = ["CPUExecutionProvider"]
        if xnnpack:
            providers.insert(0, ("XnnpackExecutionProvider", {"intra_op_num_threads": str(threads)}))
            options.intra_op_num_threads = 1  # XNNPACK has threads of its own
        self.session = onnxruntime.InferenceSession(model, options, providers=providers)
        self.inputs = [entry.name for entry in self.session.get_inputs()]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        return self.session.run(None, dict(zip(self.inputs, inputs, strict=True)))


class OpenVinoGraph:
    """OpenVINO on the CPU, one stream per caller. fp32 stays fp32 even where the CPU has bfloat16, and so does what
    int8 leaves in floating point: bfloat16 cannot represent 256 levels."""

    def __init__(self, model: bytes, threads: int, precision: str, fixed: bool, callers: int):
        self.model, self.fixed, self.callers = model, fixed, callers
        self.options = {
            "INFERENCE_NUM_THREADS": threads * callers,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": callers,
        }
        self.requests: dict[tuple, SimpleQueue] = {}
        """Idle inference requests, by the shapes of the inputs."""
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
