"""How loud speech is, beside what is said: no level of a microphone, no future, no effect at first; and how far
lips are open."""

import numpy as np
import pytest
import torch
from fakes import LATENT_CHANNELS, LATENT_SIDE, fake_clip, fake_condition, fake_denoiser
from mini_corpus import disc_corpus

from tsd import losses
from tsd.clip import HEARS, LOUDNESS, MELS, MELS_PER_FRAME, OPEN, VISEME_PAST, VISEMES, openness
from tsd.data.dataset import ClipDataset
from tsd.data.manifest import manifest_path, read_manifest
from tsd.media.audio import SAMPLES_PER_FRAME, log_mel
from tsd.media.heads import face_arrays
from tsd.media.loudness import MEMORY, QUIET, RANGE, band_levels, relative_loudness
from tsd.media.signals import windows_of
from tsd.modules.lip_probe import LipProbe
from tsd.modules.visemes import VisemeModule
from tsd.nets.denoiser import Denoiser
from tsd.nets.visemes import VisemeNet
from tsd.prepare import work
from tsd.prepare.drawn.acting import MOUTH, USUAL, mouth_track
from tsd.prepare.settings import Settings
from tsd.runtime.hearing import Hearing, hear, saying


def wave(num_frames: int = 120, seed: int = 0) -> np.ndarray:
    """Noise that is louder and softer."""
    rng = np.random.default_rng(seed)
    level = np.repeat(10 ** rng.uniform(-2.5, -0.5, num_frames), SAMPLES_PER_FRAME)
    return (level * rng.standard_normal(len(level))).astype(np.float32)


def levels(num_frames: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(QUIET + 0.1, 2, (num_frames, len(LOUDNESS))).astype(np.float32)


def test_the_level_of_the_microphone_does_not_count():
    assert np.allclose(relative_loudness(levels()), relative_loudness(levels() + 0.7), atol=1e-5)


def test_the_loudest_of_two_seconds_is_one_and_silence_is_none():
    found = levels()
    found[100:] = QUIET - RANGE
    loud = relative_loudness(found)
    assert loud[found[:, 0].argmax(), 0] == 1 and (loud >= 0).all() and not loud[100:].any()
    assert relative_loudness(np.full((5, 3), -1.0, np.float32)).max() < 0.4, "silence before the first word is not loud"


def test_no_frame_knows_a_later_one_and_pieces_equal_the_whole():
    found = levels()
    whole = relative_loudness(found)
    assert np.array_equal(relative_loudness(found[:80]), whole[:80])
    for cut in (1, 30, MEMORY, 150):
        assert np.array_equal(relative_loudness(found[cut:], found[:cut]), whole[cut:])


@pytest.mark.parametrize("hears", HEARS)
@pytest.mark.parametrize("size", [700, 5000])
def test_a_stream_hears_what_the_whole_file_says(hears, size):
    torch.manual_seed(0)
    net, sound = VisemeNet(16, 2, lips=True).eval(), wave()
    torch.nn.init.normal_(net.to_lips.weight)
    whole = windows_of(hear(net, log_mel(sound), hears))
    hearing = Hearing(net, 1, hears)
    pieces = [hearing.push(sound[i : i + size]) for i in range(0, len(sound), size)]
    stream = np.concatenate([*pieces, hearing.finish()])
    assert stream.shape == whole.shape == (120, whole.shape[1], HEARS[hears])
    assert np.allclose(stream, whole, atol=1e-4)
    assert len(hearing.levels) < MEMORY


def louder(condition):
    """The condition with loudness behind its visemes."""
    loudness = torch.rand(*condition.visemes.shape[:-1], len(LOUDNESS))
    condition.visemes = torch.cat([condition.visemes, loudness], -1)
    return condition


@torch.no_grad()
def test_a_trained_net_goes_on_with_loudness_as_it_was():
    torch.manual_seed(1)
    plain = Denoiser(LATENT_CHANNELS, LATENT_SIDE, [8, 16], 1, 8, 16)
    more = Denoiser(LATENT_CHANNELS, LATENT_SIDE, [8, 16], 1, 8, 16, hears="visemes_loudness")
    missing, unexpected = more.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("sound.") for name in missing)
    z_s, s, condition = (
        torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE),
        torch.ones(2),
        louder(fake_condition()),
    )
    assert torch.equal(plain(z_s, s, condition), more(z_s, s, condition))


