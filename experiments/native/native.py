"""How sharp, steady and alike are photographs that speak at their own size, and what does that cost?

``python experiments/native/native.py --photographs <folder>`` lets 20 people of the folder's split test speak for two
seconds: the neutral photograph, K=1, head motion replayed, 512 pixels across the face's square, without the invisible
mark. "Enlarged" is the decoder's own picture of 128 x 128, enlarged. With ``--lpips`` and ``--facenet`` (weights files)
it also compares identity and perceived distance. What is known of each person is kept in ``--work``, so a run that was
stopped goes on; beside it lies a strip of each person's frames. Writes ``--report``, report.json beside this file, and
sheet.jpg beside that: six of the people.
"""

import argparse
import csv
import hashlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from tsd.clip import to_frames
from tsd.media.atomic import write_file
from tsd.media.audio import load_audio
from tsd.media.faces import Landmarks, crop_face, cut_out, find_face, framing
from tsd.media.light import Light
from tsd.media.mouth_mask import mouth_masks
from tsd.media.pictures import load_picture
from tsd.metrics.facenet import FaceNet
from tsd.metrics.lpips import lpips_distance, lpips_net
from tsd.nets.affine import frame_to_reference
from tsd.runtime.arrays import array, given
from tsd.runtime.backends import available
from tsd.runtime.canvas import canvas_of
from tsd.runtime.composing import Composer
from tsd.runtime.talker import Talker

STUDY = Path(__file__).resolve().parent
REPO = STUDY.parents[1]
SIZE = 512
SECONDS, SETTLED, EVERY = 2.0, 10, 8
"""Of speech for each person, the first frame that is looked at (the sentence begins with silence), and every how many
frames are."""

MOTIONS = ("natural", "still")

MOUTH = 128, 85
"""Half the width and height of the mouth's part of a frame of 512 x 512, as strips show it."""

SHOWN, SHEET_WIDTH = 6, 640
"""People on the sheet, and its width in pixels."""


def luminance(pictures: np.ndarray) -> np.ndarray:
    """uint8 [..., H, W, 3] -> float32 [..., H, W]."""
    return pictures.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])


def sharpness(picture: np.ndarray, region: np.ndarray) -> float:
    """Variance of the Laplacian of a picture's luminance in a region bool [H, W]."""
    return float(cv2.Laplacian(luminance(picture), cv2.CV_32F)[region].var())


def flicker(frames: np.ndarray, size: int = 128) -> float:
    """Std over time of the differences of neighbouring frames, at 128 x 128."""
    small = np.stack([cv2.resize(luminance(f), (size, size), interpolation=cv2.INTER_AREA) for f in frames])
    return float(np.diff(small, axis=0).std(0).mean())


def enlarge(frames: np.ndarray, size: int = SIZE) -> np.ndarray:
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_CUBIC) for frame in frames])


@dataclass(frozen=True)
class Photograph:
    """A picture uint8 [H, W, 3] and its face."""

    picture: np.ndarray
    face: Landmarks

    @property
    def points(self) -> np.ndarray:
        return self.face.points


def people_of(folder: Path, split: str) -> list[str]:
    with (folder / "people.tsv").open(newline="") as file:
        return [row["person"] for row in csv.DictReader(file, delimiter="\t") if row["split"] == split]


def photographs_of(folder: Path, person: str) -> list[Photograph]:
    """By name: neutral, smiling."""
    pictures = [load_picture(path) for path in sorted(folder.glob(f"{person}_*.jpg"))]
    return [Photograph(picture, find_face(picture)) for picture in pictures]


@dataclass
class Spoken:
    """A person's frames [T, 512, 512, 3] at native size and enlarged, and the photograph's square."""

    native: np.ndarray
    enlarged: np.ndarray
    small: np.ndarray
    photograph: np.ndarray
    points: np.ndarray


@dataclass
class Sentence:
    """Latents [T, C, h, w] of a sentence and where its frames look in the reference, [T, 2, 3]."""

    z: np.ndarray
    maps: np.ndarray

    def __getitem__(self, here: slice) -> "Sentence":
        return Sentence(self.z[here], self.maps[here])


