"""Files of tensors and JSON: readable by others, whole or an error."""

import errno
import json
import stat
from pathlib import Path

import pytest
import torch

from stylecli.core.tensor_files import load_tensors, read_metadata, save_tensors
from stylecli.errors import StyleCliError

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7)}


def test_what_is_saved_is_read_again(tmp_path):
    path = tmp_path / "below" / "x.safetensors"
    save_tensors(path, {**TENSORS, "t": TENSORS["a"].T}, {"steps": 20})
    loaded = load_tensors(path)
    assert torch.equal(loaded["a"], TENSORS["a"])
    assert torch.equal(loaded["b"], TENSORS["b"])
    assert torch.equal(loaded["t"], TENSORS["a"].T)
    assert read_metadata(path) == {"steps": 20}


def test_metadata_is_plain_json_that_anyone_can_read(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, TENSORS, {"training": {"steps": 20}})
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    assert json.loads(header["__metadata__"]["stylecli"])["training"] == {"steps": 20}


def test_a_model_is_readable_by_others_like_any_file(tmp_path):
    save_tensors(tmp_path / "x.safetensors", TENSORS, {})
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("x.safetensors", "plain")}
    assert len(modes) == 1


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StyleCliError, match="cannot write"):
        save_tensors(tmp_path / "file" / "x.safetensors", TENSORS, {})


def test_an_error_of_the_disk_is_the_same_each_time(tmp_path, monkeypatch):
    """It is reported once, and a temporary file has another name each time."""

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    texts = set()
    for _ in range(2):
        with pytest.raises(StyleCliError) as caught:
            save_tensors(tmp_path / "x.safetensors", TENSORS, {})
        texts.add(caught.value.message)
    assert texts == {f"cannot write {tmp_path / 'x.safetensors'}: No space left on device"}
