"""``stylecli serve`` as a real process: photos, paintings, films, ZIPs, and how it ends."""

import errno
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from stylecli import Stylizer
from stylecli.cli import app
from stylecli.errors import StyleCliError
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_picture
from stylecli.page.photos import PhotoService
from stylecli.page.refusals import answer_error

pytestmark = pytest.mark.xdist_group("page")  # they share one server


def image_in(answer) -> Image.Image:
    assert answer.status == 200, answer.body
    return Image.open(io.BytesIO(answer.body))


def test_the_state_says_how_it_computes_and_what_it_takes(server):
    state = server.ask("GET", "/api/state").json
    assert state["device"].split(", ")[0] in ("cpu", "cuda", "cuda:0", "mps")
    assert state["most_bytes"] == 4 * 2**30


def test_the_styles_are_those_of_the_gallery_and_each_has_its_painting(server):
    listed = server.ask("GET", "/api/styles").json
    ids = [style["id"] for style in listed["styles"] if not style["own"]]
    assert len(ids) == 8
    assert listed["default"] in ids
    (udnie,) = [style for style in listed["styles"] if style["id"] == "udnie"]
    assert (udnie["title"], udnie["painter"], udnie["own"]) == ("Udnie", "Francis Picabia", False)
    assert max(image_in(server.ask("GET", "/api/styles/udnie/painting")).size) <= 320


def test_a_photo_is_shown_upright_at_screen_size(server, files):
    photo = server.upload(files / "photo.jpg")
    assert (photo["kind"], photo["width"], photo["height"]) == ("photo", 200, 300)
    assert image_in(server.ask("GET", f"/api/photos/{photo['id']}/screen")).size == (200, 300)


def test_a_large_photo_is_painted_at_screen_size_and_small(server, tmp_path):
    Image.effect_noise((2400, 1200), 40).convert("RGB").save(tmp_path / "large.jpg")
    number = server.upload(tmp_path / "large.jpg")["id"]
    assert image_in(server.painted(number, style="udnie", size="screen")).size == (1600, 800)
    assert image_in(server.painted(number, style="udnie", size="strip")).size == (320, 160)


def test_the_strip_shows_strokes_as_wide_as_in_the_large_picture(server):
    number = server.upload(bundled_photos()[14])["id"]
    small = image_in(server.painted(number, style="great-wave", size="strip")).convert("RGB")
    screen = image_in(server.painted(number, style="great-wave", size="screen")).convert("RGB")
    shrunk = screen.resize(small.size, Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(small, float) - np.asarray(shrunk, float)).mean() < 6


@pytest.mark.parametrize(
    ("look", "options"),
    [
        ({"style": "udnie"}, ["--model", "udnie"]),
        (
            {"style": "udnie:0.5,great-wave:0.5", "layers": 3, "stroke_size": 2, "strength": 0.7},
            [
                *("--model", "gallery", "--style", "udnie:0.5,great-wave:0.5"),
                *("--layers", "3", "--stroke-size", "2", "--strength", "0.7"),
            ],
        ),
        (
            {"style": "the-scream", "preserve_color": True},
            ["--model", "the-scream", "--preserve-color"],
        ),
    ],
)
def test_a_download_has_the_bytes_that_the_command_line_writes(
    server, files, tmp_path, look, options
):
    number = server.upload(files / "photo.jpg", "Ferien süß.jpg")["id"]
    answer = server.download(number, **look)
    command = ["stylize", files / "photo.jpg", tmp_path / "painted.jpg", *options]
    with pytest.raises(SystemExit) as ended:
        app(list(map(str, command)))
    assert not ended.value.code
    assert answer.body == (tmp_path / "painted.jpg").read_bytes()
    assert "Ferien%20s%C3%BC%C3%9F-" in answer.headers["content-disposition"]
    assert image_in(answer).getexif()[0x010F] == "A camera"


