"""Picture files of any kind as pixels."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tsd.media.container import open_media

LARGEST = 4096
"""Pixels of the longer side of a picture that is read: larger ones are made smaller (our choice)."""

MOST_PIXELS = 300_000_000
"""Pixels of a picture file: a phone's largest has 200 million, and a damaged header may ask for more than there is."""


def load_picture(path: str | Path) -> np.ndarray:
    """Any picture that Pillow reads, HEIC too, as uint8 [H, W, 3] RGB, upright (EXIF), transparency on white.

    16-bit and floating-point grey are scaled to 8 bits. Raises FileNotFoundError, or ValueError for a file that is not
    a picture or has more than MOST_PIXELS.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such picture")
    if not path.stat().st_size:
        raise ValueError(f"{path}: the file is empty; copy it again")
    _read_heic()
    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture.draft("RGB", (LARGEST, LARGEST))  # of a JPEG, only as many pixels as are asked for are decoded
            picture = _eight_bits(ImageOps.exif_transpose(picture))
            picture.thumbnail((LARGEST, LARGEST), reducing_gap=2)
            picture = picture.convert("RGBA")
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: has more than {MOST_PIXELS / 1e6:.0f} million pixels; make it smaller") from error
    except (OSError, ValueError, SyntaxError) as error:
        kind = "a video or sound, not a picture" if _is_media(path) else "not a picture that can be read"
        raise ValueError(f"{path}: {kind}; give a png or jpg") from error
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))


def _is_media(path: Path) -> bool:
    """Whether it is a video or sound; a damaged jpg opens as a video of one."""
    try:
        with open_media(path) as container:
            videos = [stream.codec_context for stream in container.streams.video]
            return bool(container.streams.audio) or any(codec and codec.name != "mjpeg" for codec in videos)
    except ValueError:
        return False


def _read_heic() -> None:
    """Let Pillow read HEIC, what phones write, and limit its pictures to MOST_PIXELS."""
    from pi_heif import register_heif_opener

    register_heif_opener()
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow warns from here on and refuses from twice as many on


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits, 32 bits or floating point -> 8 bits; Pillow's own conversion cuts off instead of scaling."""
    if picture.mode not in ("F", "I") and not picture.mode.startswith("I;16"):
        return picture
    values = np.nan_to_num(np.asarray(picture, np.float64))
    top = values.max(initial=0)
    white = next((white for white in (1.0, 255.0, 65535.0) if top <= white), top)
    if picture.mode != "F" and top > 255:
        white = max(white, 65535.0)
    return Image.fromarray((np.clip(values / white, 0, 1) * 255).round().astype(np.uint8))
