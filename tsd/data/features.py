"""Log-mel features by librosa, for preparation and training."""

import librosa
import numpy as np

from tsd.clip import MELS, SAMPLE_RATE
from tsd.media.audio import HOP, WINDOW, padded, scaled


def log_mel(wave: np.ndarray) -> np.ndarray:
    """float32 [N] at 16 kHz -> [4 * ceil(N / 640), 80]; ``tsd.media.audio.log_mel`` says what they are."""
    if not len(wave):
        return np.zeros((0, MELS), np.float32)
    bands = librosa.feature.melspectrogram(
        y=padded(wave), sr=SAMPLE_RATE, n_fft=WINDOW, hop_length=HOP, n_mels=MELS, center=False
    )
    return scaled(bands.T)
