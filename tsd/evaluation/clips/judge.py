"""Every protocol over chosen clips of a split: each clip once, kept on disk as soon as it is done."""

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property, partial
from threading import Lock

from PIL import Image

from tsd.clip import FPS, Clip, to_uint8
from tsd.data.dataset import ClipDataset
from tsd.evaluation.clips.chain import Chain, Portrait, Subject
from tsd.evaluation.clips.choice import noise_strength, partner, shown_clips, speech_of_many
from tsd.evaluation.clips.clock import clock
from tsd.evaluation.clips.controls import controls
from tsd.evaluation.clips.denoise import denoise
from tsd.evaluation.clips.follow import follow
from tsd.evaluation.clips.generate import generate, marked, say_other
from tsd.evaluation.clips.instruments import FEATURES, OPENED
from tsd.evaluation.clips.long_run import long_run
from tsd.evaluation.clips.others_speech import against_others
from tsd.evaluation.clips.swaps import cross_identity, viseme_swap
from tsd.evaluation.report import Parts, moments, sheet
from tsd.evaluation.side_by_side import side_by_side

TRUTH = "truth"
"""Beside the openings that are read in a clip's videos: the true one."""


@dataclass(frozen=True)
class Plan:
    """What is done to which clips (numbers of the split); everything in it changes what comes out."""

    clips: list[int]
    schedules: list[str]
    """Of the student: those that speak."""
    with_controls: list[int]
    """Clips with control rows beyond ``real`` and ``recon``, heads that move as the clip's, and exchanged speech and
    faces."""
    by_teacher: list[int]
    """Clips that the teacher speaks, too."""
    noisy_psnr: float
    seed: int
    viseme_swap: bool = True
    cross_identity: bool = True
    long_seconds: int = 0

    @property
    def main(self) -> str:
        return "k2" if "k2" in self.schedules else self.schedules[0]