def test_a_download_keeps_transparency(server, files):
    number = server.upload(files / "clear.png")["id"]
    painted = image_in(server.download(number, style="udnie"))
    assert painted.mode == "RGBA"
    assert image_in(server.painted(number, style="udnie", size="screen")).mode == "RGB"


def test_strength_and_colors_are_those_of_the_painter(server, files):
    """They are applied to a painting that is kept, and must not differ from a fresh one."""
    number = server.upload(files / "photo.jpg")["id"]
    server.painted(number, style="udnie", size="screen")
    look = {"strength": 0.4, "preserve_color": True}
    asked = {**look, "preserve_color": "true"}
    painted = image_in(server.painted(number, style="udnie", size="screen", **asked))
    expected = Stylizer("udnie")(read_picture(files / "photo.jpg").rgb, **look)
    assert np.abs(np.asarray(painted, float) - expected.astype(float)).mean() < 3  # JPEG


@pytest.mark.parametrize(("name", "frames"), [("clip.mp4", 6), ("moves.gif", 4)])
def test_a_film_is_painted_with_its_progress(server, files, name, frames):
    film = server.upload(files / name)
    assert (film["kind"], film["width"], film["height"]) == ("film", 64, 48)
    assert image_in(server.painted(film["id"], style="udnie", size="screen")).size == (64, 48)
    body = {"photos": [film["id"]], "look": {"style": "udnie"}}
    begun = server.ask("POST", "/api/paintings", body)
    status = server.follow(begun.json["job"])
    assert status["state"] == "done"
    assert status["done"] == status["total"] == frames
    assert "seconds_left" in status
    result = server.ask("GET", f"/api/jobs/{begun.json['job']}/result")
    kind = b"ftyp" if name.endswith("mp4") else b"GIF8"
    assert kind in result.body[:12]


def test_a_zip_holds_every_photo_once_and_names_what_failed(server, files):
    numbers = [server.upload(files / "photo.jpg")["id"] for _ in range(2)]
    numbers.append(server.upload(files / "clear.png")["id"])
    (folder,) = server.temporary
    before = set(folder.iterdir())
    numbers.append(server.upload(files / "clear.png", "lost.png")["id"])
    (set(folder.iterdir()) - before).pop().unlink()
    look = {"style": "udnie", "strength": 0.5}
    job = server.ask("POST", "/api/paintings", {"photos": numbers, "look": look}).json["job"]
    status = server.follow(job)
    assert (status["state"], status["done"], status["total"]) == ("done", 4, 4)
    assert "lost.png" in status["error"]
    with zipfile.ZipFile(io.BytesIO(server.ask("GET", f"/api/jobs/{job}/result").body)) as archive:
        names = archive.namelist()
        alone = server.download(numbers[0], **look).body
        assert archive.read(names[0]) == archive.read(names[1]) == alone
    assert names == ["photo-udnie.jpg", "photo-udnie-2.jpg", "clear-udnie.png"]


def test_a_damaged_photo_is_refused_by_its_own_name(server, files):
    before = len(list(server.temporary[0].iterdir()))
    for name in ("broken.jpg", "text.jpg"):
        answer = server.ask("POST", "/api/photos", (files / name).read_bytes(), x_name=name)
        assert answer.status == 400
        assert answer.json["error"].startswith(name)
        assert str(server.folder) not in answer.json["error"]
    assert len(list(server.temporary[0].iterdir())) == before


def test_what_is_too_large_is_refused_before_it_is_read(server, files):
    connection = server.connect()
    connection.putrequest("POST", "/api/photos")
    connection.putheader("Content-Length", str(5 * 2**30))
    connection.putheader("X-Name", "huge.jpg")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert "GiB" in json.loads(answer.read())["error"]
    connection.close()


def test_a_photo_of_too_many_pixels_is_refused(server, tmp_path):
    Image.new("1", (20_000, 10_001)).save(tmp_path / "many.png")
    answer = server.ask(
        "POST", "/api/photos", (tmp_path / "many.png").read_bytes(), x_name="many.png"
    )
    assert answer.status == 400
    assert "200,000,000 pixels" in answer.json["error"]


