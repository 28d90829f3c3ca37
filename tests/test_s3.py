"""Folders, videos and models in S3: the real command and the real protocol, on loopback."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from stylecli.core.model_files import bundled_models
from stylecli.engine import Stylizer
from stylecli.files.images import read_rgb
from test_urls import AS_IT_IS, jpeg

s3fs = pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")

pytestmark = pytest.mark.xdist_group("s3")  # one server for all

NAMES = [f"{n % 5}/{'x/y z/' if n % 3 else ''}p{n:02}.jpg" for n in range(50)]
LARGE = (320, 240)  # a photo that does not fit into the first few bytes


@dataclass(frozen=True)
class Server:
    """A server of S3's protocol in a process of its own.

    Attributes:
        address: ``http://127.0.0.1:PORT``.
        log: a file with one line for each request that it was asked.
    """

    address: str
    log: Path

    def client(self, **keys: str) -> Any:
        given = keys or {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        more = {"region_name": "us-east-1", "endpoint_url": self.address}
        return boto3.client("s3", **given, **more)

    def methods(self) -> list[str]:
        """The methods of all requests so far."""
        return re.findall(r'"(?:\x1b\[\d+m)*([A-Z]+) /', self.log.read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "requests"
    with log.open("w") as file:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        until = time.monotonic() + 240
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        yield Server(f"http://127.0.0.1:{port}", log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bucket(server, request) -> str:
    """The name of a new bucket."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-")
    server.client().create_bucket(Bucket=name)
    return name