@torch.no_grad()
def test_what_each_condition_hears():
    z_s, s = torch.randn(2, 6, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE), torch.ones(2)

    def says(net, visemes: float, loudness: float):
        condition = louder(fake_condition())
        condition.visemes[..., : len(VISEMES)] *= visemes
        condition.visemes[..., len(VISEMES) :] = loudness
        return net(z_s, s, condition)

    both, alone = fake_denoiser(hears="visemes_loudness"), fake_denoiser(hears="loudness")
    assert (both.hears, alone.hears, fake_denoiser().hears) == ("visemes_loudness", "loudness", "visemes")
    assert not torch.allclose(says(both, 1, 0.2), says(both, 1, 0.9)) and not torch.allclose(
        says(both, 1, 0.2), says(both, 0, 0.2)
    )
    assert not torch.allclose(says(alone, 1, 0.2), says(alone, 1, 0.9)) and torch.equal(
        says(alone, 1, 0.2), says(alone, 0, 0.2)
    )
    with pytest.raises(ValueError, match="18 numbers a frame, got 15; set data.hears=visemes_loudness"):
        both(z_s, s, fake_condition())
    with pytest.raises(
        ValueError, match="hears one of visemes, visemes_lips, visemes_loudness, loudness, got 'smells'"
    ):
        fake_denoiser(hears="smells")


def test_people_open_wider_when_they_are_louder_and_still_close_their_lips():
    said, opened = [(0.2, 0.6, "ɑː"), (0.6, 0.7, "m"), (0.7, 1.2, "ɑː")], MOUTH.index("open")
    usual = mouth_track(said, 40, np.full(40, USUAL))
    assert np.array_equal(usual, mouth_track(said, 40))
    loud, soft = mouth_track(said, 40, np.ones(40)), mouth_track(said, 40, np.full(40, 0.2))
    assert loud[:, opened].max() > usual[:, opened].max() > 1.3 * soft[:, opened].max()
    assert loud[15:18, opened].min() == soft[15:18, opened].min() == 0


def test_lips_cost_nothing_where_they_agree_and_more_the_farther_they_are_off():
    opening, weight = torch.rand(3, 5) * 0.1, torch.tensor([1.0, 1.0, 0.0])
    assert losses.lips(opening, opening, weight) == 0
    near, far = (losses.lips(opening + off, opening, weight) for off in (0.005, 0.02))
    assert 0 < near < far
    other = opening.clone()
    other[2] += 1
    assert losses.lips(other, opening, weight) == 0, "a clip of weight 0 does not count"


def test_the_lip_probe_reads_what_latents_say_of_the_mouth():
    torch.manual_seed(0)
    probe, clip = LipProbe(LATENT_CHANNELS, 16), fake_clip(batch=4, frames=40)
    clip.motion_known[3] = False
    z = torch.randn(4, 40, LATENT_CHANNELS, 16, 16)
    direction = torch.randn(probe.features(z, clip).shape[-1])
    clip.mouth_open = 0.01 * probe.features(z, clip) @ direction
    clip.mouth_open[1, :5] = torch.nan
    for _ in range(20):
        probe.learn(z, clip)
    read = probe(z.requires_grad_(), clip)
    known = clip.mouth_open.isfinite() & clip.motion_known[:, None]
    assert torch.corrcoef(torch.stack([read[known], clip.mouth_open[known]]))[0, 1] > 0.95
    read.sum().backward()
    assert z.grad[..., probe.rows, probe.columns].abs().sum() > 0 and not z.grad[..., 0, 0].any()


def test_recorded_openings_are_stored_where_landmarks_were_read():
    points, boxes, lids = np.random.rand(4, 5, 2), np.random.rand(4, 4), np.ones(4)
    assert "mouth_open" not in face_arrays(points, boxes, lids)
    assert np.allclose(face_arrays(points, boxes, lids, np.arange(4.0))["mouth_open"], np.arange(4))


def test_preparation_reads_openings_only_when_it_is_given_landmarks(monkeypatch, tmp_path):
    class Mesh:
        def opening(self, picture):
            return picture.mean() / 255

    monkeypatch.setattr(work, "_face_mesh", lambda path: Mesh())
    pictures = np.stack([np.full((8, 8, 3), level, np.uint8) for level in (0, 51, 255)])
    assert work.mouths(pictures, Settings(tmp_path)) is None
    assert np.allclose(work.mouths(pictures, Settings(tmp_path, landmarks="mesh.tflite")), [0, 0.2, 1])


