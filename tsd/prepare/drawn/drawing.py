"""Draws one head: still layers are painted once, each frame adds eyes and mouth, then turns the relief."""

import cv2
import numpy as np

from tsd.prepare.drawn import features, hair, layers
from tsd.prepare.drawn.layers import CENTRE, MARGIN, SUPERSAMPLING, Canvas, head_depth, mix, step
from tsd.prepare.drawn.people import Person

_EYE_ROI, _MOUTH_ROI = (0.098, 0.062), (0.19, 0.125, 0.165)
_CHEEK_TOP = 0.60
_GLASSES_DEPTH, _BACK_DEPTH = 0.27, -0.12


class Head:
    """One person at one picture size. ``draw`` gives a frame and its truth; nothing changes between calls."""

    def __init__(self, person: Person, size: int):
        """``size`` is the side of the picture in pixels, 32 or more."""
        if size < 32:
            raise ValueError(f"size must be 32 or more, got {size}: faces are unreadable below")
        self.person, self.size = person, size
        self.scale = size * SUPERSAMPLING
        self.canvas = canvas = Canvas(self.scale)
        rng = np.random.default_rng(person.seed)
        self._paint(rng)
        picture = slice(round(MARGIN * self.scale), round(MARGIN * self.scale) + self.scale)
        self.backdrop = self.backdrop[picture, picture]
        self.target_x, self.target_y = canvas.x[picture, picture] - CENTRE[0], canvas.y[picture, picture] - CENTRE[1]
        self.depth = head_depth(person, canvas.x, canvas.y).astype(np.float32)
        self.eyes = [self._region(0.5 + s * person.eye_distance / 2, person.eye_y, *_EYE_ROI) for s in (-1, 1)]
        wide, up, down = _MOUTH_ROI
        self.mouth = self._region(0.5, person.mouth_y + (down - up) / 2, wide, (up + down) / 2)
        jaw = slice(self._row(_CHEEK_TOP), canvas.side)
        self.jaw = jaw
        x, y = canvas.x[jaw], canvas.y[jaw]
        middle = step(person.mouth_y - 0.015, person.mouth_y + 0.065, y)
        pull = middle + (0.9 * step(person.mouth_y - 0.08, person.chin + 0.03, y) - middle) * step(
            0.06, 0.20, np.abs(x - 0.5)
        )
        self.jaw_pull = (pull * self.scale).astype(np.float32)
        self.jaw_x, self.jaw_y = self._pixels(x, y - (canvas.y[jaw.start, 0] + MARGIN) + 0.0)
        brow = slice(self._row(person.eye_y - 0.16), self._row(person.eye_y - 0.012))
        self.brow = brow
        x, y = canvas.x[brow], canvas.y[brow]
        line = person.eye_y - person.brow_height
        pull = 0.011 * step(line - 0.085, line - 0.01, y) * step(line + 0.045, line, y)
        self.brow_pull = (pull * self.scale).astype(np.float32)
        self.brow_x, self.brow_y = self._pixels(x, y - (canvas.y[brow.start, 0] + MARGIN))

    def _paint(self, rng):
        p, canvas = self.person, self.canvas
        skin, _ = layers.shade_skin(p, canvas, rng)
        alpha = canvas.edge((1 - layers.head_radius(p, canvas.x, canvas.y)) * p.face_width)
        ears, ear_alpha = np.zeros_like(skin), np.zeros_like(alpha)
        layers.paint_ears(p, canvas, ears, ear_alpha)
        layers.paint_beard(p, canvas, skin, rng)
        layers.paint_brows(p, canvas, skin, rng)
        skin, alpha = mix(ears, skin, alpha), np.maximum(alpha, ear_alpha)
        front, front_alpha = hair.front_hair(p, canvas, rng)
        skin = skin * hair.hair_shadow(p, canvas, front_alpha)[..., None]
        skin, alpha = mix(skin, front, front_alpha), np.maximum(alpha, front_alpha)
        self.head = _pack(skin, alpha)
        self.body = _pack(*hair.body(p, canvas, rng))
        self.back = _pack(*hair.back_hair(p, canvas, rng))
        self.glasses = _pack(*hair.glasses(p, canvas))
        self.backdrop = (hair.background(p, canvas, rng) * 255).round().astype(np.uint8)

    def _row(self, y: float) -> int:
        return round((y + MARGIN) * self.scale)

    def _pixels(self, x, y):
        """Canvas coordinates in picture sides -> map coordinates in pixels."""
        return tuple(((along + MARGIN) * self.scale - 0.5).astype(np.float32) for along in (x, y))

    def _region(self, cx, cy, half_width, half_height):
        """(rows, columns, x, y) of a box of the canvas; x, y in picture sides."""
        rows = slice(self._row(cy - half_height), self._row(cy + half_height))
        columns = slice(self._row(cx - half_width), self._row(cx + half_width))
        return rows, columns, self.canvas.x[rows, columns], self.canvas.y[rows, columns]

    def draw(self, mouth, pose, eyes_open: float, gaze, brows: float) -> tuple[np.ndarray, dict]:
        """One frame: uint8 [size, size, 3] RGB and its truth (see ``truth``). Arguments: one row of ``Acting``."""
        lips = features.lip_shape(self.person, mouth)
        head = self.head.copy()
        head[self.jaw] = _at(head[self.jaw], self.jaw_x, self.jaw_y - self.jaw_pull * np.float32(lips["drop"]))
        if abs(brows) > 0.02:
            head[self.brow] = _at(head[self.brow], self.brow_x, self.brow_y + self.brow_pull * np.float32(brows))
        for sign, region in zip((-1, 1), self.eyes, strict=True):
            features.paint_eye(self.person, head, region, sign, eyes_open, gaze)
        features.paint_mouth(self.person, head, self.mouth, lips, mouth)
        frame = self._turn(head, pose)
        return frame, truth(self.person, lips, pose, eyes_open)

    def _turn(self, head, pose):
        """Turn the relief by the pose and put all layers together."""
        plane, lift = projection(pose)
        back = np.linalg.inv(plane).astype(np.float32)
        x, y = self.target_x - np.float32(pose[3]), self.target_y - np.float32(pose[4])
        flat_x, flat_y = back[0, 0] * x + back[0, 1] * y, back[1, 0] * x + back[1, 1] * y
        lift_x, lift_y = (back @ lift).astype(np.float32)
        map_x, map_y = self._pixels(flat_x + CENTRE[0], flat_y + CENTRE[1])
        near_x, near_y = map_x, map_y
        for _ in range(4):
            depth = _at(self.depth, near_x, near_y)
            near_x, near_y = map_x - depth * (lift_x * self.scale), map_y - depth * (lift_y * self.scale)
        picture = self.backdrop.copy()
        _over(picture, self._flat(self.body, np.eye(2) * (1 + 0.5 * (pose[5] - 1)), 0.55 * np.asarray(pose[3:5])))
        if self.person.hair_style in ("long", "bob", "curly", "bun"):
            _over(picture, self._flat(self.back, plane, np.asarray(pose[3:5]) + lift * _BACK_DEPTH))
        _over(picture, _at(head, near_x, near_y))
        if self.person.glasses != "none":
            _over(picture, self._flat(self.glasses, plane, np.asarray(pose[3:5]) + lift * _GLASSES_DEPTH))
        return cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA)

    def _flat(self, layer, plane, shift):
        """A flat layer of the canvas, turned and moved into the picture."""
        back = np.linalg.inv(plane)
        centre = np.asarray(CENTRE)
        first = back @ (np.full(2, 0.5 / self.scale) - centre - shift) + centre + MARGIN
        matrix = np.concatenate([back, (first * self.scale - 0.5)[:, None]], 1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(layer, matrix, (self.scale, self.scale), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _at(layer, x, y):
    """A layer [H, W, ...] looked up at places x, y [h, w] in pixels."""
    return cv2.remap(layer, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _pack(picture, alpha):
    """Colour in 0..1 and alpha -> premultiplied uint8 RGBA."""
    layer = np.concatenate([np.clip(picture, 0, 1) * alpha[..., None], alpha[..., None]], -1)
    return (layer * 255).round().astype(np.uint8)


def _over(picture, layer):
    """Lay a premultiplied uint8 RGBA layer over a uint8 RGB picture, in place."""
    clear = cv2.bitwise_not(cv2.merge([cv2.extractChannel(layer, 3)] * 3))
    cv2.add(cv2.multiply(picture, clear, scale=1 / 255), cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB), dst=picture)


def projection(pose):
    """Pose [6] -> (2x2 of x, y and 2 of depth): picture = plane @ (x, y) + lift * z, before the shift."""
    yaw, pitch, roll, _, _, scale = np.asarray(pose, np.float64)
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    turn = np.array([[cr, -sr], [sr, cr]]) @ np.array([[cy, 0, sy], [-sy * sp, cp, cy * sp]]) * scale
    return turn[:, :2], turn[:, 2]


def project(p: Person, pose, points) -> np.ndarray:
    """Points [N, 2] of the unturned picture -> [N, 2] in the turned one, lifted by the head's relief."""
    points = np.asarray(points, np.float64)
    plane, lift = projection(pose)
    depth = head_depth(p, points[:, 0], points[:, 1])
    return (points - CENTRE) @ plane.T + depth[:, None] * lift + CENTRE + np.asarray(pose[3:5])


def truth(p: Person, lips: dict, pose, eyes_open: float) -> dict:
    """What a frame shows, in picture sides: motion [7], mouth_open, mouth_width, mouth_box [4], face_box [4]."""
    left, right, my, chin = 0.5 - p.eye_distance / 2, 0.5 + p.eye_distance / 2, p.mouth_y, p.chin + lips["drop"]
    marks = [(left, p.eye_y), (right, p.eye_y), (0.5, p.nose_y)]
    eyes_nose = project(p, pose, marks).ravel()
    top, bottom, half = my - lips["gap_top"], my + lips["gap_bottom"], lips["half_width"]
    inner, corners = [(0.5, top), (0.5, bottom)], [(0.5 - half, my), (0.5 + half, my)]
    outer = [(0.5, top - lips["upper"]), (0.5, bottom + lips["lower"])]
    mouth = project(p, pose, [*inner, *corners, *outer])
    oval = [(0.5, p.top + 0.03), (0.5 - p.face_width, 0.45), (0.5 + p.face_width, 0.45), (0.5, chin)]
    oval = project(p, pose, oval)
    return {
        "motion": np.append(eyes_nose, eyes_open),
        "mouth_open": np.linalg.norm(mouth[1] - mouth[0]),
        "mouth_width": np.linalg.norm(mouth[3] - mouth[2]),
        "mouth_box": np.concatenate([mouth.min(0), mouth.max(0)]),
        "face_box": np.concatenate([oval.min(0), oval.max(0)]),
    }
