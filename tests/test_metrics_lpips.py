"""LPIPS: the package's own numbers through a local file, and never a number without weights."""

import warnings

import lpips as package
import pytest
import torch
from safetensors.torch import save_file

from tsd.metrics.lpips import lpips_distance, lpips_net


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """The package's net with a random backbone, and that backbone's weights in files as torchvision names them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = package.LPIPS(net="alex", pnet_rand=True, verbose=False)
    weights = {"features." + name.split(".", 1)[1]: value for name, value in net.net.state_dict().items()}
    folder = tmp_path_factory.mktemp("weights")
    save_file(weights, folder / "alex.safetensors")
    torch.save(weights, folder / "alex.pth")
    return net, folder


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, 6, 3, 64, 64, generator=generator) * 2 - 1
    return (target + 0.3 * torch.randn(target.shape, generator=generator)).clamp(-1, 1), target


@pytest.mark.parametrize("file", ["alex.safetensors", "alex.pth"])
def test_equals_the_package_with_the_same_backbone(backbone, pair, file):
    net, folder = backbone
    video, target = pair
    expected = torch.stack([net(v[::2], t[::2]).mean() for v, t in zip(video, target, strict=True)])
    assert expected.min() > 1e-3
    assert torch.allclose(
        lpips_distance(lpips_net(folder / file), video, target, every=2, batch=4), expected, atol=1e-5
    )


def test_0_for_equal_and_more_for_more_damage(backbone, pair):
    net = lpips_net(backbone[1] / "alex.safetensors")
    video, target = pair
    halfway = (video + target) / 2
    assert lpips_distance(net, target, target).max() == 0
    assert (lpips_distance(net, halfway, target) < lpips_distance(net, video, target)).all()


def test_loading_does_not_touch_the_random_numbers(backbone):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    lpips_net(backbone[1] / "alex.safetensors")
    assert torch.rand(1) == expected


def test_without_weights_there_is_no_net(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for weights in (None, tmp_path / "nothing.pth"):
        with pytest.raises(FileNotFoundError, match=f"no alexnet weights at {tmp_path}.*lpips.weights="):
            lpips_net(weights)


def test_what_torchvision_has_downloaded_is_found(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(torch.load(backbone[1] / "alex.pth"), tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth")
    assert not lpips_net().training


def test_a_file_that_is_not_the_backbone_is_refused(backbone, tmp_path):
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="junk.safetensors cannot be read as weights"):
        lpips_net(junk)
    with pytest.raises(ValueError, match="does not fit lpips.backbone=squeeze: features.0.weight"):
        lpips_net(backbone[1] / "alex.pth", backbone="squeeze")
    with pytest.raises(ValueError, match="one of alex, vgg, squeeze, got 'resnet'"):
        lpips_net(backbone="resnet")


def test_a_pickle_with_code_is_refused(tmp_path):
    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"features.0.weight": Code()}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        lpips_net(tmp_path / "code.pth")
    assert not (tmp_path / "ran").exists()
