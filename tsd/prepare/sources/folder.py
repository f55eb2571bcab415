"""Any folder of videos, with or without a text of the same name beside each."""

from pathlib import Path

from tsd.prepare.recording import Recording, identity_name, videos_below
from tsd.prepare.transcript import with_transcript

WHO = ("folder", "file")


def find(videos: str | Path, identity: str = "folder") -> list[Recording]:
    """Every file named like a video.

    identity: ``folder``: all videos of a folder show one person (those at the top are a person each); ``file``: every
    video shows another one. ``.txt`` beside a video: LRS3's form, or the spoken text alone; ``.npy``: its visemes.
    """
    if identity not in WHO:
        raise ValueError(f"source.identity must be {' or '.join(WHO)}, got {identity!r}")
    found = []
    for video in videos_below(videos):
        name = video.relative_to(videos)
        alone = identity == "file" or len(name.parts) == 1
        person = identity_name("-".join(name.with_suffix("").parts if alone else name.parts[:-1]))
        found.append(with_transcript(Recording(video, name.as_posix(), person), plain=True))
    return found
