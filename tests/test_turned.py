"""A picture that lies on its side or on its head is used upright; an upright one is left as it is."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_talkers import talker

from tsd.media import turned
from tsd.media.faces import Landmarks, detect_faces, find_face
from tsd.media.pictures import load_picture
from tsd.media.turned import CERTAIN, certainty, find_upright_face

FRONT = np.float32([(80, 90), (140, 90), (110, 122), (88, 155), (132, 155)])
"""[5, 2] of an upright face in a picture of 260 x 220 pixels."""


@pytest.fixture(scope="module")
def portrait():
    """A drawn person, uint8 [200, 160, 3], in a picture that is higher than wide."""
    picture = np.full((200, 160, 3), 90, np.uint8)
    face = load_picture(Path(__file__).parents[1] / "experiments/quality/face.png")
    picture[20:180] = cv2.resize(face, (160, 160), interpolation=cv2.INTER_AREA)
    return picture


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_turned_picture_is_used_upright(portrait, quarters):
    upright, face, back = find_upright_face(np.rot90(portrait, -quarters).copy(), "a.png")
    assert back == quarters and np.array_equal(upright, portrait)
    assert np.abs(face.points - find_face(portrait).points).max() < 1e-3


@pytest.mark.parametrize("quarters", [0, 1])
def test_turning_is_said(portrait, tmp_path, caplog, quarters):
    cv2.imwrite(str(tmp_path / "a.png"), np.rot90(portrait, -quarters)[..., ::-1])
    with caplog.at_level(logging.WARNING):
        speaker = talker().face(tmp_path / "a.png")
    height, width = speaker.canvas.picture.shape[:2]
    assert height > width
    assert ("a.png: lies on its side or on its head: turned by 90 degrees" in caplog.text) == bool(quarters)


def seen(probability: float, lean: float = 0.0, size: float = 1.0) -> list[Landmarks]:
    """What the detector says of one face, leaning by so many degrees, its landmarks ``size`` times as far apart."""
    cos, sin = np.cos(np.radians(lean)), np.sin(np.radians(lean))
    points = size * (FRONT - 110) @ np.float32([[cos, sin], [-sin, cos]]) + 110
    return [Landmarks(points.astype(np.float32), np.float32([60, 60, 160, 190]), probability)]


@pytest.mark.parametrize(
    ("looks", "quarters"),
    [
        ([seen(0.98), [], [], seen(0.94)], 0),
        ([seen(0.98), seen(0.9999), [], seen(0.99)], 1),
        ([seen(0.999, lean=80), seen(0.95), [], seen(0.99, lean=-60)], 1),
        ([[], [], seen(0.95), []], 2),
        ([seen(0.97, lean=-60), [], [], []], 0),
        ([seen(0.98, lean=-60), [], seen(0.999, size=0.4), seen(0.977)], 3),
    ],
)
def test_the_position_counts_in_which_the_detector_is_surest(monkeypatch, looks, quarters):
    """A hard upright picture, a turned one, one that lies, one on its head, a lean that no position mends, and what is
    taken for a face with all landmarks in one place."""
    picture = np.zeros((260, 220, 3), np.uint8)
    picture[0, 0] = 255
    corners = [(0, 0), (-1, 0), (-1, -1), (0, -1)]  # where this one comes to lie, turned anticlockwise

    def seen_there(image: np.ndarray) -> list[Landmarks]:
        return next(look for look, corner in zip(looks, corners, strict=True) if image[corner].any())

    monkeypatch.setattr(turned, "detect_faces", seen_there)
    assert find_upright_face(picture)[2] == quarters


def test_a_certain_face_is_not_looked_for_elsewhere(monkeypatch):
    looks = []
    monkeypatch.setattr(turned, "detect_faces", lambda image: looks.append(1) or seen(CERTAIN))
    find_upright_face(np.zeros((260, 220, 3), np.uint8))
    assert len(looks) == 1 and certainty(seen(1.0, lean=50)) == 0 == certainty([])


@pytest.mark.parametrize("light", [0.05, 0.08, 0.2])
def test_a_dark_face_is_found(portrait, light):
    grain = np.random.default_rng(0).normal(0, 1, portrait.shape)
    dark = np.clip(portrait * light + grain, 0, 255).astype(np.uint8)
    (face,) = detect_faces(dark)
    assert np.abs(face.points - find_face(portrait).points).max() < 12  # of 160: grain is brightened too
    assert detect_faces(np.clip(3 + 0 * portrait + grain, 0, 255).astype(np.uint8)) == []
