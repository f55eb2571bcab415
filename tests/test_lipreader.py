"""The reader of visemes in mouths: what it looks at, what it learns, and that evaluation asks it."""

from functools import partial

import pytest
import torch
from fakes import fake_clip

from tsd.clip import VISEMES, to_frames
from tsd.evaluation.clips.instruments import Instruments, Truth, look
from tsd.losses import LossWeights
from tsd.modules.lipreader import LipReaderModule
from tsd.nets.lipreader import FIELD, LipReader
from tsd.nets.lower_face import CUT_SIZE, LOWER_FACE, lower_face


def small_stage() -> LipReaderModule:
    torch.manual_seed(0)
    module = LipReaderModule(LipReader(8), LossWeights(), partial(torch.optim.AdamW, lr=3e-3))
    module.log = lambda *_, **__: None
    return module


def grey_speakers(batch: int, frames: int, seed: int):
    """Grey faces that say three visemes, a fresh one every three frames; their mouths are as dark as the viseme's
    number."""
    clip = fake_clip(batch, frames, 32, seed)
    generator = torch.Generator().manual_seed(seed)
    said = torch.randint(0, 3, (batch, frames // 3 + 1), generator=generator).repeat_interleave(3, 1)[:, :frames]
    clip.viseme_labels = torch.nn.functional.one_hot(said, len(VISEMES)).float()
    clip.frames = torch.zeros(batch, frames, 3, 32, 32)
    clip.frames[..., 20:28, 10:22] = (said / 2.0 - 0.5)[..., None, None, None]
    return clip


@pytest.mark.parametrize("side", [32, 96, 131])
def test_shapes_and_that_only_the_lower_face_is_looked_at(side):
    net, frames = LipReader(8).eval(), fake_clip(2, 6, side).frames
    read = net(frames)
    assert read.shape == (2, 6, len(VISEMES)) and lower_face(frames).shape[-2:] == CUT_SIZE
    top, bottom, left, right = (round(side * edge) for edge in LOWER_FACE)
    changed = frames.clone()
    changed[..., : top - 1, :] = changed[..., bottom + 1 :, :] = 0.5
    changed[..., : left - 1] = changed[..., right + 1 :] = -0.5
    assert torch.allclose(net(changed), read, atol=1e-5)
    changed[..., top + 2 : bottom - 2, left + 2 : right - 2] *= -1
    assert not torch.allclose(net(changed), read, atol=1e-3)


def test_a_frame_is_decided_by_its_neighbours_alone():
    net, frames = LipReader(8).eval(), fake_clip(1, 20, 32).frames
    whole = net(frames)
    frames[:, 10] = -frames[:, 10]
    touched = (net(frames) - whole).abs().amax((0, 2)) > 1e-6
    assert touched[10] and not touched[: 10 - FIELD // 2].any() and not touched[11 + FIELD // 2 :].any()


def test_it_learns_to_read_and_evaluation_asks_it():
    stage = small_stage()
    optimizer = stage.make_optimizer(stage.net.parameters())
    for step in range(60):
        optimizer.zero_grad()
        stage.training_step(grey_speakers(4, 9, step), 0).backward()
        optimizer.step()
    stage.eval()
    stage.log_dict = lambda values, **_: stage.__dict__.update(found={k: float(v) for k, v in values.items()})
    held_out = grey_speakers(8, 12, 10_000)
    stage.validation_step(held_out, 0)
    assert stage.found["val/accuracy"] > 0.9

    asked = Instruments(lipreader=stage.net)
    truth = Truth(held_out.frames[0], visemes=held_out.viseme_labels[0])
    with torch.inference_mode():
        real = look(asked, truth.frames, truth)["viseme_accuracy"]
        late = look(asked, truth.frames.roll(3, 0), truth)["viseme_accuracy"]
    assert real > 0.8 and late < real - 0.2
    assert "viseme_accuracy" not in look(Instruments(), to_frames(torch.zeros(4, 32, 32, 3).byte().numpy()), truth)


def test_frames_without_visemes_do_not_count_and_clips_without_any_are_refused():
    stage, clip = small_stage().eval(), grey_speakers(2, 6, 0)
    mouths = lower_face(clip.frames)
    clip.viseme_labels[:, 3:] = 0
    total, logits = stage.cross_entropy(mouths, clip.viseme_labels)
    by_hand = -(clip.viseme_labels * logits.log_softmax(-1))[:, :3].sum(-1).mean()
    assert total.item() == pytest.approx(by_hand.item(), rel=1e-5)
    clip.viseme_labels[:] = 0
    with pytest.raises(ValueError, match="lipreader.*visemes are known"):
        stage.training_step(clip, 0)
