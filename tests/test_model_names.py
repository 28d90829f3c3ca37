"""Names of models and of styles."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stylecli.core.model_files import match_name, require_name, shorten_name, style_name
from stylecli.errors import StyleCliError


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Waves & Lines.png", "waves-lines"),
        ("Café_terrace.jpg", "cafe-terrace"),
        ("神奈川.png", "神奈川"),
        ("Звёздная ночь.jpg", "звездная-ночь"),
        ("__.png", "style"),
    ],
)
def test_a_style_is_called_by_its_file_in_any_script(file, name):
    assert style_name(Path(file)) == name


@example("\N{MATHEMATICAL BOLD ITALIC CAPITAL A}")
@given(st.text(max_size=30).filter(lambda text: "\0" not in text))
def test_the_name_of_any_file_may_be_that_of_a_model(text):
    name = style_name(Path(text))
    assert require_name(name) == name
    assert not {*name} & set("/\\. \n")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", "a b", "a_b", "x.safetensors"])
def test_a_name_that_is_none_is_refused_with_one_that_is(name):
    with pytest.raises(StyleCliError, match="is not a name for a model") as caught:
        require_name(name)
    require_name(caught.value.hint.rpartition(" ")[2])


@given(st.text(), st.integers(0, 100))
def test_a_shortened_name_has_so_many_bytes_and_whole_characters(name, most):
    name = name.encode(errors="ignore").decode()  # without halves of surrogates
    short = shorten_name(name, most)
    assert name.startswith(short)
    assert most - 3 <= len(short.encode()) <= most or short == name


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("the-scream", "the-scream"),
        ("The Scream", "the-scream"),
        ("the_scream", "the-scream"),
        ("Udnie", "Udnie"),
        ("UDNIE", "udnie"),
        ("nocturne", "Nocturné"),
        ("", None),
        ("--", None),
        ("scream", None),
    ],
)
def test_a_name_is_known_however_it_is_written_and_best_as_it_is(given, found):
    assert match_name(given, ["udnie", "Udnie", "the-scream", "Nocturné"]) == found
