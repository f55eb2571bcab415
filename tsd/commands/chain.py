"""A whole chain (``make demo``, ``make chain NAME=release``): corpora, every stage, a sample and the report.

Its recipe is a file of conf/chain.
"""

import json
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from PIL import Image

from tsd.commands.compose import call, command_line, override
from tsd.commands.errors import refuse, unreadable
from tsd.data.manifest import manifest_path, read_manifest
from tsd.media.atomic import write_file
from tsd.media.audio import load_audio, write_wav
from tsd.media.video import read_frames
from tsd.weights import checkpoint
from tsd.weights.releases import CARD

log = logging.getLogger(__name__)
STAGES = {
    "visemes": "speech to visemes",
    "vae": "pictures to latents and back",
    "identity": "the face embedder",
    "mouth": "the instrument that measures mouth opening",
    "sync": "the sync expert of the evaluation",
    "sync_loss": "the sync expert of the loss",
    "lipreader": "the instrument that reads visemes from mouths",
    "teacher": "noise prediction at every noise strength",
    "student": "the same in few steps, a quarter of the size",
}
CORPORA = {
    "corpus": "speaking people",
    "voices": "more voices, for the viseme recogniser",
    "held_out": "people for the report",
    "motion": "longer head motion, to be replayed",
}


class Step(NamedTuple):
    """One piece of work, done unless the file ``result`` exists; ``seconds``: how long it is expected to take."""

    name: str
    what: str
    result: Path
    work: Callable[[], Any]
    seconds: float


