"""Frames of a camera over a WebSocket, as the page sends them."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from websockets.sync.client import connect

from stylecli import Stylizer
from stylecli.files.content import bundled_photos

pytestmark = pytest.mark.xdist_group("page")


@pytest.fixture
def camera(server):
    origin = f"http://127.0.0.1:{server.port}"
    with connect(f"ws://127.0.0.1:{server.port}/api/camera", origin=origin) as socket:
        yield socket


def frame(width: int = 160, height: int = 120, format_: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.open(bundled_photos()[14]).resize((width, height)).save(buffer, format_)
    return buffer.getvalue()


def picture(message: str | bytes) -> Image.Image:
    assert isinstance(message, bytes), message
    return Image.open(io.BytesIO(message))


def test_a_frame_comes_back_painted(camera):
    camera.send(json.dumps({"style": "udnie", "stroke_size": 1}))
    camera.send(frame())
    painted = np.asarray(picture(camera.recv(30)), float)
    rgb = np.asarray(Image.open(io.BytesIO(frame())))
    assert np.abs(painted - Stylizer("udnie")(rgb).astype(float)).mean() < 5  # JPEG


def test_the_settings_can_change_between_frames(camera):
    seen = []
    for settings in (
        {"style": "udnie"},
        {"style": "cezanne"},
        {"style": "udnie:0.5,great-wave:0.5"},
        {"style": "udnie", "stroke_size": 3, "layers": 1, "strength": 0.5},
    ):
        camera.send(json.dumps(settings))
        camera.send(frame())
        seen.append(picture(camera.recv(30)))
    assert len({one.tobytes() for one in seen}) == 4


def test_two_frames_are_painted_at_once_and_come_back_in_their_order(camera):
    """The small one is ready first. None is left out, as the page waits for both."""
    camera.send(json.dumps({"style": "udnie"}))
    for size in [(480, 360), (96, 72)] * 2:
        camera.send(frame(*size))
        if size == (96, 72):
            assert [picture(camera.recv(30)).size for _ in range(2)] == [(480, 360), size]


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        ("nonsense", "JSON"),
        ("[]", "JSON"),
        ('{"style": "nope"}', "nope"),
        ('{"style": "udnie", "strength": 7}', "--strength"),
        (None, "before the settings"),
    ],
)
def test_what_cannot_be_meant_is_answered_in_words_and_the_camera_goes_on(camera, sent, word):
    if sent is not None:
        camera.send(sent)
    camera.send(frame())
    assert word in json.loads(camera.recv(30))["error"]
    camera.send(json.dumps({"style": "udnie"}))
    camera.send(frame())
    assert picture(camera.recv(30)).size == (160, 120)


@pytest.mark.parametrize("sent", [b"", b"123", frame(format_="PNG"), frame()[:300]])
def test_a_frame_that_is_not_a_jpeg_is_refused(camera, sent):
    camera.send(json.dumps({"style": "udnie"}))
    camera.send(sent)
    assert "JPEG" in json.loads(camera.recv(30))["error"]


def test_a_frame_of_many_pixels_is_refused_before_it_is_decoded(camera):
    buffer = io.BytesIO()
    Image.new("L", (9000, 9000)).save(buffer, "JPEG")
    camera.send(json.dumps({"style": "udnie"}))
    camera.send(buffer.getvalue())
    assert "megapixels" in json.loads(camera.recv(30))["error"]
