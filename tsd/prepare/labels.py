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
from tsd.prepare.alignment import Alignment, Unfit, can_align, fitted
from tsd.prepare.recording import Recording, Words
from tsd.prepare.visemes import phonemes_from_events, visemes_from_events, visemes_from_words
from tsd.weights import checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labels:
    """Visemes of a whole recording."""

    source: str
    """``viseme_source`` of a manifest line, best first: truth, npy, transcript, aligned, recognised, none."""
    visemes: np.ndarray | None
    """float32 [T, V]; None where the source is "none"."""
    words: Words
    """Given or found by alignment."""
    phonemes: np.ndarray | None = None
    """float32 [T, P]; None where only visemes are known."""
    fault: str = ""
    """Why its text could not be aligned to its sound; empty where it could, or where no text was to be aligned."""


@cache
def say_once(reason: str) -> None:
    """What is the same for every clip of a corpus."""
    log.warning("%s; no visemes come from transcripts", reason)


def label(recording: Recording, wave: np.ndarray, num_frames: int, language: str = "en", weights="") -> Labels:
    """The best source that gives something (but "truth", which drawn clips have beside them).

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
    fault = ""
    if recording.text and not recording.words and len(wave):
        try:
            found = aligned(wave, recording.text, language)
            visemes, phonemes = (
                made(found.phonemes, num_frames) for made in (visemes_from_events, phonemes_from_events)
            )
            return Labels("aligned", visemes, found.words, phonemes)
        except Unfit as error:
            fault = str(error)
    if weights and len(wave):
        return Labels("recognised", recognise(wave, num_frames, weights), recording.words, fault=fault)
    return Labels("none", None, recording.words, fault=fault)


def aligned(wave: np.ndarray, text: str, language: str) -> Alignment:
    """``fitted``; Unfit also where nothing here can align the language or spell a word."""
    if not can_align(language):
        raise Unfit(f"nothing installed aligns language={language}: pip install -e '.[alignment,corpus]'")
    try:
        return fitted(wave, text, language)
    except Unfit:
        raise
    except ValueError as error:  # espeak-ng is missing or does not know the language
        raise Unfit(str(error)) from error


@cache
def _recogniser(weights: str):
    return checkpoint.load(Path(weights), "visemes").eval()


@torch.inference_mode()
def recognise(wave: np.ndarray, num_frames: int, weights: str) -> np.ndarray:
    """Sound -> probabilities float32 [T, V] of the trained recogniser; rest where the sound is over."""
    mel = torch.from_numpy(log_mel(wave))[None]
    found = _recogniser(weights)(mel)[0, :, : len(VISEMES)].softmax(-1).numpy()[:num_frames]
    silence = np.eye(len(VISEMES), dtype=np.float32)[[VISEMES.index("sil")] * (num_frames - len(found))]
    return np.concatenate([found, silence])
