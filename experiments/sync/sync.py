"""Train both sync experts on a corpus and measure them on its held-out people.

``python experiments/sync/sync.py [corpus]`` (default: the demo's) writes the tables of README.md, sync.json and
curve.png into this folder; trainings stay in outputs/sync_study and are not repeated.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from tsd.clip import MELS_PER_FRAME, Clip
from tsd.data.datamodule import ClipDataModule
from tsd.evaluation.report import filled, markdown_table
from tsd.evaluation.report.figure import figure_png
from tsd.media.atomic import write_file
from tsd.metrics import summarise_shifts, sync_distances
from tsd.metrics.sync import MAX_SHIFT
from tsd.weights import checkpoint

STUDY = Path(__file__).resolve().parent
REPO = STUDY.parents[1]
EXPERTS = ("even", "odd")
TRAINING = ["data.flip=false", "trainer.max_steps=600", "trainer.val_check_interval=50", "trainer.limit_val_batches=2"]
"""As the recipe conf/chain/demo.yaml trains it, and validated more often, for the curve."""
SIDE, WINDOW = 96, 30
"""Pixels and frames that conf/stage/sync.yaml trains with."""
LARGEST = 5
"""Frames: shifts of -5..5 are put in and looked for."""

OTHERS = 5
"""Clips whose sound is put to each picture."""


def trained(corpus: Path, people: str, out: Path) -> Path:
    """The expert of these people; its CPU seconds stay beside it."""
    seconds = out / "cpu_seconds.json"
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = used.ru_utime + used.ru_stime
    arguments = ["stage=sync", f"data.root={corpus}", f"data.people={people}", f"out={out}", *TRAINING]
    if subprocess.run([sys.executable, "-m", "tsd.commands.train", *arguments]).returncode:
        raise SystemExit(f"error: the expert of {people} people was not trained")
    if not seconds.exists():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        write_file(seconds, json.dumps(round(used.ru_utime + used.ru_stime - begun)).encode())
    return out / "weights.safetensors"


def curve(out: Path) -> dict[str, list[tuple[int, float]]]:
    """Column -> (step, value) of a training's log."""
    with (out / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith(("train/", "val/"))]
    return {name: [(int(r["step"]) + 1, float(r[name])) for r in rows if r[name]] for name in names}


def shifted(frames: Tensor, mel: Tensor, late: int) -> tuple[Tensor, Tensor]:
    """[B, T, ...] pair -> the T - |late| frames in which the picture is ``late`` frames behind the sound."""
    columns = MELS_PER_FRAME * abs(late)
    if late >= 0:
        return frames[:, : frames.shape[1] - late], mel[:, columns:]
    return frames[:, -late:], mel[:, : mel.shape[1] - columns]


def resized(frames: Tensor, side: int) -> Tensor:
    small = F.interpolate(frames[0], size=(side, side), mode="bilinear", antialias=True)
    return small[None]


def variants(clip: Clip, others: list[Clip]) -> dict[str, tuple[Tensor, Tensor]]:
    """The same clip as other systems or faults would give it; all are in step but the last two."""
    frames, generator = clip.frames, torch.Generator().manual_seed(0)
    noise = torch.randn(frames.shape, generator=generator)
    second = slice(25, 50)
    return {
        "real": (frames, clip.mel),
        "32 x 32 pixels": (resized(frames, 32), clip.mel),
        "64 x 64": (resized(frames, 64), clip.mel),
        "256 x 256": (resized(frames, 256), clip.mel),
        "blurred (from 24 x 24)": (resized(resized(frames, 24), frames.shape[-1]), clip.mel),
        "noise of std 0.2": ((frames + 0.2 * noise).clamp(-1, 1), clip.mel),
        "mirrored": (frames.flip(-1), clip.mel),
        "one second of it": (frames[:, second], clip.mel[:, MELS_PER_FRAME * 25 : MELS_PER_FRAME * 50]),
        "first frame frozen": (frames[:, :1].expand_as(frames), clip.mel),
        "another clip's sound": (frames.expand(len(others), -1, -1, -1, -1), torch.cat([o.mel for o in others])),
    }