def say(talker: Talker, shot: Photograph, wave: np.ndarray, motion: str) -> Sentence:
    """From the first settled frame on; the talker's reference is then that photograph."""
    crop, pose = crop_face(shot.picture, shot.face, talker.vae.resolution)
    talker.reference = talker.speaker(crop, pose)
    z = talker.video(wave, "k1", mode="e2", motion=motion)
    cycle = array(talker.motion_cycle(talker.reference, 0, motion))
    maps = talker.reference.maps(cycle[np.arange(len(z)) % len(cycle)])
    return Sentence(z, maps)[SETTLED:]


def composed(talker: Talker, said: Sentence, composer: Composer) -> np.ndarray:
    return talker.compose(said.z, talker.reference.appearance.along(given(said.maps)), composer)


def speak(talker: Talker, shot: Photograph, wave: np.ndarray) -> Spoken:
    canvas = canvas_of(shot.picture, shot.points, SIZE, "face", talker.vae.resolution)
    said = say(talker, shot, wave, "natural")
    small = talker.decode(said.z, talker.reference.appearance.along(given(said.maps)))
    native = composed(talker, said, Composer(canvas, talker.vae.resolution, Light(), window=talker.vae.painted))
    left, top, right, bottom = canvas.shown
    return Spoken(native, enlarge(small), small, canvas.picture[top:bottom, left:right], canvas.points)


def mouths(spoken: Spoken) -> tuple[np.ndarray, np.ndarray]:
    """bool [512, 512]: the mouth itself, and everything but the lower face."""
    x, y = spoken.points[3:].mean(0) * SIZE
    width = np.linalg.norm(spoken.points[4] - spoken.points[3]) * SIZE
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside = ((columns - x) / (0.75 * width)) ** 2 + ((rows - y) / (0.5 * width)) ** 2 < 1
    return inside, mouth_masks(spoken.points[None], SIZE)[0] == 0


def measure(talker: Talker, shots: list[Photograph], spoken: Spoken, nets: dict) -> dict[str, float]:
    """Figures of one person who has spoken."""
    neutral, smiling = shots[0], shots[-1]
    inside, outside = mouths(spoken)
    real = np.mean([sharpness(square(shot), inside) for shot in shots])
    still = sharpness(spoken.photograph, outside)
    figures = {"flicker_ratio": flicker(spoken.native) / flicker(spoken.small)}
    for name, frames in (("", spoken.native), ("enlarged_", spoken.enlarged)):
        looked = frames[::EVERY]
        figures[f"{name}sharpness_ratio_outside"] = np.mean([sharpness(f, outside) for f in looked]) / still
        figures[f"{name}sharpness_ratio_mouth"] = np.mean([sharpness(f, inside) for f in looked]) / real
        if "facenet" in nets:
            own, theirs = (nets["facenet"](to_frames(x)) for x in (spoken.photograph[None], looked))
            figures[f"{name}id_cosine"] = float((theirs @ own[0]).mean())
    return figures | smile(talker, neutral, smiling, nets)


def square(shot: Photograph) -> np.ndarray:
    """The face's square of a photograph, 512 x 512."""
    return cut_out(shot.picture, framing(shot.points), SIZE)


@torch.inference_mode()
def smile(talker: Talker, reference: Photograph, target: Photograph, nets: dict) -> dict[str, float]:
    """The target photograph encoded, and decoded with the help of the other one: PSNR of the mouth's region in dB, and
    LPIPS of the region and of the whole, enlarged and at native size."""
    size = talker.vae.resolution
    (crop, motion), (shown, goes) = (crop_face(s.picture, s.face, size) for s in (reference, target))
    speaker = talker.speaker(crop, motion)
    maps = frame_to_reference(*(torch.from_numpy(m)[None] for m in (goes[None], motion)), torch.tensor([True]))
    z, seen = talker.vae.encode(to_frames(shown)[None]), speaker.appearance.along(maps)
    canvas = canvas_of(reference.picture, reference.points, SIZE, "face", size)
    truth = square(target)
    made = {
        "enlarged": enlarge(talker.decode(z, seen))[0],
        "": talker.compose(z, seen, Composer(canvas, size, Light(), window=talker.vae.painted))[0],
    }
    figures = {}
    left, top = (canvas.points[3:].mean(0) * SIZE - [115, 90]).astype(int)
    region = slice(top, top + 180), slice(left, left + 230)
    for name, picture in made.items():
        start = f"{name}_" if name else ""
        error = (picture[region].astype(float) - truth[region]) / 255
        figures[f"{start}mouth_psnr_db"] = float(-10 * np.log10((error**2).mean()))
        if "lpips" in nets:
            for what, part in (("lpips", slice(None)), ("mouth_lpips", region)):
                videos = (to_frames(np.ascontiguousarray(x[part]))[None, None] for x in (picture, truth))
                figures[f"{start}{what}"] = float(lpips_distance(nets["lpips"], *videos))
    return figures


