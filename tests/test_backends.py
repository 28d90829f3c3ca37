"""Backends: the same pictures from each, the right one chosen, torch only where it is needed."""

import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylecli.core import devices
from stylecli.core.backend import OutOfMemoryError
from stylecli.core.enlarging import Enlarger
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, save_model
from stylecli.core.spec import GeneratorSpec
from stylecli.core.torch_backend import TorchBackend
from stylecli.engine import stylizer
from stylecli.engine.stylizer import open_backends
from stylecli.errors import StyleCliError
from stylecli.files.content import bundled_photos

openvino = pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def photo():
    return np.asarray(Image.open(bundled_photos()[7]).resize((101, 67)))


def saved(folder, arch="residual", norm="in", styles=("a",), width=8, **more) -> Path:
    """An untrained model that paints with some contrast."""
    torch.manual_seed(4)
    generator = Generator(GeneratorSpec(arch, norm, width, **more)).eval()
    generator.remix(torch.ones(len(styles), 1))
    for parameter in generator.parameters():
        parameter.data += (0.1 if norm != "none" else 0.02) * torch.randn(parameter.shape)
    for name, buffer in generator.named_buffers():
        if "running" in name:
            buffer.data += torch.rand(buffer.shape)
    path = folder / f"{arch}-{norm}-{len(styles)}.safetensors"
    info = ModelInfo(path.stem, generator.spec, styles=list(styles))
    save_model(path, generator, info)
    return path


def painted(path, photo, backend, precision, mix=(1.0,)):
    (run,) = open_backends(path, list(mix), backend=backend, device="cpu", precision=precision)
    return run(photo[None])[0].astype(int)


@pytest.mark.parametrize("arch", ["residual", "pyramid"])
@pytest.mark.parametrize("norm", ["in", "bn", "none"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"noise": "gaussian", "upsampling": "bilinear"},
        {"noise": "gaussian", "width": 5},
    ],
)
def test_openvino_paints_what_torch_paints_at_any_size(tmp_path, photo, arch, norm, more):
    path = saved(tmp_path, arch, norm, **more)
    for part in (photo, photo[:40, :9], photo[:5, :6]):
        expected = painted(path, part, "torch", "float32")
        assert expected.shape == part.shape
        apart = np.abs(painted(path, part, "openvino", "float32") - expected)
        assert apart.max() <= 1
        assert expected.std() > 0


@pytest.fixture
def compiled(monkeypatch):
    """The sizes that networks were compiled for so far; ``free`` is any."""
    from stylecli.core import openvino_backend

    sizes, build_graph = [], openvino_backend.build_graph

    def noted(weights, spec, shape):
        sizes.append(shape[1:3] if isinstance(shape[1], int) else "free")
        return build_graph(weights, spec, shape)

    monkeypatch.setattr(openvino_backend, "build_graph", noted)
    return sizes


@pytest.mark.parametrize("arch", ["residual", "pyramid"])
@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
def test_photos_of_many_sizes_share_a_network_and_are_painted_as_torch_paints_them(
    tmp_path, photo, compiled, arch, upsampling
):
    path = saved(tmp_path, arch, noise="gaussian", upsampling=upsampling)
    expect, run = (
        open_backends(path, [1.0], backend=backend, device="cpu", precision="float32")[0]
        for backend in ("torch", "openvino")
    )
    for height, width in ((40, 60), (67, 101), (60, 40), (13, 12), (5, 6), (64, 101)):
        part = photo[None, :height, :width]
        assert np.abs(run(part).astype(int) - expect(part)).max() <= 1
    assert compiled == ["free"]


def test_a_photo_comes_out_alike_whatever_came_before(tmp_path, photo, compiled, monkeypatch):
    monkeypatch.setattr("stylecli.core.openvino_backend._MOST_FREE", 80)  # px
    path = saved(tmp_path, width=2)
    sizes = [(64, 100), (60, 80), (52, 100), (56, 72), (52, 100), (64, 100)]

    def pictures(order):
        (run,) = open_backends(path, [1.0], backend="openvino", device="cpu", precision="float32")
        return {(h, w): run(photo[None, :h, :w]) for h, w in order}

    forward = pictures(sizes)
    assert compiled == [(64, 100), "free", (52, 100), (64, 100)]
    backward = pictures(sizes[::-1])
    for size in sizes:
        np.testing.assert_array_equal(forward[size], backward[size])


def test_what_is_expected_is_compiled_once_and_paints_alike(tmp_path, photo, compiled):
    path = saved(tmp_path, width=2)
    options = {"backend": "openvino", "device": "cpu", "precision": "float32"}
    first, second = (open_backends(path, [1.0], **options)[0] for _ in range(2))
    for _ in range(2):
        first.expect()
        first.expect(enlarging=True)
    until = time.monotonic() + 60
    while not compiled and time.monotonic() < until:
        time.sleep(0.01)
    assert compiled == ["free"]  # before anything is painted
    small = photo[::2, ::2].copy()
    with ThreadPoolExecutor(3) as pool:
        paintings = [pool.submit(first, small[None]) for _ in range(3)]
    assert compiled == ["free"]
    painting = second(small[None])
    for one in paintings:
        np.testing.assert_array_equal(one.result(), painting)
    large = [run.enlarge(photo, small, painting[0]) for run in (first, second)]
    np.testing.assert_array_equal(*large)


