"""Pictures that are hard to animate are told about in one sentence each."""

import re

import cv2
import numpy as np
import pytest

from tsd.media.faces import Landmarks
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
