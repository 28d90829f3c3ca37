"""Files that lie in a store, with fsspec's own store in memory: names, plans, runs, failures."""

import os
import subprocess
import sys
import threading
from io import BytesIO
from itertools import count
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clips import count_and_seconds, make_clip, sound_of
from stylecli.config import StylizeConfig
from stylecli.core.model_files import bundled_models, find_style
from stylecli.engine import Stylizer
from stylecli.errors import StyleCliError
from stylecli.files import stores
from stylecli.files.content import bundled_photos
from stylecli.files.jobs import Shard, plan
from stylecli.files.stores import Url, place

fsspec = pytest.importorskip("fsspec")
from fsspec.implementations.memory import MemoryFileSystem

AS_IT_IS = StylizeConfig(strength=0)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty store; temporary files lie in a folder of their own."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    yield MemoryFileSystem()
    assert list((tmp_path / "temporary").iterdir()) == []
    MemoryFileSystem.store.clear()


@pytest.fixture
def calls(monkeypatch):
    """The names of the calls of the store that cost a request."""
    made = []
    for name in ("find", "info", "ls", "exists", "get_file", "put_file"):
        method = getattr(MemoryFileSystem, name)

        def counted(self, *args, _name=name, _method=method, **more):
            made.append(_name)
            return _method(self, *args, **more)

        monkeypatch.setattr(MemoryFileSystem, name, counted)
    return made


def jpeg(number: int = 0, size: tuple[int, int] = (48, 32)) -> bytes:
    encoded = BytesIO()
    Image.open(bundled_photos()[number % 24]).resize(size).save(encoded, "JPEG")
    return encoded.getvalue()


def targets(*given: str, out: str, **more: object) -> list[str]:
    return [str(job.target) for job in plan(list(map(place, given)), place(out), **more).jobs]


@pytest.mark.parametrize(
    "text", ["C:\\a\\b.jpg", "C:/a", "c://a", "a.jpg", "-", "https://host/a", "/s3:/a", "s3:/a", ""]
)
def test_only_a_url_of_a_store_is_one(text):
    assert place(text) == Path(text)
    assert place(Path("s3://bucket/a")) == Path("s3:/bucket/a")


def test_a_url_is_told_as_it_was_given():
    assert str(place("s3://bucket/in/")) == "s3://bucket/in"
    assert str(place("s3://bucket/a//b")) == "s3://bucket/a//b"
    assert place("memory://") == Url("memory", "")


words = st.text("ab.#?% é", min_size=1, max_size=6).filter(lambda text: text.strip("."))


@given(st.lists(words, min_size=3, max_size=5))
def test_a_url_has_pathlibs_face(parts):
    url, path = place("s3://" + "/".join(parts)), PurePosixPath("/".join(parts))
    for name in ("name", "stem", "suffix"):
        assert getattr(url, name) == getattr(path, name)
    assert url.parent.path == str(path.parent)
    assert url.with_name("x.png").path == str(path.with_name("x.png"))
    assert (url / "x").path == str(path / "x")
    folder = url.parent.parent
    assert url.is_relative_to(folder) and url.is_relative_to(url)
    assert not folder.is_relative_to(url)
    assert folder / url.relative_to(folder) == url


def test_a_folder_is_mirrored_by_one_listing_and_what_is_there_is_skipped_by_another(store, calls):
    for name in ("b.jpg", "a/b.PNG", "a/c/x.mp4", "notes.txt", ".hidden/a.jpg", "out/b.jpg"):
        store.pipe(f"/bucket/in/{name}", b"x")
    url, out = place("memory://bucket/in"), place("memory://bucket/in/out")
    calls.clear()
    planned = plan([url], out)
    assert calls == ["find", "find"]
    assert [str(job.target) for job in planned.jobs] == [f"{out}/a/b.PNG", f"{out}/a/c/x.mp4"]
    assert [str(job.source) for job in planned.skipped] == [f"{url}/b.jpg"]
    calls.clear()
    assert len(plan([place(str(url))], out, overwrite=True).jobs) == 3
    assert calls == ["find"]


