"""What the released weights reach, beside what was asked: ``make quality`` after ``make release``.

Reads the evaluation's report in a finished chain's folder; writes report.json, report.md, the table in README.md and
sheet.png into this folder, copies the evaluation's faces and the chain's own sample here, and fills the front page.
``--study`` fills the folder of another study (its report, the sample, a sheet as faces.jpg) and no front page.
"""

import argparse
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from targets import STEPS, in_short, make_report, to_markdown
from tqdm import tqdm

from tsd.clip import to_uint8
from tsd.data.dataset import ClipDataset
from tsd.evaluation.clips import Chain, Portrait, clip_seed, speak
from tsd.evaluation.clips.choice import shown_clips
from tsd.evaluation.clips.generate import runs
from tsd.evaluation.loading import load_chain, load_instruments, open_split
from tsd.evaluation.report import filled, sheet, to_json
from tsd.media.atomic import write_file
from tsd.weights import checkpoint
from tsd.weights.releases import Finished, read_finished

STUDY = Path(__file__).resolve().parent
REPO = STUDY.parents[1]
FACES, MOMENTS = 8, 10
SHOWN = {"reference.png": "face.png", "speech.wav": "speech.wav", "sample.mp4": "sample.mp4"}
"""What is copied from the chain, and its name here."""
SHARES, MARGIN, LARGEST = (1, 7 / 8, 3 / 4, 5 / 8), 52, 1_280_000
"""Of their side that pictures on the sheet have, the first with which the file has at most LARGEST bytes."""
JPEG = {"format": "JPEG", "quality": 80, "subsampling": 0}
"""A fifth of a PNG's bytes, colours as sharp as shapes."""


def speakers(
    chain: Chain, dataset: ClipDataset, clips: list[int], seed: int, steps: list[str], faces: int, moments: int
) -> Iterator[dict]:
    """Moments of drawn people, for ``sheet``: the clip, and the teacher and every K saying it from pure noise, as the
    evaluation had them say it."""
    drawn = shown_clips(dataset, clips, seed, faces)
    for number_ in tqdm(drawn, desc="speaking for the sheet", unit="face"):
        clip = dataset.whole_clip(number_)
        portrait, visemes = Portrait.of(clip), chain.visemes(clip.mel[0])
        every = max(1, (len(visemes) - 1) // (moments - 1))
        shown = np.arange(0, len(visemes), every)[:moments]
        face = {"name": dataset.entries[number_].identity, "numbers": shown}
        face["real"] = to_uint8(clip.frames[0][shown])
        for name, (talker, schedule) in runs(chain, steps, chain.teacher is not None).items():
            video, _ = speak(talker, portrait, visemes, schedule, clip_seed(clip.key[0], seed), every)
            face[name] = video[:moments]
        yield face


def small_png(draw, side: int) -> bytes:
    """``draw(cell)`` as a PNG of 256 colours, its pictures as large as LARGEST bytes allow, at most ``side``."""
    for share in SHARES:
        buffer = io.BytesIO()
        few = draw(round(share * side)).quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(buffer, "PNG", optimize=True)
        if buffer.tell() <= LARGEST:
            break
    return buffer.getvalue()


def jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, **JPEG)
    return buffer.getvalue()


def make_sheet(chain: Finished, data: Path, count: int, moments: int) -> tuple[Callable[[int], Image.Image], int]:
    """``count`` held-out people at ``moments`` moments, drawn by the report's seed: the sheet for pictures of any side,
    and the side that they have."""
    settings = chain.report["settings"]
    weights = {stage: chain.weights.get(stage) for stage in checkpoint.NETS}
    nets = load_chain(weights, load_instruments(weights, ())[0])
    dataset = open_split(chain.report["split"], nets.talker.vae.resolution, str(data), seed=settings["seed"])
    steps = [name for name in STEPS if name in chain.report["generate"]]
    faces = list(speakers(nets, dataset, settings["clips"], settings["seed"], steps, count, moments))
    rows = {"real": "real", "teacher": "teacher"} | {k: f"K={k[1:]}" for k in STEPS}
    rows = {name: words for name, words in rows.items() if name in faces[0]}
    named = [{rows.get(name, name): value for name, value in face.items()} for face in faces]
    steps_taken = f"; the teacher in {nets.teacher_schedule.num_steps} steps" if "teacher" in rows else ""
    title = (
        f"Held-out people, drawn by seed {settings['seed']}. From pure noise, the sound and one picture, the clip's "
        f"first frame{steps_taken}. Generated heads move as those of other clips."
    )
    return lambda cell: sheet(named, title, tuple(rows.values()), cell, MARGIN), nets.talker.vae.resolution


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chain", type=Path, nargs="?", default=REPO / "outputs" / "release")
    parser.add_argument("--data", type=Path, help="the corpus that was evaluated; <chain>/held_out or <chain>/corpus")
    parser.add_argument("--study", type=Path, default=STUDY, help="the folder to write into, with a README.md")
    parser.add_argument("--faces", type=int, default=FACES, help="people on the sheet")
    parser.add_argument("--moments", type=int, default=MOMENTS, help="moments of each")
    given = parser.parse_args()
    study, ours = given.study, given.study.resolve() == STUDY.resolve()
    try:
        chain = read_finished(given.chain)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None
    held_out = given.chain / "held_out"
    data = given.data or (held_out if held_out.is_dir() else given.chain / "corpus")
    report = make_report(chain)
    table = to_markdown(report)
    draw, side = make_sheet(chain, data, given.faces, given.moments)
    if ours:
        write_file(study / "sheet.png", small_png(draw, side))
    with Image.open(given.chain / "sheet.png") as faces:
        write_file(study / "faces.jpg", jpeg(faces if ours else draw(side)))
    write_file(study / "report.md", f"# Quality\n\n{table}".encode())
    for name, here in SHOWN.items() if ours else [("sample.mp4", "sample.mp4")]:
        write_file(study / here, (given.chain / name).read_bytes())
    pages = [(study / "README.md", table)]
    pages += [(REPO / "README.md", in_short(report))] if ours else []
    for page, block in pages:
        write_file(page, filled(page.read_text(), "make quality", block).encode())
    write_file(study / "report.json", to_json(report).encode())
    print(table)


if __name__ == "__main__":
    main()
