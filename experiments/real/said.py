"""Does an instrument see what is said? ``python experiments/real/said.py --mouth <file> ...`` after the recipe real.

People of the chain's train and validation split, never of its test split. What an instrument reads of a person's real
frames is compared with what is expected of the visemes around them: a linear map that was fitted (ridge) on what the
same instrument reads of all other people, each of whom counts as much. Prints the correlation by person. An instrument
that reads noise agrees with nothing; none can agree fully, for two mouths that say the same are not open equally far.
"""

import argparse
from itertools import islice
from pathlib import Path

import torch
from instruments import MOUTH, REPO, load_reader, openings
from torch import Tensor, nn
from tqdm import tqdm

from tsd.clip import to_frames
from tsd.data.manifest import manifest_path, read_manifest
from tsd.data.tracks import load_tracks
from tsd.media.video import read_frames
from tsd.metrics import pearson

MOST = 14
"""Clips of one person: two of the people have far more than all others."""

RIDGE = 3.0
SIDE = 128
"""Of the pictures, as the released nets make them."""

Read = tuple[Tensor, list[Tensor]]
"""Of one clip: what is said around every frame [T, W * V + 1], and what each instrument reads [T]."""


def read_clip(entry, instruments: list[nn.Module]) -> Read:
    said, frames = load_tracks(entry).windows, to_frames(read_frames(entry.video, size=SIDE))
    windows = torch.from_numpy(said).flatten(1)
    return torch.cat([windows, torch.ones(len(windows), 1)], 1), [openings(net, frames) for net in instruments]


def read_people(root: Path, instruments: list[nn.Module]) -> dict[str, list[Read]]:
    """{person: clips}; without those of whose speech nothing is known."""
    people: dict[str, list[Read]] = {}
    entries = [entry for split in ("train", "val") for entry in read_manifest(manifest_path(root, split), root)]
    of_person = {entry.identity: [e for e in entries if e.identity == entry.identity] for entry in entries}
    chosen = [entry for clips in of_person.values() for entry in islice(clips, MOST)]
    for entry in tqdm(chosen, unit="clip"):
        said, read = read_clip(entry, instruments)
        if said[:, :-1].any():
            people.setdefault(entry.identity, []).append((said, read))
    return people


def agreement(people: dict[str, list[Read]], person: str, instrument: int) -> float:
    """Mean correlation over the person's clips of what is read and what all others would show who say the same."""
    size = people[person][0][0].shape[1]
    squares, products = RIDGE * torch.eye(size), torch.zeros(size)
    for other, clips in people.items():
        for said, read in clips if other != person else ():
            scaled = read[instrument] / read[instrument].std(correction=0).clamp_min(1e-6)
            squares += said.T @ said / len(clips)
            products += said.T @ scaled / len(clips)
    usual = torch.linalg.solve(squares, products)
    return sum(float(pearson((said @ usual)[None], read[instrument][None])[0]) for said, read in people[person]) / len(
        people[person]
    )


def to_markdown(people: dict[str, list[Read]], names: list[str]) -> str:
    """A row a person, and the mean over people."""
    lines = [f"| | clips | {' | '.join(names)} |", f"|{'---|' * (len(names) + 2)}"]
    found = {person: [agreement(people, person, i) for i in range(len(names))] for person in people}
    for person, figures in found.items():
        lines.append(f"| {person} | {len(people[person])} | {' | '.join(f'{r:.2f}' for r in figures)} |")
    means = torch.tensor(list(found.values())).mean(0)
    count = sum(map(len, people.values()))
    return "\n".join([*lines, f"| mean of people | {count} | {' | '.join(f'{mean:.3f}' for mean in means)} |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chain", type=Path, nargs="?", default=REPO / "outputs" / "real")
    parser.add_argument("--mouth", type=Path, nargs="+", required=True, help=MOUTH)
    given = parser.parse_args()
    try:
        people = read_people(given.chain / "corpus" / "people", [load_reader(path) for path in given.mouth])
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None
    print(to_markdown(people, [str(path) for path in given.mouth]))


if __name__ == "__main__":
    main()
