"""The loss network against torchvision's VGG, and where its weights may come from."""

import os
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torchvision.models.vgg import cfgs, make_layers

from stylecli.core.model_files import bundled_models
from stylecli.core.vgg import load_loss_network
from stylecli.errors import StyleCliError

# torchvision's own indices of the ReLUs, from its table of layers.
RELUS = {"relu1_1": 1, "relu1_2": 3, "relu2_1": 6, "relu2_2": 8, "relu3_3": 15, "relu4_3": 22}
MEAN_255 = torch.tensor([123.68, 116.779, 103.939]).view(3, 1, 1)


@pytest.fixture(scope="module")
def reference():
    """torchvision's vgg16().features with the bundled weights, placed by hand."""
    network = make_layers(cfgs["D"]).eval()
    bundled = load_file(bundled_models() / "vgg16_features.safetensors")
    names = [key.removesuffix(".weight") for key in sorted(bundled) if key.endswith(".weight")]
    convolutions = [layer for layer in network if isinstance(layer, torch.nn.Conv2d)]
    for layer, name in zip(convolutions, names, strict=False):
        layer.weight.data = bundled[f"{name}.weight"].float()
        layer.bias.data = bundled[f"{name}.bias"].float()
    return network


def reference_features(network, image, last):
    x = image * 255 - MEAN_255
    with torch.no_grad():
        return network[: last + 1](x)


@pytest.mark.parametrize("name", RELUS)
def test_layers_equal_torchvisions(reference, name):
    image = torch.rand(2, 3, 50, 61)
    ours = load_loss_network()(image, (name,))[name]
    theirs = reference_features(reference, image, RELUS[name])
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.max()))


def test_it_computes_no_deeper_than_asked_and_every_layer_asked():
    network = load_loss_network()
    features = network(torch.rand(1, 3, 32, 32), ("relu1_2", "relu2_1"))
    assert list(features) == ["relu1_2", "relu2_1"]
    too_small_for_block_3 = network(torch.rand(1, 3, 2, 2), ("relu2_2",))
    assert too_small_for_block_3["relu2_2"].shape == (1, 128, 1, 1)


def test_images_that_are_too_small_for_a_deep_layer_are_one_clear_error():
    network, image = load_loss_network(), torch.rand(1, 3, 10, 40)
    assert network(image, ("relu4_1",))["relu4_1"].shape == (1, 512, 1, 5)
    with pytest.raises(StyleCliError, match="40 x 10 px are too small for relu5_1"):
        network(image, ("relu1_2", "relu5_1"))


def test_bfloat16_weights_give_nearly_the_same_features():
    image = torch.rand(1, 3, 64, 64)
    exact = load_loss_network()(image, ("relu3_3",))["relu3_3"]
    prepared = load_loss_network().prepare(torch.device("cpu"), torch.bfloat16)
    rough = prepared(image, ("relu3_3",))["relu3_3"].float()
    assert float((exact - rough).norm() / exact.norm()) < 0.02


