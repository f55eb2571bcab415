"""Colours of a video look as they did before it was written again, and what cannot be kept is said."""

import av
import numpy as np
import pytest
from mini_corpus import disc_frames
from mixed_folder import INTERLACED, encode

from tsd.media.coding import MATRICES, PHOTOGRAPH, UNSAID, Coding, Colours
from tsd.media.video import read_frames, write_video

PATCHES = np.zeros((2, 64, 96, 3), np.uint8)
"""Colours that the matrices code differently, each large enough for chroma of half the size."""
for number, colour in enumerate(["c8283c", "28a03c", "3246c8", "e6dc28", "808080", "000000"]):
    PATCHES[:, 32 * (number // 3) :, 32 * (number % 3) : 32 * (number % 3) + 32] = list(bytes.fromhex(colour))

TAGS = {
    "HD": Colours(1, 1, 1),
    "SD": Colours(6, 6, 6),
    "PAL": Colours(5, 5, 6),
    "screen, full range": Colours(1, 1, 13, full=True),
    "phone, full range": Colours(5, 1, 6, full=True),
    "UHD": Colours(9, 9, 14),
    "nothing said": Colours(),
}


@pytest.mark.parametrize("colours", TAGS.values(), ids=TAGS)
def test_colours_come_back_as_they_were_and_keep_their_tags(tmp_path, colours):
    write_video(tmp_path / "a.mp4", PATCHES, colours=colours)
    assert Coding.of(tmp_path / "a.mp4").colours == colours
    middles = np.s_[0, 16::32, 16::32]
    assert np.abs(read_frames(tmp_path / "a.mp4")[middles].astype(int) - PATCHES[middles]).max() <= 4


def test_the_matrix_is_not_only_a_tag(tmp_path):
    """The same picture has other numbers in each; a tag alone would show other colours."""
    luma = []
    for colours in (TAGS["HD"], TAGS["SD"], TAGS["phone, full range"]):
        write_video(tmp_path / "a.mp4", PATCHES, colours=colours)
        with av.open(str(tmp_path / "a.mp4")) as container:
            luma.append(next(container.decode(video=0)).to_ndarray()[16, 16])
    assert len({int(value) // 3 for value in luma}) == 3


def test_a_generated_video_says_that_it_is_srgb(tmp_path):
    write_video(tmp_path / "a.mp4", disc_frames(2))
    assert Coding.of(tmp_path / "a.mp4").colours == PHOTOGRAPH
    assert UNSAID not in (PHOTOGRAPH.matrix, PHOTOGRAPH.primaries, PHOTOGRAPH.transfer)


@pytest.mark.parametrize(
    ("codec", "pixels", "options", "lost"),
    [
        ("libx264", "yuv420p", {}, []),
        ("libx264", "yuv420p10le", {}, ["pixels of yuv420p10le became yuv420p"]),
        ("libx264", "yuv444p", {}, ["pixels of yuv444p became yuv420p"]),
        ("ffv1", "yuv422p", {}, ["pixels of yuv422p became yuv420p"]),
        ("ffv1", "bgr0", {}, ["pixels of bgr0 became yuv420p"]),
        ("libx264", "yuv420p", {"x264-params": "interlaced=1"}, ["interlaced lines stay"]),
        ("mpeg2video", "yuv420p", INTERLACED, ["interlaced lines stay"]),
        ("libx264", "yuv420p", {"aspect": "16:11"}, ["pixels 1.45 times as wide as high became square"]),
    ],
)
def test_what_cannot_be_kept_is_said(tmp_path, codec, pixels, options, lost):
    path = encode(tmp_path / "a.mkv", list(disc_frames(4)), codec=codec, options=options, pixels=pixels)
    coding = Coding.of(path)
    said = coding.lost()
    assert coding.colours.matrix in (*MATRICES, UNSAID), "something that yuv420p can have"
    assert len(said) == len(lost) and all(words in sentence for words, sentence in zip(lost, said, strict=True))