@dataclass
class Judge:
    """One evaluation under way."""

    chain: Chain
    dataset: ClipDataset
    plan: Plan
    parts: Parts
    workers: int = 1
    strength: float = float("nan")
    reading: Lock = field(default_factory=Lock)

    @cached_property
    def shown(self) -> list[int]:
        """Clips on the contact sheet."""
        return shown_clips(self.dataset, self.plan.clips, self.plan.seed)

    def run(self) -> tuple[list[dict], dict[str, dict]]:
        """The parts of all clips in their order, and of long runs by schedule; made or, where an earlier run was cut,
        read. A long run comes first, for it takes longest."""
        self.strength = self.parts.once("strength", self.find_strength)["strength"]
        long = [self.plan.main] if self.plan.long_seconds else []
        jobs = [partial(self.long, name) for name in long] + [partial(self.clip, clip) for clip in self.plan.clips]
        done = side_by_side(jobs, self.workers, "evaluating", "clip")
        runs, clips = dict(zip(long, done, strict=False)), done[len(long) :]
        self.add_others_speech([clip["rows"] for clip in clips])
        return clips, runs

    def add_others_speech(self, clips: list[dict]) -> None:
        """``mouth_r_shuffled`` of real videos and of all that are spoken from noise: their mouths beside what others
        say, which nothing has to be spoken for."""
        opened = [self.parts.read_arrays(f"{clip:06d}.{OPENED}") for clip in self.plan.clips]
        truths, people = [tracks.get(TRUTH) for tracks in opened], self.dataset.person[self.plan.clips]
        for name in dict.fromkeys(name for rows in clips for name in rows):
            if name != "real" and not name.startswith("generate."):
                continue
            values = against_others([tracks.get(name) for tracks in opened], truths, list(people))
            for rows, value in zip(clips, values, strict=True):
                if "mouth_r" in rows.get(name, {}):
                    rows[name]["mouth_r_shuffled"] = value

    def find_strength(self) -> dict:
        plan = self.plan
        return {"strength": noise_strength(self.chain, self.dataset, plan.clips, plan.noisy_psnr, plan.seed)}

    def whole_clip(self, clip: int) -> Clip:
        """Reading is for one thread at a time."""
        with self.reading, clock("reading"):
            return self.dataset.whole_clip(clip)

    def subject(self, clip: int) -> Subject:
        """Clip number ``clip`` of the split, read and made ready."""
        other = partner(self.dataset, clip, self.plan.seed)
        another = None if other is None else self.whole_clip(other)
        return Subject.of(self.chain, self.whole_clip(clip), another, self.plan.seed)

    def clip(self, clip: int) -> dict:
        """The part of one clip: {"key", "rows": {name: {column: value}}, "seconds", "processor": {step: seconds}}."""
        return self.parts.once(f"{clip:06d}", lambda: self.judge(clip))

    def judge(self, clip: int) -> dict:
        begun, chain, plan, main = time.perf_counter(), self.chain, self.plan, self.plan.main
        clock.take()
        subject, teacher, whole = self.subject(clip), clip in plan.by_teacher, clip in plan.with_controls
        steps = {name: chain.talker.schedule(name).num_steps for name in plan.schedules}
        denoised = denoise(chain, subject, self.strength, steps, main if whole else None)
        rows = {f"denoise.{name}": row for name, row in denoised.items()}
        spoken, video = generate(chain, subject, plan.schedules, teacher, main)
        rows |= {f"generate.{name}": row for name, row in spoken.items()}
        rows[f"marked.{main}"] = marked(chain, subject, video)
        wrong_video = say_other(chain, subject, main) if whole else None
        if whole:
            rows |= {f"follow.{name}": row for name, row in follow(chain, subject, plan.schedules).items()}
        rows |= controls(chain, subject, wrong_video, whole)
        if subject.other is not None and whole:
            if plan.viseme_swap:
                rows[f"viseme_swap.{main}"] = viseme_swap(chain, subject, video, wrong_video)
            if plan.cross_identity and chain.instruments.identity is not None:
                rows[f"cross_identity.{main}"] = cross_identity(chain, subject, chain.talker.schedule(main))
        if clip in self.shown:
            numbers = moments(len(video))
            real = to_uint8(subject.truth.frames[numbers])
            self.parts.write_arrays(f"{clip:06d}.face", numbers=numbers, real=real, generated=video[numbers])
        for kept in (FEATURES, OPENED):
            arrays = {name: row.pop(kept).numpy() for name, row in rows.items() if kept in row}
            if kept == OPENED and subject.truth.mouth_open is not None:
                arrays[TRUTH] = subject.truth.mouth_open.numpy()
            self.parts.write_arrays(f"{clip:06d}.{kept}", **arrays)
        seconds = time.perf_counter() - begun
        return {"key": subject.key, "rows": rows, "seconds": seconds, "processor": clock.take()}

    def long(self, name: str) -> dict:
        """The long run of one schedule: the first clip's reference says what all clips say, one after another."""
        return self.parts.once(f"long.{name}", lambda: self.speak_long(name))

    def speak_long(self, name: str) -> dict:
        chain, num_frames = self.chain, self.plan.long_seconds * FPS
        first, visemes, mouth_open = speech_of_many(chain, self.whole_clip, self.plan.clips, num_frames)
        schedule = chain.talker.schedule(name)
        return long_run(chain, Portrait.of(first), visemes, mouth_open, schedule, first.key[0], self.plan.seed)

    def sheet(self) -> Image.Image:
        """Real and generated moments of the shown clips; after ``run``."""
        names = {clip: self.dataset.entries[clip].identity for clip in self.shown}
        faces = [self.parts.read_arrays(f"{clip:06d}.face") | {"name": name} for clip, name in names.items()]
        title = f"real above, generated below: {self.plan.main}, from noise, speech recognised from the sound"
        return sheet(faces, title)


def processor_seconds(parts: list[dict]) -> dict[str, float]:
    """Seconds of one core by step over all clips, most first."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part["processor"])
    return {name: round(seconds, 3) for name, seconds in total.most_common()}
