"""Mouths by another's landmarks: a local file or a clear refusal, and an opening in units of the picture."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from tsd.clip import to_frames
from tsd.metrics import face_mesh
from tsd.metrics.face_mesh import AROUND, LOWER, POINTS, SIDE, UPPER, FaceMesh

RESOLUTION, FACE = 128, 48


class StandIn(nn.Module):
    """Knows faces that are blue squares, and mouths that are red ones."""

    def __init__(self):
        super().__init__()
        corners = torch.zeros(POINTS, 2)
        corners[0], corners[1] = torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0])
        lips = torch.zeros(POINTS, 2)
        lips[UPPER, 1], lips[LOWER, 1] = -0.5, 0.5
        self.register_buffer("corners", corners)
        self.register_buffer("lips", lips)
        self.register_buffer("x", torch.arange(SIDE).float() + 0.5)

    def forward(self, picture):
        red, _, blue = picture[0].unbind(0)
        mass = blue.sum()
        centre = torch.stack([(blue * self.x).sum() / mass, (blue * self.x[:, None]).sum() / mass])
        points = centre + self.corners * mass.sqrt() / 2 + self.lips * red.sum().sqrt()
        return torch.cat([points, points[:, :1]], 1).flatten()[None]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    path = tmp_path_factory.mktemp("mesh") / "points.onnx"
    torch.onnx.export(
        StandIn().eval(), (torch.rand(1, 3, SIDE, SIDE),), path, dynamo=True, verbose=False, external_data=False
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face_mesh, "FORMAT", "onnx")
        patch.setattr(face_mesh, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
        yield FaceMesh(path)


def face(left: int, top: int, mouth: int) -> np.ndarray:
    picture = np.zeros((RESOLUTION, RESOLUTION, 3), np.uint8)
    picture[top : top + FACE, left : left + FACE, 2] = 255
    picture[top + 30 : top + 30 + mouth, left + 20 : left + 20 + mouth, 0] = 255
    return picture


def test_openings_are_heights_over_the_side(mesh):
    pictures = np.stack([face(left, top, mouth) for left, top, mouth in ((10, 20, 4), (60, 70, 8), (70, 5, 12))])
    found = mesh(to_frames(pictures))
    assert found.shape == (3,) and torch.allclose(found * RESOLUTION, torch.tensor([4.0, 8.0, 12.0]), atol=0.5)


def test_it_looks_again_at_the_face_alone(mesh, monkeypatch):
    seen, points = [], mesh.points
    monkeypatch.setattr(mesh, "points", lambda picture: seen.append(picture) or points(picture))
    mesh(to_frames(face(70, 60, 6)[None]))
    whole, close = (np.sqrt((picture[..., 2] / 255).sum()) / SIDE for picture in seen)
    assert whole == pytest.approx(FACE / RESOLUTION, abs=0.01) and close == pytest.approx(1 / AROUND, abs=0.02)


def test_several_threads_may_ask(mesh):
    pictures = [to_frames(face(10 + 7 * i, 20 + 5 * i, 3 + i)[None]) for i in range(8)]
    alone = torch.cat([mesh(picture) for picture in pictures])
    with ThreadPoolExecutor(4) as pool:
        assert torch.equal(torch.cat(list(pool.map(mesh, pictures))), alone)


def test_anything_else_is_refused(mesh, tmp_path):
    with pytest.raises(FileNotFoundError, match="pip download .* mediapipe"):
        FaceMesh(tmp_path / "none.tflite")
    (tmp_path / "cut.tflite").write_bytes(mesh.model[:-1])
    with pytest.raises(ValueError, match=r"cut.tflite is another file than .*`pip download"):
        FaceMesh(tmp_path / "cut.tflite")
