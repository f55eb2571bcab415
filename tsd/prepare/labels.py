"""The visemes of a recording, from the best source there is: what was given, words with times, the text alone, the
sound alone."""

import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from tsd.clip import VISEMES
from tsd.data.features import log_mel
from tsd.data.tracks import read_visemes
from tsd.prepare.alignment import align, can_align
from tsd.prepare.recording import Recording, Words
from tsd.prepare.visemes import visemes_from_events, visemes_from_words
from tsd.weights import checkpoint

log = logging.getLogger(__name__)
SOURCES = ("truth", "npy", "transcript", "aligned", "recognised", "none")
"""Best first. ``viseme_source`` of a manifest line is one of these."""


@dataclass(frozen=True)
class Labels:
    """Visemes of a whole recording."""

    source: str
    visemes: np.ndarray | None
    """float32 [T, V]; None where the source is "none"."""
    words: Words
    """Given or found by alignment."""


@cache
def say_once(reason: str) -> None:
    """What is the same for every clip of a corpus."""
    log.warning("%s; no visemes come from transcripts", reason)


def label(recording: Recording, wave: np.ndarray, num_frames: int, language: str = "en", weights="") -> Labels:
    """The first source of SOURCES that gives something (but "truth", which drawn clips have beside them).

    wave: float32 [N] at 16 kHz, empty without sound. language: espeak-ng's name. weights: file of a trained
    recogniser; "": none.
    """
    given = recording.video.with_suffix(".npy")
    if given in recording.beside:
        try:
            return Labels("npy", read_visemes(given, num_frames), recording.words)
        except ValueError as error:
            log.warning("%s; the next source of visemes is taken", error)
    if recording.words:
        try:
            return Labels(
                "transcript", visemes_from_words(list(recording.words), num_frames, language), recording.words
            )
        except ValueError as error:  # espeak-ng is missing or does not know the language
            say_once(str(error))
    elif recording.text and can_align(language) and (found := align(wave, recording.text, language)):
        return Labels("aligned", visemes_from_events(found.phonemes, num_frames), found.words)
    if weights and len(wave):
        return Labels("recognised", recognise(wave, num_frames, weights), recording.words)
    return Labels("none", None, recording.words)


@cache
def _recogniser(weights: str):
    return checkpoint.load(Path(weights), "visemes").eval()


@torch.inference_mode()
def recognise(wave: np.ndarray, num_frames: int, weights: str) -> np.ndarray:
    """Sound -> probabilities float32 [T, V] of the trained recogniser; rest where the sound is over."""
    mel = torch.from_numpy(log_mel(wave))[None]
    found = _recogniser(weights)(mel)[0].softmax(-1).numpy()[:num_frames]
    silence = np.eye(len(VISEMES), dtype=np.float32)[[VISEMES.index("sil")] * (num_frames - len(found))]
    return np.concatenate([found, silence])
