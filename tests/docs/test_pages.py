"""The pages as a whole: all are in the navigation, and the reference says something of every public function."""

import importlib.util
import re
from pathlib import Path

import pytest

import chimap

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def hooks_api():
    spec = importlib.util.spec_from_file_location("hooks_api", DOCS / "hooks_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_in_the_navigation_once():
    nav = (DOCS.parent / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    named = re.findall(r": (\S+\.md)$", nav, re.MULTILINE)
    there = [p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")]
    assert sorted(named) == sorted(there)


def test_every_public_name_is_described(hooks_api):
    entries = re.split(r"^### ", hooks_api.api("chimap"), flags=re.MULTILINE)[1:]
    names = [e.splitlines()[0].strip("`") for e in entries]
    assert names == [f"chimap.{n}" for n in chimap.__all__ if n != "__version__"]
    for entry in entries:
        described = re.sub(r"```.*?```", "", entry.split("\n", 1)[1], flags=re.DOTALL)
        assert re.search(r"[a-z]{3}.*\.", described), entry


def test_docstrings_become_markdown(hooks_api):
    page = hooks_api.api("chimap.simulate")
    assert "snr: float | None = 60.0," in page
    assert "\n- `snr : float or None`: Mean noise-free magnitude" in page
    assert ":math:" not in page and ".. math" not in page and "-----" not in page
    assert " at 0x" not in page


def test_a_block_equation_and_a_role(hooks_api):
    text = "Field.\n\n.. math:: f = D x\n\nWith :math:`D` of `dipole`, times 2*k.\n\nReturns\n-------\nfloat\n    The *sum*.\n"
    assert hooks_api.docstring(text) == (
        "Field.\n\n$$ f = D x $$\n\nWith $D$ of `dipole`, times 2\\*k.\n\n**Returns**\n\n- `float`: The \\*sum\\*."
    )
