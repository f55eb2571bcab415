"""The visible label: read on any picture, at any size."""

import cv2
import numpy as np
import pytest

from tsd.media.label import TEXT, drawn, labelled


def of_grey(level: int, height: int, width: int) -> np.ndarray:
    return labelled(np.full((2, height, width, 3), level, np.uint8), TEXT, "consent not stated")


@pytest.mark.parametrize("height, width", [(128, 128), (256, 256), (1024, 1024), (360, 640), (640, 360)])
def test_letters_are_white_and_have_a_dark_edge_all_round(height, width):
    white, black = of_grey(255, height, width)[0, ..., 0], of_grey(0, height, width)[0, ..., 0]
    letters = black > 128
    assert 0.01 < letters.mean() < 0.2 and black.max() > 200
    ring = cv2.dilate(letters.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & (black < 16)
    assert np.median(white[ring]) < 100, "on white the edge is dark, where on black there is none"
    assert np.array_equal(white[letters] > 128, np.ones(letters.sum(), bool)), "letters are bright on white, too"
    rows, columns = np.nonzero(letters)
    assert rows.min() > height / 2 and columns.max() < width and np.ptp(columns) > 0.6 * width


def test_only_the_label_changes_and_it_is_the_same_in_every_frame():
    frames = np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), np.uint8)
    out, (letters, edge) = labelled(frames, TEXT), drawn((96, 128), (TEXT,))
    assert out.dtype == np.uint8 and np.array_equal(out[:, ~edge], frames[:, ~edge])
    assert (out[:, letters == 255] == 255).all() and (out[:, edge & (letters == 0)] == 0).all()
    assert (letters == 255).any() and not edge[:48].any()
