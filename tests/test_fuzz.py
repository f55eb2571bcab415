"""Damaged and hostile files: a clear ValueError or a result, in 5 s, in 1 GiB, and nothing read outside the root."""

import json
import os
import resource
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mini_corpus import disc_frames, motion_of

from tsd.clip import SAMPLE_RATE
from tsd.data.flows import compute_flows, read_flows
from tsd.data.manifest import read_manifest
from tsd.data.tracks import load_tracks, read_visemes
from tsd.media.atomic import write_arrays
from tsd.media.audio import load_audio, write_wav
from tsd.media.container import open_media
from tsd.media.heads import face_arrays
from tsd.media.timeline import read_timeline, resampled_frames
from tsd.media.video import read_frames, write_video
from tsd.prepare.sources.grid import read_align
from tsd.prepare.transcript import read_transcript
from tsd.prepare.workers import Lost, run_all

FRAMES, SECONDS, MEMORY = 30, 5.0, 2**30
HOSTILE = [b"../../../etc/passwd", b"/etc/passwd", b"file:///etc/passwd", b"\x00", b"\xff" * 8, b"-1", b"1e309", b"nan"]
HOSTILE += [b'"frames": 9999999999999999999999', b"null", b"\xed\xa0\x80", (2**31 - 1).to_bytes(4, "big"), b"\n"]
HOSTILE += [b"[" * 5000]
KINDS = ("mp4", "wav", "npy", "face.npz", "flow.npz", "txt", "align", "jsonl")
SHARES = (0.4, 0.2, 0.1, 0.05, 0.05, 0.08, 0.02, 0.1)


def write_seeds(root: Path) -> None:
    """A sound file of every kind."""
    root.mkdir(parents=True, exist_ok=True)
    wave = (0.3 * np.sin(np.arange(FRAMES * 640) * 0.1)).astype(np.float32)
    write_video(root / "seed.mp4", disc_frames(FRAMES), wave, keyframe_every=12)
    write_wav(root / "seed.wav", wave)
    np.save(root / "seed.npy", np.full((FRAMES, 15), 1 / 15, np.float16))
    points = np.random.default_rng(0).random((FRAMES, 5, 2))
    write_arrays(root / "seed.face.npz", face_arrays(points, points.reshape(FRAMES, 10)[:, :4], np.ones(FRAMES)))
    (root / "seed.flow.npz").write_bytes(compute_flows(disc_frames(FRAMES)).to_bytes())
    (root / "seed.txt").write_text(
        "Text:  BIN BLUE\nConf:  4\n\nWORD START END ASDSCORE\nBIN 0.10 0.30 8.9\nBLUE 0.3 0.7 5\n"
    )
    (root / "seed.align").write_text("0 23750 sil\n23750 29500 bin\n29500 34000 blue\n")
    np.save(root / "motion.npy", motion_of(FRAMES, 1))
    line = {"video": "seed.mp4", "identity": "p", "frames": FRAMES, "text": "BIN", "visemes": "seed.npy"}
    line |= {"viseme_source": "npy", "motion": "motion.npy", "boxes": "seed.face.npz", "flow": None, "truth": None}
    (root / "seed.jsonl").write_text((json.dumps(line) + "\n") * 3)


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """A few random changes: bytes, pieces gone, doubled or moved, hostile values, the end cut off."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        at, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 64))
        what = int(rng.integers(7))
        if what == 0 and data:
            for place in rng.integers(len(data), size=length):
                data[int(place)] = int(rng.integers(256))
        elif what == 1:
            del data[at : at + length]
        elif what == 2:
            data[at:at] = data[at : at + length]
        elif what == 3:
            data[at : at + length] = rng.bytes(length)
        elif what == 4:
            data[at:at] = HOSTILE[int(rng.integers(len(HOSTILE)))]
        elif what == 5:
            value = HOSTILE[int(rng.integers(len(HOSTILE)))]
            data[at : at + len(value)] = value
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def read(path: Path, kind: str, root: Path) -> None:
    """What the project does with a file of this kind."""
    if kind == "mp4":
        timeline = read_timeline(path)
        for _, _ in zip(range(100), resampled_frames(path, timeline), strict=False):
            pass
        load_audio(path, silent_ok=True)
        read_frames(path, [0, len(timeline.times) - 1], 32)
    elif kind == "wav":
        load_audio(path)
    elif kind == "npy":
        read_visemes(path, FRAMES)
    elif kind == "flow.npz":
        read_flows(path, FRAMES).at(3, 64)
    elif kind == "txt":
        read_transcript(path)
    elif kind == "align":
        read_align(path)
    elif kind == "jsonl":
        for entry in read_manifest(path, root):
            load_tracks(entry)
    else:
        line = {"video": "seed.mp4", "identity": "p", "frames": FRAMES, "motion": path.name, "boxes": path.name}
        manifest = root / f"{path.name}.jsonl"
        manifest.write_text(json.dumps(line))
        load_tracks(read_manifest(manifest, root)[0])
        manifest.unlink()


OPENED: list[str] = []


def _watch(event: str, arguments: tuple) -> None:
    if event == "open" and isinstance(arguments[0], str) and arguments[1] in ("r", "rb", None):
        OPENED.append(arguments[0])


def batch(number: int, root: Path, size: int) -> dict:
    """``size`` mutated files, one after the other; what went wrong, the slowest, the memory's peak."""
    if not getattr(sys, "_tsd_watched", False):
        sys.addaudithook(_watch)
        sys._tsd_watched = True
    rng, wrong, slowest, refused = np.random.default_rng(number), [], 0.0, 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # the tests of before in this process, too
    for item in range(size):
        kind = KINDS[int(rng.choice(len(KINDS), p=SHARES))]
        path = root / f"b{number}-{item}.{kind}"
        path.write_bytes(mutate((root / f"seed.{kind}").read_bytes(), rng))
        OPENED.clear()
        begun = time.process_time()  # a busy machine is not a hang; a real one ends with the batch's limit
        try:
            read(path, kind, root)
        except (ValueError, FileNotFoundError) as error:
            refused += 1
            if "\n" in str(error) or len(str(error)) > 2000:
                wrong.append(f"batch {number}, item {item} ({kind}): an error of many lines: {str(error)[:200]!r}")
        except Exception as error:  # noqa: BLE001
            wrong.append(f"batch {number}, item {item} ({kind}): {type(error).__name__}: {str(error)[:200]}")
        spent = time.process_time() - begun
        slowest = max(slowest, spent)
        if spent > SECONDS:
            wrong.append(f"batch {number}, item {item} ({kind}): {spent:.1f} s")
        outside = [name for name in OPENED if "/etc/passwd" in os.path.realpath(name)]
        wrong += [f"batch {number}, item {item} ({kind}): opened {name}" for name in outside]
        path.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if peak > MEMORY:
        wrong.append(f"batch {number}: {peak / 2**20:.0f} MiB")
    return {"wrong": wrong, "slowest": slowest, "peak": peak, "refused": refused, "files": size}


