"""MTCNN (Zhang et al. 2016, Joint Face Detection and Alignment) by ONNX Runtime: boxes and landmarks of all faces.

Three nets one after the other: the first looks at every place of a picture in many sizes, the second and third judge
what the one before proposed and correct it. The nets are those of facenet-pytorch (``face_nets/LICENSE``);
``tsd.prepare.face_nets`` wrote them into that folder. A test compares faces with facenet-pytorch's.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

NETS = Path(__file__).with_name("face_nets")
SMALLEST, SHRINK = 20, 0.709
"""Pixels across the smallest face that is looked for; from one size of the picture to the next."""

CELL, STRIDE = 12, 2
"""What a number of the first net sees of a picture, and how far its neighbour is, in pixels."""

ENOUGH = (0.6, 0.7, 0.7)
"""Probability of a face from which each of the three nets passes it on."""

OVERLAP, OVERLAP_OF_SIZE = 0.7, 0.5
"""Intersection over union from which the less probable of two boxes goes; of boxes of one size of the picture."""

AT_ONCE = 512
"""Boxes that the second and third net judge together at most: bounds memory."""


@dataclass(frozen=True)
class Found:
    """N faces: boxes float32 [N, 4] x0 y0 x1 y1, probabilities [N], points [N, 5, 2] x y; pixels."""

    boxes: np.ndarray
    probabilities: np.ndarray
    points: np.ndarray


def find(picture: np.ndarray) -> Found:
    """All faces of a uint8 [H, W, 3] picture."""
    image = picture.astype(np.float32)
    boxes = propose(image)
    boxes, moves, _ = judge(image, boxes, "refine", 24, ENOUGH[1])
    kept = distinct(boxes, OVERLAP)
    boxes = squared(moved(boxes[kept], moves[kept], 1))
    boxes, moves, places = judge(image, boxes, "output", 48, ENOUGH[2])
    size = boxes[:, 2:4] - boxes[:, :2] + 1
    points = places.reshape(-1, 2, 5).swapaxes(1, 2) * size[:, None] + boxes[:, None, :2] - 1
    boxes = moved(boxes, moves, 1)
    kept = distinct(boxes, OVERLAP, of_smaller=True)
    return Found(boxes[kept, :4], boxes[kept, 4], points[kept].astype(np.float32))


@cache
def _net(name: str):
    import onnxruntime  # only where faces are looked for

    options = onnxruntime.SessionOptions()
    # So small that threads waiting for each other would cost many times their work.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # every size of a picture would keep memory of its own
    return onnxruntime.InferenceSession(NETS / f"{name}.onnx", options, providers=["CPUExecutionProvider"])


def run(name: str, pictures: np.ndarray) -> list[np.ndarray]:
    """Pictures [N, H, W, 3] in levels -> probabilities, moves of the boxes' edges and, of ``output``, landmarks."""
    scaled = (pictures - np.float32(127.5)) * np.float32(1 / 128)
    return _net(name).run(None, {"pictures": np.ascontiguousarray(np.moveaxis(scaled, -1, 1))})


def propose(image: np.ndarray) -> np.ndarray:
    """Squares float32 [N, 5] (x0 y0 x1 y1, probability) of the first net, over all sizes of the picture."""
    height, width = image.shape[:2]
    sums = summed(image, 0)  # the same for all sizes, and most of the work
    scale, found = CELL / SMALLEST, [(np.zeros((0, 5), np.float32), np.zeros((0, 4), np.float32))]
    while min(height, width) * scale >= CELL:
        small = averaged(sums, int(height * scale + 1), int(width * scale + 1))
        probability, moves = (x[0] for x in run("propose", small[None]))
        rows, columns = np.nonzero(probability >= ENOUGH[0])
        corner = STRIDE * np.stack([columns, rows], 1).astype(np.float32)
        edges = [np.floor((corner + reach) / np.float32(scale)) for reach in (1, CELL)]
        boxes = np.concatenate([*edges, probability[rows, columns][:, None]], 1)
        kept = distinct(boxes, OVERLAP_OF_SIZE)
        found.append((boxes[kept], moves[:, rows, columns].T[kept]))
        scale *= SHRINK
    boxes, moves = (np.concatenate(parts) for parts in zip(*found, strict=True))
    kept = distinct(boxes, OVERLAP)
    return squared(moved(boxes[kept], moves[kept], 0))


