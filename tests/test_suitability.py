"""Pictures that are hard to animate are told about in one sentence each."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from covered_faces import COVERS, covered

from tsd.media.faces import Landmarks, find_face
from tsd.media.pictures import load_picture
from tsd.media.suitability import concerns

FRONT = np.float32([(80, 90), (140, 90), (110, 122), (88, 155), (132, 155)])


def face(points=FRONT, mouth: bool = True) -> tuple[np.ndarray, Landmarks]:
    image = np.full((260, 220, 3), 170, np.uint8)
    if mouth:
        middle = points[3:].mean(0).astype(int)
        cv2.ellipse(image, tuple(map(int, middle)), (24, 6), 0, 0, 360, (120, 60, 60), -1)
    box = np.float32([60, 60, 160, 190])
    return image, Landmarks(points, box, 0.99)


def test_nothing_is_said_of_a_face_seen_from_the_front():
    assert concerns(*face()) == []


@pytest.mark.parametrize(
    ("points", "mouth", "words"),
    [
        (
            FRONT + np.float32([[0, 0], [0, 0], [30, 0], [0, 0], [0, 0]]),
            True,
            "turned to the side .* 0.50 eye distances",
        ),
        (FRONT, False, "no lips are seen"),
        ((FRONT - FRONT.mean(0)) * 0.3 + 100, True, "only .* pixels across"),
        ((FRONT - 110) @ np.float32([[0.7, 0.7], [-0.7, 0.7]]) + 110, True, "leans by 45 degrees"),
    ],
)
def test_each_concern_is_one_sentence(points, mouth, words):
    said = concerns(*face(points.astype(np.float32), mouth))
    assert len(said) == 1 and "\n" not in said[0]
    assert re.search(words, said[0])


@pytest.fixture(scope="module")
def drawn():
    """A drawn person, uint8 [256, 256, 3], and the face."""
    image = load_picture(Path(__file__).parents[1] / "experiments/quality/face.png")
    image = cv2.resize(image, (256, 256), interpolation=cv2.INTER_CUBIC)
    return image, find_face(image)


@pytest.mark.parametrize("how", COVERS)
def test_a_covered_mouth_is_named(drawn, how):
    image, face = drawn
    said = concerns(covered(image, face.points, how), face)
    assert len(said) == 1 and "covered by a mask, a hand or a microphone" in said[0]


@pytest.mark.parametrize("light", ["as it is", "grey", "dim", "warm"])
def test_nothing_is_said_of_a_mouth_that_is_seen(drawn, light):
    """Dim and grey pictures get a mouth in their own light (``media.light``)."""
    image, face = drawn
    image = {
        "as it is": image,
        "grey": np.repeat(image.mean(2, keepdims=True), 3, 2).astype(np.uint8),
        "dim": image // 3,
        "warm": np.clip(image * np.float32([1.15, 1, 0.7]), 0, 255).astype(np.uint8),
    }[light]
    assert concerns(image, face) == []


@pytest.mark.parametrize("share", [0.03, 0.06, 0.1])
def test_a_very_dark_face_is_named(drawn, share):
    image, face = drawn
    said = concerns((image * share).astype(np.uint8), face)
    assert any(re.search(r"very dark \(its brightest tenth has \d+ of 255\)", sentence) for sentence in said)
