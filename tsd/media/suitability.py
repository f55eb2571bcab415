"""What makes a picture of a face hard to animate, each in one sentence that names what was seen."""

import cv2
import numpy as np

from tsd.media.faces import MAX_ROLL, Landmarks, framing
from tsd.media.heads import TURNED
from tsd.media.light import BRIGHT, LARGEST_GAIN, LUMINANCE

SMALL = 96
"""Pixels across the face's square below which a picture counts as small: three quarters of what nets work with."""

FLAT = 0.025
"""Std of a mouth's luminance from top to bottom, over its mean, below which no lips are seen. Our choice, not
calibrated on photographs."""

LIPS = 1.0
"""Units of Lab's a by which the reddest tenth of a mouth is redder than the cheeks, below which no lips are seen: masks
and fingers are as red as what is around them, foam less. Our choice."""

PLAIN, STARK = 0.08, 0.35
"""The same std between which lips may be pale: cloth and fingers have less, foam of a microphone more. Our choice."""

GREY = 6.0
"""Chroma in Lab below which the more coloured quarter of a face counts as grey: redness says nothing then."""


def concerns(image: np.ndarray, face: Landmarks) -> list[str]:
    """Sentences about a uint8 [H, W, 3] picture and its face; none where nothing speaks against it."""
    left, right, nose, *_ = face.points.astype(np.float64)
    eyes = (left + right) / 2
    across = right - left
    apart = max(float(np.linalg.norm(across)), 1e-6)
    turned = float((nose - eyes) @ across) / apart**2
    lean = float(np.arctan2(across[1], across[0]))
    side = 1 / np.sqrt(abs(np.linalg.det(framing(face.points)[:, :2])))
    found = []
    if abs(turned) > TURNED:
        found.append(
            f"the head is turned to the side (the nose is {abs(turned):.2f} eye distances off the middle, more than "
            f"{TURNED}): one half of the mouth will be invented; a picture from the front is better"
        )
    if abs(lean) > 2.5 * MAX_ROLL:
        found.append(f"the head leans by {np.degrees(abs(lean)):.0f} degrees: its motion may look wrong")
    if side < SMALL:
        found.append(f"the face's square is only {side:.0f} pixels across: a picture with {SMALL} or more is sharper")
    if (bright := brightest(image, face)) < BRIGHT / LARGEST_GAIN:
        found.append(
            f"the face is very dark (its brightest tenth has {255 * bright:.0f} of 255): a brighter picture is better"
        )
    if why := no_lips(image, face):
        found.append(
            f"no lips are seen where the mouth should be ({why}): it may be covered by a mask, a hand or a microphone, "
            "or not drawn; what is painted there is invented"
        )
    return found


def brightest(image: np.ndarray, face: Landmarks) -> float:
    """Luminance in 0..1 that a tenth of the face's box exceeds."""
    return float(np.quantile(_box(image, face) @ LUMINANCE, 0.9)) / 255


def no_lips(image: np.ndarray, face: Landmarks) -> str:
    """Why no lips are seen in a uint8 [H, W, 3] picture; empty where they are."""
    left, right, _, *corners = face.points.astype(np.float64)
    down = np.mean(corners, 0) - (left + right) / 2
    contrast = mouth_contrast(image, np.stack(corners), down)
    if contrast < FLAT:
        return f"contrast {contrast:.3f}"
    if PLAIN <= contrast <= STARK:
        return ""
    lab = cv2.cvtColor(_box(image, face) / 255, cv2.COLOR_RGB2LAB)
    coloured = np.quantile(np.linalg.norm(lab[..., 1:], axis=-1), 0.75) >= GREY
    pale = coloured and redness(image, face) < LIPS
    return f"no redder than the cheeks, contrast {contrast:.3f}" if pale else ""


def _box(image: np.ndarray, face: Landmarks) -> np.ndarray:
    """float32 [h, w, 3]: the face's box, as far as it lies in the picture; of large ones not every pixel."""
    x0, y0, x1, y1 = np.maximum(face.box, 0).astype(int)
    step = max(1, (x1 - x0) // SMALL)
    return image[y0 : max(y1, y0 + 1) : step, x0 : max(x1, x0 + 1) : step].astype(np.float32)


def redness(image: np.ndarray, face: Landmarks) -> float:
    """Lab's a that a tenth of the mouth exceeds, less the median of both cheeks."""
    left, right, _, left_corner, right_corner = face.points.astype(np.float64)
    across, mouth = right_corner - left_corner, (left_corner + right_corner) / 2
    down = mouth - (left + right) / 2
    cheeks = [0.45 * left + 0.55 * left_corner - 0.12 * across, 0.45 * right + 0.55 * right_corner + 0.12 * across]
    seen = [_reds(image, cheek, 0.1 * across, 0.08 * down) for cheek in cheeks]
    return float(np.quantile(_reds(image, mouth, 0.45 * across, 0.22 * down), 0.9) - np.median(seen))


def _reds(image: np.ndarray, middle: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """float32 [13, 13]: Lab's a on a grid of ``across`` and ``down`` to either side of a point."""
    steps = np.linspace(-1, 1, 13)
    places = (middle + steps[:, None, None] * down + steps[None, :, None] * across).astype(np.float32)
    colours = cv2.remap(image, places[..., 0], places[..., 1], cv2.INTER_LINEAR)
    return cv2.cvtColor(colours.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 1]


def mouth_contrast(image: np.ndarray, corners: np.ndarray, down: np.ndarray) -> float:
    """Std of the luminance from above to below the mouth, along the middle of it, over its mean."""
    length = max(float(np.linalg.norm(down)), 1e-6)
    down = down / length
    place = corners.mean(0) + np.linspace(-0.3, 0.3, 33)[:, None] * length * down
    profiles = [
        cv2.remap(image, (place + step * (corners[1] - corners[0])).astype(np.float32)[None], None, cv2.INTER_LINEAR)[0]
        for step in np.linspace(-0.25, 0.25, 9)
    ]
    profile = np.mean(profiles, 0).astype(np.float32) @ LUMINANCE
    return float(profile.std() / max(float(profile.mean()), 1.0))
