"""A decoded face at any size: the photograph itself is moved, and what the decoder painted is enlarged onto it.

The decoder works at the size that the nets were trained for. Its two results are smooth, though: where each pixel looks
in the reference, and what painting adds there. Both are enlarged here, so hair, eyes and skin stay as sharp as in the
photograph. PyTorch, ONNX Runtime, OpenVINO and dubbing share this place; it needs NumPy and OpenCV alone.
"""

import cv2
import numpy as np

from tsd.media.faces import to_pixels
from tsd.media.light import Light
from tsd.media.mouth_mask import mouth_masks
from tsd.runtime.canvas import REACH, Canvas

EDGE = 0.12
"""Nearer to the photograph's edge than this, in units of the square's side, the picture moves less and less: nothing
has to be invented beyond the edge. Our choice."""

RIM = 0.06
"""What is painted fades out along the square's rim over this much of its side. Our choice."""

PAINTED_OVER = (17.0, 50.0)
"""Levels that painting adds around a pixel of the lower face: from the first on the photograph loses its fine detail
there, at the second all of it. Otherwise lines and highlights of closed lips stay on teeth and open lips. Our choice,
by looking at six people (docs/design/native-size.md)."""

DETAIL = 0.6
"""Standard deviation, in the decoder's pixels, of the blur that takes the fine detail: what is finer than the decoder's
pixels it cannot paint over. Our choice."""

HALF = 4
"""Pixels to either side that a sample halfway between two is interpolated from (Lanczos). Our choice: 3 would take 2 %
of the sharpness, 6 would add 3 %."""

HOW = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


