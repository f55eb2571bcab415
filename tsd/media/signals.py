"""What speech, motion and pictures are measured in: rates, names and sizes; pictures as levels and as planes.
NumPy alone: talking by graphs needs no PyTorch."""

import numpy as np

FPS = 25
SAMPLE_RATE = 16_000
MELS = 80
MELS_PER_FRAME = 4
"""Log-mel columns per video frame: hop 160 samples, so 100 columns a second."""

MEL_AUDIBLE = -1.0
"""Log-mel (power 1e-6) below which nets that know one level of sound hear nothing: hiss of a studio. A quiet recording
lies below it as a whole, so nets for any level hear what ``log_mel`` gives, down to its own floor."""

VISEMES = ("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "ih", "oh", "ou")
"""The 15 mouth shapes. PP are the closed lips of p, b and m; ``sil`` is the mouth at rest."""

PHONEMES = (
    "sil", "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY", "JH",
    "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
"""The sounds of English in ARPABET: what the recogniser may learn to tell beside visemes."""

LOUDNESS = ("all", "voice", "formant")
"""How loud a frame is: in all bands, in the lowest ones, in those of the first formant (``media.loudness``)."""

LIPS = ("open", "known")
"""How far the lips of a frame are open (``clip.openness``), and whether that is known: 1, or 0 with ``open`` 0."""

OPEN = 0.1
"""Gap between the inner lips, in units of the distance of the eyes, that is an ``openness`` of 1: a syllable of GRID's
speakers."""

HEARS = {
    "visemes": len(VISEMES),
    "visemes_lips": len(VISEMES) + len(LIPS),
    "visemes_loudness": len(VISEMES) + len(LOUDNESS),
    "loudness": len(VISEMES) + len(LOUDNESS),
}
"""What a denoiser hears of speech, and how many numbers a frame it is given for that: visemes, then LIPS or LOUDNESS. A
net of ``loudness`` is given both and looks at the loudness alone."""

VISEME_PAST, VISEME_FUTURE = 4, 2
"""Frames of visemes before and after frame t that the denoiser sees. The frames after it are 80 ms of lookahead."""
VISEME_WINDOW = VISEME_PAST + 1 + VISEME_FUTURE

MOTION = ("left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y", "nose_x", "nose_y", "eyes_open")
"""Head motion: three landmarks in units of the picture's side (0 left/top, 1 right/bottom; ``left`` is
the eye on the left of the picture) and how far the eyes are open (0 shut, 1 open)."""
EYES_OPEN = MOTION.index("eyes_open")


def windows_of(visemes: np.ndarray) -> np.ndarray:
    """[T, V] -> [T, W, V]: the visemes around every frame, zeros beyond both ends."""
    padded = np.pad(visemes, ((VISEME_PAST, VISEME_FUTURE), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, VISEME_WINDOW, 0).swapaxes(1, 2)


def to_planes(pictures: np.ndarray) -> np.ndarray:
    """uint8 [..., H, W, 3] -> float32 [..., 3, H, W] in [-1, 1]."""
    planes = np.ascontiguousarray(pictures).astype(np.float32)
    planes /= np.float32(127.5)
    planes -= np.float32(1)
    return np.moveaxis(planes, -1, -3)


def to_levels(planes: np.ndarray) -> np.ndarray:
    """float32 [..., 3, H, W] in [-1, 1] -> uint8 [..., H, W, 3]."""
    levels = np.clip(planes, -1, 1)
    levels += np.float32(1)
    levels *= np.float32(127.5)
    return np.ascontiguousarray(np.moveaxis(np.rint(levels, out=levels).astype(np.uint8), -3, -1))
