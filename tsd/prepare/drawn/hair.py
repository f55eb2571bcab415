"""Hair, body, background and glasses of one person: the layers around the face."""

import cv2
import numpy as np

from tsd.prepare.drawn.layers import CENTRE, Canvas, bell, bump, head_radius, mix, step
from tsd.prepare.drawn.people import Person, colour

VOLUMES = {"shaved": 0.004, "crop": 0.022, "receding": 0.02, "back": 0.03, "bun": 0.018, "afro": 0.13, "curly": 0.075}
"""How far the hair stands out from the head; other styles by the person's own volume."""

LOW_ENDS = {"shaved": 0.40, "crop": 0.43, "receding": 0.43, "back": 0.44, "bun": 0.46, "side": 0.46, "fringe": 0.50}
LOW_ENDS |= {"curly": 0.56, "afro": 0.55}
"""Height at which the hair ends beside the face; other styles 0.60."""


def strands(canvas: Canvas, rng, u, v, fineness: float):
    """Hair texture around 1: streaks that are narrow along u and long along v (both in picture sides)."""
    total = np.zeros_like(canvas.x)
    for scale, weight in ((1.0, 0.5), (0.45, 0.35), (0.2, 0.3)):
        grid = rng.standard_normal((64, 512)).astype(np.float32)
        mx = np.mod(u * 512 * fineness * scale, 511).astype(np.float32)
        my = np.mod(v * 9 * scale + 20, 63).astype(np.float32)
        total += weight * cv2.remap(grid, mx, my, cv2.INTER_LINEAR)
    return total


def lit_hair(p: Person, canvas: Canvas, texture, gleam):
    """Hair colour [H, W, 3] from a strand texture and a highlight map in 0..1."""
    light = 0.74 + 0.30 * p.light[0] * (canvas.x - 0.5) * 3.2 - 0.28 * (canvas.y - 0.25)
    base = p.hair * np.clip(light + 0.20 * texture, 0.25, 1.5)[..., None]
    return np.clip(base + (0.25 * p.hair + 0.055) * np.clip(gleam * (1 + 0.6 * texture), 0, 2)[..., None], 0, 1)


def front_hair(p: Person, canvas: Canvas, rng):
    """(colour [H, W, 3], alpha [H, W]) of the hair on the head, or alpha 0 where bald."""
    x, y = canvas.x, canvas.y
    side = np.abs(x - CENTRE[0]) / p.face_width
    style = p.hair_style
    if style == "bald":
        return canvas.nothing()
    volume = VOLUMES.get(style, p.hair_volume)
    wobble = canvas.noise(rng, 9, 9, 3)
    rough = {"curly": 0.020, "afro": 0.010, "crop": 0.004}.get(style, 0.004)
    low = LOW_ENDS.get(style, 0.60)
    stretched = CENTRE[1] + (y - CENTRE[1]) * (1 - volume * 0.9 * (y < CENTRE[1]))
    outer = 1.015 + volume * 2.3 * step(0.75, 0.25, y) + volume * 1.2 + rough * wobble * 3
    inside = canvas.edge((outer - head_radius(p, x, stretched)) * p.face_width * 0.9)
    temple = step(0.58, 1.0, side + 0.03 * wobble)
    receding = style == "receding"
    line = p.hairline + (0.10 if receding else 0.0) * step(0.75, 0.2, np.abs(side - 0.5)) - 0.03 * receding
    line = line + 0.03 * side**2
    part = (x - 0.5) * np.sign(p.parting) + abs(p.parting) * 0.25
    if style in ("side", "long", "bob", "curly"):
        line = line - 0.07 * step(0.12, 0.0, np.abs(part)) + 0.06 * step(0.05, 0.30, part) * (style != "curly")
    if style == "fringe":
        line = np.minimum(line + 0.115, p.eye_y - 0.068) + 0.010 * np.sin(x * 90 + p.parting * 9) * step(0.9, 0.3, side)
    line = line * (1 - temple) + low * temple
    if style in ("long", "bob", "curly"):
        line = line + 0.35 * step(0.93, 1.02, side)
    v = np.hypot((x - 0.5) * 0.9, y - p.top + 0.10)
    u = np.arctan2(x - 0.5 + p.parting * 0.15, y - p.top + 0.12)
    curls = style in ("curly", "afro")
    if curls:
        texture = canvas.noise(rng, 75, 75, 2) * 0.6 + canvas.noise(rng, 14, 14, 1) * 0.25
    else:
        texture = strands(canvas, rng, u, v, 0.16 if style != "shaved" else 0.5)
    ragged = 0.004 if style in ("back", "bun", "shaved") else 0.012
    alpha = inside * step(-0.008, 0.010, line - y + ragged * texture)
    if style == "shaved":
        alpha = alpha * 0.62
    gleam = bell(v - 0.17 - 0.02 * texture, 0.035) * (0.25 if curls else 0.8) * step(1.1, 0.5, side)
    shade = lit_hair(p, canvas, texture, gleam)
    shade = shade * (1 - 0.35 * step(0.03, 0.0, np.abs(line - y)))[..., None]
    if style in ("side", "long", "bob"):
        shade = shade * (1 - 0.5 * bell(part, 0.006) * step(0.26, 0.15, y))[..., None]
    return shade, alpha


