"""The KL VAE of Eq. 2: pictures in [-1, 1] to normalised latents, and back with the reference picture's help."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsd.nets.affine import looked_up, offsets_along, placed_cells
from tsd.nets.blocks import ResBlock, norm, per_frame, zero
from tsd.nets.interface import Appearance

LOG_VARIANCE_RANGE = (-20.0, 4.0)
FIRST_LOG_VARIANCE = -6.0
"""Initial log variance of the posterior: with the usual 0, noise hides the latents for hundreds of steps."""

FLOW_SCALE = 0.1
"""Flow in units of the picture's side for an output of 1. A face rarely moves farther. Our choice."""

OF_LATENTS = ("encoder.", "to_moments.", "latent_mean", "latent_std")
"""Prefixes of the names of parameters and buffers that determine the latents."""


def enlarged(x: Tensor, times: int) -> Tensor:
    """x [N, C, h, w] -> [N, times * h, times * w * C]: bilinear upsampling as in ``F.interpolate``, with the channels
    last.

    Computed as two matrix products, which take OpenVINO a tenth of the time; the second one also moves the (few)
    channels to the end.
    """
    channels, size = x.shape[1], x.shape[-1]
    rows = F.interpolate(torch.eye(x.shape[-2], device=x.device)[None], scale_factor=times, mode="linear")[0]
    columns = F.interpolate(torch.eye(size, device=x.device)[None], scale_factor=times, mode="linear")[0]
    apart = torch.eye(channels, device=x.device)[:, None, None]  # [C, 1, 1, C]
    columns = (columns[None, :, :, None] * apart).flatten(2).flatten(0, 1)  # [C * w, times * w * C]
    return (rows.T @ x).transpose(1, 2).flatten(2) @ columns


@dataclass
class Decoded:
    """N decoded frames in parts: ``picture`` = ``moved`` + ``change``, all [N, 3, H, W], not clamped.

    ``moved`` is the warped reference picture, sampled at each pixel's position plus ``offsets`` [N, H, W, 2] (x, y in
    units of the side). ``change`` is what painting adds. Offsets and change can be enlarged (``runtime.composing``).
    """

    moved: Tensor
    change: Tensor
    offsets: Tensor

    @property
    def picture(self) -> Tensor:
        return self.moved + self.change


class Window:
    """The part of a picture that is painted, as ``cells`` [top, bottom, left, right] of latents of ``size`` x ``size``
    cells.

    What is made for the window fades out over its outermost cells, except along the picture's own edges.
    """

    def __init__(self, cells: Sequence[int], size: int):
        top, bottom, left, right = cells
        if not (0 <= top < bottom <= size and 0 <= left < right <= size):
            raise ValueError(f"model.vae.painted holds [top, bottom, left, right] in 0..{size}, got {list(cells)}")
        self.cells, self.size = tuple(cells), size

    def share(self, times: int, device=None) -> Tensor:
        """[h, w] with ``times`` positions to the cell: 1, falling to 0 over the outermost cell."""
        top, bottom, left, right = self.cells

        def axis(begin: int, end: int) -> Tensor:
            at = (torch.arange((end - begin) * times, device=device) + 0.5) / times
            before = at if begin > 0 else torch.ones_like(at)
            after = (end - begin) - at if end < self.size else torch.ones_like(at)
            return torch.minimum(before, after).clamp(max=1)

        return axis(top, bottom)[:, None] * axis(left, right)

    def of(self, x: Tensor, times: int) -> Tensor:
        """x [N, C, times * size, times * size] -> its part in the window."""
        top, bottom, left, right = (times * edge for edge in self.cells)
        return x[..., top:bottom, left:right]

    def placed(self, change: Tensor) -> Tensor:
        """What painting adds in the window -> in the whole picture: nothing elsewhere."""
        times = change.shape[-2] // (self.cells[1] - self.cells[0])
        return F.pad(change * self.share(times, change.device), self.around(times))

    def into(self, rest: Tensor, inside: Tensor) -> Tensor:
        """``rest`` of the whole picture with ``inside`` in the window."""
        times = rest.shape[-1] // self.size
        return rest + F.pad((inside - self.of(rest, times)) * self.share(times, rest.device), self.around(times))

    def around(self, times: int) -> list[int]:
        top, bottom, left, right = (times * edge for edge in self.cells)
        return [left, times * self.size - right, top, times * self.size - bottom]


