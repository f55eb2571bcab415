"""The sync expert: what it looks at, what it learns, what it is asked; its metric against a loop and known shifts."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fakes import fake_clip
from mini_corpus import disc_corpus
from torch import nn

from tsd.clip import MELS, MELS_PER_FRAME
from tsd.commands.compose import composed
from tsd.data.datamodule import ClipDataModule
from tsd.losses import LossWeights
from tsd.metrics import summarise_shifts, sync_distances, sync_scores
from tsd.modules.sync import SyncModule
from tsd.nets.lower_face import LOWER_FACE, lower_face
from tsd.nets.sync import SyncNet
from tsd.weights import checkpoint


def small_net() -> SyncNet:
    torch.manual_seed(0)
    return SyncNet(dim=16, channels=8, field=5).eval()


def small_stage(net: SyncNet | None = None) -> SyncModule:
    """The stage outside a training; what it logs is kept in ``logged``."""
    module = SyncModule(net or small_net(), LossWeights(), partial(torch.optim.AdamW, lr=3e-3))
    module.logged = {}
    module.trainer = SimpleNamespace(estimated_stepping_batches=100, global_step=0)
    module.log_dict = lambda terms, **_: module.logged.update({k: float(v) for k, v in terms.items()})
    return module


def speakers(batch: int, frames: int, seed: int, side: int = 32):
    """A clip of grey faces whose dark mouth opens as far as a random signal says, and a sound as loud as that."""
    clip = fake_clip(batch, frames, side, seed)
    generator = torch.Generator().manual_seed(seed)
    loudness = torch.rand(batch, frames, generator=generator)
    skin = 0.2 + 0.3 * torch.rand(batch, 1, 3, 1, 1, generator=generator)
    y = (torch.arange(side) + 0.5) / side
    inside = ((y - 0.74).abs()[:, None] < 0.12 * loudness[..., None, None, None]) & ((y - 0.5).abs() < 0.1)
    clip.frames = torch.where(inside, -0.8, skin).clone()
    pitch = torch.rand(batch, 1, MELS, generator=generator)
    clip.mel = 2 * loudness.repeat_interleave(MELS_PER_FRAME, 1)[..., None] - 1 + 0.3 * pitch
    return clip


class Dials(nn.Module):
    """An expert of toys: a frame and its sound both point where a dial stands, read from a pixel and from a band."""

    field = 1

    def see(self, frames):
        return self.point(frames[..., 0, 0, 0])

    def hear(self, mel):
        return self.point(mel[:, ::MELS_PER_FRAME, 0])

    @staticmethod
    def point(dial):
        return torch.stack([dial.cos(), dial.sin()], -1)


def dials(clips: int = 4, frames: int = 40, noise: float = 0.0):
    """Frames [B, T, 3, 8, 8] and mel [B, T * 4, MELS] in step; each dial walks at random."""
    rng = np.random.default_rng(0)
    dial = torch.from_numpy(np.cumsum(rng.normal(size=(clips, frames)), 1)).float()
    pictures = dial + noise * torch.from_numpy(rng.normal(size=dial.shape)).float()
    mel = dial.repeat_interleave(MELS_PER_FRAME, 1)[..., None].expand(-1, -1, MELS)
    return pictures[..., None, None, None].expand(-1, -1, 3, 8, 8).contiguous(), mel.contiguous()


# The net


@pytest.mark.parametrize("side", [32, 64, 96, 131, 256])
def test_frames_of_any_size_give_unit_vectors(side):
    frames = torch.rand(2, 7, 3, side, side) * 2 - 1
    seen = small_net().see(frames)
    assert seen.shape == (2, 3, 16)
    assert torch.allclose(seen.norm(dim=-1), torch.ones(2, 3), atol=1e-5)


def test_the_size_of_the_picture_hardly_matters():
    net, frames = small_net(), speakers(2, 8, 0, side=64).frames
    larger = F.interpolate(frames.flatten(0, 1), size=(128, 128), mode="bilinear", antialias=True).unflatten(0, (2, 8))
    net_step = (net.see(frames)[:, 1:] - net.see(frames)[:, :-1]).norm(dim=-1).mean()
    assert (net.see(frames) - net.see(larger)).norm(dim=-1).mean() < 0.25 * net_step


def test_a_moment_is_its_own_frames_and_nothing_else():
    net, clip = small_net(), fake_clip(2, 9, 64)
    seen, heard = net.see(clip.frames), net.hear(clip.mel)
    assert heard.shape == seen.shape == (2, 5, 16)
    for i in range(5):
        alone = net.see(clip.frames[:, i : i + 5]), net.hear(clip.mel[:, 4 * i : 4 * i + 20])
        assert torch.allclose(alone[0][:, 0], seen[:, i], atol=1e-5)
        assert torch.allclose(alone[1][:, 0], heard[:, i], atol=1e-5)


def test_only_the_lower_face_is_looked_at_and_it_has_a_gradient():
    net, frames = small_net(), fake_clip(1, 5, 64).frames
    top, bottom, left, right = (round(64 * edge) for edge in LOWER_FACE)
    frames.requires_grad_()
    net.see(frames)[0, 0, 0].backward()
    seen = frames.grad.abs().amax((0, 1, 2)) > 0
    outside = seen.clone()
    outside[top:bottom, left:right] = False
    assert seen[top:bottom, left:right].float().mean() > 0.9 and not outside.any()


def test_a_field_too_short_is_refused():
    with pytest.raises(ValueError, match="model.sync.field must be 3 frames or more, got 2"):
        SyncNet(field=2)


def test_weights_come_back(tmp_path):
    net, clip = small_net().to(memory_format=checkpoint.MEMORY_FORMAT), fake_clip(1, 6)
    checkpoint.save(tmp_path / "w.safetensors", "sync", net, {"dim": 16, "channels": 8, "field": 5}, {})
    loaded = checkpoint.load(tmp_path / "w.safetensors", "sync")
    assert torch.equal(loaded.see(clip.frames), net.see(clip.frames))
    assert torch.equal(loaded.hear(clip.mel), net.hear(clip.mel))


# The stage


def test_an_untrained_expert_is_at_chance_and_chance_is_logged():
    stage = small_stage()
    with torch.no_grad():
        stage.validation_step(speakers(16, 24, seed=1), 0)
    assert stage.logged["val/chance"] == pytest.approx(np.log(16 * 20))
    assert stage.logged["val/chance_accuracy"] == pytest.approx(1 / 20)
    assert stage.logged["val/total"] == pytest.approx(stage.logged["val/chance"], abs=0.5)
    assert stage.logged["val/accuracy"] == pytest.approx(1 / 20, abs=0.05)


def test_identical_embeddings_are_exactly_at_chance_and_perfect_ones_far_below():
    stage, clip = small_stage(), fake_clip(4, 10)
    vectors = F.normalize(torch.randn(4, 6, 64, generator=torch.Generator().manual_seed(0)), dim=-1)
    for given, total, accuracy in ((torch.ones(4, 6, 1), np.log(24), None), (vectors, 0.01, 1.0)):
        stage.net.read = stage.net.hear = lambda _, given=given: given
        values = stage.contrast(clip, lower_face(clip.frames), clip.mel)
        assert values["total"].item() == pytest.approx(total, abs=0.02)
        assert accuracy is None or values["accuracy"] == accuracy


def test_every_parameter_learns():
    stage = small_stage()
    total = stage.training_step(fake_clip(3, 8), 0)
    assert total.isfinite()
    total.backward()
    assert [name for name, p in stage.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ("frames", "sound", "message"),
    [(5, True, r"data\.window must be more than model\.sync\.field=5, got 5"), (8, False, r"set data\.mel=true")],
)
def test_a_stage_that_cannot_compare_says_what_to_set(frames, sound, message):
    clip = fake_clip(2, frames)
    clip.mel = clip.mel if sound else None
    with pytest.raises(ValueError, match=message):
        small_stage().training_step(clip, 0)


@pytest.fixture(scope="module")
def trained():
    stage = small_stage()
    optimizer = stage.make_optimizer(stage.net.parameters())
    for step in range(40):
        optimizer.zero_grad()
        stage.training_step(speakers(6, 16, seed=100 + step), 0).backward()
        optimizer.step()
    return stage


def test_training_leaves_chance(trained):
    with torch.no_grad():
        trained.validation_step(speakers(8, 20, seed=1), 0)
    assert trained.logged["val/total"] < 0.7 * trained.logged["val/chance"]
    assert trained.logged["val/accuracy"] > 5 * trained.logged["val/chance_accuracy"]


@pytest.mark.parametrize("late", [-3, 0, 3])
def test_a_trained_expert_finds_shifts_of_people_it_never_saw(trained, late):
    clip = speakers(6, 40, seed=2, side=48)
    frames, mel = clip.frames.roll(late, 1), clip.mel
    offset = summarise_shifts(sync_distances(trained.net, frames[:, 3:-3], mel[:, 12:-12], max_shift=10)).offset
    assert (offset == late).float().mean() > 0.8


# The metric


def test_distances_equal_a_loop():
    frames, mel = dials(clips=2, frames=12)
    seen, heard = (v.double().numpy() for v in (Dials().see(frames), Dials().hear(mel)))

    def far(clip, picture, sound):
        return np.linalg.norm(seen[clip, picture] - heard[clip, sound])

    around = [[p for p in range(12) if abs(p - s) <= 4] for s in range(12)]
    usual = [[np.mean([far(clip, p, s) for p in around[s]]) for s in range(12)] for clip in range(2)]
    expected = np.zeros((2, 9))
    for clip in range(2):
        for k in range(-4, 5):
            pairs = [(i + k, i) for i in range(12) if 0 <= i + k < 12]
            expected[clip, k + 4] = np.mean([far(clip, p, s) - usual[clip][s] for p, s in pairs]) + np.mean(usual[clip])
    got = sync_distances(Dials(), frames, mel, max_shift=4).numpy()
    assert got == pytest.approx(expected, abs=1e-3)
    assert got[:, 4] == pytest.approx([np.mean([far(clip, i, i) for i in range(12)]) for clip in range(2)], abs=1e-3)
    scores = sync_scores(Dials(), frames[0], mel[0], max_shift=4)
    assert scores.distance.item() == pytest.approx(expected[0].min(), abs=1e-3)
    assert scores.confidence.item() == pytest.approx(np.median(expected[0]) - expected[0].min(), abs=1e-3)


@pytest.mark.parametrize("late", [-15, -3, -1, 0, 1, 3, 15])
def test_positive_is_a_late_picture(late):
    frames, mel = dials(frames=60, noise=0.2)
    frames = frames[:, :-late] if late > 0 else frames[:, -late:]  # the same frames, later by `late`
    mel = mel[:, 4 * late :] if late > 0 else mel[:, : 4 * (60 + late)]
    assert (summarise_shifts(sync_distances(Dials(), frames, mel)).offset == late).all()


def test_a_frozen_picture_and_anothers_sound_have_no_confidence():
    frames, mel = dials(clips=8, frames=75)

    def confidence(frames):
        return summarise_shifts(sync_distances(Dials(), frames, mel)).confidence.mean().item()

    right, frozen = confidence(frames), confidence(frames[:, :1].expand_as(frames))
    assert right > 0.8 and frozen == pytest.approx(0, abs=1e-5) and confidence(frames.roll(1, 0)) < 0.6 * right


def test_split_batches_equal_the_whole():
    clip, net = speakers(5, 24, seed=3), small_net()
    whole = sync_distances(net, clip.frames, clip.mel, max_shift=8)
    rows = (slice(0, 2), slice(2, 3), slice(3, 5))
    parts = torch.cat([sync_distances(net, clip.frames[part], clip.mel[part], max_shift=8) for part in rows])
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)
    one = sync_scores(net, clip.frames[1], clip.mel[1], max_shift=8)
    assert [float(v) for v in one] == pytest.approx([float(v[1]) for v in summarise_shifts(whole)], abs=1e-5)


@pytest.mark.parametrize(
    ("frames", "columns", "message"),
    [(19, 76, "needs clips of 20 frames or more, got 19"), (30, 119, "of the same time"), (30, 30, "of the same time")],
)
def test_clips_that_cannot_be_scored_are_refused(frames, columns, message):
    with pytest.raises(ValueError, match=message):
        sync_scores(small_net(), torch.zeros(frames, 3, 32, 32), torch.zeros(columns, MELS))


# The people it learns from


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return disc_corpus(tmp_path_factory.mktemp("corpus"), num_people=7, num_clips=1, num_frames=8)


def people(root, split: str, **kwargs) -> list[str]:
    data = ClipDataModule(root, resolution=16, window=4, **kwargs)
    data.setup()
    return data.datasets[split].people


def test_even_and_odd_share_nobody_and_leave_nobody_out(root):
    everyone, even, odd = (people(root, "train", people=choice) for choice in ("all", "even", "odd"))
    assert even == everyone[::2] and odd == everyone[1::2] and everyone == people(root, "train")
    assert len(everyone) > len(even) >= len(odd) > 0
    for split in ("val", "test"):
        assert people(root, split, people="even") == people(root, split, people="odd") == people(root, split)


def test_other_people_and_nobody_are_refused(root, tmp_path):
    with pytest.raises(ValueError, match="data.people must be all, even, odd, got 'men'"):
        ClipDataModule(root, people="men")
    lonely = disc_corpus(tmp_path, num_people=3, num_clips=1, num_frames=8)
    with pytest.raises(ValueError, match=r"data\.people=odd leaves nobody: .*lrs3_train\.jsonl has one identity only"):
        people(lonely, "train", people="odd")


def test_the_metrics_expert_is_configured_to_learn_from_even_people():
    cfg = composed("train", ["stage=sync"])
    assert (cfg.data.people, cfg.data.mel, cfg.out) == ("even", True, "outputs/sync")
    assert composed("train", ["stage=teacher"]).data.people == "all"
    assert all(cfg.weights.sync for cfg in (composed("train", [f"weights={name}"]) for name in ("demo", "trained")))
