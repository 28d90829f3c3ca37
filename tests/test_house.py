"""What a stranger relies on: the licenses of all that ships, hooks that check what CI checks."""

import re
import subprocess
from pathlib import Path

import pytest

import stylecli

ROOT = Path(__file__).parents[1]
TEXTS = {".md", ".py", ".json", ".jinja", ".toml", ".yml", ".yaml", ".typed", ""}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("only a checkout knows what is tracked")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    return [Path(name) for name in listed.stdout.split("\0") if name]


def patterns() -> list[str]:
    """The files that the table of licenses names."""
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / "docs/licenses.md").read_text("utf-8"), re.M)
    return [pattern for row in rows for pattern in re.findall("`(.+?)`", row)]


def test_every_file_that_is_no_text_has_its_license_in_one_row(tracked):
    there = {path: {*ROOT.glob(path)} for path in patterns()}
    assert all(there.values()), "a row names no file"
    for path in (one for one in tracked if one.suffix not in TEXTS and one.name != ".gitignore"):
        rows = [pattern for pattern, paths in there.items() if ROOT / path in paths]
        assert len(rows) == 1, f"{path} stands in {rows} of docs/licenses.md"


def test_the_hooks_are_the_linters_of_make_lint():
    hooks = re.findall(r"entry: (.+)", (ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    recipe = re.search(r"\nlint:.*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text("utf-8"))[1]
    linters = recipe.replace("$(BIN)", ".venv/bin").splitlines()
    assert hooks == [line.strip() for line in linters]


def test_the_changelog_begins_with_the_version_that_is_here():
    releases = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert releases[0] == stylecli.__version__
    assert len(set(releases)) == len(releases)


def test_the_addresses_of_the_project_are_all_placeholders_or_all_of_one_place():
    table = re.search(
        r"\n\[project\.urls\]\n(.+?)\n\n", (ROOT / "pyproject.toml").read_text(), re.S
    )
    urls = dict(re.findall(r'(\w+) = "(.+)"', table[1]))
    assert urls.keys() == {"Repository", "Issues", "Documentation", "Changelog"}
    assert all(url.startswith("https://") for url in urls.values())
    # example.org belongs to nobody (RFC 2606): a link to it is honest, and one left over is found.
    of_nobody = {name for name, url in urls.items() if url.startswith("https://example.org/")}
    assert of_nobody in (set(), {*urls})
    assert of_nobody or urls["Issues"].startswith(urls["Repository"])


def test_the_form_for_bugs_asks_for_the_doctor():
    form = (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text("utf-8")
    assert "stylecli doctor" in form
