"""One recording to its clips: the unit of work, done whole or done again. The same input gives the same bytes."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from tsd import checkpoint
from tsd.clip import FPS
from tsd.data.flows import SIDE as FLOW_SIDE
from tsd.data.flows import compute_flows
from tsd.media.audio import SAMPLES_PER_FRAME, load_audio, speech_share
from tsd.media.timeline import Timeline, read_timeline, resampled_frames
from tsd.media.video import resize_square, video_info, write_video
from tsd.prepare.crops import crop, in_squares, squares
from tsd.prepare.heads import MAX_TURNED, Head, face_arrays, follow, rivals
from tsd.prepare.labels import Labels, label
from tsd.prepare.manifests import write_array, write_arrays, write_atomic
from tsd.prepare.recording import Recording
from tsd.prepare.shots import change, find_cuts, thumbnail

CLIPS = "trainval"
"""Folder of the clips that are made, as LRS3 names it: a prepared corpus can be read with source=lrs3."""

KEYFRAMES = 12
"""Frames between keyframes of the clips that are made: a window out of the middle is then quick to decode."""

LOOKED_AT = 160
"""Pixels at which faces are looked for in clips that show one face."""

MIN_SEEN = 0.5
"""Share of the looked-at frames of such a clip that must show a face for its head motion to be kept."""

MIN_SPEECH = 0.1
"""Share of a clip's time in which something must be heard above its quietest moments."""

MAX_RIVAL = 0.2
"""Share of a head's time in which a second one of comparable size may be seen."""


@dataclass(frozen=True)
class Settings:
    """What the clips of a corpus depend on, beside the recordings."""

    root: Path
    size: int = 256
    """Side in pixels of the clips that are made."""
    min_frames: int = 16
    max_seconds: float = 10.0
    """Longer stretches are cut into equal parts."""
    min_face: int = 48
    """Pixels across a face in the source."""
    need_speech: bool = True
    """Reject recordings without sound or speech (clips used where they lie are kept, and counted)."""
    language: str = "en"
    faces: bool = True
    """Find the face in clips that are used as they are: head motion and boxes."""
    look_every: int = 3
    """Look for faces on every n-th frame."""
    flow: bool = False
    """Store the optical flow."""
    recogniser: str = ""
    """Weights of a trained recogniser, for clips whose words are unknown."""

    def __post_init__(self):
        least = {"size": 32, "min_frames": 1, "max_seconds": 0.4, "min_face": 1, "look_every": 1}
        if wrong := [f"{key} must be {low} or more, got {getattr(self, key)}" for key, low in least.items()
                     if getattr(self, key) < low]:  # fmt: skip
            raise ValueError("; ".join(wrong))
        if self.size % 2:
            raise ValueError(f"size must be even, got {self.size}")

    def fingerprint(self) -> str:
        """A hash of everything but the place: work done under other settings is done again."""
        values = asdict(self) | {"root": None}
        if self.recogniser:
            values["recogniser"] = checkpoint.file_hash(self.recogniser)
        return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]


class Unusable(ValueError):
    """Why a recording, or a part of it, is not used."""


def prepare_recording(recording: Recording, settings: Settings) -> dict:
    """Write the clips of a recording and what is known about them.

    Returns {"clips": manifest lines, "rejected": [{"video", "reason", perhaps "seconds"}], "notes": [...]}; paths
    are relative to the root. Nothing raised but KeyboardInterrupt: a bug met by one file must not stop a night's work.
    """
    cv2.setNumThreads(1)  # one process per core already
    result = {"clips": [], "rejected": [], "notes": [recording.note] if recording.note else []}
    try:
        if recording.framing == "kept":
            _use_kept(recording, settings, result)
        else:
            _make_clips(recording, settings, result)
    except Unusable as error:
        result["rejected"].append({"video": recording.name, "reason": str(error)})
    except (ValueError, OSError, MemoryError) as error:
        reason = str(error).removeprefix(f"{recording.video}: ").partition(";")[0]
        result["rejected"].append({"video": recording.name, "reason": reason or type(error).__name__})
    except Exception as error:  # noqa: BLE001
        reason = f"could not be prepared ({type(error).__name__}: {error}); please report this file"
        result["rejected"].append({"video": recording.name, "reason": reason})
    return result


