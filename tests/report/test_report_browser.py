"""The report's viewer under the mouse in a headless browser. Skipped without Chromium."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import chromium
import view_results as results
from chimap.report import MapItem, ReportData, write_report

pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium here")


@pytest.fixture
def page(tmp_path: Path):
    chi = MapItem("chi", "Susceptibility", "ppm", results.chi(), "reference", window=(-0.1, 0.2))
    data = ReportData(
        title="Test", subject="sub-01", command="", version="0", affine=results.AFFINE, voxel_size_mm=(2, 2.5, 1.5),
        created="today", maps=[chi], masks={"brain": results.mask()},
    )  # fmt: skip
    path = write_report(tmp_path / "report.html", data)
    try:
        browser = chromium.Chromium(tmp_path / "profile")
    except (OSError, TimeoutError) as e:
        pytest.skip(f"Chromium does not start here ({e})")
    with browser:
        browser.open(path.as_uri())
        yield browser
        assert browser.problems == []


def test_click_key_and_window(page):
    x, y, width, height = page.js("""(() => {
      const c = document.querySelector("#vw-planes canvas");
      c.scrollIntoView({ block: "center" });
      const r = c.getBoundingClientRect();
      return [r.x, r.y, r.width, r.height];
    })()""")

    def reading() -> tuple[tuple[int, ...], float]:
        ijk, value = page.js("(d => [d.ijk, d.value])(document.getElementById('vw-readout').dataset)")
        return tuple(int(i) for i in ijk.split(",")), float(value)

    page.click(x + 0.4 * width, y + 0.6 * height)
    voxel, value = reading()
    assert value == pytest.approx(results.chi()[voxel], abs=0.00101)
    page.key("PageUp")
    page.key("ArrowLeft")
    moved, value = reading()
    # Up is along the second axis, the patient's right (screen left) against the first.
    assert tuple(np.subtract(moved, voxel)) == (-1, 1, 0)
    assert value == pytest.approx(results.chi()[moved], abs=0.00101)
    for kind, to in (("mousePressed", 0.5), ("mouseMoved", 0.4), ("mouseReleased", 0.4)):
        page.mouse(kind, x + to * width, y + height / 2, "right")
    low, high = page.js("['vw-low', 'vw-high'].map(k => Number(document.getElementById(k).value))")
    assert high - low == pytest.approx(300 - 0.2 * 300, abs=5)
    assert reading()[0] == moved
