"""``stylecli models``: added from files and servers, removed, listed, described."""

import hashlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from hostile.seeds import damaged, damages
from networks import saved
from sites import lead, self_made_certificate, send, serving
from stylecli import collection
from stylecli.cli import app
from stylecli.collection import add_model, list_own_names, remove_model
from stylecli.core import model_files
from stylecli.core.generators import Generator
from stylecli.core.model_files import (
    ModelInfo,
    bundled_models,
    find_model,
    find_style,
    load_arrays,
    save_model,
)
from stylecli.core.spec import GeneratorSpec
from stylecli.core.tensor_files import save_tensors
from stylecli.errors import StyleCliError
from stylecli.files import web
from terminals import show_on_terminal


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> bytes:
    """A tiny model of one style."""
    return saved(tmp_path_factory.mktemp("model") / "tiny.safetensors").read_bytes()


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch) -> Path:
    """The folder of the user's models, which is not there yet; the present folder is empty."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "data" / "stylecli" / "models"


@pytest.fixture
def models(capsys):
    """``stylecli models``, in this process: what it says on both streams."""

    def run(*arguments: object, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as ended:
            app(["models", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert int(ended.value.code or 0) == code, err
        return out, err

    return run


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """Of localhost, made here."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    return self_made_certificate(tmp_path_factory.mktemp("certificate") / "own.pem")


