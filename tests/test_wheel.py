"""What a user installs: the wheel and the sdist, run where no checkout is.

By default the wheel's environment borrows the dependencies of the one that runs the tests. With
``-m slow`` pip installs them all from the package index, and builds as it does for a user.
"""

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import stylecli
from stylecli.files.content import bundled_photos

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--quiet"]

pytestmark = pytest.mark.xdist_group("wheel")  # one build for all
SLOW = [pytest.mark.slow, pytest.mark.timeout(2400)]  # torch is 5 GB


def run(*command: object, cwd: Path, **environment: object) -> str:
    """What a command prints; it knows nothing of where the tests import from."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    given = {**kept, **{name: str(value) for name, value in environment.items()}}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def contents(wheel: Path) -> dict[str, int]:
    """The checksum of each file of a wheel; of its metadata only the names.

    They tell the version of hatchling, and another may build elsewhere.
    """
    with zipfile.ZipFile(wheel) as archive:
        files = archive.infolist()
    return {one.filename: 0 if ".dist-info/" in one.filename else one.CRC for one in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--directory", folder, cwd=ROOT)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """What belongs into a release: each file here that git does not ignore."""
    if not (ROOT / ".git").exists():
        pytest.skip("only a checkout knows what is tracked")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    return {name for name in listed.split("\0") if name}


def test_the_wheel_has_the_package_with_all_models_photos_and_paintings(built, tracked):
    package = {name.removeprefix("src/") for name in tracked if name.startswith("src/")}
    models = {f"stylecli/{name}" for name in tracked if name.startswith("models/")}
    there = {name for name in contents(built[1]) if ".dist-info/" not in name}
    assert there == package | models
    assert len([name for name in there if name.startswith("stylecli/photos/")]) == 24
    assert len([name for name in there if name.startswith("stylecli/models/paintings/")]) == 9


def test_the_sdist_has_all_that_is_tracked(built, tracked):
    with tarfile.open(built[0]) as archive:
        there = {name.partition("/")[2] for name in archive.getnames()}
    assert there == tracked | {"PKG-INFO"}


@pytest.mark.parametrize("isolated", [False, pytest.param(True, marks=SLOW)])
def test_a_wheel_made_from_the_sdist_is_the_wheel_made_from_the_checkout(built, tmp_path, isolated):
    sdist, wheel = built
    with_hatchling_of_here = [] if isolated else ["--no-build-isolation", "--no-index"]
    run(*PIP, "wheel", "--no-deps", *with_hatchling_of_here, sdist, cwd=tmp_path)
    (again,) = tmp_path.glob("*.whl")
    assert contents(again) == contents(wheel)


def pixels(path: Path) -> npt.NDArray[np.float32]:
    return np.asarray(Image.open(path), np.float32)


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel; the folder of the checkout is not its own."""

    environment: Path
    work: Path

    def run(self, program: str, *arguments: object) -> str:
        homes = {name: self.work / "home" for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME")}
        return run(self.environment / "bin" / program, *arguments, cwd=self.work, **homes)


def lend_dependencies(python: Path) -> None:
    """Let an environment import what this one can, but for what stands in .pth files here.

    Such a file is how an editable installation is found: the checkout stays out of sight.
    """
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(run(python, "-c", code, cwd=python.parent).strip())
    lent = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    (own / "lent.pth").write_text("\n".join(lent))


@pytest.fixture(scope="module", params=["lent", pytest.param("from the index", marks=SLOW)])
def installed(request, built) -> Iterator[Installed]:
    """A fresh environment with the wheel; removed at once, as a whole one has gigabytes."""
    with TemporaryDirectory(prefix="stylecli-wheel-") as name:
        there = Installed(Path(name) / "environment", Path(name) / "work")
        there.work.mkdir()
        venv.create(there.environment, symlinks=True)
        python = there.environment / "bin" / "python"
        install = [*PIP, "--python", python, "install"]
        if request.param == "lent":
            run(*install, "--no-deps", "--no-index", built[1], cwd=there.work)
            lend_dependencies(python)
        else:
            run(*install, f"stylecli[cpu] @ {built[1].as_uri()}", cwd=there.work)
        Image.open(bundled_photos()[0]).resize((96, 64)).save(there.work / "photo.png")
        yield there


def test_nothing_comes_from_the_checkout(installed):
    code = "import sys, json, stylecli; print(json.dumps([stylecli.__file__, *sys.path]))"
    file, *paths = json.loads(installed.run("python", "-c", code))
    assert Path(file).is_relative_to(installed.environment)
    assert not [path for path in paths if Path(path).is_relative_to(ROOT / "src")]
    code = "import importlib.metadata as m; print(m.version('stylecli'))"
    assert installed.run("python", "-c", code).strip() == stylecli.__version__


def test_a_photo_is_stylized(installed):
    installed.run("stylecli", "stylize", "photo.png", "painted.png")
    before, after = (pixels(installed.work / name) for name in ("photo.png", "painted.png"))
    assert after.shape == before.shape
    assert np.abs(after - before).mean() > 10  # of 255


def test_the_bundled_models_are_listed_from_the_environment(installed):
    lines = installed.run("stylecli", "models").splitlines()
    for name in ("composition-vii", "udnie", "starry-night-pyramid-bn"):
        assert any(name in line for line in lines)


def test_a_sheet_shows_every_style(installed):
    installed.run("stylecli", "sheet", "photo.png", "sheet.png", "--size", 64)
    width, height = Image.open(installed.work / "sheet.png").size
    assert width * height > 9 * 64 * 42  # the photo and eight styles


def test_a_painting_is_trained_and_painted_with(installed):
    with_tiny = ["--size", 64, "--style-size", 64, "--steps", 1, "--batch-size", 1]
    package = next(installed.environment.rglob("stylecli/models"))
    installed.run("stylecli", "train", package / "paintings" / "udnie.jpg", *with_tiny)
    assert "udnie" in installed.run("stylecli", "models", "models/udnie.safetensors")
    installed.run("stylecli", "stylize", "photo.png", "own.png", "--model", "udnie")
    assert pixels(installed.work / "own.png").shape == (64, 96, 3)


def test_the_arms_are_compared_on_a_page(installed):
    installed.run("stylecli", "compare", "photo.png", "--size", 64, "--norm", "in")
    assert "<html" in (installed.work / "comparison" / "report.html").read_text("utf-8")
