"""The options of the commands: which of them a resume may change and arms must share."""

import inspect
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from stylecli.comparison import arms, folder
from stylecli.config import (
    CompareConfig,
    GatysConfig,
    ModelConfig,
    RunConfig,
    SheetConfig,
    StylizeConfig,
    TrainConfig,
)
from stylecli.core.model_files import bundled_models
from stylecli.core.spec import Arch, GeneratorConfig, GeneratorSpec, Recipe
from stylecli.engine import Stylizer
from stylecli.errors import StyleCliError
from stylecli.options import options_of
from stylecli.training import state
from stylecli.training.schedule import RECIPES, spec_of

# The exceptions are spelled out here: an option that becomes one, or is one no more, changes what
# a checkpoint or a comparison from before is worth.
GENERATOR = {"arch", "norm", "width"}


def names(config):
    return {field.name for field in fields(config)}


def test_a_resume_may_change_these_options_and_no_others():
    free = {"styles", "add_style", "output", "content", "license", "steps", "minutes"}
    free |= {"device", "precision"}
    assert names(TrainConfig) - {*state.FIXED} == free


def test_a_comparison_goes_on_with_these_options_changed_and_no_others():
    free = {"photos", "style", "norms", "archs", "gatys", "gatys_steps", "size", "out", "device"}
    assert names(CompareConfig) - {*folder.FIXED} == free
    assert {*folder.FIXED} < names(TrainConfig)  # arms are trained with them


def test_arms_may_differ_in_these_options_of_their_trainings_and_no_others():
    free = {"styles", "add_style", "output", "content", "license", "device"}
    compared = {"arch", "norm", "width"}  # or a setting of the generator, which is seen to apart
    assert names(TrainConfig) - {*arms.SHARED} == free | compared


def test_the_generator_has_these_options_and_a_spec_has_them_too():
    assert names(GeneratorConfig) == GENERATOR < names(GeneratorSpec)


def test_a_recipe_is_there_for_every_name_and_the_paper_has_nothing_that_it_does_not_know():
    assert tuple(RECIPES) == get_args(Recipe)
    spec = spec_of(TrainConfig(recipe="paper", arch="pyramid", norm="bn", width=5))
    assert spec == GeneratorSpec("pyramid", "bn", 5)  # no noise, nearest upsampling
    paper = RECIPES["paper"]
    assert (paper.own_inputs, paper.hatch_weight, paper.margin) == (0, 0, 0)
    assert (paper.scales, paper.content_weight, paper.style_weight) == ((1,), 1, 1)
    with pytest.raises(StyleCliError, match="unknown --recipe 'papers'") as caught:
        TrainConfig(styles=(Path("a.jpg"),), recipe="papers").check()
    assert caught.value.hint.startswith("did you mean paper?")


def test_a_painting_is_a_file_or_the_name_of_a_bundled_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "udnie").mkdir()  # as `stylize photos/ udnie/` makes it
    bundled = bundled_models() / "paintings" / "udnie.jpg"
    assert TrainConfig(styles=(Path("udnie"), Path("a.jpg"))).paintings == (bundled, Path("a.jpg"))
    added = TrainConfig(add_style=Path("udnie"), init="gallery")
    assert added.paintings == (bundled,)
    with pytest.raises(
        StyleCliError, match="undie is neither a file nor a bundled painting"
    ) as caught:
        TrainConfig(styles=(Path("undie"),)).check()
    assert "udnie" in caught.value.hint


@pytest.mark.parametrize(
    "config", [TrainConfig, GatysConfig, RunConfig, SheetConfig, CompareConfig]
)
def test_numbers_have_bounds_help_is_a_sentence_and_flags_are_unique(config):
    options = options_of(config)
    assert len({one.flag for one in options}) == len(options)
    for one in options:
        assert one.help[-1] in ".]"
        bounds = (one.least, one.above)
        assert one.type not in (int, float) or max(bounds) > -float("inf")


def test_a_share_has_an_end():
    with pytest.raises(StyleCliError, match=r"--strength 1\.5 is out of range") as caught:
        StylizeConfig(strength=1.5).check()
    assert caught.value.hint == "it is at least 0 and at most 1"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": -1}, "--batch-size -1 is out of range"),
        ({"batch_size": 0}, "--batch-size 0 is out of range"),
        ({"max_memory": 0}, "--max-memory 0.0 is out of range"),
        ({"seed": -1}, "--seed -1 is out of range"),
        ({"precision": "foo"}, "unknown --precision 'foo'"),
        ({"backend": "foo"}, "unknown --backend 'foo'"),
    ],
)
def test_from_python_a_stylizer_refuses_what_the_command_refuses(given, message):
    with pytest.raises(StyleCliError) as caught:
        Stylizer("udnie", **given)
    assert caught.value.message == message


def test_what_a_stylizer_takes_is_what_the_command_takes():
    taken = [name for name in inspect.signature(Stylizer.__init__).parameters if name != "self"]
    assert {*taken} == names(ModelConfig)
    config = ModelConfig("cuda", "float32", "m", "s", "torch", 2, 0.5, 7)
    assert config.arguments == {
        **{"model": "m", "style": "s", "device": "cuda", "precision": "float32"},
        **{"backend": "torch", "batch_size": 2, "max_memory": 2**29, "seed": 7},
    }


def test_every_architecture_that_can_be_chosen_is_there():
    from stylecli.core.architectures import ARCHITECTURES

    assert tuple(ARCHITECTURES) == get_args(Arch)


def test_every_optimizer_of_gatys_that_can_be_chosen_is_there():
    from stylecli.gatys import OPTIMIZERS

    (optimizer,) = (one for one in options_of(GatysConfig) if one.name == "optimizer")
    assert set(optimizer.choices) == OPTIMIZERS.keys()
