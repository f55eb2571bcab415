"""Draws one head: still layers are painted once, each frame adds eyes and mouth, then turns the relief."""

import cv2
import numpy as np

from tsd.prepare import hair, layers
from tsd.prepare.layers import CENTRE, MARGIN, SUPERSAMPLING, Canvas, head_depth, mix, step
from tsd.prepare.people import Person

MAX_OPEN = 0.105
"""Inner-lip height at ``open`` 1 and articulation 1, in picture sides."""
_EYE_ROI, _MOUTH_ROI = (0.098, 0.062), (0.19, 0.125, 0.165)
_CHEEK_TOP = 0.60
_GLASSES_DEPTH, _BACK_DEPTH = 0.33, -0.12


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
        self.brow_pull = (0.011 * step(line - 0.085, line - 0.01, y) * step(line + 0.045, line, y) * self.scale).astype(
            np.float32
        )
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
        return ((x + MARGIN) * self.scale - 0.5).astype(np.float32), ((y + MARGIN) * self.scale - 0.5).astype(
            np.float32
        )

    def _region(self, cx, cy, half_width, half_height):
        """(rows, columns, x, y) of a box of the canvas; x, y in picture sides."""
        rows = slice(self._row(cy - half_height), self._row(cy + half_height))
        columns = slice(self._row(cx - half_width), self._row(cx + half_width))
        return rows, columns, self.canvas.x[rows, columns], self.canvas.y[rows, columns]

    def _edge(self, distance):
        return np.clip(distance * (self.scale / 1.5) + 0.5, 0, 1)

    def draw(self, mouth, pose, eyes_open: float, gaze, brows: float) -> tuple[np.ndarray, dict]:
        """One frame: uint8 [size, size, 3] RGB and its truth (see ``truth``). Arguments: one row of ``Acting``."""
        lips = lip_shape(self.person, mouth)
        head = self.head.copy()
        self._drop_jaw(head, lips["drop"])
        if abs(brows) > 0.02:
            part = self.brow_y + self.brow_pull * np.float32(brows)
            head[self.brow] = cv2.remap(
                head[self.brow], self.brow_x, part, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        for sign, region in zip((-1, 1), self.eyes, strict=True):
            self._draw_eye(head, region, sign, eyes_open, gaze)
        self._draw_mouth(head, lips, mouth)
        frame = self._turn(head, pose)
        return frame, truth(self.person, lips, pose, eyes_open)

    def _drop_jaw(self, head, drop: float):
        moved = self.jaw_y - self.jaw_pull * np.float32(drop)
        head[self.jaw] = cv2.remap(head[self.jaw], self.jaw_x, moved, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def _draw_eye(self, head, region, sign: int, eyes_open: float, gaze):
        p = self.person
        rows, columns, x, y = region
        skin = head[rows, columns, :3].astype(np.float32) / 255
        cx = 0.5 + sign * p.eye_distance / 2
        s = (x - cx) / p.eye_width * sign
        v = y - p.eye_y + p.eye_slant * 0.10 * s * p.eye_width
        arch = np.sqrt(np.clip(1 - s * s, 0, 1))
        top = -p.eye_height * arch ** (1.15) * (1 - 0.10 * s)
        bottom = 0.62 * p.eye_height * arch**1.5 * (1 + 0.15 * s)
        shut = 0.35 * bottom + 0.002
        top, bottom = top * eyes_open + shut * (1 - eyes_open), bottom * eyes_open + shut * (1 - eyes_open)
        inside = self._edge(np.minimum(v - top, bottom - v)) * (np.abs(s) < 1)
        gx, gy = cx + gaze[0] * 0.016, gaze[1] * 0.008 - 0.0015
        radius = np.hypot(x - gx, v - gy)
        white = np.array([0.93, 0.91, 0.89], np.float32) * (1.0 - 0.30 * s * s)[..., None]
        white = white - np.array([0.0, 0.06, 0.06], np.float32) * step(-0.5, -1.0, s)[..., None]
        ring = radius / p.iris_radius
        iris = p.iris * (0.75 + 0.55 * step(-0.3, 1.0, (v - gy) / p.iris_radius) * step(1, 0.5, ring))[..., None]
        iris = iris * (1 - 0.65 * step(0.72, 1.0, ring))[..., None]
        ball = mix(white, iris, self._edge(p.iris_radius - radius))
        ball = ball * (1 - 0.97 * self._edge(0.42 * p.iris_radius - radius))[..., None]
        ball = ball * (1 - 0.55 * step(0.016, 0.0, v - top))[..., None]
        shine = self._edge(0.0052 - np.hypot(x - gx - 0.010 * np.sign(p.light[0]), v - gy + 0.009))
        ball = mix(ball, np.ones(3, np.float32), shine * 0.92)
        light = (0.80 + 0.25 * sign * p.light[0] + 0.15 * p.ambient) * (0.80 + 0.20 * float(p.skin.mean()))
        eye = mix(skin, ball * min(light, 1.0), inside)
        fold = np.exp(-0.5 * ((v - top + 0.006 + 0.012 * eyes_open) / 0.0035) ** 2) * arch * (0.15 + 0.35 * p.lid_fold)
        eye = eye * (1 - fold)[..., None]
        lash = np.exp(-0.5 * ((v - top + 0.001) / (0.0042 if p.woman else 0.0034)) ** 2) * step(1.10, 0.9, np.abs(s))
        lash = np.maximum(
            lash * (0.95 if p.woman else 0.8),
            0.35 * np.exp(-0.5 * ((v - bottom) / 0.0028) ** 2) * step(1.02, 0.85, np.abs(s)),
        )
        eye = mix(eye, 0.35 * p.brow_colour * p.skin, lash)
        head[rows, columns, :3] = np.clip(eye * 255, 0, 255)

    def _draw_mouth(self, head, lips: dict, mouth):
        p = self.person
        rows, columns, x, y = self.mouth
        skin = head[rows, columns, :3].astype(np.float32) / 255
        _, _, puckered, teeth, lower_teeth, tongue, tuck = mouth
        half, gap_top, gap_bottom = lips["half_width"], lips["gap_top"], lips["gap_bottom"]
        s = (x - 0.5) / half
        arch = np.clip(1 - s * s, 0, 1)
        v = y - p.mouth_y + 0.005 * s * s * (1 - puckered) - 0.002
        inner_top, inner_bottom = -gap_top * arch**0.8, gap_bottom * arch**0.75
        bow = 1 + 0.22 * p.cupids_bow * (
            np.exp(-0.5 * ((np.abs(s) - 0.22) / 0.13) ** 2) - 0.9 * np.exp(-0.5 * (s / 0.09) ** 2)
        )
        outer_top = inner_top - lips["upper"] * arch**0.75 * bow
        outer_bottom = inner_bottom + lips["lower"] * arch**0.6
        soft = 0.0045
        lip = step(-soft, soft, v - outer_top) * step(-soft, soft, outer_bottom - v) * step(1.02, 0.97, np.abs(s))
        upper_t = np.clip((v - outer_top) / np.maximum(inner_top - outer_top, 1e-4), 0, 1)
        lower_t = np.clip((v - inner_bottom) / np.maximum(outer_bottom - inner_bottom, 1e-4), 0, 1)
        is_upper = v < (inner_top + inner_bottom) / 2
        light = np.where(
            is_upper,
            0.90 - 0.28 * upper_t,
            0.82 + 0.42 * np.sin(np.clip(lower_t * 1.15, 0, 1) * np.pi) - 0.22 * lower_t,
        )
        light = light * (0.72 + 0.35 * p.ambient) * (1 + 0.35 * p.light[0] * s) + 0.06
        light = (
            light
            + 0.10
            * np.exp(-0.5 * ((s - 0.3 * np.sign(p.light[0])) / 0.35) ** 2 - 0.5 * ((lower_t - 0.38) / 0.16) ** 2)
            * ~is_upper
        )
        light = light * (1 - 0.07 * np.cos(s * 55) * arch * (0.4 + 0.6 * puckered))
        face = mix(skin, p.lip_colour * light[..., None], lip * 0.93)
        seam = np.exp(-0.5 * (np.where(is_upper, v - inner_top, v - inner_bottom) / 0.0036) ** 2) * step(
            1.04, 0.9, np.abs(s)
        )
        face = face * (1 - 0.62 * seam)[..., None]
        face = (
            face
            * (1 - 0.22 * step(0.03, 0.0, v - outer_bottom) * step(-0.004, 0.006, v - outer_bottom) * arch)[..., None]
        )
        inside = self._edge(np.minimum(v - inner_top, inner_bottom - v)) * (np.abs(s) < 1)
        if lips["gap"] > 0.001:
            face = mix(
                face,
                self._inner_mouth(x, v, s, inner_top, inner_bottom, lips, teeth, lower_teeth, tongue, tuck),
                inside,
            )
        head[rows, columns, :3] = np.clip(face * 255, 0, 255)

    def _inner_mouth(self, x, v, s, inner_top, inner_bottom, lips, teeth, lower_teeth, tongue, tuck):
        """Colour of what shows between the lips: dark, tongue, lower teeth, upper teeth from back to front."""
        p, gap = self.person, lips["gap"]
        depth = np.clip((v - inner_top) / np.maximum(inner_bottom - inner_top, 1e-4), 0, 1)
        cavity = np.array([0.20, 0.05, 0.05], np.float32) * (0.55 + 0.6 * depth[..., None])
        pink = np.array([0.72, 0.34, 0.34], np.float32)
        rise = gap * (0.30 + 0.62 * tongue)
        hill = lips["gap_bottom"] - rise * np.sqrt(np.clip(1 - (x - 0.5) ** 2 / (0.70 * lips["half_width"]) ** 2, 0, 1))
        body = self._edge(v - hill) * (np.abs(s) < 0.7)
        picture = mix(
            cavity,
            pink * (0.55 + 0.45 * step(0.0, 0.03, v - hill))[..., None],
            body * (0.45 + 0.55 * min(1.0, tongue * 1.2)),
        )
        bow = 1 - 0.35 * (x - 0.5) ** 2 / 0.09**2
        shade = np.clip(1.08 - 11.0 * np.abs(x - 0.5) ** 1.4, 0.3, 1) * (0.86 + 0.2 * p.ambient)
        gaps = 1 - 0.16 * np.exp(-0.5 * ((np.abs(np.mod((x - 0.5) / 0.0205, 1) - 0.5) - 0.5) / 0.07) ** 2)
        row = lips["gap_bottom"] - min(0.020 * lower_teeth, 0.35 * gap) * bow
        low = self._edge(v - row) * (np.abs(x - 0.5) < 0.075)
        picture = mix(picture, p.teeth * (0.78 * shade * gaps)[..., None], low * min(1.0, lower_teeth * 2))
        length = max(min(0.034, 0.30 * gap + 0.014), gap * tuck)
        row = -lips["gap_top"] + (length * teeth - 0.004) * bow
        high = self._edge(row - v) * (np.abs(x - 0.5) < 0.092)
        lit = shade * gaps * (0.80 + 0.25 * np.clip((v - inner_top) / 0.014, 0, 1))
        picture = mix(picture, p.teeth * lit[..., None], high * min(1.0, teeth * 2.5))
        return picture * (1 - 0.35 * step(0.008, 0.0, v - inner_top))[..., None]

    def _turn(self, head, pose):
        """Turn the relief by the pose and put all layers together."""
        plane, lift = projection(pose)
        back = np.linalg.inv(plane).astype(np.float32)
        x, y = self.target_x - np.float32(pose[3]), self.target_y - np.float32(pose[4])
        flat_x, flat_y = back[0, 0] * x + back[0, 1] * y, back[1, 0] * x + back[1, 1] * y
        lift_x, lift_y = (back @ lift).astype(np.float32)
        map_x, map_y = self._pixels(flat_x + CENTRE[0], flat_y + CENTRE[1])
        depth = cv2.remap(self.depth, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for _ in range(3):
            near_x, near_y = map_x - depth * (lift_x * self.scale), map_y - depth * (lift_y * self.scale)
            depth = cv2.remap(self.depth, near_x, near_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        near_x, near_y = map_x - depth * (lift_x * self.scale), map_y - depth * (lift_y * self.scale)
        picture = self.backdrop.copy()
        _over(picture, self._flat(self.body, np.eye(2) * (1 + 0.5 * (pose[5] - 1)), 0.55 * np.asarray(pose[3:5])))
        if self.person.hair_style in ("long", "bob", "curly", "bun"):
            _over(picture, self._flat(self.back, plane, np.asarray(pose[3:5]) + lift * _BACK_DEPTH))
        _over(picture, cv2.remap(head, near_x, near_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
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


def lip_shape(p: Person, mouth) -> dict:
    """Sizes of the lips in picture sides for one row of MOUTH: the one place that says what the mouth's shape is."""
    opened, width, puckered, _, _, _, tuck = (float(m) for m in mouth)
    gap = MAX_OPEN * p.articulation * opened
    squeeze = 1 - 0.12 * np.exp(-gap / 0.01) * (puckered < 0.3)
    return {
        "gap": gap,
        "gap_top": 0.26 * gap,
        "gap_bottom": 0.74 * gap,
        "drop": 0.72 * gap,
        "half_width": p.mouth_width * (1 + 0.20 * width - 0.10 * puckered),
        "upper": p.upper_lip * (1 + 0.35 * puckered) * squeeze,
        "lower": p.lower_lip * (1 + 0.25 * puckered - 0.35 * tuck) * squeeze,
    }


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
    half = lips["half_width"]
    top, bottom = my - lips["gap_top"], my + lips["gap_bottom"]
    mouth = [
        (0.5, top),
        (0.5, bottom),
        (0.5 - half, my),
        (0.5 + half, my),
        (0.5, top - lips["upper"]),
        (0.5, bottom + lips["lower"]),
    ]
    mouth = project(p, pose, mouth)
    oval = [(0.5, p.top + 0.03), (0.5 - p.face_width, 0.45), (0.5 + p.face_width, 0.45), (0.5, chin)]
    oval = project(p, pose, oval)
    return {
        "motion": np.append(eyes_nose, eyes_open),
        "mouth_open": np.linalg.norm(mouth[1] - mouth[0]),
        "mouth_width": np.linalg.norm(mouth[3] - mouth[2]),
        "mouth_box": np.concatenate([mouth.min(0), mouth.max(0)]),
        "face_box": np.concatenate([oval.min(0), oval.max(0)]),
    }
