"""A whole chain (``make demo``, ``make chain NAME=release``): corpora, every stage, a held-out face that speaks, and the
report."""

import json
import logging
import time
from pathlib import Path

import hydra
import torch
from omegaconf import DictConfig
from PIL import Image

from tsd.commands.compose import CONF, call, override
from tsd.commands.errors import user_errors
from tsd.data.manifest import manifest_path, read_manifest
from tsd.media.atomic import write_file
from tsd.media.audio import load_audio, write_wav
from tsd.media.video import read_frames
from tsd.weights import checkpoint
from tsd.weights.releases import CARD

log = logging.getLogger(__name__)
STAGES = {  # in words
    "visemes": "speech to mouth shapes",
    "vae": "pictures to latents and back",
    "identity": "who is in a picture",
    "mouth": "the instrument that measures mouths",
    "sync": "the expert on lips in step with sound",
    "sync_loss": "the expert on lips that the loss asks",
    "lipreader": "the reader of visemes in mouths",
    "teacher": "noise prediction at every strength",
    "student": "the same in few steps, a quarter of the size",
}

CORPORA = {
    "corpus": "people who speak",
    "voices": "more voices, for the recogniser",
    "held_out": "people for the report",
    "motion": "heads that move for longer, to be replayed",
}


class Chain:
    """The chain in ``out``; every step is skipped where its result exists, so that a cut demo continues."""

    def __init__(self, cfg: DictConfig):
        self.cfg, self.out = cfg, Path(cfg.out)
        self.clock = self.out / "seconds.json"
        self.seconds = json.loads(self.clock.read_text()) if self.clock.exists() else {}

    def step(self, name: str, what: str, result: Path, work) -> None:
        """Run ``work`` unless ``result`` exists; say what, how long, and where."""
        if result.exists():
            log.info("%-9s done before: %s", name, result)
            return
        expected = self.cfg.expected_seconds.get(name)
        log.info("%-9s %s, about %d s, into %s", name, what, expected, result)
        begun = time.perf_counter()
        try:
            work()
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0) + time.perf_counter() - begun, 1)
            write_file(self.clock, json.dumps(self.seconds).encode())

    def weights(self, stage: str) -> Path:
        return self.out / stage / "weights.safetensors"

    def overrides(self, *names: str) -> list[str]:
        """``weights.<name>=<file>`` of the chain."""
        motion = self.root("motion") / "manifests" / "motion.safetensors"
        return [override(f"weights.{name}", motion if name == "motion" else self.weights(name)) for name in names]

    def root(self, name: str) -> Path:
        """Of a corpus, or of the part of ``corpus`` that stands for it; ``corpus`` where there is no ``name``."""
        given = self.cfg[name]
        if isinstance(given, str):
            return self.out / "corpus" / given
        return self.out / (name if given else "corpus")

    def corpora(self) -> None:
        """Every corpus that the configuration describes; ``corpus`` itself may be made of ``parts``."""
        for name in self.cfg.parts:
            self.prepare(name, self.out / "corpus" / name, self.cfg.parts[name], "a part of the corpus")
        for name, what in CORPORA.items():
            if self.cfg[name] and not isinstance(self.cfg[name], str):
                self.prepare(name, self.out / name, self.cfg[name], what)

    def prepare(self, name: str, root: Path, given: list[str], what: str) -> None:
        """A corpus from overrides of ``tsd.prepare``, unless it is there."""
        result = root / "manifests" / "motion.safetensors"
        self.step(name, what, result, lambda: call("prepare", [*given, override("root", root)]))

    def train(self, stage: str) -> None:
        """A stage in its phases, each of which goes on from the one before; most have one."""
        first = None
        if self.cfg.start and (self.cfg.goes_on is None or stage in self.cfg.goes_on):
            first = self.begun(stage)
            self.seconds.setdefault(stage, self.before(stage))
        *earlier, last = self.cfg.phases.get(stage, [[]])
        for number, given in enumerate(earlier, 1):
            first = self.train_phase(stage, self.out / f"{stage}_{number}", given, first)
        self.train_phase(stage, self.out / stage, last, first)

    def train_phase(self, stage: str, out: Path, given: list[str], first: Path | None) -> Path:
        """The weights of one training from the weights ``first`` (None: from random ones)."""
        root = self.root("voices" if stage == "visemes" else "corpus")
        args = [override("out", out), override("data.root", root)]
        args += self.overrides("vae", "identity", "sync_loss", "teacher", "student")
        args += [] if first is None else [override("init", first)]
        experiment = f"experiment={self.cfg.experiment}"
        return call("train", [experiment, f"stage={stage}", *args, *given, *self.cfg.train])

    def check_start(self) -> None:
        """FileNotFoundError or ValueError, before the first corpus, where ``start`` lacks what is asked of it."""
        for stage in (*self.cfg.taken, *self.cfg.stages) if self.cfg.start else ():
            if stage in self.cfg.taken or self.cfg.goes_on is None or stage in self.cfg.goes_on:
                checkpoint.read_header(self.begun(stage), stage)

    def begun(self, stage: str) -> Path:
        """The weights of a stage in ``start``, which is a chain's folder or one of released weights."""
        released = Path(self.cfg.start) / f"{stage}.safetensors"
        return released if released.is_file() else Path(self.cfg.start) / stage / "weights.safetensors"

    def take(self, stage: str) -> None:
        """The weights of a stage as the chain ``start`` has them."""
        source, target = self.begun(stage), self.weights(stage)
        checkpoint.read_header(source, stage)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, source.read_bytes())
        self.seconds[stage] = self.before(stage)

    def before(self, stage: str) -> float:
        """Seconds that a stage took in ``start``: they count, for without them there would be nothing to go on from."""
        clock, card = Path(self.cfg.start) / self.clock.name, Path(self.cfg.start) / CARD
        if clock.is_file():
            return json.loads(clock.read_text()).get(stage, 0)
        return json.loads(card.read_text())["seconds"].get(stage, 0) if card.is_file() else 0

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
        total = sum(self.cfg.expected_seconds.values())
        log.info("this takes about %d minutes on two cores; it can be stopped and continues\n", -(-total // 60))
        self.check_start()
        self.corpora()
        if self.cfg.taken:
            before = {name: self.before(name) for name in CORPORA if self.cfg[name] is None}
            self.seconds |= {name: seconds for name, seconds in before.items() if seconds}
        for stage in self.cfg.taken:
            self.step(stage, f"taken from {self.cfg.start}", self.weights(stage), lambda stage=stage: self.take(stage))
        for stage in self.cfg.stages:
            self.step(stage, STAGES[stage], self.weights(stage), lambda stage=stage: self.train(stage))
        if self.cfg.search_schedules:
            result = self.out / "schedules" / "report.json"
            self.step("schedules", "the strengths of few steps", result, self.schedules)
        self.step("sample", "a held-out face speaks, K=2", self.out / "sample.mp4", self.sample)
        self.step("evaluate", "held-out people, beside control rows", self.out / "report.json", self.evaluate)
        self.close()

    def close(self) -> None:
        """The table, and where everything lies."""
        print((self.out / "report.md").read_text())
        for name in ("sample.mp4", "sheet.png", "report.json"):
            print(f"{self.out / name}")


def run(cfg: DictConfig) -> None:
    """The whole chain that a configuration of ``conf`` describes."""
    torch.set_num_threads(cfg.threads)
    Chain(cfg).run()


@hydra.main(version_base="1.3", config_path=CONF, config_name="demo")
@user_errors
def main(cfg: DictConfig) -> None:
    run(cfg)


if __name__ == "__main__":
    main()