class Chain:
    """The chain in ``out``. Steps whose results exist are skipped, so that a chain that was stopped continues."""

    def __init__(self, cfg: DictConfig):
        self.cfg, self.out = cfg, Path(cfg.out)
        self.clock = self.out / "seconds.json"
        self.seconds = json.loads(self.clock.read_text()) if self.clock.exists() else {}

    def steps(self) -> list[Step]:
        """Everything that the recipe does, in order; ``only`` is not looked at."""
        cfg, report, search = self.cfg, self.out / "report.json", self.out / "schedules" / "report.json"
        corpora = {name: (self.out / "corpus" / name, given) for name, given in cfg.corpora.parts.items()}
        own = {name: cfg.corpora[name] for name in CORPORA}
        corpora |= {name: (self.out / name, given) for name, given in own.items() if given and not is_name(given)}
        done = [
            (name, CORPORA.get(name, "a part of the corpus"), last_of(root, given), partial(self.prepare, root, given))
            for name, (root, given) in corpora.items()
        ]
        done += [(s, f"copied from {cfg.start}", self.weights(s), partial(self.take, s)) for s in cfg.taken]
        done += [(s, STAGES[s], self.weights(s), partial(self.train, s)) for s in cfg.stages]
        if cfg.search_schedules:
            done.append(("schedules", "the noise strengths of few steps", search, self.schedules))
        if self.speaks:
            done.append(("sample", "a held-out face speaks, K=2", self.out / "sample.mp4", self.sample))
            done.append(("evaluate", "held-out people, beside control rows", report, self.evaluate))
        return [Step(*step, 0 if step[0] in cfg.taken else cfg.expected_seconds.get(step[0], 0)) for step in done]

    @property
    def speaks(self) -> bool:
        """Whether there is a student in the end, so that a face can speak and be judged."""
        return "student" in (*self.cfg.stages, *self.cfg.taken)

    def do(self, step: Step) -> None:
        """Run a step unless its result exists; say what, how long, and where."""
        if step.result.exists():
            log.info("%-9s done before: %s", step.name, step.result)
            return
        log.info("%-9s %s, about %d s, into %s", step.name, step.what, step.seconds, step.result)
        begun = time.perf_counter()
        try:
            step.work()
        finally:
            self.seconds[step.name] = round(self.seconds.get(step.name, 0) + time.perf_counter() - begun, 1)
            write_file(self.clock, json.dumps(self.seconds).encode())

    def weights(self, stage: str) -> Path:
        return self.out / stage / "weights.safetensors"

    def overrides(self, *names: str) -> list[str]:
        """``weights.<name>=<file>`` of the chain."""
        files = {name: motion_of(self.root(name)) if name == "motion" else self.weights(name) for name in names}
        return [override(f"weights.{name}", file) for name, file in files.items()]

    def root(self, name: str) -> Path:
        """The folder of a corpus: its own, or that of the corpus that is used instead."""
        given = self.cfg.corpora[name]
        return self.out / "corpus" / given if is_name(given) else self.out / (name if given else "corpus")

    def prepare(self, root: Path, given: list[str]) -> None:
        call("prepare", [*given, override("root", root)])

    def goes_on(self, stage: str) -> bool:
        """Whether the stage's training starts from the weights of ``start``."""
        return bool(self.cfg.start) and (self.cfg.goes_on is None or stage in self.cfg.goes_on)

    def train(self, stage: str) -> None:
        """A stage in its phases, each of which goes on from the one before; most have one."""
        first = None
        if self.goes_on(stage):
            first = self.begun(stage)
            self.seconds.setdefault(stage, self.before(stage))
        *earlier, last = self.cfg.train.get(stage, {}).get("phases", [[]])
        for number, given in enumerate(earlier, 1):
            first = self.train_phase(stage, self.out / f"{stage}_{number}", given, first)
        self.train_phase(stage, self.out / stage, last, first)

    def train_phase(self, stage: str, out: Path, given: list[str], first: Path | None) -> Path:
        """The weights of one training from the weights ``first`` (None: from random ones)."""
        root = self.root("voices" if stage == "visemes" else "corpus")
        args = [f"stage={stage}", override("out", out), override("data.root", root), *self.overrides(*STAGES)]
        args += [] if first is None else [override("init", first)]
        of_stage = self.cfg.train.get(stage, {}).get("common", [])
        return call("train", [*self.cfg.train.common, *args, *of_stage, *given, *self.cfg.overrides])

    def starts(self) -> list[Path]:
        """The folders ``start`` names, each a chain's or one of released weights; the first that has a net counts."""
        given = self.cfg.start or []
        return [Path(folder) for folder in ([given] if isinstance(given, str) else given)]

    def begun(self, stage: str) -> Path:
        """The weights of a stage in ``start``."""
        names = (f"{stage}.safetensors", f"{stage}/weights.safetensors")
        files = [folder / name for folder in self.starts() for name in names]
        return next((file for file in files if file.is_file()), files[1])

    def take(self, stage: str) -> None:
        """Copy the weights of a stage from ``start``."""
        source = self.begun(stage)
        checkpoint.read_header(source, stage)
        write_file(self.weights(stage), source.read_bytes())
        self.seconds[stage] = self.before(stage)

    def before(self, name: str) -> float:
        """Seconds that a step took in ``start``. They count: without it there would be nothing to go on from."""
        for folder in self.starts():
            clock, card = folder / self.clock.name, folder / CARD
            if not clock.is_file() and not card.is_file():
                continue
            seconds = json.loads(clock.read_text()) if clock.is_file() else json.loads(card.read_text())["seconds"]
            if name in seconds:
                return seconds[name]
        return 0

    def schedules(self) -> None:
        """Strengths of the student's steps, searched on people of the validation split."""
        args = [override("out", self.out / "schedules" / "report.json"), override("data.root", self.root("corpus"))]
        args += [f"schedules=[{','.join(self.cfg.search_schedules)}]"]
        call("schedules", [*args, *self.overrides("vae", "visemes", "student")])

    def held_out(self) -> tuple[Path, Path]:
        """A picture and a sentence of the test split's first person, as files."""
        root = self.root("held_out")
        entry = read_manifest(manifest_path(root, "test"), root)[0]
        picture, sound = self.out / "reference.png", self.out / "speech.wav"
        Image.fromarray(read_frames(entry.video, indices=[0])[0]).save(picture)
        write_wav(sound, load_audio(entry.video))
        return picture, sound

    def sample(self) -> None:
        picture, sound = self.held_out()
        args = [override("reference", picture), override("audio", sound), override("out", self.out / "samples")]
        args += ["steps=k2", "name=demo"]
        args += self.overrides("vae", "visemes", "student", "motion")
        folder = call("sample", args)
        write_file(self.out / "sample.mp4", (folder / "sample.mp4").read_bytes())

    def evaluate(self) -> None:
        args = [override("out", self.out / "report.json"), override("data.root", self.root("held_out"))]
        args += self.overrides(*self.cfg.stages, *self.cfg.taken, "motion")
        call("evaluate", [*args, *self.cfg.evaluate])
        report = self.out / "report.json"
        content = json.loads(report.read_text()) | {"seconds": self.seconds}
        write_file(report, json.dumps(content, indent=2).encode())

    def run(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        steps = [step for step in self.steps() if self.cfg.only is None or step.name in self.cfg.only]
        minutes = -(-sum(step.seconds for step in steps) // 60)
        log.info("this takes about %d minutes on two cores; it can be stopped and continues\n", minutes)
        if self.cfg.taken:
            before = {name: self.before(name) for name in CORPORA if self.cfg.corpora[name] is None}
            self.seconds |= {name: seconds for name, seconds in before.items() if seconds}
        for step in steps:
            self.do(step)
        if self.cfg.only is None:
            self.close()

    def close(self) -> None:
        """The table, and where everything lies."""
        if not self.speaks:
            print("\n".join(str(self.weights(stage)) for stage in self.cfg.stages))
            return
        print((self.out / "report.md").read_text())
        for name in ("sample.mp4", "sheet.png", "report.json"):
            print(f"{self.out / name}")


def is_name(given: Any) -> bool:
    """Whether a corpus is given as the name of a part, instead of by overrides."""
    return isinstance(given, str)


def motion_of(root: Path) -> Path:
    """The motion bank of a corpus: the last file that ``prepare`` writes."""
    return root / "manifests" / "motion.safetensors"


def last_of(root: Path, given: list[str]) -> Path:
    """The last file that ``prepare`` writes of a corpus; speech without pictures has no motion."""
    return root / "manifests" / "lrs3_test.jsonl" if "source=speech" in given else motion_of(root)


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error, before the first corpus is made."""
    chain = Chain(cfg)
    known = [step.name for step in chain.steps()]
    wrong = [f"only={name}: must be some of {', '.join(known)}" for name in cfg.only or () if name not in known]
    if not cfg.get("videos", True):
        wrong.append("videos=<folder> is missing: VIDEOS=<folder> of make (docs/data.md says what lies in it)")
    begun = (*cfg.taken, *filter(chain.goes_on, cfg.stages))
    refuse(wrong + unreadable((stage, chain.begun(stage)) for stage in begun))


def run(cfg: DictConfig) -> None:
    """Run the recipe; what is finished is kept."""
    check(cfg)
    torch.set_num_threads(cfg.threads)
    Chain(cfg).run()


@command_line("chain/demo")
def main(cfg: DictConfig) -> None:
    run(cfg)


if __name__ == "__main__":
    main()
