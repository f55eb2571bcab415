"""Make a face speak: ``python -m tsd.sample reference=face.png audio=speech.wav steps=k2 mode=e1``, or a video say
other words: ``start=driving video=clip.mp4 audio=speech.wav``."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from tsd.commands.compose import command_line
from tsd.media import credentials
from tsd.media.atomic import filling
from tsd.media.audio import SAMPLES_PER_FRAME, load_audio
from tsd.media.coding import PHOTOGRAPH, Colours
from tsd.media.container import is_picture
from tsd.media.provenance import NO_CONSENT, Origin, consent_of, sign
from tsd.media.signals import FPS, to_levels, to_planes
from tsd.media.sound import Sound
from tsd.media.video import video_info
from tsd.runtime.arrays import array, given, no_gradients
from tsd.runtime.canvas import FRAMES
from tsd.runtime.composing import Composer
from tsd.runtime.dubbing import LENGTHS, Dubbing
from tsd.runtime.latents_file import Latents
from tsd.runtime.photograph import Photograph
from tsd.runtime.signed_video import write_signed_video
from tsd.runtime.talker import Talker, check_size
from tsd.weights import releases

log = logging.getLogger(__name__)
CHOICES = {
    "mode": ("e1", "e2", "decode"),
    "start": ("noise", "reference", "driving"),
    "motion": ("natural", "still"),
    "length": LENGTHS,
    "frame": FRAMES,
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
        wrong = impossible(cfg) + unsaid(cfg)
        if type(cfg.seed) is not int or cfg.seed < 0:
            wrong.append(f"seed={cfg.seed}: must be a whole number of 0 or more")
        try:
            check_size(cfg.size, cfg.frame)
        except ValueError as error:
            wrong.append(str(error))
        job = "driving" if cfg.start == "driving" else cfg.mode
        asks = "start=driving" if cfg.start == "driving" else f"mode={cfg.mode}"
        wrong += [f"{key}=<file> is missing: {asks} needs it" for key in NEEDED[job] if not cfg[key]]
        wrong += swapped(cfg.reference, cfg.audio)
        wrong += [no_file(key, Path(cfg[key])) for key in FILES if cfg[key] and not Path(cfg[key]).is_file()]
    if wrong:
        raise ValueError("; ".join(wrong))


def no_file(key: str, path: Path) -> str:
    """Why what is given for a key is none."""
    return f"{key}={path}: " + ("is a folder; give one file" if path.is_dir() else "no such file")


def swapped(reference: str | None, audio: str | None) -> list[str]:
    """Says so where the sound is given as the picture and the picture as the sound."""
    if not (reference and audio and Path(reference).is_file() and Path(audio).is_file()):
        return []
    if is_picture(reference) or not is_picture(audio):
        return []
    return [f"reference={reference} is no picture and audio={audio} is one: swap them"]


def impossible(cfg: DictConfig) -> list[str]:
    """Arguments that contradict each other."""
    if cfg.start != "driving":
        usual = {"video": None, "face": None, "length": "speech"}
        return [f"{key}={cfg[key]}: is used by start=driving only" for key in usual if cfg[key] != usual[key]]
    wrong = []
    if cfg.mode != "e1":
        wrong.append(f"mode={cfg.mode}: start=driving makes a video, for which latents are not enough; use mode=e1")
    if cfg.motion != "natural":
        wrong.append(f"motion={cfg.motion}: with start=driving the head moves as in the video; leave it out")
    return wrong


def unsaid(cfg: DictConfig) -> list[str]:
    """What is wrong with consent, mark, label and signing key."""
    wrong = [
        f"{key}={cfg[key]}: must be true or false" for key in ("mark", "label", "png") if not isinstance(cfg[key], bool)
    ]
    for judge, said in ((consent_of, [cfg.consent]), (credentials.load, [cfg.signing.key, cfg.signing.certificate])):
        try:
            judge(*said)
        except (ValueError, OSError) as error:
            wrong.append(str(error))
    return wrong


def load(cfg: DictConfig) -> Talker:
    """The talker of ``cfg.export`` where that is given, else of ``cfg.weights``; says who computes what."""
    speaking = ("vae", "visemes", "student") if cfg.start == "driving" else ("vae", "visemes", "student", "motion")
    stages = ("vae",) if cfg.mode == "decode" else speaking
    weights = {stage: cfg.weights[stage] for stage in stages}
    if not cfg.export:
        releases.check(weights)
    talker = Talker.load(cfg.export or weights, cfg.backend, memory=cfg.memory)
    talker.marked = cfg.mark
    log.info("computed by %s", ", ".join(f"{backend} ({stage})" for stage, backend in talker.backends.items()))
    return talker


def speak(cfg: DictConfig, talker: Talker, seen: Future[Photograph]) -> Iterator[np.ndarray]:
    """Frames uint8 [n, H, W, 3], or with mode=e2 latents [n, C, h, w], of the reference speaking the audio."""
    wave = load_audio(cfg.audio)
    talker.set_reference(seen.result(), cfg.size, cfg.frame, cfg.consent)
    num_frames = -(-len(wave) // SAMPLES_PER_FRAME)
    with tqdm(total=num_frames, unit="frame", desc=f"speaking, {steps_of(cfg)}", delay=2) as bar:
        for piece in talker.stream([wave], steps_of(cfg), CHUNK, cfg.seed, cfg.mode, cfg.motion, cfg.start):
            bar.update(len(piece))
            yield piece


def decode(talker: Talker, latents: Latents, cfg: DictConfig) -> Iterator[np.ndarray]:
    """Frames uint8 [n, H, W, 3] of the latents of an earlier run."""
    with no_gradients():
        appearance = talker.vae.appearance(given(to_planes(latents.reference)[None]))
    talker.consent, talker.weights = consent_of(cfg.consent) or latents.consent, latents.weights
    marking = talker.marking(latents.payload, latents.canvas)
    composer = Composer(latents.canvas, talker.vae.resolution, latents.light, latents.still, talker.vae.painted)
    blocks = [slice(begin, begin + CHUNK) for begin in range(0, len(latents.z), CHUNK)]
    for here in tqdm(blocks, unit="block", desc="decoding", delay=2):
        yield marking(talker.compose(latents.z[here], appearance.along(given(latents.maps[here])), composer))


def kept(talker: Talker, z: np.ndarray, cfg: DictConfig) -> Latents:
    """The latents of a whole video with what they are decoded with."""
    speaker = talker.reference
    cycle = array(talker.motion_cycle(speaker, cfg.seed, cfg.motion))
    maps = speaker.maps(cycle[np.arange(len(z)) % len(cycle)])
    crop, still = to_levels(array(speaker.appearance.picture)[0]), cfg.motion == "still"
    payload = talker.run_payload(speaker.appearance, steps_of(cfg), cfg.seed)
    return Latents(z, crop, maps, speaker.canvas, speaker.light, still, payload, talker.weights, talker.consent)


def write_face(work: Path, cfg: DictConfig, talker: Talker, seen: Future[Photograph] | None) -> dict:
    """latents.npz with mode=e2, else sample.mp4, and frames/ with png=true; what sample.json shall say of them."""
    if cfg.mode == "e2":
        z = np.concatenate(list(speak(cfg, talker, seen)))
        kept(talker, z, cfg).save(work / "latents.npz")
        number = len(z)
    else:
        latents = Latents.read(cfg.latents, talker.vae) if cfg.mode == "decode" else None
        pieces = speak(cfg, talker, seen) if latents is None else decode(talker, latents, cfg)
        write_signed(work, cfg, talker, pieces, Sound.of(cfg.audio) if cfg.audio else None)
        number = video_info(work / "sample.mp4").num_frames
    keys = ("reference", "audio", "latents", "mode", "start", "motion", "size", "frame", "seed")
    return {key: cfg[key] for key in keys} | {"frames": number}


def write_signed(
    work: Path,
    cfg: DictConfig,
    talker: Talker,
    pieces: Iterator[np.ndarray],
    sound: Sound | None,
    colours: Colours = PHOTOGRAPH,
) -> None:
    """sample.mp4, and frames/ with png=true, each with its manifest; written while frames are made."""
    inputs = {"reference": cfg.reference, "sound": cfg.audio, "video": cfg.video, "latents": cfg.latents}
    signer = credentials.load(cfg.signing.key, cfg.signing.certificate)
    keep = partial(kept_as_png, folder=work / "frames", signer=signer) if cfg.png else None
    write_signed_video(work / "sample.mp4", talker, pieces, sound, inputs, signer, cfg.label, keep, colours)


def kept_as_png(
    pieces: Iterator[np.ndarray], origin: Origin, folder: Path, signer: credentials.Credentials
) -> Iterator[np.ndarray]:
    """The same frames, of which each becomes a signed file of the folder."""
    folder.mkdir()
    note, done = PngInfo(), 0
    note.add_text("Comment", origin.sentence)
    for piece in pieces:
        for i, frame in enumerate(piece, done):
            path = folder / f"{i:06d}.png"
            Image.fromarray(frame).save(path, compress_level=PNG_LEVEL, pnginfo=note)
            sign(path, origin, signer)
        done += len(piece)
        yield piece


def write_dubbed(work: Path, cfg: DictConfig, talker: Talker) -> dict:
    """sample.mp4, written while it is made: a video may be long and its pictures large."""
    dubbing = talker.dub(cfg.video, cfg.audio, steps_of(cfg), CHUNK, cfg.seed, cfg.length, cfg.reference, cfg.face)
    talker.consent = consent_of(cfg.consent)
    write_signed(work, cfg, talker, watched(dubbing), Sound.of(cfg.audio), dubbing.coding.colours)
    left = dubbing.num_left
    if left:
        log.info("%d of %d frames do not show the face and stay as they are", left, dubbing.num_frames)
    for change in dubbing.changed:
        log.info("otherwise than in the video: %s", change)
    keys = ("video", "reference", "audio", "mode", "start", "length", "face", "seed")
    return {key: cfg[key] for key in keys} | {
        "reference_frame": dubbing.reference_frame,
        "video_frames": len(dubbing.video),
        "frames": dubbing.num_frames,
        "frames_left": left,
        "video_fps": round(dubbing.video.timeline.fps, 3),
        "changed": dubbing.changed,
    }


def watched(dubbing: Dubbing) -> Iterator[np.ndarray]:
    """Its frames; shows progress."""
    with tqdm(total=dubbing.num_frames, unit="frame", desc=f"dubbing, {dubbing.steps}", delay=2) as bar:
        for piece in dubbing:
            yield piece
            bar.update(len(piece))


def run(cfg: DictConfig) -> Path:
    """Make one sample and return its folder."""
    check(cfg)
    stem = "_".join(Path(cfg[key]).stem for key in FILES if cfg[key])
    folder = Path(cfg.out) / (cfg.name or f"{stem}_{steps_of(cfg)}_{cfg.mode}")
    speaks = cfg.start != "driving" and cfg.mode != "decode"
    with filling(folder, "sample.json") as work, ThreadPoolExecutor(1, "tsd-face") as beside:
        seen = beside.submit(Photograph.read, cfg.reference) if speaks else None  # while graphs are opened
        talker = load(cfg)
        said = write_dubbed(work, cfg, talker) if cfg.start == "driving" else write_face(work, cfg, talker, seen)
        card = said | {"steps": steps_of(cfg), "fps": FPS, "backends": talker.backends}
        card |= {"consent": talker.consent or NO_CONSENT, "label": cfg.label, "weights": talker.weights}
        card |= {"mark": None if talker.payload is None else f"{talker.payload:08x}"}
        (work / "sample.json").write_text(json.dumps(card, indent=2) + "\n")
    log.info("%d frames (%.1f s) in %s", card["frames"], card["frames"] / FPS, folder)
    return folder


@command_line("sample")
def main(cfg: DictConfig) -> None:
    run(cfg)


if __name__ == "__main__":
    main()
