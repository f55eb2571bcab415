"""One recording to its clips: the unit of work, done whole or done again. The same input gives the same bytes."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from tsd.clip import FPS
from tsd.data.flows import SIDE as FLOW_SIDE
from tsd.data.flows import compute_flows
from tsd.media.atomic import write_array, write_arrays, write_file
from tsd.media.audio import SAMPLES_PER_FRAME, load_audio, speech_share, write_flac
from tsd.media.faces import detect_faces
from tsd.media.heads import Head, face_arrays
from tsd.media.lids import eyes_open
from tsd.media.timeline import read_timeline, resampled_frames
from tsd.media.video import resize_square, video_info, write_video
from tsd.prepare.labels import Labels, label
from tsd.prepare.pieces import LOOKED_AT, MIN_SEEN, Piece, Unusable, cut_pieces, find_pieces
from tsd.prepare.recording import Recording
from tsd.prepare.settings import Settings

CLIPS = "trainval"
"""Folder of the clips that are made, as LRS3 names it: a prepared corpus can be read with source=lrs3."""

KEYFRAMES = 12
"""Frames between keyframes of the clips that are made: a window out of the middle is then quick to decode."""

MIN_SPEECH = 0.1
"""Share of a clip's time in which something must be heard above its quietest moments."""


def prepare_recording(recording: Recording, settings: Settings) -> dict:
    """Write the clips of a recording and what is known about them.

    Returns {"clips": manifest lines, "rejected": [{"video", "reason", perhaps "seconds"}], "notes": [...]}; paths
    are relative to the root. Nothing raised but KeyboardInterrupt: a bug met by one file must not stop a night's work.
    """
    cv2.setNumThreads(1)  # one process per core already
    result = {"clips": [], "rejected": [], "notes": [recording.note] if recording.note else []}
    try:
        if recording.fault:
            raise Unusable(recording.fault)
        if recording.framing == "sound":
            _make_utterance(recording, settings, result)
        elif recording.framing == "kept":
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
                faces.append((number, detect_faces(resize_square(picture[None], LOOKED_AT)[0])))
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
            again = (resize_square(picture[None], LOOKED_AT)[0] for picture in resampled_frames(video, timeline))
            lids = eyes_open(again, points)
            pictures = (resize_square(picture[None], LOOKED_AT)[0] for picture in resampled_frames(video, timeline))
            opened = mouths(pictures, settings)
            write_arrays(files["boxes"], face_arrays(points / LOOKED_AT, boxes / LOOKED_AT, lids, opened))
        else:
            result["notes"].append("without a visible face")
    if settings.flow:
        files["flow"] = stem.with_suffix(".flow.npz")
        write_file(files["flow"], compute_flows(np.stack(thumbs)).to_bytes())
    result["clips"].append(_line(recording, root, video, num_frames, recording.text, labels.source, files))


def _make_utterance(recording: Recording, settings: Settings, result: dict) -> None:
    """A file of 16 kHz mono out of any sound, and its visemes. What has none teaches nothing and is refused."""
    if not recording.video.stat().st_size:
        raise Unusable("the file is empty")
    wave = load_audio(recording.video, silent_ok=True)
    num_frames = -(-len(wave) // SAMPLES_PER_FRAME)
    if num_frames < settings.min_frames:
        raise Unusable(f"only {num_frames} frames of {1000 / FPS:g} ms, fewer than min_frames={settings.min_frames}")
    if settings.need_speech and (share := speech_share(wave)) < MIN_SPEECH:
        raise Unusable(f"no speech is heard in {1 - share:.0%} of the time")
    labels = label(recording, wave, num_frames, settings.language, settings.recogniser)
    if labels.visemes is None:
        nothing = "has no text: put it beside the sound, or name clips.recogniser, whose visemes are then taken"
        raise Unusable(labels.fault or ("has an empty text" if recording.beside else nothing))
    if labels.fault:
        result["notes"].append("whose text does not fit: visemes recognised")
    stem = settings.root / CLIPS / recording.identity / recording.stem
    files = {"visemes": stem.with_name(f"{stem.name}.labels.npz")}
    known = {"visemes": labels.visemes, "phonemes": labels.phonemes}
    write_arrays(files["visemes"], {k: v.astype(np.float16) for k, v in known.items() if v is not None})
    sound = stem.with_name(f"{stem.name}.flac")
    write_flac(sound, wave)
    line = _line(recording, settings.root, sound, num_frames, recording.text, labels.source, files)
    result["clips"].append(line | {"pictures": False})


@cache
def _face_mesh(path: str):
    from tsd.metrics.face_mesh import FaceMesh  # with it come torchmetrics and torchvision: only where it is used

    return FaceMesh(path)


def mouths(pictures: Iterable[np.ndarray], settings: Settings) -> np.ndarray | None:
    """How far the mouth is open in every picture uint8 [H, H, 3], in units of the side; None where nobody looks."""
    if not settings.landmarks:
        return None
    mesh = _face_mesh(settings.landmarks)
    return np.array([mesh.opening(picture) for picture in pictures])


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
    pieces = list(find_pieces(recording, timeline, settings, result))
    if not pieces:
        return
    labels = label(recording, wave, timeline.num_frames, settings.language, settings.recogniser)
    for number, (piece, frames) in enumerate(cut_pieces(recording, timeline, pieces, settings.size)):
        _write_clip(recording, settings, number, piece, frames, wave, labels, len(pieces) == 1, result)


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
        lids = eyes_open(frames, piece.points * settings.size)
        write_arrays(files["boxes"], face_arrays(piece.points, piece.boxes, lids, mouths(frames, settings)))
    else:
        result["notes"].append("without a visible face")
    if settings.flow:
        files["flow"] = stem.with_name(f"{stem.name}.flow.npz")
        write_file(files["flow"], compute_flows(frames).to_bytes())
    video = stem.with_name(f"{stem.name}.mp4")
    write_video(video, frames, sound if len(wave) else None, keyframe_every=KEYFRAMES)
    text = " ".join(said) if said else recording.text if alone else ""
    result["clips"].append(_line(recording, settings.root, video, len(frames), text, labels.source, files))
