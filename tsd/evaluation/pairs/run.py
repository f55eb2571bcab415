"""Every pair of two folders once, kept on disk as soon as it is done; one bad file does not lose the others."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tsd.clip import FPS
from tsd.evaluation.clips.chain import clip_seed
from tsd.evaluation.clips.choice import SHOWN, spread
from tsd.evaluation.clips.instruments import FEATURES, Instruments
from tsd.evaluation.pairs.matching import LeftOut, Pair, match
from tsd.evaluation.pairs.reading import ReadyPair, make_ready, resize
from tsd.evaluation.pairs.report import NOTES, judge_metrics, left_out_part, statistics_of
from tsd.evaluation.pairs.scoring import VERSION, score
from tsd.evaluation.report import Parts, moments, nest, sheet
from tsd.evaluation.side_by_side import side_by_side
from tsd.media.timeline import Timeline, read_timeline, resampled_frames

TRIED = 3
"""Other real videos that are tried for the row ``swapped``, where the first are broken."""


@dataclass(frozen=True)
class Settings:
    """Everything but files and nets that changes what comes out."""

    crop: bool = True
    """Cut both videos to the real one's first face for the nets that look at faces."""
    length_tolerance: float = 0.5
    """Seconds by which two videos of a pair may differ; what is common is scored."""
    seed: int = 0


@dataclass
class Run:
    """One comparison of two folders under way."""

    pairs: list[Pair]
    instruments: Instruments
    settings: Settings
    parts: Parts
    workers: int = 1
    left_out: list[LeftOut] = field(default_factory=list)

    def run(self) -> list[dict]:
        """The parts of all pairs that could be scored, in the order of their names; others go to ``left_out``. Of each
        pair under way a few frames of every row are in memory."""
        jobs = [partial(self.judge, pair) for pair in self.pairs]
        return [part for part in side_by_side(jobs, self.workers, "scoring pairs", "pair") if part is not None]

    def judge(self, pair: Pair) -> dict | None:
        """The part of one pair, read where an earlier run made it of the same files; None where it is refused."""
        try:
            name = hashlib.sha256(pair.name.encode()).hexdigest()[:16]
            files = {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in self.files(pair)}
            part = self.parts.read(name)
            if part is None or part["files"] != files:
                part = self.measure(pair) | {"files": files}
                self.parts.write(name, part)
            return part
        except (ValueError, OSError) as error:
            self.left_out.append(LeftOut("pairs", self.file_of(pair), "refused", str(error)))
            return None

    def file_of(self, pair: Pair) -> str:
        """Its path below the folder of generated videos."""
        return pair.name + pair.generated.suffix

    def files(self, pair: Pair) -> list[Path]:
        """All that the part of a pair is made of."""
        return [pair.generated, pair.real, *self.others(pair)]

    def others(self, pair: Pair) -> list[Path]:
        """Real videos of other names, drawn by the pair's own seed."""
        candidates = [other.real for other in self.pairs if other != pair]
        rng = np.random.default_rng(clip_seed(pair.name, self.settings.seed))
        return [candidates[i] for i in rng.permutation(len(candidates))[:TRIED]]

    def measure(self, pair: Pair) -> dict:
        """{"pair": what was done, "rows", "features", "tracks", "seconds"} of one pair."""
        begun = time.perf_counter()
        ready = make_ready(pair, self.settings.crop, self.settings.length_tolerance)
        other = next(self.readable(self.others(pair)), None)
        rows, tracks = score(ready, self.instruments, other)
        features = {name: row.pop(FEATURES) for name, row in rows.items() if FEATURES in row}
        done = {
            "name": pair.name,
            "generated": self.file_of(pair),
            "frames": ready.num_frames,
            "size": [ready.real.width, ready.real.height],
            "generated_size": [ready.generated.width, ready.generated.height],
            "fps": round(ready.real.fps, 3),
            "generated_fps": round(ready.generated.fps, 3),
            "frames_beyond": max(ready.real.num_frames, ready.generated.num_frames) - ready.num_frames,
            "crop": ready.crop,
            "sound": ready.sound,
        }
        return {
            "pair": done,
            "rows": rows,
            "features": features,
            "tracks": tracks,
            "seconds": time.perf_counter() - begun,
        }

    def readable(self, paths: list[Path]) -> Iterator[tuple[Path, Timeline]]:
        """Those that are videos."""
        for path in paths:
            try:
                yield path, read_timeline(path)
            except (ValueError, OSError):  # its own pair says so
                continue

    def sheet(self, parts: list[dict]) -> Image.Image:
        """Moments of evenly chosen pairs as a picture."""
        by_name, faces = {pair.name: pair for pair in self.pairs}, []
        for part in (parts[i] for i in spread(len(parts), SHOWN)):
            pair = by_name[part["pair"]["name"]]
            ready = make_ready(pair, self.settings.crop, self.settings.length_tolerance)
            numbers = moments(ready.num_frames)
            shown = {"real": (pair.real, ready.real), "generated": (pair.generated, ready.generated)}
            pictures = {name: ready.faces(moments_of(ready, *video, numbers)) for name, video in shown.items()}
            faces.append({"name": pair.name[-28:], "numbers": numbers, **pictures})
        return sheet(faces, "real above, generated below")


