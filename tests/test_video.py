from itertools import islice

import av
import numpy as np
import pytest
import soundfile
from mini_corpus import disc_frames, write_disc
from mixed_folder import encode
from odd_containers import growing, remuxed, trimmed
from PIL import Image

from tsd.media import backends, video
from tsd.media.audio import load_audio
from tsd.media.sound import Sound
from tsd.media.timeline import read_timeline, there_and_back
from tsd.media.video import read_frames, resize_square, video_info, write_video


def test_written_frames_come_back(tmp_path):
    frames = disc_frames(12)
    write_video(tmp_path / "a.mp4", frames, np.zeros(10))
    info = video_info(tmp_path / "a.mp4")
    assert (info.num_frames, info.fps, info.height, info.width, info.has_audio) == (12, 25, 64, 64, True)
    back = read_frames(tmp_path / "a.mp4")
    assert back.dtype == np.uint8 and back.shape == frames.shape
    error = (back.astype(float) - frames) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 25  # chroma is halved: not lossless
    assert not video_info(_silent(tmp_path)).has_audio


def _silent(folder):
    write_video(folder / "silent.mp4", disc_frames(3))
    return folder / "silent.mp4"


def test_sound_stays_in_step_to_the_sample(tmp_path):
    wave = np.zeros(50 * 640, np.float32)
    wave[8000:8080], wave[24000:24080] = 0.9, -0.9
    write_video(tmp_path / "a.mp4", disc_frames(50), wave)
    back = load_audio(tmp_path / "a.mp4")
    assert len(back) == len(wave)
    assert abs(np.argmax(back > 0.4) - 8000) < 40
    assert abs(np.argmax(back < -0.4) - 24000) < 40


def test_sound_is_cut_and_padded_to_the_frames(tmp_path):
    for num_samples in (100, 100_000):
        write_video(tmp_path / "a.mp4", disc_frames(25), np.full(num_samples, 0.1, np.float32))
        assert len(load_audio(tmp_path / "a.mp4")) == 16000


def _working() -> list[str]:
    """The decoders that are installed and find their libraries."""
    return list(filter(backends.works, backends.BACKENDS))


@pytest.mark.parametrize("keyframe_every", [4, 250])
def test_all_decoders_give_the_same_frames(tmp_path, keyframe_every):
    path, wanted = tmp_path / "a.mp4", [7, 3, 29, 3, 28, 15]
    write_video(path, disc_frames(30), np.zeros(10), keyframe_every=keyframe_every)
    with av.open(str(path)) as container:  # in order, without seeking
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    for name in _working():
        found = backends.BACKENDS[name](path, wanted)
        assert np.abs(found.astype(int) - frames[wanted]).max() <= 1, name
    assert (read_frames(path, [5])[0] == frames[5]).mean() > 0.99 and (frames[5] != frames[6]).any()


def test_only_what_is_needed_is_decoded(tmp_path, monkeypatch):
    path, jumps, number = tmp_path / "a.mp4", [], backends._number
    write_video(path, disc_frames(100), keyframe_every=10)

    def noted(frame, stream) -> int:
        jumps.append(number(frame, stream))
        return jumps[-1]

    monkeypatch.setattr(backends, "_number", noted)
    backends.read_pyav(path, [95, 7, 43])
    assert jumps == [40, 90]  # the keyframes before 43 and 95


def test_a_decoder_is_chosen_by_name(tmp_path, monkeypatch):
    write_disc(tmp_path / "a.mp4", 5)
    with pytest.raises(ValueError, match="data.decoder=none: is not installed here; choose auto or one of .*pyav"):
        read_frames(tmp_path / "a.mp4", decoder="none")
    monkeypatch.setattr(backends, "works", lambda name: name != "torchcodec")
    assert backends.backend() is backends.read_pyav and backends.backend("decord") is backends.read_decord
    monkeypatch.setattr(backends, "works", lambda name: True)
    assert backends.backend() is backends.read_torchcodec
    monkeypatch.setattr(backends, "works", lambda name: name == "decord")
    assert backends.backend() is backends.read_decord


def test_resizing_takes_the_middle_square_and_averages():
    wide = np.zeros((1, 8, 16, 3), np.uint8)
    wide[:, :, 4:12] = np.kron(np.indices((8, 8)).sum(0) % 2 * 200, 1)[..., None]
    small = resize_square(wide, 4)
    assert small.shape == (1, 4, 4, 3) and (small == 100).all()


@pytest.mark.parametrize("backend", _working())
@pytest.mark.parametrize("damage", ["zeros", "cut", "noise"])
def test_a_broken_middle_is_named(tmp_path, backend, damage):
    path = tmp_path / "a.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if damage == "cut":
        del data[middle:]
    else:
        data[middle : middle + 3000] = bytes(3000) if damage == "zeros" else np.random.default_rng(0).bytes(3000)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.mp4: .*(broken|not a readable)"):
        read_frames(path, decoder=backend)
    with pytest.raises(ValueError, match=r"a\.mp4: .*(broken|not a readable)"):
        read_timeline(path)


def test_what_an_edit_list_hides_is_not_counted(tmp_path):
    path = trimmed(tmp_path / "a.mp4", 20, 7)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 20, "the header counts hidden pictures"
    whole, shown = read_frames(tmp_path / "whole.mp4"), read_frames(path)
    assert video_info(path).num_frames == len(shown) == len(read_timeline(path).times) == 13
    assert np.array_equal(shown, whole[7:])
    assert np.array_equal(read_frames(path, [12, 3]), whole[[19, 10]])


