"""Videos whose headers say something else than what is shown."""

from pathlib import Path

import av
from mini_corpus import write_disc


def trimmed(path: Path, frames: int, hidden: int) -> Path:
    """A video whose first ``hidden`` of ``frames`` pictures an edit list hides: a trim without encoding again."""
    write_disc(path.with_name("whole.mp4"), frames)
    with av.open(str(path.with_name("whole.mp4"))) as whole, av.open(str(path), "w") as part:
        source = whole.streams.video[0]
        target = part.add_stream_from_template(source)
        for packet in whole.demux(source):
            if packet.size:
                packet.pts, packet.dts = (t - hidden * packet.duration for t in (packet.pts, packet.dts))
                packet.stream = target
                part.mux(packet)
    return path


def remuxed(source: Path, path: Path, options: dict | None = None) -> Path:
    """The same packets in another container."""
    with av.open(str(source)) as whole, av.open(str(path), "w", options=options or {}) as part:
        target = part.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.size:
                packet.stream = target
                part.mux(packet)
    return path


def growing(path: Path, frames: int) -> Path:
    """The first two thirds of a video in fragments, as while it is recorded; ``whole.mp4`` beside it has them all."""
    write_disc(path.with_name("whole.mp4"), frames)
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"}
    data = remuxed(path.with_name("whole.mp4"), path, fragments).read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return path