def moments_of(ready: ReadyPair, path: Path, timeline: Timeline, numbers: np.ndarray) -> np.ndarray:
    """Frames ``numbers`` as uint8 [M, H, W, 3] in the pair's size."""
    wanted = set(numbers.tolist())
    found = {i: frame for i, frame in enumerate(resampled_frames(path, timeline)) if i in wanted}
    return np.stack([resize(found[i], *ready.size) for i in numbers.tolist()])


@dataclass(frozen=True)
class Comparison:
    """What comes out of two folders; ``parts`` are to be removed once report and sheet are written."""

    report: dict
    sheet: Image.Image
    parts: Parts


def compare_folders(
    generated: Path,
    real: Path,
    out: Path,
    instruments: Instruments,
    networks: dict[str, str],
    hashes: dict[str, str],
    settings: Settings,
    workers: int = 1,
) -> Comparison:
    """The report on the videos of two folders and its contact sheet; finished pairs of a cut run are read.

    ``networks`` names the nets of the report, ``hashes`` their files. Raises FileNotFoundError or ValueError where a
    folder is missing or empty, nothing matches, or no pair could be scored (then with the reasons).
    """
    begun = time.perf_counter()
    pairs, left_out = match(generated, real)
    depends_on = {"settings": asdict(settings), "weights": hashes, "networks": networks, "version": VERSION}
    depends_on |= {"folders": [str(generated.resolve()), str(real.resolve())], "kind": "pairs"}
    run = Run(pairs, instruments, settings, Parts(out, depends_on), workers, left_out)
    parts = run.run()
    if not parts:
        reasons = "; ".join(item.reason for item in run.left_out if item.kind == "refused")
        raise ValueError(f"pairs={generated}: none of {len(pairs)} pairs could be scored: {reasons}")
    clips = [part["rows"] for part in parts]
    features = [{name: np.array(v) for name, v in part["features"].items()} for part in parts]
    statistics = statistics_of(clips, features, settings.seed)
    shown = [parts[i] for i in spread(len(parts), SHOWN)]
    report = {
        "kind": "pairs",
        "pairs": len(parts),
        "left_out": left_out_part(run.left_out),
        **nest(statistics),
        "statistics": statistics,
        "controls": judge_metrics(clips, statistics, settings.seed),
        "unavailable": instruments.unavailable,
        "networks": networks,
        "weights": hashes,
        "notes": list(NOTES),
        "files": [part["pair"] | {"scores": scores(part["rows"])} for part in parts],
        "tracks": [{"name": part["pair"]["name"], "fps": FPS, **part["tracks"]} for part in shown],
        "folders": {"pairs": str(generated), "real": str(real)},
        "settings": asdict(settings) | {"version": VERSION},
        "seconds": round(time.perf_counter() - begun, 1),
    }
    return Comparison(report, run.sheet(parts), run.parts)


def scores(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """One pair's own numbers, with ratios to its real video where that is not 0."""
    one = nest(statistics_of([rows], [], 0))["generated"]
    return {name: value for name, value in one.items() if name != "fvd"}
