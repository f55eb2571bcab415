"""Judge a chain of weights on held-out clips: ``python -m tsd.evaluate``, into outputs/metrics/eval_report.json."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import hydra
import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from tqdm import tqdm

from tsd import checkpoint, protocols
from tsd.clip import to_frames, to_uint8
from tsd.command import user_errors
from tsd.data.dataset import ClipDataset
from tsd.data.manifest import fingerprint
from tsd.protocols import Chain, Subject
from tsd.report import Parts, moments, nest, sheet, summarise_rows, to_markdown, write_report
from tsd.runtime.talker import Talker

log = logging.getLogger(__name__)
NEEDED = ("vae", "visemes", "student")
SPLITS = ("train", "val", "test")
PROBED_CLIPS, PROBED_FRAMES = 64, 192
"""The noise strength is found on at most this many clips, and on about this many frames of all of them together."""
SHOWN = 6
"""Faces on the contact sheet."""


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error."""
    wrong = [f"weights.{stage}=<file> is missing" for stage in NEEDED if not cfg.weights[stage]]
    for stage, path in cfg.weights.items():
        try:
            if path:
                checkpoint.read_header(path, stage)
        except (ValueError, FileNotFoundError) as error:
            wrong.append(str(error))
    if not wrong:
        known = checkpoint.read_header(cfg.weights.student)["card"].get("schedules", {})
        wrong += [
            f"schedules={name}: the student's weights hold no such schedule; they hold {', '.join(known) or 'none'}"
            for name in cfg.schedules
            if name not in known
        ]
    if cfg.split not in SPLITS:
        wrong.append(f"split={cfg.split}: must be one of {', '.join(SPLITS)}")
    if cfg.clips is not None and cfg.clips < 1:
        wrong.append(f"clips={cfg.clips}: must be 1 or more, or null for all")
    if cfg.teacher_samples and (cfg.teacher_samples < 0 or not cfg.weights.teacher):
        wrong.append(f"teacher_samples={cfg.teacher_samples}: must be 0 or more, and 0 without weights.teacher")
    if cfg.workers < 1:
        wrong.append(f"workers={cfg.workers}: must be 1 or more")
    if not cfg.schedules:
        wrong.append("schedules=[]: must name a schedule of the student, such as k2")
    if not str(cfg.out).endswith(".json"):
        wrong.append(f"out={cfg.out}: must end in .json")
    if wrong:
        raise ValueError("; ".join(wrong))


def load_chain(weights: dict[str, str | None]) -> Chain:
    """The nets of weights files {stage: path or None}; refused where VAE and teacher or student do not fit."""
    talker = Talker.load(**{stage: weights[stage] for stage in (*NEEDED, "motion")})
    talker.vae.to(memory_format=torch.channels_last)  # its layers are a third faster so, the student's are not
    others = {s: checkpoint.load(weights[s], s) for s in ("teacher", "mouth", "identity") if weights[s]}
    if "teacher" in others:
        checkpoint.check_latents(talker.vae, others["teacher"], weights["vae"], weights["teacher"])
    return Chain(talker, **others)


def open_dataset(cfg: DictConfig, resolution: int) -> ClipDataset:
    """The split's clips with their sound, in the VAE's resolution."""
    data = instantiate(cfg.data, resolution=resolution, window=2, mel=True, seed=cfg.seed, _convert_="all")
    data.setup({"train": None, "val": "validate", "test": "test"}[cfg.split])
    return data.datasets[cfg.split]


