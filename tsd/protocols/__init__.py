"""What is done to a clip to judge a chain of weights: denoising, speaking from noise (the head free, or as in the
clip), exchanged speech and faces, long runs, and control rows. ``judge`` does it to many clips; ``tsd.report`` says
what comes out of all of them."""

from tsd.protocols.chain import Chain, Portrait, Subject, clip_noise, clip_seed
from tsd.protocols.controls import controls
from tsd.protocols.denoise import denoise, equal_steps, find_strength
from tsd.protocols.follow import follow
from tsd.protocols.generate import generate, say_other, speak
from tsd.protocols.instruments import Instruments, Truth, compare, look
from tsd.protocols.judge import Judge, Plan, processor_seconds
from tsd.protocols.long_run import long_run
from tsd.protocols.swaps import cross_identity, viseme_swap

VERSION = 10
"""Raise it when a protocol changes: partial results of another version are not used."""

__all__ = [
    "VERSION",
    "Chain",
    "Instruments",
    "Judge",
    "Plan",
    "Portrait",
    "Subject",
    "Truth",
    "clip_noise",
    "clip_seed",
    "compare",
    "controls",
    "cross_identity",
    "denoise",
    "equal_steps",
    "find_strength",
    "follow",
    "generate",
    "long_run",
    "look",
    "processor_seconds",
    "say_other",
    "speak",
    "viseme_swap",
]