class Composer:
    """Frames of one canvas. What does not change from frame to frame is computed once.

    resolution: of the decoder. light: the picture's, which the nets saw in usual light. still: only the lower face is
    made anew, and everything outside it stays as it is in the picture, level for level; else the head moves and takes
    neck and hair along beyond the square, less and less of them: at REACH from the square nothing moves. window: where
    the decoder paints (``VAE.painted``); ``change`` is zero elsewhere. None: everywhere.
    """

    def __init__(
        self,
        canvas: Canvas,
        resolution: int,
        light: Light,
        still: bool = False,
        window: tuple[int, int, int, int] | None = None,
    ):
        self.canvas, self.light, self.margin = canvas, light, round(REACH * resolution)
        to_grid = to_pixels(canvas.to_unit, resolution)
        to_grid[:, 2] += self.margin
        self.lower_face = self.padded(mouth_masks(canvas.points[None], resolution)[0])
        if still:
            painted = moved = self.lower_face
        else:
            painted = self.padded(rim_mask(resolution))
            moved = reach_mask(canvas, to_grid, resolution, self.margin)
        self.moved = moved[..., None]
        left, top, right, bottom = self.region(to_grid, np.maximum(moved, painted))
        self.corner, self.size = (left, top), (right - left, bottom - top)
        self.to_grid = to_grid.copy()
        self.to_grid[:, 2] += to_grid[:, :2] @ self.corner
        self.cells = whole_cells(self.to_grid, self.size, len(moved))
        self.painted = Painted(painted, window or (0, resolution, 0, resolution), self.margin, self)
        self.to_pixels = np.linalg.inv(canvas.to_unit[:, :2]).T.astype(np.float32)
        """From offsets in units of the square to those in pixels of ``source``."""
        self.here = np.stack(np.meshgrid(np.arange(left, right), np.arange(top, bottom)), -1).astype(np.float32)
        self.source, self.between = canvas.picture, cv2.INTER_CUBIC
        """The picture to look into, and how between its pixels. Linear interpolation would take a third of the
        sharpness (experiments/native), cubic takes most of a frame's time: a whole head looks linearly into a picture
        that is enlarged once. The lower face is small, and in dubbing each frame has another picture."""
        if not still:
            margin = round(EDGE * canvas.side)  # heads moved by 0.08 of the side at most in 40 seconds of four people
            first = np.maximum(np.subtract(self.corner, margin), 0)
            around = canvas.picture[first[1] : bottom + margin, first[0] : right + margin]
            self.source, self.between = doubled(around), cv2.INTER_LINEAR
            self.here, self.to_pixels = 2 * (self.here - first.astype(np.float32)), 2 * self.to_pixels

    def padded(self, field: np.ndarray) -> np.ndarray:
        """A field of the square with its margin, where there is nothing of it."""
        return cv2.copyMakeBorder(field, *4 * [self.margin], cv2.BORDER_CONSTANT)

    def region(self, to_grid: np.ndarray, mask: np.ndarray) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the shown part of the canvas in which anything can change."""
        height, width = self.canvas.picture.shape[:2]
        covered = cv2.warpAffine(mask, to_grid, (width, height), flags=HOW, borderMode=cv2.BORDER_CONSTANT)
        left, top, right, bottom = self.canvas.shown
        rows, columns = (np.flatnonzero(covered[top:bottom, left:right].any(axis)) for axis in (1, 0))
        if not len(rows):
            return left, top, left + 1, top + 1
        return left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1

    def __call__(self, change: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """change float32 [n, R, R, 3] in units of [-1, 1] and offsets [n, R, R, 2] in units of the square's side (see
        ``nets.vae.Decoded``) -> frames uint8 [n, H, W, 3] of what the canvas shows."""
        left, top, right, bottom = self.canvas.shown
        shown = self.canvas.picture[top:bottom, left:right]
        frames = np.empty((len(change), *shown.shape), np.uint8)
        x, y = self.corner[0] - left, self.corner[1] - top
        inside = slice(y, y + self.size[1]), slice(x, x + self.size[0])
        for frame, *given in zip(frames, change, offsets, strict=True):
            frame[:] = shown
            region = frame[inside]
            self.move(given[1], region)
            self.take_detail(region, given[0])
            self.painted.onto(region, self.light, given[0])
        return frames

    def take_detail(self, moved: np.ndarray, change: np.ndarray) -> None:
        """Blur the moved picture where ``change`` [R, R, 3] paints it over: in the lower face, and only if that is a
        pixel of the canvas or more."""
        sigma = DETAIL * self.canvas.side / len(change)
        if sigma < 1:
            return
        weak, strong = PAINTED_OVER
        red, green, blue = cv2.split(np.abs(change))
        levels = cv2.GaussianBlur(cv2.max(cv2.max(red, green), blue), (7, 7), 1.0) * np.float32(127.5)
        share = self.padded(rise((levels - weak) / (strong - weak))) * self.lower_face
        reach = int(np.ceil(3 * sigma))
        left, top, right, bottom = self.part_of(share)
        if right <= left or bottom <= top:
            return
        wider = slice(max(0, top - reach), bottom + reach), slice(max(0, left - reach), right + reach)
        sharp = np.ascontiguousarray(moved[wider])
        to_part = self.to_grid.copy()
        to_part[:, 2] += to_part[:, :2] @ (wider[1].start, wider[0].start)
        share = cv2.warpAffine(share, to_part, sharp.shape[1::-1], flags=HOW, borderMode=cv2.BORDER_CONSTANT)
        blurred = cv2.GaussianBlur(sharp, 2 * (2 * reach + 1,), sigma, borderType=cv2.BORDER_REFLECT_101)
        moved[wider] = cv2.blendLinear(blurred, sharp, share, 1 - share)

    def part_of(self, field: np.ndarray) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the part of the region that a field on the grid reaches."""
        left, top, width, height = cv2.boundingRect((field > 0).astype(np.uint8))
        if not width:
            return 0, 0, 0, 0
        corners = np.array([[x, y, 1.0] for x in (left - 1, left + width) for y in (top - 1, top + height)])
        places = corners @ cv2.invertAffineTransform(self.to_grid).T
        low, high = np.floor(places.min(0)), np.ceil(places.max(0)) + 1
        (left, top), (right, bottom) = np.clip([low, high], 0, self.size).astype(int)
        return left, top, right, bottom

    def move(self, offsets: np.ndarray, region: np.ndarray) -> None:
        """Into ``region``, that of the canvas, the moved picture. Offsets [R, R, 2] in units of the side become pixels
        on the small grid, where that is cheap."""
        shift = cv2.copyMakeBorder(offsets, *4 * [self.margin], cv2.BORDER_REPLICATE) * self.moved
        positions = self.on_canvas(shift @ self.to_pixels)
        positions += self.here
        moved = cv2.remap(self.source, positions, None, self.between, borderMode=cv2.BORDER_REFLECT_101)
        if moved.shape[-1] == 4:
            cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB, region)
        else:
            region[:] = moved

    def on_canvas(self, field: np.ndarray) -> np.ndarray:
        """A field on the square's grid with its margin -> the region of the canvas."""
        if self.cells is not None:  # a quarter of the time
            return cv2.resize(field[self.cells], self.size, interpolation=cv2.INTER_LINEAR)
        return cv2.warpAffine(field, self.to_grid, self.size, flags=HOW, borderMode=cv2.BORDER_CONSTANT)


