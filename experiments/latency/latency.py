"""How fast is a chain, from sound to picture, on this processor? Every figure asked of it, found and asked.

    .venv/bin/python experiments/latency/latency.py outputs/export outputs/export256 --reference face.png --audio a.wav

Folders: what `make export` wrote, one per size. Writes report.json, report.md and a picture per size into this folder.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tsd.bench.counting import made_up_speaker
from tsd.bench.machine import pinned
from tsd.bench.tables import to_markdown
from tsd.clip import FPS, SAMPLE_RATE
from tsd.evaluation.report import markdown_table, tree_of
from tsd.media.atomic import write_file
from tsd.media.audio import SAMPLES_PER_FRAME, load_audio, write_wav
from tsd.runtime.talker import Talker

STUDY = Path(__file__).resolve().parent
REPO = STUDY.parents[1]
sys.path.append(str(STUDY.parent / "setup"))
from setup import watched  # noqa: E402

REFERENCE_GFLOPS = 200
"""Of the product on the machine that the issue's milliseconds are for."""
ASKED = {
    "e1.128.k2.chunk8": ("gemm_equivalent_gflop", 0.5),
    "e1.128.k4.chunk8": ("gemm_equivalent_gflop", 0.84),
    "e1.128.k8.chunk8": ("gemm_equivalent_gflop", 1.52),
    "e1.128.k2.chunk1": ("p95_ms", 8.0),
    "e2.128.k2.chunk8": ("gemm_equivalent_gflop", 0.24),
    "e1.256.k2.chunk8": ("ms", 20.0),
}
"""Per frame, best backend; milliseconds on a machine of REFERENCE_GFLOPS as the product that takes as long there."""


def told(command: str, *overrides: str) -> None:
    """Run a command; ends as it does where it fails."""
    run = subprocess.run([sys.executable, "-m", f"tsd.commands.{command}", *overrides])
    if run.returncode:
        raise SystemExit(run.returncode)


def run_often(*arguments: str, times: int = 3) -> dict:
    """A process of Python several times, of which the first may have to read its files from the disk: the median of the
    seconds, each of them, and the most memory."""
    each, peaks = zip(*(watched(sys.executable, *arguments) for _ in range(times)), strict=True)
    return {"seconds": float(np.median(each)), "each": list(each), "peak_mib": max(peaks)}