def spread(length: int, count: int | None) -> list[int]:
    """``count`` numbers below ``length``, evenly spread; all where there are no more."""
    count = min(count or length, length)
    return [i * length // count for i in range(count)]


def partner(dataset: ClipDataset, clip: int, seed: int) -> int | None:
    """A clip of another identity, whose speech stands in as the wrong one; None where there is none."""
    others = np.flatnonzero(dataset.person != dataset.person[clip])
    rng = np.random.default_rng(protocols.clip_seed(dataset.entries[clip].key, seed))
    return int(rng.choice(others)) if len(others) else None


def shown_clips(dataset: ClipDataset, chosen: list[int], seed: int) -> list[int]:
    """Clips for the contact sheet, drawn by the seed: of different people as long as there are any."""
    drawn = np.random.default_rng(seed).permutation(chosen)
    first = {dataset.person[clip]: clip for clip in drawn[::-1]}
    order = [*first.values(), *(clip for clip in drawn if clip not in first.values())]
    return sorted(int(clip) for clip in order[:SHOWN])


def noise_strength(chain: Chain, dataset: ClipDataset, chosen: list[int], target: float, seed: int) -> float:
    """``protocols.find_strength`` on a few frames of the chosen clips, with the very noise that ``denoise`` adds."""
    probed = [chosen[i] for i in spread(len(chosen), PROBED_CLIPS)]
    probes = []
    for clip in tqdm(probed, desc="reading clips", unit="clip", leave=False, delay=1):
        entry = dataset.entries[clip]
        numbers = np.array(spread(entry.frames, -(-PROBED_FRAMES // len(probed))))
        with torch.inference_mode():
            z = chain.encode(to_frames(dataset.frames(clip, numbers)))
            appearance = chain.talker.vae.appearance(to_frames(dataset.frames(clip, [0])))
        eps = protocols.clip_noise(entry.key, (entry.frames, *z.shape[1:]), seed)
        probes.append((z, eps[numbers], appearance))
    return protocols.find_strength(chain.decode, probes, target)


@dataclass
class Evaluation:
    """One evaluation under way: what every clip needs."""

    cfg: DictConfig
    chain: Chain
    dataset: ClipDataset
    parts: Parts
    strength: float
    by_teacher: set[int]
    shown: list[int]
    reading: Lock = field(default_factory=Lock)

    @property
    def shown_steps(self) -> str:
        """The schedule whose frames the contact sheet shows."""
        return "k2" if "k2" in self.cfg.schedules else self.cfg.schedules[0]

    def subject(self, clip: int) -> Subject:
        """Clip number ``clip`` of the split, read and made ready."""
        seed, other = self.cfg.seed, partner(self.dataset, clip, self.cfg.seed)
        with self.reading:
            whole = self.dataset.whole_clip(clip)
            mel = None if other is None else torch.from_numpy(self.dataset.log_mel(other))
        return Subject.of(self.chain, whole, mel, seed)

    def judge(self, clip: int) -> dict:
        """The part of one clip: its rows {name: {column: value}}; read where it is finished, else made and kept."""
        if done := self.parts.read(f"{clip:06d}"):
            return done
        begun = time.perf_counter()
        chain, subject = self.chain, self.subject(clip)
        steps = {name: chain.talker.schedule(name).num_steps for name in self.cfg.schedules}
        denoised = protocols.denoise(chain, subject, self.strength, steps)
        spoken, videos = protocols.generate(chain, subject, list(steps), clip in self.by_teacher)
        rows = {f"denoise.{name}": row for name, row in denoised.items()}
        rows |= {f"generate.{name}": row for name, row in spoken.items()}
        rows |= protocols.controls(chain, subject)
        if clip in self.shown:
            numbers = moments(len(subject.frames))
            real, generated = to_uint8(subject.frames[numbers]), videos[self.shown_steps][numbers]
            self.parts.write_face(f"{clip:06d}", numbers=numbers, real=real, generated=generated)
        part = {"key": subject.key, "rows": rows, "seconds": time.perf_counter() - begun}
        self.parts.write(f"{clip:06d}", part)
        return part

    def judge_all(self, clips: list[int]) -> list[dict]:
        """The parts of all ``clips`` in their order, ``workers`` at a time.

        A clip a thread, one core each: the nets are too small for two cores to share one of their layers well.
        """
        bar = tqdm(total=len(clips), desc=f"evaluating {self.cfg.split}", unit="clip")
        pool = ThreadPoolExecutor(self.cfg.workers, initializer=torch.set_num_threads, initargs=(1,))
        with bar, pool:
            running = [pool.submit(self.judge, clip) for clip in clips]
            try:
                for done in as_completed(running):
                    done.result()
                    bar.update()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [done.result() for done in running]

    def sheet(self):
        """Real and generated moments of the shown clips, as a picture."""
        names = {clip: self.dataset.entries[clip].identity for clip in self.shown}
        faces = [self.parts.read_face(f"{clip:06d}") | {"name": name} for clip, name in names.items()]
        return sheet(
            faces, f"real above, generated below: {self.shown_steps}, from noise, speech recognised from the sound"
        )


def evaluate(cfg: DictConfig) -> dict:
    """Run every protocol over the clips and write the report; returns it. Finished clips of a cut run are kept."""
    begun, threads = time.perf_counter(), torch.get_num_threads()
    check(cfg)
    chain = load_chain(cfg.weights)
    dataset = open_dataset(cfg, chain.talker.vae.resolution)
    chosen = spread(len(dataset.entries), cfg.clips)
    by_teacher = {chosen[i] for i in spread(len(chosen), cfg.teacher_samples)} if cfg.teacher_samples else set()
    hashes = {stage: checkpoint.file_hash(path) for stage, path in cfg.weights.items() if path}
    settings = {"split": cfg.split, "schedules": list(cfg.schedules), "noisy_psnr": cfg.noisy_psnr, "seed": cfg.seed}
    settings |= {"teacher_samples": cfg.teacher_samples, "version": protocols.VERSION}
    depends_on = {"clips": chosen, "data": [str(cfg.data.root), fingerprint(dataset.entries)], "weights": hashes}
    parts = Parts(Path(cfg.out), settings | depends_on)

    try:
        torch.set_num_threads(1)
        found = parts.read("strength")
        if found is None:
            found = {"strength": noise_strength(chain, dataset, chosen, cfg.noisy_psnr, cfg.seed)}
            parts.write("strength", found)
        shown = shown_clips(dataset, chosen, cfg.seed)
        evaluation = Evaluation(cfg, chain, dataset, parts, found["strength"], by_teacher, shown)
        clips = evaluation.judge_all(chosen)
    finally:
        torch.set_num_threads(threads)

    statistics = summarise_rows([clip["rows"] for clip in clips], cfg.seed)
    rows = nest(statistics)
    report = {
        "clips": len(clips),
        "identities": len({int(dataset.person[clip]) for clip in chosen}),
        "split": cfg.split,
        "denoise": found | rows.pop("denoise"),
        **rows,
        "statistics": statistics,
        "weights": hashes,
        "settings": settings,
        "seconds": time.perf_counter() - begun,
    }
    write_report(Path(cfg.out), report, evaluation.sheet())
    parts.remove()
    return report


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
@user_errors
def main(cfg: DictConfig) -> None:
    report = evaluate(cfg)
    log.info("\n%s\n%s, tables and sheet.png beside it", to_markdown(report), cfg.out)


if __name__ == "__main__":
    main()
