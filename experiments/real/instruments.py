"""How much of the lips' figure is the instrument's? Every released net is read by every instrument, by person.

``python experiments/real/instruments.py --weights <folder> ... --mouth <file> ...`` after the recipe real: each of the
chain's recorded test people speaks in one step, from the first frame and the sound of every clip of theirs. Prints a
table of correlations of mouth opening, generated against real frames, both as the instrument sees them. With
``--aligned`` they say what forced alignment of the text gives instead of what the recogniser hears.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tsd.clip import to_frames
from tsd.data.manifest import Entry, manifest_path, read_manifest
from tsd.data.tracks import load_tracks
from tsd.evaluation.clips import Portrait, speak
from tsd.media.audio import load_audio
from tsd.media.video import read_frames
from tsd.metrics import pearson
from tsd.metrics.face_mesh import FaceMesh
from tsd.runtime.talker import Talker
from tsd.weights import checkpoint

REPO = Path(__file__).resolve().parents[2]
MOUTH = "weights of stage=mouth, or face_landmark.tflite"
BLOCK = 16
"""Frames that an instrument looks at at once."""


def load_reader(path: Path) -> nn.Module:
    """Weights of stage=mouth, or MediaPipe's Face Mesh (.tflite)."""
    return FaceMesh(path) if path.suffix == ".tflite" else checkpoint.load(path, "mouth").eval()


@torch.inference_mode()
def openings(instrument: nn.Module, frames: Tensor) -> Tensor:
    """Frames [T, 3, R, R] -> [T] mouth openings."""
    return torch.cat([instrument(block) for block in frames.split(BLOCK)])


def agreements(entry: Entry, talkers: list[Talker], instruments: list[Callable], aligned: bool) -> list[float]:
    """Correlation of generated and real mouths of one clip, of every talker as every instrument sees it."""
    real, sound, found = read_frames(entry.video, size=talkers[0].vae.resolution), load_audio(entry.video), []
    said = torch.from_numpy(load_tracks(entry).labels) if aligned else None
    for talker in talkers:
        speaker = talker.set_reference(real[0])
        if said is None:
            made = talker.video(sound, steps="k1")
        else:
            portrait = Portrait(speaker.appearance.picture[0], speaker.motion)
            made, _ = speak(talker, portrait, said, talker.schedule("k1"), seed=0)
        both = [to_frames(video[: min(len(made), len(real))]) for video in (made, real)]
        found += [float(pearson(*(openings(net, video)[None] for video in both))[0]) for net in instruments]
    return found


def to_markdown(people: dict[str, list[list[float]]], columns: list[str]) -> str:
    """{person: clips: figures} -> a row a person, and one of all clips."""
    lines = [f"| | clips | {' | '.join(columns)} |", f"|{'---|' * (len(columns) + 2)}"]
    for person, clips in (*people.items(), ("all", sum(people.values(), []))):
        means = torch.tensor(clips).mean(0)
        lines.append(f"| {person} | {len(clips)} | {' | '.join(f'{mean:.2f}' for mean in means)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chain", type=Path, nargs="?", default=REPO / "outputs" / "real")
    parser.add_argument("--weights", type=Path, nargs="+", required=True, help="folders of released weights")
    parser.add_argument("--mouth", type=Path, nargs="+", required=True, help=MOUTH)
    parser.add_argument("--split", default="test")
    parser.add_argument("--aligned", action="store_true", help="say what forced alignment gives")
    given = parser.parse_args()
    try:
        instruments = [load_reader(path) for path in given.mouth]
        talkers = [Talker.load(folder) for folder in given.weights]
        root, people = given.chain / "corpus" / "people", {}
        for entry in tqdm(list(read_manifest(manifest_path(root, given.split), root)), unit="clip"):
            people.setdefault(entry.identity, []).append(agreements(entry, talkers, instruments, given.aligned))
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None
    print(to_markdown(people, [f"{folder}, {path}" for folder in given.weights for path in given.mouth]))


if __name__ == "__main__":
    main()