def hair_shadow(p: Person, canvas: Canvas, alpha):
    """Soft shadow that the front hair throws on the skin, 0..1 to multiply with."""
    shift = np.float32([[1, 0, -p.light[0] * 0.02 * canvas.pixels_per_side], [0, 1, 0.018 * canvas.pixels_per_side]])
    moved = cv2.warpAffine(alpha.astype(np.float32), shift, alpha.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    return 1 - 0.38 * cv2.GaussianBlur(moved, (0, 0), 0.012 * canvas.pixels_per_side)


def back_hair(p: Person, canvas: Canvas, rng):
    """(colour, alpha) of the hair behind the head and neck."""
    x, y = canvas.x, canvas.y
    side = np.abs(x - 0.5)
    wobble = canvas.noise(rng, 8, 8, 2)
    if p.hair_style in ("long", "bob", "curly"):
        end = {"long": 1.3, "bob": 0.80, "curly": 0.98}[p.hair_style]
        spread = p.face_width * 1.10 + p.hair_volume + (0.05 if p.hair_style == "curly" else 0.0)
        above, below = np.sqrt(np.clip(1 - ((0.42 - y) / 0.40) ** 2, 0, 1)), 1 + 0.10 * np.sin((y - 0.42) * 5)
        width = spread * np.where(y < 0.42, above, below)
        rough = 0.020 if p.hair_style == "curly" else 0.006
        alpha = canvas.edge(width + rough * wobble - side) * (y > 0.025)
        alpha = alpha * step(end + 0.012, end - 0.012, y + 0.012 * wobble)
    elif p.hair_style == "bun":
        alpha = canvas.edge(0.085 + 0.006 * wobble - np.hypot((x - 0.5) * 0.9, y - p.top + 0.045))
    else:
        return canvas.nothing()
    texture = canvas.noise(rng, 30, 30, 3) * 0.8 if p.hair_style == "curly" else strands(canvas, rng, x * 0.6, y, 0.5)
    dark = 0.62 + 0.38 * step(p.face_width * 0.85, p.face_width * 1.2, side)
    return lit_hair(p, canvas, texture, np.zeros_like(x)) * dark[..., None], alpha


def body(p: Person, canvas: Canvas, rng):
    """(colour, alpha) of neck, shoulders and clothes."""
    x, y = canvas.x, canvas.y
    side = np.abs(x - 0.5)
    neck_width = (0.165 if p.woman else 0.205) + 0.25 * np.clip(y - 0.93, 0, 0.2) ** 1.2
    neck = canvas.edge(neck_width - side) * (y > 0.6)
    light = 0.86 + 0.5 * p.light[0] * (x - 0.5) * 2.5
    light = light - 0.24 * step(0.985, 0.90, y) - 0.14 * step(0.4, 1.0, side / neck_width)
    picture = p.skin * np.array([1.0, 0.95, 0.93], np.float32) * np.clip(light, 0.18, 1)[..., None]
    slope = 0.985 + 0.42 * np.clip(side - 0.16, 0, 1) ** 1.25
    opening = np.clip(0.10 - side * 0.6, 0, 1) if p.collar == "vee" else -0.012 * (side < 0.2)
    cut = slope + opening
    cloth = canvas.edge(y - cut)
    folds = canvas.noise(rng, 5, 5, 3)
    shade = 0.72 + 0.45 * p.light[0] * (x - 0.5) * 1.5 + 0.09 * folds - 0.2 * step(0.03, 0.0, y - cut)
    picture = mix(picture, p.clothes * np.clip(shade, 0.2, 1.2)[..., None], cloth)
    if p.collar in ("shirt", "polo"):
        flap = canvas.edge(0.035 - np.abs(y - slope - 0.012 - 0.30 * np.clip(0.19 - side, 0, 1)))
        flap = flap * (side > 0.03) * (side < 0.23)
        tint = p.clothes * 1.12 if p.collar == "polo" else np.clip(p.clothes * 0.4 + 0.55, 0, 1)
        picture = mix(picture, np.clip(tint * (0.86 + 0.05 * folds[..., None]), 0, 1), flap)
        cloth = np.maximum(cloth, flap)
    return np.clip(picture, 0, 1), np.maximum(neck, cloth)


def background(p: Person, canvas: Canvas, rng):
    """Out-of-focus backdrop [H, W, 3]."""
    x, y = canvas.x, canvas.y
    a, b, *others = p.background_colours
    if p.background == "plain":
        picture = mix(a, a * 0.7, step(0.0, 1.4, np.hypot(x - 0.5, y - 0.4)))
    else:
        picture = mix(a, b, step(-0.2, 1.2, 0.5 * (y + x * np.sign(p.light[0]))))
    if p.background == "shapes":
        for tint in others:
            cx, cy, size = rng.uniform(-0.1, 1.1), rng.uniform(-0.1, 0.9), rng.uniform(0.08, 0.25)
            disc = step(size, size * 0.7, np.hypot(x - cx, y - cy))
            picture = mix(picture, tint, disc * rng.uniform(0.3, 0.8))
    if p.background == "bars":
        for tint in others:
            at, width = rng.uniform(-0.1, 1.1), rng.uniform(0.04, 0.2)
            picture = mix(picture, tint, step(width, width * 0.8, np.abs(x - at)) * rng.uniform(0.3, 0.9))
    picture = picture * (1 + 0.02 * canvas.noise(rng, 6, 6, 2))[..., None]
    return np.clip(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.012 * canvas.pixels_per_side), 0, 1)


