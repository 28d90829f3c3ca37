"""Hints lead to what was meant; a bug looks like a bug, and lack of memory like that."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

import stylecli
from stylecli.cli import app
from stylecli.core.spec import Arch, BackendChoice, Norm, Precision
from stylecli.errors import choose_from

DEVICES = ["auto", "cpu", "cuda", "cuda:0", "mps"]


@pytest.mark.parametrize(
    ("given", "known", "meant"),
    [
        ("gpu", DEVICES, "cuda"),
        ("GPU", DEVICES, "cuda"),
        ("metal", DEVICES, "mps"),
        ("cdua", DEVICES, "cuda"),
        ("cpus", DEVICES, "cpu"),
        ("instance", get_args(Norm), "in"),
        ("InstanceNorm", get_args(Norm), "in"),
        ("batch-norm", get_args(Norm), "bn"),
        ("off", get_args(Norm), "none"),
        ("inn", get_args(Norm), "in"),
        ("johnson", get_args(Arch), "residual"),
        ("Ulyanov", get_args(Arch), "pyramid"),
        ("fp32", get_args(Precision), "float32"),
        ("bf16", get_args(Precision), "bfloat16"),
        ("pytorch", get_args(BackendChoice), "torch"),
        ("Great Wave", ["great-wave", "udnie"], "great-wave"),
    ],
)
def test_a_hint_names_what_was_meant(given, known, meant):
    assert choose_from(given, known).startswith(f"did you mean {meant}? there are: ")


@pytest.mark.parametrize("given", ["", "van-gogh", "x"])
def test_a_word_that_is_like_none_gets_no_guess(given):
    assert choose_from(given, ["udnie", "great-wave"]) == "there are: great-wave, udnie"


def test_of_nothing_there_is_nothing_to_guess():
    assert choose_from("gpu", []) == "there is: none"


@pytest.fixture
def doctor_that_raises(monkeypatch):
    """``stylecli doctor``, in whose work an error is raised; what it then says."""

    def run(error, **environment):
        def broken():
            raise error

        monkeypatch.setattr("stylecli.doctor.examine", broken)
        result = CliRunner().invoke(app, ["doctor"], env=environment)
        assert result.exit_code == 1
        assert result.stdout == ""
        return result.stderr.splitlines()

    return run


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (NotImplementedError("no kernel\nmore"), "NotImplementedError: no kernel"),
        (RuntimeError("shapes differ"), "RuntimeError: shapes differ"),
        (KeyError("x"), "KeyError: 'x'"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_a_bug_is_one_line_that_says_so_and_where_it_is_if_asked(doctor_that_raises, error, what):
    said = doctor_that_raises(error)
    assert said[0] == f"error: a bug of stylecli: {what}"
    assert said[1].startswith("hint: ") and "`stylecli doctor`" in said[1]
    assert "memory" not in "".join(said)
    assert len(said) == 2
    in_full = doctor_that_raises(error, STYLECLI_DEBUG="1")
    assert in_full[-2:] == said
    assert in_full[0] == "Traceback (most recent call last):"
    assert any("test_errors.py" in line for line in in_full)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 9 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_lack_of_memory_is_said_to_be_that(doctor_that_raises, error):
    said = doctor_that_raises(error, STYLECLI_DEBUG="1")
    assert "memory" in said[0]
    assert "try smaller images" in said[1]
    assert "bug" not in "".join(said)


def texts(tree: ast.AST):
    """The strings in a module that are not docstrings, with their lines."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", 0), list)]
    docstrings = [body[0].value for body in bodies if body and isinstance(body[0], ast.Expr)]
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and not any(node is one for one in docstrings):
            yield node.lineno, node.value


def test_messages_are_in_plain_word_order():
    """A file "is not an image", and never "is no image"."""
    odd = re.compile(r"(?<!here )\b(is|are) (no (?!longer|more|faster)|none\b)|of no (image|file)")
    root = Path(stylecli.__file__).parent
    found = [
        f"{path.relative_to(root)}:{line}: {text}"
        for path in root.rglob("*.py")
        for line, text in texts(ast.parse(path.read_text(encoding="utf-8")))
        if odd.search(text)
    ]
    assert found == []
