"""Planning: every image one target, nothing lost, nothing overwritten."""

import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylecli.errors import StyleCliError
from stylecli.files.jobs import plan
from stylecli.files.shards import Shard


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_tree_is_mirrored_and_what_is_no_image_or_hidden_is_left(tmp_path):
    inputs, out = tmp_path / "in", tmp_path / "out"
    touch(
        *(inputs / n for n in ("a.jpg", "b/a.JPG", "b/c/d.PnG", "notes.txt", ".h.jpg", ".g/x.png"))
    )
    targets = [job.target.relative_to(out).as_posix() for job in plan([inputs], out).jobs]
    assert targets == ["a.jpg", "b/a.JPG", "b/c/d.PnG"]


def test_an_output_folder_inside_the_input_is_not_stylized_again(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "out" / "a.jpg", tmp_path / "out" / "old.jpg")
    planned = plan([tmp_path], tmp_path / "out", overwrite=True)
    assert [job.source for job in planned.jobs] == [tmp_path / "a.jpg"]


def test_what_is_there_is_skipped_unless_overwritten(tmp_path):
    touch(tmp_path / "in/a.jpg", tmp_path / "in/b.jpg", tmp_path / "out/a.jpg")
    planned = plan([tmp_path / "in"], tmp_path / "out")
    assert [job.source.name for job in planned.skipped] == ["a.jpg"]
    assert [job.source.name for job in planned.jobs] == ["b.jpg"]
    again = plan([tmp_path / "in"], tmp_path / "out", overwrite=True)
    assert len(again.jobs) == 2
    assert not again.skipped


def test_one_file_goes_to_a_file_or_into_a_folder(tmp_path):
    touch(tmp_path / "a.jpg")
    assert plan([tmp_path / "a.jpg"], tmp_path / "b.png").jobs[0].target == tmp_path / "b.png"
    assert plan([tmp_path / "a.jpg"], tmp_path / "b").jobs[0].target == tmp_path / "b" / "a.jpg"
    (tmp_path / "odd.png").mkdir()
    inside = plan([tmp_path / "a.jpg"], tmp_path / "odd.png").jobs[0].target
    assert inside == tmp_path / "odd.png" / "a.jpg"


