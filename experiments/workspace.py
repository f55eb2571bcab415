"""The charts of this project on Weights & Biases, as code: ``python experiments/workspace.py ENTITY`` saves them as a
workspace, so that a newcomer sees the same ones. Needs an account and the extra ``sweeps``.
"""

import sys

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

PROJECT = "temposyncdiff"
SECTIONS = {
    "What it is for": ["generate.k2.mouth_r", "generate.k2.id_cosine", "generate.k2.sharpness_ratio_end", "val/psnr"],
    "Losses": ["train/total", "train/noise", "train/distill", "train/rollout", "train/identity", "train/temporal"],
    "Validation": ["val/total", "val/noise_0.3", "val/noise_1", "val/noise_3", "val/noise_40", "val/flicker_std_ratio"],
}


def workspace(entity: str) -> ws.Workspace:
    """Three sections of curves, and one of contact sheets and videos; runs grouped by sweep."""
    sections = [
        ws.Section(name=name, is_open=True, panels=[wr.LinePlot(x="trainer/step", y=[key], title=key) for key in keys])
        for name, keys in SECTIONS.items()
    ]
    pictures = [wr.MediaBrowser(media_keys=["val/sheet"]), wr.MediaBrowser(media_keys=["val/video"])]
    sections.append(ws.Section(name="Pictures", is_open=True, panels=pictures))
    return ws.Workspace(entity=entity, project=PROJECT, name="TempoSyncDiff", sections=sections)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("error: python experiments/workspace.py ENTITY")
    print(workspace(sys.argv[1]).save().url)
