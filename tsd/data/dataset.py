"""Windows of clips, and the batch made of them."""

import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tsd.clip import (
    EYES_OPEN,
    LIPS,
    LOUDNESS,
    MELS,
    MELS_PER_FRAME,
    MOTION,
    Clip,
    flip_motion,
    openness,
    viseme_windows,
)
from tsd.data.features import log_mel
from tsd.data.flows import Flows, read_flows
from tsd.data.latents import LatentCache
from tsd.data.manifest import Entry, Manifest
from tsd.data.memory import Memory
from tsd.data.tracks import Tracks, load_tracks
from tsd.flow import optical_flow
from tsd.media.audio import SAMPLES_PER_FRAME, load_audio
from tsd.media.loudness import band_levels, relative_loudness
from tsd.media.video import read_frames, video_info

REFERENCE_GAP = 5
"""Frames between the window and a reference out of the same clip: nearer ones give the answer away (our choice)."""
SHUT = 0.5
"""Eyes count as shut below this opening (0..1). Our choice."""


class ClipDataset(Dataset):
    """One split as windows of T frames.

    Training draws the window, the reference and the mirroring from a generator seeded by (seed, epoch,
    item), so a run is the same for every number of workers and every resumption; items are (epoch, number)
    pairs as ``EndlessSampler`` gives them. Otherwise everything is fixed: item j is window j // clips of clip
    j % clips, windows spread evenly, the reference the clip's first frame (its last one when the window
    begins near the first).

    Args:
        entries: the clips of one split, from ``read_manifest``.
        resolution: side of the frames in pixels.
        window: T, frames per window.
        windows_per_clip: items per clip (and epoch).
        train: random windows as above.
        p_mismatch: probability of a reference out of a clip of another identity (Eq. 12).
        flip: mirror half of the training windows.
        p_blink: probability of a training window with shut eyes in it, where the clip has any: lids are shut in one
            frame of twenty-five, too few to learn them from.
        flow: add the optical flow of one random neighbouring pair, stored or computed now.
        hears: one of ``clip.HEARS``: what ``Clip.visemes`` holds behind the visemes.
        mel: add the log-mel of the window's sound; a clip without sound is then an error.
        latents: cache of the frames' latents, in the order of ``entries``.
        pictures: False gives grey for the frames of a window (the reference stays): training on latents does not look
            at them, and decoding is what costs.
        decoder: what decodes videos, one of ``tsd.media.backends.DECODERS``.
        memory: holds decoded frames and sound between calls.
    """

    def __init__(
        self,
        entries: Manifest,
        resolution: int = 64,
        window: int = 8,
        windows_per_clip: int = 1,
        train: bool = False,
        p_mismatch: float = 0.0,
        flip: bool = False,
        p_blink: float = 0.0,
        flow: bool = False,
        mel: bool = False,
        hears: str = "visemes",
        latents: LatentCache | None = None,
        pictures: bool = True,
        decoder: str = "auto",
        memory: Memory | None = None,
        seed: int = 0,
    ):
        if len(short := np.flatnonzero(entries.frames < window)):
            e = entries[short[0]]
            raise ValueError(
                f"{e.where}: {e.key} has {e.frames} frames, fewer than the window of {window} "
                f"({len(short)} such clips); set data.window={entries.frames.min()} or remove the lines"
            )
        for name, value in {"p_mismatch": p_mismatch, "p_blink": p_blink}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")
        self.entries, self.resolution, self.window = entries, resolution, window
        self.windows_per_clip, self.train, self.seed = windows_per_clip, train, seed
        self.p_mismatch, self.flip, self.p_blink, self.flow, self.mel = p_mismatch, flip, p_blink, flow, mel
        self.latents, self.pictures, self.decoder, self.hears = latents, pictures, decoder, hears
        self.memory = memory if memory is not None else Memory(500 * 2**20)
        self.people, self.person = entries.people, entries.person
        self.num_bytes = int(entries.frames.sum(dtype=np.int64)) * 3 * resolution**2
        looked = list(entries.look())
        self.has_truth = any(e.truth for e in looked)
        self.has_boxes = self.has_truth or any(e.boxes for e in looked)
        if p_mismatch and len(self.people) < 2:
            found = f"p_mismatch={p_mismatch} needs two identities in the split, found {len(self.people)}"
            raise ValueError(f"{found}; p_mismatch=p00 does without")

    def __len__(self) -> int:
        return len(self.entries) * self.windows_per_clip

    def __getitem__(self, item: int | tuple[int, int]) -> dict:
        """One window as a dict of arrays, for ``collate``."""
        epoch, number = item if isinstance(item, tuple) else (0, item)
        if not 0 <= number < len(self):
            raise IndexError(f"item {number} of {len(self)}")
        nth, clip = divmod(number, len(self.entries))
        entry = self.entries[clip]
        if not self.train:
            rng = np.random.default_rng([self.seed, zlib.crc32(entry.key.encode()), nth])
            start = (2 * nth + 1) * (entry.frames - self.window) // (2 * self.windows_per_clip)
            reference = 0 if start >= REFERENCE_GAP else entry.frames - 1
            return self._sample(clip, start, self.window, *self._other(clip, reference, rng), False, rng)
        rng = np.random.default_rng([self.seed, epoch, number])
        start = int(rng.integers(entry.frames - self.window + 1))
        if self.p_blink and rng.random() < self.p_blink:
            start = self._around_a_blink(clip, start, rng)
        reference = _far_frame(entry.frames, start, self.window, rng)
        flipped = self.flip and bool(rng.random() < 0.5)
        return self._sample(clip, start, self.window, *self._other(clip, reference, rng), flipped, rng)

    def whole_clip(self, clip: int, reference: int | None = None) -> Clip:
        """All frames of clip number ``clip`` as a batch of one, with its sound where it has any.

        The reference is frame 0 of the clip, or of clip number ``reference``.
        """
        clip = range(len(self.entries))[clip]
        other = clip if reference is None else reference
        entry, rng = self.entries[clip], np.random.default_rng(self.seed)
        sample = self._sample(clip, 0, entry.frames, other, 0, False, rng, whole=True)
        return collate([sample]).in_unit()

    def _around_a_blink(self, clip: int, start: int, rng) -> int:
        """Start of a window of clip number ``clip`` with shut eyes somewhere in it; ``start`` where none is known."""
        motion, last = self.tracks(clip).motion, self.entries[clip].frames - self.window
        shut = np.flatnonzero(motion[:, EYES_OPEN] < SHUT) if motion is not None else []
        if not len(shut):
            return start
        return int(np.clip(rng.choice(shut) - rng.integers(self.window), 0, last))

    def _other(self, clip: int, reference: int, rng) -> tuple[int, int]:
        """(clip, frame) of the reference: the given frame, or with p_mismatch one of another identity."""
        if self.p_mismatch and rng.random() < self.p_mismatch:
            clip = int(rng.choice(np.flatnonzero(self.person != self.person[clip])))
            reference = int(rng.integers(self.entries[clip].frames))
        return clip, reference

    def _sample(self, clip, start, length, other, reference, flipped, rng, whole=False) -> dict:
        entry, span = self.entries[clip], slice(start, start + length)
        numbers = np.arange(start, start + length)
        if self.pictures or whole:
            frames = self.frames(clip, numbers)
        else:
            frames = np.broadcast_to(np.uint8(128), (length, self.resolution, self.resolution, 3))
        portrait = self.frames(other, [reference])[0]
        tracks, other_tracks = self.tracks(clip), self.tracks(other)
        known = tracks.motion is not None and other_tracks.motion is not None
        sample = {
            "frames": frames[:, :, ::-1] if flipped else frames,
            "reference": portrait[:, ::-1] if flipped else portrait,
            "visemes": self.speech(clip)[span],
            "viseme_labels": tracks.labels[span],
            "motion": _mirror(tracks.motion[span], flipped) if known else np.zeros((length, len(MOTION)), np.float32),
            "reference_motion": (
                _mirror(other_tracks.motion[reference], flipped) if known else np.zeros(len(MOTION), np.float32)
            ),
            "motion_known": known,
            "mismatch": self.person[clip] != self.person[other],
            "identity": self.person[clip],
            "key": entry.key,
            "start": start,
        }
        if self.has_boxes:
            sample["mouth_open"] = tracks.mouth_open[span]
            box = tracks.mouth_box[span]
            sample["mouth_box"] = np.stack([1 - box[:, 2], box[:, 1], 1 - box[:, 0], box[:, 3]], 1) if flipped else box
        if self.latents is not None:
            sample["latents"] = self.latents.read(clip, numbers, flipped)
            sample["reference_latent"] = self.latents.read(other, reference, flipped)
        mel = self.log_mel(clip, required=self.mel) if self.mel or whole else None
        if mel is not None:
            sample["mel"] = mel[start * MELS_PER_FRAME : (start + length) * MELS_PER_FRAME]
        if self.flow and not whole:
            pair = int(rng.integers(1, length)) if self.train else length // 2
            if entry.flow is not None:
                flow, visible = self.flows(clip).at(start + pair, self.resolution, flipped)
            else:
                both = [pair, pair - 1]
                both = frames[both] if self.pictures else self.frames(clip, numbers[both])
                flow, visible = optical_flow(*np.ascontiguousarray(both[:, :, ::-1] if flipped else both))
            sample.update(pair=pair, flow=flow, visible=visible)
        return sample

    def remember(self, clip: int) -> None:
        """Decode all that windows of clip number ``clip`` are made of, as far as the memory holds it."""
        self.frames(clip, [0])
        self.tracks(clip)
        if self.mel or "loudness" in self.hears:
            self.log_mel(clip, required=False)
        if self.flow and self.entries[clip].flow is not None:
            self.flows(clip)

    def frames(self, clip: int, numbers) -> np.ndarray:
        """uint8 [n, S, S, 3] of clip number ``clip``.

        Decoded whole and remembered where the memory holds all clips of the split; else only these frames are
        decoded: what would be forgotten before it is used again is not worth the work.
        """
        entry = self.entries[clip]
        if self.num_bytes > self.memory.max_bytes:
            return read_frames(entry.video, numbers, self.resolution, self.decoder)
        return self.memory.get(("frames", self.resolution, entry.video), lambda: self._decode(entry))[numbers]

    def _decode(self, entry: Entry) -> np.ndarray:
        frames = read_frames(entry.video, size=self.resolution, decoder=self.decoder)
        if len(frames) < entry.frames:
            raise ValueError(
                f"{entry.video}: has {len(frames)} frames but {entry.where} says {entry.frames}; "
                "run `python -m tsd.commands.prepare` again"
            )
        return frames[: entry.frames]

    def tracks(self, clip: int) -> Tracks:
        """Visemes, motion and truth of clip number ``clip``."""
        entry = self.entries[clip]
        return self.memory.get(("tracks", entry.video), lambda: load_tracks(entry))

    def speech(self, clip: int) -> np.ndarray:
        """[T, W, HEARS[hears]]: the viseme windows of clip number ``clip``, and what is heard beside them."""
        tracks = self.tracks(clip)
        if self.hears == "visemes":
            return tracks.windows
        more = self.lips(tracks) if self.hears == "visemes_lips" else self.loudness(clip)
        return np.concatenate([tracks.windows, viseme_windows(torch.from_numpy(more)).numpy()], -1)

    def lips(self, tracks: Tracks) -> np.ndarray:
        """float32 [T, 2]: ``clip.LIPS`` as they are seen; zeros where nobody measured them."""
        found = np.zeros((len(tracks.labels), len(LIPS)), np.float32)
        if tracks.motion is not None:
            opened = openness(torch.from_numpy(tracks.mouth_open), torch.from_numpy(tracks.motion)).numpy()
            found[:, 0], found[:, 1] = np.nan_to_num(opened), np.isfinite(opened)
        return found

    def loudness(self, clip: int) -> np.ndarray:
        """float32 [T, 3] of clip number ``clip``; zeros without sound."""
        mel = self.log_mel(clip, required=False)
        if mel is None:
            return np.zeros((self.entries[clip].frames, len(LOUDNESS)), np.float32)
        return relative_loudness(band_levels(mel))

    def flows(self, clip: int) -> Flows:
        """Stored flow of clip number ``clip``."""
        entry = self.entries[clip]
        return self.memory.get(("flow", entry.video), lambda: read_flows(entry.flow, entry.frames))

    def log_mel(self, clip: int, required: bool = True) -> np.ndarray | None:
        """[frames * 4, 80] of clip number ``clip``; without sound None, or ValueError where ``required``."""
        mel = self.memory.get(("mel", self.entries[clip].video), lambda: self._listen(clip))
        if len(mel):
            return mel
        if required:
            entry = self.entries[clip]
            raise ValueError(f"{entry.where}: {entry.key} has no sound but this stage listens; remove the line")
        return None

    def _listen(self, clip: int) -> np.ndarray:
        return sound_of(self.entries[clip].video, self.entries[clip].frames)