def measure(net, clips: list[Clip], name: str) -> dict[str, Tensor]:
    """{what: mean distances [clips, 2 * MAX_SHIFT + 1]} of shifts put in ("late -5".."late 5") and of ``variants``."""
    found: dict[str, list[Tensor]] = {}
    for i, clip in enumerate(tqdm(clips, desc=f"expert of {name} people")):
        cases = {f"late {k}": shifted(clip.frames, clip.mel, k) for k in range(-LARGEST, LARGEST + 1)}
        cases |= variants(clip, [*clips[i + 1 :], *clips[:i]][:OTHERS])
        for what, pair in cases.items():
            found.setdefault(what, []).append(sync_distances(net, *pair))
    return {what: torch.cat(rows) for what, rows in found.items()}


def shift_row(found: dict[str, Tensor], size: int) -> dict[str, float]:
    """How well shifts of ``size`` frames, either way, are told from none."""
    signs = (1, -1) if size else (1,)
    off = torch.cat([(summarise_shifts(found[f"late {s * size}"]).offset - s * size).abs() for s in signs])
    apart = torch.cat([found["late 0"][:, MAX_SHIFT + s * size] - found["late 0"][:, MAX_SHIFT] for s in signs])
    return {
        "n": len(off),
        "within_1": (off <= 1).float().mean().item(),
        "exact": (off == 0).float().mean().item(),
        "distance_above_in_step": apart.mean().item(),
        "farther_than_in_step": (apart > 0).float().mean().item(),
    }


def variant_row(distances: Tensor) -> dict[str, float]:
    scores = summarise_shifts(distances)
    row = {"in_step": (scores.offset.abs() <= 1).float().mean().item()}
    return row | {"distance": scores.distance.mean().item(), "confidence": scores.confidence.mean().item()}


def on_the_others(net, dataset) -> dict[str, float]:
    """People whom only the other expert learnt from: share of clips in which 0 and 3 frames late are found within 1."""
    found: dict[int, list[bool]] = {0: [], 3: []}
    for i in tqdm(range(len(dataset.entries)), desc="the other expert's people"):
        clip = dataset.whole_clip(i)
        for late, hits in found.items():
            scores = summarise_shifts(sync_distances(net, *shifted(clip.frames, clip.mel, late)))
            hits.append(abs(float(scores.offset) - late) <= 1)
    return {"n": len(found[0]), **{str(late): sum(hits) / len(hits) for late, hits in found.items()}}


