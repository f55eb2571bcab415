"""Who is drawn: one person's looks, all from a seeded generator. Lengths in units of the picture's side."""

from types import SimpleNamespace

import numpy as np

SKINS = ("f3d9cb", "efcdb8", "e6bda4", "d8a98c", "c69677", "ad7e60", "93674b", "775039", "5d3d2c", "4a3024")
HAIRS = ("16120f", "241a14", "3a281c", "57391f", "7a5230", "a87a43", "cfa968", "e2cb98", "8a3f1e", "8b8680", "c9c6c0")
IRISES = ("3a2414", "543518", "6e4a20", "6b6a35", "57733f", "5a7f88", "4a74a6", "7d8b96")
CLOTHES = ("22262e", "f0efec", "26436e", "7c1f27", "2f5a3c", "8d8f94", "c98f2d", "5b3a6e", "b9c7d6", "d46a5c", "3a7d86")
WORN_BY_WOMEN = ("long", "long", "bob", "bob", "curly", "fringe", "bun", "back", "side", "afro", "crop")
WORN_BY_MEN = ("crop", "crop", "side", "side", "fringe", "curly", "afro", "back", "shaved", "bald", "receding", "long")
BEARDS = ("none", "none", "none", "none", "stubble", "stubble", "full", "goatee", "moustache", "short")


def colour(code: str) -> np.ndarray:
    """Hex RGB -> float32 [3] in 0..1."""
    return np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)], np.float32) / 255


class Person(SimpleNamespace):
    """One face, as ``draw_person`` makes it. Colours are float32 [3] RGB in 0..1; sizes in picture sides; left is that
    of the picture."""


def draw_person(rng: np.random.Generator, woman: bool) -> Person:
    """One person at random, the same for the same state of ``rng``."""
    u = rng.uniform

    def pick(options):
        return options[int(rng.integers(len(options)))]

    def near(options, jitter):
        return np.clip(colour(pick(options)) + u(-jitter, jitter, 3), 0, 1).astype(np.float32)

    tone = u(0, len(SKINS) - 1)
    low = int(tone)
    skin = colour(SKINS[low]) * (1 - tone + low) + colour(SKINS[min(low + 1, len(SKINS) - 1)]) * (tone - low)
    age = float(u(0, 1))
    hair = near(HAIRS[:4] if tone > 5 else HAIRS, 0.02)
    if age > 0.8:
        hair = hair * 0.4 + colour(pick(("8b8680", "c9c6c0", "a5a29d"))) * 0.6
    style = pick(WORN_BY_WOMEN if woman else WORN_BY_MEN)
    beard = "none" if woman else pick(BEARDS)
    rosy = colour(pick(("b23a48", "a83232", "c05a5e"))) if woman and u() < 0.5 else colour("b0625c")
    lips = skin * u(0.28, 0.50) * (0.95 if tone < 5 else 0.85) + rosy * u(0.50, 0.62) * (1 if tone < 5 else 0.8)
    light = np.array([u(-0.75, 0.75), u(-0.75, -0.2), 1.0])
    dark_brows = hair * 0.55 if hair.mean() > 0.35 else hair * 0.9
    return Person(
        woman=woman,
        age=age,
        skin=np.clip(skin + u(-0.015, 0.015, 3), 0, 1).astype(np.float32),
        blush=u(0.2, 1.0),
        freckles=u(0.3, 1.0) if tone < 3 and u() < 0.3 else 0.0,
        face_width=u(0.262, 0.312) if woman else u(0.272, 0.326),
        top=u(0.08, 0.11),
        chin=u(0.860, 0.895) if woman else u(0.872, 0.912),
        jaw_taper=u(0.06, 0.24) if woman else u(0.0, 0.18),
        squareness=u(2.05, 2.4) if woman else u(2.15, 2.8),
        cheekbones=u(0.2, 1.0),
        eye_distance=u(0.255, 0.295),
        eye_y=u(0.41, 0.43),
        eye_width=u(0.056, 0.068),
        eye_height=u(0.023, 0.033) if woman else u(0.019, 0.029),
        eye_slant=u(-0.10, 0.16),
        lid_fold=u(0.0, 1.0),
        iris=near(IRISES[:3] if tone > 4.5 else IRISES, 0.03),
        iris_radius=u(0.0245, 0.0285),
        brow_height=u(0.056, 0.070),
        brow_thickness=u(0.009, 0.014) if woman else u(0.012, 0.021),
        brow_arch=u(0.3, 1.0) if woman else u(0.0, 0.6),
        brow_colour=np.clip(dark_brows, 0.03, 1).astype(np.float32),
        nose_y=u(0.572, 0.60),
        nose_width=u(0.055, 0.072) if tone < 5 else u(0.068, 0.086),
        nose_height=u(0.07, 0.10),
        mouth_y=u(0.712, 0.732),
        mouth_width=u(0.100, 0.122),
        upper_lip=u(0.016, 0.031) + (0.006 if tone > 6 else 0),
        lower_lip=u(0.026, 0.040) + (0.006 if tone > 6 else 0),
        lip_colour=np.clip(lips * np.array([1.0, 0.88, 0.92]), 0, 1).astype(np.float32),
        cupids_bow=u(0.2, 1.0),
        articulation=u(0.85, 1.12),
        teeth=np.array([0.93, 0.90, u(0.74, 0.86)], np.float32) * u(0.9, 1.0),
        hair_style=style,
        hair=np.clip(hair, 0, 1).astype(np.float32),
        hairline=u(0.19, 0.25),
        hair_volume=u(0.03, 0.06),
        parting=pick((-1.0, 1.0)) * u(0.15, 0.6),
        beard=beard,
        glasses=pick(("none", "none", "none", "none", "none", "round", "square", "thin")),
        glasses_colour=near(("1a1a1c", "2b1c14", "6b3a1e", "70757c", "8d7437"), 0.02),
        light=(light / np.linalg.norm(light)).astype(np.float32),
        ambient=u(0.22, 0.55),
        warmth=np.array([u(0.97, 1.06), 1.0, u(0.90, 1.04)], np.float32),
        background=pick(("plain", "gradient", "gradient", "shapes", "shapes", "bars")),
        background_colours=np.float32([np.clip(u(0.12, 0.85) + u(-0.16, 0.16, 3), 0, 1) for _ in range(5)]),
        clothes=near(CLOTHES, 0.04),
        collar=pick(("crew", "vee", "shirt", "polo")),
        earrings=bool(woman and u() < 0.4),
        seed=int(rng.integers(2**31)),
    )
