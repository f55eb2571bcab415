"""Does the invisible mark survive what happens to videos, is it invisible, and is it never found where it is not?

    .venv/bin/python experiments/marking/marking.py --recorded <a folder of people's clips> --lpips <AlexNet weights>

64 clips of 10 s: 52 of 128 x 128 and 12 of 512 x 512 pixels, half of them drawn people, half recorded ones (a folder
per person, see docs/data.md; without --recorded only drawn ones). Flicker is also measured on generated videos, one of
each person. Each result is added to outputs/marking/ when it is there, so a run that was stopped goes on. Writes
report.json into this folder.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from tsd.clip import FPS, to_frames
from tsd.evaluation.report import filled, markdown_table, to_json
from tsd.media import verification
from tsd.media.atomic import write_file
from tsd.media.marking import code, detect
from tsd.media.marking.embed import Mark
from tsd.media.video import read_frames
from tsd.metrics.lpips import lpips_distance, lpips_net
from tsd.metrics.temporal import flicker_std, temporal_l1
from tsd.prepare.drawn.acting import act
from tsd.prepare.drawn.drawing import Head
from tsd.prepare.drawn.people import draw_person
from tsd.runtime.talker import Talker

STUDY = Path(__file__).resolve().parent
OUT = STUDY.parents[1] / "outputs" / "marking"
NUM_FRAMES, SIZES = 250, {128: 52, 512: 12}
PIECE, PIECES = 25, 10_000
"""Frames of a piece without a mark, and how many pieces are searched."""
OTHERS, OF_OTHERS = "others/", 25
"""Beginning of the names of pieces of public videos, and how many of each are searched."""
DRAWN_SPEAKERS = 6
"""Drawn people who speak for the figures of flicker, beside one video of each recorded person."""


def drawn_clip(person: int, size: int, num_frames: int = NUM_FRAMES) -> np.ndarray:
    """uint8 [T, S, S, 3]: a drawn person moving for half of the time, there and back. Lips move at random: what is said
    does not matter to a mark."""
    rng = np.random.default_rng([37, person])
    head = Head(draw_person(rng, person % 2 == 0), size)
    starts = np.arange(0, num_frames / 2 / FPS, 0.12)
    sounds = [(t, t + 0.12, str(rng.choice(["a", "m", "i", "f", "o", "t"]))) for t in starts]
    acting = act(rng, sounds, num_frames // 2)
    rows = zip(acting.mouth, acting.pose, acting.eyes_open, acting.gaze, acting.brows, strict=True)
    half = np.stack([head.draw(*row)[0] for row in rows])
    return np.concatenate([half, half[::-1]])


def recorded_clip(folder: Path, size: int) -> np.ndarray:
    """uint8 [250, S, S, 3]: a person's clips one after the other."""
    frames: list[np.ndarray] = []
    for path in sorted(folder.glob("*.mp4")):
        frames += list(read_frames(path))
        if len(frames) >= NUM_FRAMES:
            break
    frames = (frames + frames[::-1]) * (NUM_FRAMES // len(frames) + 1)
    how = cv2.INTER_AREA if size < len(frames[0]) else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, (size, size), interpolation=how) for frame in frames[:NUM_FRAMES]])


def clips(recorded: Path | None) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """(name, how to get its frames) of every clip; drawn and recorded ones in turn."""
    people = [] if recorded is None else sorted(path for path in recorded.iterdir() if path.is_dir())
    for size, count in SIZES.items():
        for i in range(count):
            if people and i % 2:
                folder = people[(i // 2) % len(people)]
                part = i // 2 // len(people)  # a person who comes again is seen mirrored
                yield f"{folder.name}_{part}_{size}", lambda f=folder, s=size, m=part: mirrored(recorded_clip(f, s), m)
            else:
                yield f"drawn{i}_{size}", lambda i=i, s=size: drawn_clip(i, s)


def mirrored(frames: np.ndarray, times: int) -> np.ndarray:
    return frames[:, :, ::-1] if times % 2 else frames


def encoded(frames: np.ndarray, codec: str, crf: int, preset: str = "medium") -> np.ndarray:
    """The frames as they come out of an encoder."""
    file = io.BytesIO()
    options = {"crf": str(crf), "preset": preset, "threads": "1"}
    if codec == "libx265":
        options |= {"x265-params": "log-level=none:pools=1:frame-threads=1"}
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=Fraction(FPS), options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def resized(frames: np.ndarray, size: int) -> np.ndarray:
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames])