def fuzz(root: Path, batches: range, size: int, workers: int) -> dict:
    """All batches; what they found together."""
    write_seeds(root)
    total = {"wrong": [], "slowest": 0.0, "peak": 0, "refused": 0, "files": 0}
    for number, found in run_all(partial(batch, root=root, size=size), batches, workers, limit=60 + SECONDS * size):
        if isinstance(found, Lost):
            total["wrong"].append(f"batch {number}: {found}")
            continue
        total["wrong"] += found["wrong"]
        total["slowest"], total["peak"] = (max(total[key], found[key]) for key in ("slowest", "peak"))
        total["refused"], total["files"] = (total[key] + found[key] for key in ("refused", "files"))
    return total


def test_the_seeds_themselves_are_read(tmp_path):
    write_seeds(tmp_path)
    for kind in KINDS:
        read(tmp_path / f"seed.{kind}", kind, tmp_path)


def test_a_few_hundred_damaged_files(tmp_path):
    found = fuzz(tmp_path, range(3), 100, workers=1)
    assert found["wrong"] == [] and found["files"] == 300 and found["refused"] > 100


@pytest.mark.slow
def test_ten_thousand_damaged_files(tmp_path):
    found = fuzz(tmp_path, range(1000, 1100), 100, workers=1)
    print({key: value for key, value in found.items() if key != "wrong"})
    assert found["wrong"] == [] and found["files"] == 10_000


PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile '{}'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT10S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "image2": "{}",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_scripts_that_name_other_files_are_not_followed(tmp_path, kind):
    secret = tmp_path / "outside" / "secret.mp4"
    write_video(secret, disc_frames(5))
    inside = tmp_path / "root" / "a.mp4"
    inside.parent.mkdir()
    inside.write_text(PLAYLISTS[kind].format(secret))
    for reader in (read_timeline, load_audio, read_frames):
        with pytest.raises(ValueError, match=r"a\.mp4: not a readable media file"):
            reader(inside)
    with open_media(secret):
        pass


def test_a_picture_larger_than_4k_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, np.zeros((2, 2400, 4200, 3), np.uint8))
    with pytest.raises(ValueError, match="4200 x 2400 pixels is more than 4096 x 2304"):
        read_timeline(path)


def test_a_wave_at_one_sample_a_second_does_not_become_hours(tmp_path):
    write_wav(tmp_path / "a.wav", np.ones(SAMPLE_RATE))
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[24:28] = (1).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(ValueError, match=r"sound of 1 samples a second|not a readable"):
        load_audio(tmp_path / "a.wav")
