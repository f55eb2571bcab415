"""What is right by itself and wrong together."""

from typing import Any

import torch

from tsd.data.manifest import manifest_path
from tsd.diffusion import Schedule
from tsd.training.check.values import fits, show
from tsd.weights import checkpoint


def combination_faults(config: dict) -> list[str]:
    """What is right by itself and wrong together."""
    model, data, loss, stage = config["model"], config["data"], config["loss"], config["stage"]
    name, found = stage["name"], []
    schedules = {"steps": config["steps"]} | {
        f"stage.module.{key}": node
        for key, node in stage["module"].items()
        if key == "schedule" and node != config["steps"]
    }
    schedules |= {f"stage.module.schedules.{k}": node for k, node in (stage["module"].get("schedules") or {}).items()}
    for path, node in schedules.items():
        found += schedule_faults(path, node)
    learns, known = stage["module"].get("learns"), list(stage["module"].get("schedules") or {})
    if learns is not None and (not learns or not set(learns) <= set(known)):
        names = ", ".join(known)
        found.append(f"stage.module.learns={show(learns)}: must name some of the schedules {names}, or be null")
    if stage["module"].get("decoder_only") and not config.get("init"):
        found.append("stage.module.decoder_only=true: needs init=<weights of the VAE whose encoder it keeps>")
    if stage["module"].get("taught") and not stage["module"].get("decoder_only"):
        found.append(
            "stage.module.taught=true: a whole VAE has no decoder to learn from; set stage.module.decoder_only=true"
        )
    for net in model:
        if net in checkpoint.NETS:
            try:
                checkpoint.check_arguments({k: v for k, v in model[net].items() if k != "_target_"})
            except ValueError as error:
                found.append(f"model.{net}: {error}")
    if found:
        return found
    latent_sizes = {}
    for net in ("vae", "teacher", "student"):
        try:
            with torch.device("meta"):
                built = checkpoint.NETS[net](**{k: v for k, v in model[net].items() if k != "_target_"})
            latent_sizes[net] = (built.latent_channels, built.latent_size)
        except (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError) as error:
            found.append(
                f"model.{net}={show(model[net])}: such a net cannot be built ({' '.join(str(error).split())[:120]})"
            )
    for net in {"teacher": ["teacher"], "student": ["teacher", "student"]}.get(name, []):
        ours, theirs = latent_sizes.get(net), latent_sizes.get("vae")
        if ours and theirs and ours != theirs:
            found.append(
                f"model.{net}: its latents are {ours[0]} x {ours[1]} x {ours[1]}, the VAE's (model.vae) are "
                f"{theirs[0]} x {theirs[1]} x {theirs[1]}: set latent_channels={theirs[0]} and latent_size={theirs[1]}"
            )
    if name in ("vae", "teacher", "student") and data["resolution"] != model["resolution"]:
        found.append(f"data.resolution={data['resolution']}: stage {name} needs model.resolution={model['resolution']}")
    if name in ("teacher", "student"):
        if loss["temporal"] and not data["flow"]:
            found.append("data.flow=false: loss.temporal is above 0 and needs it: data.flow=true, or loss=no_temporal")
        if loss["identity"] and config["weights"].get("identity") is None:
            found.append("weights.identity=null: loss.identity is above 0 and needs it: a file, or loss=no_identity")
        if loss.get("sync"):
            found += sync_faults(config)
    if data["flow"] and data["window"] < 2:
        found.append(f"data.window={data['window']}: data.flow=true needs neighbouring frames, 2 or more")
    return found + split_faults(config)


def sync_faults(config: dict) -> list[str]:
    """What the term ``sync`` lacks: sound, long windows, an expert that is not evaluation's."""
    data, weights, field, found = config["data"], config["weights"], config["model"]["sync_loss"].get("field", 5), []
    if not data["mel"]:
        found.append("data.mel=false: loss.sync is above 0 and needs the sound: data.mel=true, or loss.sync=0")
    if data["window"] < field:
        found.append(f"data.window={data['window']}: loss.sync needs moments of model.sync_loss.field={field} frames")
    if weights.get("sync_loss") is None:
        found.append("weights.sync_loss=null: loss.sync is above 0 and needs it: a file, or loss.sync=0")
    elif weights["sync_loss"] == weights.get("sync"):
        found.append(
            f"weights.sync_loss={show(weights['sync'])}: is weights.sync too, and no student may be judged by what it "
            "was trained to please: make train-sync_loss makes another"
        )
    return found


def schedule_faults(path: str, node: Any) -> list[str]:
    """K without a schedule, or one that does not fall."""
    strengths = node.get("strengths") if isinstance(node, dict) else None
    if not strengths or not fits(strengths, list[float]):
        return [f"{path}={show(strengths)}: K steps need a schedule of K falling noise strengths, e.g. steps=k2"]
    try:
        Schedule(tuple(strengths))
    except ValueError as error:
        return [f"{path}.strengths={show(strengths)}: {error}"]
    return []


def split_faults(config: dict) -> list[str]:
    """A batch larger than the split; nothing where there is no manifest yet, or shards are read instead."""
    data, found = config["data"], []
    if data.get("stream"):
        return found
    path = manifest_path(data["root"], "train", data["manifests"])
    if path.is_file():
        windows = 0
        with path.open(errors="replace") as lines:
            for line in lines:
                windows += data["windows_per_clip"] if line.strip() else 0
                if windows >= data["batch_size"]:  # a manifest may have a million lines
                    return found
        if windows:
            found.append(
                f"data.batch_size={data['batch_size']}: {path} has {windows} windows "
                f"(data.windows_per_clip={data['windows_per_clip']}): at most {windows}"
            )
    return found
