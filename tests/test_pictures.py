"""Pictures of any kind are read as they are meant to be seen, or refused by name."""

import base64

import numpy as np
import pytest
from mini_corpus import write_disc
from PIL import Image

from tsd.media import pictures
from tsd.media.audio import write_wav
from tsd.media.pictures import load_picture


def test_pictures_are_read_upright_and_opaque(tmp_path):
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[0, 0] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = load_picture(tmp_path / "a.png")
    assert picture.shape == (4, 6, 3) and tuple(picture[0, 0]) == (255, 0, 0) and (picture[2:] == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    Image.new("RGB", (6, 4)).save(tmp_path / "b.jpg", exif=exif)
    assert load_picture(tmp_path / "b.jpg").shape == (6, 4, 3)


def test_files_that_are_not_pictures_are_named(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"a\.png: not a picture"):
        load_picture(tmp_path / "a.png")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:80])
    with pytest.raises(ValueError, match=r"b\.png: not a picture"):
        load_picture(tmp_path / "b.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"empty\.png: the file is empty"):
        load_picture(tmp_path / "empty.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        load_picture(tmp_path / "gone.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(pictures, "MOST_PIXELS", 2000)
    with pytest.raises(ValueError, match=r"bomb\.png: has more than 0 million pixels"):
        load_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize("name", ["clip.mp4", "voice.wav", "clip.jpg"])
def test_what_is_a_video_or_sound_is_said(tmp_path, name):
    """A clip by the name of a picture too."""
    if name == "voice.wav":
        write_wav(tmp_path / name, np.ones(1600, np.float32) / 2)
    else:
        write_disc(tmp_path / "a.mp4", 3)
        (tmp_path / "a.mp4").rename(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: a video or sound, not a picture; give a png or jpg"):
        load_picture(tmp_path / name)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_half_a_picture_is_no_video(tmp_path, name):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:900])
    with pytest.raises(ValueError, match=rf"{name}: not a picture that can be read"):
        load_picture(tmp_path / name)


def ramp() -> np.ndarray:
    """uint8 [40, 60]: every grey from black to white."""
    return np.linspace(0, 255, 2400).reshape(40, 60).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a.png", lambda grey: (grey * 257.0).astype(np.uint16)),
        ("a.tif", lambda grey: (grey * 257.0).astype(np.uint16)),
        ("b.tif", lambda grey: grey.astype(np.float32)),
        ("c.tif", lambda grey: grey.astype(np.float32) / 255),
        ("d.tif", lambda grey: grey.astype(np.float32) * 257),
        ("e.tif", lambda grey: grey.astype(np.int32) * 257),
        ("f.tif", lambda grey: grey.astype(np.int32)),
    ],
)
def test_grey_of_more_than_eight_bits_is_scaled(tmp_path, name, values):
    Image.fromarray(values(ramp())).save(tmp_path / name)
    read = load_picture(tmp_path / name)
    assert read.shape == (40, 60, 3) and np.abs(read.astype(int) - ramp()[..., None]).max() <= 1


def test_values_that_are_no_numbers_are_black(tmp_path):
    values = ramp().astype(np.float32) / 255
    values[0, :5] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert (load_picture(tmp_path / "a.tif")[0, :5] == 0).all() and load_picture(tmp_path / "a.tif")[-1, -1, 0] == 255


@pytest.mark.parametrize(("name", "size"), [("a.jpg", (9000, 1200)), ("b.png", (5000, 700)), ("c.webp", (4500, 300))])
def test_pictures_larger_than_needed_are_made_smaller(tmp_path, name, size):
    Image.new("RGB", size, "red").save(tmp_path / name)
    read = load_picture(tmp_path / name)
    assert max(read.shape) == pictures.LARGEST
    assert read.shape[0] / read.shape[1] == pytest.approx(size[1] / size[0], rel=0.01) and read[5, 5, 0] > 240


HEIC = (
    "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<0004fZDn*}000000000XXk=`10000000000aA{+700000000000000000000B57=I"
    "V*mgE07O6l0RRC200001p#T8@00000004pj001LtX>Mi!000000RR916=`l}WdZ;I000310BCk&F#rGn01j|zbZr0t000010002}"
    "X>f9I0002pX>en20001XXm(>m0RwOV0058x000009`FGC{rLC*01pFT0096PKmiN^|NjGU00093kN^M!000939=ZZRVE_RDDnbDP"
    "18@KU0|1Z!00RI30{|YNAb|yz>g1-mxCm%4AOHXZ10VnZ0{|gn00967L;=Bbz=;3=025<xY;ta6Y<K_x01W^JfB*mh6lrsCWdHyG"
    "00000KmY&$KmY&$C}V74Z~y=RKmY&$0RR91FaQ7m0RR91000000{{R2@Bjb+0ssI25O8UDX#fBK00RgJ2mk;87-?{AVE_OC00000"
    "0RRC7fdT^sga7~lifv?JbN~PVekcL26M*G0_y4!~Ki{K2$uee6pu{i!Sd;0$zm%NSRrzc`{^97F2<Pz0Vvc?>wTry&R_!nb(H=)M"
    "%+<70oN;^G@%(Qqm%Iu9(CeOSWsq9)@RYm6zyqZDe=}P~MnG6*tg|p$42}deTmtvNohcIlch#P4R&{oM@S#B"
)
"""A picture of 64 x 48 in base 85: a quarter red at the top left, a quarter blue at the bottom right, else black."""


def test_what_a_phone_writes(tmp_path):
    (tmp_path / "a.HEIC").write_bytes(base64.b85decode(HEIC))
    read = load_picture(tmp_path / "a.HEIC").astype(int)
    assert read.shape == (48, 64, 3)
    for row, column, colour in ((12, 16, (220, 30, 30)), (36, 48, (30, 30, 220)), (12, 48, (0, 0, 0))):
        assert np.abs(read[row, column] - colour).max() < 12
