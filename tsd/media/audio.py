"""Sound: any file to 16 kHz mono, and the log-mel columns of a stream."""

import logging
import wave as wavfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import av
import numpy as np

from tsd.media.atomic import replacing
from tsd.media.container import LONGEST, open_media
from tsd.media.lateness import lateness
from tsd.media.signals import FPS, MELS, MELS_PER_FRAME, SAMPLE_RATE

log = logging.getLogger(__name__)

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
HOP = SAMPLES_PER_FRAME // MELS_PER_FRAME
WINDOW = 400
"""25 ms: with the hop of 10 ms the usual choice for speech."""

SILENCE = 1e-4
"""Peak amplitude (-80 dB) below which a file is taken to be silent."""

CANCELS = 0.1
"""Power of the mean of two channels, over the louder one's, below which they cancel each other; 0.25 where one of them
is silent."""

LOUDEST = 8.0
"""Peak of float samples from a program above which their scale is taken to be another than [-1, 1]: filters and mixers
overshoot, but not 18 dB (our choice)."""

QUIETEST = 10 ** (-50 / 20)
"""Peak amplitude (-50 dB) down to which recognisers for any level are trained."""

MOST_BROKEN = 0.1
"""Share of a track's packets that may not be decodable, one in any case: files are joined, tags lie between frames."""

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
    for track in sound_tracks(path):
        wave = _decode(path, track)
        if len(wave) and not np.abs(wave).max() < SILENCE:  # a camera's unused track is silent
            break
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


def sound_tracks(path: Path) -> list[int]:
    """Numbers of the sound tracks: those marked as default first, then in the order of the file."""
    with open_media(path) as container:
        tracks = container.streams.audio
        if not tracks:
            raise ValueError(f"{path}: holds no sound; give a file with an audio track")
        return sorted(range(len(tracks)), key=lambda i: not tracks[i].disposition & av.stream.Disposition.default)


def _decode(path: Path, track: int) -> np.ndarray:
    """float32 [N] at 16 kHz of one track, from the moment that counts as its start (``lateness``)."""
    with open_media(path) as container:
        stream = container.streams.audio[track]
        layout = "stereo" if sound_decoder(path, stream).layout.nb_channels == 2 else "mono"
        pieces = [np.zeros((1 + (layout == "stereo"), 0), np.float32), *sound_blocks(path, container, stream, layout)]
        wave = mix(np.concatenate(pieces, 1))
        if stream.duration:  # codecs fill their last block up with zeros
            num_samples = round(float(stream.duration * stream.time_base) * SAMPLE_RATE)
            if 0 < len(wave) - num_samples <= 2048:
                wave = wave[:num_samples]
    lead = round(lateness(path, track) * SAMPLE_RATE)
    _bounded(path, len(wave) + abs(lead))
    return np.clip(np.pad(wave, (lead, 0)) if lead > 0 else wave[-lead:], -1, 1)


def sound_decoder(path: Path, stream):
    """The decoder of a track; ValueError where there is none or its rate cannot be."""
    if stream.codec_context is None:
        raise ValueError(f"{path}: the sound's codec is not known; convert it to wav or m4a")
    if not LOWEST_RATE <= (rate := stream.codec_context.sample_rate or 0) <= HIGHEST_RATE:
        raise ValueError(f"{path}: sound of {rate} samples a second cannot be; record or copy it again")
    return stream.codec_context


def sound_blocks(path: Path, container, stream, layout: str, rate: int = SAMPLE_RATE) -> Iterator[np.ndarray]:
    """float32 [channels, n] one after the other, by their time stamps: where a recorder dropped some there is silence,
    so that nothing drifts."""
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    begin, num_samples = None, 0
    try:
        for frame in _decodable(path, container, stream):
            if begin is None:
                begin = frame.time or 0.0
            gap = round((frame.time - begin) * rate) - num_samples if frame.time is not None else 0
            made = [out.to_ndarray() for out in resampler.resample(frame)]
            if gap > GAP * rate and made:
                _bounded(path, (num_samples + gap) * SAMPLE_RATE // rate)
                made.insert(0, np.zeros((len(made[0]), gap), np.float32))
            num_samples += sum(piece.shape[1] for piece in made)
            _bounded(path, num_samples * SAMPLE_RATE // rate)
            yield from made
        if begin is not None:
            yield from (out.to_ndarray() for out in resampler.resample(None))
    except av.error.FFmpegError as error:
        raise ValueError(f"{path}: the sound is broken and cannot be decoded; replace the file") from error


def _decodable(path: Path, container, stream) -> Iterator[av.AudioFrame]:
    """The frames of a track, without packets that cannot be decoded; ValueError for more of these than MOST_BROKEN."""
    sent, made, broken, time = 0, 0, [], 0.0
    for packet in container.demux(stream):
        sent += 1
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            broken.append(time)
            continue
        for frame in frames:
            made, time = made + 1, frame.time or time
            yield frame
    if broken and (not made or len(broken) > max(1, MOST_BROKEN * sent)):
        raise ValueError(
            f"{path}: the sound is broken: {len(broken)} of {sent} parts cannot be decoded, the first at "
            f"{broken[0]:.2f} s; replace the file"
        )


def mix(channels: np.ndarray) -> np.ndarray:
    """float32 [C, N] -> [N]: the mean, or the louder channel alone where the mean cancels (one is turned over)."""
    mean, loudness = channels.mean(0), np.square(channels).mean(1) if channels.size else np.zeros(len(channels))
    if len(channels) > 1 and channels.size and np.square(mean).mean() < CANCELS * loudness.max():
        return channels[loudness.argmax()]
    return mean


def _bounded(path: Path, num_samples: int) -> None:
    if num_samples > LONGEST * SAMPLE_RATE:
        raise ValueError(f"{path}: the sound is longer than {LONGEST:g} s; cut it into parts")


@cache
def mel_filters() -> np.ndarray:
    """[WINDOW // 2 + 1, MELS]: ``librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)``, transposed and stored beside
    this file, so that talking need not import librosa."""
    return np.load(Path(__file__).with_name("mel_filters.npy"), allow_pickle=False)


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
    # Not as a matrix product: the threads of numpy's and OpenCV's go on spinning between calls and take the cores from
    # the nets. A stream on two cores took twice as long.
    return scaled(np.einsum("lf,fm->lm", power, mel_filters().astype(power.dtype)))


def as_samples(piece: np.ndarray) -> np.ndarray:
    """A piece of sound from a program: float32 or float64 [N] in [-1, 1], or int16 [N] -> float32 [N] in [-1, 1].

    Values that are no numbers become silence. Raises ValueError for another type or shape, or another scale.
    """
    piece = np.asarray(piece)
    if piece.ndim != 1:
        raise ValueError(f"sound must be one channel of shape [N], got {list(piece.shape)}; mix the channels first")
    if piece.dtype == np.int16:
        return piece.astype(np.float32) / 32768
    if piece.dtype not in (np.float32, np.float64):
        raise ValueError(f"sound must be float32 in [-1, 1] or int16, got {piece.dtype}; convert it")
    wave = piece.astype(np.float32, copy=False)
    if not np.isfinite(wave).all():
        wave = np.nan_to_num(wave, nan=0.0, posinf=0.0, neginf=0.0)
    if len(wave) and (peak := np.abs(wave).max()) > LOUDEST:
        raise ValueError(f"sound must lie in [-1, 1], got a peak of {peak:.4g}; divide 16-bit samples by 32768")
    return np.clip(wave, -1, 1)


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
