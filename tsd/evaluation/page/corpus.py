"""A prepared corpus as one page: how much there is, what was left out and why, and whether picture, sound and visemes
belong together."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from tsd.clip import FPS, SAMPLE_RATE, VISEMES
from tsd.data.manifest import Entry, Manifest, manifest_path, read_manifest
from tsd.data.tracks import load_tracks
from tsd.evaluation.page.elements import (
    CHARTS,
    NOTHING,
    document,
    figure,
    figures,
    items,
    paragraph,
    picture,
    plain_table,
    section,
)
from tsd.media.atomic import write_file
from tsd.media.audio import load_audio
from tsd.media.video import read_frames, video_info

SHOWN, EXAMPLES, COUNTED = 40, 10, 500
"""Clips on the contact sheet, clips drawn with their sound, clips whose visemes are counted."""

SIDE, COLUMNS = 112, 10
HUES = tuple(f"hsl({i * 360 // len(VISEMES)} 60% 55%)" for i in range(len(VISEMES)))
"""A colour for every viseme; rest is grey."""


def write_corpus_page(root: Path, folder: str = "manifests", seed: int = 0) -> Path:
    """Write ``<root>/<folder>/report.html`` about a corpus that ``tsd.prepare`` has finished; returns its path."""
    splits = {}
    for split in ("train", "val", "test"):
        path = manifest_path(root, split, folder)
        if path.is_file() and path.stat().st_size:
            splits[split] = read_manifest(path, root)
    if not splits:
        raise FileNotFoundError(f"{root / folder}: no manifests; prepare the corpus with `make prepare` first")
    rejected = root / folder / "rejected.jsonl"
    lines = rejected.read_text(encoding="utf-8").splitlines() if rejected.is_file() else []
    target = root / folder / "report.html"
    write_file(target, page(root.name, splits, [json.loads(line) for line in lines], seed).encode())
    return target


def page(name: str, splits: dict[str, Manifest], rejected: list[dict], seed: int) -> str:
    """The page's HTML."""
    rng = np.random.default_rng(seed)
    drawn = [(m, int(i)) for m in splits.values() for i in rng.permutation(len(m))[:COUNTED]]
    entries = [m[i] for m, i in (drawn[i] for i in rng.permutation(len(drawn))[:COUNTED])]
    frames = {split: int(m.frames.sum(dtype=np.int64)) for split, m in splits.items()}
    rows = [[s, len(m), len(m.people), frames[s] / FPS / 3600] for s, m in splits.items()]
    rows.append(["all", *(sum(row[i] for row in rows) for i in (1, 2, 3))])
    reasons = Counter(re.sub(r"\d+(\.\d+)?( ?%)?", "n", row["reason"]) for row in rejected)
    sources = Counter(entry.viseme_source for entry in entries)
    shown = [entry for entry in entries if entry.pictures][:SHOWN]
    note = "" if len(entries) < COUNTED else f" (of {COUNTED} clips drawn at random)"
    return document(
        f"Corpus {name}",
        f"{rows[-1][1]} clips of {rows[-1][2]} people, {sum(frames.values()) / FPS / 60:.1f} minutes at {FPS} frames a "
        f"second; {len(rejected)} inputs or parts of inputs are not used.",
        section("How much", plain_table(["split", "clips", "people", "hours"], rows)),
        section("Not used", plain_table(["reason", "times"], [[r, n] for r, n in reasons.most_common()]))
        if reasons
        else NOTHING,
        section(f"Where visemes come from{note}", items(f"{n} {source}" for source, n in sources.most_common())),
        section(f"Visemes{note}", figures([figure("share of the frames that have any", histogram(entries))])),
        section("Contact sheet", picture(sheet(shown), "a frame out of the middle of each clip")) if shown else NOTHING,
        section(
            "Ten clips drawn at random",
            paragraph("The sound, and below it the most probable viseme of every frame.", "soft"),
            *map(example, entries[:EXAMPLES]),
        ),
    )


def histogram(entries: list[Entry]) -> Markup:
    """Bars: the share of each viseme over all frames with visemes; empty where none has."""
    total = np.sum([load_tracks(entry).labels.sum(0) for entry in entries], axis=0)
    if not total.sum():
        return NOTHING
    bars = zip(VISEMES, (total / total.max()).tolist(), (total / total.sum()).tolist(), strict=True)
    return CHARTS.shares([(viseme, round(230 * length, 1), f"{share:.1%}") for viseme, length, share in bars])


def sheet(entries: list[Entry]) -> Image.Image:
    """One frame of every clip."""
    tiles = [read_frames(entry.video, [entry.frames // 2], SIDE)[0] for entry in entries]
    rows = -(-len(tiles) // COLUMNS)
    canvas = np.full((rows * SIDE, min(COLUMNS, len(tiles)) * SIDE, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = divmod(i, COLUMNS)
        canvas[y * SIDE : (y + 1) * SIDE, x * SIDE : (x + 1) * SIDE] = tile
    return Image.fromarray(canvas)


def example(entry: Entry) -> Markup:
    """Waveform and visemes of a clip on one time axis, under three of its frames where it has any."""
    labels = load_tracks(entry).labels
    has_sound = not entry.pictures or video_info(entry.video).has_audio
    wave = load_audio(entry.video, silent_ok=True) if has_sound else np.zeros(0, np.float32)
    title = f"{entry.key} · {entry.identity} · visemes: {entry.viseme_source} · {entry.text or 'no text'}"
    if not entry.pictures:
        return figure(title, drawing(wave, labels))
    stills = read_frames(entry.video, [0, entry.frames // 2, entry.frames - 1], 96)
    images = picture(Image.fromarray(np.concatenate(list(stills), 1)), entry.key)
    return figure(title, images + drawing(wave, labels))


def drawing(wave: np.ndarray, labels: np.ndarray) -> Markup:
    """SVG: sound above, a coloured cell for every frame below, its name where it lasts."""
    num_frames = len(labels)
    unit = 1000 / num_frames
    steps = np.array_split(np.pad(wave, (0, max(0, num_frames * SAMPLE_RATE // FPS - len(wave)))), 500)
    loud = np.array([np.abs(step).max(initial=0) for step in steps])
    loud = 36 * loud / max(loud.max(), 1e-6)
    path = " ".join(f"M{2 * i} {40 - v:.1f}V{40 + v:.1f}" for i, v in enumerate(loud))
    names = np.where(labels.sum(1) > 0, labels.argmax(1), -1)
    cells, edges = [], [0, *(np.flatnonzero(np.diff(names)) + 1).tolist(), num_frames]
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        if (viseme := int(names[a])) < 0:
            continue
        fill = "#8b95a3" if viseme == 0 else HUES[viseme]
        cells.append((round(a * unit, 1), round((b - a) * unit, 1), fill, VISEMES[viseme]))
    return CHARTS.sound(path, cells)
