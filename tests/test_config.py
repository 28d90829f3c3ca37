from dataclasses import fields

from stylecli.config import TrainConfig, fixed_on_resume

# Spelled out: an option that moves from one list to the other changes what a checkpoint is worth.
FREE = {"styles", "add_style", "output", "content", "init", "license", "steps", "minutes"}
FREE |= {"device", "precision", "preview_every"}


def test_a_resume_may_change_these_options_and_no_others():
    assert {field.name for field in fields(TrainConfig)} - {*fixed_on_resume(TrainConfig)} == FREE
