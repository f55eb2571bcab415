"""What other people's speech scores: every video's mouth beside what every other person said."""

import numpy as np
import torch

from tsd.metrics import pearson


def against_others(opened: list[np.ndarray | None], truths: list[np.ndarray | None], people: list[int]) -> list[float]:
    """For each of N clips the mean correlation over time of its true mouth opening with the openings read in the videos
    of all clips of other people, frame by frame as long as both last; nan where there is none.

    ``opened`` and ``truths``: [T] of each clip, None where unknown; ``people``: who speaks in it. The values of two
    clips share their videos, so an interval over clips is narrower than one over sentences.
    """
    found = []
    for truth, person in zip(truths, people, strict=True):
        others = [video for video, who in zip(opened, people, strict=True) if video is not None and who != person]
        values = [correlation(video, truth) for video in others] if truth is not None else []
        known = [value for value in values if np.isfinite(value)]
        found.append(float(np.mean(known)) if known else float("nan"))
    return found


def correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Of two mouth openings over time, over the frames that both have; nan below two that are known."""
    length = min(len(one), len(two))
    return float(pearson(*(torch.from_numpy(track[None, :length]) for track in (one, two)))[0])
