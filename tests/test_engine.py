"""The engine with the bundled model, on real photos."""

import errno
import os
import pickle
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylecli.config import DEFAULT_MODEL, StylizeConfig
from stylecli.core.backend import OutOfMemoryError
from stylecli.core.torch_backend import TorchBackend
from stylecli.engine import Stylizer, describe_look, full_name, pipeline
from stylecli.engine.painter import Painter
from stylecli.errors import StyleCliError
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_picture, read_rgb, write_picture
from stylecli.files.jobs import plan
from stylecli.files.video.clips import read_clip_or_picture


def test_the_bundled_model_paints_strokes_in_the_paintings_colors(stylizer):
    for path in bundled_photos()[:3]:
        photo = read_rgb(path, 200)
        painted = stylizer(photo)
        assert painted.shape == photo.shape
        assert painted.std() > 25  # neither flat nor mud
        red, _, blue = painted.reshape(-1, 3).mean(0)
        assert blue > red + 20  # The Starry Night is blue, whatever the photo


def test_a_pale_photo_is_painted_as_boldly(stylizer):
    """The paper's second claim, on the model that ships."""
    photo = read_rgb(bundled_photos()[7], 200)
    pale = (photo.astype(float) * 0.5 + 64).round().astype(np.uint8)
    painted, of_pale = (stylizer(rgb, stroke_size="network") for rgb in (photo, pale))
    moved = np.abs(painted.astype(float) - of_pale).mean()
    assert moved < 0.2 * np.abs(photo.astype(float) - pale).mean()


def test_a_failure_of_the_network_is_told_and_the_next_photo_is_done(
    stylizer, tmp_path, monkeypatch
):
    for name, size in (("a.png", 50), ("b.png", 60)):
        Image.new("RGB", (size, size)).save(tmp_path / name)

    def too_small_a_machine(self, images, config, scratch):
        if images[0].shape[0] == 50:
            raise RuntimeError("not enough memory: you tried to allocate 9 GB\nmore")
        return list(images)

    monkeypatch.setattr(Painter, "__call__", too_small_a_machine)
    results = stylizer.run_jobs(plan([tmp_path], tmp_path / "out").jobs)
    assert [bool(result.error) for result in results] == [True, False]
    assert results[0].error.endswith("a.png: not enough memory: you tried to allocate 9 GB")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b.png"]


