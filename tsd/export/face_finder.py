"""The three nets of the face finder (MTCNN, Zhang et al. 2016, with the weights of facenet-pytorch) as graphs, for
programs without PyTorch. What is computed around them is ``tsd/browser/program/src/faces.ts``."""

from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch import nn

from tsd.weights.graphs import BATCH, Function, Graph

HEIGHT, WIDTH = "height", "width"


def graphs_of_finder() -> dict[str, Graph]:
    """``pnet``: pictures [batch, 3, height, width] -> shifts [batch, 4, h, w] and "no face, face" [batch, 2, h, w];
    ``rnet`` and ``onet``: crops of 24 and 48 pixels -> the same for each, [batch, 4] and [batch, 2], and ``points``
    [batch, 10] of the last one. Pictures are (levels - 127.5) / 128."""
    nets = {"pnet": PNet(), "rnet": RNet(), "onet": ONet()}
    sizes = {"pnet": (HEIGHT, WIDTH), "rnet": (24, 24), "onet": (48, 48)}
    return {name: graph(nets[name].eval(), size, name == "onet") for name, size in sizes.items()}


def graph(net: nn.Module, size: tuple[int | str, int | str], has_points: bool) -> Graph:
    outputs = ["boxes", "points", "faces"] if has_points else ["boxes", "faces"]
    return Graph(Function(net, net), {"pictures": (BATCH, 3, *size)}, outputs)
