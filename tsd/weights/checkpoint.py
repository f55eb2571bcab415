"""The only door between stages, and out: nets as safetensors with a JSON card in the header.

A weights file says which stage it is of and with which arguments its net is built. Classes come from
the table ``NETS`` below and never from the file, and safetensors holds no code: a weights file from a
stranger cannot run anything.
"""

import inspect
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from tsd.clip import HEARS
from tsd.media.atomic import replacing
from tsd.nets.denoiser import Denoiser
from tsd.nets.identity import IdentityNet
from tsd.nets.lipreader import LipReader
from tsd.nets.motion import MotionBank
from tsd.nets.mouth import MouthNet
from tsd.nets.sync import SyncNet
from tsd.nets.vae import OF_LATENTS, VAE
from tsd.nets.visemes import VisemeNet
from tsd.weights.files import file_hash, is_known_as, latents_of, read_header  # noqa: F401  named here for the stages

NETS = {
    "vae": VAE,
    "visemes": VisemeNet,
    "identity": IdentityNet,
    "teacher": Denoiser,
    "student": Denoiser,
    "mouth": MouthNet,
    "sync": SyncNet,
    "sync_loss": SyncNet,
    "lipreader": LipReader,
    "motion": MotionBank,
}
MEMORY_FORMAT = torch.channels_last
"""How the weights of convolutions lie in memory, in training and after: on a processor the nets are up to a quarter
faster so than in the usual layout (docs/design/training-speed.md)."""

LARGEST_ARGUMENT, MAX_ARGUMENTS = 1024, 64
"""A card that asks for wider, deeper or more than this is refused before anything is built."""


def save(
    path: str | Path, stage: str, net: nn.Module, arguments: dict, card: dict, dtype: torch.dtype = torch.float32
) -> str:
    """Write ``net`` (built as NETS[stage](**arguments)) to ``path``, whole or not at all; returns its hash.

    card: plain values worth keeping with the weights (steps, seed, scores, schedules).
    dtype: what real numbers are rounded to; ``load`` gives float32 again.
    """
    header = json.dumps({"stage": stage, "arguments": arguments, "card": card}, sort_keys=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    tensors = {name: t.to(dtype) if t.dtype == torch.float32 else t for name, t in tensors.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"tsd": header})
    return file_hash(path)


def check_arguments(arguments: dict) -> None:
    """Refuse what no net of this project is built with: text (but what a denoiser hears), nested lists, sizes beyond
    reason."""
    numbers = arguments.copy()
    if (hears := numbers.pop("hears", "visemes")) not in tuple(HEARS):
        raise ValueError(f"hears must be one of {', '.join(HEARS)}, got {str(hears)[:40]!r}")
    values = [v for given in numbers.values() for v in (given if isinstance(given, list) else [given])]
    if len(values) > MAX_ARGUMENTS or not all(
        isinstance(v, int | float) and 0 <= v <= LARGEST_ARGUMENT for v in values
    ):
        raise ValueError(f"arguments must be numbers of 0..{LARGEST_ARGUMENT} or lists of them")


def load(path: str | Path, stage: str) -> nn.Module:
    """The net of a weights file, in evaluation mode. Raises FileNotFoundError or ValueError with the remedy."""
    header = read_header(path, stage)
    build = NETS[stage]
    unknown = set(header["arguments"]) - set(inspect.signature(build).parameters)
    if unknown:
        raise ValueError(f"{path} asks for unknown arguments {sorted(unknown)} of {build.__name__}: train it again")
    try:
        check_arguments(header["arguments"])
        with torch.device("meta"):  # shapes alone: memory is taken for what the file holds, not for what its card says
            net = build(**header["arguments"])
        wanted = net.state_dict()
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tensors = {k: t.to(wanted[k].dtype, copy=True) if k in wanted else t for k, t in tensors.items()}
        net.load_state_dict(tensors, assign=True)
    except (TypeError, ValueError, RuntimeError, LookupError, ArithmeticError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} does not fit its own card ({reason}): train or copy it again") from error
    return net.eval().to(memory_format=MEMORY_FORMAT)


def take_over(net: nn.Module, path: str | Path, stage: str) -> set[str]:
    """Give ``net`` the parameters of a weights file; those that only ``net`` has (``ADDED`` in its room) stay as they
    are, and their names are returned."""
    state = load(path, stage).state_dict()
    own = net.state_dict()
    net.load_state_dict(own | state)
    return own.keys() - state.keys()


def take_latents(net: VAE, path: str | Path) -> None:
    """Give a VAE the encoder of another, so that its latents are the same, and what fits of the other's decoder.
    ValueError where the encoders differ."""
    state, own = load(path, "vae").state_dict(), net.state_dict()
    same = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    wanted = {name for name in own | state if name.startswith(OF_LATENTS)}
    if lacking := sorted(wanted - same.keys()):
        raise ValueError(f"init={path}: has another encoder than model.vae ({lacking[0]}), whose latents would differ")
    net.load_state_dict(own | same)


def check_latents(vae: VAE, denoiser: Denoiser, vae_path, denoiser_path) -> None:
    """Refuse a VAE and a denoiser whose latents differ in size."""
    ours = (vae.latent_channels, vae.latent_size)
    theirs = (denoiser.latent_channels, denoiser.latent_size)
    if ours != theirs:
        raise ValueError(
            f"{denoiser_path} works on latents of {theirs[0]} channels at {theirs[1]}x{theirs[1]}, but {vae_path} "
            f"makes {ours[0]} at {ours[1]}x{ours[1]}: use weights trained on this VAE"
        )


def check_origin(vae_path: str | Path, denoiser_path: str | Path) -> None:
    """Refuse a denoiser that was trained on the latents of another VAE, where its card tells of one."""
    trained_on = read_header(denoiser_path)["card"].get("stands_on")
    wanted = trained_on.get("vae") if isinstance(trained_on, dict) else None
    if wanted and not is_known_as(vae_path, "vae", wanted):
        raise ValueError(
            f"{denoiser_path} was trained on latents of the VAE {wanted}, but {vae_path} is {file_hash(vae_path)} with "
            "others: give the weights of one chain"
        )