@pytest.fixture
def many(tmp_path):
    """Seven photos of two sizes, in an order that mixes them; one is no photo."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i, size in enumerate(
        [(64, 48), (64, 48), (48, 64), (64, 48), (48, 64), (48, 64), (48, 64)]
    ):
        Image.open(bundled_photos()[i]).resize(size).save(folder / f"{i}.png")
    (folder / "3.png").write_text("no image")
    return folder


def test_batches_change_no_picture_and_results_come_in_order(stylizer, many, tmp_path):
    def painted(batch_size):
        stylizer = Stylizer(DEFAULT_MODEL, device="cpu", precision="float32", batch_size=batch_size)
        out = tmp_path / f"out{batch_size}"
        seen = []
        results = stylizer.run_jobs(plan([many], out).jobs, seen.append)
        assert results == seen
        assert [result.job.source.name for result in results] == [f"{i}.png" for i in range(7)]
        assert [bool(result.error) for result in results] == [i == 3 for i in range(7)]
        return {path.name: np.asarray(Image.open(path)).astype(int) for path in out.iterdir()}

    alone, together = painted(1), painted(3)
    assert alone.keys() == together.keys()
    for name, rgb in alone.items():
        assert np.abs(rgb - together[name]).max() <= 1


def test_only_images_of_one_size_share_a_batch(stylizer, many, tmp_path, monkeypatch):
    batches = []

    def paint(self, images, config, scratch):
        batches.append([image.shape[:2] for image in images])
        return list(images)

    monkeypatch.setattr(Painter, "__call__", paint)
    stylizer = Stylizer(DEFAULT_MODEL, device="cpu", batch_size=2)
    stylizer.run_jobs(plan([many], tmp_path / "out").jobs)
    assert batches == [[(48, 64)] * 2, [(64, 48)], [(64, 48)] * 2, [(64, 48)]]


def test_an_image_too_large_for_its_memory_goes_in_strips_and_looks_the_same(stylizer):
    photo = read_rgb(bundled_photos()[7], 200)
    in_strips = Stylizer(DEFAULT_MODEL, device="cpu", precision="float32", max_memory=2**20)(photo)
    whole = Stylizer(DEFAULT_MODEL, device="cpu", precision="float32")(photo)
    assert np.abs(in_strips.astype(int) - whole).max() <= 1


def test_out_of_memory_halves_the_batch_then_takes_strips_and_loses_nothing(stylizer, monkeypatch):
    photos = [read_rgb(bundled_photos()[i], 64)[:64, :64] for i in range(5)]
    full = {"device": "cpu", "precision": "float32", "backend": "torch"}
    stylizer = Stylizer(DEFAULT_MODEL, batch_size=8, **full)
    expected = [stylizer(photo).astype(int) for photo in photos]
    sizes = []

    def too_small(self, batch):
        sizes.append(len(batch))
        raise OutOfMemoryError("simulated")

    monkeypatch.setattr(TorchBackend, "__call__", too_small)
    painted = stylizer(photos)
    assert sizes == [5, 2, 1, 1, 3, 1, 2, 1, 1] * 2  # two layers
    for one, other in zip(painted, expected, strict=True):
        assert np.abs(one - other).max() <= 1


def test_several_devices_share_the_work_and_keep_the_order(many, tmp_path, monkeypatch):
    """Two networks on one CPU stand for two GPUs."""
    cpus = [torch.device("cpu")] * 2
    monkeypatch.setattr("stylecli.engine.stylizer.all_devices", lambda name: cpus)
    full = {"device": "cpu", "precision": "float32", "backend": "torch"}
    stylizer = Stylizer(DEFAULT_MODEL, **full)
    assert "on 2 x cpu, torch, float32" in stylizer.description
    used = set()
    paint = TorchBackend.__call__

    def noted(self, photos):
        used.add(id(self))
        return paint(self, photos)

    monkeypatch.setattr(TorchBackend, "__call__", noted)
    results = stylizer.run(many, tmp_path / "out")
    assert [result.job.source.name for result in results] == [f"{i}.png" for i in range(7)]
    assert len(used) == 2
    monkeypatch.undo()
    alone = Stylizer(DEFAULT_MODEL, **full)
    for path in (tmp_path / "out").iterdir():
        painted = np.asarray(Image.open(path)).astype(int)
        assert np.abs(painted - alone(np.asarray(Image.open(many / path.name)))).max() <= 1


def test_one_image_of_pillows_or_as_an_array(stylizer, tmp_path):
    photo = Image.open(bundled_photos()[1]).resize((60, 40))
    painted = stylizer(photo)
    assert (painted.size, painted.mode) == ((60, 40), "RGB")
    np.testing.assert_array_equal(np.asarray(painted), stylizer(np.asarray(photo)))
    photo.putalpha(100)
    clear = stylizer(photo)
    assert clear.getchannel("A").getextrema() == (100, 100)
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)):
        with pytest.raises(StyleCliError, match="is not an image"):
            stylizer(wrong)


def test_run_takes_paths_as_the_command_does(stylizer, many, tmp_path):
    results = stylizer.run(str(many), str(tmp_path / "out"))
    assert sum(not result.error for result in results) == 6
    again = stylizer.run([many], tmp_path / "out")
    assert [result.job.source.name for result in again] == ["3.png"]  # the rest is there


def test_a_stopped_run_writes_what_is_in_work_and_nothing_half(stylizer, many, tmp_path):
    seen = []
    out = tmp_path / "out"
    results = stylizer.run_jobs(plan([many], out).jobs, seen.append, lambda: len(seen) > 0)
    assert 1 <= len(results) < 7
    done = [result.job.target for result in results if not result.error]
    assert sorted(out.iterdir()) == sorted(done)
    for path in done:
        Image.open(path).load()


def test_a_path_for_the_model_and_a_path_where_an_image_belongs(stylizer, tmp_path):
    path = tmp_path / "copy.safetensors"
    bundled = Path(__file__).parents[1] / "models" / "starry-night-residual-in.safetensors"
    path.write_bytes(bundled.read_bytes())
    assert Stylizer(path, device="cpu", backend="torch").info.name == "copy"
    for given in ("photo.jpg", Path("photo.jpg")):
        with pytest.raises(StyleCliError, match="is a path, not an image") as raised:
            stylizer(given)
        assert "Image.open" in raised.value.hint
    with pytest.raises(StyleCliError, match="a list is not an image"):
        stylizer([[1, 2, 3]])


def test_a_pickled_stylizer_paints_the_same(stylizer):
    photo = read_rgb(bundled_photos()[3], 64)
    again = pickle.loads(pickle.dumps(stylizer))
    assert again.description == stylizer.description
    painted = again(photo)
    np.testing.assert_array_equal(painted, stylizer(photo))
    np.testing.assert_array_equal(painted, pickle.loads(pickle.dumps(again))(photo))


@pytest.mark.parametrize("networks", [1, 3])
@pytest.mark.parametrize("where", ["decode", "network", "encode"])
def test_a_run_that_stops_at_the_first_failure_begins_nothing_after_it(
    tmp_path, monkeypatch, where, networks
):
    """As --fail-fast does. Only what is painted or encoded at the same time is finished."""
    (tmp_path / "in").mkdir()
    for i in range(40):
        Image.new("RGB", (40 + i % 7, 40)).save(tmp_path / "in" / f"{i:02}.png")
    bad = tmp_path / "in" / "12.png"
    if where == "decode":
        bad.write_bytes(bad.read_bytes()[:-30])

    def paint(self, images, config, scratch):
        time.sleep(0.005)
        if where == "network" and images[0].shape[1] == 40 + 12 % 7:
            raise RuntimeError("no")
        return list(images)

    def write(path, *more):
        if where == "encode" and path.name == bad.name:
            raise StyleCliError("no")
        write_picture(path, *more)

    monkeypatch.setattr(Painter, "__call__", paint)
    monkeypatch.setattr(pipeline, "write_picture", write)
    stylizer = Stylizer(DEFAULT_MODEL, device="cpu", batch_size=1)
    monkeypatch.setattr(stylizer._paint, "at_once", networks)
    failed = []
    results = stylizer.run_jobs(
        plan([tmp_path / "in"], tmp_path / "out").jobs,
        lambda event: failed.append(event) if getattr(event, "error", "") else None,
        lambda: bool(failed),
    )
    first = 5 if where == "network" else 12  # 5, 12, 19 … are of one size
    assert [bool(result.error) for result in results[: first + 1]] == [False] * first + [True]
    in_work = {"decode": 0, "network": networks - 1, "encode": networks + 4}[where]
    assert len(results) <= first + 1 + in_work
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {result.job.target.name for result in results if not result.error}


@pytest.mark.parametrize(("room", "most"), [(1, 1), (150_000, 3), (2**40, 12)])
def test_images_on_their_way_fit_into_the_memory_they_may_take(tmp_path, monkeypatch, room, most):
    """Counted from the moment that one is decoded until it is written; ``room`` is in bytes."""
    (tmp_path / "in").mkdir()
    for i in range(12):
        Image.new("RGB", (60, 40) if i % 3 else (40, 60)).save(tmp_path / "in" / f"{i:02}.png")
    on_their_way, highest = 0, 0

    def read(*given):
        nonlocal on_their_way, highest
        on_their_way += 1
        highest = max(highest, on_their_way)
        return read_clip_or_picture(*given)

    def write(*given):
        nonlocal on_their_way
        write_picture(*given)
        on_their_way -= 1

    monkeypatch.setattr(pipeline, "read_clip_or_picture", read)
    monkeypatch.setattr(pipeline, "write_picture", write)
    monkeypatch.setattr(Painter, "__call__", lambda self, images, config, scratch: list(images))
    stylizer = Stylizer(DEFAULT_MODEL, device="cpu", batch_size=2, max_memory=3 * room)
    results = stylizer.run(tmp_path / "in", tmp_path / "out")
    assert [result.error for result in results] == 12 * [""]
    assert [result.job.source.name for result in results] == [f"{i:02}.png" for i in range(12)]
    assert highest <= most


def test_temporary_files_lie_beside_the_output_or_where_the_user_says(tmp_path, monkeypatch):
    """The system's own folder for them may lie in memory."""
    folders = set()
    make = tempfile.TemporaryFile

    def noted(*given, dir=None, **named):
        folders.add(dir)
        return make(*given, dir=dir, **named)

    Image.new("RGB", (60, 40)).save(tmp_path / "photo.png")
    stylizer = Stylizer(DEFAULT_MODEL, device="cpu", max_memory=1)
    monkeypatch.setattr(tempfile, "TemporaryFile", noted)
    monkeypatch.delenv("TMPDIR", raising=False)
    (result,) = stylizer.run(tmp_path / "photo.png", tmp_path / "new" / "painted.png")
    assert not result.error
    assert folders == {tmp_path / "new"}
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folders.clear()
    stylizer.run(tmp_path / "photo.png", tmp_path / "new" / "other.png")
    assert folders == {None}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of the size of files")
