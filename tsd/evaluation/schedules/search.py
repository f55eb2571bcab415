"""A search over noise strengths that knows nothing of nets: many candidates on few clips, the best of them on more,
then one strength at a time."""

from collections.abc import Callable

from tsd.diffusion import S_MAX, S_MIN, Schedule, karras_schedule

Cost = Callable[[Schedule, int], float]
"""cost(schedule, n): what the schedule costs on the first n clips; less is better."""

SHAPES = [(rho, s_min) for rho in (3.0, 7.0, 12.0) for s_min in (0.05, 0.15, 0.4, 1.0, 2.5)]
"""rho and s_min of Karras et al. 2022, Eq. 5, that are tried first."""

SHARES, KEPT = (1 / 4, 1 / 2, 1.0), 1 / 3
"""Successive halving: on these shares of the clips, each time with this share of the candidates."""

FACTORS = (2.0, 1.4, 1.15)
"""By which one strength at a time is raised and lowered, coarse first."""

APART = 1.05
"""Strengths that follow each other differ by this factor at least, or the step between them does nothing."""


def uniform_schedule(num_steps: int) -> Schedule:
    """Steps of one size: s_k = S_MAX (1 - k / K)."""
    return Schedule(tuple(S_MAX * (1 - k / num_steps) for k in range(num_steps)))


def usual_schedule(num_steps: int) -> Schedule:
    """Karras et al. 2022 as usually set: rho 7, here down to 0.05; of one step, S_MAX."""
    return karras_schedule(num_steps) if num_steps > 1 else Schedule((S_MAX,))


def candidates(known: Schedule) -> list[Schedule]:
    """The schedule that is known, the two baselines, and others of as many steps; each once, the known one first."""
    num_steps = known.num_steps
    found = [known, uniform_schedule(num_steps), usual_schedule(num_steps)]
    if num_steps > 1:
        found += [karras_schedule(num_steps, s_min=s_min, rho=rho) for rho, s_min in SHAPES]
    return list(dict.fromkeys(found))


def halve(tried: list[Schedule], cost: Cost, num_clips: int) -> list[Schedule]:
    """What is left of the candidates, best first by all clips."""
    for share in SHARES:
        count = max(1, round(share * num_clips))
        tried = sorted(tried, key=lambda schedule: cost(schedule, count))
        if share < 1:
            tried = tried[: max(2, round(KEPT * len(tried)))]
    return tried


def moved(schedule: Schedule, k: int, factor: float) -> Schedule | None:
    """The schedule with strength k times ``factor``; None where it would leave S_MIN..S_MAX or its place."""
    strengths = list(schedule.strengths)
    strengths[k] = round(min(S_MAX, strengths[k] * factor), 4)
    falls = all(a >= APART * b for a, b in zip(strengths, strengths[1:], strict=False))
    changes = strengths[k] != schedule.strengths[k] and strengths[k] >= S_MIN
    return Schedule(tuple(strengths)) if falls and changes else None


def refine(best: Schedule, cost: Cost, num_clips: int) -> Schedule:
    """One strength at a time, the last one first, with smaller and smaller changes; what costs less is kept."""
    least = cost(best, num_clips)
    for factor in FACTORS:
        for k in reversed(range(best.num_steps)):
            for turn in (factor, 1 / factor):
                tried = moved(best, k, turn)
                if tried is not None and (costs := cost(tried, num_clips)) < least:
                    best, least = tried, costs
    return best


def search(known: Schedule, cost: Cost, num_clips: int) -> Schedule:
    """The cheapest schedule of as many steps as ``known`` that was found on ``num_clips`` clips."""
    return refine(halve(candidates(known), cost, num_clips)[0], cost, num_clips)


def most_costs(num_steps: int) -> int:
    """How often ``search`` asks for a cost at most."""
    first = len(candidates(usual_schedule(num_steps))) + 1  # the known one
    second = max(2, round(KEPT * first))
    return first + second + max(2, round(KEPT * second)) + 1 + len(FACTORS) * 2 * num_steps
