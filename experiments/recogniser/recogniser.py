"""Judge recognisers on speakers whom they never heard.

``python experiments/recogniser/recogniser.py <folder of speech>`` prepares what held_out.txt names (two minutes, into
outputs/recogniser), measures --weights beside the controls, and writes report.json and the tables of README.md.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tsd.bench.counting import gflop
from tsd.clip import FPS, MELS, MELS_PER_FRAME, VISEMES
from tsd.data.manifest import manifest_path, read_manifest
from tsd.data.tracks import load_tracks
from tsd.evaluation.report import filled, markdown_table
from tsd.media.atomic import write_file
from tsd.media.audio import load_audio, log_mel
from tsd.media.distortion import coloured, telephone, with_noise
from tsd.weights import checkpoint

STUDY = Path(__file__).resolve().parent
REPO = STUDY.parents[1]
HELD_OUT = STUDY / "held_out.txt"
SPLITS = ("train", "val", "test")

CLEAR = 0.6
"""Share of a frame's 40 ms that one viseme must fill for its label to be clear."""

NATIVE = "kathleen_en"
"""A native speaker whose other prompts are trained on: a voice that was heard, so beside the held-out speakers."""

CHILD = 13
"""Years below which a speaker counts as a child."""

SIL = VISEMES.index("sil")


@dataclass(frozen=True)
class Utterance:
    """What a recogniser is asked."""

    speaker: str
    wave: np.ndarray
    labels: np.ndarray
    """[T, V]"""


def as_it_is(wave: np.ndarray, _) -> np.ndarray:
    return wave


def white(decibels: float) -> Callable:
    return lambda wave, rng: with_noise(wave, coloured(rng, len(wave), 0), decibels)


def pink(decibels: float) -> Callable:
    return lambda wave, rng: with_noise(wave, coloured(rng, len(wave), 1), decibels)


def at_peak(decibels: float) -> Callable:
    """In 16 bits, as a quiet recording is."""
    gain = 10 ** (decibels / 20)
    return lambda wave, _: np.round(wave * (gain / np.abs(wave).max()) * 32767).astype(np.float32) / 32767


CONDITIONS: dict[str, Callable] = {
    "heldout": as_it_is,
    "noise20": white(20),
    "noise10": white(10),
    "noise5": white(5),
    "pink10": pink(10),
    "telephone": lambda wave, _: telephone(wave),
    "quiet50": at_peak(-50),
    "loud0": at_peak(0),
}
"""Noise in dB below the recording's mean power; ``quiet50`` and ``loud0`` in dB of its peak below full scale."""


def utterances(root: Path) -> list[Utterance]:
    """Everything of a prepared corpus, whatever split it fell into."""
    found = []
    for split in SPLITS:
        path = manifest_path(root, split)
        if path.is_file() and path.stat().st_size:
            for entry in read_manifest(path, root):
                wave = load_audio(entry.video, silent_ok=True)
                found.append(Utterance(entry.identity, wave, load_tracks(entry).labels))
    return found


@torch.inference_mode()
def recognised(net, wave: np.ndarray) -> np.ndarray:
    """float32 [N] at 16 kHz -> viseme numbers [T]."""
    return net(torch.from_numpy(log_mel(wave))[None])[0, :, : len(VISEMES)].argmax(-1).numpy()


def counts(net, asked: list[Utterance], change: Callable) -> Iterator[tuple[str, np.ndarray]]:
    """(speaker, [2, V, V]) of each utterance: frames by label and by what was recognised; clear ones, and all."""
    for number, utterance in enumerate(asked):
        found = recognised(net, change(utterance.wave, np.random.default_rng(number)))
        labels = utterance.labels[: len(found)]
        table, clear = np.zeros((2, len(VISEMES), len(VISEMES)), int), labels.max(1) >= CLEAR
        np.add.at(table[0], (labels.argmax(1)[clear], found[: len(labels)][clear]), 1)
        np.add.at(table[1], (labels.argmax(1), found[: len(labels)]), 1)
        yield utterance.speaker, table


