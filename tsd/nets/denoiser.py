"""The noise predictor of teacher and student (Eq. 4): one class for both sizes and both directions of time.

It works in three parts, so that nothing is computed twice. ``read_reference`` reads the reference image, once per
video. ``read_frames`` reads head pose and visemes, once per frame, whatever the number of steps. ``step`` predicts the
noise in z_s, once per frame and step, and continues from the memory of the frames before.
"""

import torch
from torch import Tensor, nn

from tsd.clip import EYES_OPEN, HEARS, MOTION, VISEME_WINDOW, VISEMES
from tsd.diffusion.noise import Preconditioning, eps_from_z0, expand
from tsd.nets.affine import carried, landmarks_of, pixel_grid, placed_cells, similarity_between, to_canonical
from tsd.nets.blocks import ResBlock, norm, per_frame, zero
from tsd.nets.context import ReferenceAttention, TemporalMean
from tsd.nets.interface import Condition, FrameFeatures, Reference
from tsd.nets.levels import DownLevel, UpLevel

SHAPES = 16
"""Learnt patterns on the canonical face, such as an open jaw. The visemes of a frame mix them. Our choice."""
EYE_GAIN = 10.0
"""Eyes are shut in one frame of twenty-five. This gain makes the patterns of the lids learn as many times faster as it
says. Our choice."""


SOUND_CHANNELS = 64
"""Width of the layer that joins visemes and what is heard beside them. Our choice."""


ADDED = ("eye_shapes", "mean_reaches", "hears")
"""Arguments of optional parts that can be added to a trained net before it trains further."""


def eyes_shut(condition: Condition) -> Tensor:
    """[B, T, 2]: how far the eyes are shut in each frame and in the reference, 0 (open) to 1; 0 where unknown."""
    frames, reference = 1 - condition.motion[..., EYES_OPEN], 1 - condition.reference_motion[:, None, EYES_OPEN]
    shut = torch.stack([frames, reference.expand_as(frames)], -1)
    return shut * condition.motion_known.to(shut.dtype)[:, None, None]


def random_shapes(count: int, channels: int, side: int) -> nn.Parameter:
    """[count, channels, side, side], normal with standard deviation 0.02.

    On the ``meta`` device (a net that will be loaded) no values are drawn: that would import torch's compiler, which
    takes a second or two at every start.
    """
    values = torch.empty(count, channels, side, side)
    return nn.Parameter(values if values.is_meta else values.normal_().mul_(0.02))


