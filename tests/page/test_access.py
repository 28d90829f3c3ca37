"""Foreign hosts, origins and pages are refused; other machines need a token."""

import re
import socket

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serving import start
from stylecli.page.access import AccessPolicy

pytestmark = pytest.mark.xdist_group("page")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LOCALHOST:{port}", 200),
        ("[::1]:{port}", 200),
        ("127.0.0.1", 421),
        ("127.0.0.1:1", 421),
        ("evil.example", 421),
        ("evil.example:{port}", 421),
        ("127.0.0.1.evil.example:{port}", 421),
        ("localhost:{port}@evil.example", 421),
        ("0.0.0.0:{port}", 421),
        ("192.168.0.5:{port}", 421),
        ("", 421),
    ],
)
def test_a_foreign_host_is_refused(server, host, status):
    """So a name that an attacker points to this machine, as in DNS rebinding, is of no use."""
    assert server.ask("GET", "/api/state", host=host.format(port=server.port)).status == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:{port}", 404),
        ("http://localhost:{port}", 404),
        ("http://127.0.0.1:1", 403),
        ("http://evil.example", 403),
        ("https://127.0.0.1:{port}", 403),
        ("null", 403),
        ("http://127.0.0.1:{port}.evil.example", 403),
    ],
)
def test_a_foreign_origin_may_change_nothing(server, origin, status):
    """404 is of a photo that is not there: the request came through."""
    sent = origin.format(port=server.port)
    for method, path in [("DELETE", "/api/photos/x"), ("POST", "/api/jobs/x/stop")]:
        assert server.ask(method, path, origin=sent).status == status
    upload = server.ask("POST", "/api/photos", b"x", origin=sent, x_name="x.jpg")
    assert upload.status == (400 if status == 404 else 403)


def test_a_page_of_another_site_reads_and_embeds_nothing(server):
    for site in ("cross-site", "same-site"):  # same-site: another port of this machine
        assert server.ask("GET", "/api/styles", sec_fetch_site=site).status == 403
    answer = server.ask("GET", "/api/styles", sec_fetch_site="same-origin")
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/api/styles", "/api/nothing", "/static/nothing"])
def test_every_answer_binds_the_browser(server, path):
    headers = server.ask("GET", path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_camera_of_another_page_is_refused(server, headers):
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"ws://127.0.0.1:{server.port}/api/camera", additional_headers=headers),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_a_camera_under_another_name_is_refused(server):
    with (
        socket.create_connection(("127.0.0.1", server.port)) as own,
        pytest.raises(InvalidStatus) as refused,
        connect(f"ws://evil.example:{server.port}/api/camera", sock=own),
    ):
        pass
    assert refused.value.response.status_code == 421


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory):
    server = start(tmp_path_factory.mktemp("open"), "--host", "0.0.0.0")
    yield server
    server.process.kill()
    server.process.wait(10)


def test_other_machines_need_the_token_that_was_printed(open_to_all):
    token = re.search(r"\?token=([\w-]{32})$", open_to_all.address)[1]
    for path in ("/", "/api/state", "/?token=wrong", "/api/state?token=" + token):
        assert open_to_all.ask("GET", path).status == 403
    entered = open_to_all.ask("GET", f"/?token={token}")
    assert (entered.status, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    shown = cookie.partition(";")[0]
    assert open_to_all.ask("GET", "/api/state", cookie=shown).status == 200
    wrong = shown[:-1] + ("a" if shown[-1] != "a" else "b")
    assert open_to_all.ask("GET", "/api/state", cookie=wrong).status == 403
    url = f"ws://127.0.0.1:{open_to_all.port}/api/camera"
    with pytest.raises(InvalidStatus), connect(url):
        pass
    with connect(url, additional_headers={"Cookie": shown}):
        pass


@pytest.mark.parametrize(
    ("listens", "host", "is_own"),
    [
        ("127.0.0.1", "machine:8765", False),
        ("::1", "[::1]:8765", True),
        ("0.0.0.0", "192.168.0.5:8765", True),
        ("0.0.0.0", "[fe80::1]:8765", True),
        ("0.0.0.0", "machine:8765", True),
        ("0.0.0.0", "Machine:8765", True),
        ("0.0.0.0", "evil.example:8765", False),
        ("192.168.0.5", "192.168.0.5:8765", True),
        ("192.168.0.5", "192.168.0.6:8765", False),
    ],
)
def test_which_names_are_the_servers_own(listens, host, is_own):
    assert AccessPolicy.of(listens, 8765, ["Machine"]).is_own(host) == is_own


def test_port_80_need_not_be_named():
    assert AccessPolicy.of("127.0.0.1", 80).is_own("localhost")
    assert AccessPolicy.of("127.0.0.1", 80).is_own("[::1]")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_this_machine_alone_needs_no_token(host):
    assert not AccessPolicy.of(host, 8765).token


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.5", "machine.example", ""])
def test_any_other_address_has_a_token(host):
    assert len(AccessPolicy.of(host, 8765).token) == 32