def borders(talker: Talker, shot: Photograph, wave: np.ndarray) -> dict[str, float]:
    """In the whole picture: gradients where the blend ends, over the photograph's there, and with a still head the
    largest difference outside the face."""
    canvas = canvas_of(shot.picture, shot.points, "native", "picture", talker.vae.resolution)
    found: dict[str, float] = {}
    for name in MOTIONS:
        composer = Composer(canvas, talker.vae.resolution, Light(), name == "still", talker.vae.painted)
        height, width = canvas.size
        mask = composer.moved[..., 0]  # painting ends where moving does, or before
        grid = composer.to_grid.copy()
        grid[:, 2] -= grid[:, :2] @ composer.corner
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        share = cv2.warpAffine(mask, grid, (width, height), flags=how)
        rim = (share > 0.002) & (share < 0.3)
        frames = composed(talker, say(talker, shot, wave, name)[::EVERY], composer)
        ratio = np.mean([gradient(f)[rim].mean() for f in frames]) / gradient(canvas.picture)[rim].mean()
        found[f"{name}_gradient_ratio"] = float(ratio)
        if name == "still":
            different = np.abs(frames.astype(int) - canvas.picture).max((0, 3))
            found["max_level_difference"] = int(different[outside_face(canvas)].max())
    return found


def outside_face(canvas) -> np.ndarray:
    """bool [H, W]: beyond an ellipse around mouth and chin, from the eyes down, as wide as the face."""
    points = (canvas.points - canvas.to_unit[:, 2]) @ np.linalg.inv(canvas.to_unit[:, :2]).T
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    unit = np.linalg.norm(mouth - eyes)
    rows, columns = np.mgrid[: canvas.size[0], : canvas.size[1]]
    away = np.stack([columns, rows], -1) - (eyes + 1.05 * (mouth - eyes))
    down = (mouth - eyes) / unit
    return (away @ down / (1.1 * unit)) ** 2 + (away @ [-down[1], down[0]] / (1.15 * unit)) ** 2 > 1


def gradient(picture: np.ndarray) -> np.ndarray:
    grey = luminance(picture)
    return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))


def cost(talker: Talker, shot: Photograph, wave: np.ndarray, rounds: int = 3) -> float:
    """Processor time of a frame at 512 over that of one at 128, in turns; the least of some rounds each."""
    crop, motion = crop_face(shot.picture, shot.face, talker.vae.resolution)
    prepared, side = talker.speaker(crop, motion), talker.vae.resolution
    small, native = (
        replace(prepared, canvas=canvas_of(shot.picture, shot.points, size, "face", side)) for size in (side, SIZE)
    )
    seconds: dict[str, list[float]] = {"small": [], "native": []}
    for _ in range(rounds + 1):
        for name, speaker in (("small", small), ("native", native)):
            talker.reference = speaker
            begin = time.process_time()
            talker.video(wave, "k2", chunk=8)
            seconds[name].append(time.process_time() - begin)
    return min(seconds["native"][1:]) / min(seconds["small"][1:])


def costs(options: argparse.Namespace, shot: Photograph, wave: np.ndarray) -> dict[str, float]:
    """``cost`` of every backend that computes in 32 bits."""
    names = [name for name in available() if not name.endswith(("int8", "bf16", "xnnpack"))]
    return {name: cost(Talker.load(options.weights, name, options.threads), shot, wave) for name in names}


