"""Do both eyes do the same? Every released net speaks with the clips' own heads, and each eye is looked at by itself.

``python experiments/real/eyes.py weights/people <other weights> ...`` after the recipe real: the chain's recorded
test people (``--split val``: its validation people) in one, two, four and eight steps, from pure noise. Prints a table:
``follows``, the correlation of both eyes' mean lightness (tsd/media/lids.py) with that of the real frames, clips with a
blink alone; ``unequal``, the mean difference between the two eyes where the real ones are open; ``off``, that to the
real ones there. Lightness is in units of the way from the real eyes' median to skin.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tsd.clip import Clip, to_uint8, viseme_windows
from tsd.evaluation.clips import Chain, Instruments, Portrait, clip_seed
from tsd.evaluation.clips.chain import appearance_along
from tsd.evaluation.clips.generate import make_ready
from tsd.evaluation.loading import clip_of, load_chain, open_split
from tsd.media.lids import BLINK, STIR, lightness
from tsd.metrics import pearson
from tsd.runtime.speaking import Speaking

REPO = Path(__file__).resolve().parents[2]
STAGES = ("vae", "visemes", "student")


def seen(video: Tensor, motion: Tensor) -> np.ndarray:
    """Frames [T, 3, R, R] in [-1, 1] whose eyes are where ``motion`` [T, M] says -> [T, 2] ``lightness``."""
    return lightness(to_uint8(video), motion[:, :4].unflatten(1, (2, 2)).numpy() * video.shape[-1] - 0.5)


def compare(made: np.ndarray, real: np.ndarray) -> tuple[float, float, float]:
    """follows, unequal, off of ``lightness`` [T, 2] twice; NaN where there is nothing to follow, or no open eye."""
    usual = np.median(real, 0)
    made, real = ((level - usual) / np.maximum(1 - usual, 0.1) for level in (made, real))
    both = real.mean(1)
    still = both < STIR
    follows = np.nan
    if both.max() >= BLINK:
        follows = float(pearson(*(torch.from_numpy(x)[None] for x in (made.mean(1), both)))[0])
    if not still.any():
        return follows, np.nan, np.nan
    return follows, float(np.abs(np.diff(made, axis=1))[still].mean()), float(np.abs(made - real)[still].mean())


@torch.inference_mode()
def videos(chain: Chain, clip: Clip) -> dict[str, Tensor]:
    """The real frames of a clip, their reconstruction, and what the student makes of it by each of its schedules."""
    appearance, speaker = appearance_along(chain, clip), make_ready(chain.talker, Portrait.of(clip))
    windows = viseme_windows(chain.visemes(clip.mel[0]))
    made = {"real frames": clip.frames[0], "reconstruction": chain.decode(chain.encode(clip.frames[0]), appearance)}
    for name, schedule in chain.talker.schedules.items():
        speaking = Speaking(chain.talker.student, speaker, schedule, clip_seed(clip.key[0], 0))
        made[name] = chain.decode(speaking(windows, clip.motion[0]), appearance)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+", help="folders of released weights")
    parser.add_argument("--chain", type=Path, default=REPO / "outputs" / "real")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    given = parser.parse_args()
    print("| weights | | follows | unequal | off |\n|---|---|---|---|---|")
    try:
        for folder in given.weights:
            files = {stage: str(folder / f"{stage}.safetensors") for stage in STAGES}
            files |= {"teacher": None, "motion": None}
            chain, found = load_chain(files, Instruments()), {}
            clips = open_split(given.split, chain.talker.vae.resolution, str(given.chain / "corpus" / "people"))
            for number in tqdm(range(len(clips.entries)), unit="clip", desc=folder.name):
                clip = clip_of(clips, number)
                levels = {name: seen(video, clip.motion[0]) for name, video in videos(chain, clip).items()}
                for name, level in levels.items():
                    found.setdefault(name, []).append(compare(level, levels["real frames"]))
            for name, rows in found.items():
                print(f"| {folder} | {name} | " + " | ".join(f"{x:.3f}" for x in np.nanmean(rows, 0)) + " |")
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
