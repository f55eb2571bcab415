"""Dubbing: the mouth says the new words, the rest stays the video's, whatever their lengths and however it is cut."""

import json
import logging
import re
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import torch
from covered_faces import covered
from fake_talkers import files, talker
from mixed_folder import INTERLACED, People, encode

from tsd.clip import VISEME_PAST, VISEMES, viseme_windows
from tsd.commands import sample
from tsd.commands.compose import composed
from tsd.diffusion import Schedule
from tsd.media import crops, provenance
from tsd.media.audio import load_audio, write_wav
from tsd.media.coding import Coding, Colours
from tsd.media.faces import Landmarks, detect_faces
from tsd.media.heads import Head
from tsd.media.mouth_mask import mouth_masks
from tsd.media.timeline import read_timeline, resampled_frames, there_and_back_order
from tsd.media.video import read_frames, video_info
from tsd.nets.affine import CANONICAL_FACE
from tsd.nets.vae import Appearance
from tsd.runtime import driving
from tsd.runtime.driving import DrivingVideo, fault
from tsd.runtime.dubbing import common_length
from tsd.runtime.speaking import Known, Speaking
from tsd.runtime.talker import Talker

POINTS = np.float32([*CANONICAL_FACE, (0.42, 0.72), (0.58, 0.72)])
"""[5, 2] of a face seen from the front."""