@pytest.mark.parametrize(
    "name",
    ["../../evil.jpg", "..%2F..%2Fevil.jpg", "%2Fetc%2Fevil.jpg", "a%00b.jpg", "..%5Cevil.jpg"],
)
def test_a_name_never_becomes_a_part_of_a_path(server, files, name):
    answer = server.ask("POST", "/api/photos", (files / "photo.jpg").read_bytes(), x_name=name)
    assert answer.status == 201
    assert "/" not in answer.json["name"]
    assert "\0" not in answer.json["name"]
    assert "\\" not in answer.json["name"]
    (folder,) = server.temporary
    assert not [path for path in server.folder.rglob("*evil*")]
    names = [path.name for path in folder.iterdir() if path.name != ".stylecli-lock"]
    assert all(re.fullmatch(r"[\w-]{16}(\.\w+)?", one) for one in names), names
    number = answer.json["id"]
    full = server.download(number, style="udnie")
    assert "/" not in full.headers["content-disposition"].replace("utf-8''", "")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/photos/..%2F..%2Fetc%2Fpasswd/screen", 404),
        ("/api/photos/nope/painted?style=udnie", 404),
        ("/api/jobs/nope", 404),
        ("/api/styles/..%2Fgallery/file", 404),
        ("/static/..%2F..%2Fapp.py", 404),
        ("/static/../../app.py", 404),
        ("/api/nothing", 404),
    ],
)
def test_what_is_not_there_is_not_found(server, path, status):
    answer = server.ask("GET", path)
    assert answer.status == status
    assert answer.body[:1] in (b"{", b"N")


@pytest.mark.parametrize(
    ("look", "word"),
    [
        ({"style": "nope"}, "nope"),
        ({"style": "udnie:0.5,nope:0.5"}, "nope"),
        ({"style": "udnie:x,great-wave:1"}, "share"),
        ({"style": "udnie", "strength": 3}, "--strength 3"),
        ({"style": "udnie", "layers": "many"}, "layers"),
        ({"style": "udnie", "stroke_size": "nan"}, "--stroke-size"),
        ({"style": "udnie", "size": 99999}, "size"),
        ({"style": "udnie", "size": "-1"}, "size"),
    ],
)
def test_a_bad_look_is_refused_in_one_line(server, files, look, word):
    number = server.upload(files / "photo.jpg")["id"]
    answer = server.painted(number, **look)
    assert answer.status in (400, 404)
    assert word in answer.json["error"]
    assert "\n" not in answer.json["error"]


def test_a_removed_photo_is_gone(server, files):
    number = server.upload(files / "photo.jpg")["id"]
    assert server.ask("DELETE", f"/api/photos/{number}").status == 204
    assert server.painted(number, style="udnie").status == 404
    assert server.ask("DELETE", f"/api/photos/{number}").status == 404


def test_bodies_that_are_not_json_are_refused(server):
    for body in (
        b"[]",
        b"{",
        b"{" * 70_000,
        b'{"photos": ["nope"], "look": {}}',
        b'{"photos": []}',
    ):
        answer = server.ask("POST", "/api/paintings", body)
        assert answer.status in (400, 404, 413)
        assert answer.json["error"]


def test_a_request_whose_browser_has_gone_is_not_painted(server, tmp_path):
    """Many pictures are asked for and given up; the next one does not wait for them."""
    Image.effect_noise((300, 300), 60).convert("RGB").save(tmp_path / "noise.jpg")
    number = server.upload(tmp_path / "noise.jpg")["id"]
    look = "style=cezanne&size=screen&stroke_size="
    began, used = time.monotonic(), _cpu_seconds(server)
    assert server.ask("GET", f"/api/photos/{number}/painted?{look}0.6").status == 200
    one, cost = time.monotonic() - began, _cpu_seconds(server) - used
    asked = [server.connect() for _ in range(40)]
    for turn, connection in enumerate(asked):
        connection.request("GET", f"/api/photos/{number}/painted?{look}{0.7 + turn / 1000}")
    time.sleep(one / 2)
    for connection in asked:
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
    assert server.ask("GET", f"/api/photos/{number}/painted?{look}0.61").status == 200
    assert _cpu_seconds(server) - used < 15 * cost  # of the 42 pictures, few were painted


