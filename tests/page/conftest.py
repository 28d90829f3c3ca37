"""A server for all tests that only ask it things."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from clips import make_clip
from serving import Server, start, start_small
from stylecli.files.content import bundled_photos


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its trainings and comparisons are short."""
    started = start_small(tmp_path_factory.mktemp("served"))
    yield started
    try:
        assert started.stop() == 130
    finally:
        started.process.kill()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server in the test's own folder; none outlives the test."""
    started: list[Server] = []

    def begin(*options: str) -> Server:
        started.append(start(tmp_path, *options))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.wait(10)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo with EXIF, one with transparency, an animation, a film, and what is none of these."""
    folder = tmp_path_factory.mktemp("files")
    photo = Image.open(bundled_photos()[14]).resize((300, 200))
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    exif[0x0112] = 6  # lies on its side
    photo.save(folder / "photo.jpg", exif=exif, quality=92)
    clear = photo.resize((90, 60)).convert("RGBA")
    clear.putalpha(photo.resize((90, 60)).convert("L"))
    clear.save(folder / "clear.png")
    frames = [photo.resize((64, 48)).rotate(10 * turn) for turn in range(4)]
    frames[0].save(folder / "moves.gif", save_all=True, append_images=frames[1:], duration=80)
    make_clip(folder / "clip.mp4", frames=6)
    (folder / "broken.jpg").write_bytes((folder / "photo.jpg").read_bytes()[:4000])
    (folder / "text.jpg").write_text("not an image")
    return folder
