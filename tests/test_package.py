"""What an import gets: the API by its short name, and nothing heavy until then."""

import subprocess
import sys
from pathlib import Path

import stylecli


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