def test_the_folder_above_can_be_the_output(store):
    store.pipe("/bucket/trip/raw/a.jpg", b"x")
    found = targets("memory://bucket/trip/raw", out="memory://bucket/trip")
    assert found == ["memory://bucket/trip/a.jpg"]


def test_one_file_asks_for_no_listing_of_the_folder_that_it_goes_to(store, monkeypatch):
    asked = []
    find = MemoryFileSystem.find
    monkeypatch.setattr(
        MemoryFileSystem, "find", lambda self, path, **more: asked.append(path) or find(self, path)
    )
    store.pipe("/bucket/a.jpg", b"x")
    assert targets("memory://bucket/a.jpg", out="memory://all") == ["memory://all/a.jpg"]
    assert targets("memory://bucket/a.jpg", out="memory://all/b.png") == ["memory://all/b.png"]
    assert "/all" not in asked


def test_stores_and_folders_go_together(store, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").touch()
    store.pipe("/bucket/b.jpg", b"x")
    both = [str(tmp_path / "in"), "memory://bucket"]
    assert targets(*both, out="memory://out", suffix="-p", format="png") == [
        "memory://out/a-p.png",
        "memory://out/b-p.png",
    ]
    assert targets(*both, out=str(tmp_path)) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    shards = [targets(*both, out="memory://out", shard=Shard(number, 2)) for number in range(2)]
    assert shards == [["memory://out/a.jpg"], ["memory://out/b.jpg"]]


def test_no_name_in_a_store_leads_out_of_the_output_folder(store, tmp_path):
    for name in ("../up.jpg", "a/../../up.jpg", "./here.jpg", "//etc/root.jpg", "a//b.jpg"):
        store.pipe_file(f"/bucket/in/{name}", b"x")
    found = targets("memory://bucket/in", out=str(tmp_path / "out"))
    assert found == [str(tmp_path / "out" / name) for name in ("etc/root.jpg", "a/b.jpg")]


@pytest.mark.parametrize(
    ("given", "out", "says"),
    [
        ("memory://bucket/none", "memory://out", "^no such file or folder: memory://bucket/none$"),
        ("memory://bucket/in/t.txt", "memory://out", "t.txt is not an image or a video by its"),
        ("memory://bucket/in", "memory://bucket/in", "in/a.jpg would be overwritten by its own"),
        ("memory://bucket/in/a.jpg", "memory://bucket/in/a.jpg", "would be overwritten by its own"),
        ("memory://bucket/in", "memory://out.jpg", "^the output memory://out.jpg is a file, and"),
        ("memory://bucket/in/a.jpg", "memory://out.v2", "out.v2 does not end like an image or"),
        ("memory://bucket/in/a.jpg", "memory://out/a.mp4", "one is a video, and one is an image"),
        ("memory://", "memory://out", "^memory:// names no bucket$"),
        ("memory://bucket//in", "memory://out", "^memory://bucket//in has two slashes after its"),
        ("memory://bucket/nul", "out", "has a name that a file of this machine cannot have$"),
        ("gs://bucket/in", "memory://out", "^gs://bucket/in needs a package that is not installed"),
    ],
)
def test_what_cannot_be_is_one_line_before_any_work(store, monkeypatch, given, out, says):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    store.pipe({"/bucket/in/a.jpg": b"x", "/bucket/in/t.txt": b"x", "/bucket/nul/\0.jpg": b"x"})
    with pytest.raises(StyleCliError, match=says):
        plan([place(given)], place(out))


def test_a_missing_extra_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(StyleCliError, match="needs a package that is not installed") as caught:
        plan([place("s3://bucket/in")], Path("out"))
    assert caught.value.hint == "pip install 'stylecli[remote]'"


def test_results_are_those_of_local_files(stylizer, store, tmp_path):
    (tmp_path / "in" / "below").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "below/b.png", "c.webp")):
        photo = Image.open(bundled_photos()[number]).resize((50 + number, 40))
        photo.save(tmp_path / "in" / name)
        store.pipe(f"/bucket/in/{name}", (tmp_path / "in" / name).read_bytes())
    stylizer.run(tmp_path / "in", tmp_path / "out")
    results = stylizer.run("memory://bucket/in", "memory://bucket/out")
    assert [result.error for result in results] == [""] * 3
    for name in ("a.jpg", "below/b.png", "c.webp"):
        assert store.cat(f"/bucket/out/{name}") == (tmp_path / "out" / name).read_bytes()
    assert stylizer.run("memory://bucket/in", "memory://bucket/out") == []


