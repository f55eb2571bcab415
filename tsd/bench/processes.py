"""What a program with many processes takes of the machine, and what is left of it for others (Linux)."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True)
class Reading:
    """At one moment: seconds by the clock, seconds of processor that the program took and the whole machine took, and
    bytes that the program's processes hold together (pages that they share count for each)."""

    clock: float
    own: float
    all: float
    resident: int

    @classmethod
    def of(cls, name: str) -> "Reading":
        """The processes below this one whose command begins with ``name``."""
        rows = [row for row in descendants() if row[0].startswith(name)]
        ticks, pages = (sum(row[column] for row in rows) for column in (1, 2))
        busy = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        idle = sum(int(busy[column]) for column in (3, 4))
        return cls(time.monotonic(), ticks / TICK, (sum(map(int, busy[:8])) - idle) / TICK, pages * PAGE)

    def since(self, before: "Reading") -> dict[str, float]:
        """Cores that the program and all other programs kept busy on average."""
        seconds = self.clock - before.clock
        own = self.own - before.own
        return {"own_cores": own / seconds, "other_cores": max(0.0, self.all - before.all - own) / seconds}


def descendants() -> Iterator[tuple[str, int, int]]:
    """Command, processor ticks and resident pages of every process below this one."""
    parents, rows = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            command, fields = path.read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:  # it has ended
            continue
        fields, pid = fields.split(), int(path.parent.name)
        parents[pid] = int(fields[1])
        rows[pid] = (command, int(fields[11]) + int(fields[12]), int(fields[21]))
    for pid, row in rows.items():
        above = parents[pid]
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid():
            yield row
