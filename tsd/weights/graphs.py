"""The nets of a chain as functions of plain tensors: what goes into a graph and what comes out of it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsd.clip import HEARS, MELS, MELS_PER_FRAME, MOTION, VISEME_WINDOW
from tsd.nets.denoiser import Denoiser
from tsd.nets.interface import USED_BY_FRAMES, USED_BY_STEP, Appearance, Condition, FrameFeatures, Reference
from tsd.nets.vae import VAE
from tsd.nets.visemes import VisemeNet

BATCH, FRAMES = "batch", "frames"
"""Names of free dimensions: streams side by side, and frames of each."""

SIZES = {BATCH: 2, FRAMES: 3, "height": 31, "width": 45}
"""Of the example a graph is traced with: sizes of 1 and equal sizes would be taken for constants."""


class Function(nn.Module):
    """A function of tensors as a module, which is what an exporter takes; ``net`` is the net it calls."""

    def __init__(self, net: nn.Module, function: Callable):
        super().__init__()
        self.net, self.function = net, function

    def forward(self, *inputs: Tensor):
        return self.function(*inputs)


@dataclass
class Graph:
    """One graph to be: ``shapes`` of its inputs by name, free dimensions by theirs."""

    function: Function
    shapes: dict[str, tuple[int | str, ...]]
    outputs: list[str]
    large: bool = False
    """Whether it works on whole pictures, where their layout in memory counts."""

    def example(self) -> dict[str, Tensor]:
        """Inputs of sizes SIZES. Noise strengths are above zero, as everywhere; heads move a little."""
        generator = torch.Generator().manual_seed(0)
        sizes = {name: [SIZES.get(d, d) for d in shape] for name, shape in self.shapes.items()}
        inputs = {name: torch.rand(size, generator=generator) + 0.1 for name, size in sizes.items()}
        if "maps" in inputs:
            inputs["maps"] = torch.eye(2, 3) + 0.1 * inputs["maps"]
        if "motion_known" in inputs:
            inputs["motion_known"] = torch.ones(sizes["motion_known"], dtype=torch.bool)
        return inputs


def recogniser(net: VisemeNet) -> Graph:
    """The next columns of a stream: ``VisemeNet.listen``."""
    shapes = {"mel": (BATCH, "columns", MELS), "memory": (BATCH, net.memory_size)}
    return Graph(Function(net, net.listen), shapes, ["heard", "next_memory"])


def encoder(vae: VAE) -> Graph:
    side = vae.resolution
    return Graph(Function(vae, vae.encode), {"pictures": (BATCH, 3, side, side)}, ["z"], large=True)


def decoder(vae: VAE) -> Graph:
    """One picture per stream, all frames of a stream with it, each where its map says."""
    side, latent = vae.resolution, (vae.latent_channels, vae.latent_size, vae.latent_size)

    def decode(z: Tensor, picture: Tensor, reference_latent: Tensor, maps: Tensor):
        appearance = Appearance(picture, reference_latent, maps.flatten(0, 1))
        parts = vae.parts(z.flatten(0, 1), appearance, z.shape[1], vae.seen_alone)
        return tuple(part.unflatten(0, z.shape[:2]) for part in parts)

    shapes = {"z": (BATCH, FRAMES, *latent), "picture": (BATCH, 3, side, side), "reference_latent": (BATCH, *latent)}
    shapes["maps"] = (BATCH, FRAMES, 2, 3)
    return Graph(Function(vae, decode), shapes, ["change", "offsets"], large=True)


def reference(student: Denoiser) -> Graph:
    """What is computed once per video: ``Denoiser.read_reference``."""
    latent = (student.latent_channels, student.latent_size, student.latent_size)

    def read(latent: Tensor, motion: Tensor, known: Tensor):
        nothing = latent.new_zeros(latent.shape[0], 1, VISEME_WINDOW, HEARS[student.hears])
        parts = student.read_reference(Condition(nothing, motion[:, None], known, latent, motion))
        return tuple(list(vars(parts).values())[1:])

    shapes = {"reference_latent": (BATCH, *latent), "reference_motion": (BATCH, len(MOTION)), "motion_known": (BATCH,)}
    return Graph(Function(student, read), shapes, list(Reference.__dataclass_fields__)[1:])


def frames(student: Denoiser) -> Graph:
    """What is computed once per frame, whatever the number of steps: ``Denoiser.read_frames``."""
    shapes = {
        "visemes": (BATCH, FRAMES, VISEME_WINDOW, HEARS[student.hears]),
        "motion": (BATCH, FRAMES, len(MOTION)),
        "motion_known": (BATCH,),
        "reference_motion": (BATCH, len(MOTION)),
    }
    shapes |= shapes_of_reference(student, USED_BY_FRAMES)

    def read(visemes, motion, known, reference_motion, *used):
        seen = reference_of(USED_BY_FRAMES, used)
        condition = Condition(visemes, motion, known, seen.latent, reference_motion)
        return tuple(vars(student.read_frames(condition, seen)).values())

    return Graph(Function(student, read), shapes, list(FrameFeatures.__dataclass_fields__))


def step(student: Denoiser) -> Graph:
    """One step of Algorithm 3 for the next frames of every stream, and the memory that the next call begins with:
    ``Denoiser.step``."""
    reference, of_frames, memory = probe(student)
    shapes = {"z_s": (BATCH, FRAMES, *reference.latent.shape[1:]), "s": (BATCH,)}
    shapes |= shapes_of_reference(student, USED_BY_STEP)
    shapes |= {name: (BATCH, FRAMES, *part.shape[2:]) for name, part in vars(of_frames).items()}
    shapes |= {f"memory_{i}": (BATCH, *part.shape[1:]) for i, part in enumerate(memory)}
    first, last = len(USED_BY_STEP), len(USED_BY_STEP) + len(vars(of_frames))

    def predict(z_s, s, *rest):
        seen, parts = reference_of(USED_BY_STEP, rest[:first]), FrameFeatures(*rest[first:last])
        eps_hat, kept = student.step(z_s, s, seen, parts, list(rest[last:]))
        return (eps_hat, *kept)

    return Graph(Function(student, predict), shapes, ["eps_hat", *(f"next_{i}" for i in range(len(memory)))])


def reference_of(names: tuple[str, ...], parts: tuple[Tensor, ...]) -> Reference:
    """A reference of which only the parts ``names`` are there."""
    return Reference(**dict.fromkeys(Reference.__dataclass_fields__) | dict(zip(names, parts, strict=True)))


@torch.inference_mode()
def probe(student: Denoiser) -> tuple[Reference, FrameFeatures, list[Tensor]]:
    """The features of a reference and of a frame, and the memory after it, to read their shapes from."""
    latent = torch.zeros(1, student.latent_channels, student.latent_size, student.latent_size)
    motion, visemes = torch.zeros(1, 1, len(MOTION)), torch.zeros(1, 1, VISEME_WINDOW, HEARS[student.hears])
    condition = Condition(visemes, motion, torch.tensor([False]), latent, motion[:, 0])
    reference = student.read_reference(condition)
    of_frames = student.read_frames(condition, reference)
    return reference, of_frames, student.step(latent[:, None], torch.ones(1), reference, of_frames)[1]


def shapes_of_reference(student: Denoiser, names: tuple[str, ...]) -> dict[str, tuple[int | str, ...]]:
    return {f"reference_{name}": (BATCH, *getattr(probe(student)[0], name).shape[1:]) for name in names}


def memory_shapes(student: Denoiser) -> list[tuple[int, ...]]:
    return [tuple(part.shape[1:]) for part in probe(student)[2]]


def graphs_of(vae: VAE, student: Denoiser, visemes: VisemeNet) -> dict[str, Graph]:
    """Everything that speaking takes."""
    if not student.causal:
        raise ValueError("only a causal student can be exported: a teacher sees frames that are not there yet")
    return {
        "recogniser": recogniser(visemes),
        "encoder": encoder(vae),
        "reference": reference(student),
        "frames": frames(student),
        "step": step(student),
        "decoder": decoder(vae),
    }


SIZES["columns"] = SIZES[FRAMES] * MELS_PER_FRAME
