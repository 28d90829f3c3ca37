"""Planning: every image one target, nothing lost, nothing overwritten."""

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylecli.cli import app
from stylecli.core.devices import Rank, count_tasks
from stylecli.errors import StyleCliError
from stylecli.files.jobs import Shard, into_folder, plan, scan_images


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


def test_films_that_would_become_one_keep_their_endings_in_their_names_and_the_rest_goes_on(
    tmp_path,
):
    touch(*(tmp_path / f"in/{name}" for name in ("a.mp4", "a.ts", "a.wmv", "b.ts", "c.jpg")))
    jobs = plan([tmp_path / "in"], tmp_path / "out").jobs
    targets = [job.target.name for job in jobs]
    assert targets == ["a.mp4", "a.ts.mp4", "a.wmv.mp4", "b.mp4", "c.jpg"]
    assert [bool(job.note) for job in jobs] == [False, True, True, True, False]
    assert "out/a.wmv.mp4: .wmv is read, and not written" in jobs[2].note
    moved = into_folder(plan([tmp_path / "in"], tmp_path / "out"), tmp_path / "out", "udnie")
    assert "out/udnie/a.wmv.mp4: .wmv is read, and not written" in moved.jobs[2].note
    with pytest.raises(StyleCliError, match="would both become"):
        plan([tmp_path / "in"], tmp_path / "out", format="mp4")


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
        ["bash", "-c", command], cwd=gone, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the folder you are in has been removed\n")


@pytest.mark.parametrize("words", [["", "out"], ["a.jpg", ""]])
def test_an_empty_name_is_not_the_current_folder(tmp_path, words):
    """Such as ``stylize "$PHOTOS" out`` where that variable is not set."""
    touch(tmp_path / "a.jpg")
    command = [sys.executable, "-m", "stylecli", "stylize", "--dry-run", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
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


@pytest.mark.parametrize("given", ["in/a.jpg", "-"])
@pytest.mark.parametrize("number", range(3))
def test_what_is_named_alone_is_never_shared_out(tmp_path, monkeypatch, given, number):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "in/a.jpg")
    for out in (Path("out"), Path("b.jpg"), Path("-"))[given == "-" :]:
        planned = plan([Path(given)], out, shard=Shard(number, 3))
        assert len(planned.jobs) == 1
        assert planned.shard == Shard()
    shares = [plan([Path("in")], Path("out"), shard=Shard(n, 3)) for n in range(3)]
    assert [len(one.jobs) for one in shares] == [1, 0, 0]


