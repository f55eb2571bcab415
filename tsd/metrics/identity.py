"""Identity: cosine between the embeddings of a clip's frames and of the reference, reported with the embedder's
name."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from tsd.clip import FPS


def embed_frames(embed: Callable[[Tensor], Tensor], video: Tensor, every: int = 1, batch: int = 32) -> Tensor:
    """[B, T, 3, H, W] -> embeddings [B, ceil(T / every), D] of every ``every``-th frame, ``batch`` pictures at a time.

    ``embed`` maps [N, 3, H, W] in [-1, 1] to [N, D].
    """
    frames = video[:, ::every]
    pictures = frames.flatten(0, 1)
    return torch.cat([embed(part) for part in pictures.split(batch)]).unflatten(0, frames.shape[:2])


def identity_cosines(embeddings: Tensor, reference: Tensor) -> Tensor:
    """[B, T] in [-1, 1]: cosine of each frame's embedding [B, T, D] with the reference's [B, D]; 1 is the same."""
    if embeddings.ndim != 3 or reference.shape != embeddings[:, 0].shape:
        raise ValueError(
            f"embeddings must be [B, T, D] and the reference [B, D], "
            f"got {list(embeddings.shape)} and {list(reference.shape)}"
        )
    return cosine_similarity(embeddings.float(), reference[:, None].float(), dim=-1)


def slope_per_minute(track: Tensor, frames_apart: int = 1) -> Tensor:
    """[B]: least-squares slope over time of a track [B, T] at 25 / ``frames_apart`` values a second; nan for T < 2."""
    minutes = torch.arange(track.shape[1], device=track.device, dtype=track.dtype) * (frames_apart / FPS / 60)
    minutes = minutes - minutes.mean()
    return (track - track.mean(1, keepdim=True)) @ minutes / minutes.square().sum()
