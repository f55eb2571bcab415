"""The embedder for photographs: a local file or a clear refusal, and never random weights."""

import pytest
import torch
from facenet_pytorch import InceptionResnetV1
from safetensors.torch import save_file

from tsd.metrics.facenet import FaceNet


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return InceptionResnetV1(pretrained=None).eval()


def test_equals_the_package_with_the_same_weights(net, tmp_path):
    half = {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    save_file(half, tmp_path / "half.safetensors")
    more = half | {"logits.weight": torch.zeros(3, 512)}  # the package's own file has a classifier, too
    torch.save(more, tmp_path / "full.pt")
    net.load_state_dict({name: value.float() for name, value in half.items()})
    pictures = torch.rand(2, 3, 160, 160) * 2 - 1
    expected = net(pictures)
    for file in ("half.safetensors", "full.pt"):
        found = FaceNet(tmp_path / file)
        assert torch.allclose(found(pictures), expected, atol=1e-5) and not any(
            p.requires_grad for p in found.parameters()
        )
    small = found(torch.rand(2, 3, 40, 40))
    assert small.shape == (2, 512) and torch.allclose(small.norm(dim=1), torch.ones(2), atol=1e-5)


def test_anything_else_is_refused(net, tmp_path):
    with pytest.raises(FileNotFoundError, match="pretrained='vggface2'"):
        FaceNet(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("weights")
    part = dict(list(net.state_dict().items())[:3])
    save_file(part, tmp_path / "part.safetensors")
    wrong = {name: torch.zeros(2) for name in net.state_dict()}
    save_file(wrong, tmp_path / "wrong.safetensors")
    for file in ("text.pt", "part.safetensors", "wrong.safetensors"):
        with pytest.raises(ValueError, match=f"{file} is no InceptionResnetV1 state dict"):
            FaceNet(tmp_path / file)
