"""Which stretches of a video show a head that can be used, and the pictures cut out of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tsd.clip import FPS
from tsd.media.crops import crop, in_squares, squares
from tsd.media.faces import detect_faces
from tsd.media.heads import MAX_TURNED, Head, follow, rivals
from tsd.media.shots import change, find_cuts, thumbnail
from tsd.media.timeline import Timeline, resampled_frames
from tsd.media.video import resize_square
from tsd.prepare.recording import Recording
from tsd.prepare.settings import Settings

LOOKED_AT = 160
"""Pixels at which faces are looked for in clips that show one face."""

MIN_SEEN = 0.5
"""Share of the looked-at frames of such a clip that must show a face for its head motion to be kept."""

MAX_RIVAL = 0.2
"""Share of a head's time in which a second one of comparable size may be seen."""


class Unusable(ValueError):
    """Why a recording, or a part of it, is not used."""


@dataclass(frozen=True)
class Piece:
    """Frames ``first`` to ``end`` of a recording at 25 fps, and the squares that are cut out of them."""

    first: int
    end: int
    squares: np.ndarray
    """[T, 3], see ``crops.squares``."""
    points: np.ndarray | None
    """[T, 5, 2] and boxes [T, 4] in units of the squares; None where no face was seen often enough."""
    boxes: np.ndarray | None

    def parts(self, longest: int) -> Iterator["Piece"]:
        """Itself in as few equal parts as are no longer than ``longest`` frames."""
        edges = np.linspace(0, self.end - self.first, -(-(self.end - self.first) // longest) + 1).round().astype(int)
        for a, b in zip(edges[:-1], edges[1:], strict=True):
            known = (None, None) if self.points is None else (self.points[a:b], self.boxes[a:b])
            yield Piece(self.first + int(a), self.first + int(b), self.squares[a:b], *known)


def find_pieces(recording: Recording, timeline: Timeline, settings: Settings, result: dict) -> Iterator[Piece]:
    """The usable stretches of a video; why others are not goes into ``result``."""
    looked, changes, before = [], [], None
    whole = recording.framing == "middle"
    side = min(timeline.height, timeline.width)
    for number, picture in enumerate(resampled_frames(recording.video, timeline)):
        if whole:
            picture = resize_square(picture[None], LOOKED_AT)[0]
        if number % settings.look_every == 0:
            looked.append((number, detect_faces(picture)))
        small = thumbnail(picture)
        changes += [] if before is None else [change(before, small)]
        before = small
    longest = round(settings.max_seconds * FPS)
    if whole:
        yield from whole_video(timeline, looked, side).parts(longest)
        return
    heads = follow(looked, find_cuts(np.array(changes)), timeline.num_frames, settings.look_every)
    if not heads:
        raise Unusable("no face is seen")
    for head in sorted(heads, key=lambda h: (h.first, h.faces[0].box[0])):
        if reason := fault(head, heads, settings):
            seconds = [round(head.first / FPS, 2), round(head.end / FPS, 2)]
            result["rejected"].append({"video": recording.name, "reason": reason, "seconds": seconds})
        else:
            points, boxes = head.landmarks()
            places = squares(points)
            yield from Piece(head.first, head.end, places, *in_squares(points, boxes, places)).parts(longest)


def whole_video(timeline: Timeline, looked: list, side: int) -> Piece:
    """The middle square of a video that shows one face throughout."""
    x, y = (timeline.width - side) / 2, (timeline.height - side) / 2
    places = np.tile([x, y, float(side)], (timeline.num_frames, 1))
    seen = [(number, faces[0]) for number, faces in looked if faces]
    if len(seen) < MIN_SEEN * len(looked):
        return Piece(0, timeline.num_frames, places, None, None)
    points, boxes = Head([n for n, _ in seen], [f for _, f in seen]).landmarks(timeline.num_frames)
    return Piece(0, timeline.num_frames, places, points / LOOKED_AT, boxes / LOOKED_AT)


def fault(head: Head, heads: list[Head], settings: Settings) -> str:
    """Why a head is not used; empty where it is."""
    if (length := head.end - head.first) < settings.min_frames:
        return f"a face is seen for {length} frames only, fewer than min_frames={settings.min_frames}"
    if head.size < settings.min_face:
        return f"the face is {head.size:.0f} pixels across, smaller than min_face={settings.min_face}"
    if head.turned > MAX_TURNED:
        return f"the face is turned away in {head.turned:.0%} of the time"
    if rivals(head, heads) > MAX_RIVAL:
        return "two faces are seen at once, and whose voice it is cannot be told"
    return ""


def cut_pieces(recording: Recording, timeline: Timeline, pieces: list[Piece], size: int) -> Iterator[tuple]:
    """(piece, frames uint8 [T, size, size, 3]) in order of their ends; the video is decoded once."""
    waiting = sorted(pieces, key=lambda p: (p.first, p.end))
    cut: dict[int, list[np.ndarray]] = {}
    for number, picture in enumerate(resampled_frames(recording.video, timeline)):
        for i, piece in enumerate(waiting):
            if piece.first <= number < piece.end:
                cut.setdefault(i, []).append(crop(picture, piece.squares[number - piece.first], size))
                if number == piece.end - 1:
                    yield piece, np.stack(cut.pop(i))
