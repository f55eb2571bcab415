"""LPIPS (Zhang et al. 2018) by the lpips package, with backbone weights from a local file.

The package carries its linear layers but fetches the backbone from the network while it builds. Here
nothing is fetched and nothing random is scored: without weights there is no net, and a report says why.
"""

import os
import warnings
from pathlib import Path

import lpips as package
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tsd.metrics.pixels import check_videos

CACHED = {
    "alex": ("alexnet", "alexnet-owt-7be5be79.pth"),
    "vgg": ("vgg16", "vgg16-397923af.pth"),
    "squeeze": ("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"),
}
"""Backbone -> its name in torchvision and the file torchvision keeps it in once it has been downloaded."""


def find_weights(path: str | os.PathLike | None, backbone: str) -> Path:
    """``path``, or torchvision's own copy where that is None; FileNotFoundError says how to get one."""
    if backbone not in CACHED:
        raise ValueError(f"lpips.backbone must be one of {', '.join(CACHED)}, got {backbone!r}")
    name, file = CACHED[backbone]
    found = Path(path) if path is not None else Path(torch.hub.get_dir()) / "checkpoints" / file
    if not found.is_file():
        shown = str(found).replace(str(Path.home()), "~", 1)  # this sentence goes into reports that are shown around
        raise FileNotFoundError(
            f"no {name} weights at {shown}; run torchvision.models.{name}(weights='DEFAULT') once with a network, "
            f"or give lpips.weights=FILE (safetensors or .pth with features.*)"
        )
    return found


def lpips_net(path: str | os.PathLike | None = None, backbone: str = "alex") -> nn.Module:
    """The package's net, version 0.1, frozen, with its backbone from ``path`` (see ``find_weights``).

    ValueError for a file that is not that backbone.
    """
    found = find_weights(path, backbone)
    try:
        given = load_file(found) if found.suffix == ".safetensors" else torch.load(found, "cpu", weights_only=True)
    except Exception as error:  # every reader has its own; the remedy is the same
        raise ValueError(f"{found} cannot be read as weights; give a safetensors or .pth state dict") from error
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # torchvision warns of the package's way of asking for no download
        net = package.LPIPS(net=backbone, pnet_rand=True, verbose=False)
    # The package cuts torchvision's features into slices but keeps their numbers: slice2.3.weight is features.3.weight.
    wanted = {name: "features." + name.split(".", 1)[1] for name in net.net.state_dict()}
    shapes = {name: value.shape for name, value in net.net.state_dict().items()}
    wrong = [key for name, key in wanted.items() if key not in given or given[key].shape != shapes[name]]
    if wrong:
        raise ValueError(f"{found} does not fit lpips.backbone={backbone}: {wrong[0]} is missing or of another shape")
    net.net.load_state_dict({name: given[key].float() for name, key in wanted.items()})
    return net.eval().requires_grad_(False)


def lpips_distance(net: nn.Module, video: Tensor, target: Tensor, every: int = 1, batch: int = 16) -> Tensor:
    """[B] >= 0, 0 is equal: LPIPS between two videos [B, T, 3, H, W] in [-1, 1], mean over every ``every``-th frame."""
    check_videos(video, target)
    pairs = [v[:, ::every].clamp(-1, 1).flatten(0, 1).split(batch) for v in (video, target)]
    scores = torch.cat([net(x, y).flatten() for x, y in zip(*pairs, strict=True)])
    return scores.view(len(video), -1).mean(1)
