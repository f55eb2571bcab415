"""LRS3: cropped clips at 25 frames a second with transcripts, ``{pretrain,trainval,test}/<talk_id>/<nnnnn>.mp4``."""

from pathlib import Path

from tsd.prepare.recording import Recording
from tsd.prepare.transcript import with_transcript

SPLITS = ("pretrain", "trainval", "test")
LAYOUT = "<root>/{pretrain,trainval,test}/<talk_id>/<nnnnn>.mp4 (the split folder may be missing)"


def find(root: str | Path) -> list[Recording]:
    """The clips of a corpus in LRS3's layout, used where they lie. ValueError names the layout where there are none."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; put the corpus there or give another root=")
    videos = sorted(v for v in root.rglob("*.mp4") if _in_place(v.relative_to(root).parts))
    if not videos:
        raise ValueError(f"{root}: holds no clips; they are expected as {LAYOUT}")
    return [
        with_transcript(Recording(video, video.relative_to(root).as_posix(), video.parent.name, framing="kept"))
        for video in videos
    ]


def _in_place(parts: tuple[str, ...]) -> bool:
    if any(part.startswith(".") for part in parts):
        return False
    return len(parts) == 2 or (len(parts) == 3 and parts[0] in SPLITS)
