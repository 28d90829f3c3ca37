"""Files of tensors: what they hold, and what may stand in their metadata."""

import errno
import json
import stat
import sys
from pathlib import Path

import pytest
import torch

from stylecli.console import escape_controls
from stylecli.core import tensor_files
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


def test_a_character_is_a_control_where_a_file_is_read_and_where_it_is_printed():
    for number in [*range(0x3000), 0xD800, 0xDCFF, 0xFEFF, sys.maxunicode]:
        char = chr(number)
        assert tensor_files.is_control(char) == tensor_files.has_controls(f"a{char}b")
        assert tensor_files.is_control(char) == (escape_controls(char) != char)
    assert not tensor_files.has_controls("Žlutý kůň, 星月夜, سماء")


@pytest.mark.parametrize(
    "text",
    ["[1]", "3", '"x"', "{", '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', "[" * 100_000],
)
def test_what_is_no_object_of_finite_numbers_is_refused(text):
    with pytest.raises(ValueError, match=r"description|finite|Expecting"):
        tensor_files.parse(text)


def test_an_object_is_read_as_it_was_written():
    values = {"a": [1, 2.5, None, True], "b": {"c": "d"}}
    assert tensor_files.parse(json.dumps(values)) == values


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (tensor_files.is_name, ["a", "a" * 255], ["", "a" * 256, "a\n", 3, None]),
        (tensor_files.is_count, [0, 7], [-1, 1.0, True, "1", None]),
        (
            tensor_files.is_number,
            [0, -1.5, 10**6],
            [True, float("nan"), float("inf"), 10**400, "1"],
        ),
        (
            lambda v: tensor_files.is_list(v, tensor_files.is_text),
            [[], ["", "a"]],
            ["a", [1], None],
        ),
        (
            lambda v: tensor_files.is_table(v, tensor_files.is_count),
            [{}, {"a": 1}],
            [{"": 1}, {"a": -1}, []],
        ),
    ],
)
def test_checks_take_what_they_say_and_nothing_else(check, good, bad):
    assert all(map(check, good))
    assert not any(map(check, bad))


def test_fields_that_are_missing_or_bad_are_named():
    checks = {"a": tensor_files.is_count, "b": tensor_files.is_text, "c": tensor_files.is_text}
    assert tensor_files.find_bad_fields({"a": 1, "b": 2}, checks) == ["b", "c"]
