"""A folder of real talking clips: every clip once, kept on disk as soon as it is done."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from tsd.clip import to_frames
from tsd.evaluation.clips import Portrait, clip_seed, speak
from tsd.evaluation.clips.generate import make_ready
from tsd.evaluation.clips.others_speech import against_others
from tsd.evaluation.pairs.matching import LeftOut, list_videos
from tsd.evaluation.report import Parts, moments
from tsd.evaluation.wild.lips import RealLips
from tsd.evaluation.wild.loudness import Loudness, features
from tsd.evaluation.wild.reading import CLOSE, Found, TalkingClip, find, read_clip
from tsd.media.audio import SAMPLES_PER_FRAME, log_mel
from tsd.media.distortion import chords
from tsd.media.video import write_video
from tsd.metrics.face_mesh import FaceMesh
from tsd.runtime.hearing import LIVE_WAIT
from tsd.runtime.talker import Talker

WORDLESS = 50
"""Frames of silence and of music that every reference is given."""

VERSION = 2
"""Raise it when a number changes its meaning: partial results of another version are not used."""


@dataclass
class Run:
    """One folder under way. ``generated`` holds partial results of these nets, ``real`` what is read of the real clips,
    which other nets need as well."""

    talker: Talker
    mesh: FaceMesh
    schedules: list[str]
    generated: Parts
    real: Parts
    videos: Path
    """Where every clip's real and generated face are written side by side."""
    seconds: float | None = None
    """Of each clip at most; None: all."""
    seed: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    loudness: Loudness = field(default_factory=Loudness.stored)

    def run(self, folder: Path) -> list[dict]:
        """The parts of all clips that can be judged, in the order of their names; others go to ``left_out``.

        A part: {"name", "person", "frames", "text", "lips": {row: [T, 2]}, "rows": {row: {metric: value}}, "gap":
        {"reference", "silence", "music": mean gap}}; the row ``truth`` of ``lips`` is what the others are compared
        with.
        """
        parts = []
        for name, paths in tqdm(list_videos(folder, "wild").items(), desc="judging clips", unit="clip"):
            try:
                parts.append(self.judge(Job(paths[0], name, person_of(folder, paths[0]))))
            except (ValueError, OSError) as error:
                self.left_out.append(LeftOut("wild", paths[0].relative_to(folder).as_posix(), "refused", str(error)))
        add_shuffled(parts)
        return parts

    def judge(self, job: "Job") -> dict:
        """The part of one clip. What earlier runs read in the same file is not read again."""
        stem = job.stem()
        found = self.real.once(f"{stem}.face", lambda: plain(find(job.path, self.seconds)))
        clip = read_clip(job.path, job.name, unplain(found))
        real = self.real.once(stem, lambda: self.read_real(clip))
        made = self.generated.once(stem, lambda: self.read_generated(clip, stem))
        truth = RealLips(np.array(real["truth"]), clip.visemes)
        lips = {"real": np.array(real["real"]), "late": truth.late()}
        lips |= {"loudness": self.loudness.guess(np.array(real["loud"]))[: len(truth.lips)]}
        lips |= {row: np.array(track) for row, track in made.items()}
        return {
            "name": job.name,
            "person": job.person,
            "stem": stem,
            "frames": len(truth.lips),
            "text": truth.visemes is not None,
            "lips": {"truth": truth.lips} | lips,
            "rows": {row: truth.row(track) for row, track in lips.items()},
            "gap": self.generated.once(f"{stem}.wordless", lambda: self.wordless(clip)),
        }

    def read_real(self, clip: TalkingClip) -> dict:
        """Lips in the real frames, large and in the size of the generated ones; how loud it is."""
        close, small = clip.faces(CLOSE, self.talker.vae.resolution)
        return {
            "truth": listed(self.mesh.lips(close)),
            "real": listed(self.mesh.lips(small)),
            "loud": listed(features(log_mel(clip.wave))),
        }

    def read_generated(self, clip: TalkingClip, stem: str) -> dict:
        """{row: lips} of what the nets make of the clip; its pictures are kept beside."""
        videos = self.speak(clip)
        self.show(clip, clip.faces(self.talker.vae.resolution)[0], videos[self.schedules[0]], stem)
        return {row: listed(self.mesh.lips(video)) for row, video in videos.items()}

    def speak(self, clip: TalkingClip) -> dict[str, np.ndarray]:
        """Frames uint8 [T, R, R, 3] from the clip's first picture: by every schedule what is heard, and by the first
        one as ``live`` what is heard when little sound is awaited, as ``aligned`` what the text says."""
        picture, motion = clip.reference(self.talker.vae.resolution)
        portrait = Portrait(to_frames(picture), torch.from_numpy(motion))
        heard = self.talker.visemes(clip.wave)
        seed = clip_seed(clip.name, self.seed)

        def video(visemes: torch.Tensor, steps: str) -> np.ndarray:
            return speak(self.talker, portrait, visemes, self.talker.schedule(steps), seed)[0]

        found = {steps: video(heard, steps) for steps in self.schedules}
        self.talker.reference, self.talker.marked = make_ready(self.talker, portrait), False
        pieces = np.split(clip.wave, range(SAMPLES_PER_FRAME, len(clip.wave), SAMPLES_PER_FRAME))
        live = self.talker.stream(pieces, self.schedules[0], seed=seed, wait=LIVE_WAIT)
        found["live"] = np.concatenate(list(live))[: len(clip)]
        if clip.visemes is not None:
            said = self.talker.saying(torch.from_numpy(clip.visemes), log_mel(clip.wave))
            found["aligned"] = video(said, self.schedules[0])
        return found

    def wordless(self, clip: TalkingClip) -> dict[str, float]:
        """Mean gap between the lips in the reference picture, and in what is generated of it from silence and music."""
        picture, motion = clip.reference(self.talker.vae.resolution)
        portrait, seed = Portrait(to_frames(picture), torch.from_numpy(motion)), clip_seed(clip.name, self.seed)
        length = WORDLESS * SAMPLES_PER_FRAME
        sounds = {"silence": np.zeros(length), "music": 0.1 * chords(np.random.default_rng(seed), length)}
        gaps, schedule = {"reference": self.gap(picture[None])}, self.talker.schedule(self.schedules[0])
        for name, sound in sounds.items():
            heard = self.talker.visemes(sound.astype(np.float32))
            gaps[name] = self.gap(speak(self.talker, portrait, heard, schedule, seed)[0])
        return gaps

    def gap(self, frames: np.ndarray) -> float:
        return float(np.nanmean(self.mesh.lips(frames)[:, 0]))

    def show(self, clip: TalkingClip, real: np.ndarray, made: np.ndarray, stem: str) -> None:
        """Both faces side by side as a video with the clip's sound, and moments of both for the sheet."""
        write_video(self.videos / f"{clip.name}.mp4", np.concatenate([real, made], 2), clip.wave)
        numbers = moments(len(clip))
        self.generated.write_arrays(stem, numbers=numbers, real=real[numbers], generated=made[numbers])

    def faces(self, parts: list[dict]) -> list[dict]:
        """What ``report.sheet`` shows of every clip."""
        return [{"name": part["name"][-13:]} | self.generated.read_arrays(part["stem"]) for part in parts]


