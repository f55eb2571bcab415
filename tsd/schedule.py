"""Noise strengths of the steps of Algorithm 3."""

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
