"""Dashboards: everything is on disk, nothing waits for a server, and what breaks costs the chart and not the run."""

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import wandb
from PIL import Image
from tiny_runs import arguments, ground, ran

from tsd.media.video import video_info
from tsd.training import upload
from tsd.training.loggers import WandbLog, read_rows
from tsd.weights import checkpoint

CONFIG = {"stage": {"name": "student"}, "loss": {"noise": 1.0}}
CONFIG["run"] = {"id": "abc", "hash": "h", "stands_on": {"vae": {"path": "outputs/vae", "hash": "v", "id": "xyz"}}}


def records(folder: Path) -> list:
    """Everything in the one file that W&B wrote below ``folder``; its own process may write the end of it a moment
    after the run was finished."""
    ended = time.monotonic() + 20
    while not ended_by_exit(found := written(folder)) and time.monotonic() < ended:
        time.sleep(0.1)
    return found


def ended_by_exit(found: list) -> bool:
    return bool(found) and found[-1].WhichOneof("record_type") == "exit"


def written(folder: Path) -> list:
    """What is whole in a log of LevelDB, which has 7 bytes of header before it."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, at, found, parts = path.read_bytes(), 7, [], b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no header fits into the rest of a block
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if at + 7 + length > len(data):  # still being written
            break
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            found.append(record)
            parts = b""
    return found


def values(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> Path:
    """A student that all dashboards watched."""
    folder = tmp_path_factory.mktemp("shown")
    root = ground(folder)
    code, output = ran(folder, *arguments(root, folder / "out", "stage=student", "logger=all", "sweep=my_sweep"))
    assert code == 0, output
    return folder / "out"


def test_one_run_with_plain_config_its_group_and_what_it_stands_on(shown):
    (run,) = [record.run for record in records(shown) if record.WhichOneof("record_type") == "run"]
    given = values(run.config.update)
    assert (
        given["stage"]["name"] == "student" and given["loss"]["noise"] == 1.0 and given["steps"]["strengths"] == [80, 1]
    )
    assert run.run_group == "my_sweep" and run.job_type == "student" and run.project == "temposyncdiff"
    record = json.loads((shown / "run.json").read_text())
    assert run.run_id == record["id"] and given["run"]["stands_on"] == record["stands_on"]
    assert all(stage["path"] in run.notes for stage in record["stands_on"].values())


def test_metrics_and_pictures_under_the_names_of_the_reports(shown):
    history = [values(r.history.item) for r in records(shown) if r.WhichOneof("record_type") == "history"]
    names = {name.removesuffix("/_type") for row in history for name in row}
    assert {"val/psnr", "val/total", "train/total", "trainer/step", "val/sheet", "val/video"} <= names
    wanted = {
        row["step"]: float(row["val/psnr"]) for row in read_rows(shown / "logs" / "metrics.csv") if "val/psnr" in row
    }
    assert {str(row["trainer/step"]): row["val/psnr"] for row in history if "val/psnr" in row} == wanted
    media = next(shown.glob("wandb/offline-run-*/files/media"))
    (sheet, *_), (video, *_) = media.rglob("*.png"), media.rglob("*.mp4")
    assert Image.open(sheet).size[0] > 32 and video_info(video).num_frames == 3


def test_the_summary_is_what_the_run_came_to(shown):
    summaries = [values(r.summary.update) for r in records(shown) if r.WhichOneof("record_type") == "summary"]
    last = {name: value for summary in summaries for name, value in summary.items()}
    card = checkpoint.read_header(shown / "weights.safetensors")["card"]
    assert last["val/psnr"] == card["metrics"]["val/psnr"]


def test_tensorboard_and_csv_lie_beside(shown):
    assert list((shown / "tensorboard").glob("events.out.tfevents.*")) and read_rows(shown / "logs" / "metrics.csv")


class Server(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_POST(self):
        if self.status == 0:
            time.sleep(60)
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"<html>no</html>")

    do_GET = do_PUT = do_POST

    def log_message(self, *_):
        pass


OFTEN = ("down", "slow")
"""What servers are like as a rule; the others are asked by `make test-all`."""


@pytest.fixture(
    params=[
        *OFTEN,
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("refusing", "broken", "talking nonsense")),
    ]
)
def bad_server(request, monkeypatch):
    """The address of a server as they can be."""
    status = {"slow": 0, "refusing": 403, "broken": 500, "talking nonsense": 200}.get(request.param)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    if status is None:
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        yield request.param
        return
    handler = type("Handler", (Server,), {"status": status})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    yield request.param
    server.shutdown()


def test_no_server_holds_up_or_breaks_a_run(bad_server, tmp_path):
    log = WandbLog(str(tmp_path), "p", "g", "n", live=True)
    log.log_hyperparams(CONFIG)
    begun = time.monotonic()
    for step in range(200):
        log.log_metrics({"train/total": 1.0}, step)
    log.log_summary({"generate.k2.mouth_r": 0.9})
    log.close()
    log.sender.kill()
    assert time.monotonic() - begun < 10 and not log.broken
    history = [values(r.history.item) for r in records(tmp_path) if r.WhichOneof("record_type") == "history"]
    assert [row["trainer/step"] for row in history] == list(range(200))


def test_the_sender_ends_though_its_server_never_answers(monkeypatch, tmp_path):
    monkeypatch.setattr(upload, "PATIENCE", 0.5)
    monkeypatch.setattr(upload, "wandb", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"])
    training = subprocess.Popen([sys.executable, "-c", "pass"])
    training.wait()
    begun = time.monotonic()
    assert upload.send_while(str(tmp_path), training.pid) == 1 and time.monotonic() - begun < 10
    assert upload.alive(os.getpid()) and not upload.alive(training.pid)


def test_runs_to_be_sent_are_found_and_none_are_no_error(shown, tmp_path, monkeypatch, capsys):
    assert [Path(run).parent.parent for run in upload.unsent(str(shown.parent))] == [shown]
    monkeypatch.setattr(sys, "argv", ["upload", str(tmp_path)])
    assert upload.main() == 0 and "no runs written offline" in capsys.readouterr().out


def test_what_breaks_costs_the_chart_only(tmp_path, caplog, monkeypatch):
    def fails(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(wandb, "init", fails)
    log = WandbLog(str(tmp_path), "p", "g", "n")
    log.log_hyperparams(CONFIG)
    log.log_metrics({"a": 1.0}, 0)
    log.log_summary({"a": 1.0})
    log.close()
    assert [r.message for r in caplog.records] == [
        "W&B no longer shows this run (no space left on device); the training goes on"
    ]
