"""The folder of a job: its overrides, as a name that any file system and Hydra's grammar take."""

import hashlib
import re

LONGEST = 150


def job_folder(overrides: str) -> str:
    """The overrides, as Hydra's override_dirname has them, as a name: choices of groups first, then single values, such
    as "loss-paper,steps-k2"; cut where too long, then with a hash of the whole.

    Nothing in it leaves the sweep's folder: slashes and leading dots are replaced, and what is not ASCII, for file
    systems count bytes.
    """
    parts = re.split(r",(?=[A-Za-z_][\w./@]*-)", overrides)  # commas inside lists are no ends of an override
    ordered = ",".join(sorted(parts, key=lambda part: "." in part.partition("-")[0]))
    name = re.sub(r"\.{2,}", "_", re.sub(r"[^\w.,+\-]", "_", ordered, flags=re.ASCII)).lstrip(".") or "defaults"
    if name == (ordered or "defaults") and len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"
