"""What reading costs. Decoders side by side; windows out of videos; training steps fed
from the latent cache and from memory. Everything is taken in turns, so that a noisy machine is fair to all."""

import itertools
from pathlib import Path

import numpy as np
from torch import nn
from torch.optim import Optimizer

from tsd.bench.timing import in_turns
from tsd.data.datamodule import ClipDataModule
from tsd.data.latent_cache import cache_latents
from tsd.data.memory import Memory
from tsd.evaluation.report import markdown_table
from tsd.media.audio import load_audio
from tsd.media.backends import BACKENDS
from tsd.media.video import read_frames, write_video
from tsd.modules.teacher import TeacherModule
from tsd.prepare.collect import Splits, collect
from tsd.prepare.settings import Settings
from tsd.prepare.sources import synthetic
from tsd.prepare.work import KEYFRAMES

WINDOW = 8


def decoders(video: Path, num_frames: int, rounds: int) -> list[dict]:
    """A row per decoder that works here: speed, and how far its frames are from PyAV's."""
    middle = num_frames // 2
    wanted = {"whole": range(num_frames), "window": [*range(middle, middle + WINDOW), 3], "frame": [middle + 5]}
    truth, rows, working = BACKENDS["pyav"](video, wanted["whole"]), [], {}
    for name, read in BACKENDS.items():
        try:
            working[name] = (read, int(np.abs(read(video, wanted["whole"]).astype(int) - truth).max()))
        except (ImportError, RuntimeError, AttributeError) as error:
            rows.append({"decoder": name, "missing": str(error).strip().splitlines()[0]})
    for what, numbers in wanted.items():
        jobs = {name: lambda read=read, numbers=numbers: read(video, numbers) for name, (read, _) in working.items()}
        for name, ms in in_turns(jobs, rounds).items():
            rows.append({"decoder": name, "what": what, "ms": ms, "levels": working[name][1]})
    return rows


def window_sources(data: ClipDataModule, count: int) -> dict[str, float]:
    """Milliseconds of a training window (8 frames and a reference): every frame of the clip decoded, only the
    wanted ones, and out of memory."""
    data.setup("fit")
    dataset = data.datasets["train"]
    warm, cold = Memory(2**32), Memory(0)
    for clip, _ in enumerate(dataset.entries):
        dataset.memory = warm
        dataset.frames(clip, [0])
    numbers, rng = itertools.count(), np.random.default_rng(0)

    def window(memory: Memory, whole: bool) -> None:
        dataset.memory = memory
        clip = next(numbers) % len(dataset.entries)
        start = int(rng.integers(dataset.entries[clip].frames - WINDOW))
        wanted = [*range(start, start + WINDOW), int(rng.integers(dataset.entries[clip].frames))]
        if whole:
            read_frames(dataset.entries[clip].video, size=dataset.resolution)[wanted]
        else:
            dataset.frames(clip, wanted)

    jobs = {
        "every frame of the clip": lambda: window(cold, True),
        "the wanted frames": lambda: window(cold, False),
        "memory": lambda: window(warm, False),
    }
    return in_turns(jobs, count)


def training(
    module: TeacherModule, vae: nn.Module, optimizer: Optimizer, root: Path, folder: Path, resolution: int, steps: int
) -> dict[str, float]:
    """Milliseconds of a teacher's training step (all terms, forward, backward, update): batches prepared beforehand
    and held in memory; batches from the latent cache, references in memory; the same with references from video."""
    options = {"root": str(root), "resolution": resolution, "window": WINDOW, "batch_size": 8, "flow": True}
    options |= {"flip": True, "vae_hash": "untrained", "windows_per_clip": 4, "p_mismatch": 0.1}
    plain = ClipDataModule(**options)
    plain.setup("fit")
    for split, dataset in plain.datasets.items():
        cache_latents(vae.encode, dataset, folder, split, "untrained", flip=split == "train")
    cached = ClipDataModule(**options, latents=str(folder))
    decoding = ClipDataModule(**options, latents=str(folder), cache_mb=0)
    batches = iter(cached.train_dataloader())
    memory = itertools.cycle([next(batches) for _ in range(10)])
    video = iter(decoding.train_dataloader())

    def step(feed) -> None:
        optimizer.zero_grad()
        module.loss.total(module.step_losses(next(feed))).backward()
        optimizer.step()

    jobs = {"memory": memory, "latent cache": batches, "latent cache, references from video": video}
    return in_turns({name: lambda feed=feed: step(feed) for name, feed in jobs.items()}, steps)


def drawn(folder: Path, seconds: int, size: int) -> tuple[Path, Path, int]:
    """A corpus whose clips are made as ``tsd.prepare`` makes them, and a long video of one of them."""
    settings = {"num_identities": 6, "clips_per_identity": 1, "seconds": 4.0, "size": size, "seed": 0, "workers": 1}
    recordings = synthetic.find(folder / "drawn", **settings)
    frames, wave = read_frames(recordings[0].video), load_audio(recordings[0].video)
    for recording in recordings:
        write_video(
            recording.video, read_frames(recording.video), load_audio(recording.video), keyframe_every=KEYFRAMES
        )
    collect(recordings, Settings(folder / "drawn"), splits=Splits(0.2, 0.2), workers=0)
    times = -(-seconds * 25 // len(frames))
    video, num_frames = folder / "long.mp4", seconds * 25
    write_video(video, np.tile(frames, (times, 1, 1, 1))[:num_frames], np.tile(wave, times), keyframe_every=KEYFRAMES)
    return folder / "drawn", video, num_frames


def to_markdown(report: dict) -> str:
    """The tables that people read."""
    heads = ["decoder", "whole video, ms", "window and reference, ms", "one frame, ms", "levels from PyAV"]
    names = dict.fromkeys(row["decoder"] for row in report["decoders"])
    read = []
    for name in names:
        rows = {row.get("what"): row for row in report["decoders"] if row["decoder"] == name}
        if None in rows:
            read.append([name, rows[None]["missing"], "", "", ""])
        else:
            found = (f"{rows[what]['ms']:.1f}" for what in ("whole", "window", "frame"))
            read.append([name, *found, rows["whole"]["levels"]])
    tables = [markdown_table(heads, read)]
    for title, key in (("window out of", "windows"), ("teacher's step fed from", "training")):
        first = next(iter(report[key].values()))
        rows = ([name, f"{ms:.1f}", f"{ms / first:.3f}"] for name, ms in report[key].items())
        tables.append(markdown_table([title, "ms", "times the first"], rows))
    machine = ", ".join(f"{k} {v}" for k, v in report["machine"].items())
    head = f"{report['seconds']} s of {report['size']} x {report['size']} video, {report['threads']} threads; {machine}"
    return f"# Reading\n\n{head}\n\n" + "\n\n".join(tables) + "\n"
