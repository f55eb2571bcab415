"""What makes a picture of a face hard to animate, each in one sentence that names what was seen."""

import cv2
import numpy as np

from tsd.media.faces import MAX_ROLL, Landmarks, framing
from tsd.media.heads import TURNED
from tsd.media.light import LUMINANCE

SMALL = 96
"""Pixels across the face's square below which a picture counts as small: three quarters of what nets work with."""

FLAT = 0.025
"""Std of a mouth's luminance from top to bottom, over its mean, below which no lips are seen. Our choice, not
calibrated on photographs."""


def concerns(image: np.ndarray, face: Landmarks) -> list[str]:
    """Sentences about a uint8 [H, W, 3] picture and its face; none where nothing speaks against it."""
    left, right, nose, *corners = face.points.astype(np.float64)
    eyes, mouth = (left + right) / 2, np.mean(corners, 0)
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
    if (contrast := mouth_contrast(image, np.stack(corners), mouth - eyes)) < FLAT:
        found.append(
            f"no lips are seen where the mouth should be (contrast {contrast:.3f}): it may be covered, or not drawn; "
            "what is painted there is invented"
        )
    return found


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