def judge(image: np.ndarray, boxes: np.ndarray, name: str, size: int, enough: float) -> tuple[np.ndarray, ...]:
    """What the net ``name`` says of boxes [N, 5]: those that it takes for faces [n, 5], with its probability, moves of
    their edges [n, 4] and landmarks [n, 10] (of ``output`` alone)."""
    height, width = image.shape[:2]
    corners = boxes[:, :4].astype(int)
    low, high = np.maximum(corners[:, :2], 1) - 1, np.minimum(corners[:, 2:], [width, height])
    inside = (high > low).all(1)
    if not inside.any():
        return np.zeros((0, 5), np.float32), np.zeros((0, 4), np.float32), np.zeros((0, 10), np.float32)
    places = zip(low[inside], high[inside], strict=True)
    cut = np.stack([averaged(summed(image[y0:y1, x0:x1], 0), size, size) for (x0, y0), (x1, y1) in places])
    parts = [run(name, cut[begin : begin + AT_ONCE]) for begin in range(0, len(cut), AT_ONCE)]
    probability, moves, *places = (np.concatenate(x) for x in zip(*parts, strict=True))
    sure = probability > enough
    taken = np.concatenate([boxes[inside][sure, :4], probability[sure][:, None]], 1)
    return taken, moves[sure], places[0][sure] if places else np.zeros((int(sure.sum()), 10), np.float32)


def summed(image: np.ndarray, axis: int) -> np.ndarray:
    """float64: the sum of all that comes before each place of an axis, which gets one place more."""
    sums = np.cumsum(image, axis, np.float64)
    return np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis)


def averaged(sums: np.ndarray, height: int, width: int) -> np.ndarray:
    """``summed(image, 0)`` of [H, W, 3] -> float32 [height, width, 3]: every pixel the mean of all that it covers,
    wholly or in part."""
    return mean_of(summed(mean_of(sums, 0, height), 1), 1, width).astype(np.float32)


def mean_of(sums: np.ndarray, axis: int, size: int) -> np.ndarray:
    """``summed`` along an axis -> the means of ``size`` places of equal length that cover it."""
    before = sums.shape[axis] - 1
    begin = np.arange(size) * before // size
    end = -(-(np.arange(size) + 1) * before // size)
    count = (end - begin).reshape(-1, *(1,) * (2 - axis))
    return (sums.take(end, axis) - sums.take(begin, axis)) / count


def moved(boxes: np.ndarray, moves: np.ndarray, inclusive: int) -> np.ndarray:
    """Boxes [N, 5] with edges moved by ``moves`` [N, 4] in units of their size. inclusive: 1 where the last pixel
    counts to the size."""
    size = np.tile(boxes[:, 2:4] - boxes[:, :2] + inclusive, 2)
    return np.concatenate([boxes[:, :4] + moves * size, boxes[:, 4:]], 1)


def squared(boxes: np.ndarray) -> np.ndarray:
    """Boxes [N, 5] widened to squares around the same middle."""
    size = boxes[:, 2:4] - boxes[:, :2]
    side = size.max(1, initial=0, keepdims=True)
    low = boxes[:, :2] + size / 2 - side / 2
    return np.concatenate([low, low + side, boxes[:, 4:]], 1)


def distinct(boxes: np.ndarray, most: float, of_smaller: bool = False) -> np.ndarray:
    """Numbers of the boxes [N, 5] that stay, the most probable first, where none overlaps a more probable one by more
    than ``most``: intersection over union, or over the smaller box, whose last pixels then count."""
    order, kept = np.argsort(-boxes[:, 4], kind="stable"), []
    low, high = boxes[:, :2], boxes[:, 2:4] + int(of_smaller)
    area = (high - low).prod(1)
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        sides = np.minimum(high[first], high[order]) - np.maximum(low[first], low[order])
        both = np.maximum(sides, 0).prod(1)
        whole = np.minimum(area[first], area[order]) if of_smaller else area[first] + area[order] - both
        order = order[both <= most * whole]
    return np.array(kept, int)
