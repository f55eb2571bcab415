"""Faces followed through a video: which detections are one head, where its landmarks are on every frame."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from tsd.media.faces import RIVAL, Landmarks, landmarks_to_motion, lean
from tsd.media.signals import FPS

SMOOTHING = 1.5
"""Std of the Gaussian over time in frames: below the quickest nods, above the detector's jitter (our choice)."""

MAX_GAP = FPS
"""Frames for which a head may be unseen (a hand, a quick turn) before it counts as gone."""

SAME = 0.3
"""Overlap (intersection over union) of two boxes from which they are the same head, some frames apart."""

TURNED, MAX_TURNED = 0.35, 0.5
"""Sideways distance of the nose from the middle of the eyes, over the distance of the eyes: 0 seen from the front,
above 0.35 one cheek hides the other; and the share of frames for which a head may be turned so far."""

OWN, RED, PALE = 0.8, 3.0, 0.4
"""Redness of a person's lips, as a quantile over time; from where on (units of Lab's a) it tells lips from what covers
them; and its share below which something does: a hand is nearly as red as the cheeks. Our choice."""

LYING = np.radians(45)
"""From the upright."""


@dataclass
class Head:
    """One head seen on the frames ``seen`` (rising) of a video; pixels."""

    seen: list[int] = field(default_factory=list)
    faces: list[Landmarks] = field(default_factory=list)

    @property
    def first(self) -> int:
        return self.seen[0]

    @property
    def end(self) -> int:
        """The frame after the last one."""
        return self.seen[-1] + 1

    @property
    def size(self) -> float:
        """Median side of the face's box in pixels."""
        return float(np.median([max(f.box[2] - f.box[0], f.box[3] - f.box[1]) for f in self.faces]))

    @property
    def middle(self) -> float:
        """Median place of the face's box, x in pixels."""
        return float(np.median([(f.box[0] + f.box[2]) / 2 for f in self.faces]))

    @property
    def turned(self) -> float:
        """Share of the seen frames on which the head is turned away."""
        points = np.stack([face.points for face in self.faces])
        eyes = points[:, :2].mean(1)
        apart = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
        return float((np.abs(points[:, 2, 0] - eyes[:, 0]) > TURNED * np.maximum(apart, 1e-6)).mean())

    @property
    def lying(self) -> float:
        """Share of the seen frames on which the face lies on its side or on its head, or nearly so."""
        return float(np.mean([lean(face.points) > LYING for face in self.faces]))

    def covered(self, every: int) -> np.ndarray:
        """bool [n]: whether no lips are seen on the frames first..end - 1, looked at on every ``every``-th: in the
        nearest look there are none or they are pale for this person, or looks in between did not find the head."""
        red = np.array([face.redness for face in self.faces])
        own = np.sort(red)[int(OWN * (len(red) - 1))]
        pale = np.isneginf(red) | (red < PALE * own if own >= RED else False)
        apart = np.abs(np.arange(self.first, self.end)[:, None] - np.array(self.seen))
        return pale[apart.argmin(1)] | (apart.min(1) >= every)

    def landmarks(self, num_frames: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Points float32 [n, 5, 2] and boxes [n, 4] of the frames first..end - 1, or of all ``num_frames``."""
        first, length = (self.first, self.end - self.first) if num_frames is None else (0, num_frames)
        values = np.stack([np.concatenate([face.points.ravel(), face.box]) for face in self.faces])
        full = fill(np.array(self.seen) - first, values, length)
        return full[:, :10].reshape(-1, 5, 2), full[:, 10:]


def fill(seen: np.ndarray, values: np.ndarray, num_frames: int, smoothing: float = SMOOTHING) -> np.ndarray:
    """Values [n, M] at the frames ``seen`` [n] -> float32 [T, M]: linear in between, constant beyond, smoothed."""
    frames = np.arange(num_frames)
    full = np.stack([np.interp(frames, seen, column) for column in values.T], 1).astype(np.float32)
    return cv2.GaussianBlur(full, (1, 0), sigmaX=0.1, sigmaY=smoothing, borderType=cv2.BORDER_REPLICATE)


def follow(looked: list[tuple[int, list[Landmarks]]], cuts: list[int], num_frames: int, every: int) -> list[Head]:
    """Detections on every ``every``-th frame (number, faces) -> heads, in order of appearance.

    A head goes on with the box that overlaps its last one most, never over a cut. At the ends of a shot it is
    taken to be there from the cut on, where no look lies between.
    """
    edges = [0, *cuts, num_frames]
    heads: list[tuple[int, Head]] = []
    for frame, faces in looked:
        shot = int(np.searchsorted(cuts, frame, side="right"))
        active = [h for s, h in heads if s == shot and frame - h.seen[-1] <= MAX_GAP]
        pairs = sorted(
            ((overlap(h.faces[-1].box, face.box), i, j) for i, h in enumerate(active) for j, face in enumerate(faces)),
            reverse=True,
        )
        taken_heads, taken_faces = set(), set()
        for share, i, j in pairs:
            if share >= SAME and i not in taken_heads and j not in taken_faces:
                active[i].seen.append(frame)
                active[i].faces.append(faces[j])
                taken_heads.add(i)
                taken_faces.add(j)
        heads += [(shot, Head([frame], [face])) for j, face in enumerate(faces) if j not in taken_faces]
    for shot, head in heads:
        begin, end = edges[shot], edges[shot + 1]
        if head.first - begin < every and head.first != begin:
            head.seen.insert(0, begin)
            head.faces.insert(0, head.faces[0])
        if end - head.end < every and head.end != end:
            head.seen.append(end - 1)
            head.faces.append(head.faces[-1])
    return [head for _, head in heads]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes x0 y0 x1 y1."""
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = max(float(width), 0.0) * max(float(height), 0.0)
    area = sum(float((box[2] - box[0]) * (box[3] - box[1])) for box in (a, b))
    return both / max(area - both, 1e-9)


def rivals(head: Head, others: list[Head]) -> float:
    """Share of a head's time in which another of comparable size is seen too: whose voice it is cannot be told."""
    busy = np.zeros(head.end - head.first, bool)
    for other in others:
        if other is not head and other.size > RIVAL * head.size:
            busy[max(other.first - head.first, 0) : max(other.end - head.first, 0)] = True
    return float(busy.mean())


def face_arrays(
    points: np.ndarray, boxes: np.ndarray, eyes_open: np.ndarray, mouth_open: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Landmarks [T, 5, 2] and boxes [T, 4] in units of the picture's side, and how far the eyes and the mouth are open
    [T] (None: not known) -> what is stored of a clip's face.

    ``motion`` float32 [T, 7] (signals.MOTION), ``mouth_box`` and ``face_box`` [T, 4]. The mouth's box is square-ish
    around the corners: 1.5 times their distance wide, 1.2 times high, a little lower than they are, so that it holds an
    open mouth (our choice: the drawn corpus' true boxes have these proportions at rest).
    """
    corners = points[:, 3:]
    middle, width = corners.mean(1), np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    half = np.stack([0.75 * width, 0.6 * width], 1)
    middle = middle + np.stack([np.zeros_like(width), 0.1 * width], 1)
    mouth = np.concatenate([middle - half, middle + half], 1)
    return {
        "motion": landmarks_to_motion(points, eyes_open),
        "mouth_box": mouth.astype(np.float32),
        "face_box": boxes.astype(np.float32),
        **({} if mouth_open is None else {"mouth_open": mouth_open.astype(np.float32)}),
    }
