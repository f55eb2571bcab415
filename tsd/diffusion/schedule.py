"""Noise strengths of the steps of Algorithm 3. Without PyTorch: talking imports this too."""

from dataclasses import dataclass

S_MIN, S_MAX = 0.01, 80.0
"""Range of s for latents of unit std. At s = 80 the noise hides even the mean of a latent over its 16 x 16 positions
(the noise of that mean has std 80 / 16 = 5), so pure noise looks to the net like z_s at 80. Our choice: not given."""


@dataclass(frozen=True)
class Schedule:
    """Noise strengths s_0 > ... > s_(K-1) > s_K = 0 of K steps; s_0 = S_MAX for a start from noise."""

    strengths: tuple[float, ...]

    def __post_init__(self):
        object.__setattr__(self, "strengths", tuple(float(s) for s in self.strengths))
        falling = bool(self.strengths) and all(eta > 0 for eta in self.etas)
        if not falling or not self.strengths[0] <= S_MAX:
            raise ValueError(
                f"steps.strengths must fall from at most {S_MAX:g} and stay above 0, got {list(self.strengths)}"
            )

    @property
    def num_steps(self) -> int:
        return len(self.strengths)

    @property
    def etas(self) -> tuple[float, ...]:
        """Step sizes eta_k = s_(k-1) - s_k of Algorithm 3."""
        return tuple(a - b for a, b in zip(self.strengths, (*self.strengths[1:], 0.0), strict=True))

    def starting_at(self, s: float) -> "Schedule":
        """This schedule from s on: s and the strengths below it. For starts that are not pure noise."""
        return Schedule((s, *(x for x in self.strengths if x < 0.9 * s)))


def karras_schedule(num_steps: int, s_max: float = S_MAX, s_min: float = 0.05, rho: float = 7.0) -> Schedule:
    """Karras et al. 2022, Eq. 5: the schedule of a many-step sampler. ``num_steps`` at least 2."""
    first, last = s_max ** (1 / rho), s_min ** (1 / rho)
    return Schedule(tuple((first + k / (num_steps - 1) * (last - first)) ** rho for k in range(num_steps)))


def many_steps(s_min: float = 0.05) -> Schedule:
    """The teacher's 20 steps, down to ``s_min``. Our choice."""
    return karras_schedule(20, s_min=s_min)
