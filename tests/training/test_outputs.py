"""Names, logs and locks of a training, and what is not overwritten."""

import errno
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from stylecli.config import TrainConfig
from stylecli.errors import StyleCliError
from stylecli.events import Step
from stylecli.training.loop import train
from stylecli.training.outputs import TrainFiles
from trainings import stop_after


def test_a_file_that_is_no_log_of_ours_is_not_emptied(config):
    log = TrainFiles(config.output).log
    log.write_text('{"name": "mine"}\n')
    with pytest.raises(StyleCliError, match="is not a log of a training"):
        train(config)
    with pytest.raises(StyleCliError, match="is not a log of a training"):
        train(config, overwrite=True)  # of a model, that is
    assert log.read_text() == '{"name": "mine"}\n'
    log.write_text('{"name": "mine"}\n{"name": "yours"}\n{"step": 3}\n')
    with pytest.raises(StyleCliError, match="is not a log of a training"):
        train(config)


def test_the_name_comes_from_the_painting(painting):
    files = TrainFiles.of(TrainConfig(styles=(painting,)))
    assert files.model.as_posix() == "models/waves-lines.safetensors"


def test_a_killed_training_leaves_a_log_that_a_resume_continues_without_repeats(config):
    train(config, should_stop=stop_after(10))
    files = TrainFiles(config.output)
    with files.log.open("a") as log:  # what was logged after the last checkpoint
        log.write(json.dumps({"step": 15}) + "\n")
    train(config, resume=True)
    assert [json.loads(x)["step"] for x in files.log.read_text().splitlines()] == [10, 20]
    assert not files.checkpoint.exists()


def test_half_a_line_in_the_log_does_not_stop_a_resume(config):
    train(config, should_stop=stop_after(10))
    files = TrainFiles(config.output)
    with files.log.open("a") as log:
        log.write('{"step": 1')
    files.log.write_bytes(files.log.read_bytes() + b"\xff")
    train(config, resume=True)
    assert [json.loads(x)["step"] for x in files.log.read_text().splitlines()] == [10, 20]
    steps = [line["step"] for line in files.read_curve()]
    files.log.write_text('{"step": 1' + files.log.read_text())  # two lines in one
    assert (steps, [line["step"] for line in files.read_curve()]) == ([10, 20], [20])
    train(replace(config, steps=1), overwrite=True)  # it is a log of ours all the same


def test_a_log_of_other_lines_does_not_cost_the_model(config):
    files = TrainFiles(config.output)
    files.log.write_text('{"step": 10, "a": 1}\n{"step": 20, "total": 3}\n')
    assert files.read_curve() == []


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_log_is_never_written_through_a_link(config, tmp_path, there, overwrite):
    log = TrainFiles(config.output).log
    if there:
        (tmp_path / "other.txt").write_text('{"step": 1}\n{"step": 2}\n')
    log.symlink_to(tmp_path / "other.txt")
    with pytest.raises(StyleCliError, match="is a link, and a training would write"):
        train(replace(config, steps=1), overwrite=overwrite)
    assert (tmp_path / "other.txt").exists() == there
    assert log.is_symlink()


@pytest.mark.parametrize("name", ["model", "checkpoint"])
def test_a_broken_link_is_not_replaced_unasked(config, tmp_path, name):
    path = getattr(TrainFiles(config.output), name)
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StyleCliError, match=r"exists|interrupted training"):
        train(replace(config, steps=1))
    assert path.is_symlink()
    train(replace(config, steps=1), overwrite=True)
    assert config.output.is_file() and not config.output.is_symlink()


@pytest.mark.parametrize("letter", ["n", "п", "神", "🎨"])
def test_a_long_name_of_a_painting_makes_names_that_file_systems_take(tmp_path, letter):
    """They count bytes: 255 of them."""
    painting = tmp_path / "x.png"
    files = TrainFiles.of(TrainConfig(styles=(painting.with_name(f"{letter * 120}.png"),)))
    for path in (files.model, files.checkpoint, files.log, files.preview):
        (tmp_path / f".{path.name}.lock").touch()
    assert files.model.stem in ("style", letter * (80 // len(letter.encode())))


def test_a_model_or_an_unfinished_training_is_never_overwritten_unasked(config):
    train(replace(config, steps=1))
    before = config.output.read_bytes()
    with pytest.raises(StyleCliError, match="exists"):
        train(config)
    assert config.output.read_bytes() == before
    train(replace(config, steps=2), overwrite=True)
    assert config.output.read_bytes() != before
    config.output.unlink()
    train(config, should_stop=stop_after(3))
    with pytest.raises(StyleCliError, match="interrupted training") as caught:
        train(config)
    assert "--resume" in caught.value.hint


@pytest.mark.parametrize("wish", [{}, {"resume": True}, {"overwrite": True}])
def test_a_training_that_runs_is_not_begun_a_second_time(config, wish):
    said = []

    def meanwhile(event):
        if isinstance(event, Step) and event.step == 2:
            with pytest.raises(StyleCliError, match="is being trained") as caught:
                train(replace(config, steps=1), **wish)
            said.append(caught.value.hint)

    assert train(replace(config, steps=3), meanwhile).steps == 3
    assert "another --output" in said[0]
    assert not [path for path in config.output.parent.iterdir() if path.name.startswith(".")]


def test_a_training_that_was_killed_does_not_stand_in_the_way_of_its_resume(config):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from stylecli.training.outputs import TrainFiles\n"
        "with TrainFiles(Path(sys.argv[1])).lock():\n"
        "    os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, str(config.output)]
    assert subprocess.run(command, timeout=240).returncode == -9
    assert train(replace(config, steps=1)).finished


def test_where_there_are_no_locks_a_training_goes_on_without(config, monkeypatch):
    def unsupported(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", unsupported)
    assert train(replace(config, steps=1)).finished