class Painted:
    """What painting adds to the region of a canvas: where that can be anything, and how it is enlarged.

    ``share`` [., .] says by how much what is painted at each place of the grid counts, ``window`` where the decoder
    paints. ``part``: rows and columns of the composer's region that painting can reach.
    """

    def __init__(self, share: np.ndarray, window: tuple[int, int, int, int], margin: int, composer: Composer):
        inside = np.zeros_like(share)
        counts = tuple(slice(begin + margin, end + margin) for begin, end in (window[:2], window[2:]))
        inside[counts] = share[counts]
        left, top, width, height = cv2.boundingRect((inside > 0).astype(np.uint8))
        cells = slice(top, top + height), slice(left, left + width)
        if composer.cells is not None:
            cells = tuple(common(*both) for both in zip(cells, composer.cells, strict=True))
        self.share = inside[cells][..., None] * np.float32(127.5)
        self.cells = tuple(slice(x.start - margin, x.stop - margin) for x in cells)
        self.rim = None
        if composer.cells is None:
            left, top, right, bottom = composer.part_of(inside)
            self.to_grid = composer.to_grid.copy()
            self.to_grid[:, 2] += self.to_grid[:, :2] @ (left, top) - (cells[1].start, cells[0].start)
        else:  # with a cell of nothing around it, as it lies there
            scales = 1 / composer.to_grid.diagonal()[::-1]
            axes = [whole_pixels(*axis) for axis in zip(cells, composer.cells, scales, strict=True)]
            (top, bottom), (left, right) = (pixels for pixels, _ in axes)
            self.rim = [n for _, rim in axes for n in rim]
        self.part, self.size = (slice(top, bottom), slice(left, right)), (right - left, bottom - top)

    def onto(self, region: np.ndarray, light: Light, change: np.ndarray) -> None:
        """Add ``change`` [R, R, 3] in units of [-1, 1] to the region uint8 [H, W, 3]."""
        part = region[self.part]
        if self.share.size and part.size:
            cv2.add(part, self.levels(light, change), part, dtype=cv2.CV_8U)

    def levels(self, light: Light, change: np.ndarray) -> np.ndarray:
        """What is added to ``part``, float32 [h, w, 3]."""
        levels = light.own(np.ascontiguousarray(change[self.cells])) * self.share
        if self.rim is None:
            return cv2.warpAffine(levels, self.to_grid, self.size, flags=HOW, borderMode=cv2.BORDER_CONSTANT)
        levels = cv2.copyMakeBorder(levels, *self.rim, cv2.BORDER_CONSTANT)
        return cv2.resize(levels, self.size, interpolation=cv2.INTER_LINEAR)


def common(a: slice, b: slice) -> slice:
    begin = max(a.start, b.start)
    return slice(begin, max(begin, min(a.stop, b.stop)))