class VAE(nn.Module):
    """Encoder and light decoder; latents are ``2 ** len(channels)`` times smaller than the picture on each side.

    channels: widths from half the picture's size down to the latent's size. Both ends of the net are pixel
    (un)shuffles, so no convolution runs at full size.
    decoder_channels: the decoder's widths, if they differ. With one width more than ``channels`` the encoder sees the
    picture at half its size, and so on. A picture of 256 x 256 then has the latents of one of 128 x 128, and denoisers
    trained on those can be used with it (``VAEModule``'s ``decoder_only``). Our addition.
    painted: cells [top, bottom, left, right] of the latents that are painted; empty: all. Elsewhere the picture moves
    by the flow of a small net of ``flow_channels`` (docs/design/decoder.md). Our addition.
    ``encode`` gives latents of zero mean and unit std per channel. The statistics of the training latents are stored
    with the weights (buffers ``latent_mean``, ``latent_std``).

    The decoder warps the reference picture by the map of the head (where motion is known; per position it chooses how
    far) and by a dense flow on top. It paints the rest: parts that turned into view and the inside of the mouth. So
    hair and glasses come from the reference picture and not through latents with 24 times fewer numbers, and stay
    sharp. Our addition, after the warped pictures of Siarohin et al. 2019 (First Order Motion Model).
    """

    def __init__(
        self,
        resolution: int,
        latent_channels: int,
        channels: list[int],
        decoder_blocks: int = 2,
        decoder_channels: list[int] | None = None,
        painted: Sequence[int] = (),
        flow_channels: int = 48,
    ):
        super().__init__()
        if len(channels) < 2:
            raise ValueError(f"model.vae.channels must hold at least two widths, got {channels}")
        widths = channels if decoder_channels is None else decoder_channels
        if len(widths) < len(channels):
            raise ValueError(
                f"model.vae.decoder_channels must hold at least as many widths as channels={channels}, got {widths}"
            )
        self.factor = 2 ** len(widths)
        if resolution % self.factor:
            raise ValueError(f"resolution {resolution} must be a multiple of {self.factor} (model.vae.channels)")
        self.resolution, self.latent_channels = resolution, latent_channels
        self.latent_size = resolution // self.factor
        self.shrink = 2 ** (len(widths) - len(channels))

        self.encoder = nn.ModuleList([nn.Conv2d(12, channels[0], 3, padding=1), ResBlock(channels[0], channels[0])])
        for wide, wider in zip(channels, channels[1:], strict=False):
            self.encoder += [nn.Conv2d(wide, wider, 4, stride=2, padding=1), ResBlock(wider, wider)]
        self.to_moments = nn.Sequential(norm(channels[-1]), nn.SiLU(), nn.Conv2d(channels[-1], 2 * latent_channels, 1))

        nn.init.constant_(self.to_moments[-1].bias[latent_channels:], FIRST_LOG_VARIANCE)

        wide, widest = widths[0], widths[-1]
        self.decoder = nn.ModuleList([nn.Conv2d(3 * latent_channels, widest, 3, padding=1)])
        self.decoder += [ResBlock(widest, widest) for _ in range(decoder_blocks)]
        for wider, narrower in zip(widths[:1:-1], widths[-2:0:-1], strict=True):
            self.decoder += [nn.Conv2d(wider, 4 * narrower, 1), nn.PixelShuffle(2), ResBlock(narrower, narrower)]
        self.to_flow = nn.Sequential(norm(widths[1]), nn.SiLU(), zero(nn.Conv2d(widths[1], 3, 3, padding=1)))
        self.widen = nn.Sequential(nn.Conv2d(widths[1], 4 * wide, 1), nn.PixelShuffle(2))
        self.enter_moved = nn.Conv2d(12, wide, 3, padding=1)
        self.paint = ResBlock(wide, wide)
        self.to_picture = nn.Sequential(norm(wide), nn.SiLU(), nn.Conv2d(wide, 12 + 4, 3, padding=1))

        self.window = None
        if painted:
            self.window = Window(painted, self.latent_size)
            cells = 4 ** (len(widths) - 2)
            self.to_rest = nn.Sequential(
                nn.Conv2d(3 * latent_channels, flow_channels, 3, padding=1),
                ResBlock(flow_channels, flow_channels),
                norm(flow_channels),
                nn.SiLU(),
                zero(nn.Conv2d(flow_channels, 3 * cells, 3, padding=1)),
                nn.PixelShuffle(2 ** (len(widths) - 2)),
            )

        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    @property
    def painted(self) -> tuple[int, int, int, int]:
        """Top, bottom, left and right in pixels of what the decoder paints; elsewhere it only moves the picture."""
        return tuple(self.factor * edge for edge in (self.window.cells if self.window else 2 * (0, self.latent_size)))

    def moments(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """frames [N, 3, H, W] -> mean, log variance [N, C, h, w], not normalised."""
        if frames.shape[-3:] != (3, self.resolution, self.resolution):
            want = [3, self.resolution, self.resolution]
            raise ValueError(f"the VAE takes frames {want}, got {list(frames.shape[-3:])}")
        x = F.avg_pool2d(frames, self.shrink) if self.shrink > 1 else frames
        x = F.pixel_unshuffle(x, 2)
        for layer in self.encoder:
            x = layer(x)
        mean, log_variance = self.to_moments(x).chunk(2, 1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)

    def encode(self, frames: Tensor) -> Tensor:
        """frames [..., 3, H, W] in [-1, 1] -> z [..., C, h, w], the normalised posterior mean."""
        mean, _ = self.moments(frames.flatten(0, -4))
        return self.normalise(mean).unflatten(0, frames.shape[:-3])

    def appearance(self, pictures: Tensor) -> Appearance:
        """Prepare reference pictures [B, 3, H, W]: once per video."""
        return Appearance(pictures, self.encode(pictures))

    def decode(self, z: Tensor, appearance: Appearance) -> Tensor:
        """z [..., C, h, w] -> frames [..., 3, H, W] in [-1, 1].

        The first dimension of z is the appearance's B, or the appearance holds one picture for all. Without maps the
        picture is not warped by the head's motion, and the latent alone tells where the head is.
        """
        # Taken from the shape where possible: an exporter cannot tell that B * ((B * T) // B) is B * T.
        count = z.shape[1] if z.ndim == 5 else len(z) // len(appearance.picture)
        frames = self.decode_raw(z.flatten(0, -4), appearance, count).picture
        return frames.clamp(-1, 1).unflatten(0, z.shape[:-3])

    def changes(self, z: Tensor, appearance: Appearance) -> tuple[Tensor, Tensor]:
        """z [N, C, h, w] of one reference picture or of N -> ``Decoded.change`` and ``Decoded.offsets``, of which
        frames of any size are composed."""
        return self.parts(z, appearance, len(z) // len(appearance.picture), self.seen_alone)

    def seen_alone(self, picture: Tensor, offsets: Tensor) -> Tensor:
        """The moved picture where it is painted on, and nothing else of it: looking a picture up takes time."""
        return looked_up(picture, offsets, self.painted)

    def decode_raw(self, z: Tensor, appearance: Appearance, count: int) -> Decoded:
        """z [B * count, C, h, w] -> frames in parts, not clamped so that gradients flow."""
        moved = []

        def seen(picture: Tensor, offsets: Tensor) -> Tensor:
            moved.append(looked_up(picture, offsets))
            return moved[0] if self.window is None else self.window.of(moved[0], self.factor)

        change, offsets = self.parts(z, appearance, count, seen)
        return Decoded(moved[0], change, offsets)

    def parts(self, z: Tensor, appearance: Appearance, count: int, see: Callable) -> tuple[Tensor, Tensor]:
        """``Decoded.change`` and ``Decoded.offsets``; ``see`` gives the moved picture where it is painted on."""
        picture, latent = (per_frame(x, count) for x in (appearance.picture, appearance.latent))
        maps = torch.eye(2, 3, device=z.device).expand(len(z), 2, 3) if appearance.maps is None else appearance.maps
        # channels_last: on a CPU the narrow layers at half size are twice as fast as in the contiguous (NCHW) layout.
        x = torch.cat([z, latent.to(z), placed_cells(latent.float(), maps).to(z)], 1)
        x = x.contiguous(memory_format=torch.channels_last)
        if self.window is not None:
            rest = self.to_rest(x).float().contiguous()
            x = self.window.of(x, 1).contiguous(memory_format=torch.channels_last)
        for layer in self.decoder:
            x = layer(x)
        flow = self.to_flow(x).float().contiguous()
        flow = flow if self.window is None else self.window.into(rest, flow)
        flow, along = flow.split([2, 1], 1)
        share = enlarged(along.expand(-1, 2, -1, -1), 4).sigmoid()
        offsets = offsets_along(maps, self.resolution, share, enlarged(flow, 4) * FLOW_SCALE)
        cells = F.pixel_unshuffle(see(picture, offsets), 2)
        x = self.paint(self.widen(x) + self.enter_moved(cells.contiguous(memory_format=torch.channels_last)))
        painted, share = self.to_picture(x).float().split([12, 4], 1)
        # Painted and warped pixels are mixed at half size; the three colours of a pixel share one weight.
        cells, painted = (x.unflatten(1, (3, 4)) for x in (cells, painted))
        change = F.pixel_shuffle((share.sigmoid()[:, None] * (painted - cells)).flatten(1, 2), 2)
        change = change if self.window is None else self.window.placed(change)
        return change, offsets.unflatten(2, (self.resolution, 2))

    def normalise(self, latent: Tensor) -> Tensor:
        """Latents [N, C, h, w] to zero mean and unit std per channel."""
        return (latent - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]
