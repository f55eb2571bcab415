"""Which clips of a split: evenly chosen, the wrong partner of each, those to show, and those that speak for minutes."""

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tsd.clip import Clip, to_frames
from tsd.data.dataset import ClipDataset
from tsd.evaluation.clips.chain import Chain, appearance_along, clip_noise, clip_seed, mouth_opening
from tsd.evaluation.clips.denoise import find_strength, middle_fifth

PROBED_CLIPS, PROBED_FRAMES = 32, 192
"""The noise strength is found on at most this many clips, and on about this many frames of all of them together."""

SHOWN = 6
"""Faces on the contact sheet."""


def spread(length: int, count: int | None) -> list[int]:
    """``count`` numbers below ``length``, evenly spread; all where there are no more."""
    count = min(count or length, length)
    return [i * length // count for i in range(count)]


def partner(dataset: ClipDataset, clip: int, seed: int) -> int | None:
    """A clip of another identity, whose face and speech stand in as the wrong ones; None where there is none."""
    others = np.flatnonzero(dataset.person != dataset.person[clip])
    rng = np.random.default_rng(clip_seed(dataset.entries[clip].key, seed))
    return int(rng.choice(others)) if len(others) else None


def shown_clips(dataset: ClipDataset, chosen: list[int], seed: int, count: int = SHOWN) -> list[int]:
    """``count`` clips for a contact sheet, drawn by the seed: of different people as long as there are any."""
    drawn = np.random.default_rng(seed).permutation(chosen)
    first = {dataset.person[clip]: clip for clip in drawn[::-1]}
    order = [*first.values(), *(clip for clip in drawn if clip not in first.values())]
    return sorted(int(clip) for clip in order[:count])


def noise_strength(chain: Chain, dataset: ClipDataset, chosen: list[int], target: float, seed: int) -> float:
    """``find_strength`` on a few frames of the chosen clips, with the very noise that ``denoise`` adds."""
    probed = [chosen[i] for i in spread(len(chosen), PROBED_CLIPS)]
    probes = []
    for clip in tqdm(probed, desc="reading clips", unit="clip", leave=False, delay=1):
        entry = dataset.entries[clip]
        middle = np.arange(entry.frames)[middle_fifth(entry.frames)]
        numbers = middle[spread(len(middle), -(-PROBED_FRAMES // len(probed)))]
        with torch.inference_mode():
            z = chain.encode(to_frames(dataset.frames(clip, numbers)))
            appearance = appearance_along(chain, dataset.whole_clip(clip))
            appearance = appearance.along(appearance.maps[numbers])
        eps = clip_noise(entry.key, (entry.frames, *z.shape[1:]), seed)
        probes.append((z, eps[numbers], appearance))
    return find_strength(chain.decode, probes, target)


@torch.inference_mode()
def speech_of_many(chain: Chain, whole_clip, clips: list[int], num_frames: int) -> tuple[Clip, Tensor, Tensor]:
    """What ``clips`` say one after another, again and again where they are short: the first clip, recognised visemes
    [num_frames, V] and mouth openings [num_frames], nan where unknown. ``whole_clip(number)`` reads one."""
    first, heard, opened, spoken = None, [], [], 0
    while spoken < num_frames:
        clip = whole_clip(clips[len(heard) % len(clips)])
        first = first or clip
        length = clip.frames.shape[1]
        heard.append(chain.visemes(clip.mel[0]))
        opening = mouth_opening(chain.instruments, clip)
        opened.append(opening if opening is not None else torch.full((length,), torch.nan))
        spoken += length
    return first, torch.cat(heard)[:num_frames], torch.cat(opened)[:num_frames]