def _use_kept(recording: Recording, settings: Settings, result: dict) -> None:
    """A clip of the corpus as it is; files are written beside it."""
    video, root = recording.video, settings.root
    if not video.resolve().is_relative_to(root.resolve()):
        raise Unusable("is a link to a file outside the root")
    timeline = read_timeline(video)
    if abs(timeline.fps - FPS) > 0.01:
        raise Unusable(f"has {timeline.fps:.2f} frames a second instead of {FPS}")
    num_frames = len(timeline.times)
    if num_frames < settings.min_frames:
        raise Unusable(f"only {num_frames} frames, fewer than min_frames={settings.min_frames}")
    wave = np.zeros(0, np.float32)
    if video_info(video).has_audio:
        wave = load_audio(video, silent_ok=True)
    else:
        result["notes"].append("without sound")
    stem, files, faces, thumbs = video.with_suffix(""), {}, [], []
    truth = stem.with_suffix(".truth.npz")
    drawn = truth in recording.beside
    labels = Labels("truth", None, recording.words)
    if not drawn:
        labels = label(recording, wave, num_frames, settings.language, settings.recogniser)
    if settings.flow or (settings.faces and not drawn):
        for number, picture in enumerate(resampled_frames(video, timeline)):
            if settings.faces and not drawn and (number % settings.look_every == 0 or number == num_frames - 1):
                faces.append((number, _faces(resize_square(picture[None], LOOKED_AT)[0])))
            if settings.flow:
                thumbs.append(resize_square(picture[None], FLOW_SIDE)[0])
    if drawn:
        files = {"visemes": truth, "motion": truth, "truth": truth}
    elif labels.source == "npy":
        files["visemes"] = stem.with_suffix(".npy")
    elif labels.visemes is not None:
        files["visemes"] = stem.with_suffix(".visemes.npy")
        write_array(files["visemes"], labels.visemes.astype(np.float16))
    if faces:
        seen = [(number, found[0]) for number, found in faces if found]
        if len(seen) >= MIN_SEEN * len(faces):
            points, boxes = Head([n for n, _ in seen], [f for _, f in seen]).landmarks(num_frames)
            files["motion"] = files["boxes"] = stem.with_suffix(".face.npz")
            write_arrays(files["boxes"], face_arrays(points / LOOKED_AT, boxes / LOOKED_AT))
        else:
            result["notes"].append("without a visible face")
    if settings.flow:
        files["flow"] = stem.with_suffix(".flow.npz")
        write_atomic(files["flow"], compute_flows(np.stack(thumbs)).to_bytes())
    result["clips"].append(_line(recording, root, video, num_frames, recording.text, labels.source, files))


def _line(recording: Recording, root: Path, video: Path, num_frames: int, text: str, source: str, files: dict) -> dict:
    """A manifest line."""
    paths = {key: files.get(key) for key in ("visemes", "motion", "boxes", "flow", "truth")}
    return {
        "video": video.relative_to(root).as_posix(),
        "identity": recording.identity,
        "frames": num_frames,
        "text": text,
        "viseme_source": source,
        **{key: path and path.relative_to(root).as_posix() for key, path in paths.items()},
    }


def _faces(picture: np.ndarray) -> list:
    from tsd.media.faces import detect_faces  # MTCNN's weights are read where faces are looked for

    return detect_faces(picture)


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


def _make_clips(recording: Recording, settings: Settings, result: dict) -> None:
    """Clips of 25 fps and 16 kHz out of any video."""
    if recording.video.is_symlink():
        raise Unusable("is a link; put the file itself there")
    if not recording.video.stat().st_size:
        raise Unusable("the file is empty")
    timeline, wave = read_timeline(recording.video), np.zeros(0, np.float32)
    if timeline.num_frames < settings.min_frames:
        raise Unusable(f"only {timeline.num_frames} frames, fewer than min_frames={settings.min_frames}")
    if video_info(recording.video).has_audio:
        wave = load_audio(recording.video, silent_ok=True)
    if settings.need_speech and (share := speech_share(wave)) < MIN_SPEECH:
        raise Unusable("has no sound" if not len(wave) else f"no speech is heard in {1 - share:.0%} of the time")
    pieces = list(_pieces(recording, timeline, settings, result))
    if not pieces:
        return
    labels = label(recording, wave, timeline.num_frames, settings.language, settings.recogniser)
    for number, (piece, frames) in enumerate(_cut(recording, timeline, pieces, settings.size)):
        _write_clip(recording, settings, number, piece, frames, wave, labels, len(pieces) == 1, result)


