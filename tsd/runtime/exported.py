"""Exported graphs with the interfaces of the nets that they came from, so that a Talker can use either."""

import numpy as np
import torch
from torch import Tensor

from tsd.nets.denoiser import USED_BY_FRAMES, USED_BY_STEP, Condition, FrameFeatures, Reference
from tsd.nets.vae import Appearance
from tsd.runtime.backends import Graph, open_graph
from tsd.runtime.card import Card
from tsd.runtime.wavefront import BLOCK


class Exported:
    """Graphs of one export on one backend. ``callers``: how many may call at the same time; they share ``threads``."""

    def __init__(self, card: Card, backend: str, threads: int, callers: int = 1):
        self.card, self.backend, self.threads, self.callers = card, backend, threads, callers

    def open(self, graph: str, fixed: bool = False, shared: bool = False, alone: bool = False) -> Graph:
        """Open a graph, in int8 if the backend asks for it and the export has this graph in int8. ``shared``: all
        callers use it at the same time. Otherwise it has one caller and uses all threads, or one thread if ``alone``,
        which is faster for small graphs."""
        small = f"{graph}-int8.onnx"
        has_small = self.backend.endswith("-int8") and small in self.card.content["files"]
        model = self.card.file(small if has_small else f"{graph}.onnx").read_bytes()
        try:
            if shared and self.callers > 1:
                return open_graph(self.backend, model, max(1, self.threads // self.callers), fixed, self.callers)
            return open_graph(self.backend, model, 1 if alone else self.threads, fixed)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{self.card.folder}: {self.backend} cannot read {graph} ({reason})") from error


def run(graph: Graph, *inputs: Tensor) -> list[Tensor]:
    return [torch.from_numpy(out) for out in graph(*(np.ascontiguousarray(x.numpy()) for x in inputs))]


class ExportedRecogniser(Exported):
    """``VisemeNet``: log-mel [1, 4 T, 80] -> logits [1, T, V]."""

    def __init__(self, card: Card, backend: str, threads: int, callers: int = 1):
        super().__init__(card, backend, threads, callers)
        self.look_ahead, self.past = card.content["look_ahead"], card.content["past"]
        self.graph = self.open("recogniser", alone=True)

    def __call__(self, mel: Tensor) -> Tensor:
        return run(self.graph, mel)[0]


class ExportedStudent(Exported):
    """A causal ``Denoiser``."""

    causal = True

    def __init__(self, card: Card, backend: str, threads: int, callers: int = 1):
        super().__init__(card, backend, threads, callers)
        latents = card.content["latents"]
        self.latent_channels, self.latent_size = latents["channels"], latents["size"]
        self.reader, self.frame_reader = self.open("reference"), self.open("frames", shared=True)
        self.stepper = self.open("step", shared=True)
        self.hears = card.content.get("hears", "visemes")
        self.memory = [tuple(shape) for shape in card.content["memory"]]

    def read_reference(self, condition: Condition) -> Reference:
        parts = run(self.reader, condition.reference_latent, condition.reference_motion, condition.motion_known)
        return Reference(condition.reference_latent, *parts)

    def read_frames(self, condition: Condition, reference: Reference) -> FrameFeatures:
        given = (condition.visemes, condition.motion, condition.motion_known, condition.reference_motion)
        used = (getattr(reference, name) for name in USED_BY_FRAMES)
        return FrameFeatures(*run(self.frame_reader, *given, *used))

    def step(
        self, z_s: Tensor, s: Tensor, reference: Reference, frames: FrameFeatures, memory: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """As ``Denoiser.step``."""
        if memory is None:  # what lies before the first frame
            memory = [torch.zeros(len(z_s), *shape) for shape in self.memory]
        used = (getattr(reference, name) for name in USED_BY_STEP)
        eps_hat, *memory = run(self.stepper, z_s, s, *used, *vars(frames).values(), *memory)
        return eps_hat, memory

    def __call__(self, z_s: Tensor, s: Tensor, condition: Condition, reference: Reference) -> Tensor:
        """As ``Denoiser.forward``."""
        return self.step(z_s, s, reference, self.read_frames(condition, reference))[0]


class ExportedVAE(Exported):
    """``VAE``: pictures to latents and back."""

    def __init__(self, card: Card, backend: str, threads: int, callers: int = 1):
        super().__init__(card, backend, threads, callers)
        self.resolution = card.content["resolution"]
        self.latent_channels, self.latent_size = (card.content["latents"][key] for key in ("channels", "size"))
        self.encoder, self.decoder = self.open("encoder", fixed=True), self.open("decoder", fixed=True, shared=True)
        self.decoder_alone = self.open("decoder", fixed=True) if callers > 1 else self.decoder
        """For single frames, which cannot be split among callers: it uses all threads."""

    def encode(self, frames: Tensor) -> Tensor:
        """frames [..., 3, H, W] -> z [..., C, h, w]."""
        want = (3, self.resolution, self.resolution)
        if frames.shape[-3:] != want:
            raise ValueError(f"the VAE takes frames {list(want)}, got {list(frames.shape[-3:])}")
        blocks = [run(self.encoder, block)[0] for block in frames.flatten(0, -4).split(BLOCK)]
        return torch.cat(blocks).unflatten(0, frames.shape[:-3])

    def appearance(self, pictures: Tensor) -> Appearance:
        return Appearance(pictures, self.encode(pictures))

    def decode(self, z: Tensor, appearance: Appearance) -> Tensor:
        """z [T, C, h, w] of the one picture of ``appearance``, or of as many as there are frames -> frames
        [T, 3, H, W] in [-1, 1]."""
        return self._parts(z, appearance)[0]

    def changes(self, z: Tensor, appearance: Appearance) -> tuple[Tensor, Tensor]:
        """As ``VAE.changes``."""
        return self._parts(z, appearance)[1:]

    def _parts(self, z: Tensor, appearance: Appearance) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures, change and offsets of T frames."""
        maps = torch.eye(2, 3).expand(len(z), 2, 3) if appearance.maps is None else appearance.maps
        blocks = []
        for here in (slice(begin, begin + BLOCK) for begin in range(0, len(z), BLOCK)):
            of = slice(None) if len(appearance.picture) == 1 else here
            seen = Appearance(appearance.picture[of], appearance.latent[of], maps[here])
            blocks.append(self._decode(z[here], seen))
        return tuple(torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*blocks, strict=True))

    def _decode(self, z: Tensor, seen: Appearance) -> list[Tensor]:
        missing = BLOCK - len(z) if len(z) > 1 else 0

        def filled_up(*parts: Tensor) -> list[Tensor]:
            return [torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x for x in parts]

        filled = filled_up(z, seen.maps)
        if len(seen.picture) == 1:
            decoder = self.decoder if len(z) > 1 else self.decoder_alone
            parts = run(decoder, filled[0][None], seen.picture, seen.latent, filled[1][None])
            return [part[0, : len(z)] for part in parts]
        own = filled_up(seen.picture, seen.latent)
        parts = run(self.decoder, filled[0][:, None], *own, filled[1][:, None])  # a stream per frame
        return [part[: len(z), 0] for part in parts]