@pytest.fixture
def site(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving() as running:
        yield running


def tree(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder, hidden files and empty folders too."""
    found = sorted(folder.rglob("*"))
    return {str(one): one.read_bytes() if one.is_file() else b"folder" for one in found}


def sum_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def one_line(err: str) -> str:
    """The one error, which may have a hint."""
    error, *hints = err.splitlines()
    assert error.startswith("error: ")
    assert len(hints) < 2 and all(hint.startswith("hint: ") for hint in hints), err
    return err


def test_a_file_is_added_found_by_name_from_every_folder_and_removed(models, model, data, tmp_path):
    Path("My Fine_Model.safetensors").write_bytes(model)
    _, said = models("add", "My Fine_Model.safetensors")
    assert f"added my-fine-model: 1 style, 0.1 MB, {data}/my-fine-model.safetensors" in said
    assert "SHA-256" not in said  # nobody could have changed it on its way
    assert "stylecli stylize PHOTOS OUT --model my-fine-model\n" in said
    (added,) = data.iterdir()
    assert added.read_bytes() == model
    assert "my-fine-model" in models()[0]
    assert str(added) in models("my-fine-model")[0]
    added.with_suffix(".title").write_text("My fine model!")  # as the page leaves it
    _, said = models("remove", "my-fine-model")
    assert said == f"removed {added}\n"
    assert list(data.iterdir()) == []
    _, said = models("add", "My Fine_Model.safetensors", "--sha256", sum_of(model).upper(), "-q")
    assert said == ""
    assert [path.read_bytes() for path in data.iterdir()] == [model]


def test_a_long_name_in_any_script_is_cut_to_the_bytes_that_a_file_can_have(models, model, data):
    Path(f"{'画' * 81}.safetensors").write_bytes(model)
    models("add", f"{'画' * 81}.safetensors")
    (added,) = data.iterdir()
    assert added.stem == "画" * 26  # of 80 bytes
    assert added.stem in models()[0]


def test_a_taken_name_is_refused_and_replaced_when_asked(models, model, data):
    other = saved(Path("other.safetensors"), "a", "b").read_bytes()
    Path("tiny.safetensors").write_bytes(model)
    models("add", "tiny.safetensors")
    _, said = models("add", "other.safetensors", "--name", "tiny", code=2)
    assert "tiny.safetensors exists\nhint: pass --overwrite, or another name" in one_line(said)
    assert (data / "tiny.safetensors").read_bytes() == model
    _, said = models("add", "other.safetensors", "--name", "tiny", "--overwrite")
    assert "--model tiny --style b" in said
    assert (data / "tiny.safetensors").read_bytes() == other
    _, said = models("add", "tiny.safetensors", "--name", "gallery", code=2)
    assert "gallery is the name of a bundled model or style" in one_line(said)


@pytest.mark.parametrize("name", ["gallery", "udnie", "starry-night", "starry-night-residual-in"])
def test_no_name_that_is_bundled_can_be_taken(models, model, data, name):
    Path(f"{name}.safetensors").write_bytes(model)
    for more in ([], ["--overwrite"]):
        _, said = models("add", f"{name}.safetensors", *more, code=2)
        assert f"{name} is the name of a bundled model or style" in one_line(said)
    assert not data.exists()


def test_a_model_with_a_style_of_a_bundled_name_changes_no_picture(models, data):
    bundled = find_model("udnie")
    saved(Path("sky.safetensors"), "udnie", "starry-night")
    Path("models").mkdir()
    saved(Path("models/starry-night.safetensors"), "udnie")
    models("add", "sky.safetensors")
    assert find_model("udnie") == find_model("starry-night") == bundled
    assert find_model("sky") == data / "sky.safetensors"


def test_a_command_that_is_printed_can_be_pasted_whatever_a_style_is_called(models, model):
    evil = "x; touch pwned"
    saved(Path("a b.safetensors"), "a", evil)
    _, said = models("add", "a b.safetensors")
    (line,) = (line for line in said.splitlines() if line.startswith("stylecli "))
    assert shlex.split(line)[4:] == ["--model", "a-b", "--style", evil]
    with pytest.raises(StyleCliError) as caught:
        find_style(evil, "a")
    assert shlex.split(caught.value.hint) == ["pass", "--model", "a-b", "--style", "a"]
    with pytest.raises(StyleCliError) as caught:
        find_style("a", evil)
    assert shlex.split(caught.value.hint) == ["pass", "--model", "a-b", "--style", evil]
    with pytest.raises(StyleCliError) as caught:
        find_model(f"a:1,{evil}:1")
    assert shlex.split(caught.value.hint)[3:] == ["--style", f"a:1,{evil}:1"]
    with pytest.raises(StyleCliError) as caught:
        find_model("https://example.org/$(touch pwned)")
    assert shlex.split(caught.value.hint)[3:] == ["https://example.org/$(touch pwned)"]
    Path("models").mkdir()
    Path("models/$(x).safetensors").write_bytes(model)
    _, said = models("remove", "$(x)", code=2)
    assert shlex.split(said.splitlines()[1])[1:] == ["rm", "models/$(x).safetensors"]


def test_a_model_of_this_folder_can_be_added(models, model, data):
    Path("models").mkdir()
    Path("models/tiny.safetensors").write_bytes(model)
    models("add", "models/tiny.safetensors")
    assert (data / "tiny.safetensors").read_bytes() == model


def test_of_several_that_add_one_name_at_once_exactly_one_does(models, data, tmp_path):
    files = [Path(f"{i}.safetensors") for i in range(6)]
    contents = [saved(path, f"style-{i}").read_bytes() for i, path in enumerate(files)]
    command = [sys.executable, "-m", "stylecli", "models", "add", "--name", "one"]
    running = [subprocess.Popen([*command, file], stderr=subprocess.PIPE) for file in files]
    said = [process.communicate()[1].decode() for process in running]
    codes = [process.returncode for process in running]
    assert sorted(codes) == [0, 2, 2, 2, 2, 2]
    assert all(
        "one.safetensors exists" in err for err, code in zip(said, codes, strict=True) if code
    )
    (left,) = data.iterdir()
    assert left.read_bytes() == contents[codes.index(0)]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_model_comes_from_a_server(models, model, data, site, chunked, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody is there: it must not be asked
    parts = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (model[:9], model[9:], b""))
    answer = send(parts, Transfer_Encoding="chunked", Content_Length="") if chunked else model
    site.answers = {"/a%20b/My%20Sky.safetensors?download=true": answer}
    site.answers["/there"] = lead("/a%20b/My%20Sky.safetensors?download=true")
    _, said = models("add", f"{site.url}/a b/My Sky.safetensors?download=true")
    assert "added my-sky: 1 style" in said
    models("add", f"{site.url}/there", "--name", "sky", "--sha256", sum_of(model))
    assert {path.name: path.read_bytes() for path in data.iterdir()} == {
        "my-sky.safetensors": model,
        "sky.safetensors": model,
    }


def test_a_wrong_sum_leaves_nothing_and_says_both(models, model, site, tmp_path):
    Path("tiny.safetensors").write_bytes(model)
    site.answers["/tiny.safetensors"] = model
    before = tree(tmp_path)
    for source in ("tiny.safetensors", f"{site.url}/tiny.safetensors"):
        _, said = models("add", source, "--sha256", sum_of(b"x"), "-q", code=2)
        assert f"{source} has the SHA-256 {sum_of(model)}, and {sum_of(b'x')} was" in said
        one_line(said)
        assert tree(tmp_path) == before
    for wrong in ("", "abc", "g" * 64, f"{sum_of(model)}0", "é" * 64):
        _, said = models("add", "tiny.safetensors", "--sha256", wrong, code=2)
        assert "is not a SHA-256" in one_line(said)


def garbage(handler):
    handler.wfile.write(b"220 mail.example.org ESMTP\r\n\r\n")


def silence(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.flush()
    time.sleep(1)


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(10_000))
    except OSError:  # the other side has had enough
        pass


FAULTS = {
    "missing": (None, "the server says 404 Not Found"),
    "forbidden": (send(b"no", 403), "the server says 403 Forbidden"),
    "html": (send(b"\n<!DOCTYPE html><p>Sign in"), "is a page of HTML, not a model"),
    "pointer": (send(b"version https://git-lfs.github.com/spec/v1\n"), "a pointer of Git LFS"),
    "empty": (send(b""), "cannot be read as a model"),
    "cut": (send(b"x" * 50, Content_Length="100"), "the connection was cut at byte 50"),
    "cut-chunk": (
        send(b"32\r\n" + b"x" * 9, Content_Length="", Transfer_Encoding="chunked"),
        "the connection was cut",
    ),
    "cut-without-length": ("CUT", "cannot be read as a model"),
    "large": (send(b"x", Content_Length=str(10**15)), "is too large: no model has more than 2 GiB"),
    "garbage": (garbage, "cannot fetch"),
    "silence": (silence, "nothing came for 0 seconds"),
    "loop": (lead("loop"), "the server says 302"),
    "to-a-file": (lead("file:///etc/passwd"), "cannot fetch"),
    "to-ftp": (lead("ftp://127.0.0.1/x"), "ftp://127.0.0.1/x is not fetched: only https"),
    "to-http": (lead("http://example.org/x"), "http://example.org/x is not fetched: only https"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_server_does_wrong_is_one_line_and_leaves_nothing(
    models, model, site, tmp_path, monkeypatch, fault
):
    answer, says = FAULTS[fault]
    answer = send(model[:-500], Content_Length="") if answer == "CUT" else answer
    if fault == "silence":
        monkeypatch.setattr(web, "_PATIENCE", 0.3)
    site.answers = {f"/{fault}": answer} if answer else {}
    before = tree(tmp_path)
    _, said = models("add", f"{site.url}/{fault}", "-q", code=2)
    assert says in one_line(said)
    assert f"/{fault}" in said or "is not fetched" in said
    assert tree(tmp_path) == before


def test_a_file_without_end_is_given_up(models, site, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "_MOST", 10**6)
    site.answers["/x"] = endless
    before = tree(tmp_path)
    _, said = models("add", f"{site.url}/x", "-q", code=2)
    assert "is too large" in one_line(said)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://example.org/x.safetensors", "only https keeps others from changing"),
        ("HTTP://Example.org/x.safetensors", "only https"),
        ("http://localhost.example.org/x", "only https"),
        ("http://127.0.0.1.example.org/x", "only https"),
        ("http://10.0.0.1/x", "only https"),
        ("http://[fe80::1]/x", "only https"),
        ("http://[::1/x", "cannot fetch http://[::1/x: Invalid IPv6 URL"),
        ("http:///x", "only https"),
        ("https://", "cannot fetch"),
        ("https://a\n.example.org/x", "cannot fetch"),
        ("https://user:secret@example.org/x", "holds a user's name or password"),
        ("http://localhost@example.org/x", "holds a user's name or password"),
        ("ftp://example.org/x", "an address of a kind that is not known"),
        ("file:///etc/passwd", "an address of a kind that is not known"),
        ("gs://bucket/x.safetensors", "needs a package that is not installed"),
    ],
)
def test_only_a_way_that_nobody_can_change_is_taken(models, monkeypatch, tmp_path, address, says):
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("socket.create_connection", unreachable)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    _, said = models("add", address, code=2)
    assert says in one_line(said)
    assert "secret" not in said
    assert not (tmp_path / "data").exists()


def test_https_is_checked_and_does_not_lead_back_to_http(
    models, model, data, site, certificate, monkeypatch
):
    site.answers["/tiny.safetensors"] = model
    with serving(certificate) as safe:
        safe.answers["/tiny.safetensors"] = model
        safe.answers["/inside"] = lead(f"{site.url}/tiny.safetensors")
        safe.answers["/outside"] = lead("http://example.org/tiny.safetensors")
        _, said = models("add", f"{safe.url}/tiny.safetensors", code=2)
        assert "certificate verify failed" in one_line(said)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        _, said = models("add", f"{safe.url}/outside", code=2)
        assert "only https" in one_line(said)
        assert site.asked == []
        assert not data.exists()
        models("add", f"{safe.url}/tiny.safetensors")
    assert (data / "tiny.safetensors").read_bytes() == model


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00::1]",
        "0.0.0.0",
        "inside.example",
    ],
)
def test_a_public_address_does_not_lead_to_a_private_one(
    models, site, certificate, monkeypatch, host, model
):
    """With the same scheme, the certificate would not stop it: the server may have one."""
    connect, resolve = socket.create_connection, socket.getaddrinfo
    known = {"localhost": "8.8.8.8", "inside.example": "10.0.0.1"}  # the first address is public

    def connect_here(address, *more, **options):
        return connect(("127.0.0.1", address[1]), *more, **options)

    def resolve_here(name, *more, **options):
        return resolve(known.get(name, name), *more, **options)

    monkeypatch.setattr(socket, "create_connection", connect_here)
    monkeypatch.setattr(web, "getaddrinfo", resolve_here)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(certificate) as safe:
        port = safe.url.rpartition(":")[2]
        safe.answers["/x"] = lead(f"https://{host}:{port}/there")
        _, said = models("add", f"{safe.url}/x", code=2)
        assert "leads to this machine or a network of it" in one_line(said)
        assert safe.asked == ["/x"]
        known["localhost"] = "127.0.0.1"  # and now it is private
        safe.answers |= {"/y": lead("/tiny.safetensors"), "/tiny.safetensors": model}
        models("add", f"{safe.url}/y", "--overwrite")


def test_a_file_of_unknown_length_is_not_said_to_be_nearly_there(models, model, site):
    site.answers["/tiny.safetensors"] = send(model, Content_Length="")
    _, said = models("add", f"{site.url}/tiny.safetensors")
    assert "added tiny" in said
    assert "%" not in said


def test_a_model_comes_from_a_store(models, model, data):
    pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem().pipe("/bucket/Sky.safetensors", model)
    try:
        models("add", "memory://bucket/Sky.safetensors")
        assert (data / "sky.safetensors").read_bytes() == model
        _, said = models("add", "memory://bucket/none.safetensors", code=2)
        assert "cannot read memory://bucket/none.safetensors: there is none" in one_line(said)
    finally:
        MemoryFileSystem.store.clear()


def of_pytorch(path):
    torch.save({"conv1.conv2d.weight": torch.zeros(3)}, path)


def of_old_pytorch(path):
    torch.save({"weight": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)


def foreign(path):
    save_file({"weight": torch.zeros(2)}, path)


def unfinished(path):
    save_tensors(path, {"weight": torch.zeros(2)}, {"step": 3, "config": {}})


def lying(path):
    info = {"name": "m", "arch": "residual", "norm": "in", "width": 512, "output": "linear"}
    save_tensors(path, {"weight": torch.zeros(2)}, info)


def black(path):
    generator = Generator(GeneratorSpec(width=4))
    for weights in generator.parameters():
        weights.data.fill_(float("nan"))
    save_model(path, generator, ModelInfo("x", generator.spec))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (of_pytorch, "is a checkpoint as PyTorch writes it"),
        (of_old_pytorch, "hint: `stylecli import FILE NAME`"),
        (foreign, "not one that stylecli wrote"),
        (unfinished, "is not a model"),
        (lying, "do not fit what it says it is"),
        (black, "not all finite"),
        (lambda path: path.write_text("<html><body>"), "is a page of HTML"),
        (lambda path: path.write_bytes(b"\xff" * 8), "cannot be read as a model"),
        (lambda path: path.mkdir(), "is a folder"),
        (os.mkfifo, "is a named pipe"),
        (lambda path: None, "No such file"),
    ],
)
def test_what_is_no_model_is_named_and_never_reaches_the_folder(models, tmp_path, make, says):
    given = Path("given.safetensors")
    make(given)
    _, said = models("add", given, code=2)
    assert says in one_line(said)
    assert "given.safetensors" in said
    assert ".stylecli-" not in said  # its temporary name
    assert not (tmp_path / "data").exists()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=damages())
def test_a_damaged_model_is_refused_or_can_be_used(model, data, changes):
    content = damaged(model, b"<html>" * 99, changes)
    Path("bad.safetensors").write_bytes(content)
    try:
        added = add_model("bad.safetensors", overwrite=True)
    except StyleCliError as error:
        assert "\n" not in error.message
        assert not data.exists()
    else:
        assert added.path.read_bytes() == content
        assert added.sha256 == sum_of(content)
        load_arrays(added.path)
        remove_model("bad")
        data.rmdir()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.text("aA./\\ é\0-:*", max_size=12))
@example(name="../x")
@example(name="..")
@example(name="/etc/x")
def test_no_name_leads_out_of_the_folder(model, data, tmp_path, name):
    Path("tiny.safetensors").write_bytes(model)
    try:
        path = add_model("tiny.safetensors", name).path
    except StyleCliError as error:
        assert "is not a name for a model" in error.message
        assert not data.exists()
    else:
        assert path == data / f"{name}.safetensors"
        assert [*data.iterdir()] == [path]
    before = tree(tmp_path)
    for other in {f"../{name}", f"{data}/{name}", "../../../work/tiny", f"{name}x"}:
        with pytest.raises(StyleCliError):
            remove_model(other)
    assert tree(tmp_path) == before
    for own_name in list_own_names():
        remove_model(own_name)
    if data.exists():
        data.rmdir()


def test_an_address_names_no_path(models, model, data, site):
    site.answers["/a/..%2F..%2Fevil.safetensors"] = model
    site.answers["/"] = model
    models("add", f"{site.url}/a/..%2F..%2Fevil.safetensors")
    models("add", f"{site.url}/")
    assert {path.name for path in data.iterdir()} == {"evil.safetensors", "style.safetensors"}


def started(*arguments: object, **more: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stylecli", "models", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **more)


def test_ctrl_c_leaves_nothing(model, site, tmp_path):
    def half(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(model)))
        handler.end_headers()
        handler.wfile.write(model[:10_000])
        handler.wfile.flush()
        process.send_signal(signal.SIGINT)
        process.wait(240)

    site.answers["/tiny.safetensors"] = half
    before = tree(tmp_path)
    process = started("add", f"{site.url}/tiny.safetensors", "-q")
    _, said = process.communicate(timeout=240)
    assert (process.returncode, said) == (130, "error: interrupted\n")
    assert tree(tmp_path) == before


def test_a_disk_that_takes_a_part_leaves_nothing(model, tmp_path):
    Path("tiny.safetensors").write_bytes(model)
    before = tree(tmp_path)

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    process = started("add", "tiny.safetensors", preexec_fn=limited)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "tiny.safetensors: File too large" in one_line(said)
    assert tree(tmp_path) == before


def test_what_a_killed_process_left_goes_with_the_next(models, model, data):
    data.mkdir(parents=True)
    left = data / ".stylecli-0123.safetensors"
    left.write_bytes(model[:100])
    os.utime(left, (1e9, 1e9))  # what was written minutes ago may still be in work
    Path("tiny.safetensors").write_bytes(model)
    models("add", "tiny.safetensors")
    assert [path.name for path in data.iterdir()] == ["tiny.safetensors"]


def test_only_what_was_added_is_removed(models, model, data):
    data.mkdir(parents=True)
    Path("models").mkdir()
    Path("models/here.safetensors").write_bytes(model)
    before = tree(bundled_models())
    for name, says in {
        "gallery": "gallery is bundled with the program, and stays\nhint: you have added none",
        "udnie": f"udnie is a style of {bundled_models()}/gallery.safetensors; only a model",
        "here": "in the folder that you are in: models/here.safetensors\nhint: rm models/here",
        "models/here.safetensors": "is not the name of a model",
        "none": "there is no model 'none' among those you have added",
        "": "there is no model '' among",
    }.items():
        _, said = models("remove", name, code=2)
        assert says in one_line(said)
    assert tree(bundled_models()) == before
    assert Path("models/here.safetensors").exists()
    (data / "Broken One.safetensors").write_bytes(b"x")
    _, said = models("remove", "broken-ones", code=2)
    assert "did you mean Broken One? there is: Broken One" in said
    models("remove", "broken-one")
    assert list(data.iterdir()) == []


def test_the_list_of_what_is_bundled_fits_a_terminal_of_80_columns(data):
    shown = show_on_terminal("-m", "stylecli", "models").splitlines()
    head, *rows = (line.rstrip() for line in shown)
    assert head.split() == ["style", "painting", "painter", "year", "license"]
    count = sum(len(info.styles) for _, info in model_files.models_in(bundled_models()))
    assert len(rows) == count == 12
    assert all(len(row) <= 80 for row in rows)
    assert "great-wave                The Great Wave off Kanagawa  Hokusai    ~1831  mit" in rows


def test_every_name_in_the_list_chooses_that_style(models, data):
    saved(Path("sky.safetensors"), "dawn", "udnie")
    models("add", "sky.safetensors")
    saved(Path("models/sky.safetensors"))
    names = [re.split("  +", row)[0] for row in models()[0].splitlines()[1:]]
    assert names[-3:] == ["dawn", "sky --style udnie", "models/sky.safetensors"]
    for name in names:
        find_style(*name.split(" --style "))


def test_paths_are_shown_when_asked_for(models, data):
    shown = models("--paths")[0]
    assert f"{bundled_models()}/gallery.safetensors" in shown
    assert "residual, in, 16  1.8 MB" in shown
    assert str(bundled_models()) not in models()[0]


def test_a_style_is_shown_however_its_name_is_written(models, data):
    for name in ("the-scream", "The Scream", "the_scream"):
        lines = models(name)[0].splitlines()
        assert lines[0].split() == ["style", "the-scream"]
        assert "The Scream, Edvard Munch, 1893" in lines[1]
    told = json.loads(models("udnie", "--json")[0])
    assert (told["name"], told["style"], told["painter"]) == ("gallery", "udnie", "Francis Picabia")
    assert json.loads(models("gallery", "--json")[0]) == json.loads(
        models("--json")[0].split("\n")[0]
    )
    paintings = json.loads((bundled_models() / "paintings" / "paintings.json").read_text())
    assert paintings.keys() == {
        path.stem for path in (bundled_models() / "paintings").glob("*.jpg")
    }


def test_of_a_strangers_style_no_painter_is_told(models, data):
    saved(Path("sky.safetensors"), "udnie", "b")
    assert "Picabia" not in models("./sky.safetensors")[0]
    models("add", "sky.safetensors")
    assert models()[0].count("Picabia") == 1


def test_the_list_is_for_machines_too(models, model, data):
    hostile = saved(Path("x.safetensors"), "a\u0301<b>", license="line\n\x1b[2J").read_bytes()
    models("add", "x.safetensors")
    listed = [json.loads(line) for line in models("--json")[0].splitlines()]
    assert listed[-1] == {
        "file": f"{data}/x.safetensors",
        "bytes": len(hostile),
        "name": "x",
        "arch": "residual",
        "norm": "in",
        "width": 4,
        "styles": ["a\u0301<b>"],
        "license": "line\n\x1b[2J",
    }
    assert [one["name"] for one in listed[:-1]] == sorted(
        path.stem for path in bundled_models().glob("*.safetensors") if "vgg" not in path.stem
    )
    _, said = models("--json", "gallery", code=2)
    assert "--json and --paths before a name or a command list all models" in one_line(said)


def test_an_address_in_place_of_a_model_is_to_be_added_first(models):
    url = "https://example.org/sky.safetensors"
    for words in ([url], ["show", url], ["export-card", url]):
        _, said = models(*words, code=2)
        assert one_line(said).endswith(f"hint: stylecli models add {url}\n")


def test_a_model_that_is_called_like_a_command_can_be_shown(models, model):
    Path("add.safetensors").write_bytes(model)
    models("add", "add.safetensors")
    assert "add.safetensors" in models("show", "add")[0]


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        (["ad"], ["add"]),
        (["gal"], ["gallery"]),
        (["show", "gal"], ["gallery"]),
        (
            ["export-card", "starry-night-r"],
            ["starry-night-residual-bn", "starry-night-residual-in"],
        ),
        (["remove", ""], ["mine"]),
        (["add", "--sh"], ["--sha256"]),
    ],
)
def test_completion_in_the_shell_knows_names(models, model, monkeypatch, capsys, words, choices):
    Path("mine.safetensors").write_bytes(model)
    models("add", "mine.safetensors")
    monkeypatch.setenv("_STYLECLI_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(["stylecli", "models", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words) + 1))
    with pytest.raises(SystemExit):
        app(prog_name="stylecli")
    assert capsys.readouterr().out.split() == choices