def _cpu_seconds(server) -> float:
    """The processor time that a server has taken."""
    times = psutil.Process(server.process.pid).cpu_times()
    return times.user + times.system


def test_it_listens_on_loopback_only(server):
    """By what the kernel says of the sockets of that process."""
    inodes = set()
    for descriptor in Path(f"/proc/{server.process.pid}/fd").iterdir():
        target = str(descriptor.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    listening = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                listening.append(words[1])
    assert listening == [f"0100007F:{server.port:04X}"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_and_nothing_is_left(serve, tmp_path, files, number):
    server = serve()
    film = server.upload(files / "clip.mp4")["id"]
    photo = server.upload(files / "photo.jpg")["id"]
    assert len(server.temporary) == 1
    server.ask("POST", "/api/paintings", {"photos": [film], "look": {"stroke_size": 0.1}})
    training = server.ask(
        "POST", "/api/trainings?minutes=5", (files / "photo.jpg").read_bytes(), x_name="sky.jpg"
    )
    assert training.status == 201
    busy = server.connect()
    busy.request("GET", f"/api/photos/{photo}/painted?style=udnie&stroke_size=0.06")
    while not (children := _children(server.process.pid)):
        time.sleep(0.02)
    with server.open_tab("one"):
        assert server.stop(number) == 130  # while the training would take minutes
    assert server.temporary == []
    assert not [child for child in children if _is_running(child)]
    assert "Traceback" not in "".join(server.lines)
    assert not (tmp_path / "data").exists()


def _children(process: int) -> list[int]:
    task = Path(f"/proc/{process}/task")
    return [int(one) for path in task.glob("*/children") for one in path.read_text().split()]


def _is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_the_files_of_a_killed_run_are_swept_by_the_next(serve, files):
    server = serve()
    server.upload(files / "photo.jpg")
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    (left,) = server.temporary
    old = time.time() - 3600
    os.utime(left / ".stylecli-lock", (old, old))
    again = serve()
    assert left not in again.temporary
    assert again.stop() == 130


def test_a_taken_port_is_named_and_the_usual_one_may_be(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        command = [sys.executable, "-m", "stylecli", "serve", "--no-browser", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extra_one_line_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['starlette'] = None; sys.argv[1:] = ['serve'];"
        "import importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'starlette' else find(name, *a);"
        "from stylecli.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("error: serve needs starlette")
    assert "pip install 'stylecli[serve]'" in done.stderr


def test_a_full_disk_is_said_to_be_that(files, monkeypatch):
    """In this process: a small file system would need root."""
    usage = shutil.disk_usage(files)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=10**9))
    assert PhotoService(files).begin_upload("photo.jpg", 10**8)
    with pytest.raises(StyleCliError, match="no room") as raised:
        PhotoService(files).begin_upload("photo.jpg", 10**9)
    assert answer_error(raised.value).status_code == 507
    full = StyleCliError("cannot write x")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert answer_error(full).status_code == 507
    assert answer_error(StyleCliError("anything else")).status_code == 400


def test_a_folder_that_cannot_be_written_is_an_answer_and_not_a_bug(serve, files):
    server = serve()
    (folder,) = server.temporary
    for path in [*folder.iterdir()]:
        path.unlink()
    folder.rmdir()
    answer = server.ask("POST", "/api/photos", (files / "photo.jpg").read_bytes(), x_name="a.jpg")
    assert answer.status in (400, 507)
    assert "a bug" not in answer.json["error"]
