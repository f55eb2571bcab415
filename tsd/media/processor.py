"""What the processor of this machine can compute with."""

from functools import cache
from pathlib import Path

AVX512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
"""All of these: what programs mean by AVX-512."""


@cache
def features() -> frozenset[str]:
    """Names of instruction sets as Linux gives them; none where it does not say (another system)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith(("flags", "Features"))), "").split())
