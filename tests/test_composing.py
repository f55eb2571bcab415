"""Frames at the photograph's own size: what moves, what stays as it is, and that every way there gives the same."""

import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from fake_canvases import POINTS, in_pixels, parts, photograph
from fake_talkers import portrait, talker
from fakes import SIDE, fake_vae

from tsd.clip import to_frames
from tsd.media.faces import framing
from tsd.media.light import Light
from tsd.media.mouth_mask import mouth_masks
from tsd.media.video import video_info, write_video
from tsd.runtime.canvas import LARGEST_FACE, LARGEST_PICTURE, Canvas, canvas_of, face_canvas, picture_canvas
from tsd.runtime.composing import Composer, Painted, doubled, whole_pixels


@pytest.mark.parametrize("roll", [0.0, 0.7])
@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize("frame", ["picture", "face"])
def test_where_nothing_is_said_nothing_changes(frame, still, roll):
    canvas = canvas_of(photograph(), in_pixels(roll=roll), "native", frame, SIDE)
    frames = Composer(canvas, SIDE, Light(), still)(*(0 * part for part in parts()))
    left, top, right, bottom = canvas.shown
    assert frames.shape == (2, *canvas.size, 3)
    assert np.array_equal(frames[1], canvas.picture[top:bottom, left:right])


@pytest.mark.parametrize("roll", [0.0, 0.7])
def test_a_still_head_leaves_everything_outside_the_lower_face_as_it_is(roll):
    picture = photograph()[:, :200]
    points = in_pixels(roll=roll)
    made = Composer(canvas_of(picture, points, "native", "picture", SIDE), SIDE, Light(), still=True)(*parts())[0]
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    unit, down = np.linalg.norm(mouth - eyes), (mouth - eyes) / np.linalg.norm(mouth - eyes)
    y, x = np.mgrid[:230, :200]
    away = np.stack([x, y], -1) - mouth
    along = away @ down
    across = away @ np.array([-down[1], down[0]])
    outside = (along < -0.55 * unit) | (along > 1.0 * unit) | (np.abs(across) > 1.05 * unit)
    assert np.array_equal(made[outside], picture[outside])
    assert (made[~outside] != picture[~outside]).mean() > 0.3


def test_a_moving_head_leaves_the_background_and_the_edges():
    picture, (change, offsets) = photograph(400, 400), parts()
    made = Composer(canvas_of(picture, in_pixels(120, (140, 140)), "native", "picture", SIDE), SIDE, Light())(
        change, offsets + 0.05
    )[0]
    changed = (made != picture).any(-1)
    assert not changed[:100].any() and not changed[:, :100].any() and not changed[300:].any()
    assert changed[140:260, 140:260].mean() > 0.9 and changed[120:138, 140:260].mean() > 0.5  # beyond the square, too
    tight = canvas_of(picture[140:260, 140:260], in_pixels(120, (0, 0)), "native", "picture", SIDE)
    edge = Composer(tight, SIDE, Light())(0 * change, 0 * offsets + 0.06)[0].astype(int)
    assert np.abs(edge[0] - tight.picture[0]).mean() < 12 > np.abs(edge[:, 0] - tight.picture[:, 0]).mean()
    assert np.abs(edge[40:80, 40:80] - tight.picture[40:80, 40:80]).mean() > 30


def test_offsets_are_units_of_the_square_at_every_size_and_turn():
    """A constant step to the right in the square shows what lies a tenth of its side to the right."""
    y, x = np.mgrid[:400, :400]
    picture = np.stack([x, y, 0 * x], -1).astype(np.float32) * 0.5 + 20
    change, offsets = np.zeros((1, SIDE, SIDE, 3), np.float32), np.zeros((1, SIDE, SIDE, 2), np.float32)
    offsets[..., 0] = 0.1
    for roll in (0.0, 0.7):
        points = in_pixels(120, (140, 140), roll)
        canvas = canvas_of(picture.astype(np.uint8), points, "native", "picture", SIDE)
        made = Composer(canvas, SIDE, Light())(change, offsets)
        step = np.linalg.inv(framing(points)[:, :2]) @ [0.1, 0]
        found = (made[0, 190:210, 190:210].astype(float) - picture[190:210, 190:210]).mean((0, 1))
        np.testing.assert_allclose(found[:2], step * 0.5, atol=0.7)