def resident_mib() -> float:
    """Memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def long_stream(folder: Path, seconds: int, threads: int) -> dict[str, float]:
    """Speech of so many seconds streamed with k2 in pieces of 100 ms: memory, time per frame, frames against sound.

    The first minute warms up; what is compared is the minute after it and the last one."""
    talker = Talker.load(folder, "auto", threads)
    talker.reference = made_up_speaker(talker)
    rng = np.random.default_rng(0)
    pieces = (rng.normal(0, 0.1, SAMPLE_RATE // 10).astype(np.float32) for _ in range(10 * seconds))
    minutes, memory, frames, begun = [], [], 0, time.perf_counter()
    for made in talker.stream(pieces, "k2", 8):
        frames += len(made)
        if frames // (60 * FPS) > len(minutes):
            minutes.append(time.perf_counter() - begun)
            memory.append(resident_mib())
            begun = time.perf_counter()
    return {
        "seconds": seconds,
        "frames": frames,
        "frames_off": frames - seconds * FPS,
        "memory_growth": memory[-1] / memory[min(1, len(memory) - 1)] - 1,
        "time_growth": minutes[-1] / minutes[min(1, len(minutes) - 1)] - 1,
        "ms_a_frame": 1000 * minutes[-1] / (60 * FPS),
    }


def whole_process(folder: Path, reference: Path, audio: Path, work: Path) -> dict:
    """`tsd.commands.sample` for ten seconds of speech, Python's start included."""
    wave = load_audio(audio)
    speech = np.tile(wave, -(-10 * SAMPLE_RATE // len(wave)))[: 10 * SAMPLE_RATE]
    assert len(speech) % SAMPLES_PER_FRAME == 0
    write_wav(work / "speech.wav", speech)
    arguments = [f"export={folder}", f"reference={reference}", f"audio={work / 'speech.wav'}", f"out={work}"]
    return run_often("-m", "tsd.commands.sample", *arguments, "name=sample")


def measured_elsewhere(folder: Path) -> dict:
    """What experiments/setup and peers.py have put into an earlier report."""
    report = folder / "report.json"
    known = json.loads(report.read_text()) if report.is_file() else {}
    return {key: known[key] for key in ("talk_extra", "ratio_to_public_code", "peers") if key in known}


def best(rows: list[dict]) -> dict[str, dict]:
    """{"e1.k2.chunk8": the row of the backend that takes least}; ``auto`` takes another for each net."""
    found: dict[str, dict] = {}
    for row in rows:
        key = f"{row['mode']}.{row['steps']}.chunk{row['chunk']}"
        if key not in found or row["ms"] < found[key]["ms"]:
            found[key] = row
    return found


def verdicts(flat: dict[str, dict], report: dict) -> list[dict]:
    """Every figure that is asked: what was found, and whether it holds (None: not measured)."""
    lines = [
        (f"{key}.{column}", flat[key][column] if key in flat else None, limit) for key, (column, limit) in ASKED.items()
    ]
    first = min(
        (row["first_frame_ms"] for key, row in flat.items() if key.startswith("e1.128.k2.chunk1")), default=None
    )
    process, stream = report.get("process", {}), report.get("stream", {})
    lines += [
        ("first_frame_ms", first, 220),
        ("import_seconds", report["import"]["seconds"], 2),
        ("process.seconds", process.get("seconds"), 5),
        ("process.peak_mib", process.get("peak_mib"), 1024),
        ("talk_extra.mib_installed", report.get("talk_extra", {}).get("mib_installed"), 700),
        ("talk_extra.peak_mib", report.get("talk_extra", {}).get("peak_mib"), 400),
        ("stream.memory_growth", stream.get("memory_growth"), 0.01),
        ("stream.time_growth", stream.get("time_growth"), 0.1),
        ("stream.frames_off", stream.get("frames_off"), 1),
        ("e1.128.k2.chunk8.gflop", flat.get("e1.128.k2.chunk8", {}).get("gflop"), 1.0),
    ]
    return [
        {"figure": name, "found": found, "at_most": limit, "holds": None if found is None else bool(found <= limit)}
        for name, found, limit in lines
    ]


def summary(report: dict) -> str:
    rows = []
    for line in report["asked"]:
        found = "not measured" if line["found"] is None else f"{line['found']:.3g}"
        rows.append([line["figure"], found, f"{line['at_most']:g}", "" if line["holds"] else "no"])
    return markdown_table(["figure", "found", "at most", ""], rows)


def quality_table(card: dict) -> str:
    """What every backend costs in quality, as the export measured it."""
    found = card.get("quality")
    if not found:
        return "No quality beside it: exported without int8."
    rows = found["backends"]
    lips = {name: "–" if row["mouth_r"] is None else f"{row['mouth_r']:.3f}" for name, row in rows.items()}
    cells = [(name, f"{row['psnr_db']:.2f}", lips[name]) for name, row in rows.items()]
    shown = markdown_table(["backend", "PSNR dB", "lips (mouth_r)"], cells)
    return f"Quality on {found['clips']} {found['split']} clips, {found['steps']}:\n\n{shown}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", nargs="+", type=Path)
    parser.add_argument("--reference", type=Path, default=REPO / "outputs/demo/reference.png")
    parser.add_argument("--audio", type=Path, default=REPO / "outputs/demo/speech.wav")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--schedules", nargs="+", default=["k1", "k2", "k4", "k8"])
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--stream-seconds", type=int, default=3600)
    parser.add_argument("--work", type=Path, default=REPO / "outputs/latency")
    parser.add_argument("--out", type=Path, default=STUDY)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    given.out.mkdir(parents=True, exist_ok=True)
    report: dict = {"import": run_often("-c", "import tsd.runtime.talker"), "chains": {}} | measured_elsewhere(
        given.out
    )
    flat, texts = {}, []
    for folder in given.exports:
        card = json.loads((folder / "card.json").read_text())
        side = card["resolution"]
        out = given.out / f"bench{side}.json"
        sizes = [f"{key}={getattr(given, key)}" for key in ("threads", "frames", "rounds")]
        sizes.append(f"schedules=[{','.join(given.schedules)}]")
        told("bench", f"export={folder}", *sizes, f"out={out}")
        costs = json.loads(out.read_text())
        out.with_suffix(".md").unlink()
        kept = {
            key: costs[key] for key in ("machine", "product_gflops", "peak_gflops", "gflop", "auto", "look_ahead_ms")
        }
        report["chains"][str(side)] = {"chain": str(folder)} | kept | {"quality": card.get("quality")}
        flat |= {key.replace(".", f".{side}.", 1): row for key, row in best(costs["rows"]).items()}
        texts.append(f"{to_markdown(costs)}\nBy {folder}. {quality_table(card)}\n\n![ms a frame](bench{side}.png)\n")
    first = given.exports[0]
    if given.reference.is_file() and given.audio.is_file():
        report["process"] = whole_process(first, given.reference.resolve(), given.audio.resolve(), given.work.resolve())
    if given.stream_seconds >= 120:
        with pinned(given.threads):
            report["stream"] = long_stream(first, given.stream_seconds, given.threads)
    report |= tree_of(flat)
    report["frames_at_a_time"] = (
        "8 frames of one stream: the student works block by block with a memory for every step; where the sound is "
        "there, the next block is begun before this one is decoded"
    )
    report["asked"] = verdicts(flat, report)
    write_file(given.out / "report.json", (json.dumps(report, indent=2) + "\n").encode())
    note = (
        f"Milliseconds depend on the machine and on what else it does, their ratio to a product of matrices timed at "
        f"the same moment hardly. On a machine whose product gives {REFERENCE_GFLOPS} GFLOP/s, 0.5 GFLOP are 2.5 ms."
    )
    text = f"# What is asked\n\n{summary(report)}\n\n{note}\n\n" + "\n".join(texts)
    write_file(given.out / "report.md", text.encode())
    print(summary(report))


if __name__ == "__main__":
    main()