def stretched(frames: np.ndarray, gain: float, offset: float) -> np.ndarray:
    return np.clip(np.rint(frames * np.float32(gain) + np.float32(offset)), 0, 255).astype(np.uint8)


def cropped(frames: np.ndarray) -> np.ndarray:
    cut = round(0.1 * frames.shape[1])
    return frames[:, cut:-cut, cut:-cut]


ATTACKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda f: f,
    "h264_crf23": lambda f: encoded(f, "libx264", 23),
    "h264_crf28": lambda f: encoded(f, "libx264", 28),
    "h264_crf35": lambda f: encoded(f, "libx264", 35),
    "hevc_crf28": lambda f: encoded(f, "libx265", 28, "veryfast"),
    "twice": lambda f: encoded(encoded(f, "libx264", 23, "veryfast"), "libx264", 23),
    "half_and_back": lambda f: resized(resized(f, f.shape[1] // 2), f.shape[1]),
    "crop_10": cropped,
    "fps_30": lambda f: f[np.arange(len(f) * 30 // FPS) * FPS // 30],
    "brighter_20": lambda f: stretched(f, 1.2, 0),
    "contrast_up_20": lambda f: stretched(f, 1.2, -0.2 * 128),
    "contrast_down_20": lambda f: stretched(f, 0.8, 0.2 * 128),
    "one_second": lambda f: f[100:125],
}
"""On the file as the project writes it: H.264, CRF 18. Presets are the encoder's own choice (medium) but for HEVC."""


def timed(frames: np.ndarray, fps: float = FPS) -> list[tuple[float, np.ndarray]]:
    """A window as ``detect`` takes it."""
    return [(i / fps, detect.small_luma(frame)) for i, frame in enumerate(frames)]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float32) - b) ** 2)))


def flicker(marked: np.ndarray, frames: np.ndarray) -> dict:
    """Both measures of change over time, without a mark and with it."""
    figures = {}
    for measure, name in ((flicker_std, "flicker"), (temporal_l1, "temporal_l1")):
        figures |= {f"{name}_unmarked": float(measure(to_frames(frames)[None]))}
        figures |= {f"{name}_marked": float(measure(to_frames(marked)[None]))}
    return figures


def study_clip(name: str, frames: np.ndarray, net) -> dict:
    """One row of clips.jsonl."""
    payload = int.from_bytes(np.random.default_rng(sum(name.encode())).bytes(4), "big")
    began = time.process_time()
    marked = Mark(payload)(frames)
    ms = (time.process_time() - began) * 1e3 / len(frames)
    row = {"clip": name, "size": frames.shape[1], "mark_ms": ms, "psnr_db": psnr(marked, frames)}
    row |= {"found": {}, "decoded": {}, "wrong_payload": 0}
    row |= flicker(marked, frames)
    if net is not None:
        with torch.inference_mode():
            pair = (to_frames(x[::50])[None] for x in (marked, frames))
            row["lpips"] = float(lpips_distance(net, *pair))
    file = encoded(marked, "libx264", 18, "veryfast")
    for attack, change in ATTACKS.items():
        found = detect.find_in_window(timed(change(file), 30 if attack == "fps_30" else FPS))
        row["found"][attack] = found is not None
        row["decoded"][attack] = found is not None and found.readable and found.payload == payload
        row["wrong_payload"] += found is not None and found.readable and found.payload != payload
    return row


def unmarked(recorded: Path | None) -> list[tuple[str, Callable[[], np.ndarray]]]:
    """(name, how to get its frames) of every video without a mark."""
    people = [] if recorded is None else sorted(recorded.glob("*/*.mp4"))
    sources = [(str(path.relative_to(recorded)), lambda p=path: read_frames(p)) for path in people]
    sources += [(f"drawn{i}", lambda i=i: drawn_clip(i, 128)) for i in range(100, 120)]
    return [sources[i] for i in np.random.default_rng(37).permutation(len(sources))]