SYSTEM = (
    *("@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "#recycle/a.jpg", "__MACOSX/a.jpg", "lost+found/a.jpg"),
    *(
        "$RECYCLE.BIN/a.jpg",
        "System Volume Information/a.jpg",
        "b/@EADIR/a.jpg",
        ".thumbnails/a.jpg",
    ),
    *("._a.jpg", "Thumbs.db", "b/.DS_Store", "b/desktop.ini"),
)


def test_what_systems_and_file_servers_make_is_left_out_and_counted(tmp_path):
    touch(tmp_path / "in/a.jpg", *(tmp_path / "in" / name for name in SYSTEM))
    planned = plan([tmp_path / "in"], tmp_path / "out")
    assert [job.source for job in planned.jobs] == [tmp_path / "in/a.jpg"]
    assert planned.left_out == "12 hidden or of the system"
    assert scan_images(tmp_path / "in") == [tmp_path / "in/a.jpg"]  # for training, too
    for folder in ("@eaDir", "#recycle"):  # unless it is named
        assert len(plan([tmp_path / "in" / folder], tmp_path / "out").jobs) == 1


def test_what_is_neither_a_picture_nor_a_film_is_counted_by_its_ending(tmp_path):
    names = ["a.jpg", "b.txt", "c.TXT", "sub/d.txt", "e.xmp", "README", "f.weird name\n"]
    touch(*(tmp_path / "in" / name for name in names))
    planned = plan([tmp_path / "in"], tmp_path / "out")
    assert planned.left_out == "3 .txt, 1 .xmp, 2 without an ending"
    touch(*(tmp_path / "in" / f"{i}.{ending}" for i in range(9) for ending in ("aa", "bb", "cc")))
    touch(*(tmp_path / "in" / f"x.e{i}" for i in range(9)))
    many = plan([tmp_path / "in"], tmp_path / "out").left_out
    assert many.startswith("9 .aa, 9 .bb, 9 .cc, 3 .txt, 1 .")
    assert "8 with other endings, 2 without an ending" in many
    (tmp_path / "in/a.jpg").unlink()
    with pytest.raises(StyleCliError, match=r"no images or videos in .*/in; left out: 9 \.aa"):
        plan([tmp_path / "in"], tmp_path / "out")


def test_a_link_to_a_folder_is_followed_once_and_no_loop_is(tmp_path):
    touch(tmp_path / "in/real/a.jpg", tmp_path / "other/b.jpg", tmp_path / "other/deep/c.jpg")
    links = {
        "a-link-to-real": "in/real",  # its own name is the real one's, though it comes first
        "here": "in",
        "up": ".",
        "linked": "other",
        "linked-again": "other",
        "linked-deep": "other/deep",
    }
    for name, target in links.items():
        (tmp_path / "in" / name).symlink_to(tmp_path / target)
    (tmp_path / "other/back").symlink_to(tmp_path / "in/real")
    (tmp_path / "other/itself.jpg").symlink_to(tmp_path / "other/itself.jpg")
    planned = plan([tmp_path / "in"], tmp_path / "out")
    found = [job.source.relative_to(tmp_path / "in").as_posix() for job in planned.jobs]
    assert found == ["linked/b.jpg", "linked/deep/c.jpg", "real/a.jpg"]
    targets = [job.target.relative_to(tmp_path / "out").as_posix() for job in planned.jobs]
    assert targets == found
    said = "6 linked to what is read already, 1 linked to nothing"
    assert set(planned.left_out.split(", ")) == set(said.split(", "))


def test_a_folder_that_is_a_link_itself_is_read(tmp_path):
    touch(tmp_path / "real/a.jpg")
    (tmp_path / "in").symlink_to(tmp_path / "real")
    touch(tmp_path / "other/b.jpg")
    (tmp_path / "real/linked").symlink_to(tmp_path / "other")
    planned = plan([tmp_path / "in"], tmp_path / "out")
    assert [job.source for job in planned.jobs] == [
        tmp_path / "in/a.jpg",
        tmp_path / "in/linked/b.jpg",
    ]
    assert not planned.left_out


@pytest.mark.parametrize("link", ["in/results", "in/sub/results"])
@pytest.mark.parametrize("target", ["out", "out/sub"])
def test_a_link_into_the_results_is_not_followed(tmp_path, link, target):
    touch(tmp_path / "in/a.jpg", tmp_path / "out/sub/old.jpg", tmp_path / "out/old.jpg")
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / target)
    planned = plan([tmp_path / "in"], tmp_path / "out", overwrite=True)
    assert [job.source for job in planned.jobs] == [tmp_path / "in/a.jpg"]


def test_a_folder_that_may_not_be_listed_is_counted_and_stops_no_other(tmp_path, monkeypatch):
    touch(tmp_path / "in/a.jpg", tmp_path / "in/secret/b.jpg")
    scandir = os.scandir

    def forbidden(folder):
        if Path(folder).name == "secret":  # of root, nothing is kept secret
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", forbidden)
    planned = plan([tmp_path / "in"], tmp_path / "out")
    assert [job.source.name for job in planned.jobs] == ["a.jpg"]
    assert planned.left_out == "1 without permission"


