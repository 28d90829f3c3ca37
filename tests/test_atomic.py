"""Whole or nothing: what a power cut, a kill and a neighbor leave behind."""

import os
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from stylecli.errors import StyleCliError
from stylecli.files.atomic import (
    atomic_path,
    private_folder,
    remove_leftovers,
    require_local,
    require_regular,
    require_writable,
)

WAIT_WHILE_WRITING = """
import sys
from pathlib import Path
from stylecli.files.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"whole")
    print(temporary, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of writing ``x.png``; it ends when its input does."""
    command = [sys.executable, "-c", WAIT_WHILE_WRITING, str(tmp_path / "x.png")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert Path(process.stdout.readline().strip()).is_file()
    yield process
    process.kill()
    process.communicate(timeout=240)


def test_a_file_is_on_the_disk_before_it_has_its_name_and_so_is_the_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, Path.replace

    def seen_fsync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("folder" if is_folder else os.fstat(descriptor).st_size)
        fsync(descriptor)

    def seen_replace(self, target):
        done.append("renamed")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(Path, "replace", seen_replace)
    with atomic_path(tmp_path / "x.png") as temporary:
        temporary.write_bytes(b"whole")
    assert done == [5, "renamed", "folder"]


def test_what_another_process_is_writing_is_no_leftover(writer, tmp_path):
    remove_leftovers(tmp_path)
    writer.communicate("", timeout=240)
    assert (tmp_path / "x.png").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_what_a_killed_process_left_is_removed_at_once(writer, tmp_path):
    writer.kill()
    writer.wait(timeout=240)
    (tmp_path / ".stylecli.toml").write_text("not ours")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".stylecli.toml"]


def test_on_windows_only_what_is_older_than_a_minute_is_a_leftover(tmp_path, monkeypatch):
    """There, a file that is about to be renamed has no lock any more."""
    made = []
    for age in (5, 100):
        with suppress(KeyError), atomic_path(tmp_path / "x.png") as temporary:
            made.append(temporary.with_suffix(f".{age}"))
            raise KeyError
        made[-1].touch()
        os.utime(made[-1], (time.time() - age,) * 2)
    monkeypatch.setattr(sys, "platform", "win32")
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == made[:1]


ELSEWHERE = """
import sys
from pathlib import Path
from stylecli.files import atomic
atomic._BOOT = Path(sys.argv[2])  # as on another machine
atomic._lock = lambda *given, **named: None  # whose locks are not seen here
"""


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_what_another_machine_writes_is_no_leftover_until_it_is_left_alone_for_long(tmp_path):
    """Many file systems of a network keep a lock to the machine that holds it."""
    (tmp_path / "boot").write_text("another machine")
    (tmp_path / "out").mkdir()
    given = [ELSEWHERE + WAIT_WHILE_WRITING, tmp_path / "out/x.mp4", tmp_path / "boot"]
    command = [sys.executable, "-c", *given]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    temporary = Path(process.stdout.readline().strip())
    try:
        for age, stays in ((0, True), (500, True), (700, False)):
            os.utime(temporary, (time.time() - age,) * 2)
            remove_leftovers(tmp_path / "out")
            assert temporary.exists() == stays
    finally:
        process.kill()
        process.communicate(timeout=240)


def test_a_failure_leaves_what_was_there(tmp_path):
    (tmp_path / "x.png").write_bytes(b"old")
    with pytest.raises(OSError, match="full"), atomic_path(tmp_path / "x.png") as temporary:
        temporary.write_bytes(b"half")
        raise OSError(28, "disk full")
    assert (tmp_path / "x.png").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_files_can_be_read_by_whom_the_system_lets(tmp_path):
    before = os.umask(0o022)
    try:
        with atomic_path(tmp_path / "x.png") as temporary:
            temporary.write_bytes(b"whole")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.png").stat().st_mode) == 0o644


def test_an_address_is_no_folder_to_write_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StyleCliError, match="https://host/out is an address"):
        require_writable(Path("https://host/out"))
    assert not list(tmp_path.iterdir())


HOLD = """
import sys
from stylecli.files.atomic import private_folder
with private_folder() as folder:
    (folder / "film.mp4").write_bytes(b"film")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_private_folder_is_removed_at_the_end_or_once_its_process_was_killed(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # it is asked for once in a process
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", HOLD], **pipes) for _ in range(3)]
    folders = [Path(process.stdout.readline().strip()) for process in processes]
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in folders)
    for process in processes[:2]:
        process.kill()
        process.wait()
    for folder in folders[1:]:  # the first has only begun
        (lock,) = folder.glob(".*")
        os.utime(lock, (0, 0))
    with private_folder() as ours:
        assert set(tmp_path.iterdir()) == {ours, folders[0], folders[2]}
    processes[2].communicate("", timeout=240)
    assert processes[2].returncode == 0
    assert list(tmp_path.iterdir()) == [folders[0]]


def test_a_file_and_a_link_to_one_are_let_in(tmp_path):
    (tmp_path / "x").touch()
    (tmp_path / "link").symlink_to(tmp_path / "x")
    assert require_regular(tmp_path / "x") == tmp_path / "x"
    assert require_regular(tmp_path / "link") == tmp_path / "link"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing", "cannot open .*missing: No such file"),
        ("folder", "folder is a folder, not a file"),
        ("pipe", "pipe is a named pipe"),
        ("device", "device is a device"),
        ("nul\0", "cannot open"),
        ("n" * 300, "cannot open .*: File name too long"),
    ],
)
def test_all_else_is_refused_in_one_line(tmp_path, name, says):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    with pytest.raises(StyleCliError, match=says):
        require_regular(tmp_path / name)


def test_in_the_place_of_a_file_a_folder_leads_to_the_files_in_it(tmp_path):
    with pytest.raises(StyleCliError) as caught:
        require_regular(tmp_path)
    assert caught.value.hint == "name one file in it"


@pytest.mark.parametrize("address", ["https://host/a.jpg", "s3://bucket/a.jpg", "http://host"])
def test_an_address_is_named_as_one(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    for check in (require_regular, require_local):
        with pytest.raises(StyleCliError, match=f"^{address} is an address") as caught:
            check(Path(address))
        assert "curl" in caught.value.hint
    for fine in ("C:/x.jpg", "o:ut/x.jpg", "x:y.mp4", "photos/https:/x", "/https:/x", ".", ""):
        require_local(Path(fine))
    (tmp_path / "notes:").mkdir()
    require_local(Path("notes:/a.jpg"))


def test_a_current_folder_that_is_gone_is_no_trouble_for_a_whole_path(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    require_local(tmp_path / "x.jpg")