def test_bands_are_means_of_the_log_mel():
    mel = np.random.default_rng(0).uniform(-0.9, 2, (8 * MELS_PER_FRAME, MELS)).astype(np.float32)
    found = band_levels(mel)
    assert found.shape == (8, 3) and np.allclose(
        found[0], [mel[:4].mean(), mel[:4, :8].mean(), mel[:4, 8:20].mean()], atol=1e-5
    )


def test_an_opening_is_the_same_for_every_size_of_a_face():
    clip = fake_clip(batch=2, frames=5)
    clip.mouth_open[0, 2] = torch.nan
    found = openness(clip.mouth_open, clip.motion)
    half = clip.motion.clone()
    half[..., :6] /= 2
    assert torch.allclose(openness(clip.mouth_open / 2, half), found, equal_nan=True) and found[0, 2].isnan()
    eyes = torch.tensor([0.3, 0.4, 0.7, 0.4, 0.5, 0.6, 1.0])
    assert openness(torch.tensor(0.04), eyes) == pytest.approx(1), "a tenth of the distance of the eyes"


def test_lips_are_told_where_they_were_measured_and_only_there(tmp_path):
    disc_corpus(tmp_path, num_clips=1)
    data = ClipDataset(read_manifest(manifest_path(tmp_path, "train"), tmp_path), 32, 6, hears="visemes_lips")
    data.tracks(0).mouth_open[:] = np.linspace(0, 0.1, 30)
    windows = data.whole_clip(0).visemes
    opened, known = windows[0, :, VISEME_PAST, len(VISEMES) :].T
    truth = openness(torch.from_numpy(data.tracks(0).mouth_open), torch.from_numpy(data.tracks(0).motion))
    assert known.all() and torch.allclose(opened, truth) and opened.std() > 0
    data.tracks(0).mouth_open[:3] = np.nan
    opened, known = data.whole_clip(0).visemes[0, :, VISEME_PAST, len(VISEMES) :].T
    assert known.tolist() == [0, 0, 0] + [1] * (len(known) - 3) and not opened[:3].any()


def test_a_recogniser_that_says_nothing_of_lips_is_refused_by_name():
    with pytest.raises(ValueError, match="does not say how far they are open"):
        hear(VisemeNet(16, 2).eval(), log_mel(wave()), "visemes_lips")


def test_known_visemes_are_said_with_the_lips_of_the_sound():
    net, mel = VisemeNet(16, 2, lips=True).eval(), log_mel(wave())
    torch.nn.init.normal_(net.to_lips.weight)
    known = np.eye(len(VISEMES), dtype=np.float32)[np.zeros(120, int)]
    said = saying(net, known, mel, "visemes_lips")
    assert np.array_equal(said[:, : len(VISEMES)], known)
    assert np.array_equal(said[:, len(VISEMES) :], hear(net, mel, "visemes_lips")[:, len(VISEMES) :])
    assert np.array_equal(saying(net, known, mel, "visemes"), known)


def test_only_the_map_to_lips_learns_and_its_guess_spreads_as_what_is_seen():
    torch.manual_seed(0)
    net = VisemeNet(16, 2, lips=True).eval()
    clip = fake_clip(batch=6, frames=200)
    clip.mel = torch.randn(6, 200 * MELS_PER_FRAME, MELS)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    module = VisemeModule(net, None, None, lips_alone=True, lips_gain=2.0)
    with torch.no_grad():
        heard = net.hidden(clip.mel)[:, 0]
    eyes = torch.hypot(*(clip.motion[..., 2:4] - clip.motion[..., :2]).unbind(-1))
    clip.mouth_open = (0.5 * heard / heard.std() + 1 + 0.5 * torch.randn(6, 200)) * OPEN * eyes
    clip.mouth_open[0, :50] = torch.nan
    seen = openness(clip.mouth_open, clip.motion)
    for _ in range(20):
        assert module.training_step(clip, 0) == 0
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"to_lips.weight", "to_lips.bias"}
    guess, known = net(clip.mel)[..., -1].detach(), seen.isfinite()
    assert np.corrcoef(guess[known], seen[known])[0, 1] > 0.6, "half of what is seen can be heard"
    assert guess.std() == pytest.approx(2 * seen[known].std().item(), rel=0.15), (
        "noise makes it no smaller: twice what is seen"
    )
    assert guess.mean() == pytest.approx(2 * seen[known].mean().item(), rel=0.1)


def test_a_net_without_lips_cannot_learn_them():
    with pytest.raises(ValueError, match="set model.visemes.lips=true"):
        VisemeModule(VisemeNet(16, 2), None, None, lips_alone=True)
