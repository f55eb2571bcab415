"""Sound: any file to 16 kHz mono, and the log-mel columns of a stream."""

import logging
import wave as wavfile
from functools import cache
from pathlib import Path

import av
import numpy as np
import torch

from tsd.clip import FPS, MELS, MELS_PER_FRAME, SAMPLE_RATE
from tsd.media.atomic import replacing
from tsd.media.container import LONGEST, open_media

log = logging.getLogger(__name__)

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
HOP = SAMPLES_PER_FRAME // MELS_PER_FRAME
WINDOW = 400
"""25 ms: with the hop of 10 ms the usual choice for speech."""

SILENCE = 1e-4
"""Peak amplitude (-80 dB) below which a file is taken to be silent."""

QUIETEST = 10 ** (-50 / 20)
"""Peak amplitude (-50 dB) down to which recognisers for any level are trained."""

GAP = 0.04
"""Seconds that time stamps may run ahead of the samples before silence is put between: coarse clocks stay below."""

LOWEST_RATE, HIGHEST_RATE = 4_000, 384_000
"""Samples a second that a recording may have."""

FLOOR = 1e-12
"""Power in a mel band below which it counts as silence: below the rounding of 16 bits (about 3e-10), so that speech at
-50 dB is whole."""
LOG_MEAN, LOG_STD = -4.2, 1.8
"""About the mean and std of log10(mel) over read sentences; fixed, so that columns can be streamed."""


