"""Trainings and comparisons from the page, in real processes; and what a closed tab leaves."""

import io
import os
import subprocess
import sys

import pytest
from PIL import Image

from serving import Answer
from stylecli.core.model_files import read_info

pytestmark = [pytest.mark.xdist_group("page"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def trained(server, painting):
    """A training that was stopped after its first step: its status."""
    query = "minutes=30&name=My%20Waves%20%2F%20..%2F%20x"
    begun = server.ask(
        "POST", f"/api/trainings?{query}", painting.read_bytes(), x_name="My%20Waves.png"
    )
    job = begun.json["job"]
    assert "step" in server.follow(job, until=lambda status: "step" in status)
    for _ in range(3):  # an impatient user
        server.ask("POST", f"/api/jobs/{job}/stop")
    status = server.follow(job)
    yield status
    assert server.ask("DELETE", f"/api/styles/{status['style']}").status == 204


def test_a_training_that_is_stopped_leaves_its_model_among_the_styles(server, trained):
    assert trained["state"] == "stopped"
    assert trained["step"] >= 1
    assert trained["objective"] > 0
    assert trained["seconds_left"] > 0
    (own,) = [one for one in server.ask("GET", "/api/styles").json["styles"] if one["own"]]
    assert own["id"] == trained["style"] == "my-waves-x"
    assert own["title"] == "My Waves / ../ x"  # as it was given
    assert image_of(server, f"/api/styles/{own['id']}/painting").size == (96, 96)


def test_a_training_that_ends_by_itself_has_a_preview(server, painting):
    """Its name is that of its painting, and is made another one if that is taken."""
    begun = server.ask(
        "POST", "/api/trainings?minutes=0.001", painting.read_bytes(), x_name="udnie.png"
    )
    job = begun.json["job"]
    assert server.ask("GET", f"/api/jobs/{job}/preview").status == 404
    end = server.follow(job)
    assert (end["state"], end["style"]) == ("done", "udnie-2")
    assert end["preview"] > 0
    titles = {one["id"]: one["title"] for one in server.ask("GET", "/api/styles").json["styles"]}
    assert titles["udnie-2"] == "udnie 2"
    assert image_of(server, f"/api/jobs/{job}/preview").size == (1024, 512)
    assert server.ask("DELETE", "/api/styles/udnie-2").status == 204


def image_of(server, path) -> Image.Image:
    answer = server.ask("GET", path)
    assert answer.status == 200, answer.body
    return Image.open(io.BytesIO(answer.body))


def test_the_command_line_sees_the_model_too(server, trained, files, tmp_path):
    command = [sys.executable, "-m", "stylecli", "stylize", files / "photo.jpg", tmp_path / "a.jpg"]
    done = subprocess.run(
        [*map(str, command), "--model", trained["style"]],
        env=environment_of(server),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    number = server.upload(files / "photo.jpg")["id"]
    painted = server.download(number, style=trained["style"]).body
    assert painted == (tmp_path / "a.jpg").read_bytes()


def environment_of(server) -> dict[str, str]:
    return {**os.environ, "XDG_DATA_HOME": str(server.folder / "data")}


def test_a_model_is_downloaded_renamed_and_removed(server, trained, tmp_path):
    style = trained["style"]
    answer = server.ask("GET", f"/api/styles/{style}/file")
    (tmp_path / "own.safetensors").write_bytes(answer.body)
    assert read_info(tmp_path / "own.safetensors").styles == ["my-waves-x"]
    added = [sys.executable, "-m", "stylecli", "models", "add", str(tmp_path / "own.safetensors")]
    subprocess.run([*added, "--quiet"], env=environment_of(server), check=True)
    renamed = server.ask("PATCH", "/api/styles/own", {"name": "Sea & Sky"})
    assert (renamed.status, renamed.json["id"], renamed.json["title"]) == (
        200,
        "sea-sky",
        "Sea & Sky",
    )
    again = server.ask("PATCH", "/api/styles/sea-sky", {"name": "Sea / Sky"})
    assert (again.json["id"], again.json["title"]) == ("sea-sky", "Sea / Sky")
    assert server.ask("GET", "/api/styles/own/file").status == 404
    empty = server.ask("PATCH", "/api/styles/sea-sky", {"name": " \t"})
    assert (empty.status, empty.json["error"]) == (400, "the name is empty")
    for taken in (style, "udnie", "gallery"):
        assert server.ask("PATCH", "/api/styles/sea-sky", {"name": taken}).status == 400
    assert server.ask("DELETE", "/api/styles/sea-sky").status == 204
    assert server.ask("DELETE", "/api/styles/sea-sky").status == 404
    assert server.ask("DELETE", "/api/styles/udnie").status == 409
    assert server.ask("PATCH", "/api/styles/udnie", {"name": "mine"}).status == 409


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "many"])
def test_a_time_that_cannot_be_meant_is_refused(server, painting, minutes):
    answer = server.ask(
        "POST", f"/api/trainings?minutes={minutes}", painting.read_bytes(), x_name="a.png"
    )
    assert answer.status == 400
    assert "minutes" in answer.json["error"]


def test_a_painting_that_cannot_be_read_is_refused_at_once(server, files):
    answer = server.ask(
        "POST", "/api/trainings", (files / "broken.jpg").read_bytes(), x_name="my%20art.jpg"
    )
    assert answer.status == 400
    assert answer.json["error"].startswith("my art.jpg")


@pytest.mark.parametrize(
    "given",
    [{"norms": ["nope"]}, {"norms": "bn"}, {"norms": 3}, {"archs": []}, {"norms": [["bn"]]}],
)
def test_a_comparison_of_what_is_not_known_is_refused(server, given):
    answer = server.ask("POST", "/api/comparisons", given)
    assert answer.status == 400, answer.json


def test_a_closed_tab_stops_its_jobs_but_trainings_and_no_other(server, painting):
    """Comparisons wait behind a training until there are too many; then a tab is closed."""
    training = server.ask(
        "POST", "/api/trainings?minutes=30", painting.read_bytes(), x_name="a.png", x_tab="one"
    ).json["job"]

    def compare(tab: str) -> Answer:
        return server.ask("POST", "/api/comparisons", {"norms": ["in"]}, x_tab=tab)

    jobs = [compare(tab).json["job"] for tab in ["two", *["one"] * 48]]
    assert compare("one").status == 429
    with server.open_tab("two"):
        with server.open_tab("one"):
            pass
        assert [server.follow(job)["state"] for job in jobs[1:]] == ["stopped"] * 48
        assert server.ask("GET", f"/api/jobs/{jobs[0]}").json["state"] == "waiting"
        assert server.ask("GET", f"/api/jobs/{training}").json["state"] != "stopped"
        for job in (jobs[0], training):
            server.ask("POST", f"/api/jobs/{job}/stop")
            status = server.follow(job)
            assert status["state"] == "stopped"
            if "style" in status:  # the training had begun
                assert server.ask("DELETE", f"/api/styles/{status['style']}").status == 204
