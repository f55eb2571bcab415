"""HDTF: talks of 363 people, processed to 512 x 512 around the face, ``<RD|WDA|WRA>_<name>_<n>.mp4`` in any folder."""

from pathlib import Path

from tsd.prepare.recording import Recording, identity_name, videos_below
from tsd.prepare.transcript import with_transcript


def find(videos: str | Path) -> list[Recording]:
    """Every mp4. The person is the file's name without its last number, so that all parts of one talk, and all
    talks of ``WDA_BarackObama``, are one identity."""
    found = []
    for video in videos_below(videos, (".mp4",)):
        person = video.stem.rstrip("0123456789").rstrip("_-") or video.stem
        name = video.relative_to(videos).as_posix()
        found.append(with_transcript(Recording(video, name, identity_name(person), framing="middle")))
    return found