@torch.inference_mode()
def test_at_the_decoders_size_frames_are_the_decoders():
    # A smooth picture: the decoder looks between its pixels linearly, the composer in a picture of twice the size.
    vae, picture = fake_vae().eval(), cv2.GaussianBlur(photograph(SIDE, SIDE), (0, 0), 2)
    z = torch.randn(3, 4, SIDE // 4, SIDE // 4) * 0.3
    seen = vae.appearance(to_frames(picture)[None])
    change, offsets = vae.changes(z, seen)
    canvas = face_canvas(picture, np.array([[1 / SIDE, 0, 0], [0, 1 / SIDE, 0]]), POINTS, SIDE)
    composer = Composer(canvas, SIDE, Light())
    composer.moved[:] = 1
    everywhere = composer.padded(np.ones((SIDE, SIDE), np.float32))
    composer.painted = Painted(everywhere, (0, SIDE, 0, SIDE), composer.margin, composer)
    ours = composer(change.movedim(1, -1).numpy(), offsets.numpy()).astype(int)
    theirs = (vae.decode(z, seen).movedim(1, -1).numpy() + 1) * 127.5
    assert np.abs(ours - theirs)[:, 6:-6, 6:-6].mean() < 2


@pytest.mark.parametrize("frame", ["picture", "face"])
@pytest.mark.parametrize("size", ["native", 64, 200])
def test_sizes(frame, size):
    canvas = canvas_of(photograph(), in_pixels(), size, frame, SIDE)
    height, width = canvas.size
    assert height % 2 == width % 2 == 0 and canvas.side == pytest.approx(120 if size == "native" else size, rel=0.01)
    if frame == "face":
        assert height == width == pytest.approx(canvas.side)
    left, top, _, _ = canvas.shown
    eyes = canvas.points[:2].mean(0) @ np.linalg.inv(canvas.to_unit[:, :2]).T
    assert 0 < eyes[0] < canvas.picture.shape[1] and left >= 0 and top >= 0


def test_native_keeps_to_its_limits():
    large = np.zeros((3000, 2001, 3), np.uint8)
    canvas = canvas_of(large, in_pixels(1800, (100, 600)), "native", "picture", 128)
    assert canvas.side == pytest.approx(LARGEST_FACE, rel=0.01) and max(canvas.size) <= LARGEST_PICTURE
    canvas = canvas_of(large, in_pixels(300, (100, 600)), "native", "picture", 128)
    assert max(canvas.size) == LARGEST_PICTURE and canvas.size[1] % 2 == 0
    assert canvas_of(large, in_pixels(60, (100, 600)), "native", "face", 128).size == (128, 128)


def test_a_canvas_is_read_as_it_was_written():
    canvas = canvas_of(photograph(), in_pixels(roll=0.4), "native", "face", SIDE)
    read = Canvas.of_arrays(canvas.arrays())
    assert read.shown == canvas.shown and np.array_equal(read.picture, canvas.picture)
    np.testing.assert_allclose(read.photograph, canvas.photograph)
    assert np.array_equal(Composer(read, SIDE, Light())(*parts()), Composer(canvas, SIDE, Light())(*parts()))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("picture", np.zeros((4, 4, 3), np.float32)),
        ("to_unit", np.full((2, 3), np.nan)),
        ("to_unit", np.zeros((2, 3))),
        ("points", np.zeros((4, 2))),
        ("shown", np.array([0, 0, 9999, 5])),
        ("photograph", np.array(["a"] * 4)),
    ],
)
def test_arrays_that_are_no_canvas_are_refused(name, value):
    canvas = canvas_of(photograph(), in_pixels(), "native", "face", SIDE)
    with pytest.raises(ValueError):
        Canvas.of_arrays(canvas.arrays() | {name: value})


def ready(size="native", frame="picture"):
    """A talker whose reference is a made-up photograph."""
    t = talker()
    speaker = t.speaker(portrait(), None)
    speaker.canvas = canvas_of(photograph(), in_pixels(), size, frame, SIDE)
    t.reference = speaker
    return t


@pytest.mark.parametrize("motion", ["natural", "still"])
def test_a_stream_at_native_size_is_the_whole(motion):
    t, wave = ready(), np.random.default_rng(0).normal(0, 0.1, 9 * 640).astype(np.float32)
    whole = t.video(wave, "k2", chunk=9, motion=motion)
    assert whole.shape == (9, 230, 200, 3)
    for chunk in (1, 4):
        pieces = np.concatenate(list(t.stream([wave[:1000], wave[1000:]], "k2", chunk, motion=motion)))
        assert np.abs(pieces.astype(int) - whole).max() <= 1