@pytest.fixture(scope="module", autouse=True)
def faces_are_found_once():
    """Looking for faces takes most of the time, and many videos here show the same frames."""
    found = {}

    def look(picture: np.ndarray) -> list[Landmarks]:
        key = hash(picture.tobytes())
        if key not in found:
            found[key] = detect_faces(picture)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driving, "detect_faces", look)
        yield


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return People(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def clip(people, tmp_path_factory):
    """A person in front of a wall for 40 frames."""
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4", people.scene(), people.sound())


@pytest.fixture(scope="module")
def video(clip):
    return DrivingVideo.read(clip)


SPOKEN = 16
"""Frames of the speech that commands are given."""


def noise(num_frames: int, seed: int = 0) -> np.ndarray:
    """Sound of so many frames."""
    return np.random.default_rng(seed).normal(0, 0.1, num_frames * 640).astype(np.float32)


def dubbed(t: Talker, video, wave, **options) -> np.ndarray:
    return np.concatenate(list(t.dub(video, wave, **options)))


def lower_face(video: DrivingVideo, number: int, height: int, width: int) -> np.ndarray:
    """bool [H, W]: a box from above the mouth to below the chin, from the landmarks in the frame itself."""
    points = video.points[number] * video.squares[number, 2] + video.squares[number, :2]
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    unit = np.linalg.norm(mouth - eyes)
    y, x = np.mgrid[:height, :width]
    inside = (y > mouth[1] - 0.6 * unit) & (y < mouth[1] + unit)
    return inside & (np.abs(x - mouth[0]) < 1.1 * unit)


# What is kept, and what follows the speech


def test_what_is_not_mouth_is_the_videos_level_for_level(video):
    source = list(resampled_frames(video.path, video.timeline))
    made = dubbed(talker(), video, noise(len(source)))
    assert made.shape == (40, 240, 320, 3) and made.dtype == np.uint8
    for number, (before, after) in enumerate(zip(source, made, strict=True)):
        lower = lower_face(video, number, *before.shape[:2])
        assert np.array_equal(before[~lower], after[~lower])
        assert np.abs(before[lower].astype(int) - after[lower]).mean() > 2  # untrained nets paint something else


class Grey(torch.nn.Module):
    """Stands for a VAE, and with ``Says`` for a student: a latent is the picture's brightness, and the mouth's that of
    the visemes. What is asked of them is where and when their answer arrives, not what it looks like."""

    resolution, latent_channels, latent_size = 32, 1, 8
    painted = (0, 32, 0, 32)

    def encode(self, frames):
        grey = frames.mean(-3, keepdim=True).flatten(0, -4)
        return torch.nn.functional.adaptive_avg_pool2d(grey, 8).unflatten(0, frames.shape[:-3])

    def appearance(self, pictures):
        return Appearance(pictures, self.encode(pictures))

    def decode(self, z, appearance):
        return torch.nn.functional.interpolate(z, size=32, mode="nearest").expand(-1, 3, -1, -1).clamp(-1, 1)

    def changes(self, z, appearance):
        return self.decode(z, appearance) - appearance.picture, torch.zeros(len(z), 32, 32, 2)


class Says(torch.nn.Module):
    causal = True

    def read_reference(self, condition):
        return None

    def read_frames(self, condition, reference):
        return condition

    def step(self, z_s, s, reference, condition, memory):
        said = condition.visemes[..., VISEME_PAST, VISEMES.index("aa")] * 2 - 1
        return (z_s - said[..., None, None, None]) / s[0], None


class Loudness(torch.nn.Module):
    """Stands for a recogniser: the louder, the more open."""

    look_ahead = memory_size = 0

    def listen(self, mel, memory):
        loud = mel.unflatten(1, (-1, 4)).mean((2, 3)) * 4
        aa = torch.nn.functional.one_hot(torch.tensor(VISEMES.index("aa")), len(VISEMES))
        return aa * loud[..., None], memory


def bursts(seed: int) -> np.ndarray:
    """40 frames of noise, each of a loudness of its own."""
    return noise(40, seed) * np.random.default_rng(seed + 100).uniform(0.01, 1, 40).astype(np.float32).repeat(640)


def test_the_mouth_follows_the_new_speech_and_not_the_old(video):
    t = Talker(Grey(), Says(), Loudness(), None, {"k2": Schedule((80.0, 1.0))})
    made = dubbed(t, video, bursts(1))
    masks = mouth_masks(video.points, 160) > 0.99
    faces = [crops.crop(frame, square, 160) for frame, square in zip(made, video.squares, strict=True)]
    brightness = np.array([face[mask].mean() for face, mask in zip(faces, masks, strict=True)])
    new, old = (t.visemes(bursts(seed))[:, VISEMES.index("aa")].numpy() for seed in (1, 2))
    r = lambda a, b: np.corrcoef(a, b)[0, 1]  # noqa: E731
    assert new.std() > 0.1 and r(brightness, new) > 0.99
    assert abs(r(brightness, old)) < 0.5 and max(r(brightness[1:], new[:-1]), r(brightness[:-1], new[1:])) < 0.5


@torch.inference_mode()
def test_known_latents_come_out_and_the_rest_is_generated():
    t = talker()
    portrait, motion = np.full((32, 32, 3), 90, np.uint8), torch.zeros(6, 7)
    speaker, windows = t.speaker(portrait, None), viseme_windows(torch.rand(6, len(VISEMES)))
    latents = torch.randn(6, 4, 8, 8)

    def spoken(share=None):
        known = None if share is None else Known(latents, share)
        return Speaking(t.student, speaker, t.schedule("k4"))(windows, motion, known=known)

    everything, half = torch.ones(6, 1, 8, 8), torch.ones(6, 1, 8, 8)
    half[..., :4, :] = 0
    assert (spoken(0 * everything) - latents).abs().max() < 1e-4
    assert torch.allclose(spoken(everything), spoken(), atol=1e-5)
    assert (spoken(half) - latents)[..., :4, :].abs().max() < 1e-4
    # what is known is seen by the net: the other half is not what it makes without
    assert (spoken(half) - spoken())[..., 4:, :].abs().max() > 1e-3


def test_masks_follow_the_face():
    masks = mouth_masks(np.stack([POINTS, POINTS + [0.1, -0.05]]), 200)
    at = lambda mask, x, y: float(mask[round(y * 200), round(x * 200)])  # noqa: E731
    assert masks.shape == (2, 200, 200) and 0 <= masks.min() and masks.max() == 1
    for mask, dx, dy in zip(masks, (0, 0.1), (0, -0.05), strict=True):
        assert at(mask, 0.5 + dx, 0.72 + dy) == at(mask, 0.5 + dx, 0.92 + dy) == 1  # mouth, chin
        assert at(mask, 0.36 + dx, 0.42 + dy) == at(mask, 0.5 + dx, 0.57 + dy) == 0  # eye, nose
        assert 0 < mask[(mask > 0) & (mask < 1)].mean() < 1
        assert not mask[0].any() and not mask[-1].any() and not mask[:, 0].any() and not mask[:, -1].any()
    middle = lambda mask: np.argwhere(mask == 1).mean(0)  # noqa: E731
    np.testing.assert_allclose(middle(masks[1]) - middle(masks[0]), [-10, 20], atol=1.5)
    turn = np.float32([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    turned = mouth_masks(((POINTS - 0.5) @ turn.T + 0.5)[None], 200)[0]
    want = (np.array([0.5, 0.79]) - 0.5) @ turn.T + 0.5
    np.testing.assert_allclose(middle(turned)[::-1] / 200, want, atol=0.03)


# Lengths and pieces


@pytest.mark.parametrize("frames", [13, 44])
def test_chunks_of_any_size_give_the_whole(video, frames):
    """Speech shorter than the video, and longer."""
    t, wave = talker(), noise(frames, 3)
    whole = dubbed(t, video, wave, chunk=frames)
    for chunk in (1, 8):
        assert np.abs(dubbed(t, video, wave, chunk=chunk).astype(int) - whole).max() <= 1, chunk


def test_a_short_video_runs_back_and_forth(video):
    """Seen in the part that is not generated."""
    source = np.stack(list(resampled_frames(video.path, video.timeline)))
    made = dubbed(talker(), video, noise(100))
    order = np.r_[0:40, 38:0:-1, 0:22]
    assert np.array_equal(there_and_back_order(40, 100), order)
    assert np.array_equal(made[:, :100], source[order][:, :100])


def test_length_is_a_choice(video):
    t = talker()
    assert [common_length(rule, 50, 40) for rule in ("speech", "shorter", "video")] == [50, 40, 40]
    assert [common_length(rule, 30, 40) for rule in ("speech", "shorter", "video")] == [30, 30, 40]
    dubbing = t.dub(video, noise(30), length="video")
    assert dubbing.num_frames == sum(map(len, dubbing)) == 40
    assert np.array_equal(dubbing.wave[: 30 * 640], noise(30)) and not dubbing.wave[30 * 640 :].any()
    with pytest.raises(ValueError, match="length=long: must be one of speech, shorter, video"):
        t.dub(video, noise(30), length="long")


def test_only_the_frames_that_are_needed_are_looked_at(clip):
    assert len(DrivingVideo.read(clip, 10)) == 10


def test_memory_does_not_grow_with_time(video):
    """Four times as many frames weigh no more; if every picture were kept it would be 11 MB."""
    peaks = []
    for frames in (16, 64):
        dubbing = talker().dub(video, noise(frames), chunk=4)
        tracemalloc.start()
        assert sum(map(len, dubbing)) == frames
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 4e6


# Whose face, and where


def test_the_best_frame_is_frontal_and_usual(video):
    turned = np.repeat(POINTS[None], 9, 0)
    turned[:, 2, 0] += np.linspace(-0.08, 0.12, 9)
    fake = DrivingVideo(video.path, video.timeline, np.ones((9, 3)), turned, np.zeros(9, int))
    assert fake.best_frame() == 3
    away = np.repeat(POINTS[None], 9, 0)
    away[7] += 0.1
    away[:7, 2, 0] += 0.01
    spans = np.zeros(9, int)
    assert DrivingVideo(video.path, video.timeline, np.ones((9, 3)), away, spans).best_frame() != 7
    spans[:6] = -1
    assert DrivingVideo(video.path, video.timeline, np.ones((9, 3)), turned, spans).best_frame() == 6


def test_the_face_is_framed_as_in_training(video):
    assert len(video) == 40 and video.motion.shape == (40, 7)
    eyes, mouth = video.points[:, :2].mean((0, 1)), video.points[:, 3:].mean((0, 1))
    np.testing.assert_allclose(eyes, (0.5, 0.42), atol=0.03)
    np.testing.assert_allclose(mouth, (0.5, 0.72), atol=0.03)


@pytest.mark.parametrize(("degrees", "words"), [(0, ""), (30, ""), (-70, "lies on its side"), (180, "on its head")])
def test_a_face_that_lies_cannot_be_dubbed(degrees, words):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    points = 200 * ((POINTS - 0.5) @ np.float32([[cos, sin], [-sin, cos]]) + 0.5)
    head = Head([0, 3], [Landmarks(points, np.float32([40, 40, 160, 160]), 0.99)] * 2)
    assert fault(head, [head], None) == "" if not words else words in fault(head, [head], None)


def test_a_reference_may_be_another_picture(video, people):
    t = talker()
    own, other = t.dub(video, noise(5)), t.dub(video, noise(5), reference=people.clips[1][0][0])
    assert own.reference_frame == video.best_frame() and other.reference_frame is None
    assert not np.array_equal(np.concatenate(list(own)), np.concatenate(list(other)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.mp4", "gone.mp4: no such file"),
        ("text.mp4", "text.mp4: not a readable media file"),
        ("sound.wav", "sound.wav: holds no video"),
        ("wall.mp4", "wall.mp4: no face is found"),
        ("two.mp4", "two.mp4: .* the video shows 2 faces; say which one with face=largest, left or right"),
        ("late.mp4", r"late.mp4: a face that can speak is seen in 0.4 s of 1.0 s only: cut the video"),
    ],
)
def test_videos_that_cannot_be_dubbed(people, tmp_path, name, words):
    scene = people.scene()[:15]
    make = {
        "text.mp4": lambda path: path.write_text("not a video"),
        "sound.wav": lambda path: write_wav(path, noise(20)),
        "wall.mp4": lambda path: encode(path, [frame[:64, :64] for frame in scene]),
        "two.mp4": lambda path: encode(path, people.scene(who=(0, 1), width=400)[:15]),
        "late.mp4": lambda path: encode(path, [np.zeros_like(f) for f in scene] + people.scene()[:10]),
    }
    make.get(name, lambda path: None)(tmp_path / name)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as error:
        talker().dub(tmp_path / name, noise(30))
    assert "\n" not in str(error.value)


# Ends of shots, several shots, several people, other rates


def black(scene: list) -> list:
    return [np.zeros_like(frame) for frame in scene]


def changed(source: list[np.ndarray], made: np.ndarray) -> list[bool]:
    return [not np.array_equal(a, b) for a, b in zip(source, made, strict=True)]


def left_alone(path, num_frames: int, **options) -> list[bool]:
    """Of each frame, whether dubbing leaves it as it is; the same whatever the chunk."""
    video = DrivingVideo.read(path, **options)
    source = list(resampled_frames(path, video.timeline))[:num_frames]
    made, again = (dubbed(talker(), video, noise(num_frames), chunk=chunk) for chunk in (8, 3))
    np.testing.assert_allclose(made.astype(int), again, atol=1)
    return [not c for c in changed(source, made)]


def test_frames_without_the_face_stay_as_they_are(people, tmp_path):
    scene = people.scene()[:30]
    for name, frames, unseen in (
        ("late", black(scene[:4]) + scene[:9], range(4)),
        ("early", scene[:9] + black(scene[:5]), range(9, 14)),
        ("dark", scene[:7] + black(scene[:3]) + scene[7:14], range(7, 10)),
    ):
        path = encode(tmp_path / f"{name}.mp4", frames)
        left = left_alone(path, len(frames))
        # Faces are looked for on every third frame: up to two frames beside a cut may be on the other side of it.
        assert all(left[i] for i in unseen) and sum(left) <= len(unseen) + 2


def test_a_fade_in_is_no_fault(people, tmp_path):
    scene = people.scene()[:18]
    faded = [(frame * min(1, (i + 1) / 8)).astype(np.uint8) for i, frame in enumerate(scene)]
    video = DrivingVideo.read(encode(tmp_path / "fade.mp4", faded))
    assert set(np.unique(video.spans)) <= {-1, 0} and (video.spans[8:] == 0).all()


def test_every_shot_is_dubbed_from_its_own_best_frame(people, tmp_path):
    path = encode(tmp_path / "cut.mp4", people.scene()[:9] + people.scene(who=(1,))[:9])
    video = DrivingVideo.read(path)
    assert video.spans.tolist() == [0] * 9 + [1] * 9
    assert video.best_frame(0) < 9 <= video.best_frame(1)
    assert not any(left_alone(path, 18))


@pytest.mark.parametrize(("face", "at"), [("left", 0.25), ("right", 0.75), ("largest", None)])
def test_one_of_two_faces_is_chosen(people, tmp_path, face, at):
    path = encode(tmp_path / "two.mp4", people.scene(who=(0, 1), width=400)[:15])
    video = DrivingVideo.read(path, face=face)
    middle = (video.squares[:, 0] + video.squares[:, 2] / 2).mean() / video.timeline.width
    assert at is None or abs(middle - at) < 0.2
    with pytest.raises(ValueError, match="face=top: must be one of largest, left, right"):
        DrivingVideo.read(path, face="top")


@pytest.mark.parametrize("every", [2, 3])
def test_repeated_frames_are_no_cuts(people, tmp_path, every):
    """12 and 8 frames a second brought to 25: repeats in between, and jumps that are larger than at 25."""
    scene = [np.roll(frame, round(24 * np.sin(i / 4)), 1) for i, frame in enumerate(people.scene()[:24])]
    video = DrivingVideo.read(encode(tmp_path / "low.mp4", [scene[i // every * every] for i in range(24)]))
    assert (video.spans == 0).all()
    low = DrivingVideo.read(encode(tmp_path / "rate.mp4", scene[::every], None, Fraction(25, every)))
    assert (low.spans == 0).all() and len(low) == 24


@pytest.mark.parametrize(
    ("codec", "options"), [("libx264", {"x264-params": "interlaced=1:tff=1"}), ("mpeg2video", INTERLACED)]
)
def test_interlaced_lines_are_no_cuts(people, tmp_path, codec, options):
    """Each picture shows two moments, the even lines one and the odd lines the next."""
    fields = [np.roll(frame, round(24 * np.sin(i / 4)), 1) for i, frame in enumerate(people.scene()[:24])]
    scene = [np.stack([a[::2], b[1::2]], 1).reshape(a.shape) for a, b in zip(fields[::2], fields[1::2], strict=True)]
    video = DrivingVideo.read(encode(tmp_path / "a.mkv", scene, codec=codec, options=options))
    assert len(video) == 12 and (video.spans == 0).all()


@pytest.mark.parametrize(
    ("how", "frames", "words"),
    [
        ("hand", range(5, 13), r"in 0\.[345] s of 0\.8 s, first at 0\.2 s"),
        ("blue mask", range(20), r"in 0\.8 s of 0\.8 s, first at 0\.0 s"),
        ("microphone", range(10, 20), r"in 0\.[45] s of 0\.8 s, first at 0\.4 s"),
        ("hand", range(8, 10), ""),
        ("hand", (), ""),
    ],
)
def test_a_covered_mouth_is_named_with_its_time(people, tmp_path, caplog, how, frames, words):
    scene = people.scene(size=220)[:20]
    points = detect_faces(scene[0])[0].points
    shown = [covered(frame, points, how) if i in frames else frame for i, frame in enumerate(scene)]
    with caplog.at_level(logging.WARNING):
        DrivingVideo.read(encode(tmp_path / "a.mp4", shown))
    assert re.search(f"a.mp4: no lips are seen {words}", caplog.text) if words else not caplog.records


def test_a_talker_that_cannot_stream_cannot_dub(video):
    with pytest.raises(ValueError, match="causal student"):
        talker(causal=False).dub(video, noise(5))


# The command


@pytest.fixture(scope="module")
def given(clip, tmp_path_factory) -> list[str]:
    """What a command is given: small nets, a video and speech."""
    folder = tmp_path_factory.mktemp("given")
    write_wav(folder / "speech.wav", noise(SPOKEN))
    weights = [f"weights.{stage}={path}" for stage, path in files(folder).items()]
    return ["start=driving", f"video={clip}", f"audio={folder / 'speech.wav'}", "name=x", *weights]


def run(given: list[str], out, *extra: str):
    return sample.run(composed("sample", [*given, f"out={out}", *extra]))


def test_the_command_writes_a_video_with_the_new_sound(given, tmp_path, people):
    fast = encode(tmp_path / "fast.mp4", people.scene(50)[:60], people.sound(), 50)
    folder = run(given, tmp_path / "out", f"video={fast}")
    assert sorted(path.name for path in folder.iterdir()) == ["sample.json", "sample.mp4"]
    info, card = video_info(folder / "sample.mp4"), json.loads((folder / "sample.json").read_text())
    assert (info.num_frames, info.fps, info.height, info.width) == (SPOKEN, 25, 240, 320)
    assert (
        card["start"] == "driving" and card["frames"] == SPOKEN == card["video_frames"] and card["length"] == "speech"
    )
    assert 0 <= card["reference_frame"] < SPOKEN
    heard = load_audio(folder / "sample.mp4")
    assert np.corrcoef(heard[: 15 * 640], noise(SPOKEN)[: 15 * 640])[0, 1] > 0.9
    source = np.stack(list(resampled_frames(fast, read_timeline(fast))))[:SPOKEN]
    assert np.abs(read_frames(folder / "sample.mp4")[:, :90].astype(int) - source[:, :90]).mean() < 2  # codec
    assert card["consent"] == "consent not stated" and len(card["mark"]) == 8 and not card["label"]
    manifest = provenance.read(folder / "sample.mp4")
    assert manifest.state == "valid" and manifest.said["mark"] == card["mark"]
    assert set(manifest.said["inputs"]) == {"video", "sound"} and manifest.said["weights"] == card["weights"]


@pytest.mark.parametrize(
    ("made", "size", "changed"),
    [
        ({"colours": Colours(1, 1, 1)}, (240, 320), []),
        ({"colours": Colours(5, 1, 6, full=True), "fps": 30}, (240, 320), ["30.00 frames a second became 25"]),
        ({"rotation": 90, "colours": Colours(6, 6, 6)}, (320, 240), []),
        (
            {"options": {"aspect": "100:99"}, "pixels": "yuv444p"},
            (240, 322),
            ["pixels of yuv444p became", "square", "323 x 240 pixels became 322"],
        ),
    ],
    ids=["HD", "full range", "upright phone", "camera tape"],
)
def test_size_colours_and_rotation_are_kept_or_what_changed_is_said(given, tmp_path, people, made, size, changed):
    scene = people.scene()[:6]
    if "rotation" in made:
        scene = [np.rot90(frame, -1) for frame in people.scene(height=320, width=240)[:6]]
    path = encode(tmp_path / "a.mp4", scene, **made)
    folder = run(given, tmp_path / "out", f"video={path}", "length=shorter")
    card, result = json.loads((folder / "sample.json").read_text()), read_frames(folder / "sample.mp4")
    assert result.shape[1:3] == size and Coding.of(folder / "sample.mp4").colours == made.get("colours", Colours())
    source = next(resampled_frames(path, read_timeline(path)))[:, : size[1]]
    assert np.abs(result[0, :90].astype(int) - source[:90]).mean() < 2
    assert len(card["changed"]) == len(changed)
    assert all(words in said for words, said in zip(changed, card["changed"], strict=True))


def test_consent_label_and_no_mark_are_recorded(given, tmp_path):
    plain = run(given, tmp_path / "plain", "mark=false")
    shown = run(given, tmp_path / "shown", "mark=false", "label=true", "consent='Agreed on 1 May.'", "png=true")
    card = json.loads((shown / "sample.json").read_text())
    assert card["mark"] is None and card["label"] and card["consent"] == "Agreed on 1 May."
    for path in (shown / "sample.mp4", shown / "frames" / "000015.png"):
        said = provenance.read(path).said
        assert said["mark"] is None and said["consent"] == "Agreed on 1 May."
    change = np.abs(read_frames(shown / "sample.mp4").astype(int) - read_frames(plain / "sample.mp4")).max(-1)
    assert change[:, 200:].max() > 100 and change[:, :120].mean() < 2


def test_wrong_words_about_provenance_are_one_error(given, tmp_path):
    wrong = ["consent=5", "label=maybe", "signing.key=none.pem", "signing.certificate=none.pem"]
    with pytest.raises(ValueError, match="label=maybe.*consent=5.*none.pem: no such file"):
        run(given, tmp_path, *wrong)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["video=null"], "video=<file> is missing: start=driving needs it"),
        (["video=none.mp4"], "video=none.mp4: no such file"),
        (["mode=e2"], "mode=e2: start=driving makes a video"),
        (["motion=still"], "motion=still: with start=driving the head moves as in the video"),
        (["seed=x", "png=maybe"], "png=maybe: must be true or false; seed=x: must be a whole number of 0 or more"),
        (["seed=-1"], "seed=-1: must be a whole number of 0 or more"),
        (["length=long"], "length=long: must be one of speech, shorter, video"),
        (["start=noise"], "is used by start=driving only"),
        (["start=noise", "video=null", "face=left", "length=video"], "face=left: is used by .*; length=video: is used"),
        (["audio=null", "video=null"], "video=<file> is missing.*; audio=<file> is missing"),
    ],
)
def test_mistakes_of_the_command_are_named(given, tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        run(given, tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_a_video_without_sound_is_no_speech(given, tmp_path, people):
    silent = encode(tmp_path / "silent.mp4", people.scene()[:5])
    with pytest.raises(ValueError, match="holds no sound"):
        run(given, tmp_path / "out", f"audio={silent}")
    assert not (tmp_path / "out").exists()