def test_a_file_that_is_still_written_gives_what_is_there(tmp_path):
    growing(tmp_path / "b.mp4", 60)
    there = read_frames(tmp_path / "b.mp4")
    assert 10 < len(there) < 60 and np.array_equal(there, read_frames(tmp_path / "whole.mp4")[: len(there)])
    assert len(read_timeline(tmp_path / "b.mp4").times) == len(there)


def test_containers_that_count_nothing_or_wrongly(tmp_path):
    """Broadcasts, browser recordings and bare streams know neither how many pictures they have nor how long they are;
    an AVI counts empty chunks, which show the picture before them again."""
    write_disc(tmp_path / "a.mp4", 24)
    shown = read_frames(tmp_path / "a.mp4")
    for name, options in (("a.ts", None), ("live.mkv", {"live": "1"}), ("a.h264", None), ("a.flv", None)):
        path = remuxed(tmp_path / "a.mp4", tmp_path / name, options)
        with av.open(str(path)) as container:
            assert container.streams.video[0].frames == 0, "nothing is counted"
        timeline = read_timeline(path)
        assert video_info(path).num_frames == len(timeline.times) == 24
        assert np.array_equal(read_frames(path), shown) and timeline.end == pytest.approx(24 / 25, abs=0.05)
    stamps = np.r_[0:12, 22:34] / 25  # a camera that dropped ten pictures
    path = encode(tmp_path / "a.avi", list(shown), codec="mpeg4", stamps=stamps)
    timeline = read_timeline(path)
    assert len(timeline.times) == 24 and timeline.num_frames == pytest.approx(34, abs=1)
    assert timeline.numbers()[16] in (11, 12) and len(read_frames(path)) == 24


def test_a_video_of_one_picture_lasts_as_long_as_it_is_wanted(tmp_path):
    path = encode(tmp_path / "a.mp4", list(disc_frames(1)))
    timeline = read_timeline(path)
    assert timeline.num_frames == 1 == len(read_frames(path))
    assert len(list(islice(there_and_back(path, timeline, 1), 30))) == 30


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp"])
def test_a_picture_is_no_video(tmp_path, name):
    Image.new("RGB", (64, 48), "red").save(tmp_path / name)
    for read in (read_timeline, load_audio):
        with pytest.raises(ValueError, match=rf"{name}: (is a picture; give a video|holds no sound)"):
            read(tmp_path / name)


def test_wrong_files_and_frames_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4"):
        read_frames(tmp_path / "gone.mp4")
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(ValueError, match=r"text\.mp4: not a readable"):
        video_info(tmp_path / "text.mp4")
    write_disc(tmp_path / "a.mp4", 5)
    with pytest.raises(ValueError, match="has 5 frames, so frame 5 does not exist"):
        read_frames(tmp_path / "a.mp4", [0, 5])


@pytest.mark.parametrize(
    ("rate", "channels", "written"), [(48_000, 2, 48_000), (44_100, 1, 44_100), (8_000, 2, 16_000)]
)
def test_the_sound_of_a_result_is_as_it_was_given(tmp_path, rate, channels, written):
    """Rate, channels and quality; cut or followed by silence to the length of the pictures, in step with them."""
    t = np.arange(rate) / rate
    wave = np.stack([0.5 * np.sin(2 * np.pi * 440 * t), 0.5 * np.sin(2 * np.pi * 660 * t)], 1)[:, :channels]
    soundfile.write(tmp_path / "a.wav", wave, rate)
    for num_frames in (12, 40):
        write_video(tmp_path / "a.mp4", iter(disc_frames(num_frames)[:, None]), Sound.of(tmp_path / "a.wav"))
        with av.open(str(tmp_path / "a.mp4")) as container:
            context = container.streams.audio[0].codec_context
            assert (context.sample_rate, context.layout.nb_channels) == (written, channels)
            assert container.streams.audio[0].duration * container.streams.audio[0].time_base == pytest.approx(
                num_frames / 25, abs=0.001
            )
        heard, given = load_audio(tmp_path / "a.mp4"), load_audio(tmp_path / "a.wav")
        length = min(len(heard), len(given)) - 400
        assert np.abs(heard[:length] - given[:length])[400:].std() < 0.01
        assert np.abs(heard[len(given) + 2048 :]).max(initial=0) < 1e-3
    write_video(tmp_path / "b.mp4", disc_frames(50), Sound.of(tmp_path / "a.mp4"))
    assert np.abs(load_audio(tmp_path / "b.mp4")[400:length] - given[400:length]).std() < 0.02


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "_encode", fail)
    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", disc_frames(3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "frames", [np.zeros((2, 63, 64, 3), np.uint8), np.zeros((2, 64, 64, 3)), np.zeros((0, 4, 4, 3))]
)
def test_frames_that_cannot_be_written_are_refused(tmp_path, frames):
    with pytest.raises(ValueError, match="even|uint8"):
        write_video(tmp_path / "a.mp4", frames)


def test_pieces_are_written_as_the_whole(tmp_path):
    frames, wave = disc_frames(30), np.sin(np.arange(30 * 640) / 9).astype(np.float32) / 3
    write_video(tmp_path / "whole.mp4", frames, wave)
    write_video(tmp_path / "pieces.mp4", iter([frames[:1], frames[1:20], frames[20:]]), wave)
    assert (tmp_path / "whole.mp4").read_bytes() == (tmp_path / "pieces.mp4").read_bytes()
    with pytest.raises(ValueError, match=r"change their size from \[64, 64, 3\] to \[32, 64, 3\]"):
        write_video(tmp_path / "a.mp4", iter([frames, frames[:, :32]]))
    with pytest.raises(ValueError, match="no frames"):
        write_video(tmp_path / "a.mp4", iter([]))
    assert not (tmp_path / "a.mp4").exists()