def test_a_video_is_written_while_it_is_made(tmp_path):
    """Four times as much sound takes no more memory; its frames would weigh 21 MB more."""
    t, peaks = ready(), []
    for frames in (50, 200):
        wave = np.random.default_rng(0).normal(0, 0.1, frames * 640).astype(np.float32)
        tracemalloc.start()
        write_video(tmp_path / "a.mp4", t.stream([wave], "k1", 10), wave)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert video_info(tmp_path / "a.mp4").num_frames == frames
    assert peaks[1] - peaks[0] < 5e6


def test_dark_and_colourless_photographs_get_a_mouth_in_their_own_light():
    face = np.full((64, 64, 3), (180, 140, 120), np.uint8)
    assert Light.of(face) == Light()
    dark = Light.of(face // 4)
    assert dark.gain > 2.5 and dark.usual(face // 4).mean() > 2 * (face // 4).mean()
    change = np.float32([[[0.4, -0.2, 0.1]]])
    np.testing.assert_allclose(dark.own(change), change / dark.gain)
    grey = Light.of(np.full((64, 64, 3), 150, np.uint8))
    assert grey.colour == 0 and np.ptp(grey.own(change), axis=-1).max() < 1e-6


def test_what_is_painted_keeps_to_the_light_of_its_picture():
    canvas = canvas_of(np.full_like(photograph(), 120), in_pixels(), "native", "picture", SIDE)
    change, offsets = parts(1)
    made = [Composer(canvas, SIDE, light, still=True)(change, 0 * offsets)[0] for light in (Light(), Light(gain=4.0))]
    full, dark = (np.abs(frame.astype(float) - canvas.picture).sum() for frame in made)
    assert dark / full == pytest.approx(0.25, abs=0.05)


def test_fine_lines_of_closed_lips_go_where_something_is_painted_over_them():
    """In the lower face alone, only under much paint, and only where the picture has smaller pixels than the
    decoder."""
    lines = np.full_like(photograph(), 120)
    lines[:, ::2] += 40
    for size, taken in (("native", True), (SIDE, False)):
        canvas = canvas_of(lines, in_pixels(), size, "face", SIDE)
        composer = Composer(canvas, SIDE, Light())
        left, top, right, bottom = canvas.shown
        mask = mouth_masks(canvas.points[None], SIDE)[0]
        inside, outside = (
            cv2.resize(share.astype(np.uint8), canvas.size[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
            for share in (mask == 1, mask == 0)
        )
        shown = canvas.picture[top:bottom, left:right]
        for level, stays in ((0.1, 1.0), (0.6, 0.0 if taken else 1.0)):
            made = composer(np.full((1, SIDE, SIDE, 3), level, np.float32), np.zeros((1, SIDE, SIDE, 2), np.float32))[0]
            detail = [np.abs(np.diff(x[..., 0].astype(float), axis=1)) for x in (made, shown)]
            for where, wanted in ((inside, stays), (outside & rim(canvas.size), 1.0)):
                ratio = detail[0][where[:, 1:]].mean() / detail[1][where[:, 1:]].mean()
                assert ratio == pytest.approx(wanted, abs=0.15), (size, level)


def rim(size: tuple[int, int]) -> np.ndarray:
    """bool [H, W]: all but the outer tenth, where what is painted fades."""
    inner = np.zeros(size, bool)
    down, right = (side // 10 for side in size)
    inner[down:-down, right:-right] = True
    return inner


def test_dubbed_pictures_are_composed_on_the_videos_own():
    picture = photograph(120, 121)
    to_unit = np.array([[1 / 80, 0, -0.25], [0, 1 / 80, -0.25]])
    made = Composer(picture_canvas(picture, to_unit, POINTS), SIDE, Light(), still=True)(*parts(1))[0]
    assert made.shape == (120, 120, 3) and np.array_equal(made[:30], picture[:30, :120])


@pytest.mark.parametrize("size", [64, 200])
def test_a_square_that_begins_with_a_cell_is_enlarged_as_any_other(size):
    """By resizing instead of a warp: the same frames, but for the square's rim."""
    canvas = canvas_of(photograph(), in_pixels(), size, "face", SIDE)
    quick = Composer(canvas, SIDE, Light())
    assert quick.cells == (slice(8, 8 + SIDE), slice(8, 8 + SIDE))
    slow = Composer(canvas, SIDE, Light())
    slow.cells = None
    change, offsets = (cv2.GaussianBlur(part[0], (0, 0), 2)[None] for part in parts(1))
    a, b = (composer(change, offsets)[0, 8:-8, 8:-8].astype(int) for composer in (quick, slow))
    assert np.abs(a - b).mean() < 1 and np.abs(a - b).max() <= 6
    turned = canvas_of(photograph(), in_pixels(roll=0.7), "native", "picture", SIDE)
    assert Composer(turned, SIDE, Light()).cells is None


def test_a_doubled_picture_keeps_its_pixels_and_is_smooth_between_them():
    """Halfway between pixels of a wave that a picture can show, the wave goes on; at its edges it is mirrored."""
    y, x = np.mgrid[:40, :60]
    wave = lambda x, y: np.rint(128 + 90 * np.cos(np.pi * x * 12 / 59) * np.cos(np.pi * y * 8 / 39))  # noqa: E731
    picture = np.stack([wave(x, y), 255 - wave(x, y), 0 * x + 7], -1).astype(np.uint8)
    twice = doubled(picture)
    assert twice.shape == (79, 119, 4) and np.array_equal(twice[::2, ::2, :3], picture)
    y, x = np.mgrid[:79, :119] / 2
    assert np.abs(twice[..., 0] - wave(x, y)).max() <= 2 and (twice[..., 2] == 7).all()


def test_a_head_moved_by_parts_of_a_pixel_keeps_its_sharpness():
    """0.85 of it; linear interpolation in the picture itself keeps 0.68, cubic interpolation 0.89."""
    picture = cv2.GaussianBlur(photograph(400, 400), (0, 0), 0.7)
    canvas = canvas_of(picture, in_pixels(120, (140, 140)), "native", "picture", SIDE)
    change, offsets = np.zeros((1, SIDE, SIDE, 3), np.float32), np.zeros((1, SIDE, SIDE, 2), np.float32)
    middle = np.s_[160:240, 160:240]
    kept = []
    for step in np.arange(0, 1, 0.125):
        made = Composer(canvas, SIDE, Light())(change, offsets + np.float32(step / 120))[0][middle]
        kept.append(np.abs(cv2.Laplacian(made, cv2.CV_32F)).mean())
    assert np.mean(kept) > 0.8 * kept[0]


@pytest.mark.parametrize("still", [False, True], ids=["moves", "still"])
@pytest.mark.parametrize("size, frame", [(SIDE, "face"), (2 * SIDE, "face"), (100, "face"), ("native", "picture")])
def test_of_what_is_painted_in_a_window_nothing_is_lost(size, frame, still):
    """Enlarged by itself, to the same pixels as within the whole square: exactly, or by a turned map within a level."""
    picture, points = np.full((300, 280, 3), 100, np.uint8), in_pixels(120, (140, 150))
    canvas = canvas_of(picture, points, size, frame, SIDE)
    change, offsets = parts()
    top, bottom, left, right = window = (SIDE // 3, SIDE, SIDE // 4, 3 * SIDE // 4 + 1)
    painted = np.zeros_like(change)
    painted[:, top:bottom, left:right] = np.random.default_rng(0).normal(
        0, 0.2, painted[:, top:bottom, left:right].shape
    )
    whole, part = (Composer(canvas, SIDE, Light(), still, w)(painted, offsets) for w in (None, window))
    assert np.abs(whole.astype(int) - part).max() <= 1
    assert (part != Composer(canvas, SIDE, Light(), still)(0 * painted, offsets)).any()


def test_parts_of_a_grid_are_widened_until_they_end_between_pixels():
    """Of cells of 2.5 pixels every second one; what would reach beyond the region ends with it."""
    assert whole_pixels(slice(13, 20), slice(10, 30), 2.5) == ((5, 30), (1, 2))
    assert whole_pixels(slice(13, 20), slice(10, 30), 1.0) == ((2, 11), (1, 1))
    assert whole_pixels(slice(10, 29), slice(10, 30), 2.0) == ((0, 40), (0, 1))
