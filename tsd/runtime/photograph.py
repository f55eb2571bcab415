"""A picture of one person, read and looked at, which needs no net of a chain: it can be done beside loading them."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsd.media.faces import Landmarks
from tsd.media.pictures import load_picture
from tsd.media.suitability import concerns
from tsd.media.turned import find_upright_face

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photograph:
    """``picture`` uint8 [H, W, 3], upright, and the one face in it."""

    picture: np.ndarray
    face: Landmarks

    @classmethod
    def read(cls, image: str | Path | np.ndarray) -> "Photograph":
        """A file, or uint8 [H, W, 3]. What may look wrong is said as a warning. Raises ValueError or FileNotFoundError
        where there is no such picture, no face, or several."""
        name, picture = ("picture", image) if isinstance(image, np.ndarray) else (image, load_picture(image))
        picture, found, quarters = find_upright_face(picture, name)
        if quarters:
            log.warning("%s: lies on its side or on its head: turned by %d degrees", name, 90 * quarters)
        for concern in concerns(picture, found):
            log.warning("%s: %s", name, concern)
        return cls(picture, found)
