"""How sharp, steady and alike are photographs that speak at their own size, and what does that cost?

``python experiments/native/native.py --photographs <folder>`` lets every person of the folder's split test speak for
1.4 seconds: the neutral photograph, K=1, head motion replayed, 512 pixels across the face's square. "Enlarged" is the
decoder's own picture of 128 x 128, enlarged. Writes report.json beside this file. With ``--lpips`` and ``--facenet``
(weights files) it also compares identity and perceived distance; ``--export`` times an export's backends, too.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from tsd.clip import to_frames
from tsd.media.audio import load_audio
from tsd.media.faces import Landmarks, crop_face, cut_out, find_face, framing, load_picture
from tsd.media.light import Light
from tsd.media.mouth_mask import mouth_masks
from tsd.metrics.facenet import FaceNet
from tsd.metrics.lpips import lpips_distance, lpips_net
from tsd.nets.affine import frame_to_reference
from tsd.runtime.backends import available
from tsd.runtime.canvas import canvas_of
from tsd.runtime.composing import Composer
from tsd.runtime.talker import Talker

STUDY = Path(__file__).resolve().parent
REPO = STUDY.parents[1]
SIZE = 512
SECONDS, SETTLED = 1.4, 10
"""Of speech for each person, and the first frame that is looked at: the sentence begins with silence."""


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


def read_photographs(folder: Path) -> list[list[Photograph]]:
    """The photographs of each person of split test, by name: neutral, smiling."""
    with (folder / "people.tsv").open(newline="") as file:
        people = [row["person"] for row in csv.DictReader(file, delimiter="\t") if row["split"] == "test"]
    of_person = [[load_picture(path) for path in sorted(folder.glob(f"{person}_*.jpg"))] for person in people]
    return [[Photograph(picture, find_face(picture)) for picture in shots] for shots in of_person]


@dataclass
class Spoken:
    """A person's frames [T, 512, 512, 3] at native size and enlarged, and the photograph's square."""

    native: np.ndarray
    enlarged: np.ndarray
    small: np.ndarray
    photograph: np.ndarray
    points: np.ndarray


def speak(talker: Talker, shot: Photograph, wave: np.ndarray) -> Spoken:
    canvas = canvas_of(shot.picture, shot.points, SIZE, "face", talker.vae.resolution)
    crop, motion = crop_face(shot.picture, shot.face, talker.vae.resolution)
    talker.reference = talker.speaker(crop, motion)
    small = talker.video(wave, "k1")[SETTLED:]
    talker.reference = replace(talker.reference, canvas=canvas)
    native = talker.video(wave, "k1")[SETTLED:]
    left, top, right, bottom = canvas.shown
    return Spoken(native, enlarge(small), small, canvas.picture[top:bottom, left:right], canvas.points)


def mouths(spoken: Spoken) -> tuple[np.ndarray, np.ndarray]:
    """bool [512, 512]: the mouth itself, and everything but the lower face."""
    x, y = spoken.points[3:].mean(0) * SIZE
    width = np.linalg.norm(spoken.points[4] - spoken.points[3]) * SIZE
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside = ((columns - x) / (0.75 * width)) ** 2 + ((rows - y) / (0.5 * width)) ** 2 < 1
    return inside, mouth_masks(spoken.points[None], SIZE)[0] == 0


def measure(talker: Talker, shots: list[Photograph], wave: np.ndarray, nets: dict) -> dict[str, float]:
    """Figures of one person."""
    neutral, smiling = shots[0], shots[-1]
    spoken = speak(talker, neutral, wave)
    inside, outside = mouths(spoken)
    real = np.mean([sharpness(square(shot), inside) for shot in shots])
    still = sharpness(spoken.photograph, outside)
    figures = {"flicker_ratio": flicker(spoken.native) / flicker(spoken.small)}
    for name, frames in (("", spoken.native), ("enlarged_", spoken.enlarged)):
        looked = frames[::5]
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
    LPIPS of the whole, enlarged and at native size."""
    size = talker.vae.resolution
    (crop, motion), (shown, goes) = (crop_face(s.picture, s.face, size) for s in (reference, target))
    speaker = talker.speaker(crop, motion)
    maps = frame_to_reference(*(torch.from_numpy(m)[None] for m in (goes[None], motion)), torch.tensor([True]))
    z, seen = talker.vae.encode(to_frames(shown)[None]), speaker.appearance.along(maps)
    canvas = canvas_of(reference.picture, reference.points, SIZE, "face", size)
    truth = square(target)
    made = {
        "enlarged": enlarge(talker.decode(z, seen))[0],
        "": talker.compose(z, seen, Composer(canvas, size, Light()))[0],
    }
    figures = {}
    left, top = (canvas.points[3:].mean(0) * SIZE - [115, 90]).astype(int)
    region = slice(top, top + 180), slice(left, left + 230)
    for name, picture in made.items():
        start = f"{name}_" if name else ""
        error = (picture[region].astype(float) - truth[region]) / 255
        figures[f"{start}mouth_psnr_db"] = float(-10 * np.log10((error**2).mean()))
        if "lpips" in nets:
            videos = (to_frames(x)[None, None] for x in (picture, truth))
            figures[f"{start}lpips"] = float(lpips_distance(nets["lpips"], *videos))
    return figures