def test_one_bad_object_is_named_by_its_url_and_the_rest_is_done(stylizer, store, monkeypatch):
    store.pipe({"/in/a.jpg": jpeg()[:500], "/in/b.jpg": jpeg(), "/in/c.jpg": b"", "/in/d.jpg": b""})
    get_file = MemoryFileSystem.get_file

    def cut(self, name, path, **more):
        if name == "/in/d.jpg":
            raise OSError("connection lost")
        get_file(self, name, path, **more)

    monkeypatch.setattr(MemoryFileSystem, "get_file", cut)
    a, b, c, d = [result.error for result in stylizer.run("memory://in", "memory://out")]
    assert a.startswith("memory://in/a.jpg is damaged: ")
    assert not b
    assert c.startswith("memory://in/c.jpg is not an image that can be read")
    assert d == "cannot read memory://in/d.jpg: connection lost"
    assert store.find("/out") == ["/out/b.jpg"]


def test_a_lost_result_is_one_failure_and_a_store_without_rights_ends_the_run(
    stylizer, store, monkeypatch
):
    for number in range(40):
        store.pipe(f"/in/{number:02}.jpg", jpeg())
    put_file, failure = MemoryFileSystem.put_file, OSError("connection lost")

    def refuse(self, path, name, **more):
        if name.endswith("03.jpg"):
            raise failure
        put_file(self, path, name, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", refuse)
    results = stylizer.run("memory://in", "memory://out", AS_IT_IS)
    (failed,) = [result for result in results if result.error]
    assert failed.error == "cannot write memory://out/03.jpg: connection lost"
    assert len(store.find("/out")) == 39
    failure = PermissionError("Access Denied")
    store.rm("/out", recursive=True)
    results = stylizer.run("memory://in", "memory://out", AS_IT_IS)
    said = [result.error for result in results if result.error]
    assert said == ["no permission to write memory://out/03.jpg: Access Denied"]
    assert 3 < len(results) < 25


def test_transfers_go_beside_each_other_and_no_further_ahead_than_needed(
    stylizer, store, monkeypatch, tmp_path
):
    for number in range(60):
        store.pipe(f"/in/{number:02}.jpg", jpeg(size=(16, 16)))
    down, up = threading.Barrier(4, timeout=240), threading.Barrier(2, timeout=240)
    copies = []
    get_file, put_file = MemoryFileSystem.get_file, MemoryFileSystem.put_file

    def get(self, *args, **more):
        down.wait()  # for three other downloads
        copies.append(len(list((tmp_path / "temporary").rglob("*.jpg"))))
        get_file(self, *args, **more)

    def put(self, *args, **more):
        up.wait()
        put_file(self, *args, **more)

    monkeypatch.setattr(MemoryFileSystem, "get_file", get)
    monkeypatch.setattr(MemoryFileSystem, "put_file", put)
    results = stylizer.run("memory://in", "memory://out", AS_IT_IS)
    assert [result.error for result in results] == [""] * 60
    assert [str(result.job.source)[-6:] for result in results] == [f"{n:02}.jpg" for n in range(60)]
    assert max(copies) < 50


def test_a_run_that_is_stopped_ends_what_is_in_work_and_leaves_no_copies(stylizer, store):
    for number in range(40):
        store.pipe(f"/in/{number:02}.jpg", jpeg())
    done = []
    results = stylizer.run_jobs(
        plan([place("memory://in")], place("memory://out")).jobs,
        done.append,
        lambda: len(done) > 2,
        AS_IT_IS,
    )
    assert 2 < len(results) < 20
    assert len(store.find("/out")) == len(results)


def test_videos_and_animations_go_through_local_copies(stylizer, store, tmp_path):
    for number in range(4):
        source = make_clip(tmp_path / f"{number}.mp4", frames=5)
        store.put_file(str(source), f"/in/{number}.mp4")
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    encoded = BytesIO()
    frames[0].save(encoded, "GIF", save_all=True, append_images=frames[1:], duration=200)
    store.pipe({"/in/x.gif": encoded.getvalue(), "/in/9.mp4": b"no video"})
    copies = set()

    def look(event):
        copies.add(len([*(tmp_path / "temporary").rglob("*.mp4")]))

    jobs = plan([place("memory://in")], place("memory://out")).jobs
    results = stylizer.run_jobs(jobs, look, config=AS_IT_IS)
    (failed,) = [result.error for result in results if result.error]
    assert failed.startswith("memory://in/9.mp4")
    assert max(copies) <= 4  # the sources of two, and the results of two
    store.get_file("/out/3.mp4", str(tmp_path / "painted.mp4"))
    assert count_and_seconds(tmp_path / "painted.mp4")[0] == 5
    assert sound_of(tmp_path / "painted.mp4") == sound_of(tmp_path / "3.mp4") != ""
    assert Image.open(BytesIO(store.cat("/out/x.gif"))).n_frames == 2


def test_a_model_is_fetched_once_and_again_when_it_has_changed(store, calls, stylizer):
    model = bundled_models() / "starry-night-residual-in.safetensors"
    store.put_file(str(model), "/models/sky.safetensors")
    url = "memory://models/sky.safetensors"
    path, info, _ = find_style(url)
    assert info.name == "sky" and path.read_bytes() == model.read_bytes()
    photo = np.asarray(Image.open(bundled_photos()[0]).resize((40, 40)))
    assert (Stylizer(url)(photo) == Stylizer(model)(photo)).all()
    assert calls.count("get_file") == 1
    store.put_file(str(model.with_name("gallery.safetensors")), "/models/sky.safetensors")
    assert len(find_style(url, "udnie")[1].styles) == 8
    assert calls.count("get_file") == 2
    with pytest.raises(StyleCliError, match=r"none\.safetensors: there is none"):
        find_style("memory://models/none.safetensors")
    store.pipe("/models/bad.safetensors", b"x")
    with pytest.raises(StyleCliError, match=r"bad\.safetensors"):
        find_style("memory://models/bad.safetensors")


def test_copies_of_models_that_were_used_longest_ago_make_room(store, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(stores, "_CACHE_BYTES", 250)
    older = tmp_path / "cache" / "stylecli" / "openvino" / "of-another-version.bin"
    older.parent.mkdir(parents=True)
    older.write_bytes(bytes(1000))

    def use(name: str) -> Path:
        path = stores.fetch_cached(place(f"memory://models/{name}.safetensors"))
        moment = next(moments)
        os.utime(path.parent, (moment, moment))
        return path

    def kept() -> str:
        return "".join(sorted(path.stem for path in older.parents[1].rglob("*.safetensors")))

    moments = count(10**9)
    for name in "abcd":
        store.pipe(f"/models/{name}.safetensors", bytes(100))
    assert use("a") != use("b")
    assert kept() == "ab"
    use("a")
    use("c")
    assert kept() == "ac"
    store.pipe("/models/a.safetensors", bytes(240))  # it has changed
    path = use("a")
    assert path.stat().st_size == 240
    assert kept() == "a"
    store.pipe("/models/d.safetensors", bytes(1000))
    half = path.parent / ".stylecli-0123.safetensors"  # of a killed process
    half.write_bytes(bytes(9))
    os.utime(half, (0, 0))
    use("d")
    assert kept() == "d"  # however large
    assert [path.name for path in older.parents[1].iterdir() if not path.is_dir()] == []
    assert len(list(older.parents[1].iterdir())) == 2  # no empty folders
    assert older.exists()


def test_a_cache_that_can_only_be_read_is_used(store, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store.pipe("/models/a.safetensors", bytes(10))
    url = place("memory://models/a.safetensors")
    path = stores.fetch_cached(url)

    def refused(self, *_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "touch", refused)
    assert stores.fetch_cached(url) == path


def test_local_files_need_nothing_of_it(photos, tmp_path):
    """The real command, where fsspec cannot be imported."""
    (tmp_path / "fsspec.py").write_text("raise ImportError")
    places = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", "stylecli", "stylize", str(photos), str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--strength", "0"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 3
