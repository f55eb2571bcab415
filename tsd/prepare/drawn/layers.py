"""The still layers of one person, painted once: background, body, back hair, head relief and skin, glasses.

The canvas is the picture with a margin all around, so that nothing is cut off when the head moves; colours are
painted in linear light and stored as RGBA in 0..1, premultiplied, sRGB.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from tsd.prepare.drawn.people import Person, colour

MARGIN = 0.16
SUPERSAMPLING = 2
CENTRE = (0.5, 0.52)
"""The point of the picture that head rotations leave in place."""
DEPTH = 0.30


def step(low: float, high: float, x):
    """Smooth 0..1 ramp of x between low and high (either order)."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def bell(distance, width: float):
    """Gaussian of height 1 at distance 0."""
    return np.exp(-0.5 * (distance / width) ** 2)


def bump(x, y, cx: float, cy: float, sx: float, sy: float):
    """Gaussian of height 1 around (cx, cy)."""
    return np.exp(-0.5 * (((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2))


def mix(a, b, t):
    """a where t = 0, b where t = 1; t is [H, W], a and b colours or pictures."""
    return a + (b - a) * t[..., None]


@dataclass
class Canvas:
    """Pixel grids of the canvas: ``side`` pixels for 1 + 2 MARGIN picture sides; x, y in picture sides."""

    pixels_per_side: int

    def __post_init__(self):
        self.side = round(self.pixels_per_side * (1 + 2 * MARGIN))
        axis = ((np.arange(self.side) + 0.5) / self.pixels_per_side - MARGIN).astype(np.float32)
        self.x, self.y = np.meshgrid(axis, axis)
        self.soft = 0.75 / self.pixels_per_side

    def edge(self, distance):
        """Antialiased mask: 1 where ``distance`` (picture sides) is positive."""
        return np.clip(distance / (2 * self.soft) + 0.5, 0, 1)

    def nothing(self):
        """(colour [H, W, 3], alpha [H, W]) of a layer in which nothing is drawn."""
        return np.zeros((*self.x.shape, 3), np.float32), np.zeros_like(self.x)

    def noise(self, rng, cells_x: int, cells_y: int, octaves: int = 3):
        """Smooth noise of about zero mean and unit spread over the canvas."""
        total, weight = np.zeros((self.side, self.side), np.float32), 0.0
        for o in range(octaves):
            shape = (cells_y * 2**o + 3, cells_x * 2**o + 3)
            grid = rng.standard_normal(shape).astype(np.float32)
            total += cv2.resize(grid, (self.side, self.side), interpolation=cv2.INTER_CUBIC) * 0.6**o
            weight += 0.36**o
        return total / weight**0.5


def head_radius(p: Person, x, y):
    """Implicit outline of the face: below 1 inside, 1 on the outline, growing outside."""
    middle = 0.47
    up, down = np.clip((middle - y) / (middle - p.top), 0, None), np.clip((y - middle) / (p.chin - middle), 0, None)
    width = p.face_width * (1 - p.jaw_taper * step(0.15, 1.0, down)) * (1 - 0.06 * step(0.2, 1, up))
    power = np.where(y < middle, 2.3, p.squareness)
    return ((np.abs(x - CENTRE[0]) / width) ** power + (up + down) ** power) ** (1 / power)


def nose_relief(p: Person, x, y):
    """Height of the nose above the face, in picture sides."""
    along = np.clip((y - p.eye_y - 0.01) / (p.nose_y - p.eye_y - 0.01), 0, 1)
    below = 1 - step(p.nose_y + 0.004, p.nose_y + 0.036, y)
    ridge = (0.15 + 0.85 * along**1.4) * below * step(p.eye_y - 0.05, p.eye_y + 0.03, y)
    spread = 0.016 + (0.36 * p.nose_width - 0.008) * along**1.5
    relief = p.nose_height * ridge * bell(x - 0.5, spread)
    for sign in (-1, 1):
        relief += 0.030 * bump(x, y, 0.5 + sign * p.nose_width * 0.78, p.nose_y + 0.010, 0.016, 0.017)
    return relief


def head_depth(p: Person, x, y):
    """Height of the head towards the viewer, in picture sides; negative beyond the outline."""
    r = head_radius(p, x, y)
    return DEPTH * (1 - np.clip(r, 0, 1.5) ** 2) + 0.8 * nose_relief(p, x, y)


def shade_skin(p: Person, canvas: Canvas, rng):
    """Lit skin of the face and ears [H, W, 3] in sRGB, and the relief used to light it."""
    x, y, n = canvas.x, canvas.y, canvas.pixels_per_side
    r = head_radius(p, x, y)
    height = DEPTH * np.sqrt(np.clip(1.04 - np.clip(r, 0, 1.02) ** 2, 0, 1)) * 0.9 + nose_relief(p, x, y)
    for sign in (-1, 1):
        eye = 0.5 + sign * p.eye_distance / 2
        height -= 0.022 * bump(x, y, eye, p.eye_y - 0.006, 0.050, 0.028)
        height += 0.010 * bump(x, y, eye, p.eye_y, 0.030, 0.020)
        height += 0.014 * bump(x, y, eye, p.eye_y - p.brow_height - 0.006, 0.065, 0.018)
        height += (0.006 + 0.014 * p.cheekbones) * bump(x, y, 0.5 + sign * 0.17, 0.575, 0.06, 0.045)
        fold = 0.5 + sign * (0.085 + 0.35 * np.clip(y - 0.60, 0, 0.2))
        height -= (0.003 + 0.007 * p.age) * bell(x - fold, 0.010) * step(0.595, 0.63, y) * step(0.74, 0.68, y)
        height -= (0.002 + 0.004 * p.age) * bump(x, y, eye - sign * 0.01, p.eye_y + 0.042, 0.035, 0.006)
    height += 0.020 * bump(x, y, 0.5, p.mouth_y, 0.075, 0.040)
    height += 0.016 * bump(x, y, 0.5, p.chin - 0.045, 0.05, 0.030)
    height -= 0.008 * bump(x, y, 0.5, p.mouth_y + 0.062, 0.05, 0.012)
    height -= 0.003 * bump(x, y, 0.5, p.mouth_y - 0.055, 0.008, 0.018)
    if p.age > 0.6:
        for line in (0.29, 0.315, 0.34):
            wrinkle = bell(y - line - 0.01 * np.cos(14 * (x - 0.5)), 0.004)
            height -= 0.0016 * p.age * wrinkle * step(0.2, 0.1, np.abs(x - 0.5))
    height = cv2.GaussianBlur(height.astype(np.float32), (0, 0), max(0.0035 * n, 0.3))
    gy, gx = np.gradient(height, 1 / n)
    normal = np.stack([-gx, -gy, np.ones_like(gx)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    facing = normal @ p.light
    wrap = np.array([0.42, 0.27, 0.20], np.float32)
    diffuse = np.clip((facing[..., None] + wrap) / (1 + wrap), 0, None)
    half = p.light + np.array([0, 0, 1])
    gloss = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1)
    shine = (0.25 + 0.75 * p.skin.mean()) * (0.07 * gloss**14 + 0.11 * gloss**60)
    albedo = np.ones_like(normal) * p.skin**2.2
    spots = canvas.noise(rng, 7, 7) * 0.03 + canvas.noise(rng, 60, 60, 2) * 0.018
    albedo *= 1 + spots[..., None]
    flush = sum(bump(x, y, 0.5 + s * 0.17, 0.60, 0.07, 0.05) for s in (-1, 1))
    flush = flush + 0.7 * bump(x, y, 0.5, p.nose_y, 0.04, 0.03)
    albedo = mix(albedo, albedo * np.array([1.06, 0.72, 0.70]), np.clip(flush * p.blush * 0.6, 0, 1))
    tired = sum(bump(x, y, 0.5 + s * p.eye_distance * 0.48, p.eye_y + 0.028, 0.045, 0.016) for s in (-1, 1))
    albedo = mix(albedo, albedo * np.array([0.80, 0.70, 0.74]), np.clip(tired * (0.35 + 0.4 * p.age), 0, 1))
    if p.freckles:
        dots = np.clip(canvas.noise(rng, 110, 110, 1) - 1.25, 0, 1) * step(0.22, 0.08, np.abs(y - 0.55))
        albedo = mix(albedo, albedo * np.array([0.62, 0.45, 0.34]), np.clip(dots * 1.4 * p.freckles, 0, 0.8))
    occlusion = 1 - 0.30 * step(0.80, 1.02, r)
    side = -np.sign(p.light[0])
    occlusion *= 1 - 0.50 * bump(x, y, 0.5, p.nose_y + 0.034, p.nose_width * 0.8, 0.012)
    occlusion *= 1 - 0.40 * abs(p.light[0]) * bump(x, y, 0.5 + side * 0.055, p.nose_y - 0.01, 0.022, 0.05)
    occlusion *= 1 - 0.28 * bump(x, y, 0.5, p.mouth_y + 0.052, 0.055, 0.012)
    for sign in (-1, 1):
        eye = 0.5 + sign * p.eye_distance / 2
        occlusion *= 1 - 0.30 * bump(x, y, eye - sign * 0.022, p.eye_y - 0.022, 0.042, 0.020)
        occlusion *= 1 - 0.75 * bump(x, y, 0.5 + sign * p.nose_width * 0.42, p.nose_y + 0.022, 0.011, 0.0055)
        occlusion *= 1 - 0.16 * bump(x, y, 0.5 + sign * (p.mouth_width + 0.012), p.mouth_y + 0.004, 0.012, 0.014)
        occlusion *= 1 - 0.35 * bump(x, y, 0.5 + sign * p.nose_width * 1.05, p.nose_y + 0.008, 0.006, 0.016)
    lit = albedo * (p.ambient * 0.8 + (1.0 - p.ambient * 0.58) * diffuse) * occlusion[..., None] * p.warmth
    lit = lit + shine[..., None] * 0.5 * (1 - p.ambient * 0.5)
    return np.clip(lit, 0, 1).astype(np.float32) ** (1 / 2.2), height


def paint_ears(p: Person, canvas: Canvas, picture, alpha):
    """Ears beside the face, half hidden by it."""
    x, y = canvas.x, canvas.y
    for sign in (-1, 1):
        cx = 0.5 + sign * (p.face_width * 0.985)
        tilt = (x - cx) * sign
        d = 1 - np.sqrt(((x - cx - sign * 0.012 * (0.5 - (y - 0.40) / 0.17)) / 0.034) ** 2 + ((y - 0.49) / 0.082) ** 2)
        ear = canvas.edge(d * 0.034) * (head_radius(p, x, y) > 0.97)
        lit = 0.62 + 0.25 * step(-0.01, 0.03, tilt) + 0.25 * sign * p.light[0]
        lit = lit * (1 - 0.40 * bump(x, y, cx + sign * 0.010, 0.49, 0.010, 0.035))
        shade = p.skin * np.array([1.0, 0.90, 0.87], np.float32) * np.clip(lit, 0.3, 1.0)[..., None]
        picture[:] = mix(picture, shade, ear)
        alpha[:] = np.maximum(alpha, ear)
        if p.earrings:
            ring = canvas.edge(0.010 - np.hypot(x - cx, y - 0.582))
            picture[:] = mix(picture, colour("d8c48a") * (1 - 12 * np.abs(x - cx + 0.003))[..., None], ring)
            alpha[:] = np.maximum(alpha, ring)


def paint_brows(p: Person, canvas: Canvas, picture, rng):
    """Eyebrows of fine hairs, into the skin."""
    x, y = canvas.x, canvas.y
    hairs = canvas.noise(rng, 150, 26, 2)
    for sign in (-1, 1):
        s = (x - 0.5) * sign
        t = (s - p.eye_distance * 0.20) / (p.eye_width * 2.25)
        line = p.eye_y - p.brow_height - p.brow_arch * 0.022 * np.sin(np.clip(t, 0, 1.1) * 2.4)
        line = line + 0.008 * np.clip(t, 0, 1) ** 2
        thick = p.brow_thickness * np.clip(1.08 - 0.75 * np.clip(t, 0, 1.2) ** 1.5, 0, 1)
        thick = thick * step(-0.06, 0.14, t) * step(1.12, 0.9, t)
        mask = np.clip((thick - np.abs(y - line)) / 0.006 + 0.25 + 0.35 * hairs, 0, 1) * (thick > 0.001)
        picture[:] = mix(picture, p.brow_colour * (0.9 + 0.15 * hairs[..., None]), mask * 0.85)


def paint_beard(p: Person, canvas: Canvas, picture, rng):
    """Beard or moustache into the skin."""
    if p.beard == "none":
        return
    x, y = canvas.x, canvas.y
    r, hairs = head_radius(p, x, y), canvas.noise(rng, 210, 60, 1)
    side = np.abs(x - 0.5)
    upper_edge = p.mouth_y + 0.015 - 0.10 * step(0.10, 0.30, side)
    cheeks = step(-0.02, 0.03, y - upper_edge + 0.012 * hairs) * step(0.30, 0.55, r)
    lip_top = p.mouth_y - p.upper_lip - 0.004
    moustache = step(0.0, 0.012, lip_top - y + 0.004 * hairs) * step(0.052, 0.036, lip_top - y)
    moustache = moustache * step(p.mouth_width * 1.25, p.mouth_width * 0.95, side + 0.4 * (lip_top - y))
    moustache = np.maximum(moustache, bump(side, y, p.mouth_width + 0.016, p.mouth_y, 0.010, 0.026) * 0.9)
    soul = bump(x, y, 0.5, p.mouth_y + 0.058, 0.018, 0.014)
    mouth_gap = 1 - bump(x, y, 0.5, p.mouth_y + 0.022, p.mouth_width * 0.72, 0.022)
    goatee = bump(x, y, 0.5, p.chin - 0.035, 0.062, 0.045) * 1.4
    strength = {"stubble": 0.30, "short": 0.62, "full": 0.90, "goatee": 0.80, "moustache": 0.88}[p.beard]
    shape = moustache
    if p.beard == "goatee":
        shape = np.maximum(np.clip(goatee, 0, 1) * mouth_gap, np.maximum(moustache, soul))
    elif p.beard != "moustache":
        shape = np.maximum(cheeks * mouth_gap, moustache)
    mask = np.clip(np.clip(shape, 0, 1) * (0.9 + 0.16 * hairs), 0, 1) * strength
    shade = 0.55 + 0.35 * np.clip((r < 1) * (1 - r), 0, 1) + 0.16 * hairs + 0.15 * (x - 0.5) * p.light[0] * 4
    picture[:] = mix(picture, p.hair * 0.85 * np.clip(shade, 0.2, 1.4)[..., None], mask)
