"""VoxCeleb2's tree, ``[dev|test]/mp4/<person>/<video>/<nnnnn>.mp4``, 224 x 224 around the face at 25 fps."""

from pathlib import Path

from tsd.prepare.recording import Recording, identity_name, videos_below
from tsd.prepare.transcript import with_transcript

LAYOUT = "<videos>/[…/]<person>/<video>/<nnnnn>.mp4"


def find(videos: str | Path) -> list[Recording]:
    """Every mp4; the person is the folder two above it. ValueError for a file that lies higher."""
    found = []
    for video in videos_below(videos, (".mp4", ".m4v")):
        name = video.relative_to(videos)
        if len(name.parts) < 3:
            raise ValueError(f"{video}: lies too high, videos are expected as {LAYOUT}; or use source=folder")
        person = identity_name(name.parts[-3])
        found.append(with_transcript(Recording(video, name.as_posix(), person, framing="middle")))
    return found