@pytest.mark.parametrize("noise", ["none", "gaussian"])
@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("width", [8, 16, 24])  # each has kernels of its own
def test_bfloat16_stays_within_what_nobody_sees(tmp_path, photo, noise, upsampling, width):
    path = saved(tmp_path, noise=noise, upsampling=upsampling, width=width)
    expected = painted(path, photo, "torch", "float32")
    most = 0.02 * expected.std()
    assert most > 0.2
    assert np.abs(painted(path, photo, "openvino", "bfloat16") - expected).mean() < most


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_where_onednn_is_held_to_avx2_openvino_computes_in_float32(tmp_path, precision):
    """In a child process: the variable is read once."""
    code = (
        "import sys, numpy as np\n"
        "from stylecli.engine.stylizer import open_backends\n"
        "from stylecli.core.model_files import find_style\n"
        "path, info, mix = find_style(sys.argv[1])\n"
        "given = {'backend': 'openvino', 'device': 'cpu', 'precision': sys.argv[2]}\n"
        "(run,) = open_backends(path, mix, **given)\n"
        "print(run(np.full((1, 64, 64, 3), 9, np.uint8)).shape, run.description)\n"
    )
    command = [sys.executable, "-c", code, str(saved(tmp_path)), precision]
    held = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(command, env=held, capture_output=True, text=True, timeout=120)
    assert done.stdout == "(1, 64, 64, 3) cpu, openvino, float32\n", done.stderr


def test_a_blend_of_styles_is_mixed_as_torch_mixes_it(tmp_path, photo):
    path = saved(tmp_path, styles=("a", "b"), noise="gaussian")
    mixes = [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]
    pictures = [painted(path, photo, "openvino", "float32", mix) for mix in mixes]
    for mix, picture in zip(mixes, pictures, strict=True):
        assert np.abs(painted(path, photo, "torch", "float32", mix) - picture).max() <= 1
    assert np.abs(pictures[0] - pictures[1]).mean() > 1


def test_openvino_on_a_gpu_is_refused(tmp_path):
    asked = {"backend": "openvino", "device": "cuda", "precision": "auto"}
    with pytest.raises(StyleCliError, match="runs on the CPU, and not on cuda"):
        open_backends(saved(tmp_path), [1.0], **asked)