class Denoiser(nn.Module):
    """A U-Net on each frame's latent, with temporal mixing between frames.

    channels: width at the latent's size and at each halving below it. reference_channels: width of the reference
    features. Every frame gets these features twice: in place, and warped by the map that takes the reference's eyes to
    the frame's. It gets the visemes twice, too: as an embedding that modulates every layer, and as a mixture of learnt
    patterns at the place of the face. causal: mixing looks at past frames only (the student), or both ways (the
    teacher).

    eye_shapes: number of further patterns, mixed by how far the eyes are open in the frame and in the reference.
    mean_reaches: the net also sees means of z_s over so many neighbouring frames (``TemporalMean``), where noise that
    is drawn anew for every frame is weaker. The means enter beside z_s, and the net chooses per position how much of
    each is added to its estimate. hears: one of ``clip.HEARS``; of what is heard beside visemes a second embedding and
    second shares of the patterns are made, and added to those of the visemes. These parts start without effect, so they
    can be added to a trained net (``ADDED``).

    At high noise the estimate starts from the reference's latent, warped or in place as the net chooses per position,
    and the net adds the difference: z0_hat = skip z_s + out (F + out copy).
    """

    def __init__(
        self,
        latent_channels: int,
        latent_size: int,
        channels: list[int],
        blocks: int = 2,
        reference_channels: int = 32,
        emb_channels: int = 128,
        causal: bool = False,
        eye_shapes: int = 0,
        mean_reaches: tuple[int, ...] | list[int] = (),
        hears: str = "visemes",
    ):
        super().__init__()
        if hears not in HEARS:
            raise ValueError(f"a denoiser hears one of {', '.join(HEARS)}, got {hears!r}: take another condition=")
        self.hears = hears
        self.latent_channels, self.latent_size, self.causal = latent_channels, latent_size, causal
        first, deepest = channels[0], channels[-1]
        self.heads = 4

        self.read = nn.Sequential(
            nn.Conv2d(latent_channels, reference_channels, 3, padding=1),
            ResBlock(reference_channels, reference_channels),
            ResBlock(reference_channels, reference_channels),
        )
        self.read_deep = nn.Sequential(
            nn.AvgPool2d(2 ** (len(channels) - 1)), nn.Conv2d(reference_channels, deepest, 1)
        )
        self.read_position = nn.Linear(4, deepest)
        self.to_keys, self.to_values = nn.Linear(deepest, deepest), nn.Linear(deepest, deepest)
        self.read_emb = nn.Linear(2 * reference_channels, emb_channels)
        self.read_plain = nn.Conv2d(reference_channels, first, 3, padding=1)

        self.strength_emb = nn.Sequential(nn.Linear(32, emb_channels), nn.SiLU(), nn.Linear(emb_channels, emb_channels))
        self.viseme_emb = nn.Sequential(
            nn.Linear(VISEME_WINDOW * len(VISEMES), emb_channels), nn.SiLU(), nn.Linear(emb_channels, emb_channels)
        )
        self.motion_emb = nn.Linear(2 * len(MOTION) + 1, emb_channels)
        self.combine = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, emb_channels), nn.SiLU())

        self.enter = nn.Conv2d(latent_channels, first, 3, padding=1)
        self.means = None
        if mean_reaches:
            self.means = TemporalMean(list(mean_reaches), causal)
            self.enter_means = zero(nn.Conv2d(len(mean_reaches) * (latent_channels + 1), first, 1, bias=False))
            self.to_mean_gains = zero(nn.Conv2d(first, len(mean_reaches), 3, padding=1))
        self.enter_warped = nn.Conv2d(reference_channels, first, 1, bias=False)
        self.enter_place = nn.Conv2d(2, first, 1, bias=False)
        self.shapes = random_shapes(SHAPES, first, latent_size)
        self.to_shares = nn.Linear(VISEME_WINDOW * len(VISEMES), SHAPES)
        self.sound = None
        if hears != "visemes":
            self.sound = nn.Sequential(
                nn.Linear(VISEME_WINDOW * HEARS[hears], SOUND_CHANNELS),
                nn.SiLU(),
                zero(nn.Linear(SOUND_CHANNELS, emb_channels + SHAPES)),
            )
        self.eye_shapes = None
        if eye_shapes:
            self.eye_shapes = random_shapes(eye_shapes, first, latent_size)
            self.to_eye_shares = zero(nn.Linear(2, eye_shapes, bias=False))
        self.position = nn.Linear(4, deepest)

        sizes = [
            (above, c, blocks, emb_channels, causal) for above, c in zip([None, *channels], channels, strict=False)
        ]
        self.down = nn.ModuleList(DownLevel(*size) for size in sizes)
        self.attend = ReferenceAttention(deepest, self.heads)
        self.middle = ResBlock(deepest, deepest, emb_channels)
        self.up = nn.ModuleList(UpLevel(*size) for size in reversed(sizes))
        self.leave = nn.Sequential(norm(first), nn.SiLU(), zero(nn.Conv2d(first, latent_channels + 2, 3, padding=1)))

    def read_reference(self, condition: Condition) -> Reference:
        """Everything that depends on the reference only: once per video."""
        latent = condition.reference_latent
        want = (self.latent_channels, self.latent_size, self.latent_size)
        if latent.shape[1:] != want:
            raise ValueError(f"the denoiser takes latents {list(want)}, got {list(latent.shape[1:])}")
        features = self.read(latent)
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], -1)
        landmarks = landmarks_of(condition.reference_motion, condition.motion_known)
        deep = self.read_deep(features)
        tokens = deep.flatten(2).transpose(1, 2) + self.read_position(self.places(landmarks, deep.shape[-1]))
        keys, values = (
            f(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.to_keys, self.to_values)
        )
        return Reference(latent, features, self.read_plain(features), self.read_emb(pooled), landmarks, keys, values)

    def places(self, landmarks: Tensor, size: int) -> Tensor:
        """[N, size * size, 4]: x and y of each position in the picture and on the canonical face, both -1..1."""
        grid = pixel_grid(size, landmarks.device).flatten(0, 1)
        on_face = carried(grid, to_canonical(landmarks))
        on_picture = grid.expand_as(on_face)
        return torch.cat([on_picture, on_face], -1) * 2 - 1

    def read_frames(self, condition: Condition, reference: Reference) -> FrameFeatures:
        """Everything that does not depend on z_s and s: once per frame, whatever the number of steps."""
        b, t = condition.motion.shape[:2]
        landmarks = landmarks_of(condition.motion, condition.motion_known).flatten(0, 1)
        maps = similarity_between(landmarks, per_frame(reference.landmarks, t))
        features, latent = self.carry(reference, maps, t)
        x = self.enter_warped(features) + per_frame(reference.plain, t)
        place = self.places(landmarks, self.latent_size)
        x = x + self.enter_place(place[..., 2:].transpose(1, 2).unflatten(2, (self.latent_size, -1)))
        x = x + self.shape(condition, landmarks)
        side = self.latent_size // 2 ** (len(self.down) - 1)
        deep = self.position(self.places(landmarks, side)).transpose(1, 2).unflatten(2, (side, side))
        x, latent, deep = (part.unflatten(0, (b, t)) for part in (x, latent, deep))
        return FrameFeatures(x, latent, self.embed(condition, reference), deep)

    def carry(self, reference: Reference, maps: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """The reference's features [B*T, R, h, w] and latent [B*T, C, h, w], warped by maps [B*T, 2, 3] from the
        frame's eyes to the reference's."""
        both = per_frame(torch.cat([reference.features.float(), reference.latent.float()], 1), frames)
        return placed_cells(both, maps).split([both.shape[1] - self.latent_channels, self.latent_channels], 1)

    def shape(self, condition: Condition, landmarks: Tensor) -> Tensor:
        """[B*T, F, h, w]: the patterns of visemes and lids, mixed on the canonical face and warped to each frame's."""
        shares, shapes = self.spoken(condition)[1], self.shapes
        if self.eye_shapes is not None:
            shares = torch.cat([shares, EYE_GAIN * self.to_eye_shares(eyes_shut(condition))], -1)
            shapes = torch.cat([shapes, self.eye_shapes])
        changes = (shares.flatten(0, 1).float() @ shapes.flatten(1)).unflatten(1, shapes.shape[1:])
        return placed_cells(changes, to_canonical(landmarks))

    def embed(self, condition: Condition, reference: Reference) -> Tensor:
        """[B, T, E]: embedding of visemes, motion and person of every frame."""
        known = condition.motion_known.to(condition.motion.dtype)[:, None, None]
        b, t, _ = condition.motion.shape
        motion = torch.cat(
            [
                condition.motion,
                condition.reference_motion[:, None].expand(-1, t, -1),
                torch.ones_like(known).expand(b, t, 1),
            ],
            -1,
        )
        spoken = self.spoken(condition)[0]
        return spoken + self.motion_emb(motion * known) + reference.emb[:, None]

    def spoken(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """What is heard in every frame: an embedding [B, T, E], and shares of the patterns [B, T, SHAPES]."""
        heard = condition.visemes
        if heard.shape[-1] < HEARS[self.hears]:
            raise ValueError(
                f"this denoiser hears {self.hears}: {HEARS[self.hears]} numbers a frame, got {heard.shape[-1]}; "
                f"set data.hears={self.hears}"
            )
        if self.hears == "loudness":
            heard = torch.cat([torch.zeros_like(heard[..., : len(VISEMES)]), heard[..., len(VISEMES) :]], -1)
        visemes = heard[..., : len(VISEMES)].flatten(2)
        emb, shares = self.viseme_emb(visemes), self.to_shares(visemes)
        if self.sound is None:
            return emb, shares
        more_emb, more_shares = self.sound(heard.flatten(2)).split([emb.shape[-1], SHAPES], -1)
        return emb + more_emb, shares + more_shares

    def embed_strength(self, s: Tensor) -> Tensor:
        """s [B] -> [B, E]."""
        frequencies = torch.linspace(0.25, 8, 16, device=s.device)
        angle = Preconditioning.at(s).noise[:, None] * frequencies
        return self.strength_emb(torch.cat([angle.sin(), angle.cos()], -1))

    def read_condition(self, condition: Condition) -> tuple[Reference, FrameFeatures]:
        """``read_reference`` and ``read_frames``: everything that all steps of a video have in common."""
        reference = self.read_reference(condition)
        return reference, self.read_frames(condition, reference)

    def forward(
        self,
        z_s: Tensor,
        s: Tensor,
        condition: Condition,
        reference: Reference | None = None,
        frames: FrameFeatures | None = None,
    ) -> Tensor:
        """eps_hat [B, T, C, h, w] for z_s [B, T, C, h, w] and s [B]. What has been read of the condition already may be
        given. (Training calls a net this way and not by ``step``: ``torch.compile`` compiles ``forward``.)"""
        reference = self.read_reference(condition) if reference is None else reference
        frames = self.read_frames(condition, reference) if frames is None else frames
        return self.step(z_s, s, reference, frames)[0]

    def step(
        self, z_s: Tensor, s: Tensor, reference: Reference, frames: FrameFeatures, memory: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """eps_hat [B, T, C, h, w] for z_s [B, T, C, h, w] and s [B], and the memory that a causal net's next frames
        continue from: one tensor for the temporal means and one per level, down and up."""
        b, t = z_s.shape[:2]
        scale = Preconditioning.at(s)
        emb = self.combine(frames.emb + self.embed_strength(s)[:, None]).flatten(0, 1)
        scaled = expand(scale.inp, z_s) * z_s
        x = self.enter(scaled.flatten(0, 1)) + frames.features.flatten(0, 1)
        before, after = iter(memory or [None] * (1 + len(self.down) + len(self.up))), []

        means = None
        if self.means is not None:
            means, kept = self.means(scaled, next(before))
            x = x + self.enter_means(means)
            after.append(kept)

        skips = []
        for level in self.down:
            features, kept = level(x, emb, t, next(before))
            x = features[-1]
            skips.append(features)
            after.append(kept)
        x = self.attend(x + frames.deep.flatten(0, 1), reference.keys, reference.values, t)
        x = self.middle(x, emb)
        for level in self.up:
            x, kept = level(x, skips.pop(), emb, t, next(before))
            after.append(kept)

        parts = self.estimate(x, means, frames.latent.flatten(0, 1), per_frame(reference.latent, t))
        change, copy = (part.unflatten(0, (b, t)).to(z_s.dtype) for part in parts)
        out = change + expand(scale.out, z_s) * copy
        z0_hat = expand(scale.skip, z_s) * z_s + expand(scale.out, z_s) * out
        return eps_from_z0(z_s, z0_hat, s), after

    def estimate(self, x: Tensor, means: Tensor | None, warped: Tensor, plain: Tensor) -> tuple[Tensor, Tensor]:
        """Features x [B*T, F, h, w] -> F and ``copy`` of z0_hat = skip z_s + out (F + out copy): float32 [B*T, C, h,
        w] each.

        means: those of ``TemporalMean``. warped, plain [B*T, C, h, w]: the reference's latent, warped to the frame and
        in place.
        """
        x = self.leave[:-1](x)
        change, choice = self.leave[-1](x).float().split([self.latent_channels, 2], 1)
        if means is not None:
            gains = self.to_mean_gains(x).float()
            kinds = means.float().unflatten(1, (gains.shape[1], -1))[:, :, : self.latent_channels]
            change = change + (gains[:, :, None] * kinds).sum(1)
        choice = choice.softmax(1)
        return change, choice[:, :1] * warped.float() + choice[:, 1:] * plain.float()
