"""What changes from frame to frame in a face: eyes, lips, and what shows between the lips."""

import numpy as np

from tsd.prepare.drawn.layers import bell, bump, mix, step
from tsd.prepare.drawn.people import Person

MAX_OPEN = 0.105
"""Inner-lip height at ``open`` 1 and articulation 1, in picture sides."""


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


def _edge_of(x):
    """The antialiased mask of a pixel grid [H, W] of x: distance (picture sides) -> 1 where positive."""
    per_pixel = 1 / (1.5 * (x[0, 1] - x[0, 0]))
    return lambda distance: np.clip(distance * per_pixel + 0.5, 0, 1)


def paint_eye(p: Person, head, region, sign: int, eyes_open: float, gaze):
    """Eye on the picture's left (sign -1) or right (1) into the head's RGBA canvas; region: rows, columns, x, y."""
    rows, columns, x, y = region
    edge = _edge_of(x)
    skin = head[rows, columns, :3].astype(np.float32) / 255
    cx = 0.5 + sign * p.eye_distance / 2
    s = (x - cx) / p.eye_width * sign
    v = y - p.eye_y + p.eye_slant * 0.10 * s * p.eye_width
    arch = np.sqrt(np.clip(1 - s * s, 0, 1))
    top = -p.eye_height * arch ** (1.15) * (1 - 0.10 * s)
    bottom = 0.62 * p.eye_height * arch**1.5 * (1 + 0.15 * s)
    shut = 0.35 * bottom + 0.002
    top, bottom = top * eyes_open + shut * (1 - eyes_open), bottom * eyes_open + shut * (1 - eyes_open)
    inside = edge(np.minimum(v - top, bottom - v)) * (np.abs(s) < 1)
    gx, gy = cx + gaze[0] * 0.016, gaze[1] * 0.008 - 0.0015
    radius = np.hypot(x - gx, v - gy)
    white = np.array([0.93, 0.91, 0.89], np.float32) * (1.0 - 0.30 * s * s)[..., None]
    white = white - np.array([0.0, 0.06, 0.06], np.float32) * step(-0.5, -1.0, s)[..., None]
    ring = radius / p.iris_radius
    iris = p.iris * (0.75 + 0.55 * step(-0.3, 1.0, (v - gy) / p.iris_radius) * step(1, 0.5, ring))[..., None]
    iris = iris * (1 - 0.65 * step(0.72, 1.0, ring))[..., None]
    ball = mix(white, iris, edge(p.iris_radius - radius))
    ball = ball * (1 - 0.97 * edge(0.42 * p.iris_radius - radius))[..., None]
    ball = ball * (1 - 0.55 * step(0.016, 0.0, v - top))[..., None]
    shine = edge(0.0052 - np.hypot(x - gx - 0.010 * np.sign(p.light[0]), v - gy + 0.009))
    ball = mix(ball, np.ones(3, np.float32), shine * 0.92)
    light = (0.80 + 0.25 * sign * p.light[0] + 0.15 * p.ambient) * (0.80 + 0.20 * float(p.skin.mean()))
    eye = mix(skin, ball * min(light, 1.0), inside)
    fold = bell(v - top + 0.006 + 0.012 * eyes_open, 0.0035) * arch * (0.15 + 0.35 * p.lid_fold)
    eye = eye * (1 - fold)[..., None]
    lash = bell(v - top + 0.001, 0.0042 if p.woman else 0.0034) * step(1.10, 0.9, np.abs(s))
    below = 0.35 * bell(v - bottom, 0.0028) * step(1.02, 0.85, np.abs(s))
    lash = np.maximum(lash * (0.95 if p.woman else 0.8), below)
    eye = mix(eye, 0.35 * p.brow_colour * p.skin, lash)
    head[rows, columns, :3] = np.clip(eye * 255, 0, 255)


