"""Identity embeddings by facenet-pytorch's InceptionResnetV1 with weights from a local file (MIT licence).

For photographs. For drawn faces there is the embedder of the ``identity`` stage. Nothing is downloaded.
"""

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

SIDE = 160
"""Side in pixels of its training pictures."""


class FaceNet(nn.Module):
    """Face [N, 3, H, W] in [-1, 1] -> unit vectors [N, 512] (Schroff et al. 2015). Frozen.

    ``path``: a state dict of InceptionResnetV1 (safetensors or .pt), such as 20180402-114759-vggface2.pt.
    FileNotFoundError without such a file, ValueError for one that does not fit.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no InceptionResnetV1 weights at {path}; facenet_pytorch.InceptionResnetV1(pretrained='vggface2') "
                f"fetches them once with a network; or leave identity.weights=null for weights.identity"
            )
        from facenet_pytorch import InceptionResnetV1  # imports torchvision: only where it is used

        try:
            given = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
            with torch.random.fork_rng(devices=[]):
                self.net = InceptionResnetV1(pretrained=None)
            wanted = self.net.state_dict()
            self.net.load_state_dict({name: given[name].to(value.dtype) for name, value in wanted.items()})
        except Exception as error:  # every reader has its own; the remedy is the same
            raise ValueError(
                f"{path} is no InceptionResnetV1 state dict: give identity.weights another file"
            ) from error
        self.eval().requires_grad_(False)

    def forward(self, frames: Tensor) -> Tensor:
        if frames.shape[-2:] != (SIDE, SIDE):
            frames = F.interpolate(frames, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        return self.net(frames)