def shuffled(asked: list[Utterance]) -> list[Utterance]:
    """The control: every utterance's labels beside the next speaker's sound."""
    others = asked[len(asked) // 2 :] + asked[: len(asked) // 2]
    return [
        Utterance(a.speaker, np.resize(b.wave, len(a.labels) * 640), a.labels)
        for a, b in zip(asked, others, strict=True)
    ]


def scores(tables: list[tuple[str, np.ndarray]], seed: int = 0) -> dict:
    """Accuracy, recall and precision of clear frames; the interval is by speaker."""
    clear, whole = sum(table for _, table in tables)
    spoken = np.arange(len(VISEMES)) != SIL
    right = np.diag(clear)
    recall = {name: share(right[i], clear[i].sum()) for i, name in enumerate(VISEMES)}
    precision = {name: share(right[i], clear[:, i].sum()) for i, name in enumerate(VISEMES)}
    people: dict[str, np.ndarray] = {}
    for speaker, (table, _) in tables:
        hits = np.array([np.diag(table)[spoken].sum(), table[spoken].sum()])
        people[speaker] = people.get(speaker, np.zeros(2)) + hits
    each, rng = np.array(list(people.values())), np.random.default_rng(seed)
    drawn = each[rng.integers(len(each), size=(1000, len(each)))].sum(1)
    low, high = np.percentile(drawn[:, 0] / np.maximum(drawn[:, 1], 1), [2.5, 97.5])
    return {
        "accuracy_speech": share(right[spoken].sum(), clear[spoken].sum()),
        "accuracy_speech_low": round(float(low), 4),
        "accuracy_speech_high": round(float(high), 4),
        "accuracy_speech_unclear_too": share(np.diag(whole)[spoken].sum(), whole[spoken].sum()),
        "recall": recall,
        "precision": precision,
        "frames": int(clear[spoken].sum()),
        "speakers": len(people),
    }


def share(part: float, whole: float) -> float:
    return round(float(part) / float(whole), 4) if whole else 0.0


def cost(net) -> dict:
    """GFLOP of one frame of a stream, frame by frame."""
    mel, memory = torch.zeros(1, MELS_PER_FRAME, MELS), torch.zeros(1, net.memory_size)
    with torch.inference_mode():
        return {
            "gflop_per_frame": round(gflop(lambda: net.listen(mel, memory)), 5),
            "lookahead_ms": net.look_ahead * 1000 / FPS,
        }


def heard_in_training(weights: Path, corpus: Path) -> dict:
    """Hours and speakers of recorded people, from the weights' card, else from the corpus they were trained on."""
    card = checkpoint.read_header(weights, "visemes")["card"]
    if "hours_heard" in card:
        return {key: card[key] for key in ("hours_heard", "speakers_heard")}
    train = read_manifest(manifest_path(corpus, "train"), corpus)
    recorded = [entry for entry in train if entry.viseme_source != "truth"]
    hours = sum(entry.frames for entry in recorded) / FPS / 3600
    return {"hours_heard": round(hours, 2), "speakers_heard": len({entry.identity for entry in recorded})}


def ages(speech: Path) -> dict[str, int]:
    """speaker -> years, of speechocean762."""
    rows = (speech / "speechocean762" / "speakers.tsv").read_text().splitlines()[1:]
    return {row.split("\t")[0]: int(row.split("\t")[1]) for row in rows}


def prepared(speech: Path) -> Path:
    """The held-out speech as a corpus; what is there is kept."""
    root = REPO / "outputs" / "recogniser" / "held_out"
    given = {"source": "speech", "videos": f"'{speech}'", "root": f"'{root}'", "source.only": f"'{HELD_OUT}'"}
    given |= {"val_ratio": "0.0", "test_ratio": "0.9"}
    arguments = [f"{key}={value}" for key, value in given.items()]
    subprocess.run([sys.executable, "-m", "tsd.commands.prepare", *arguments], cwd=REPO, check=True)
    return root


def measured(net, asked: list[Utterance], native: list[Utterance], years: dict[str, int]) -> dict:
    """Every condition, and who was understood how well."""
    tables = {name: list(counts(net, asked, change)) for name, change in CONDITIONS.items()}
    report = {name: scores(table) for name, table in tables.items()}
    report["native"] = scores(list(counts(net, native, as_it_is)))
    for name, young in (("children", True), ("adults", False)):
        report[name] = scores([row for row in tables["heldout"] if (years[row[0]] < CHILD) == young])
    report["shuffled"] = scores(list(counts(net, shuffled(asked), as_it_is)))
    return report


def table(report: dict) -> str:
    """The tables of README.md."""
    names = {
        "heldout": "as recorded", "noise20": "white noise, 20 dB", "noise10": "white noise, 10 dB",
        "noise5": "white noise, 5 dB", "pink10": "pink noise, 10 dB", "telephone": "telephone band",
        "quiet50": "peak at -50 dB", "loud0": "peak at 0 dB", "children": "children", "adults": "adults",
        "native": "native speaker, a voice that was heard", "shuffled": "control: other sound",
        "released": "control: weights/people",
    }  # fmt: skip
    heads = ["", "accuracy", "95 %", "unclear frames too", "recall p/b/m", "precision", "recall f/v", "precision"]
    rows = []
    for name, s in ((name, report[key]) for key, name in names.items() if key in report):
        lips = (f"{s[kind][v]:.2f}" for v in ("PP", "FF") for kind in ("recall", "precision"))
        interval = f"{s['accuracy_speech_low']:.3f} to {s['accuracy_speech_high']:.3f}"
        rows.append([name, f"{s['accuracy_speech']:.3f}", interval, f"{s['accuracy_speech_unclear_too']:.3f}", *lips])
    visemes = [[kind, *(f"{report['heldout'][kind][v]:.2f}" for v in VISEMES)] for kind in ("recall", "precision")]
    facts = (
        f"{report['heldout']['frames']} clear frames of {report['heldout']['speakers']} speakers. Look-ahead "
        f"{report['lookahead_ms']:.0f} ms; {report['gflop_per_frame']:.4f} GFLOP a frame "
        f"; {report['hours_heard']:.1f} hours of "
        f"{report['speakers_heard']} recorded speakers heard in training."
    )
    return f"{facts}\n\n{markdown_table(heads, rows)}\n\n{markdown_table(['viseme', *VISEMES], visemes)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("speech", type=Path, help="the folder with speechocean762/ and kathleen_en/")
    parser.add_argument("--weights", type=Path, default=REPO / "outputs/recogniser/visemes/weights.safetensors")
    parser.add_argument("--corpus", type=Path, default=REPO / "outputs/recogniser/corpus", help="it was trained on")
    parser.add_argument("--released", type=Path, default=REPO / "weights/people/visemes.safetensors")
    args = parser.parse_args()
    everything, years = utterances(prepared(args.speech)), ages(args.speech)
    asked, native = ([u for u in everything if (u.speaker == NATIVE) == is_native] for is_native in (False, True))
    net = checkpoint.load(args.weights, "visemes")
    report = measured(net, asked, native, years)
    released = checkpoint.load(args.released, "visemes")
    report["released"] = scores(list(counts(released, asked, as_it_is)))
    report |= cost(net) | heard_in_training(args.weights, args.corpus)
    report |= {"clear_share": CLEAR, "weights": checkpoint.file_hash(args.weights)}
    write_file(STUDY / "report.json", json.dumps(report, indent=2).encode())
    readme = STUDY / "README.md"
    write_file(readme, filled(readme.read_text(), "recogniser.py", table(report) + "\n").encode())
    print(table(report))


if __name__ == "__main__":
    main()
