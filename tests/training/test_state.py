"""What every part of a training shares."""

from stylecli.events import Notice
from stylecli.training.files import TrainFiles
from stylecli.training.loop import train
from trainings import stop_after


def test_what_is_only_for_looking_at_never_ends_a_training(config):
    files = TrainFiles(config.output)
    files.preview.mkdir()
    files.log.mkdir()
    events = []
    train(config, events.append, stop_after(10))
    assert train(config, events.append, resume=True).finished
    assert config.output.is_file()
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert any("preview.png" in text for text in notices)
    assert any(".jsonl" in text for text in notices)