def borders(talker: Talker, shot: Photograph, wave: np.ndarray) -> dict[str, float]:
    """In the whole picture: gradients where the blend ends, over the photograph's there, and with a still head the
    largest difference outside the face."""
    canvas = canvas_of(shot.picture, shot.points, "native", "picture", talker.vae.resolution)
    crop, motion = crop_face(shot.picture, shot.face, talker.vae.resolution)
    talker.reference = replace(talker.speaker(crop, motion), canvas=canvas)
    found: dict[str, float] = {}
    for name in ("natural", "still"):
        composer = Composer(canvas, talker.vae.resolution, Light(), still=name == "still")
        height, width = canvas.size
        mask = np.maximum(composer.moved, composer.painted)[..., 0]
        grid = composer.to_grid.copy()
        grid[:, 2] -= grid[:, :2] @ composer.corner
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        share = cv2.warpAffine(mask, grid, (width, height), flags=how)
        rim = (share > 0.002) & (share < 0.3)
        frames = talker.video(wave, "k1", motion=name)[SETTLED::5]
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


def cost(talker: Talker, shot: Photograph, wave: np.ndarray, rounds: int = 5) -> float:
    """Processor time of a frame at 512 over that of one at 128, in turns; the least of some rounds each."""
    crop, motion = crop_face(shot.picture, shot.face, talker.vae.resolution)
    small = talker.speaker(crop, motion)
    canvas = canvas_of(shot.picture, shot.points, SIZE, "face", talker.vae.resolution)
    seconds: dict[str, list[float]] = {"small": [], "native": []}
    for _ in range(rounds + 1):
        for name, speaker in (("small", small), ("native", replace(small, canvas=canvas))):
            talker.reference = speaker
            begin = time.process_time()
            talker.video(wave, "k2", chunk=8)
            seconds[name].append(time.process_time() - begin)
    return min(seconds["native"][1:]) / min(seconds["small"][1:])


def backends(given: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Talker]]]:
    yield "torch", lambda: Talker.load(given.weights, "torch")
    for name in available() if given.export else ():
        if name != "torch" and not name.endswith(("int8", "bf16")):
            yield name, lambda name=name: Talker.load(given.export, name, given.threads)


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seams", type=int, default=20)
    parser.add_argument("--weights", type=Path, default=REPO / "weights" / "people")
    parser.add_argument("--speech", type=Path, default=REPO / "experiments" / "quality" / "speech.wav")
    parser.add_argument("--export", type=Path)
    parser.add_argument("--lpips", type=Path)
    parser.add_argument("--facenet", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    wave = load_audio(given.speech)[: int(SECONDS * 16000)]
    people = read_photographs(given.photographs)[: given.people]
    nets = {"lpips": lpips_net(given.lpips)} if given.lpips else {}
    nets |= {"facenet": FaceNet(given.facenet)} if given.facenet else {}
    talker = Talker.load(given.weights, "torch")
    rows = [measure(talker, shots, wave, nets) for shots in tqdm(people, unit="person")]
    seams = [borders(talker, shots[0], wave) for shots in people[: given.seams]]
    costs = {name: cost(load(), people[0][0], wave) for name, load in backends(given)}
    report = {"people": len(people), str(SIZE): mean(rows) | {"cost_ratio_to_128": max(costs.values())}}
    report["cost_ratio_to_128"] = costs
    report["seam"] = {
        "gradient_ratio": max(max(row["natural_gradient_ratio"], row["still_gradient_ratio"]) for row in seams)
    }
    report["seam"] |= {
        f"mean_{name}_gradient_ratio": mean(seams)[f"{name}_gradient_ratio"] for name in ("natural", "still")
    }
    report["outside"] = {"max_level_difference": max(row["max_level_difference"] for row in seams)}
    (STUDY / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
