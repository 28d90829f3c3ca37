"""What an installation gets: the API by its short name, and every file that ships."""

import subprocess
import sys
from pathlib import Path

import pytest

import stylecli

ROOT = Path(__file__).parents[1]


def test_all_of_the_api_is_there_by_its_short_name_and_costs_nothing_until_then():
    for name in stylecli.__all__:
        assert getattr(stylecli, name).__doc__
    assert (Path(stylecli.__file__).parent / "py.typed").exists()
    code = (
        "import sys, stylecli; assert not {'torch', 'numpy'} & {*sys.modules}\n"
        "from stylecli import Stylizer; assert 'torch' not in sys.modules; print(Stylizer.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "Stylizer", done.stderr


def test_every_model_and_card_of_the_repository_is_in_the_wheel():
    tomllib = pytest.importorskip("tomllib")
    if not (ROOT / ".git").exists():
        pytest.skip("only a checkout knows what is tracked")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"])
    tracked = subprocess.run(
        ["git", "ls-files", "models"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    there = {path for path in tracked if not path.startswith("models/paintings/")}
    assert listed == there | {"models/paintings"}
    for path in listed:
        assert (ROOT / path).exists()