def variables(address: str, key: str = "test", secret: str = "test") -> dict[str, str]:
    """The usual variables of AWS's tools."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",  # s3fs tries again too
    }


def stylize(address: str, *words: object, **keys: str) -> Any:
    """Run the command on a server of S3."""
    command = [sys.executable, "-m", "stylecli", "stylize", *map(str, words)]
    environment = {**os.environ, **variables(address, **keys)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


@pytest.fixture
def connect(monkeypatch) -> Callable[[str], None]:
    """Let this process talk to a server of S3."""

    def to(address: str) -> None:
        for name, value in variables(address).items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()

    return to


def fill(server: Server, bucket: str, names: list[str], size: tuple[int, int] = (48, 32)) -> None:
    client = server.client()
    for number, name in enumerate(names):
        client.put_object(Bucket=bucket, Key=f"in/{name}", Body=jpeg(number, size))


def listed(server: Server, bucket: str, folder: str) -> dict[str, bytes]:
    """What lies in a folder, by name, read without any of our code."""
    client = server.client()
    found = client.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/").get("Contents", [])
    names = [one["Key"] for one in found]
    read = [client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names]
    return {name.removeprefix(f"{folder}/"): body for name, body in zip(names, read, strict=True)}


def test_a_folder_goes_to_a_folder_and_the_second_time_costs_two_requests(server, bucket):
    fill(server, bucket, NAMES)
    server.client().put_object(Bucket=bucket, Key="in/", Body=b"")  # marks a folder, for some tools
    server.client().put_object(Bucket=bucket, Key="in/notes.txt", Body=b"no photo")
    before = len(server.methods())
    done = stylize(server.address, f"s3://{bucket}/in/", f"s3://{bucket}/out/")
    assert done.returncode == 0, done.stderr
    *_, summary = done.stderr.splitlines()
    assert re.match(r"50 stylized in \S+( s)?, \S+ (a second|s each); written to s3://", summary)
    assert summary.endswith(f"; written to s3://{bucket}/out; left out: 1 .txt")
    # A listing of the input and one of the output, which is empty, so that two more questions ask
    # whether there is a file of that name; and no question for each photo.
    assert Counter(server.methods()[before:]) == {"GET": 3 + 50, "HEAD": 1, "PUT": 50}
    made = listed(server, bucket, "out")
    assert sorted(made) == sorted(NAMES)
    assert all(Image.open(BytesIO(body)).size == (48, 32) for body in made.values())
    before = len(server.methods())
    done = stylize(server.address, f"s3://{bucket}/in", f"s3://{bucket}/out")
    assert done.returncode == 0
    assert done.stderr == "0 stylized, 50 skipped (--overwrite to redo); left out: 1 .txt\n"
    assert server.methods()[before:] == ["GET", "GET"]
    assert listed(server, bucket, "out") == made


def test_folders_here_and_there_and_odd_names(server, bucket, connect, stylizer, tmp_path):
    connect(server.address)
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number} ü#?::%20.jpg").write_bytes(jpeg(number))
    url = f"s3://{bucket}"
    stylizer.run(tmp_path / "in", tmp_path / "out")
    stylizer.run(tmp_path / "in", f"{url}/up")
    local = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert listed(server, bucket, "up") == local and len(local) == 3
    results = stylizer.run(f"{url}/up", tmp_path / "down", AS_IT_IS)
    assert [result.error for result in results] == [""] * 3
    assert {path.name for path in (tmp_path / "down").iterdir()} == set(local)
    (result,) = stylizer.run(f"{url}/up/0 ü#?::%20.jpg", f"{url}/one.png", AS_IT_IS)
    assert not result.error
    stored = server.client().get_object(Bucket=bucket, Key="one.png")
    assert Image.open(BytesIO(stored["Body"].read())).format == "PNG"
    assert stored["ContentType"] == "image/png"


@pytest.mark.parametrize("which", ["in", "out"])
def test_a_missing_bucket_is_one_line_before_any_work(server, bucket, which):
    fill(server, bucket, ["a.jpg", "b.jpg"])
    places = {"in": f"s3://{bucket}/in", "out": f"s3://{bucket}/out"}
    places[which] = f"s3://no-such-bucket/{which}"
    done = stylize(server.address, *places.values())
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert error == (
        f"error: cannot list s3://no-such-bucket/{which}: The specified bucket does not exist"
    )
    assert hint.startswith("hint: check the address; and the credentials")


def test_a_server_that_is_not_there_and_missing_credentials_are_one_line(server, tmp_path):
    done = stylize("http://127.0.0.1:9", "s3://bucket/in", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: cannot list s3://bucket/in: Could not connect to the endpoint URL: "
    )
    done = stylize(server.address, "s3://bucket/in", tmp_path, key="", secret="")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot list s3://bucket/in: Unable to locate credentials")
    assert len(done.stderr.splitlines()) == 2


@pytest.fixture
def reader(server, bucket) -> Iterator[dict[str, str]]:
    """The keys of a user who may read and list the bucket, and not write."""
    root = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    iam = boto3.client("iam", region_name="us-east-1", endpoint_url=server.address, **root)
    iam.create_user(UserName="reader")
    may = '{"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}'
    policy = f'{{"Version": "2012-10-17", "Statement": [{may}]}}'
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
    keys = iam.create_access_key(UserName="reader")["AccessKey"]
    _set_requests_without_check(server, "0")
    yield {"key": keys["AccessKeyId"], "secret": keys["SecretAccessKey"]}
    _set_requests_without_check(server, "inf")


def _set_requests_without_check(server: Server, count: str) -> None:
    as_bytes = {"Content-Type": "application/octet-stream"}
    address = f"{server.address}/moto-api/reset-auth"
    urlopen(Request(address, count.encode(), as_bytes, method="POST")).close()


def test_missing_rights_are_one_line_and_end_the_run(server, bucket, reader):
    keys = {"aws_access_key_id": reader["key"], "aws_secret_access_key": reader["secret"]}
    places = f"s3://{bucket}/in", f"s3://{bucket}/out"
    done = stylize(server.address, *places, key="stranger", secret="none")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: no permission to list {places[0]}: ")
    _set_requests_without_check(server, "inf")
    fill(server, bucket, [f"{number:02}.jpg" for number in range(40)])
    _set_requests_without_check(server, "0")
    done = stylize(server.address, *places, "--strength", "0", **reader)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    (error,) = [line for line in lines if line.startswith("error: ")]
    assert error.startswith(f"error: no permission to write {places[1]}/00.jpg: ")
    assert re.fullmatch(r"0 stylized, 1 failed; 39 left: run the same command to go on", lines[-1])
    client = server.client(**keys)
    assert "Contents" not in client.list_objects_v2(Bucket=bucket, Prefix="out/")


class Proxy:
    """Passes bytes on to a server, and cuts connections in the middle of what it is told to.

    Args:
        address: of the server.
        cuts: asked with the first bytes of each request; ``up`` cuts in the middle of it, ``down``
            in the middle of the answer.
    """

    def __init__(self, address: str, cuts: Callable[[bytes], str]) -> None:
        self._port = int(address.rpartition(":")[2])
        self._cuts = cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            state = {"cut": ""}
            for one in (self._up, self._down):
                threading.Thread(target=one, args=(near, far, state), daemon=True).start()

    def _up(self, near: socket.socket, far: socket.socket, state: dict[str, str]) -> None:
        while data := _received(near):
            if re.match(rb"(GET|PUT|POST|HEAD) /", data):
                state["cut"] = self._cuts(data)
            if state["cut"] == "up" and len(data) > 2000:
                far.sendall(data[:1000])
                break
            far.sendall(data)
        _close(near, far)

    def _down(self, near: socket.socket, far: socket.socket, state: dict[str, str]) -> None:
        while data := _received(far):
            if state["cut"] == "down" and len(data) > 2000:
                near.sendall(data[:1000])
                break
            with suppress(OSError):  # the command has closed its end
                near.sendall(data)
        _close(near, far)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(2**20)
    except OSError:
        return b""


def _close(*connections: socket.socket) -> None:
    for one in connections:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def test_a_connection_that_breaks_costs_the_file_it_breaks_in_and_leaves_no_half(server, bucket):
    fill(server, bucket, [f"{number}.jpg" for number in range(6)], LARGE)
    broken = {f"GET /{bucket}/in/1.jpg".encode(): "down", f"PUT /{bucket}/out/3.jpg".encode(): "up"}

    def cuts(head: bytes) -> str:
        return next((how for start, how in broken.items() if head.startswith(start)), "")

    places = f"s3://{bucket}/in", f"s3://{bucket}/out"
    with Proxy(server.address, cuts) as proxy:
        done = stylize(proxy.address, *places)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2, done.stderr
    assert errors[0].startswith(f"error: cannot read {places[0]}/1.jpg: ")
    assert errors[1].startswith(f"error: cannot write {places[1]}/3.jpg: ")
    made = listed(server, bucket, "out")
    assert sorted(made) == ["0.jpg", "2.jpg", "4.jpg", "5.jpg"]
    for body in made.values():
        Image.open(BytesIO(body)).load()
    assert "4 stylized, 2 failed" in done.stderr
    done = stylize(server.address, *places)  # the connection is sound again
    assert done.returncode == 0
    assert "2 stylized, 4 skipped" in done.stderr


def test_a_connection_that_breaks_once_is_tried_again(server, bucket, connect, stylizer):
    fill(server, bucket, ["a.jpg"], LARGE)
    to_cut = {b"GET": "down", b"PUT": "up"}

    def cuts(head: bytes) -> str:
        return to_cut.pop(head[:3], "") if b"/a.jpg" in head.partition(b"\n")[0] else ""

    with Proxy(server.address, cuts) as proxy:
        connect(proxy.address)
        (result,) = stylizer.run(f"s3://{bucket}/in", f"s3://{bucket}/out", AS_IT_IS)
    assert not result.error
    assert not to_cut
    (body,) = listed(server, bucket, "out").values()
    Image.open(BytesIO(body)).load()


def test_a_model_is_fetched_once(server, bucket, tmp_path):
    model = bundled_models() / "starry-night-residual-in.safetensors"
    server.client().upload_file(str(model), bucket, "sky.safetensors")
    (tmp_path / "a.jpg").write_bytes(jpeg())
    given = tmp_path / "a.jpg", tmp_path / "b.png", "--model", f"s3://{bucket}/sky.safetensors"
    done = stylize(server.address, *given)
    assert done.returncode == 0, done.stderr
    assert "model sky on cpu" in done.stderr
    painted = np.asarray(Image.open(tmp_path / "b.png"))
    assert (painted == Stylizer(model, device="cpu")(read_rgb(tmp_path / "a.jpg", 32))).all()
    before = len(server.methods())
    assert stylize(server.address, *given, "--overwrite").returncode == 0
    assert set(server.methods()[before:]) == {"HEAD"}
    done = stylize(server.address, *given[:3], f"s3://{bucket}/none.safetensors")
    assert done.returncode == 2
    error = f"error: cannot read s3://{bucket}/none.safetensors: there is none"
    assert done.stderr.splitlines()[0] == error
