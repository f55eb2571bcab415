"""Latents on disk (mode e2), with everything that decodes them later to the frames they would have been, mark and
manifest included: decoding loads the VAE alone and could not say which weights and which run the latents are of."""

import re
from dataclasses import astuple, dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from tsd.media.light import Light
from tsd.media.marking.code import PAYLOAD_BITS
from tsd.media.provenance import consent_of
from tsd.runtime.canvas import Canvas


@dataclass
class Latents:
    """``z`` float32 [T, C, h, w], the reference uint8 [R, R, 3] as the nets saw it, where it is in every frame
    [T, 2, 3], the canvas, its light, and whether the head is still; the payload of the frames' mark, the SHA-256 of the
    weights' cards, and what the person shown agreed to."""

    z: np.ndarray
    reference: np.ndarray
    maps: np.ndarray
    canvas: Canvas
    light: Light
    still: bool
    payload: int
    weights: str
    consent: str | None

    def save(self, path: Path) -> None:
        of_canvas = {f"canvas_{name}": value for name, value in self.canvas.arrays().items()}
        of_frames = {"latents": self.z, "maps": self.maps, "still": self.still}
        of_run = {"payload": np.uint32(self.payload), "weights": self.weights, "consent": self.consent or ""}
        np.savez(path, reference=self.reference, light=astuple(self.light), **of_frames, **of_canvas, **of_run)

    @classmethod
    def read(cls, path: str, vae) -> "Latents":
        """Of an earlier run, checked against the VAE. Raises ValueError."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            z, crop, maps, still = (arrays[name] for name in ("latents", "reference", "maps", "still"))
            light = Light(*arrays["light"].tolist())
            of_canvas = {name.removeprefix("canvas_"): value for name, value in arrays.items()}
            canvas = Canvas.of_arrays(of_canvas)
            payload, weights = int(arrays["payload"]), str(arrays["weights"])
            consent = consent_of(str(arrays["consent"]))
            if not 0 <= payload < 1 << PAYLOAD_BITS:
                raise ValueError(f"payload {payload} is not of {PAYLOAD_BITS} bits")
            if not re.fullmatch("[0-9a-f]{64}", weights):
                raise ValueError("weights is no SHA-256")
        except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, BadZipFile) as error:
            raise ValueError(f"latents={path}: holds no latents ({error}); give a latents.npz of mode=e2") from error
        want = (vae.latent_channels, vae.latent_size, vae.latent_size)
        if z.ndim != 4 or z.shape[1:] != want or z.dtype != np.float32 or not len(z) or not np.isfinite(z).all():
            raise ValueError(
                f"latents={path}: must be finite float32 [T, {', '.join(map(str, want))}] for this VAE, "
                f"got {z.dtype} {list(z.shape)}"
            )
        if crop.dtype != np.uint8 or crop.shape != (vae.resolution, vae.resolution, 3):
            raise ValueError(
                f"latents={path}: its reference must be uint8 [{vae.resolution}, {vae.resolution}, 3] for this VAE, "
                f"got {crop.dtype} {list(crop.shape)}"
            )
        if maps.dtype != np.float32 or maps.shape != (len(z), 2, 3) or not np.isfinite(maps).all():
            raise ValueError(
                f"latents={path}: its maps must be finite float32 [{len(z)}, 2, 3], got {maps.dtype} {list(maps.shape)}"
            )
        return cls(z, crop, maps, canvas, light, bool(still.any()), payload, weights, consent)
