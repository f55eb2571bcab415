"""Writes the nets of ``tsd.media.face_finder`` from those of facenet-pytorch: ``python -m tsd.prepare.face_nets``."""

from pathlib import Path

import numpy as np
from torch import nn

from tsd.media.atomic import write_file
from tsd.media.face_finder import NETS

OPSET = 17


class Drawing:
    """An ONNX graph that grows node by node."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, value: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes) -> str:
        from onnx import helper

        name = output or f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def layer(self, module: nn.Module, x: str, output: str | None = None) -> str:
        """A layer of a net; a dense one sees its input with width before height, as these nets were trained."""
        values = {name: value.detach().numpy() for name, value in module.state_dict().items()}
        if isinstance(module, nn.Conv2d):
            return self.add("Conv", x, *(self.constant(values[k]) for k in ("weight", "bias")), output=output)
        if isinstance(module, nn.Linear):
            return self.add("Gemm", x, *(self.constant(values[k]) for k in ("weight", "bias")), output=output, transB=1)
        if isinstance(module, nn.PReLU):
            return self.add("PRelu", x, self.constant(values["weight"]), output=output)
        size, step = [module.kernel_size] * 2, [module.stride] * 2
        return self.add("MaxPool", x, output=output, kernel_shape=size, strides=step, ceil_mode=int(module.ceil_mode))

    def model(self, outputs: list[str]) -> bytes:
        from onnx import TensorProto, helper

        ports = [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["n", 3, "height", "width"])]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "face", ports, ends, self.constants)
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def drawn(net: nn.Module) -> bytes:
    """A net of MTCNN as an ONNX model: pictures [N, 3, H, W] -> probability of a face, moves, landmarks."""
    drawing, x = Drawing(), "pictures"
    layers = dict(net.named_children())
    heads = [name for name in layers if "_" in name and not name.startswith("softmax")]
    flat = False
    for name, module in layers.items():
        if "_" in name:
            continue
        if isinstance(module, nn.Linear) and not flat:
            x, flat = drawing.add("Flatten", drawing.add("Transpose", x, perm=[0, 3, 2, 1])), True
        if isinstance(module, nn.PReLU) and not flat:  # slopes of channels
            slope = drawing.constant(module.weight.detach().numpy()[:, None, None])
            x = drawing.add("PRelu", x, slope)
        else:
            x = drawing.layer(module, x)
    both = drawing.add("Softmax", drawing.layer(layers[heads[0]], x), axis=1)
    one = drawing.constant(np.array(1))
    drawing.add("Gather", both, one, output="probability", axis=1)
    outputs = ["probability", "moves", "landmarks"][: len(heads)]
    for name, output in zip(heads[1:], outputs[1:], strict=True):
        drawing.layer(layers[name], x, output)
    return drawing.model(outputs)


def main() -> None:
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

    NETS.mkdir(exist_ok=True)
    for name, net in {"propose": PNet(), "refine": RNet(), "output": ONet()}.items():
        write_file(Path(NETS) / f"{name}.onnx", drawn(net.eval()))


if __name__ == "__main__":
    main()