def _pieces(recording: Recording, timeline: Timeline, settings: Settings, result: dict) -> Iterator[Piece]:
    """The usable stretches of a video; why others are not goes into ``result``."""
    looked, changes, before = [], [], None
    whole = recording.framing == "middle"
    side = min(timeline.height, timeline.width)
    for number, picture in enumerate(resampled_frames(recording.video, timeline)):
        if whole:
            picture = resize_square(picture[None], LOOKED_AT)[0]
        if number % settings.look_every == 0:
            looked.append((number, _faces(picture)))
        small = thumbnail(picture)
        changes += [] if before is None else [change(before, small)]
        before = small
    longest = round(settings.max_seconds * FPS)
    if whole:
        yield from _whole(timeline, looked, side).parts(longest)
        return
    heads = follow(looked, find_cuts(np.array(changes)), timeline.num_frames, settings.look_every)
    if not heads:
        raise Unusable("no face is seen")
    for head in sorted(heads, key=lambda h: (h.first, h.faces[0].box[0])):
        if reason := _fault(head, heads, settings):
            seconds = [round(head.first / FPS, 2), round(head.end / FPS, 2)]
            result["rejected"].append({"video": recording.name, "reason": reason, "seconds": seconds})
        else:
            points, boxes = head.landmarks()
            places = squares(points)
            yield from Piece(head.first, head.end, places, *in_squares(points, boxes, places)).parts(longest)


def _whole(timeline: Timeline, looked: list, side: int) -> Piece:
    """The middle square of a video that shows one face throughout."""
    x, y = (timeline.width - side) / 2, (timeline.height - side) / 2
    places = np.tile([x, y, float(side)], (timeline.num_frames, 1))
    seen = [(number, faces[0]) for number, faces in looked if faces]
    if len(seen) < MIN_SEEN * len(looked):
        return Piece(0, timeline.num_frames, places, None, None)
    points, boxes = Head([n for n, _ in seen], [f for _, f in seen]).landmarks(timeline.num_frames)
    return Piece(0, timeline.num_frames, places, points / LOOKED_AT, boxes / LOOKED_AT)


def _fault(head: Head, heads: list[Head], settings: Settings) -> str:
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


def _cut(recording: Recording, timeline: Timeline, pieces: list[Piece], size: int) -> Iterator[tuple]:
    """(piece, frames uint8 [T, size, size, 3]) in order of their ends; the video is decoded once."""
    waiting = sorted(pieces, key=lambda p: (p.first, p.end))
    cut: dict[int, list[np.ndarray]] = {}
    for number, picture in enumerate(resampled_frames(recording.video, timeline)):
        for i, piece in enumerate(waiting):
            if piece.first <= number < piece.end:
                cut.setdefault(i, []).append(crop(picture, piece.squares[number - piece.first], size))
                if number == piece.end - 1:
                    yield piece, np.stack(cut.pop(i))


def _write_clip(
    recording: Recording,
    settings: Settings,
    number: int,
    piece: Piece,
    frames: np.ndarray,
    wave: np.ndarray,
    labels: Labels,
    alone: bool,
    result: dict,
) -> None:
    """One clip with everything about it; the video comes last."""
    span = slice(piece.first, piece.end)
    seconds = [round(piece.first / FPS, 2), round(piece.end / FPS, 2)]
    sound = wave[piece.first * SAMPLES_PER_FRAME : piece.end * SAMPLES_PER_FRAME]
    if settings.need_speech and speech_share(sound) < MIN_SPEECH:
        result["rejected"].append({"video": recording.name, "reason": "no speech is heard", "seconds": seconds})
        return
    if len(frames) < settings.min_frames:
        reason = f"only {len(frames)} frames, fewer than min_frames={settings.min_frames}"
        result["rejected"].append({"video": recording.name, "reason": reason, "seconds": seconds})
        return
    stem, files = settings.root / CLIPS / recording.identity / f"{recording.stem}-{number:03d}", {}
    said = [word for word, start, end in labels.words if seconds[0] <= (start + end) / 2 < seconds[1]]
    if labels.visemes is not None:
        files["visemes"] = stem.with_name(f"{stem.name}.visemes.npy")
        write_array(files["visemes"], labels.visemes[span].astype(np.float16))
    if piece.points is not None:
        files["motion"] = files["boxes"] = stem.with_name(f"{stem.name}.face.npz")
        write_arrays(files["boxes"], face_arrays(piece.points, piece.boxes))
    else:
        result["notes"].append("without a visible face")
    if settings.flow:
        files["flow"] = stem.with_name(f"{stem.name}.flow.npz")
        write_atomic(files["flow"], compute_flows(frames).to_bytes())
    video = stem.with_name(f"{stem.name}.mp4")
    write_video(video, frames, sound if len(wave) else None, keyframe_every=KEYFRAMES)
    text = " ".join(said) if said else recording.text if alone else ""
    result["clips"].append(_line(recording, settings.root, video, len(frames), text, labels.source, files))