def draw(curves: dict[str, dict], found: dict[str, Tensor], path: Path) -> None:
    """Loss against chance, and mean distance over shifts."""
    figure, (loss, valley) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for color, (people, lines) in zip(("C0", "C1"), curves.items(), strict=True):
        loss.plot(*zip(*lines["train/total"], strict=True), color=color, alpha=0.35, linewidth=1)
        loss.plot(*zip(*lines["val/total"], strict=True), color=color, label=f"{people} people (faint: training)")
    chance = curves[EXPERTS[0]]["val/chance"][0][1]
    loss.axhline(chance, color="0.4", linestyle="--", linewidth=1)
    loss.annotate("chance", (1, chance), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    loss.set(xlabel="steps", ylabel="InfoNCE, nats", title="Validation loss against chance", ylim=(0, 1.1 * chance))
    loss.legend(frameon=False)
    shifts = range(-MAX_SHIFT, MAX_SHIFT + 1)
    for color, what in (
        ("C0", "real"),
        ("C3", "late 3"),
        ("0.5", "another clip's sound"),
        ("C2", "first frame frozen"),
    ):
        rows = found[what]
        label = "real, picture 3 frames late" if what == "late 3" else what
        valley.plot(shifts, rows.mean(0), color=color, label=label)
        valley.fill_between(shifts, *rows.quantile(torch.tensor([0.1, 0.9]), 0), color=color, alpha=0.12, linewidth=0)
    valley.set(xlabel="picture late by, frames", ylabel="mean distance", title="Held-out clips: mean, 10-90 %")
    valley.legend(frameon=False, fontsize=8, loc="lower left")
    for pane in (loss, valley):
        pane.spines[["top", "right"]].set_visible(False)
    write_file(path, figure_png(figure, dpi=90))


def tables(report: dict) -> str:
    """The README's block."""
    lines = [f"{report['clips']} held-out clips of {report['identities']} people, real frames of "
             f"{report['side']} x {report['side']}.", ""]  # fmt: skip
    rows = []
    for people, e in report["experts"].items():
        zero, three = e["shifts"]["0"]["within_1"], e["shifts"]["3"]["within_1"]
        learnt = [f"{e['val_loss']:.2f} / {e['chance']:.2f}", f"{e['val_accuracy']:.2f} / {e['chance_accuracy']:.2f}"]
        others = f"{e['others']['0']:.1%}, {e['others']['3']:.1%} of {e['others']['n']}"
        rows.append([people, e["people"], e["cpu_seconds"], *learnt, f"{zero:.0%}", f"{three:.0%}", others])
    heads = ["expert", "people", "CPU seconds", "loss / chance", "accuracy / chance", "offset 0 within 1", "3 within 1"]
    lines.append(markdown_table([*heads, "on the other expert's people"], rows))
    expert = report["experts"][EXPERTS[0]]
    lines += ["", "Shifts put in, picture against sound, either way (expert of even people):", ""]
    rows = []
    for size, r in expert["shifts"].items():
        apart = (
            [f"{r['distance_above_in_step']:.3f}", f"{r['farther_than_in_step']:.0%}"] if size != "0" else ["–", "–"]
        )
        rows.append([size, r["n"], f"{r['within_1']:.0%}", f"{r['exact']:.0%}", *apart])
    heads = ["frames", "n", "found within 1", "exactly", "distance above that in step", "farther than in step"]
    lines.append(markdown_table(heads, rows))
    accident = f"{3 / (2 * MAX_SHIFT + 1):.0%}"
    lines += [
        "",
        f"The same clips in other states; in the last two is nothing to be found ({accident} by accident):",
        "",
    ]
    rows = [
        [what, f"{r['in_step']:.0%}", f"{r['distance']:.3f}", f"{r['confidence']:.3f}"]
        for what, r in expert["variants"].items()
    ]
    lines.append(markdown_table(["", "offset 0 within 1", "distance", "confidence"], rows))
    return "\n".join([*lines, "", f"A clip costs {report['cpu_seconds_per_clip']:.3f} CPU seconds.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, nargs="?", default=REPO / "outputs" / "demo" / "corpus")
    corpus = parser.parse_args().corpus.resolve()
    if not (corpus / "manifests").is_dir():
        raise SystemExit(f"error: {corpus / 'manifests'} is missing: run `make demo` first, or name a corpus")
    runs = {people: REPO / "outputs" / "sync_study" / people for people in EXPERTS}
    nets = {people: checkpoint.load(trained(corpus, people, out), "sync") for people, out in runs.items()}
    data = {
        people: ClipDataModule(str(corpus), resolution=SIDE, window=WINDOW, people=people, mel=True)
        for people in EXPERTS
    }
    for module in data.values():
        module.setup()
    test = data[EXPERTS[0]].datasets["test"]
    clips = [test.whole_clip(i) for i in range(len(test.entries))]
    report = {"clips": len(clips), "identities": len(test.people), "side": clips[0].frames.shape[-1], "experts": {}}
    found = {people: measure(net, clips, people) for people, net in nets.items()}
    curves = {people: curve(out) for people, out in runs.items()}
    for people, out in runs.items():
        last = {name: points[-1][1] for name, points in curves[people].items()}
        report["experts"][people] = {
            "people": len(data[people].datasets["train"].people),
            "cpu_seconds": json.loads((out / "cpu_seconds.json").read_text()),
            "val_loss": last["val/total"],
            "chance": last["val/chance"],
            "val_accuracy": last["val/accuracy"],
            "chance_accuracy": last["val/chance_accuracy"],
            "others": on_the_others(nets[people], data[EXPERTS[1 - EXPERTS.index(people)]].datasets["train"]),
            "shifts": {str(k): shift_row(found[people], k) for k in range(LARGEST + 1)},
            "variants": {what: variant_row(d) for what, d in found[people].items() if not what.startswith("late")},
        }
    begun = time.process_time()
    for clip in clips:
        sync_distances(nets[EXPERTS[0]], clip.frames, clip.mel)
    report["cpu_seconds_per_clip"] = (time.process_time() - begun) / len(clips)
    draw(curves, found[EXPERTS[0]], STUDY / "curve.png")
    write_file(STUDY / "sync.json", (json.dumps(report, indent=2) + "\n").encode())
    page = STUDY / "README.md"
    write_file(page, filled(page.read_text(), "sync.py", tables(report)).encode())
    print(tables(report))


if __name__ == "__main__":
    main()
