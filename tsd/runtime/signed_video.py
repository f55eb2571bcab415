"""A talker's video as a finished file: pictures, sound, a visible label, plain metadata and a signed manifest."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

import numpy as np

from tsd.media.coding import PHOTOGRAPH, Colours
from tsd.media.credentials import Credentials
from tsd.media.label import TEXT, labelled
from tsd.media.provenance import NO_CONSENT, Origin, sign
from tsd.media.sound import Sound
from tsd.media.video import write_video
from tsd.runtime.talker import Talker

Pieces = Iterator[np.ndarray]
"""Frames uint8 [n, H, W, 3], one piece after the other."""


def write_signed_video(
    path: str | Path,
    talker: Talker,
    pieces: Pieces,
    sound: Sound | None,
    inputs: Mapping[str, str | Path | None],
    signer: Credentials,
    label: bool = False,
    keep: Callable[[Pieces, Origin], Pieces] | None = None,
    colours: Colours = PHOTOGRAPH,
) -> None:
    """An mp4 of a run of ``talker``, written while its frames are made.

    inputs: see ``Talker.origin``. label: whether every frame says that it was generated. keep: passes the frames
    on, and may store them as well. colours: see ``write_video``.
    """
    first = list(islice(pieces, 1))  # the mark is known once frames are made
    origin, shown = talker.origin(**inputs), map(even, chain(first, pieces))
    if label:
        lines = (TEXT,) if talker.consent else (TEXT, NO_CONSENT)
        shown = (labelled(piece, *lines) for piece in shown)
    if keep is not None:
        shown = keep(shown, origin)
    write_video(path, shown, sound, comment=origin.sentence, colours=colours)
    sign(path, origin, signer)


def even(frames: np.ndarray) -> np.ndarray:
    """uint8 [n, H, W, 3] without the last row or column where their number is odd: H.264 knows none such."""
    height, width = (size // 2 * 2 for size in frames.shape[1:3])
    return frames[:, :height, :width]
