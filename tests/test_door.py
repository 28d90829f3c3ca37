"""What comes in: regular files, and a clear line for all else."""

import os
from pathlib import Path

import pytest

from stylecli.errors import StyleCliError
from stylecli.files.atomic import require_local, require_regular


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


def test_a_current_folder_that_is_gone_is_a_clear_line(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    require_local(Path("x.jpg"))
    (tmp_path / "gone").rmdir()
    for path in (Path("x.jpg"), Path()):
        with pytest.raises(StyleCliError, match="the folder you are in has been removed"):
            require_local(path)
    assert require_local(tmp_path / "x.jpg") == tmp_path / "x.jpg"
