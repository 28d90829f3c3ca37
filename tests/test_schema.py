"""What may stand in a file's metadata."""

import json
import sys

import pytest

from stylecli.console import escape_controls
from stylecli.core import tensor_files


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
