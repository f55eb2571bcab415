"""Make a face speak: ``python -m tsd.sample reference=face.png audio=speech.wav steps=k2 mode=e1``, or a video say
other words: ``start=driving video=clip.mp4 audio=speech.wav``."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile

import hydra
import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from tqdm import tqdm

from tsd.clip import FPS, to_frames, to_uint8
from tsd.commands.compose import CONF
from tsd.commands.errors import user_errors
from tsd.media.atomic import filling
from tsd.media.audio import SAMPLES_PER_FRAME, load_audio
from tsd.media.sound import Sound
from tsd.media.video import write_video
from tsd.runtime.dubbing import LENGTHS, Dubbing
from tsd.runtime.talker import Talker
from tsd.weights import releases

log = logging.getLogger(__name__)
CHOICES = {
    "mode": ("e1", "e2", "decode"),
    "start": ("noise", "reference", "driving"),
    "motion": ("natural", "still"),
    "length": LENGTHS,
}
CHUNK = 24
"""Frames at a time: a file need not be waited for, and more of them cost PyTorch less each."""
PNG_LEVEL = 1
"""Of compression: half the time of the usual 6, files a fifth larger."""

NEEDED = {
    "e1": ("reference", "audio"),
    "e2": ("reference", "audio"),
    "decode": ("latents",),
    "driving": ("video", "audio"),
}
FILES = ("video", "reference", "audio", "latents")


def steps_of(cfg: DictConfig) -> str:
    """``k2`` for ``steps=k2``: names a schedule inside the student's weights."""
    return f"k{len(cfg.steps.strengths)}"


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error."""
    wrong = [f"{key}={cfg[key]}: must be one of {', '.join(c)}" for key, c in CHOICES.items() if cfg[key] not in c]
    if not wrong:
        wrong = impossible(cfg)
        job = "driving" if cfg.start == "driving" else cfg.mode
        asks = "start=driving" if cfg.start == "driving" else f"mode={cfg.mode}"
        wrong += [f"{key}=<file> is missing: {asks} needs it" for key in NEEDED[job] if not cfg[key]]
        wrong += [f"{key}={cfg[key]}: no such file" for key in FILES if cfg[key] and not Path(cfg[key]).is_file()]
    if wrong:
        raise ValueError("; ".join(wrong))


def impossible(cfg: DictConfig) -> list[str]:
    """Arguments that contradict each other."""
    if cfg.start != "driving":
        return [f"video={cfg.video}: is used by start=driving only"] if cfg.video else []
    wrong = []
    if cfg.mode != "e1":
        wrong.append(f"mode={cfg.mode}: start=driving makes a video, for which latents are not enough; use mode=e1")
    if cfg.motion != "natural":
        wrong.append(f"motion={cfg.motion}: with start=driving the head moves as in the video; leave it out")
    return wrong


def load(cfg: DictConfig) -> Talker:
    """The talker of ``cfg.export`` where that is given, else of ``cfg.weights``; says who computes what."""
    speaking = ("vae", "visemes", "student") if cfg.start == "driving" else ("vae", "visemes", "student", "motion")
    stages = ("vae",) if cfg.mode == "decode" else speaking
    weights = {stage: cfg.weights[stage] for stage in stages}
    if not cfg.export:
        releases.check(weights)
    talker = Talker.load(cfg.export or weights, cfg.backend)
    log.info("computed by %s", ", ".join(f"{backend} ({stage})" for stage, backend in talker.backends.items()))
    return talker


def speak(cfg: DictConfig, talker: Talker) -> Iterator[np.ndarray]:
    """Frames uint8 [n, R, R, 3], or with mode=e2 latents [n, C, h, w], of the reference speaking the audio."""
    wave = load_audio(cfg.audio)
    talker.set_reference(cfg.reference)
    num_frames = -(-len(wave) // SAMPLES_PER_FRAME)
    with tqdm(total=num_frames, unit="frame", desc=f"speaking, {steps_of(cfg)}", delay=2) as bar:
        for piece in talker.stream([wave], steps_of(cfg), CHUNK, cfg.seed, cfg.mode, cfg.motion, cfg.start):
            bar.update(len(piece))
            yield piece


def read_latents(path: str, vae) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents [T, C, h, w] of an earlier run, the reference uint8 [R, R, 3] and where it is in every frame [T, 2, 3],
    checked against the VAE."""
    try:
        with np.load(path, allow_pickle=False) as file:
            z, crop, maps = file["latents"], file["reference"], file["maps"]
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
    return z, crop, maps