def strip(spoken: Spoken) -> np.ndarray:
    """The photograph and four frames, and below them the mouth as enlarged and as composed, uint8 [., ., 3]."""
    looked = np.linspace(0, len(spoken.native) - 1, 5).astype(int)[1:]
    x, y = (spoken.points[3:].mean(0) * SIZE).astype(int)
    part = slice(y - MOUTH[1], y + MOUTH[1]), slice(x - MOUTH[0], x + MOUTH[0])

    def row(photograph: np.ndarray, frames: np.ndarray) -> np.ndarray:
        return np.concatenate([photograph, *frames], 1)

    whole = row(spoken.photograph, spoken.native[looked])
    rows = [cv2.resize(whole, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)]
    rows += [row(spoken.photograph[part], f[looked][:, part[0], part[1]]) for f in (spoken.enlarged, spoken.native)]
    return np.concatenate(rows)


def person_figures(
    options: argparse.Namespace, work: Path, talker: Talker, person: str, wave: np.ndarray, nets: dict
) -> dict:
    """Figures of a person and of the seam around the face, read where they were measured before."""
    file = work / f"{person}.json"
    if not file.is_file():
        shots = photographs_of(options.photographs, person)
        spoken = speak(talker, shots[0], wave)
        found = {"face": measure(talker, shots, spoken, nets), "seam": borders(talker, shots[0], wave)}
        cv2.imwrite(str(work / f"{person}.jpg"), strip(spoken)[..., ::-1])
        write_file(file, json.dumps(found).encode())
    return json.loads(file.read_text())


def sheet(strips: list[Path]) -> np.ndarray:
    """People one below the other, uint8 [., SHEET_WIDTH, 3] in OpenCV's order: photograph and frames whole, and below
    them the mouths at native size."""
    rows = []
    for strip_file in strips:
        strip = cv2.imread(str(strip_file))
        rows += [strip[: SIZE // 2], strip[-2 * MOUTH[1] :]]
    whole = np.concatenate(rows)
    return cv2.resize(
        whole, (SHEET_WIDTH, round(len(whole) * SHEET_WIDTH / whole.shape[1])), interpolation=cv2.INTER_AREA
    )


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def summary(rows: list[dict], cost_of: dict[str, float]) -> dict:
    """What report.json says."""
    seams = [row["seam"] for row in rows]
    ratios = {f"{name}_gradient_ratio": [row[f"{name}_gradient_ratio"] for row in seams] for name in MOTIONS}
    return {
        "people": len(rows),
        str(SIZE): mean([row["face"] for row in rows]) | {"cost_ratio_to_128": max(cost_of.values())},
        "cost_ratio_to_128": cost_of,
        "seam": {"gradient_ratio": max(map(max, ratios.values()))}
        | {f"mean_{name}": float(np.mean(values)) for name, values in ratios.items()},
        "outside": {"max_level_difference": max(row["max_level_difference"] for row in seams)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--weights", type=Path, default=REPO / "weights" / "people")
    parser.add_argument("--speech", type=Path, default=REPO / "experiments" / "quality" / "speech.wav")
    parser.add_argument("--lpips", type=Path)
    parser.add_argument("--facenet", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=REPO / "outputs" / "native")
    parser.add_argument("--report", type=Path, default=STUDY / "report.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    wave = load_audio(options.speech)[: int(SECONDS * 16000)]
    nets = {"lpips": lpips_net(options.lpips)} if options.lpips else {}
    nets |= {"facenet": FaceNet(options.facenet)} if options.facenet else {}
    talker = Talker.load(options.weights, "torch")
    talker.marked = False
    # What was measured belongs to these weights and to this way of composing and measuring.
    source = b"".join(path.read_bytes() for path in (Path(__file__), *sorted((REPO / "tsd/runtime").glob("*.py"))))
    key = hashlib.sha256(f"{talker.weights} {sorted(nets)}".encode() + source).hexdigest()[:12]
    work = options.work / key
    work.mkdir(parents=True, exist_ok=True)
    people = people_of(options.photographs, options.split)[: options.people]
    rows = [person_figures(options, work, talker, name, wave, nets) for name in tqdm(people, unit="person")]
    half = wave[: len(wave) // 2]
    report = summary(rows, costs(options, photographs_of(options.photographs, people[0])[0], half))
    write_file(options.report, (json.dumps(report, indent=2) + "\n").encode())
    made = sheet([work / f"{name}.jpg" for name in people[:SHOWN]])
    cv2.imwrite(str(options.report.with_name("sheet.jpg")), made, [cv2.IMWRITE_JPEG_QUALITY, 75])
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
