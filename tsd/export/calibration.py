"""What an exported talker's graphs are given where it is used: what int8 learns its ranges from."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from tqdm import tqdm

from tsd.evaluation.clips import Chain, Subject, denoise, speak
from tsd.runtime.backends import Graph
from tsd.runtime.talker import Talker


class Recording:
    """A graph that keeps the inputs of its calls."""

    def __init__(self, graph: Graph, names: list[str]):
        self.graph, self.names = graph, names
        self.inputs: list[dict[str, np.ndarray]] = []

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        self.inputs.append(dict(zip(self.names, (x.copy() for x in inputs), strict=True)))
        return self.graph(*inputs)


@contextmanager
def recording(talker: Talker, names: dict[str, list[str]]) -> Iterator[dict[str, Recording]]:
    """The inputs that an exported talker's graphs get inside the block; ``names``: {graph: its inputs}."""
    places = {"step": (talker.student, "stepper"), "decoder": (talker.vae, "decoder")}
    recordings = {name: Recording(getattr(*place), names[name]) for name, place in places.items()}
    for name, place in places.items():
        setattr(*place, recordings[name])
    try:
        yield recordings
    finally:
        for name, place in places.items():
            setattr(*place, recordings[name].graph)


def calibration_inputs(
    talker: Talker, names: dict[str, list[str]], subjects: list[Subject], frames: int, strength: float, steps: str
) -> dict[str, list[dict[str, np.ndarray]]]:
    """{graph: inputs of its calls} of an exported talker that says the first ``frames`` frames of every clip with each
    of its schedules, and denoises the clip's middle from ``strength`` in as many equal steps as ``steps`` has.

    Both, because ranges that were learnt where a video begins alone cost 1 dB at Table 1's noise (our choice;
    docs/design/int8-calibration.md)."""
    with recording(talker, names) as recordings:
        for subject in tqdm(subjects, desc="calibrating", unit="clip", delay=2):
            for schedule in talker.schedules.values():
                speak(talker, subject.portrait, subject.visemes[:frames], schedule, subject.own_seed)
            denoise(Chain(talker), subject, strength, {steps: talker.schedule(steps).num_steps})
    return {name: heard.inputs for name, heard in recordings.items()}
