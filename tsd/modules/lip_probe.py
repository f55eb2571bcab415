"""How far a mouth is open, read in latents by a linear map that is fitted while training goes on."""

import torch
from torch import Tensor, nn

from tsd import devices
from tsd.clip import Clip
from tsd.nets.affine import CANONICAL_FACE, landmarks_of, placed_cells, similarity_between
from tsd.nets.lower_face import LOWER_FACE

RIDGE = 10.0
"""Frames in which every latent is of size one and nothing is open, against which all others count. Our choice."""


class LipProbe(nn.Module):
    """Latents of the lower face in its canonical place -> mouth opening in units of the picture's side.

    Least squares over all real frames met so far whose opening is known: drawn ones by their truth, recorded ones by
    landmarks (``prepare``'s ``clips.landmarks``). Nothing is trained by a gradient, and latents that the denoiser made
    are never fitted, so that it cannot agree with them on a mouth of their own.
    """

    def __init__(self, channels: int, size: int):
        super().__init__()
        top, bottom, left, right = LOWER_FACE
        self.rows = slice(round(top * size), round(bottom * size))
        self.columns = slice(round(left * size), round(right * size))
        count = channels * (self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start) + 1
        self.register_buffer("squares", torch.zeros(count, count))
        self.register_buffer("products", torch.zeros(count))

    def features(self, z: Tensor, clip: Clip) -> Tensor:
        """z [n * B, T, C, h, w], of a clip's frames n times -> [n * B, T, F]."""
        frames = landmarks_of(clip.motion, clip.motion_known).flatten(0, 1)
        maps = similarity_between(frames.new_tensor(CANONICAL_FACE).expand_as(frames), frames)
        faces = placed_cells(z.flatten(0, 1), maps.repeat(len(z) // len(clip), 1, 1))
        lower = faces[..., self.rows, self.columns].flatten(1)
        return torch.cat([lower, torch.ones_like(lower[:, :1])], 1).unflatten(0, z.shape[:2])

    @torch.no_grad()
    def learn(self, z: Tensor, clip: Clip) -> None:
        """The clip's own latents [B, T, C, h, w]."""
        known = clip.mouth_open.isfinite() & clip.motion_known[:, None]
        # Unknown frames become zeros, which add nothing: shapes stay the same, for compilers.
        features = (self.features(z, clip) * known[..., None]).flatten(0, 1)
        opening = torch.where(known, clip.mouth_open, 0.0).flatten()
        self.squares += devices.mean(features.T @ features)
        self.products += devices.mean(features.T @ opening)

    def forward(self, z: Tensor, clip: Clip) -> Tensor:
        """z [n * B, T, C, h, w] -> openings [n * B, T]; gradients reach z."""
        ridge = RIDGE * torch.eye(len(self.squares), device=z.device)
        return self.features(z, clip) @ torch.linalg.solve(self.squares + ridge, self.products)
