"""What is done to a clip to judge a chain of weights: denoising, speaking from noise (the head free, or as in the
clip), exchanged speech and faces, long runs, and control rows. ``judge`` does it to many clips; ``evaluation.report``
says what comes out of all of them."""

from tsd.evaluation.clips.chain import Chain, Portrait, Subject, clip_noise, clip_seed
from tsd.evaluation.clips.controls import controls
from tsd.evaluation.clips.denoise import denoise, equal_steps, find_strength
from tsd.evaluation.clips.follow import follow
from tsd.evaluation.clips.generate import generate, say_other, speak
from tsd.evaluation.clips.instruments import Instruments, Truth, compare, look
from tsd.evaluation.clips.judge import Judge, Plan, processor_seconds
from tsd.evaluation.clips.long_run import long_run
from tsd.evaluation.clips.swaps import cross_identity, viseme_swap

VERSION = 10
"""Raise it when a protocol changes: partial results of another version are not used."""