def whole_pixels(cells: slice, region: slice, scale: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last pixel, from the region's first, of ``cells`` of a grid with ``scale`` pixels each, widened by at
    least one cell until it begins and ends between pixels; and by how many cells at either end. The region does."""

    def pixels(edge: int) -> float:
        return (edge - region.start) * scale

    def whole(edge: int) -> bool:
        return abs(pixels(edge) - round(pixels(edge))) < 1e-6

    begin = next((edge for edge in range(cells.start - 1, region.start, -1) if whole(edge)), region.start)
    end = next((edge for edge in range(cells.stop + 1, region.stop) if whole(edge)), region.stop)
    return (round(pixels(begin)), round(pixels(end))), (cells.start - begin, end - cells.stop)


def doubled(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> [2 H - 1, 2 W - 1, 4]: the pixels at even places, what lies halfway between them at odd ones.
    With a fourth channel, which holds nothing, looking into it takes half as long."""
    away = np.arange(0.5 - HALF, HALF)
    weights = np.sinc(away) * np.sinc(away / HALF)
    weights = (weights / weights.sum()).astype(np.float32)

    def between(pixels: np.ndarray, across: bool) -> np.ndarray:
        kernels, anchor = (weights, np.ones(1, np.float32)), (HALF - 1, 0)
        if not across:
            kernels, anchor = kernels[::-1], anchor[::-1]
        return cv2.sepFilter2D(pixels, -1, *kernels, anchor=anchor, borderType=cv2.BORDER_REFLECT_101)

    pixels = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    right = between(pixels, across=True)
    height, width = 2 * len(picture) - 1, 2 * picture.shape[1] - 1
    out = np.empty((height, width), np.uint32)  # four bytes at once
    for (row, column), found in {
        (0, 0): pixels,
        (0, 1): right,
        (1, 0): between(pixels, across=False),
        (1, 1): between(right, across=False),
    }.items():
        place = out[row::2, column::2]
        place[:] = found.view(np.uint32)[: place.shape[0], : place.shape[1], 0]
    return out.view(np.uint8).reshape(height, width, 4)


def whole_cells(to_grid: np.ndarray, size: tuple[int, int], side: int) -> tuple[slice, slice] | None:
    """Rows and columns of a grid of ``side`` x ``side`` cells that a region of ``size`` (width, height) covers exactly,
    by ``to_grid`` [2, 3] from its pixels; None where it is turned, or begins or ends inside a cell or outside."""
    if abs(to_grid[0, 1]) > 1e-9 or abs(to_grid[1, 0]) > 1e-9:
        return None
    scale = to_grid.diagonal()
    begin = to_grid[:, 2] - scale / 2 + 0.5
    end = begin + scale * size
    if np.abs([begin - np.rint(begin), end - np.rint(end)]).max() > 1e-6:
        return None
    (left, top), (right, bottom) = np.rint([begin, end]).astype(int)
    if min(left, top) < 0 or max(right, bottom) > side:
        return None
    return slice(top, bottom), slice(left, right)


def rise(x: np.ndarray) -> np.ndarray:
    """From 0 at 0 to 1 at 1, smooth at both ends."""
    x = np.clip(x, 0, 1)
    return (x * x * (3 - 2 * x)).astype(np.float32)


def rim_mask(resolution: int) -> np.ndarray:
    """float32 [R, R]: 1 in the square, falling to 0 along its rim."""
    axis = (np.arange(resolution) + 0.5) / resolution
    near = np.minimum(axis, 1 - axis) - 0.5 / resolution
    return rise(np.minimum(near[:, None], near) / RIM)


def reach_mask(canvas: Canvas, to_grid: np.ndarray, resolution: int, margin: int) -> np.ndarray:
    """float32 [R + 2 margin, R + 2 margin]: 1 in the square, falling to 0 at REACH from it and at the photograph's
    edges. ``to_grid`` [2, 3] maps pixels of the canvas to these cells."""
    x, y = np.meshgrid(*2 * [np.arange(resolution + 2 * margin)])
    outermost = margin + resolution - 1
    far = np.maximum(np.maximum(margin - x, x - outermost), np.maximum(margin - y, y - outermost))
    beyond = rise(1 - np.maximum(far, 0) / margin)
    to_canvas = cv2.invertAffineTransform(to_grid)
    column, row = np.moveaxis(np.stack([x, y], -1) @ to_canvas[:, :2].T + to_canvas[:, 2], -1, 0)
    left, top, right, bottom = canvas.photograph
    near = np.minimum(np.minimum(column - left, right - 1 - column), np.minimum(row - top, bottom - 1 - row))
    return beyond * rise(near / (EDGE * canvas.side))
