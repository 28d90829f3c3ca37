"""``stylecli doctor``, in real processes: of whole installations, and of broken ones."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.numpy import save

from stylecli.core.model_files import bundled_models

pytestmark = pytest.mark.xdist_group("doctor")  # they share one report, which takes seconds
GALLERY = (bundled_models() / "gallery.safetensors").read_bytes()


def doctor(folder: Path, *arguments: str, **environment: object) -> str:
    """What it prints; it never fails, and never writes to stderr."""
    command = [sys.executable, "-m", "stylecli", "doctor", *arguments]
    given = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def breaking(folder: Path, **libraries: str) -> str:
    """A PYTHONPATH on which libraries end their import with an error."""
    for name, error in libraries.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise {error}\n")
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


@pytest.fixture(scope="module")
def jane(tmp_path_factory) -> tuple[Path, dict[str, object]]:
    """The folder and the environment of a user with broken models and no place for a cache."""
    top = tmp_path_factory.mktemp("machine")
    home, work = top / "home" / "jane", top / "scratch" / "jane" / "work"
    for folder in (home / "models", work / "models"):
        folder.mkdir(parents=True)
    (work / "models" / "good.safetensors").write_bytes(GALLERY)
    (work / "models" / "cut.safetensors").write_bytes(GALLERY[:-1000])
    (work / "models" / "empty.safetensors").touch()
    (work / "models" / "other.safetensors").write_bytes(save({}))
    (work / "models" / "half.checkpoint.safetensors").touch()  # an unfinished training
    (top / "file").touch()
    names = {"HOME": home, "USERPROFILE": home, "USER": "jane", "LOGNAME": "jane"}
    data = top / "scratch" / "jane" / "data"
    return work, {**names, "XDG_CACHE_HOME": top / "file" / "cache", "XDG_DATA_HOME": data}


@pytest.fixture(scope="module")
def report(jane) -> str:
    """What is said of that."""
    folder, environment = jane
    before = sorted(folder.parents[2].rglob("*"))
    said = doctor(folder, "--json", **environment)
    assert sorted(folder.parents[2].rglob("*")) == before  # it only looks
    return said


def test_a_whole_installation_says_what_would_be_chosen_and_why(report):
    facts = json.loads(report)
    assert facts["versions"]["torch"] == version("torch")
    assert facts["versions"]["ffmpeg"]
    assert "pytest" not in facts["versions"]
    assert facts["machine"]["cores"] == os.cpu_count()
    backend = "openvino" if find_spec("openvino") else "torch"
    assert backend in facts["stylize"]["auto"]
    assert facts["stylize"]["why"]
    assert facts["train"]["auto"].split(", ")[1] == "torch"
    assert facts["train"]["cpu_instructions"]
    assert facts["environment"]["OMP_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"]


def test_a_broken_model_is_named_with_its_reason(report):
    facts = json.loads(report)
    bundled, _, here = facts["models"]
    assert here["models"] == 1
    assert here["broken"].keys() == {"cut.safetensors", "empty.safetensors", "other.safetensors"}
    assert "not one that stylecli wrote" in here["broken"]["other.safetensors"]
    assert sorted(facts["problems"]) == sorted(here["broken"].values())
    assert (bundled["models"], bundled["broken"]) == (5, {})


@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder is set in Linux's way")
def test_a_cache_that_cannot_be_written_is_said(report):
    folders = json.loads(report)["folders"]
    assert folders["cache"]["writable"] is False
    assert folders["temporary"]["writable"] is True
    assert folders["temporary"]["free_gib"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="the data folder is set in Linux's way")
def test_nothing_private_is_in_it(report):
    assert "jane" not in report
    assert "/scratch/USER/data" in report


def test_without_openvino_torch_is_chosen(tmp_path):
    code = (
        "import sys; sys.modules['openvino'] = None\n"  # Python's way to say: not there
        "from stylecli.cli import main; sys.argv[1:] = ['doctor']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    chosen = lines[lines.index("stylize") + 1 :][:2]
    assert "torch" in chosen[0]
    assert chosen[1] == "  why: OpenVINO is not installed"
    assert lines[-2:] == ["problems", "  none"]


def test_a_library_that_is_broken_is_a_line_and_the_rest_is_said(tmp_path):
    path = breaking(
        tmp_path / "path",
        torch="OSError('libtorch.so: wrong version')",
        openvino="ImportError('no libopenvino')",
        av="ImportError('no ffmpeg')",
    )
    facts = json.loads(doctor(tmp_path, "--json", PYTHONPATH=path))
    assert facts["problems"][0] == "versions: ImportError: no ffmpeg"
    assert "stylize: " in facts["problems"][1]
    assert facts["train"] == {"failed": "OSError: libtorch.so: wrong version"}
    assert facts["machine"]["cores"] == os.cpu_count()
