"""How far eyes are open, seen in pictures: compared with what was drawn."""

from functools import cache

import numpy as np
import pytest

from tsd.media.lids import eyes_open
from tsd.prepare.drawn.acting import MOUTH, act
from tsd.prepare.drawn.drawing import Head
from tsd.prepare.drawn.people import draw_person

SIZE, FRAMES = 128, 100


@cache
def performed(seed: int, woman: bool):
    """A drawn person, and how they move."""
    rng = np.random.default_rng(seed)
    return Head(draw_person(rng, woman), SIZE), act(rng, [], FRAMES)


@cache
def drawn(seed: int, woman: bool, blinks: bool = True):
    """Frames of a drawn person who moves, looks about and says nothing; landmarks in pixels; the true opening.

    Never change what this returns.
    """
    head, acting = performed(seed, woman)
    opening = acting.eyes_open if blinks else np.full(FRAMES, acting.eyes_open.max())
    still = np.zeros(len(MOUTH), np.float32)
    pictures = [head.draw(still, acting.pose[t], opening[t], acting.gaze[t], 0.0) for t in range(FRAMES)]
    points = np.zeros((FRAMES, 5, 2))
    points[:, :3] = np.stack([truth["motion"][:6].reshape(3, 2) for _, truth in pictures]) * SIZE
    return np.stack([picture for picture, _ in pictures]), points, opening


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (3, 4, 5))])
def test_blinks_are_seen_where_they_are(seed):
    frames, points, opening = drawn(seed, woman=seed % 2 == 0)
    assert opening.min() < 0.1, "somebody who blinks"
    seen = eyes_open(frames, points)
    assert seen.shape == (FRAMES,) and seen.dtype == np.float32 and seen.min() == 0 and seen.max() == 1
    assert np.corrcoef(seen, opening)[0, 1] > 0.94
    assert np.corrcoef(np.roll(seen, 8), opening)[0, 1] < 0.5, "not in step"


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_eyes_that_only_look_about_stay_open(seed):
    frames, points, _ = drawn(seed, woman=seed % 2 == 0, blinks=False)
    assert (eyes_open(frames, points) == 1).all()


def test_the_light_and_the_size_of_the_picture_do_not_matter():
    frames, points, _ = drawn(1, woman=False)
    seen = eyes_open(frames, points)
    np.testing.assert_allclose(eyes_open((frames * 0.6).astype(np.uint8), points), seen, atol=0.1)
    doubled = frames.repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(eyes_open(iter(doubled), 2 * points + 0.5), seen, atol=0.1)


def test_where_nothing_can_be_seen_eyes_are_open():
    frames, points, _ = drawn(0, woman=True)
    assert (eyes_open(np.zeros_like(frames), points) == 1).all()
    assert (eyes_open(frames, np.full_like(points, 40.0)) == 1).all(), "both eyes in one place"
    assert (eyes_open(frames, points + 1000) == 1).all(), "outside the picture"
    assert eyes_open(frames[:0], points[:0]).shape == (0,)
    with pytest.raises(ValueError):
        eyes_open(frames[:3], points)