def test_a_temporary_file_that_is_cut_short_is_noticed(tmp_path):
    """With a limit in the middle of a write, the system takes a part of it and reports no error."""
    import resource

    Image.new("RGB", (300, 200)).save(tmp_path / "photo.png")
    stylizer = Stylizer(DEFAULT_MODEL, device="cpu", max_memory=1, precision="float32")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_001, before[1]))
    try:
        (result,) = stylizer.run(tmp_path / "photo.png", tmp_path / "painted.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.strerror(errno.EFBIG) in result.error


def test_a_full_disk_ends_the_run_with_one_error(stylizer, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for i in range(20):
        Image.new("RGB", (30, 20)).save(tmp_path / "in" / f"{i:02}.png")
    save, written = Image.Image.save, 0

    def limited(self, file, *given, **named):
        nonlocal written
        encodes = not isinstance(file, BytesIO)  # pixels are decoded through one
        written += encodes
        if encodes and written > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, file, *given, **named)

    monkeypatch.setattr(Image.Image, "save", limited)
    results = stylizer.run(tmp_path / "in", tmp_path / "out")
    (failed,) = (result for result in results if result.error)  # several are encoded at a time
    assert "No space left on device" in failed.error
    assert len(results) == 4
    assert written < 15  # and not all twenty


def test_no_room_for_temporary_files_is_said_and_smaller_photos_go_on(
    stylizer, tmp_path, monkeypatch
):
    (tmp_path / "in").mkdir()
    for name, size in (("a.png", 60), ("b.png", 30)):
        Image.new("RGB", (size, size)).save(tmp_path / "in" / name)

    def paint(self, images, config, scratch):
        if images[0].shape[0] == 60:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return list(images)

    monkeypatch.setattr(Painter, "__call__", paint)
    monkeypatch.delenv("TMPDIR", raising=False)
    large, small = stylizer.run(tmp_path / "in", tmp_path / "out")
    assert large.error.endswith(
        f"no room for temporary files in {tmp_path / 'out'}; TMPDIR names another folder"
    )
    assert not small.error


@pytest.mark.parametrize("large", [1, 10**6], ids=["large", "small"])
def test_photos_at_once_are_painted_as_one_by_one(many, tmp_path, monkeypatch, large):
    """As on a machine with many cores; those that are large have their turn one by one."""
    monkeypatch.setattr("stylecli.core.openvino_backend._CORES_FOR_EACH", 1)
    monkeypatch.setattr("stylecli.engine.painter._LARGE", large)  # pixels
    stylizer = Stylizer(DEFAULT_MODEL, device="cpu", backend="openvino", precision="float32")
    for result in stylizer.run(many, tmp_path / "out"):
        if result.job.source.name == "3.png":  # no photo
            assert result.error
        else:
            alone = stylizer(read_picture(result.job.source).rgb)
            np.testing.assert_array_equal(read_picture(result.job.target).rgb, alone)


@pytest.mark.parametrize("stroke_size", [2, 2.0])
def test_a_whole_number_is_named_alike_from_python_and_from_the_command(stroke_size):
    config = StylizeConfig(stroke_size=stroke_size, max_size=1000)
    assert describe_look("udnie", config) == "udnie --stroke-size 2 --max-size 1000"


@pytest.mark.parametrize("typed", [("Udnie", None), ("gallery", "UDNIE"), ("gallery", "udnie:2")])
def test_a_picture_names_its_style_alike_however_it_was_typed(typed):
    """Or the next run, where it is typed otherwise, would say that another model made it."""
    assert full_name(*typed) == full_name("udnie") == "gallery, udnie"
    blend = "udnie:0.5,great-wave:0.5"
    assert full_name("gallery", blend) == f"gallery, {blend}"
    assert full_name("starry-night-residual-in") == "starry-night-residual-in"
