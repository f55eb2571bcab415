"""Does it matter whose face says the wrong sentence? ``python experiments/real/whose_face.py`` after the recipe real.

``mouth_r_shuffled`` compares a clip's mouth with the videos in which *others* say *their* sentences, and nothing has to
be made for it. Here the clip's own face says the sentences of others, too, in one step; both are read against the
clip's real frames. Prints the means over ``--others`` sentences of other people per clip, and their difference.
"""

import argparse
from pathlib import Path

import numpy as np
from instruments import MOUTH, REPO, load_reader, openings
from torch import nn
from tqdm import tqdm

from tsd.clip import to_frames
from tsd.data.manifest import Entry, manifest_path, read_manifest
from tsd.evaluation.clips.others_speech import correlation
from tsd.media.audio import load_audio
from tsd.media.video import read_frames
from tsd.runtime.talker import Talker


def compare(entries: list[Entry], talker: Talker, instrument: nn.Module, others: int) -> np.ndarray:
    """[clips, 3]: what a clip's own sentence scores on its own face, and the mean of ``others`` drawn sentences of
    other people, on their own faces and on the clip's."""
    real = [read_frames(entry.video, size=talker.vae.resolution) for entry in entries]
    sounds = [load_audio(entry.video) for entry in entries]

    def read(frames: np.ndarray) -> np.ndarray:
        return openings(instrument, to_frames(frames)).numpy()

    def say(face: int, sentence: int) -> np.ndarray:
        talker.set_reference(real[face][0])
        return read(talker.video(sounds[sentence], steps="k1"))

    truths = [read(frames) for frames in real]
    spoken = [say(clip, clip) for clip in tqdm(range(len(entries)), desc="own sentences", unit="clip")]
    rng, rows = np.random.default_rng(0), []
    for clip in tqdm(range(len(entries)), desc="others' sentences", unit="clip"):
        strangers = [i for i, entry in enumerate(entries) if entry.identity != entries[clip].identity]
        drawn = rng.choice(strangers, min(others, len(strangers)), replace=False)
        theirs = np.mean([correlation(spoken[i], truths[clip]) for i in drawn])
        own = np.mean([correlation(say(clip, i), truths[clip]) for i in drawn])
        rows.append((correlation(spoken[clip], truths[clip]), theirs, own))
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chain", type=Path, nargs="?", default=REPO / "outputs" / "real")
    parser.add_argument("--weights", type=Path, default=REPO / "weights" / "people")
    parser.add_argument("--mouth", type=Path, required=True, help=MOUTH)
    parser.add_argument("--others", type=int, default=4)
    given = parser.parse_args()
    try:
        instrument, root = load_reader(given.mouth), given.chain / "corpus" / "people"
        entries = list(read_manifest(manifest_path(root, "test"), root))
        rows = compare(entries, Talker.load(given.weights), instrument, given.others)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None
    apart = rows[:, 2] - rows[:, 1]
    for words, values in zip(("its own sentence", "others', their faces", "others', its face"), rows.T, strict=True):
        print(f"{words:21} {values.mean():.3f}")
    print(f"{'difference':21} {apart.mean():.3f}, standard error {apart.std(ddof=1) / len(apart) ** 0.5:.3f}")


if __name__ == "__main__":
    main()