@dataclass(frozen=True)
class Job:
    """One file of the folder."""

    path: Path
    name: str
    person: str

    def stem(self) -> str:
        """The name of its partial results; another one when the file or its text changes."""
        files = [file for file in (self.path, self.path.with_suffix(".txt")) if file.is_file()]
        facts = repr([(self.name, file.suffix, file.stat().st_size, file.stat().st_mtime_ns) for file in files])
        return hashlib.sha256(facts.encode()).hexdigest()[:16]


def plain(found: Found) -> dict:
    """For JSON."""
    visemes = None if found.visemes is None else listed(found.visemes)
    return {"first": found.first, "points": listed(found.points), "visemes": visemes}


def unplain(found: dict) -> Found:
    """What ``plain`` was made of."""
    visemes = None if found["visemes"] is None else np.array(found["visemes"], np.float32)
    return Found(found["first"], np.array(found["points"], np.float32), visemes)


def listed(values: np.ndarray) -> list:
    """For JSON."""
    return np.round(values.astype(float), 5).tolist()


def person_of(folder: Path, path: Path) -> str:
    """The folder that a clip lies in, as a corpus has one per person; a clip of ``folder`` itself is its own person."""
    inside = path.relative_to(folder)
    return inside.parts[0] if len(inside.parts) > 1 else inside.as_posix()


def add_shuffled(parts: list[dict]) -> None:
    """``lips_r_shuffled`` of every row: the real lips beside those of everybody else's clips."""
    people = [part["person"] for part in parts]
    truths = [part["lips"]["truth"][:, 0] for part in parts]
    for row in dict.fromkeys(row for part in parts for row in part["rows"]):
        tracks = [part["lips"][row][:, 0] if row in part["lips"] else None for part in parts]
        for part, value in zip(parts, against_others(tracks, truths, people), strict=True):
            if row in part["rows"]:
                part["rows"][row]["lips_r_shuffled"] = value