def paint_mouth(p: Person, head, region, lips: dict, mouth):
    """Lips and what shows between them into the head's RGBA canvas; lips from ``lip_shape``, mouth a row of MOUTH."""
    rows, columns, x, y = region
    edge = _edge_of(x)
    skin = head[rows, columns, :3].astype(np.float32) / 255
    _, _, puckered, teeth, lower_teeth, tongue, tuck = mouth
    half, gap_top, gap_bottom = lips["half_width"], lips["gap_top"], lips["gap_bottom"]
    s = (x - 0.5) / half
    arch = np.clip(1 - s * s, 0, 1)
    v = y - p.mouth_y + 0.005 * s * s * (1 - puckered) - 0.002
    inner_top, inner_bottom = -gap_top * arch**0.8, gap_bottom * arch**0.75
    bow = 1 + 0.22 * p.cupids_bow * (bell(np.abs(s) - 0.22, 0.13) - 0.9 * bell(s, 0.09))
    outer_top = inner_top - lips["upper"] * arch**0.75 * bow
    outer_bottom = inner_bottom + lips["lower"] * arch**0.6
    soft = 0.0045
    lip = step(-soft, soft, v - outer_top) * step(-soft, soft, outer_bottom - v) * step(1.02, 0.97, np.abs(s))
    upper_t = np.clip((v - outer_top) / np.maximum(inner_top - outer_top, 1e-4), 0, 1)
    lower_t = np.clip((v - inner_bottom) / np.maximum(outer_bottom - inner_bottom, 1e-4), 0, 1)
    is_upper = v < (inner_top + inner_bottom) / 2
    lower_light = 0.82 + 0.42 * np.sin(np.clip(lower_t * 1.15, 0, 1) * np.pi) - 0.22 * lower_t
    light = np.where(is_upper, 0.90 - 0.28 * upper_t, lower_light)
    light = light * (0.72 + 0.35 * p.ambient) * (1 + 0.35 * p.light[0] * s) + 0.06
    light = light + 0.10 * bump(s, lower_t, 0.3 * np.sign(p.light[0]), 0.38, 0.35, 0.16) * ~is_upper
    light = light * (1 - 0.07 * np.cos(s * 55) * arch * (0.4 + 0.6 * puckered))
    face = mix(skin, p.lip_colour * light[..., None], lip * 0.93)
    seam = bell(np.where(is_upper, v - inner_top, v - inner_bottom), 0.0036) * step(1.04, 0.9, np.abs(s))
    face = face * (1 - 0.62 * seam)[..., None]
    shadow = 0.22 * step(0.03, 0.0, v - outer_bottom) * step(-0.004, 0.006, v - outer_bottom) * arch
    face = face * (1 - shadow)[..., None]
    inside = edge(np.minimum(v - inner_top, inner_bottom - v)) * (np.abs(s) < 1)
    if lips["gap"] > 0.001:
        inner = _inner_mouth(p, x, v, s, inner_top, inner_bottom, lips, teeth, lower_teeth, tongue, tuck)
        face = mix(face, inner, inside)
    head[rows, columns, :3] = np.clip(face * 255, 0, 255)


def _inner_mouth(p: Person, x, v, s, inner_top, inner_bottom, lips, teeth, lower_teeth, tongue, tuck):
    """Colour of what shows between the lips: dark, tongue, lower teeth, upper teeth from back to front."""
    gap, edge = lips["gap"], _edge_of(x)
    depth = np.clip((v - inner_top) / np.maximum(inner_bottom - inner_top, 1e-4), 0, 1)
    cavity = np.array([0.20, 0.05, 0.05], np.float32) * (0.55 + 0.6 * depth[..., None])
    pink = np.array([0.72, 0.34, 0.34], np.float32)
    rise = gap * (0.30 + 0.62 * tongue)
    hill = lips["gap_bottom"] - rise * np.sqrt(np.clip(1 - (x - 0.5) ** 2 / (0.70 * lips["half_width"]) ** 2, 0, 1))
    body = edge(v - hill) * (np.abs(s) < 0.7)
    pink = pink * (0.55 + 0.45 * step(0.0, 0.03, v - hill))[..., None]
    picture = mix(cavity, pink, body * (0.45 + 0.55 * min(1.0, tongue * 1.2)))
    bow = 1 - 0.35 * (x - 0.5) ** 2 / 0.09**2
    shade = np.clip(1.08 - 11.0 * np.abs(x - 0.5) ** 1.4, 0.3, 1) * (0.86 + 0.2 * p.ambient)
    gaps = 1 - 0.16 * bell(np.abs(np.mod((x - 0.5) / 0.0205, 1) - 0.5) - 0.5, 0.07)
    row = lips["gap_bottom"] - min(0.020 * lower_teeth, 0.35 * gap) * bow
    low = edge(v - row) * (np.abs(x - 0.5) < 0.075)
    picture = mix(picture, p.teeth * (0.78 * shade * gaps)[..., None], low * min(1.0, lower_teeth * 2))
    length = max(min(0.034, 0.30 * gap + 0.014), gap * tuck)
    row = -lips["gap_top"] + (length * teeth - 0.004) * bow
    high = edge(row - v) * (np.abs(x - 0.5) < 0.092)
    lit = shade * gaps * (0.80 + 0.25 * np.clip((v - inner_top) / 0.014, 0, 1))
    picture = mix(picture, p.teeth * lit[..., None], high * min(1.0, teeth * 2.5))
    return picture * (1 - 0.35 * step(0.008, 0.0, v - inner_top))[..., None]
