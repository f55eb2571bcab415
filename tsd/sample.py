"""Make a face speak: ``python -m tsd.sample reference=face.png audio=speech.wav steps=k2 mode=e1``."""

import json
import logging
import shutil
import tempfile
from pathlib import Path
from zipfile import BadZipFile

import hydra
import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from tqdm import tqdm

from tsd import checkpoint
from tsd.clip import FPS, to_frames
from tsd.command import user_errors
from tsd.media.audio import load_audio
from tsd.media.faces import crop_face, find_face, load_picture
from tsd.media.video import write_video
from tsd.runtime.talker import Talker

log = logging.getLogger(__name__)
CHOICES = {"mode": ("e1", "e2", "decode"), "start": ("noise", "reference"), "motion": ("natural", "still")}
NEEDED = {"e1": ("reference", "audio"), "e2": ("reference", "audio"), "decode": ("latents",)}


def steps_of(cfg: DictConfig) -> str:
    """``k2`` for ``steps=k2``: names a schedule inside the student's weights."""
    return f"k{len(cfg.steps.strengths)}"


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error."""
    wrong = [f"{key}={cfg[key]}: must be one of {', '.join(c)}" for key, c in CHOICES.items() if cfg[key] not in c]
    if not wrong:
        missing = [key for key in NEEDED[cfg.mode] if not cfg[key]]
        wrong += [f"{key}=<file> is missing: mode={cfg.mode} needs it" for key in missing]
        wrong += [
            f"{key}={cfg[key]}: no such file"
            for key in ("reference", "audio", "latents")
            if cfg[key] and not Path(cfg[key]).is_file()
        ]
    if wrong:
        raise ValueError("; ".join(wrong))


def speak(cfg: DictConfig) -> tuple[np.ndarray, np.ndarray]:
    """Latents [T, C, h, w] of the reference speaking the audio, and the crop uint8 [R, R, 3] it was read from."""
    talker = Talker.load(**{stage: cfg.weights[stage] for stage in ("vae", "visemes", "student", "motion")})
    schedule = talker.schedule(steps_of(cfg))
    wave = load_audio(cfg.audio)
    picture = load_picture(cfg.reference)
    crop, motion = crop_face(picture, find_face(picture, cfg.reference), talker.vae.resolution)
    speaker = talker.speaker(crop, motion)
    visemes = talker.visemes(wave)
    num_frames = len(visemes)
    track = talker.motion(speaker, num_frames, cfg.seed)
    if cfg.motion == "still":
        track = speaker.motion.expand(num_frames, -1)
    start, schedule = talker.start(speaker, schedule) if cfg.start == "reference" else (None, schedule)
    pieces = talker.latents(speaker, visemes, track, schedule, cfg.seed, start)
    latents = []
    with tqdm(total=num_frames, unit="frame", desc=f"speaking, {steps_of(cfg)}", delay=2) as bar:
        for piece in pieces:
            latents.append(piece)
            bar.update(len(piece))
    return torch.cat(latents).numpy(), crop


def read_latents(path: str, vae) -> tuple[np.ndarray, np.ndarray]:
    """Latents [T, C, h, w] of an earlier run and the reference uint8 [R, R, 3], checked against the VAE."""
    try:
        with np.load(path, allow_pickle=False) as file:
            z, crop = file["latents"], file["reference"]
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
    return z, crop


def decode(vae_path: str, z: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Latents [T, C, h, w] of the face on ``crop`` -> frames uint8 [T, H, W, 3], in blocks of 8."""
    talker = Talker(checkpoint.load(vae_path, "vae"), None)
    with torch.inference_mode():
        appearance = talker.vae.appearance(to_frames(crop)[None])
    blocks = tqdm(torch.from_numpy(z).split(8), unit="block", desc="decoding", delay=2)
    return np.concatenate([talker.decode(block, appearance) for block in blocks])


def write(folder: Path, frames: np.ndarray | None, z: np.ndarray, crop: np.ndarray, cfg: DictConfig) -> None:
    """What a run leaves: latents.npz (e2), or sample.mp4 and frames/; all of it or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part-") as temporary:
        work = Path(temporary) / "run"
        work.mkdir()
        if frames is None:
            np.savez(work / "latents.npz", latents=z, reference=crop)
        else:
            write_video(work / "sample.mp4", frames, load_audio(cfg.audio) if cfg.audio else None)
            (work / "frames").mkdir()
            for i, frame in enumerate(frames):
                Image.fromarray(frame).save(work / "frames" / f"{i:06d}.png")
        keys = ("reference", "audio", "latents", "mode", "start", "motion", "seed")
        card = {key: cfg[key] for key in keys} | {"steps": steps_of(cfg), "frames": len(z), "fps": FPS}
        (work / "sample.json").write_text(json.dumps(card, indent=2) + "\n")
        if folder.exists():
            if not (folder / "sample.json").is_file():
                raise ValueError(f"name={folder.name}: {folder} holds something else than a sample; give another name")
            shutil.rmtree(folder)
        work.rename(folder)


def run(cfg: DictConfig) -> Path:
    """Make one sample and return its folder."""
    check(cfg)
    if cfg.mode == "decode":
        z, crop = read_latents(cfg.latents, checkpoint.load(cfg.weights.vae, "vae"))
    else:
        z, crop = speak(cfg)
    frames = None if cfg.mode == "e2" else decode(cfg.weights.vae, z, crop)
    stem = "_".join(Path(cfg[key]).stem for key in ("reference", "audio", "latents") if cfg[key])
    folder = Path(cfg.out) / (cfg.name or f"{stem}_{steps_of(cfg)}_{cfg.mode}")
    write(folder, frames, z, crop, cfg)
    log.info("%d frames (%.1f s) in %s", len(z), len(z) / FPS, folder)
    return folder


@hydra.main(version_base="1.3", config_path="../conf", config_name="sample")
@user_errors
def main(cfg: DictConfig) -> None:
    run(cfg)


if __name__ == "__main__":
    main()
