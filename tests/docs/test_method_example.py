"""The example of "Add a method" does what the page says: its own test passes, and it gets its flags."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"
_FLAGS = """
import sys
import landweber
from chimap.cli import main
sys.exit(main(["invert", "--method", "landweber", "--help"]))
"""


def test_example(tmp_path):
    # In a process of its own: a registered method would stay for the tests that come after.
    method, its_test = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "landweber.py").write_text(method)
    (tmp_path / "test_it.py").write_text(its_test.replace("chimap.inversion.landweber", "landweber"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    help_text = subprocess.run(
        [sys.executable, "-c", _FLAGS], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert "--iterations" in help_text and "10.2307/2372313" in help_text