def glasses(p: Person, canvas: Canvas):
    """(colour, alpha) of the spectacles, or alpha 0."""
    x, y = canvas.x, canvas.y
    if p.glasses == "none":
        return canvas.nothing()
    power, rx, ry, thick = {
        "round": (2.0, 0.098, 0.085, 0.0065),
        "square": (4.0, 0.104, 0.070, 0.0085),
        "thin": (2.8, 0.098, 0.066, 0.0042),
    }[p.glasses]
    cy = p.eye_y + 0.012
    frame, glass = np.zeros_like(x), np.zeros_like(x)
    for sign in (-1, 1):
        cx = 0.5 + sign * p.eye_distance * 0.51
        d = ((np.abs(x - cx) / rx) ** power + (np.abs(y - cy) / ry) ** power) ** (1 / power) - 1
        frame = np.maximum(frame, canvas.edge(thick - np.abs(d) * (rx + ry) / 2))
        glass = np.maximum(glass, canvas.edge(-d * ry))
        arm = canvas.edge(thick - np.abs(y - cy + 0.022))
        frame = np.maximum(frame, arm * ((x - cx) * sign > rx * 0.97) * ((x - 0.5) * sign < p.face_width * 0.90))
    bridge = canvas.edge(thick - np.abs(y - cy + 0.020 - 0.25 * (x - 0.5) ** 2 * 10))
    frame = np.maximum(frame, bridge * (np.abs(x - 0.5) < p.eye_distance * 0.51 - rx * 0.96))
    shine = np.clip(1.0 - np.abs((x - 0.5) * 0.9 + (y - cy) * 0.6 - 0.02 * np.sign(x - 0.5)) * 26, 0, 1) * 0.10
    alpha = np.maximum(frame, glass * (0.04 + shine))
    gleam = bump(x, y, 0.5 - 0.2 * np.sign(p.light[0]), cy - ry, 0.06, 0.01)
    clear = colour("e8eef2") * np.ones((*x.shape, 3), np.float32)
    tint = mix(clear, p.glasses_colour * (0.9 + 0.5 * gleam[..., None]), frame)
    return np.clip(tint, 0, 1), alpha
