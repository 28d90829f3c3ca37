"""Models from elsewhere and for elsewhere: they paint the same pictures."""

import copy
import io
import os
import pickle
import subprocess
import sys
import zipfile

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from stylecli.core.devices import to_tensor
from stylecli.core.model_files import load_model
from stylecli.core.tensor_files import load_weights
from stylecli.errors import StyleCliError
from stylecli.exchange import import_checkpoint
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb


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
    assert (info.spec.arch, info.spec.norm, info.spec.width, info.license) == (
        "residual",
        "in",
        4,
        "CC0",
    )
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
        ([1, 2], "does not hold tensors by name"),
        ({"conv1.weight": torch.zeros(2)}, "'conv1.conv2d.weight' is missing"),
        ({**example_state(), "res3.in1.bias": torch.zeros(7)}, "size mismatch"),
        (
            {**example_state(), "res6.in1.bias": torch.zeros(16)},
            "res6.in1.bias does not belong to it",
        ),
        (b"\x80\x02.", "cannot be read as weights"),
        ({1: torch.zeros(2)}, "does not hold tensors by name"),
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
        with pytest.raises(StyleCliError, match="not a name for a model"):
            import_checkpoint(tmp_path / "x.pth", name)
    for name in ("starry-night-residual-in", "udnie"):
        with pytest.raises(StyleCliError, match=f"{name} is the name of a bundled model or style"):
            import_checkpoint(tmp_path / "x.pth", name, overwrite=True)
    import_checkpoint(tmp_path / "x.pth", "x")
    with pytest.raises(StyleCliError, match=r"models/x\.safetensors exists"):
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
    with pytest.raises(StyleCliError, match=r"models/x\.safetensors exists"):
        import_checkpoint(tmp_path / "x.pth", "x")
    assert target.read_text() == "no model, but mine"
    target.unlink()
    target.symlink_to(tmp_path / "on-a-disk-that-is-not-mounted")
    with pytest.raises(StyleCliError, match=r"models/x\.safetensors exists"):
        import_checkpoint(tmp_path / "x.pth", "x")
    assert target.is_symlink()
    import_checkpoint(tmp_path / "x.pth", "x", overwrite=True)
    assert load_model("x")[1].spec.width == 4


@pytest.mark.parametrize(
    ("name", "says"), [("missing", "cannot open"), ("", "a folder"), ("pipe", "a named pipe")]
)
def test_a_checkpoint_that_is_no_regular_file_is_an_error(tmp_path, name, says):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StyleCliError, match=says):
        load_weights(tmp_path / name)


def parallel(state):
    return {f"module.{key}": tensor for key, tensor in state.items()}


def as_safetensors(state, path):
    safetensors.torch.save_file(state, path)


@pytest.mark.parametrize(
    ("wrap", "file", "save"),
    [
        (lambda state: {"state_dict": state, "epoch": 2}, "x.pth", torch.save),
        (lambda state: {"model_state_dict": state, "loss": 0.5}, "x.pth", torch.save),
        (parallel, "x.pth", torch.save),
        (lambda state: {"state_dict": parallel(state)}, "x.pth", torch.save),
        (parallel, "x.safetensors", as_safetensors),
        (lambda state: state, "x.safetensors", as_safetensors),
    ],
)
def test_a_checkpoint_may_be_wrapped_as_trainings_write_it(tmp_path, wrap, file, save):
    save(wrap(example_state()), tmp_path / file)
    state = load_weights(tmp_path / file)
    assert state.keys() == example_state().keys()
    assert torch.equal(state["conv1.conv2d.weight"], example_state()["conv1.conv2d.weight"])


def huge(path):
    """Some hundred kilobytes, compressed, that stand for hundreds of megabytes: zeros."""
    part = io.BytesIO()
    torch.save({"conv1.conv2d.weight": torch.zeros(2**20)}, part)
    with zipfile.ZipFile(part) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for one in old.infolist():
            with new.open(one.filename, "w", force_zip64=True) as file:
                content = old.read(one)
                for _ in range(60 if one.file_size > 2**20 else 1):
                    file.write(content)


def overlapping(path):
    """An archive with many entries that are all the same bytes of the file."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data/0", bytes(2**20))
        first = archive.infolist()[0]
        for i in range(1, 600):
            again = copy.copy(first)
            again.filename = again.orig_filename = f"archive/data/{i}"
            archive.filelist.append(again)


def endless(path):
    """A file of a terabyte that takes no room on the disk."""
    torch.save(example_state(), path)
    os.truncate(path, 2**40)


def spread(path):
    """Tensors of gigabytes, each of which is one number with a step of 0."""
    wide = {key: torch.zeros(1) for key in example_state(512 // 128)}
    shapes = {key: tensor.shape for key, tensor in example_state(4).items()}
    state = {}
    for key, one in wide.items():
        shape = tuple(side * 128 if side > 3 and side != 9 else side for side in shapes[key])
        state[key] = one.expand(shape)
    torch.save(state, path)


def test_files_that_claim_more_than_they_hold_are_refused_in_little_memory(tmp_path):
    makers = (huge, overlapping, endless, spread)
    for make in makers:
        make(tmp_path / f"{make.__name__}.pth")
    script = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from stylecli.errors import StyleCliError\n"
        "from stylecli.exchange import import_checkpoint\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for name in sys.argv[1:]:\n"
        "    try: import_checkpoint(Path(f'{name}.pth'), 'mine')\n"
        "    except StyleCliError as error: print(name, error.message)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [sys.executable, "-c", script, *(make.__name__ for make in makers)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    *said, kilobytes = done.stdout.splitlines()
    for make, line in zip(makers, said, strict=True):
        assert line.startswith(f"{make.__name__} ")
        assert "would take" in line or "claims to hold more" in line
    assert int(kilobytes) < 100_000
