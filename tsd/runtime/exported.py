"""Exported graphs with the interfaces of the nets that they came from, so that a Talker can use either."""

from functools import cached_property

import numpy as np

from tsd.nets.interface import USED_BY_FRAMES, USED_BY_STEP, Appearance, Condition, FrameFeatures, Reference
from tsd.runtime.arrays import array, given
from tsd.runtime.backends import Graph, open_graph
from tsd.runtime.card import Card
from tsd.runtime.graph_files import with_weights
from tsd.runtime.wavefront import BLOCK
from tsd.weights.files import read_arrays


class Exported:
    """Graphs of one export on one backend. ``callers``: how many may call at the same time; they share ``threads``.
    memory: see ``backends.MEMORY``."""

    def __init__(self, card: Card, backend: str, threads: int, callers: int = 1, memory: str = "usual"):
        self.card, self.backend, self.threads, self.callers, self.memory = card, backend, threads, callers, memory

    def open(self, graph: str, fixed: bool = False, shared: bool = False, alone: bool = False) -> Graph:
        """Open a graph, in int8 if the backend asks for it and the export has this graph in int8. ``shared``: all
        callers use it at the same time. Otherwise it has one caller and uses all threads, or one thread if ``alone``,
        which is faster for small graphs."""
        small = f"{graph}-int8.onnx"
        has_small = self.backend.endswith("-int8") and small in self.card.content["files"]
        model = model_of(self.card, graph, small if has_small else f"{graph}.onnx")
        try:
            if shared and self.callers > 1:
                threads = max(1, self.threads // self.callers)
                return open_graph(self.backend, model, threads, fixed, self.callers, self.memory)
            return open_graph(self.backend, model, 1 if alone else self.threads, fixed, memory=self.memory)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{self.card.folder}: {self.backend} cannot read {graph} ({reason})") from error


def model_of(card: Card, graph: str, name: str) -> bytes:
    """A file of an export as it is, or, where it was made without weights, filled from those beside it."""
    model, filled = card.file(name).read_bytes(), card.content.get("filled", {}).get(graph)
    if filled is None:
        return model
    arrays = read_arrays(card.weights[filled["stage"]], filled["stage"])
    try:
        return with_weights(model, {constant: arrays[key] for constant, key in filled["constants"].items()})
    except (KeyError, AttributeError) as error:
        raise ValueError(f"{card.folder}: its card does not fit the weights ({error}): make it again") from error


def run(graph: Graph, *inputs) -> list:
    """What a graph makes of arrays or tensors, as ``arrays.given``."""
    return [given(out) for out in graph(*(np.ascontiguousarray(array(x)) for x in inputs))]


class ExportedRecogniser(Exported):
    """``VisemeNet``."""

    def __init__(self, card: Card, backend: str, threads: int, callers: int = 1, memory: str = "usual"):
        super().__init__(card, backend, threads, callers, memory)
        self.look_ahead, self.memory_size = card.content["look_ahead"], card.content["recogniser_memory"]
        self.graph = self.open("recogniser", alone=True)

    def listen(self, mel, memory) -> tuple:
        """As ``VisemeNet.listen``."""
        heard, memory = run(self.graph, mel, memory)
        return heard, memory


class ExportedStudent(Exported):
    """A causal ``Denoiser``."""

    causal = True

    def __init__(self, card: Card, backend: str, threads: int, callers: int = 1, memory: str = "usual"):
        super().__init__(card, backend, threads, callers, memory)
        latents = card.content["latents"]
        self.latent_channels, self.latent_size = latents["channels"], latents["size"]
        self.reader, self.frame_reader = self.open("reference"), self.open("frames", shared=True)
        self.stepper = self.open("step", shared=True)
        self.hears = card.content.get("hears", "visemes")
        self.memory_shapes = [tuple(shape) for shape in card.content["memory"]]

    def read_reference(self, condition: Condition) -> Reference:
        parts = run(self.reader, condition.reference_latent, condition.reference_motion, condition.motion_known)
        return Reference(condition.reference_latent, *parts)

    def read_frames(self, condition: Condition, reference: Reference) -> FrameFeatures:
        told = (condition.visemes, condition.motion, condition.motion_known, condition.reference_motion)
        used = (getattr(reference, name) for name in USED_BY_FRAMES)
        return FrameFeatures(*run(self.frame_reader, *told, *used))

    def step(self, z_s, s, reference: Reference, frames: FrameFeatures, memory: list | None = None) -> tuple:
        """As ``Denoiser.step``."""
        if memory is None:  # what lies before the first frame
            memory = [np.zeros((len(z_s), *shape), np.float32) for shape in self.memory_shapes]
        used = (getattr(reference, name) for name in USED_BY_STEP)
        eps_hat, *memory = run(self.stepper, z_s, s, *used, *vars(frames).values(), *memory)
        return eps_hat, memory

    def __call__(self, z_s, s, condition: Condition, reference: Reference):
        """As ``Denoiser.forward``."""
        return self.step(z_s, s, reference, self.read_frames(condition, reference))[0]


class ExportedVAE(Exported):
    """``VAE``: pictures to latents and back."""

    def __init__(self, card: Card, backend: str, threads: int, callers: int = 1, memory: str = "usual"):
        super().__init__(card, backend, threads, callers, memory)
        self.resolution = card.content["resolution"]
        self.latent_channels, self.latent_size = (card.content["latents"][key] for key in ("channels", "size"))
        self.painted = tuple(card.content["painted"])
        self.encoder, self.decoder = self.open("encoder", fixed=True), self.open("decoder", fixed=True, shared=True)

    @cached_property
    def decoder_alone(self) -> Graph:
        """For single frames, which cannot be split among callers: it uses all threads. Opened for the first of them."""
        return self.open("decoder", fixed=True)

    def encode(self, frames):
        """frames [..., 3, H, W] -> z [..., C, h, w]."""
        want = (3, self.resolution, self.resolution)
        if tuple(frames.shape[-3:]) != want:
            raise ValueError(f"the VAE takes frames {list(want)}, got {list(frames.shape[-3:])}")
        frames = array(frames)
        pictures = frames.reshape(-1, *want)
        blocks = (pictures[begin : begin + BLOCK] for begin in range(0, len(pictures), BLOCK))
        z = np.concatenate([array(run(self.encoder, block)[0]) for block in blocks])
        return given(z.reshape(*frames.shape[:-3], *z.shape[1:]))

    def appearance(self, pictures) -> Appearance:
        return Appearance(pictures, self.encode(pictures))

    def decode(self, z, appearance: Appearance):
        """z [T, C, h, w] of the one picture of ``appearance``, or of as many as there are frames -> frames
        [T, 3, H, W] in [-1, 1]."""
        change, offsets = map(array, self.changes(z, appearance))
        pictures = np.broadcast_to(array(appearance.picture), change.shape)
        moved = np.stack([looked_up(*both) for both in zip(pictures, offsets, strict=True)])
        return given(np.clip(moved + change, -1, 1))

    def changes(self, z, appearance: Appearance) -> tuple:
        """As ``VAE.changes``: of T frames."""
        maps, z = appearance.maps, array(z)
        maps = np.tile(np.eye(2, 3, dtype=np.float32), (len(z), 1, 1)) if maps is None else array(maps)
        picture, latent, blocks = array(appearance.picture), array(appearance.latent), []
        for here in (slice(begin, begin + BLOCK) for begin in range(0, len(z), BLOCK)):
            of = slice(None) if len(picture) == 1 else here
            blocks.append(self._decode(z[here], picture[of], latent[of], maps[here]))
        whole = (parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return tuple(map(given, whole))

    def _decode(self, z: np.ndarray, picture: np.ndarray, latent: np.ndarray, maps: np.ndarray) -> list[np.ndarray]:
        missing = BLOCK - len(z) if len(z) > 1 else 0

        def filled_up(*parts: np.ndarray) -> list[np.ndarray]:
            return [np.concatenate([x, np.repeat(x[-1:], missing, 0)]) if missing else x for x in parts]

        filled = filled_up(z, maps)
        if len(picture) == 1:
            decoder = self.decoder_alone if len(z) == 1 and self.callers > 1 else self.decoder
            parts = run(decoder, filled[0][None], picture, latent, filled[1][None])
            return [array(part)[0, : len(z)] for part in parts]
        own = filled_up(picture, latent)
        parts = run(self.decoder, filled[0][:, None], *own, filled[1][:, None])  # a stream per frame
        return [array(part)[: len(z), 0] for part in parts]


def looked_up(picture: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """A picture [C, H, W] sampled at each pixel's position plus ``offsets`` [H, W, 2] in units of the side, as
    ``nets.affine.looked_up``: OpenCV's own sampling knows 32 places between two pixels."""
    height, width = picture.shape[1:]
    at = offsets * np.float32([width, height]) + np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
    at = np.clip(at, 0, np.float32([width - 1, height - 1])).astype(np.float32)
    first = np.minimum(at.astype(np.int64), [width - 2, height - 2])
    x, y = np.moveaxis(at - first, -1, 0).astype(np.float32)
    column, row = np.moveaxis(first, -1, 0)

    def between(row: np.ndarray) -> np.ndarray:
        left = picture[:, row, column]
        return left + x * (picture[:, row, column + 1] - left)

    above = between(row)
    return above + y * (between(row + 1) - above)
