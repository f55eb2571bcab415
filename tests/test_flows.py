"""Stored flow is the flow of the frames, at any resolution, mirrored or not."""

import cv2
import numpy as np
import pytest
from mini_corpus import write_disc

from tsd.data.dataset import ClipDataset
from tsd.data.flows import GRID, compute_flows, read_flows
from tsd.data.manifest import manifest_path, read_manifest
from tsd.flow import optical_flow
from tsd.prepare.manifests import write_jsonl


def _moving(num_frames: int = 6, size: int = 96) -> np.ndarray:
    """A picture that slides to the right by 2 pixels a frame."""
    texture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    return np.stack([texture[20 : 20 + size, 40 - 2 * t : 40 - 2 * t + size] for t in range(num_frames)])


def test_what_is_stored_is_what_is_computed():
    frames = _moving()
    flows = compute_flows(frames)
    for resolution in (96, 64, 48):
        flow, visible = flows.at(3, resolution)
        assert flow.shape == (2, resolution, resolution) and visible.shape == (1, resolution, resolution)
        small = [cv2.resize(f, (resolution, resolution), interpolation=cv2.INTER_AREA) for f in frames[[3, 2]]]
        fresh, _ = optical_flow(*small)
        middle = np.s_[:, resolution // 8 : -resolution // 8, resolution // 8 : -resolution // 8]
        assert np.abs(flow[middle] - fresh[middle]).mean() < 0.15
        assert abs(np.median(flow[0]) + 2 * resolution / 96) < 0.1
        assert set(np.unique(visible)) <= {0.0, 1.0} and visible[middle].mean() > 0.9


def test_mirrored_pictures_have_the_mirrored_flow():
    flows = compute_flows(_moving())
    flow, visible = flows.at(2, 64)
    other, seen = flows.at(2, 64, flipped=True)
    np.testing.assert_array_equal(other[0], -flow[0, :, ::-1])
    np.testing.assert_array_equal(other[1], flow[1, :, ::-1])
    np.testing.assert_array_equal(seen, visible[:, :, ::-1])


def test_files_are_small_and_checked(tmp_path):
    flows = compute_flows(_moving(20))
    path = tmp_path / "a.flow.npz"
    path.write_bytes(flows.to_bytes())
    assert path.stat().st_size < 20 * 3000
    back = read_flows(path, 20)
    np.testing.assert_array_equal(back.values, flows.values)
    np.testing.assert_array_equal(back.visible, flows.visible)
    with pytest.raises(ValueError, match="not int8 of 24 pairs"):
        read_flows(path, 25)
    path.write_bytes(flows.to_bytes()[:300])
    with pytest.raises(ValueError, match=r"a\.flow\.npz: no readable array"):
        read_flows(path, 20)


def test_training_uses_the_stored_flow_where_there_is_one(tmp_path):
    for name in ("a", "b"):
        write_disc(tmp_path / f"{name}.mp4", 20)
    stored = compute_flows(_moving(20))
    (tmp_path / "a.flow.npz").write_bytes(stored.to_bytes())
    lines = [{"video": "a.mp4", "identity": "p", "frames": 20, "flow": "a.flow.npz"}]
    lines.append({"video": "b.mp4", "identity": "p", "frames": 20})
    write_jsonl(manifest_path(tmp_path, "train"), lines)
    entries = read_manifest(manifest_path(tmp_path, "train"), tmp_path)
    dataset = ClipDataset(entries, 32, 6, train=True, flow=True)
    with_file, without = dataset[0, 0], dataset[0, 1]
    expected, _ = stored.at(int(with_file["start"] + with_file["pair"]), 32)
    np.testing.assert_array_equal(with_file["flow"], expected)
    fresh, _ = optical_flow(*(np.ascontiguousarray(without["frames"][without["pair"] - i]) for i in (0, 1)))
    np.testing.assert_array_equal(without["flow"], fresh)
    assert GRID == 64


def test_flow_is_that_of_the_pictures_whether_they_are_looked_at_or_not(tmp_path):
    write_disc(tmp_path / "a.mp4", 20)
    write_jsonl(manifest_path(tmp_path, "train"), [{"video": "a.mp4", "identity": "p", "frames": 20}])
    entries = read_manifest(manifest_path(tmp_path, "train"), tmp_path)
    looking, blind = (
        ClipDataset(entries, 32, 6, train=True, flow=True, flip=True, pictures=pictures) for pictures in (True, False)
    )
    seen = set()
    for epoch in range(8):
        window, same = looking[epoch, 0], blind[epoch, 0]
        pair = window["pair"]
        fresh, visible = optical_flow(*(np.ascontiguousarray(window["frames"][pair - i]) for i in (0, 1)))
        for given in (window, same):
            np.testing.assert_array_equal(given["flow"], fresh)
            np.testing.assert_array_equal(given["visible"], visible)
        assert (same["frames"] == 128).all()
        seen.add(float(np.sign(fresh[0].sum())))
    assert len(seen) > 1, "mirrored and not"