def load_audio(path: str | Path, silent_ok: bool = False) -> np.ndarray:
    """The sound of a wav, flac, ogg, mp3, m4a or mp4 as float32 [N], 16 kHz mono, in [-1, 1].

    In a video, sample 0 is the start of the first picture. Raises FileNotFoundError, or ValueError
    for a file that is empty, is not audio, holds no sound or (unless ``silent_ok``) is silent.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty; record or copy it again")
    with open_media(path) as container:
        if not container.streams.audio:
            raise ValueError(f"{path}: holds no sound; give a file with an audio track")
        try:
            wave = _decode(path, container)
        except av.error.FFmpegError as error:
            raise ValueError(f"{path}: the sound is broken and cannot be decoded; replace the file") from error
    if not np.isfinite(wave).all():
        raise ValueError(f"{path}: the sound holds values that are no numbers; replace the file")
    if not len(wave):
        raise ValueError(f"{path}: the sound is empty (0 samples); record or copy it again")
    if not silent_ok and np.abs(wave).max() < SILENCE:
        raise ValueError(f"{path}: the sound is silent (peak below {SILENCE:g}); give a recording of speech")
    if not silent_ok and (peak := np.abs(wave).max()) < QUIETEST:
        decibels = 20 * np.log10(peak)
        log.warning(
            "%s: is very quiet (peak %.0f dB, below -50 dB): mouths may stay shut; record louder", path, decibels
        )
    return wave


def _decode(path: Path, container) -> np.ndarray:
    """Samples by their time stamps: where a recorder dropped some there is silence, so that nothing drifts."""
    stream = container.streams.audio[0]
    context = stream.codec_context
    if context is None:
        raise ValueError(f"{path}: the sound's codec is not known; convert it to wav or m4a")
    if not LOWEST_RATE <= (context.sample_rate or 0) <= HIGHEST_RATE:
        raise ValueError(f"{path}: sound of {context.sample_rate} samples a second cannot be; record or copy it again")
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    pieces, begin, num_samples = [], None, 0
    for frame in container.decode(stream):
        if begin is None:
            begin = frame.time or 0.0
        gap = round((frame.time - begin) * SAMPLE_RATE) - num_samples if frame.time is not None else 0
        if gap > GAP * SAMPLE_RATE:
            _bounded(path, num_samples + gap)
            pieces.append(np.zeros(gap, np.float32))
            num_samples += gap
        for out in resampler.resample(frame):
            pieces.append(out.to_ndarray()[0])
            num_samples += len(pieces[-1])
        _bounded(path, num_samples)
    if begin is None:
        return np.zeros(0, np.float32)
    pieces += [out.to_ndarray()[0] for out in resampler.resample(None)]
    wave = np.concatenate(pieces).astype(np.float32, copy=False)
    if stream.duration:  # codecs fill their last block up with zeros
        num_samples = round(float(stream.duration * stream.time_base) * SAMPLE_RATE)
        if 0 < len(wave) - num_samples <= 2048:
            wave = wave[:num_samples]
    if container.streams.video:
        video = container.streams.video[0]
        lead = round((begin - float((video.start_time or 0) * video.time_base)) * SAMPLE_RATE)
        _bounded(path, len(wave) + abs(lead))
        wave = np.pad(wave, (lead, 0)) if lead > 0 else wave[-lead:]
    return np.clip(wave, -1, 1)


def _bounded(path: Path, num_samples: int) -> None:
    if num_samples > LONGEST * SAMPLE_RATE:
        raise ValueError(f"{path}: the sound is longer than {LONGEST:g} s; cut it into parts")


@cache
def mel_filters() -> torch.Tensor:
    """[WINDOW // 2 + 1, MELS]: ``librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)``, transposed and stored beside
    this file, so that talking need not import librosa."""
    return torch.from_numpy(np.load(Path(__file__).with_name("mel_filters.npy"), allow_pickle=False))


def padded(wave: np.ndarray) -> np.ndarray:
    """float32 [N] -> the samples that the windows of all log-mel columns see, with zeros beyond both ends."""
    num_columns = MELS_PER_FRAME * -(-len(wave) // SAMPLES_PER_FRAME)
    margin = (WINDOW - HOP) // 2
    sound = np.zeros(num_columns * HOP + 2 * margin, np.float32)
    sound[margin : margin + len(wave)] = wave
    return sound


def scaled(mel: np.ndarray) -> np.ndarray:
    """Power in mel bands -> its log10, not below FLOOR, of about zero mean and unit std."""
    return ((np.log10(np.maximum(mel, FLOOR)) - LOG_MEAN) / LOG_STD).astype(np.float32)


def log_mel(wave: np.ndarray) -> np.ndarray:
    """float32 [N] at 16 kHz -> [4 * ceil(N / 640), 80]: four columns per frame of 25 fps video.

    Column i sees the 25 ms around (i + 0.5) * 10 ms and nothing else (zeros beyond both ends), so columns computed
    piece by piece equal those of the whole. log10 of the power in librosa's mel bands of 0-8 kHz, clipped at FLOOR and
    scaled by fixed constants. Equal to ``tsd.data.features.log_mel`` within 1e-5; for streams, without librosa.
    """
    if not len(wave):
        return np.zeros((0, MELS), np.float32)
    pieces = np.lib.stride_tricks.sliding_window_view(padded(wave), WINDOW)[::HOP]
    hann = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(pieces * hann, axis=-1)) ** 2
    # By torch: the threads of numpy's matrix products go on spinning between calls and take the cores from the nets.
    # A stream on two cores took twice as long.
    return scaled((torch.from_numpy(power) @ mel_filters()).numpy())


def speech_share(wave: np.ndarray) -> float:
    """Share of the frames (40 ms) of float32 [N] that stand 10 dB above the quietest tenth and above -60 dB.

    Speech comes and goes; silence, hum and a steady tone do not. Music is taken for speech. 0 without sound.
    """
    num_frames = len(wave) // SAMPLES_PER_FRAME
    if not num_frames:
        return 0.0
    power = (wave[: num_frames * SAMPLES_PER_FRAME].reshape(num_frames, -1).astype(np.float64) ** 2).mean(1)
    floor = np.partition(power, num_frames // 10)[: num_frames // 10 + 1].mean()
    return float((power > max(10 * floor, 1e-6)).mean())


def write_wav(path: str | Path, wave: np.ndarray) -> None:
    """float32 [N] in [-1, 1] at 16 kHz -> 16-bit mono wav; the file appears when it is complete."""
    with replacing(path) as temporary, wavfile.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes())


def write_flac(path: str | Path, wave: np.ndarray) -> None:
    """float32 [N] in [-1, 1] at 16 kHz -> 16-bit mono flac, half as large as wav and the same samples."""
    samples = (np.clip(wave, -1, 1) * 32767).astype("<i2")[None]
    with replacing(path) as temporary, av.open(str(temporary), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
