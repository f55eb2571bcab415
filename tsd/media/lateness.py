"""When the sound of a file begins: decoders give samples that were never recorded, and not every container says so."""

from pathlib import Path

import av

from tsd.media.container import open_media

PRIMING = {"aac": 1024, "mp2": 481, "mp2float": 481, "mp3": 1105, "mp3float": 1105}
"""Samples that decoders of these codecs give before the first of the recording."""

_MPEG = ("mp2", "mp2float", "mp3", "mp3float")
UNTOLD = {
    "aac": ("aac",),
    "asf": ("aac", *_MPEG),
    "avi": ("aac", *_MPEG),
    "flv": ("aac", *_MPEG),
    "mp3": ("mp2", "mp2float"),
    "mpeg": _MPEG,
    "mpegts": ("aac", *_MPEG),
    "nut": ("aac", *_MPEG),
    "wav": _MPEG,
}
"""Containers that do not say how many, with the codecs of which they do not. Time stamps of pictures in the same file
make up for it, but in an avi. A LAME header of mp3 is heeded by the decoder."""

LAYER, LAYER_2 = 0b110, 0b100
"""Bits of the second byte of a frame of MPEG audio that say its layer, and what they are in layer 2, mp2."""


def lateness(path: str | Path, track: int) -> float:
    """Seconds from sample 0, which is the start of the first picture, or of the recording, to the first decoded sample;
    below 0 where samples come before that."""
    with open_media(path) as container:
        stream, videos, kind = container.streams.audio[track], container.streams.video, container.format.name
        try:
            begin, codec = _begin(container, stream)
        except av.error.FFmpegError as error:
            raise ValueError(f"{path}: the sound is broken and cannot be decoded; replace the file") from error
        late = min(begin, 0.0)  # without pictures, what is stamped below 0 is not meant to be heard
        if videos:
            late = begin - float((videos[0].start_time or 0) * videos[0].time_base)
        if codec in UNTOLD.get(kind, ()) and (not videos or kind == "avi"):
            late -= PRIMING[codec] / stream.codec_context.sample_rate
    return late


def _begin(container, stream) -> tuple[float, str]:
    """Time stamp of the first decoded sample, and the codec by the first packet: MPEG-TS has one number for all layers
    of MPEG audio, which is read as mp3."""
    codec = stream.codec_context.name
    for packet in container.demux(stream):
        head = bytes(packet)[:2]
        if codec in ("mp3", "mp3float") and len(head) == 2 and head[0] == 0xFF and head[1] & LAYER == LAYER_2:
            codec = "mp2"
        try:
            for frame in packet.decode():
                return frame.time or 0.0, codec
        except av.error.InvalidDataError:
            continue
    return 0.0, codec