def sound_of(video: Path, num_frames: int) -> np.ndarray:
    """Log-mel [num_frames * 4, 80], the sound cut or padded with silence to the pictures; empty without sound."""
    if not video_info(video).has_audio:
        return np.zeros((0, MELS), np.float32)
    wave, num_samples = load_audio(video, silent_ok=True), num_frames * SAMPLES_PER_FRAME
    return log_mel(np.pad(wave, (0, max(0, num_samples - len(wave))))[:num_samples])


def _mirror(motion: np.ndarray, flipped: bool) -> np.ndarray:
    return flip_motion(torch.from_numpy(motion)).numpy() if flipped else motion


def _far_frame(num_frames: int, start: int, window: int, rng) -> int:
    """A random frame at least REFERENCE_GAP outside the window; the farthest one where none is."""
    numbers = np.arange(num_frames)
    distance = np.maximum(start - numbers, numbers - (start + window - 1))
    far = np.flatnonzero(distance >= REFERENCE_GAP)
    return int(rng.choice(far)) if len(far) else int(distance.argmax())


def collate(samples: list[dict]) -> Clip:
    """Samples of ``ClipDataset`` -> Clip: pictures uint8 [..., H, W, 3] -> [..., 3, H, W], still bytes."""
    batch = {name: [sample[name] for sample in samples] for name in samples[0]}
    pictures = {name: planes(np.stack(batch.pop(name))) for name in ("frames", "reference")}
    keys = batch.pop("key")
    tensors = {name: torch.from_numpy(np.stack(values)) for name, values in batch.items()}
    return Clip(**pictures, **tensors, key=keys)


def planes(pictures: np.ndarray) -> Tensor:
    """[..., H, W, 3] -> [..., 3, H, W] of the same type."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, -3)))
