"""Streaming: pieces of any size give the whole's frames, with bounded memory and a stated look-ahead."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_talkers import pieces, portrait, talker, wave
from fakes import SIDE, fake_motion

from tsd.clip import SAMPLE_RATE, VISEMES
from tsd.media.audio import load_audio, log_mel
from tsd.media.marking.embed import LARGEST
from tsd.media.signals import windows_of
from tsd.nets.visemes import PAUSE, VisemeNet, shut_in_pauses
from tsd.runtime.canvas import Canvas
from tsd.runtime.hearing import Hearing, hear, heard, look_ahead_ms
from tsd.runtime.talker import Talker
from tsd.weights import checkpoint

REPO = Path(__file__).parents[1]


def recogniser(blocks: int, look_ahead: int, any_level: bool, lips: bool = False) -> VisemeNet:
    """Of random weights, those that training begins at zero included."""
    torch.manual_seed(0)
    net = VisemeNet(8, blocks, look_ahead, any_level=any_level, lips=lips).eval()
    for weights in net.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    return net


def ready(causal: bool = True) -> Talker:
    """A talker with a face, found elsewhere."""
    t = talker(causal)
    t.reference = t.speaker(portrait(), fake_motion().numpy())
    return t


@pytest.mark.parametrize("look_ahead, blocks, any_level", [(0, 1, False), (2, 4, False), (3, 4, True), (4, 2, True)])
@pytest.mark.parametrize("samples", [1, 640, 641, 759, 760, 33_333])
def test_heard_in_pieces_as_in_one(look_ahead, blocks, any_level, samples):
    t = Talker(None, None, recogniser(blocks, look_ahead, any_level))
    sound = wave(samples)
    whole = windows_of(t.visemes(sound).numpy())
    for size, chunk in ((97, 1), (640, 1), (1000, 3), (samples, 8)):
        hearing = Hearing(t.recogniser, chunk)
        windows = np.concatenate([*(hearing.push(piece) for piece in pieces(sound, size)), hearing.finish()])
        assert windows.shape == whole.shape and np.abs(windows - whole).max() < 1e-5, (size, chunk)


@pytest.mark.parametrize("level", [-50, -20, 0])
def test_a_stream_of_any_level_is_heard_alike(level):
    """From -50 to 0 dB of its peak, in pieces as in one, rounded to 16 bits."""
    t = Talker(None, None, recogniser(2, 4, any_level=True))
    sound = wave(16_000)
    quiet = sound * np.float32(10 ** (level / 20) / np.abs(sound).max())
    hearing = Hearing(t.recogniser, 1)
    windows = np.concatenate([*(hearing.push(piece) for piece in pieces(quiet, 641)), hearing.finish()])
    assert np.abs(windows - windows_of(t.visemes(sound).numpy())).max() < 1e-3


@pytest.mark.parametrize("level", [-50, -33, -6])
def test_the_released_recogniser_hears_any_level(level):
    """Speech at so many dB of its peak is heard as at full scale; at -50 the quietest of it is below the floor."""
    t = Talker(None, None, checkpoint.load(REPO / "weights" / "people" / "visemes.safetensors", "visemes"))
    sound = load_audio(REPO / "experiments" / "quality" / "speech.wav")[:16_000]
    sound = sound / np.abs(sound).max()
    loud = t.visemes(sound).numpy()
    quiet = t.visemes(sound * np.float32(10 ** (level / 20))).numpy()
    assert loud.argmax(1).max() > 0, "something is said"
    assert np.abs(quiet - loud).max() < (0.05 if level == -50 else 1e-4)


@pytest.mark.parametrize("any_level", [False, True])
def test_a_recogniser_says_frame_by_frame_what_it_says_of_the_whole(any_level):
    """With its memory, whose size does not depend on how long it listens; lips and their pauses, too."""
    net = recogniser(4, 2, any_level, lips=True).double()
    mel = torch.randn(2, 60 * 4, 80).double()
    mel[1, 80:200] = -20.0  # a pause
    memory, heard = torch.zeros(2, net.memory_size).double(), []
    for frame in mel.split(4, 1):
        out, memory = net.listen(frame, memory)
        assert memory.shape == (2, net.memory_size)
        heard.append(out)
    assert (torch.cat(heard, 1)[:, net.look_ahead :] - net(mel)[:, : -net.look_ahead]).abs().max() < 1e-12


def test_lips_are_shut_in_long_pauses_and_stay_as_they_are_in_short_ones():
    lips, speech = torch.full((1, 1, 80), 0.7), torch.ones(1, 1, 80)
    speech[..., 20 : 20 + PAUSE - 1] = 0  # one frame less than a pause
    speech[..., 50:] = 0.05
    out, kept = shut_in_pauses(lips, speech, torch.zeros(1, 1, PAUSE - 1))
    assert torch.equal(out[..., : 50 + PAUSE - 1], lips[..., : 50 + PAUSE - 1])
    assert torch.equal(out[..., 50 + PAUSE - 1 :], torch.zeros(1, 1, 31 - PAUSE))
    again, _ = shut_in_pauses(lips[..., :3], torch.zeros(1, 1, 3), kept)
    assert torch.equal(again, torch.zeros(1, 1, 3))
    opened, _ = shut_in_pauses(lips[..., :1], torch.ones(1, 1, 1), kept)
    assert torch.equal(opened, lips[..., :1])


@pytest.mark.parametrize("size", [160, 640, 1111, 16_000])
@pytest.mark.parametrize("mode", ["e1", "e2"])
def test_streamed_frames_are_those_of_the_whole(size, mode):
    t, sound = ready(), wave(20_000)
    visemes = t.visemes(sound)
    track = t.motion(t.reference, len(visemes), seed=5)
    z = torch.cat(list(t.latents(t.reference, visemes, track, t.schedule("k2"), seed=5)))
    for chunk in (1, 8):
        out = np.concatenate(list(t.stream(pieces(sound, size), "k2", chunk, seed=5, mode=mode)))
        if mode == "e2":
            assert out.shape == z.shape and np.abs(out - z.numpy()).max() < 1e-4
        else:
            # 1e-4 of a latent is less than a level of grey, but may lie across the edge between two
            assert np.abs(out.astype(int) - t.decode(z, t.reference.along(track))).max() <= 1
            assert out.shape == (len(visemes), SIDE, SIDE, 3)


@pytest.mark.parametrize("mode", ["e1", "e2"])
@pytest.mark.parametrize("steps", ["k1", "k4"])
def test_workers_side_by_side_make_the_same_frames(mode, steps):
    """The same bits, whether the next part is begun before this one is done, and whoever does it."""
    t, sound = ready(), wave(20_000)
    for size in (5120, len(sound)):
        t.workers = None
        alone = np.concatenate(list(t.stream(pieces(sound, size), steps, 8, mode=mode)))
        with ThreadPoolExecutor(3) as t.workers:
            assert np.array_equal(alone, np.concatenate(list(t.stream(pieces(sound, size), steps, 8, mode=mode)))), size


def test_what_everything_waits_for_is_done_without_another_thread():
    """A frame from a microphone is handed to nobody; frames of a file are."""
    t, sound = ready(), wave(640 * 20)
    with ThreadPoolExecutor(2) as t.workers:
        submit, handed = t.workers.submit, []
        t.workers.submit = lambda task: handed.append(task) or submit(task)
        live = t.stream(pieces(sound, 640), "k2", 1)
        first = [next(live) for _ in range(10)]
        assert not handed
        whole = list(t.stream([sound], "k2", 1))
        # Heard at once and frame by frame, visemes differ in their last digits, and a level of grey may lie between.
        assert handed and all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(first, whole, strict=False))


def test_sound_that_is_there_is_heard_at_once():
    """But no more of it than AT_ONCE frames, in whole chunks; what comes as from a microphone, as it comes."""
    hearing, given = SimpleNamespace(push=lambda piece: given.append(len(piece) // 640), finish=list), []
    for chunk, cut in ((8, [32, 32, 16]), (1, [32, 32, 16]), (24, [48, 32]), (50, [50, 30])):
        given.clear()
        more = [waits for _, waits in heard(hearing, [wave(80 * 640)], chunk)]
        assert given == cut and more == [True] * (len(cut) - 1) + [False, False]
    given.clear()
    list(heard(hearing, pieces(wave(5 * 640), 640), 1))
    assert given == [1] * 5


def test_what_goes_wrong_in_a_worker_is_not_lost():
    t = ready()
    t.vae = None
    with ThreadPoolExecutor(2) as t.workers, pytest.raises(AttributeError):
        list(t.stream([wave(20_000)]))


def test_no_frame_waits_for_sound_that_it_does_not_need():
    """From a microphone every frame is there before the next piece of sound is asked for."""
    t, sound = ready(), pieces(wave(640 * 20), 640)
    given, hearing, due = 0, Hearing(t.recogniser), []
    for piece in sound:
        due.append(len(hearing.push(piece)))

    def microphone():
        nonlocal given
        for piece in sound:
            given += 1
            yield piece

    at = [given for _ in t.stream(microphone())]
    expected = [nth for nth, count in enumerate(due, 1) for _ in range(count)]
    assert at[: len(expected)] == expected and len(at) == 20


def test_graphs_meet_their_shapes_before_the_first_sound_is_asked_for():
    """Once for every size of chunk and mode, and never where all sound is there already: nothing waits for a frame."""
    t, sound = ready(), pieces(wave(640 * 12), 640)
    decoded = []
    decode = t.decode
    t.decode = lambda z, appearance: decoded.append(len(z)) or decode(z, appearance)

    def before_sound(chunk: int) -> list[int]:
        """Frames that were decoded when a stream first asks for sound."""
        decoded.clear()
        seen = []

        def microphone():
            seen.extend(decoded)
            yield from sound

        frames = np.concatenate(list(t.stream(microphone(), "k2", chunk)))
        assert np.array_equal(frames, np.concatenate(list(t.stream(sound, "k2", chunk)))), "silence is forgotten"
        return seen

    assert before_sound(1) == [1] and before_sound(1) == []
    assert before_sound(4) == [4] and before_sound(1) == []
    t.met.clear()
    decoded.clear()
    next(t.stream(sound, "k2", 4))
    assert decoded == [4]


def test_motion_repeats_for_ever():
    t = ready()
    cycle = t.motion_cycle(t.reference, seed=2)
    turns = cycle[torch.arange(3 * len(cycle)) % len(cycle)]
    assert torch.equal(turns, t.motion(t.reference, 3 * len(cycle), seed=2)) and len(cycle) == 18


def test_video_of_a_wave_and_still_and_begun_from_the_reference():
    t, sound = ready(), wave(9000)
    video = t.video(sound)
    assert video.shape == (15, SIDE, SIDE, 3) and video.dtype == np.uint8
    assert not np.array_equal(video, t.video(sound, motion="still"))
    assert not np.array_equal(video, t.video(sound, start="reference"))


@pytest.mark.parametrize("chunk", [1, 8])
def test_a_frame_comes_as_soon_as_its_look_ahead_is_heard(chunk):
    t = ready()
    needed = round((40 * chunk + t.look_ahead_ms) * SAMPLE_RATE / 1000)
    assert t.look_ahead_ms == look_ahead_ms(t.recogniser) == 40 * (2 + 2) + 7.5
    hearing = Hearing(t.recogniser)
    assert not len(hearing.push(wave(needed - 1))) - (chunk - 1)
    assert len(hearing.push(wave(1))) == 1


@pytest.mark.parametrize("hears", ["visemes", "visemes_lips", "visemes_loudness"])
def test_less_sound_is_awaited_and_nothing_that_came_is_forgotten(hears):
    """A frame is ready after so much sound; it hears all that is there, and what is missing as a held sound."""
    lips = hears == "visemes_lips"
    net, sound = recogniser(2, 4, any_level=True, lips=lips), wave(40 * 640)
    most, whole = 4 + 2, windows_of(hear(net, log_mel(sound), hears))
    assert np.array_equal(streamed(net, sound, hears, most), streamed(net, sound, hears, None))
    for wait in (2, 3, 5):
        windows = streamed(net, sound, hears, wait)
        assert windows.shape == whole.shape
        for number in (7, 20):
            there = (number + 1 + wait) * 640 + 120  # and the margin of the last column
            held = hear(net, log_mel(sound[:there])[: -(-(there - 120) // 160)], hears)
            now = windows_of(held)[number]
            np.testing.assert_allclose(windows[number], now, atol=1e-4)
        assert np.abs(windows[20] - whole[20]).max() > 1e-4
        assert np.abs(windows - whole)[:, : 4 - 2].max() < 1e-4, "what lies far enough in the past is settled"


def streamed(net: VisemeNet, sound: np.ndarray, hears: str, wait: int | None) -> np.ndarray:
    hearing = Hearing(net, 1, hears, wait)
    return np.concatenate([*(hearing.push(piece) for piece in pieces(sound, 640)), hearing.finish()])


def test_live_frames_come_earlier_and_from_any_pieces_alike():
    t, sound = ready(), wave(9000)
    assert look_ahead_ms(t.recogniser, 3) == t.look_ahead_ms - 40
    needed = round((40 + look_ahead_ms(t.recogniser, 3)) * SAMPLE_RATE / 1000)
    hearing = Hearing(t.recogniser, 1, wait=3)
    assert not len(hearing.push(wave(needed - 1))) and len(hearing.push(wave(1))) == 1
    live = [np.concatenate(list(t.stream(pieces(sound, 640), "k2", 1, wait=wait))) for wait in (3, None)]
    assert live[0].shape == live[1].shape and not np.array_equal(*live)


@pytest.mark.parametrize("wait", [1, 5, -1, 2.5])
def test_no_more_is_awaited_than_there_is_to_hear_and_not_less_than_windows_hold(wait):
    with pytest.raises(ValueError, match="frames of sound that are awaited, 2 to 4, or null for all 4"):
        next(ready().stream([wave(9000)], "k2", wait=wait))


def test_memory_does_not_grow():
    torch.manual_seed(0)
    hearing, sizes = Hearing(VisemeNet(8, 4, 3).eval()), []
    for _ in range(300):
        hearing.push(wave(1000))
        sizes.append(len(hearing.wave) + hearing.mel.size + hearing.visemes.size)
    assert max(sizes[150:]) <= max(sizes[50:150])
    assert len(hearing.visemes) < 10 and hearing.visemes.shape[1] == len(VISEMES)


def test_streams_are_marked_unless_it_is_switched_off():
    t, sound = ready(), wave(8 * 640)
    plain, latents = t.video(sound), t.video(sound, mode="e2")
    assert t.payload is None and t.origin().mark is None
    t.marked, t.weights = True, "ab" * 32
    marked = t.video(sound)
    assert (marked != plain).mean() > 0.1 and np.abs(marked.astype(int) - plain).max() <= LARGEST
    streamed = np.concatenate(list(t.stream(pieces(sound, 700), "k2", 3)))
    assert streamed.shape == marked.shape and np.abs(streamed.astype(int) - marked).max() <= 1
    assert np.array_equal(t.video(sound, mode="e2"), latents)
    assert t.payload >> 16 == 0xABAB and t.origin().mark == f"{t.payload:08x}"
    before, other = t.payload, t.video(sound, seed=1)
    assert t.payload != before and t.payload >> 16 == 0xABAB and other.shape == marked.shape


def test_on_a_canvas_only_what_is_generated_is_marked():
    picture = np.random.default_rng(1).integers(0, 256, (96, 96, 3), np.uint8)
    corner = (8, 8, 88, 88)
    canvas = Canvas(picture, np.eye(2, 3) / 64, np.zeros((5, 2), np.float32), corner, corner)
    t = ready()
    t.marked = True
    frames = picture[None, 8:88, 8:88].copy()
    frames[:, 20:60, 20:60] = 255 - frames[:, 20:60, 20:60]
    marked = t.marking(t.run_payload(t.reference.appearance, "k2"), canvas)(frames)
    changed = (marked != frames).any(-1)[0]
    assert changed[20:60, 20:60].mean() > 0.3 and changed.sum() == changed[20:60, 20:60].sum()


def test_what_cannot_stream_says_why():
    with pytest.raises(ValueError, match="no face yet: call set_reference"):
        next(talker().stream([wave(100)]))
    with pytest.raises(ValueError, match="cannot stream"):
        next(ready(causal=False).stream([wave(100)]))
    with pytest.raises(ValueError, match="no face found"):
        talker().set_reference(np.zeros((200, 200, 3), np.uint8))
    with pytest.raises(FileNotFoundError, match="no such picture"):
        talker().set_reference("none.png")