def decode(talker: Talker, z: np.ndarray, crop: np.ndarray, maps: np.ndarray) -> Iterator[np.ndarray]:
    """Latents [T, C, h, w] of the face on ``crop``, placed by ``maps`` [T, 2, 3] -> frames uint8 [n, H, W, 3]."""
    with torch.inference_mode():
        appearance = talker.vae.appearance(to_frames(crop)[None])
    blocks = list(zip(torch.from_numpy(z).split(CHUNK), torch.from_numpy(maps).split(CHUNK), strict=True))
    for block, places in tqdm(blocks, unit="block", desc="decoding", delay=2):
        yield talker.decode(block, appearance.along(places))


def face_of(talker: Talker, num_frames: int, cfg: DictConfig) -> dict[str, np.ndarray]:
    """What latents are decoded with later: the reference, and where it is in every frame."""
    speaker = talker.reference
    cycle = talker.motion_cycle(speaker, cfg.seed, cfg.motion)
    maps = speaker.along(cycle[torch.arange(num_frames) % len(cycle)]).maps
    return {"reference": to_uint8(speaker.appearance.picture[0]), "maps": maps.numpy()}


class Pictures:
    """Frames uint8 [n, H, W, 3] that pass through on their way into a video, kept as ``<folder>/000000.png`` …; an hour
    of them is never in memory. ``count``: how many have passed."""

    def __init__(self, pieces: Iterator[np.ndarray], folder: Path):
        self.pieces, self.folder, self.count = pieces, folder, 0
        folder.mkdir()

    def __iter__(self) -> Iterator[np.ndarray]:
        for piece in self.pieces:
            for frame in piece:
                Image.fromarray(frame).save(self.folder / f"{self.count:06d}.png", compress_level=PNG_LEVEL)
                self.count += 1
            yield piece


def write_face(work: Path, cfg: DictConfig, talker: Talker) -> dict:
    """latents.npz with mode=e2, else sample.mp4 and frames/; what sample.json shall say of them."""
    if cfg.mode == "e2":
        z = np.concatenate(list(speak(cfg, talker)))
        count = len(z)
        np.savez(work / "latents.npz", latents=z, **face_of(talker, count, cfg))
    else:
        made = decode(talker, *read_latents(cfg.latents, talker.vae)) if cfg.mode == "decode" else speak(cfg, talker)
        pictures = Pictures(made, work / "frames")
        write_video(work / "sample.mp4", iter(pictures), Sound.of(cfg.audio) if cfg.audio else None)
        count = pictures.count
    keys = ("reference", "audio", "latents", "mode", "start", "motion", "seed")
    return {key: cfg[key] for key in keys} | {"frames": count}


def write_dubbed(work: Path, cfg: DictConfig, talker: Talker) -> dict:
    """sample.mp4, written while it is made: a video may be long and its pictures large."""
    dubbing = talker.dub(cfg.video, cfg.audio, steps_of(cfg), CHUNK, cfg.seed, cfg.length, cfg.reference, cfg.face)
    write_video(work / "sample.mp4", even(dubbing), Sound.of(cfg.audio))
    left, fps = dubbing.num_left, dubbing.video.timeline.fps
    if left:
        log.info("%d of %d frames do not show the face and stay as they are", left, dubbing.num_frames)
    if abs(fps - FPS) > 0.01:
        log.info("the video has %.2f frames a second, the result has %d", fps, FPS)
    keys = ("video", "reference", "audio", "mode", "start", "length", "face", "seed")
    return {key: cfg[key] for key in keys} | {
        "reference_frame": dubbing.reference_frame,
        "video_frames": len(dubbing.video),
        "frames": dubbing.num_frames,
        "frames_left": left,
        "video_fps": round(fps, 3),
    }


def even(dubbing: Dubbing) -> Iterator[np.ndarray]:
    """Its pictures less the last row and column where their number is odd: H.264 knows none such. Shows progress."""
    with tqdm(total=dubbing.num_frames, unit="frame", desc=f"dubbing, {dubbing.steps}", delay=2) as bar:
        for piece in dubbing:
            height, width = (size // 2 * 2 for size in piece.shape[1:3])
            yield piece[:, :height, :width]
            bar.update(len(piece))


def run(cfg: DictConfig) -> Path:
    """Make one sample and return its folder."""
    check(cfg)
    stem = "_".join(Path(cfg[key]).stem for key in FILES if cfg[key])
    folder = Path(cfg.out) / (cfg.name or f"{stem}_{steps_of(cfg)}_{cfg.mode}")
    with filling(folder, "sample.json") as work:
        talker = load(cfg)
        said = (write_dubbed if cfg.start == "driving" else write_face)(work, cfg, talker)
        card = said | {"steps": steps_of(cfg), "fps": FPS, "backends": talker.backends}
        (work / "sample.json").write_text(json.dumps(card, indent=2) + "\n")
    log.info("%d frames (%.1f s) in %s", card["frames"], card["frames"] / FPS, folder)
    return folder


@hydra.main(version_base="1.3", config_path=CONF, config_name="sample")
@user_errors
def main(cfg: DictConfig) -> None:
    run(cfg)


if __name__ == "__main__":
    main()