def test_a_rank_comes_from_torchrun_or_srun_and_not_from_a_batch_job():
    assert Rank.of_launcher({"RANK": "2"}) == Rank()
    assert Rank.of_launcher(BATCH) == Rank()
    assert Rank.of_launcher({**STEP, "SLURM_LOCALID": "1"}) == Rank(1, 4, 1)
    assert Rank.of_launcher({**STEP, "RANK": "0", "WORLD_SIZE": "2"}) == Rank(0, 2)
    assert (count_tasks({}), count_tasks(BATCH), count_tasks({"WORLD_SIZE": "many"})) == (1, 4, 1)


@pytest.fixture
def stylize(tmp_path, monkeypatch, capsys) -> Callable[..., str]:
    """What ``stylecli stylize`` says where some variables are set; in tmp_path and this process."""
    monkeypatch.chdir(tmp_path)

    def run(*given: object, **environment: str) -> str:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            for name, value in environment.items():
                patch.setenv(name, value)
            app(["stylize", *map(str, given), "--device", "cpu"])
        said = capsys.readouterr().err
        assert not ended.value.code, said
        return said

    return run


BATCH = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}  # also of a batch job's script, which is alone
STEP = {"SLURM_PROCID": "1", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "4"}  # of srun's


@pytest.mark.parametrize(
    "environment", [BATCH, STEP, {"RANK": "1", "WORLD_SIZE": "4"}, {"RANK": "x", "WORLD_SIZE": "y"}]
)
def test_no_variable_makes_a_run_leave_files_out(stylize, photos, tmp_path, environment):
    said = stylize("photos", "out", **environment)
    assert len([path for path in (tmp_path / "out").rglob("*.*") if path.is_file()]) == 3
    assert ("--shard auto" in said) == ("x" not in environment.values())
    assert "shard 0" not in said.splitlines()[-1]


def test_a_part_is_made_where_it_is_asked_for_and_said_in_the_last_line(stylize, photos, tmp_path):
    said = stylize("photos", "out", "--shard", "auto", **STEP)
    (painted,) = [path for path in (tmp_path / "out").rglob("*.*") if path.is_file()]
    assert painted.name == "one.jpg"  # the second of below/three.JPG, one.jpg, two.png
    assert said.splitlines()[-1].startswith("shard 1 of 4: 1 stylized")
    said = stylize("photos", "all", "--shard", "auto", **BATCH)
    assert said.splitlines()[-1].startswith("3 stylized")
    again = stylize("photos", "out", "--shard", "1/2")
    assert again.splitlines()[-1].startswith("shard 1 of 2: 0 stylized, 1 skipped")


@pytest.mark.parametrize("environment", [STEP, BATCH])
def test_one_named_photo_is_painted_whatever_is_set(stylize, photos, tmp_path, environment):
    said = stylize("photos/one.jpg", "y.jpg", "--shard", "auto", **environment)
    assert (tmp_path / "y.jpg").is_file()
    assert said.splitlines()[-1].startswith("1 stylized")
    stylize("photos/one.jpg", "z.jpg", **environment)
    assert (tmp_path / "z.jpg").is_file()


def test_a_rank_that_makes_no_sense_is_not_blamed_on_the_option(photos, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "stylecli", "stylize", "photos", "out", "--shard", "auto"],
        cwd=tmp_path,
        env={**os.environ, "RANK": "5", "WORLD_SIZE": "4"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 2
    says = "error: variables that make no sense: RANK 5, WORLD_SIZE 4, LOCAL_RANK 0"
    assert done.stderr.splitlines()[0] == says


def test_what_is_left_out_stands_in_the_summary(stylize, photos):
    touch(photos / "notes.txt", photos / "@eaDir/one.jpg")
    for options in ((), ("--dry-run",), ("--overwrite",)):
        said = stylize("photos", "out", *options).splitlines()[-1]
        assert said.endswith("left out: 1 .txt, 1 hidden or of the system")