def test_with_replicated_edges_a_plain_image_has_plain_features():
    image = torch.full((1, 3, 64, 64), 0.8)
    layers = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    network = load_loss_network()
    zeros = network(image, layers)
    replicate = network.prepare(torch.device("cpu"), torch.float32, "replicate")(image, layers)
    for name in layers:
        middle = zeros[name].shape[-1] // 2
        flat = replicate[name][..., middle, middle, None, None].expand_as(replicate[name])
        torch.testing.assert_close(replicate[name], flat, rtol=1e-3, atol=1e-2)
        plain = zeros[name][..., middle, middle, None, None]
        assert (zeros[name] - plain).abs().max() > 0.1 * plain.max()
    inside = slice(12, -12)  # beyond the reach of the edges
    one, other = (features["relu2_2"][..., inside, inside] for features in (zeros, replicate))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_in_torchvisions_layout_with_its_own_normalization(tmp_path, suffix):
    torch.manual_seed(0)
    theirs = make_layers(cfgs["E"])  # vgg19().features
    state = {f"features.{k}": v for k, v in theirs.state_dict().items()}
    path = tmp_path / f"vgg{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    image = torch.rand(1, 3, 48, 48)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        expected = theirs[:23]((image - mean) / std)  # relu4_2 of VGG-19
    ours = load_loss_network(str(path))(image, ("relu4_2",))["relu4_2"]
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def test_torchvisions_copy_of_oxfords_weights_is_known_by_its_empty_classifier(tmp_path, reference):
    state = {f"features.{k}": v for k, v in reference.state_dict().items()}
    state["classifier.0.weight"] = torch.full((2, 2), torch.nan)
    torch.save(state, tmp_path / "vgg16_features.pth")
    image = torch.rand(1, 3, 40, 40)
    ours = load_loss_network(str(tmp_path / "vgg16_features.pth"))(image, ("relu2_2",))["relu2_2"]
    torch.testing.assert_close(ours, reference_features(reference, image, 8), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("build", ["vgg11", "vgg13", "vgg16", "vgg19"])
def test_weights_named_as_oxfords_fit_the_vgg_that_has_these_layers(tmp_path, build):
    torch.manual_seed(0)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, build)(weights=None, init_weights=False).features
    theirs = theirs.to_empty(device="cpu").requires_grad_(False)
    state, block, number = {}, 1, 0
    for layer in theirs[:-1]:
        if isinstance(layer, torch.nn.MaxPool2d):
            block, number = block + 1, 0
        if isinstance(layer, torch.nn.Conv2d):
            number += 1
            layer.weight.normal_(std=0.05)
            layer.bias.zero_()
            state |= {f"conv{block}_{number}.{k}": v for k, v in layer.state_dict().items()}
    save_file(state, tmp_path / "vgg.safetensors")
    network = load_loss_network(str(tmp_path / "vgg.safetensors"))
    image, last = torch.rand(1, 3, 32, 32), f"relu{block}_{number}"
    assert network.layer_names[-1] == last
    expected = theirs[:-1](image * 255 - MEAN_255)
    tolerance = 1e-4 * float(expected.max())
    torch.testing.assert_close(network(image, (last,))[last], expected, rtol=1e-4, atol=tolerance)


def test_a_failed_download_says_what_to_pass_instead(monkeypatch):
    def no_network(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setattr("os.path.exists", lambda path: False)
    with pytest.raises(StyleCliError) as caught:
        load_loss_network("vgg19")
    assert "no route to host" in caught.value.message
    assert "bundled vgg16" in caught.value.hint


@pytest.mark.parametrize(
    "state",
    [
        {"weight": torch.zeros(3)},
        {"features.0.weight": torch.zeros(8, 3, 3, 3)},
        {f"features.{i}.{k}": torch.zeros(8) for i in (0, 1) for k in ("weight", "bias")},
        {"features.0.weight": torch.zeros(8, 3, 3, 3), "features.0.bias": torch.zeros(8)},
        [torch.zeros(3)],
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, state):
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(StyleCliError, match=r"other\.pth"):
        load_loss_network(str(tmp_path / "other.pth"))


@pytest.mark.parametrize(
    ("content", "name"), [(b"", "empty.pth"), (b"not weights", "text.safetensors")]
)
def test_a_file_without_weights_is_one_clear_error(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StyleCliError, match=name):
        load_loss_network(str(tmp_path / name))


@pytest.mark.parametrize("name", ["pipe.pth", "pipe.safetensors", "folder"])
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / "pipe.pth")
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StyleCliError, match="not a file"):
        load_loss_network(str(tmp_path / name))


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, odd):
    state = {"conv1_1.weight": torch.zeros(64, 3, 3, 3), "conv1_1.bias": torch.zeros(64)}
    state["conv1_1.weight"][0, 0, 0, 0] = odd
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(StyleCliError, match=r"the weights in .*odd\.pth are not all finite"):
        load_loss_network(str(tmp_path / "odd.pth"))


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(StyleCliError) as caught:
        load_loss_network("vgg91")
    assert "did you mean vgg19?" in caught.value.hint
    with pytest.raises(StyleCliError) as caught:
        load_loss_network().check_layers(("relu3_4",))
    assert "did you mean relu3_" in caught.value.hint