def of_others(folder: Path | None) -> list[tuple[str, Callable[[], np.ndarray]]]:
    """(name, how to get its first frames) of every video in a folder: public ones, recorded or of other systems."""

    def frames_of(path: Path) -> np.ndarray:
        return np.stack([picture for _, picture in islice(verification.frames_of(path), NUM_FRAMES)])

    files = [] if folder is None else sorted(path for path in folder.iterdir() if path.suffix == ".mp4")
    return [(f"{OTHERS}{path.name}", lambda p=path: frames_of(p)) for path in files]


def pieces(recorded: Path | None, others: Path | None, done: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Named pieces of a second without a mark that are not done: recorded and drawn people, mirrored, turned, cropped,
    stretched and played at two speeds, so that no two are alike. Of all videos as many, one video after the other; and
    OF_OTHERS of every one of ``others``."""
    sources = unmarked(recorded)
    of_each = -(-PIECES // len(sources))
    counted = [(*source, of_each) for source in sources] + [(*source, OF_OTHERS) for source in of_others(others)]
    for name, frames_of, count in counted:
        numbers = [i for i in range(count) if f"{name} {i}" not in done]
        frames = frames_of() if numbers else None
        for i in numbers:
            yield f"{name} {i}", changed(frames, np.random.default_rng([sum(name.encode()), i]))


def changed(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A piece of a video, as no other one is."""
    step, (height, width) = int(rng.integers(1, 3)), frames.shape[1:3]
    side = int(rng.integers(min(height, width) // 2, min(height, width) + 1))
    room = (height - side, width - side, max(0, len(frames) - step * PIECE))
    top, left, first = (int(rng.integers(0, most + 1)) for most in room)
    piece = frames[first : first + step * PIECE : step, top : top + side, left : left + side]
    piece = np.rot90(piece, int(rng.integers(4)), (1, 2))[:, :, :: int(rng.choice([1, -1]))]
    return stretched(piece, float(rng.uniform(0.7, 1.3)), float(rng.uniform(-20, 20)))


def search_pieces(recorded: Path | None, others: Path | None) -> None:
    """Adds a row per piece to pieces.jsonl; what is there already is not searched again. ``score``: see
    ``detect.best_score``, of the search at all places and scales."""
    path = OUT / "pieces.jsonl"
    with path.open("a") as file:
        for name, piece in pieces(recorded, others, {row["piece"] for row in rows(path)}):
            sums = enumerate(detect.demodulate(timed(piece)), 1)
            like = [found for look, summed in sums for found in detect.likeliest(summed, looks=look)]
            row = {"piece": name, "found": min(found.chance for found in like) < detect.FALSE_ALARM}
            row["score"] = code.CODE_BITS * max(found.coherence for found in like[1::2])
            file.write(json.dumps(row) + "\n")
            file.flush()


def generated(recorded: Path | None, weights: Path) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """(name, how to get its frames) of a generated video of each recorded person, who says what is said in their first
    clip, and of drawn people. One step, from the clip's first frame and a fresh motion of the head."""
    talker = Talker.load(weights, threads=1)
    talker.marked = False

    def speaking(picture: np.ndarray, sound: Path) -> np.ndarray:
        talker.set_reference(picture, size=128, frame="face")
        return talker.video(sound, steps="k1")

    people = [] if recorded is None else sorted(path for path in recorded.iterdir() if path.is_dir())
    for clip in (min(folder.glob("*.mp4")) for folder in people):
        yield clip.parent.name, lambda c=clip: speaking(read_frames(c)[0], c)
    sound = STUDY.parent / "quality" / "speech.wav"
    for i in range(DRAWN_SPEAKERS):
        yield f"drawn{i}", lambda i=i: speaking(drawn_clip(i, 256, 16)[0], sound)


def study_generated(recorded: Path | None, weights: Path) -> None:
    """Adds a row per generated video to generated.jsonl: how the mark changes its flicker."""
    path = OUT / "generated.jsonl"
    done = {row["clip"] for row in rows(path)}
    for name, frames_of in generated(recorded, weights):
        if name not in done:
            frames = frames_of()
            marked = Mark(int.from_bytes(np.random.default_rng(sum(name.encode())).bytes(4), "big"))(frames)
            row = {"clip": name, "frames": len(frames), "psnr_db": psnr(marked, frames), **flicker(marked, frames)}
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def rows(path: Path) -> list[dict]:
    """Of a file of JSON lines, less a last one that is cut short."""
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def report() -> dict:
    """What report.json holds; shares over clips, by size and over all. What was not measured is "unavailable"."""
    made, searched = rows(OUT / "clips.jsonl"), rows(OUT / "pieces.jsonl")
    timed_frame = OUT / "frame.json"
    frame_ms = json.loads(timed_frame.read_text())["frame_ms"] if timed_frame.is_file() else None
    sizes = {str(size): of_clips([row for row in made if row["size"] == size]) for size in SIZES}
    result = of_clips(made) | {"by_size": sizes, "frame_ms": frame_ms or "unavailable"}
    mark_ms = sizes["128"].get("mark_ms")
    result["cost_ratio"] = mark_ms / frame_ms if mark_ms and frame_ms else "unavailable"
    result["generated"] = of_flicker(rows(OUT / "generated.jsonl"))
    scores = np.array([row["score"] for row in searched])
    result |= {"false_alarms": sum(row["found"] for row in searched) if searched else "unavailable"}
    result |= {"clips_without_mark": len(searched)}
    public = [row["piece"] for row in searched if row["piece"].startswith(OTHERS)]
    result["public_videos_without_mark"] = {
        "pieces": len(public),
        "videos": len({p.rpartition(" ")[0] for p in public}),
    }
    quantiles = ("0.5", "0.99", "1") if len(scores) else ()
    result["score_without_mark"] = {q: float(np.quantile(scores, float(q))) for q in quantiles}
    result["score_of_one_in_hundred_by_theory"] = score_of(0.01)
    result["score_of_a_mark"] = score_of(detect.FALSE_ALARM)
    return result


def of_flicker(chosen: list[dict]) -> dict:
    """Means over rows: change over time without a mark, with it, and the mean of the ratios."""
    result = {"clips": len(chosen)}
    for name in ("flicker", "temporal_l1") if chosen else ():
        without, marked = (np.array([row[f"{name}_{how}"] for row in chosen]) for how in ("unmarked", "marked"))
        result |= {f"{name}_without_mark": float(without.mean()), f"{name}_with_mark": float(marked.mean())}
        result |= {
            f"{name}_ratio": float(np.mean(marked / without)),
            f"{name}_highest": float(np.max(marked / without)),
        }
    return result


def of_clips(chosen: list[dict]) -> dict:
    """Means, shares and extremes over rows of clips.jsonl."""
    if not chosen:
        return {"clips": 0}
    scores = [row["lpips"] for row in chosen if "lpips" in row]
    return {
        "clips": len(chosen),
        **{how: {a: float(np.mean([row[how][a] for row in chosen])) for a in ATTACKS} for how in ("found", "decoded")},
        "wrong_payloads": sum(row["wrong_payload"] for row in chosen),
        "psnr_db": float(np.mean([row["psnr_db"] for row in chosen])),
        "psnr_db_lowest": min(row["psnr_db"] for row in chosen),
        "lpips": float(np.mean(scores)) if scores else "unavailable",
        "lpips_highest": max(scores, default="unavailable"),
        "mark_ms": float(np.median([row["mark_ms"] for row in chosen])),
        **of_flicker(chosen),
    }


def tables(result: dict) -> str:
    """The README's tables: what was decoded and found, by size, and all other figures with what was asked."""
    groups = {"all": result} | {f"{size} x {size}": of for size, of in result["by_size"].items()}
    groups = {f"{name}, {of['clips']} clips": of for name, of in groups.items() if of["clips"]}
    columns = {f"{how}: {name}": of[how] for name, of in groups.items() for how in ("decoded", "found")}
    attacked = [(attack, *(shown(shares[attack]) for shares in columns.values())) for attack in ATTACKS]
    made = result["generated"]
    highest, theory = result["score_without_mark"].get("1"), result["score_of_one_in_hundred_by_theory"]
    figures = [
        ("attacked clips of which another payload is read", result.get("wrong_payloads"), "0"),
        ("PSNR, marked against unmarked, mean", result.get("psnr_db"), "at least 44 dB"),
        ("PSNR, the lowest of a clip", result.get("psnr_db_lowest"), ""),
        ("LPIPS (AlexNet), mean", result.get("lpips"), "at most 0.002"),
        ("LPIPS, the highest of a clip", result.get("lpips_highest"), ""),
        ("flicker of generated videos, with the mark over without", made.get("flicker_ratio"), "at most 1.15"),
        ("the same, the highest of a video", made.get("flicker_highest"), ""),
        ("temporal L1 of generated videos, with the mark over without", made.get("temporal_l1_ratio"), "at most 1.15"),
        ("the same, the highest of a video", made.get("temporal_l1_highest"), ""),
        ("generated videos measured", made["clips"], ""),
        ("time of a mark over that of a frame, 128 x 128", result["cost_ratio"], "at most 0.05"),
        ("false alarms", result["false_alarms"], "0"),
        ("pieces without a mark", result["clips_without_mark"], str(PIECES)),
        ("of them pieces of public videos", result["public_videos_without_mark"]["pieces"], ""),
        ("highest score of a piece without a mark", highest, f"{theory:.1f} once in a hundred, by theory"),
        ("score from which a mark is found", result["score_of_a_mark"], ""),
    ]
    others = markdown_table(("", "measured", "asked"), ((name, shown(value), asked) for name, value, asked in figures))
    return markdown_table(("attack", *columns), attacked) + "\n\n" + others + "\n"


def shown(value: float | str | None) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.4g}" if isinstance(value, float) else "not measured"


def score_of(chance: float) -> float:
    """What is reached in the search with this probability without a mark, by theory."""
    return float(np.log(detect.by_chance(100.0, detect.CANDIDATES) / chance)) + 100.0


def frame_time(weights: Path) -> float:
    """CPU milliseconds that a frame of the chain takes with the backends and steps of ``make talk``, on one thread."""
    talker = Talker.load(weights, threads=1)
    talker.marked = False
    talker.set_reference(STUDY.parent / "quality" / "face.png")
    sound = np.zeros(16_000 * 4, np.float32)
    talker.video(sound[:16_000])
    began = time.process_time()
    num_frames = len(talker.video(sound))
    return (time.process_time() - began) * 1e3 / num_frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recorded", type=Path, help="a folder per person with mp4 files")
    parser.add_argument("--others", type=Path, help="a folder of public videos, recorded or made by other systems")
    parser.add_argument("--lpips", type=Path, help="AlexNet weights, see tsd/metrics/lpips.py")
    weights = STUDY.parents[1] / "weights" / "people"
    parser.add_argument("--weights", type=Path, default=weights, help="of the chain that is timed and speaks")
    parser.add_argument(
        "--only", choices=["clips", "generated", "pieces", "frame", "report"], help="one part of the study"
    )
    given = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    if given.only in (None, "clips"):
        net = lpips_net(given.lpips) if given.lpips else None
        done = {row["clip"] for row in rows(OUT / "clips.jsonl")}
        for name, frames_of in clips(given.recorded):
            if name not in done:
                with (OUT / "clips.jsonl").open("a") as file:
                    file.write(json.dumps(study_clip(name, frames_of(), net)) + "\n")
    if given.only in (None, "generated"):
        study_generated(given.recorded, given.weights)
    if given.only in (None, "pieces"):
        search_pieces(given.recorded, given.others)
    if given.only in (None, "frame"):
        write_file(OUT / "frame.json", json.dumps({"frame_ms": frame_time(given.weights)}).encode())
    if given.only in (None, "report"):
        result = report()
        write_file(STUDY / "report.json", to_json(result).encode())
        page = (STUDY / "README.md").read_text()
        write_file(STUDY / "README.md", filled(page, "marking.py", tables(result)).encode())


if __name__ == "__main__":
    main()