@pytest.mark.parametrize(
    ("inputs", "out", "says"),
    [
        (["in"], "in", "overwritten by its own"),
        (["in/a.jpg"], "in/a.jpg", "overwritten by its own"),
        (["in/a.jpg", "other/a.jpg"], "out", "would both become"),
        (["in", "other"], "out", "would both become"),
        (["in"], "in/a.jpg", "is a file"),
        (["in", "other"], "out.jpg", "is a file"),
        (["in"], "notes.txt", "is a file"),
        (["missing"], "out", "no such file or folder"),
        (["empty"], "out", "no images or videos in"),
        (["notes.txt"], "out", "not an image or a video by its name"),
    ],
)
def test_a_bad_plan_is_refused_before_any_work(tmp_path, inputs, out, says):
    touch(*(tmp_path / n for n in ("in/a.jpg", "in/b.jpg", "other/a.jpg", "notes.txt")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(StyleCliError, match=says):
        plan([tmp_path / name for name in inputs], tmp_path / out)


def test_no_input_is_the_target_of_another(tmp_path):
    touch(tmp_path / "folder/sub/x.jpg", tmp_path / "out/sub/x.jpg")
    with pytest.raises(StyleCliError, match="is an input, and another input would become it"):
        plan([tmp_path / "folder", tmp_path / "out/sub/x.jpg"], tmp_path / "out")


def test_the_folder_above_can_be_the_output(tmp_path):
    touch(tmp_path / "trip/raw/a.jpg")
    assert [job.target for job in plan([tmp_path / "trip/raw"], tmp_path / "trip").jobs] == [
        tmp_path / "trip/a.jpg"
    ]


def test_a_circle_of_links_is_passed_over(tmp_path):
    touch(tmp_path / "in/a.jpg")
    (tmp_path / "in/loop.jpg").symlink_to(tmp_path / "in/loop.jpg")
    assert len(plan([tmp_path / "in"], tmp_path / "out").jobs) == 1


def test_one_photo_is_not_put_into_a_folder_named_like_an_image(tmp_path):
    touch(tmp_path / "a.jpg")
    with pytest.raises(StyleCliError, match="unknown suffix"):
        plan([tmp_path / "a.jpg"], tmp_path / "b.jp2")


names = st.text("ab./", min_size=1, max_size=8).filter(
    lambda n: not n.startswith("/") and "//" not in n and not n.endswith("/") and ".." not in n
)


@settings(max_examples=60, deadline=None)
@given(st.sets(names.map(lambda n: f"{n}.jpg"), max_size=12))
def test_every_image_has_one_target_of_its_own(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("tree")
    (root / "in").mkdir()
    for name in tree:
        touch(root / "in" / name)
    visible = {
        p for p in (root / "in").rglob("*.jpg") if "/." not in str(p.relative_to(root / "in"))
    }
    visible = {p for p in visible if not str(p.relative_to(root / "in")).startswith(".")}
    if not visible:
        with pytest.raises(StyleCliError):
            plan([root / "in"], root / "out")
        return
    planned = plan([root / "in"], root / "out")
    assert {job.source for job in planned.jobs} == visible
    assert len({job.target for job in planned.jobs}) == len(planned.jobs)
    assert all(job.target.is_relative_to(root / "out") for job in planned.jobs)


def test_a_run_with_a_suffix_beside_the_photos_can_be_repeated(tmp_path):
    for name in ("a.jpg", "b.jpg", "a-painted.jpg"):
        (tmp_path / name).touch()
    again = plan([tmp_path], tmp_path, suffix="-painted")
    assert [job.source.name for job in again.jobs] == ["b.jpg"]
    assert [job.source.name for job in again.skipped] == ["a.jpg"]


def test_results_of_another_format_do_not_become_the_photos_of_the_next_run(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(StyleCliError, match="the next run would take for photos") as refused:
        plan([tmp_path], tmp_path / "x" / "..", format="png")
    assert "--suffix" in refused.value.hint
    (job,) = plan([tmp_path], tmp_path, format="png", suffix="-painted").jobs
    assert job.target == tmp_path / "a-painted.png"
    (job,) = plan([tmp_path / "a.jpg"], tmp_path, format="png").jobs
    assert job.target == tmp_path / "a.png"


def test_a_name_that_becomes_too_long_stops_no_other(tmp_path):
    touch(tmp_path / "in" / f"{'n' * 250}.jpg", tmp_path / "in/b.jpg", tmp_path / "out/b-new.jpg")
    again = plan([tmp_path / "in"], tmp_path / "out", suffix="-new")
    assert [job.source.name for job in again.skipped] == ["b.jpg"]
    assert len(again.jobs) == 1


def test_a_mistyped_ending_makes_no_folder(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(StyleCliError, match="does not end like an image"):
        plan([tmp_path / "a.jpg"], tmp_path / "b.jpgg")
    (tmp_path / "v1.2").mkdir()
    assert plan([tmp_path / "a.jpg"], tmp_path / "v1.2").jobs[0].target.name == "a.jpg"


def test_a_suffix_and_a_format_name_the_targets_in_a_folder(tmp_path):
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).touch()
    out = tmp_path / "out"
    jobs = plan([tmp_path], out, suffix="-painted", format="PNG").jobs
    assert [job.target for job in jobs] == [out / "a-painted.png", out / "b-painted.png"]
    (tmp_path / "a.png").touch()
    with pytest.raises(StyleCliError, match="would both become"):
        plan([tmp_path], out, format="png")
    with pytest.raises(StyleCliError, match="unknown suffix"):
        plan([tmp_path], out, format="doc")
    named = tmp_path / "x.webp"
    with pytest.raises(StyleCliError, match="is a name already"):
        plan([tmp_path / "a.jpg"], named, suffix="-painted")


@pytest.mark.parametrize(
    ("inputs", "out", "options"),
    [
        ("-", "out.jpg", {"format": "png"}),
        ("-", "out.jpg", {"suffix": "-x"}),
        ("-", "-", {"suffix": "-x"}),
        ("a.jpg", "-", {"suffix": "-x", "format": "png"}),
    ],
)
def test_streams_have_no_names_to_make(tmp_path, monkeypatch, inputs, out, options):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "a.jpg")
    with pytest.raises(StyleCliError, match=f"{out} is not a folder"):
        plan([Path(inputs)], Path(out), **options)


@pytest.mark.parametrize("name", ["pipe.jpg", "socket.png", "device.mp4"])
def test_what_is_no_regular_file_is_refused_by_name_and_passed_over_in_a_folder(tmp_path, name):
    touch(tmp_path / "in/a.jpg")
    odd = tmp_path / "in" / name
    if name == "pipe.jpg":
        os.mkfifo(odd)
    elif name == "socket.png":
        socket.socket(socket.AF_UNIX).bind(str(odd))
    else:
        odd.symlink_to("/dev/zero")
    assert [job.source.name for job in plan([tmp_path / "in"], tmp_path / "out").jobs] == ["a.jpg"]
    for out in (tmp_path / "out", tmp_path / f"out{odd.suffix}"):
        with pytest.raises(StyleCliError, match=f"{name} is a (named pipe|socket|device), not"):
            plan([odd], out)
    with pytest.raises(StyleCliError, match=f"{name} is a (named pipe|socket|device), not"):
        plan([odd], Path("-"))


@pytest.mark.parametrize(
    ("given", "out"),
    [("https://host/a.jpg", "out"), ("a.jpg", "https://host/out"), ("a.jpg", "s3://host/b.jpg")],
)
def test_an_address_is_neither_read_nor_made_a_folder(tmp_path, monkeypatch, given, out):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "a.jpg")
    with pytest.raises(StyleCliError, match=r"://host/.* is an address, and only files"):
        plan([Path(given)], Path(out))


def test_a_current_folder_that_is_gone_is_one_clear_line(tmp_path):
    """Through the real command: a shell that stands in a folder which another one removes."""
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"rm -r {gone}; exec {sys.executable} -m stylecli stylize a.jpg out"
    done = subprocess.run(
        ["bash", "-c", command], cwd=gone, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the folder you are in has been removed\n")


@pytest.mark.parametrize("words", [["", "out"], ["a.jpg", ""]])
def test_an_empty_name_is_not_the_current_folder(tmp_path, words):
    """Such as ``stylize "$PHOTOS" out`` where that variable is not set."""
    touch(tmp_path / "a.jpg")
    command = [sys.executable, "-m", "stylecli", "stylize", "--dry-run", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "an empty name is neither a file nor a folder" in done.stderr


def test_a_file_that_may_not_be_looked_at_is_a_job_that_fails_and_stops_no_other(
    tmp_path, monkeypatch
):
    touch(tmp_path / "in/a.jpg", tmp_path / "in/b.jpg")
    is_file = Path.is_file

    def forbidden(self):
        if self.name == "b.jpg":
            raise PermissionError(13, "Permission denied")
        return is_file(self)

    monkeypatch.setattr(Path, "is_file", forbidden)
    jobs = plan([tmp_path / "in"], tmp_path / "out").jobs
    assert [job.source.name for job in jobs] == ["a.jpg", "b.jpg"]


@settings(deadline=None)  # it makes files, and another program may keep the disk busy
@given(count=st.integers(1, 9), files=st.integers(1, 12), done=st.sets(st.integers(0, 11)))
def test_shards_share_all_files_whatever_is_done_already(tmp_path_factory, count, files, done):
    folder = tmp_path_factory.mktemp("shards")
    touch(*(folder / "in" / f"{i:02}.jpg" for i in range(files)))
    whole = plan([folder / "in"], folder / "out")
    shards = [Shard(number, count) for number in range(count)]
    parts = [plan([folder / "in"], folder / "out", shard=shards[0]).jobs]
    touch(*(folder / "out" / f"{i:02}.jpg" for i in done))  # another process was quicker
    later = [plan([folder / "in"], folder / "out", shard=shard) for shard in shards[1:]]
    parts += [(*part.jobs, *part.skipped) for part in later]
    assert Counter(job for part in parts for job in part) == Counter(whole.jobs)


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "0/0", "a/b", "1/4/2", "0.5/2"])
def test_what_is_no_shard_is_one_clear_error(text):
    with pytest.raises(StyleCliError, match="not a part of a whole"):
        Shard.parse(text)


def test_a_shard_may_come_from_the_environment():
    assert Shard.of_environment({"RANK": "2"}) == Shard()
    slurm = {"SLURM_PROCID": "1", "SLURM_NTASKS": "3"}
    assert Shard.of_environment(slurm) == Shard(1, 3)
    assert Shard.of_environment({**slurm, "RANK": "0", "WORLD_SIZE": "2"}) == Shard(0, 2)