def test_auto_takes_openvino_on_a_cpu_and_torch_elsewhere(tmp_path, monkeypatch):
    path = saved(tmp_path)

    def chosen(**changes):
        asked = {"backend": "auto", "device": "auto", "precision": "float32", **changes}
        return type(open_backends(path, [1.0], **asked)[0]).__name__

    monkeypatch.setattr(devices, "_may_have_gpu", lambda: False)
    assert chosen() == "OpenVinoBackend"
    assert chosen(backend="torch") == "TorchBackend"
    monkeypatch.setattr(devices, "_may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)  # stands for a GPU
    monkeypatch.setattr(stylizer, "all_devices", lambda name: [torch.device("cpu")])
    assert chosen() == "TorchBackend"
    assert chosen(device="cpu") == "OpenVinoBackend"
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    assert chosen(device="cpu") == "TorchBackend"
    with pytest.raises(StyleCliError, match="OpenVINO is not installed"):
        chosen(backend="openvino", device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_auto_takes_openvino_where_torch_sees_no_gpu_whatever_else_hints_at_one(
    tmp_path, monkeypatch
):
    path = saved(tmp_path)

    def chosen():
        (one,) = open_backends(path, [1.0], backend="auto", device="auto", precision="float32")
        return type(one).__name__

    driver = tmp_path / "bin" / "nvidia-smi"
    driver.parent.mkdir()
    driver.touch(0o755)
    monkeypatch.setenv("PATH", str(driver.parent), prepend=os.pathsep)
    assert chosen() == "OpenVinoBackend"
    driver.unlink()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(stylizer, "all_devices", lambda name: [torch.device("cpu")])
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert chosen() == "OpenVinoBackend"
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert chosen() == "TorchBackend"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the address space")
@pytest.mark.parametrize(
    ("backend", "cores"), [("torch", "all"), ("openvino", "all"), ("openvino", "one")]
)
def test_a_cpu_without_the_memory_for_one_pass_says_so_in_one_way(tmp_path, backend, cores):
    """In a child process whose address space has an end: each library has an error of its own.

    OpenVINO has none on one core: it leaves the output as it was, another photo's.
    """
    path = saved(tmp_path)
    code = (
        "import os, resource, sys\n"
        "if sys.argv[3] == 'one': os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "import numpy as np, psutil, torch\n"
        "from stylecli.core.backend import OutOfMemoryError\n"
        "from stylecli.engine.stylizer import open_backends\n"
        "from stylecli.core.model_files import find_style\n"
        "path, info, mix = find_style(sys.argv[1])\n"
        "given = {'backend': sys.argv[2], 'device': 'cpu', 'precision': 'float32'}\n"
        "(run,) = open_backends(path, mix, **given)\n"
        "photos = np.random.default_rng(0).integers(0, 256, (1, 1200, 1600, 3), np.uint8)\n"
        "run(photos[:, :64, :64])\n"
        "before = run(photos[:, :300])\n"
        "now = psutil.Process().memory_info().vms\n"
        "for extra in (16, 60, 120):\n"
        "    most = (now + extra * 2**20, resource.RLIM_INFINITY)\n"
        "    resource.setrlimit(resource.RLIMIT_AS, most)\n"
        "    try: run(photos)\n"
        "    except OutOfMemoryError: print('out of memory')\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)\n"
        "    print((run(photos[:, :300]) == before).all())\n"
    )
    command = [sys.executable, "-c", code, str(path), backend, cores]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout == 3 * "out of memory\nTrue\n"


def test_what_torch_keeps_for_itself_on_a_gpu_is_free(monkeypatch):
    backend = TorchBackend(Generator(GeneratorSpec(width=4)), torch.device("cpu"), torch.float32)
    backend.device = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700 + device.index)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert backend.free_memory() == 1501


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_another_seed_of_the_noise_is_another_picture(tmp_path, photo, backend):
    torch.manual_seed(4)
    generator = Generator(GeneratorSpec(width=4, noise="gaussian"))
    path = tmp_path / "noisy.safetensors"
    save_model(path, generator, ModelInfo("noisy", GeneratorSpec("residual", "in", 4, "gaussian")))

    def of_seed(seed):
        given = {"backend": backend, "device": "cpu", "precision": "float32", "seed": seed}
        (run,) = open_backends(path, [1.0], **given)
        return run(photo[None])[0].astype(int)

    np.testing.assert_array_equal(of_seed(0), painted(path, photo, backend, "float32"))
    np.testing.assert_array_equal(of_seed(7), of_seed(7))
    assert np.abs(of_seed(7) - of_seed(0)).mean() > 0.5


def test_memory_does_not_grow_with_the_number_of_sizes():
    """OpenVINO would keep the kernels of each."""
    code = """
import numpy, psutil
from stylecli import Stylizer
stylizer = Stylizer("udnie", backend="openvino", precision="float32")
for i in range(100):
    stylizer(numpy.zeros((64 + 4 * (i // 10), 64 + 4 * (i % 10), 3), numpy.uint8))
    if i % 50 == 49:
        print(psutil.Process().memory_info().rss)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    half, whole = map(int, run.stdout.split())
    assert whole - half < 15 * 2**20  # with OpenVINO's default, about 40 MB


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_an_enlargement_without_the_memory_is_told_as_one(tmp_path, monkeypatch, backend):
    asked = {"backend": backend, "device": "cpu", "precision": "float32"}
    (opened,) = open_backends(saved(tmp_path), [1.0], **asked)

    def fail(*images):
        raise MemoryError

    if backend == "torch":
        monkeypatch.setattr(opened, "_enlarger", fail)
    else:
        monkeypatch.setattr("stylecli.core.openvino_backend._ENLARGER", fail)
    photo, small = np.zeros((48, 64, 3), np.uint8), np.zeros((24, 32, 3), np.uint8)
    with pytest.raises(OutOfMemoryError):
        opened.enlarge(photo, small, small)


def test_what_enlarges_is_compiled_anew_after_an_error(monkeypatch, photo):
    """After a lack of memory, OpenVINO computes nonsense with what it has compiled."""
    from stylecli.core.openvino_graph import OpenVinoEnlarger

    def fail(*images):
        raise MemoryError

    enlarger = OpenVinoEnlarger(openvino.Core(), 1)
    small = np.asarray(Image.fromarray(photo).resize((48, 32)))
    expected, first = enlarger(photo, small, small), enlarger.compile()
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(Enlarger, "__call__", fail)
        enlarger(photo, small, small)
    assert enlarger.compile() is not first
    assert np.array_equal(enlarger(photo, small, small), expected)


def test_openvino_that_cannot_load_torch_for_strips_says_that_memory_lacks(
    tmp_path, photo, monkeypatch
):
    def fail(*given):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    given = {"backend": "openvino", "device": "cpu", "precision": "float32"}
    (run,) = open_backends(saved(tmp_path), [1.0], **given)
    monkeypatch.setattr("stylecli.core.torch_backend.load_torch_backend", fail)
    with pytest.raises(OutOfMemoryError):
        run.in_strips(photo, None, 2**30)
