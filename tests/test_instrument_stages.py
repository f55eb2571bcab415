"""Stages ``visemes``, ``identity`` and ``mouth``: what counts and what is not known."""

import pytest
import torch
from fake_stages import small_stage, trained_by
from fakes import fake_clip
from torch.nn.functional import one_hot

from tsd.clip import PHONEMES, VISEME_PAST, VISEMES, viseme_windows
from tsd.losses import LossWeights
from tsd.modules.augmentation import other_voices
from tsd.modules.mouth import PATIENCE
from tsd.modules.visemes import VisemeModule
from tsd.nets.visemes import VisemeNet


def test_frames_without_visemes_do_not_count_in_the_recogniser():
    stage = small_stage("visemes").eval()
    clip = fake_clip()
    clip.viseme_labels[:, 2:] = 0
    logits = stage.net(clip.mel)
    by_hand = -(clip.viseme_labels[:, :2] * logits[:, :2].log_softmax(-1)).sum(-1).mean()
    assert stage.cross_entropy(logits, clip.viseme_labels).item() == pytest.approx(by_hand.item(), rel=1e-5)
    clip.viseme_labels[:] = 0
    assert stage.cross_entropy(logits, clip.viseme_labels) == 0


def test_phonemes_help_to_train_the_recogniser_and_are_not_kept():
    torch.manual_seed(0)
    stage = trained_by(VisemeModule(VisemeNet(16, 2), LossWeights(), torch.optim.AdamW, lips=2.0, phonemes=0.5))
    clip = fake_clip()
    clip.phoneme_labels = torch.eye(len(PHONEMES))[torch.randint(len(PHONEMES), clip.viseme_labels.shape[:2])]
    stage.training_step(clip, 0).backward()
    trained = [*stage.net.parameters(), *stage.helper.parameters()]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert not any("helper" in name for name in stage.net.state_dict())
    assert stage.weights[VISEMES.index("PP")] == 2 and stage.weights[VISEMES.index("aa")] == 1
    with pytest.raises(ValueError, match="lips must be above 0"):
        VisemeModule(VisemeNet(16, 2), LossWeights(), torch.optim.AdamW, lips=0)


def test_sound_is_changed_but_not_its_time():
    torch.manual_seed(0)
    mel = torch.zeros(64, 40, 80)
    mel[:, 20:] = 5.0
    heard = other_voices(mel)
    assert heard.shape == mel.shape and not torch.allclose(heard, mel, atol=0.1)
    step = heard.mean(2).diff(dim=1)
    assert (step.argmax(1) == 19).all(), "the onset stays in its column"


def test_identity_tells_people_apart_and_forgives_the_same_person():
    stage, clip = small_stage("identity"), fake_clip(batch=4, side=64)
    stage.net = torch.nn.Identity()  # the embedding is the input
    unit = torch.eye(4)
    loss, accuracy = stage.contrast(clip, unit, unit)
    assert accuracy == 1 and loss < 0.01
    loss, accuracy = stage.contrast(clip, unit, unit.roll(1, 0))
    assert accuracy == 0 and loss > 5
    clip.identity = torch.tensor([0, 0, 1, 2])
    same_face = unit[[0, 0, 2, 3]]
    loss, accuracy = stage.contrast(clip, same_face, same_face)
    assert accuracy == 1 and loss < 0.01, "two clips of one person are not each other's negatives"


def test_a_mouth_that_is_not_known_does_not_count():
    stage, clip = small_stage("mouth").eval(), fake_clip(side=64)
    frames, truth = clip.frames.flatten(0, 1), clip.mouth_open.flatten()
    truth[3:] = float("nan")
    with torch.no_grad():
        torch.testing.assert_close(stage.error(frames, truth), stage.error(frames[:3], truth[:3]))
        assert stage.error(frames[3:], truth[3:]) == 0
    clip.mouth_open = None
    assert stage.training_step(clip, 0) == 0, "the next batch may hold a drawn mouth"
    trained_by(stage, PATIENCE)
    with pytest.raises(ValueError, match="no clip whose mouth opening is known.*make a corpus with source=synthetic"):
        stage.training_step(clip, 0)


def test_a_recorded_mouth_is_as_open_as_drawn_ones_that_say_the_same():
    stage = small_stage("mouth")
    for seed in range(40):
        clip = fake_clip(batch=4, side=64, seed=seed)
        clip.visemes = viseme_windows(one_hot(clip.viseme_labels.argmax(-1), len(VISEMES)).float()).contiguous()
        clip.mouth_open = 0.1 * clip.visemes[..., VISEME_PAST, VISEMES.index("aa")]  # opened by /a/ alone
        stage.learn_speech(clip)
    drawn = clip.mouth_open.flatten()
    assert set(drawn.tolist()) == {0.0, drawn.max().item()}
    torch.testing.assert_close(stage.openings(clip), drawn)
    clip.mouth_open = torch.full_like(clip.mouth_open, torch.nan)
    torch.testing.assert_close(stage.openings(clip), drawn, atol=0.01, rtol=0)
    clip.visemes[0] = 0
    assert stage.openings(clip).view(4, -1)[0].isnan().all(), "nobody knows what is said"
    clip.mouth_open, learned = drawn.view(4, -1), stage.squares.clone()
    stage.learn_speech(clip)
    unheard = stage.squares - learned
    assert 0 < unheard[-1, -1] == 3 * clip.frames.shape[1], "and nothing is learned from it"
