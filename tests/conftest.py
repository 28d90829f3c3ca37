"""Small real inputs that tests share: bundled photos, and a painting made here."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# The networks here are tiny, and threads that wait for each other take longer than the work.
# Before the first import of torch; the processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A user has no such variable, and some libraries behave in another way where it is set.
os.environ.pop("CI", None)

# What tests keep stays out of the user's cache and data, and goes when they end.
_HOME = tempfile.mkdtemp(prefix="stylecli-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["XDG_CACHE_HOME"] = f"{_HOME}/cache"
os.environ["XDG_DATA_HOME"] = f"{_HOME}/data"

import numpy as np
import pytest
from PIL import Image

from budget import shorten
from stylecli.config import DEFAULT_MODEL
from stylecli.engine import Stylizer
from stylecli.files.content import bundled_photos


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("requires_cuda"):
                item.add_marker(pytest.mark.skip(reason="torch sees no CUDA device"))


@pytest.fixture(scope="module")
def budget() -> Iterator[None]:
    """The budget of a module whose trainings, optimizations and comparisons take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        yield


@pytest.fixture(scope="session")
def painting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A painting of our own: colored waves, 160 x 128."""
    y, x = np.mgrid[:128, :160] / 12
    waves = [np.sin(x + np.cos(y)), np.sin(y * 1.3 - x), np.cos(x * y / 9)]
    rgb = ((np.stack(waves, -1) + 1) * 127).astype(np.uint8)
    path = tmp_path_factory.mktemp("paintings") / "Waves & Lines.png"
    Image.fromarray(rgb).save(path)
    return path


@pytest.fixture(scope="session")
def photos_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``photos`` is a copy of."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "below").mkdir()
    names_and_sizes = [("one.jpg", (97, 65)), ("two.png", (64, 80)), ("below/three.JPG", (71, 71))]
    for source, (name, size) in zip(bundled_photos(), names_and_sizes, strict=False):
        Image.open(source).resize(size).save(folder / name)
    return folder


@pytest.fixture
def photos(photos_once: Path, tmp_path: Path) -> Path:
    """A folder with three photos of three sizes, one of them in a folder below."""
    return shutil.copytree(photos_once, tmp_path / "photos")


@pytest.fixture(scope="session")
def stylizer() -> Stylizer:
    """The Starry Night."""
    return Stylizer(DEFAULT_MODEL, device="cpu")


@pytest.fixture(scope="session")
def launch_browser():
    """Launches a real browser, where there is one, with further options."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:  # there can be one in a process
        yield lambda *more: driver.chromium.launch(executable_path=chromium, args=[*options, *more])


@pytest.fixture(scope="session")
def browser_once(launch_browser):
    """Started once for all tests: that takes a second."""
    browser = launch_browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(browser_once):
    """A real browser, where there is one, without pages."""
    yield browser_once
    for context in browser_once.contexts:
        context.close()
