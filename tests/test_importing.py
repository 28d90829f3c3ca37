"""Models from elsewhere and for elsewhere: they paint the same pictures."""

import os
import pickle

import pytest
import torch
import torch.nn.functional as F

from stylecli.core.model_files import load_model
from stylecli.core.tensors import to_tensor
from stylecli.errors import StyleCliError
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb
from stylecli.importing import import_checkpoint, read_state


def example_state(width=4):
    """A state dict with the names and shapes of PyTorch's example, of an old version."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape, scale):
        return torch.randn(*shape, generator=random) * scale

    state = {}

    def layer(conv, norm, inputs, outputs, kernel):
        scale = (inputs * kernel**2) ** -0.5 / (255 if conv == "conv1" else 1)
        state[f"{conv}.conv2d.weight"] = normal(outputs, inputs, kernel, kernel, scale=scale)
        state[f"{conv}.conv2d.bias"] = normal(outputs, scale=1)
        if norm:
            state[f"{norm}.weight"] = 1 + normal(outputs, scale=0.2)
            state[f"{norm}.bias"] = normal(outputs, scale=0.2)
            state[f"{norm}.running_mean"] = normal(outputs, scale=1)

    w = width
    layer("conv1", "in1", 3, w, 9)
    layer("conv2", "in2", w, 2 * w, 3)
    layer("conv3", "in3", 2 * w, 4 * w, 3)
    for i in range(1, 6):
        layer(f"res{i}.conv1", f"res{i}.in1", 4 * w, 4 * w, 3)
        layer(f"res{i}.conv2", f"res{i}.in2", 4 * w, 4 * w, 3)
    layer("deconv1", "in4", 4 * w, 2 * w, 3)
    layer("deconv2", "in5", 2 * w, w, 3)
    layer("deconv3", "", w, 3, 9)
    state["deconv3.conv2d.weight"] *= 40
    state["deconv3.conv2d.bias"] = torch.tensor([120.0, 130.0, 110.0])
    return state


def painted_by_the_example(state, x):
    """Its forward pass, from and to 0..255, written from the description of its network."""

    def conv(x, name, stride=1):
        weight = state[f"{name}.conv2d.weight"]
        edge = weight.shape[-1] // 2
        padded = F.pad(x, (edge,) * 4, mode="reflect")
        return F.conv2d(padded, weight, state[f"{name}.conv2d.bias"], stride)

    def norm(x, name):
        mean = x.mean((2, 3), keepdim=True)
        var = x.var((2, 3), keepdim=True, unbiased=False)
        scale, shift = (state[f"{name}.{part}"][:, None, None] for part in ("weight", "bias"))
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    x = norm(conv(x, "conv1"), "in1").relu()
    x = norm(conv(x, "conv2", 2), "in2").relu()
    x = norm(conv(x, "conv3", 2), "in3").relu()
    for i in range(1, 6):
        branch = norm(conv(x, f"res{i}.conv1"), f"res{i}.in1").relu()
        x = x + norm(conv(branch, f"res{i}.conv2"), f"res{i}.in2")
    x = norm(conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3), "deconv1"), "in4").relu()
    x = norm(conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3), "deconv2"), "in5").relu()
    return conv(x, "deconv3")


def test_an_imported_checkpoint_paints_what_its_own_network_paints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = example_state()
    torch.save(state, "mosaic.pth")
    import_checkpoint(tmp_path / "mosaic.pth", "mosaic", "CC0")
    generator, info = load_model("mosaic")
    assert (info.arch, info.norm, info.width, info.license) == ("residual", "in", 4, "CC0")
    photo = to_tensor(read_rgb(bundled_photos()[3], 96)[None, :96, :96], torch.device("cpu"))
    with torch.no_grad():
        ours = generator(photo) * 255
        theirs = painted_by_the_example(state, photo * 255)
    assert theirs.std() > 10
    assert (ours - theirs).abs().max() < 0.05


class Harmful:
    """What a pickle can do when it is opened."""

    def __reduce__(self):
        return print, ("harm",)


def with_first(change):
    """The example's state dict with other numbers in its first layer."""
    state = example_state()
    return {**state, "conv1.conv2d.weight": change(state["conv1.conv2d.weight"])}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no weights", "cannot be read as weights"),
        (b"", "cannot be read as weights"),
        (pickle.dumps(Harmful()), "cannot be read as weights"),
        ([1, 2], "holds no dictionary of tensors"),
        ({"conv1.weight": torch.zeros(2)}, "'conv1.conv2d.weight' is missing"),
        ({**example_state(), "res3.in1.bias": torch.zeros(7)}, "size mismatch"),
        ({**example_state(), "res6.in1.bias": torch.zeros(16)}, "res6.in1.bias is not of it"),
        (b"\x80\x02.", "cannot be read as weights"),
        ({1: torch.zeros(2)}, "holds no dictionary of tensors by name"),
        (with_first(lambda x: x * torch.nan), "conv1.conv2d.weight is not finite"),
        (with_first(lambda x: x.double() * 1e300), "conv1.conv2d.weight is not finite"),
        (with_first(lambda x: x.to(torch.int32)), "conv1.conv2d.weight holds torch.int32"),
        (with_first(lambda x: x.to(torch.complex64)), "conv1.conv2d.weight holds torch.complex64"),
        (with_first(lambda x: x.to_sparse()), "conv1.conv2d.weight holds"),
    ],
)
def test_what_is_no_such_checkpoint_is_refused(tmp_path, monkeypatch, capsys, content, says):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(StyleCliError, match=says):
        import_checkpoint(path, "x")
    assert "harm" not in capsys.readouterr().out
    assert not (tmp_path / "models").exists()


def test_a_name_that_leaves_the_folder_and_a_model_that_is_there_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(example_state(), "x.pth")
    for name in ("../x", "x.safetensors", "", "X"):
        with pytest.raises(StyleCliError, match="no name of a model"):
            import_checkpoint(tmp_path / "x.pth", name)
    with pytest.raises(StyleCliError, match="a model starry-night-residual-in is there"):
        import_checkpoint(tmp_path / "x.pth", "starry-night-residual-in")
    import_checkpoint(tmp_path / "x.pth", "x")
    with pytest.raises(StyleCliError, match=r"models/x\.safetensors is there"):
        import_checkpoint(tmp_path / "x.pth", "x")
    import_checkpoint(tmp_path / "x.pth", "x", overwrite=True)


def test_whatever_has_the_name_of_an_imported_model_stays_unless_told_otherwise(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    torch.save(example_state(), "x.pth")
    target = tmp_path / "models" / "x.safetensors"
    target.parent.mkdir()
    target.write_text("no model, but mine")
    with pytest.raises(StyleCliError, match=r"models/x\.safetensors is there"):
        import_checkpoint(tmp_path / "x.pth", "x")
    assert target.read_text() == "no model, but mine"
    target.unlink()
    target.symlink_to(tmp_path / "on-a-disk-that-is-not-mounted")
    with pytest.raises(StyleCliError, match=r"models/x\.safetensors is there"):
        import_checkpoint(tmp_path / "x.pth", "x")
    assert target.is_symlink()
    import_checkpoint(tmp_path / "x.pth", "x", overwrite=True)
    assert load_model("x")[1].width == 4


@pytest.mark.parametrize(
    ("name", "says"), [("missing", "cannot open"), ("", "a folder"), ("pipe", "a named pipe")]
)
def test_a_checkpoint_that_is_no_regular_file_is_an_error(tmp_path, name, says):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StyleCliError, match=says):
        read_state(tmp_path / name)
