"""Hints lead to what was meant."""

from typing import get_args

import pytest

from stylecli.core import choices
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
        ("instance", get_args(choices.Norm), "in"),
        ("InstanceNorm", get_args(choices.Norm), "in"),
        ("batch-norm", get_args(choices.Norm), "bn"),
        ("off", get_args(choices.Norm), "none"),
        ("inn", get_args(choices.Norm), "in"),
        ("johnson", get_args(choices.Arch), "residual"),
        ("Ulyanov", get_args(choices.Arch), "pyramid"),
        ("fp32", get_args(choices.Precision), "float32"),
        ("bf16", get_args(choices.Precision), "bfloat16"),
        ("pytorch", get_args(choices.BackendChoice), "torch"),
        ("leaky-relu", get_args(choices.Activation), "leaky_relu"),
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
