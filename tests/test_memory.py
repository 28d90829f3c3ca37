"""How much memory may be taken, and what keeps it."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from av.video.frame import VideoFrame
from PIL import Image

from clips import make_clip, open_film
from stylecli.core.backend import free_cpu_memory, free_in_cgroups, lacks_memory


def write(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


def test_the_limits_of_groups_of_version_2_count_each_above_the_process(tmp_path):
    groups = tmp_path / "sys/fs/cgroup"
    write(tmp_path / "proc/self", cgroup="0::/jobs/7/step")
    write(groups / "jobs/7/step", memory_max="max", memory_current="100", memory_stat="")
    stat = "anon 4\ninactive_file 30\nactive_file 50"
    write(groups / "jobs/7", memory_max="1000", memory_current="400", memory_stat=stat)
    write(groups / "jobs", memory_max="2000", memory_current="2500", memory_stat="anon 1")
    assert sorted(free_in_cgroups(tmp_path)) == [0, 1000 - 400 + 30]


def test_in_a_container_of_version_1_the_limit_stands_at_the_root(tmp_path):
    write(tmp_path / "proc/self", cgroup="5:cpu:/x\n4:memory:/docker/0a1b\n0::/")
    stat = "inactive_file 1\ntotal_inactive_file 20"
    limits = {"memory_limit_in_bytes": "500", "memory_usage_in_bytes": "100", "memory_stat": stat}
    write(tmp_path / "sys/fs/cgroup/memory", **limits)
    assert free_in_cgroups(tmp_path) == [420]


def test_without_groups_the_machine_alone_has_a_limit(tmp_path):
    assert free_in_cgroups(tmp_path) == []
    assert 0 < free_cpu_memory() < 2**50


@pytest.mark.parametrize(
    "text",
    [
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.",
        "[CPU] Transpose node with name 'Transpose_14372_original' can't alloc\n",  # of OpenVINO
    ],
)
def test_a_library_that_cannot_allocate_lacks_memory(text):
    assert lacks_memory(RuntimeError(text))
    assert not lacks_memory(RuntimeError("the shapes do not fit"))


def test_a_process_in_a_real_group_sees_its_limit():
    """In version 1 of the kernel's groups, as root."""
    group = Path("/sys/fs/cgroup/memory") / f"stylecli-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(300 * 2**20))
    except OSError:
        pytest.skip("groups cannot be made here")
    code = (
        "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "from stylecli.core.backend import free_cpu_memory; print(free_cpu_memory() / 2**20)"
    )
    try:
        command = [sys.executable, "-c", code, str(group / "cgroup.procs")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert 100 < float(done.stdout) < 300
    finally:
        group.rmdir()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_after_stylize_has_begun_threads_share_one_heap(tmp_path):
    code = """
import contextlib, ctypes, sys, tempfile, threading
from stylecli.cli import app
with contextlib.suppress(SystemExit):
    app(sys.argv[1:])
done, ready = threading.Event(), threading.Barrier(5)
def work():
    kept = [bytes(1000) for _ in range(100)]
    ready.wait()
    done.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
ready.wait()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile() as file:
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(open(file.name).read().count("<heap nr="))
done.set()
"""

    def count_heaps(*given: str) -> int:
        command = [sys.executable, "-c", code, *given]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        return int(done.stdout.splitlines()[-1])

    photo = tmp_path / "photo.png"
    Image.new("RGB", (80, 60)).save(photo)
    assert count_heaps("--version") >= 5  # of the main thread, and of four others
    assert count_heaps("stylize", str(photo), str(tmp_path / "painted.png")) <= 3


def test_frames_that_were_read_are_not_kept(tmp_path):
    """PyAV's side data and its frame hold each other, until Python looks for such pairs."""
    video = open_film(make_clip(tmp_path / "x.mp4", frames=12, sound=False))
    gc.collect()
    gc.disable()
    try:
        for _ in video.frames():
            pass
        kept = [one for one in gc.get_objects() if type(one) is VideoFrame]
    finally:
        gc.enable()
    assert len(kept) < 4  # that of which the side data were read, and the last
