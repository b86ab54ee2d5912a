"""Rows of lesions and regions in the report: what they say, and that they lead to their place in the viewer."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from chimap.report import MapItem, ReportData
from chimap.report.html import render

SHAPE = (20, 24, 22)
AFFINE = np.array([[-2.0, 0, 0, 19], [0, 2, 0, -23], [0, 0, 2, -21], [0, 0, 0, 1]])
EVIL = '<script>alert(1)</script> & "x"'
ROWS = [
    {
        "number": 1,
        "kind": "haemorrhage",
        "x": 5.0,
        "y": -9.0,
        "z": 7.0,
        "region": EVIL,
        "region_distance": 2.5,
        "contrast": 812.4,
        "moment": 52345.0,
        "moment_error": 1234.0,
        "diameter": 4.61,
        "hint": "hint: chronic or acute",
    },
    {"number": 2, "kind": "calcification", "x": -3.0, "y": 5.0, "z": 1.0, "contrast": -900.0, "moment": -9000.0,
     "diameter": 3.0},
]  # fmt: skip


def _data(**changes):
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    mask = sum(a**2 for a in axes) < 0.9
    chi = np.where(mask, np.random.default_rng(2).normal(0, 0.02, SHAPE), 0).astype(np.float32)
    lesions = {
        "method": "Spots of 2 to 12 mm.",
        "rows": ROWS,
        "left_out": ["no label image: no nearest region"],
        "rejected": {"vessel: elongated": 3, "at the edge of the mask": 1},
        "png": b"\x89PNG",
    }
    values = {
        "maps": [MapItem("chi", "Susceptibility", "ppm", chi, "reference", (-0.1, 0.2))],
        "masks": {"brain": mask, "lesions": mask & (chi > 0.05)},
        "regions": [
            {"name": "putamen", "voxels": 40, "mean_ppb": 50.0, "x_mm": 9.0, "y_mm": 3.0, "z_mm": -5.0},
            {"name": "nowhere", "voxels": 2, "mean_ppb": 1.0},
        ],
        "lesions": lesions,
    }
    return ReportData("t", "s", "c", "v", AFFINE, (2, 2, 2), "now", **{**values, **changes})


class Links(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.places = {}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if "data-place" in found:
            assert tag == "a" and found["href"] == "#viewer"  # a link: Tab and Enter reach it
            self.places[found["aria-label"]] = found["data-place"]


def test_rows_say_what_and_where():
    page = render(_data())
    assert Links(page).places == {
        "putamen: show in the viewer": "xyz=9.0,3.0,-5.0&map=chi",
        "lesion 1, haemorrhage: show in the viewer": "xyz=5.0,-9.0,7.0&map=chi",
        "lesion 2, calcification: show in the viewer": "xyz=-3.0,5.0,1.0&map=chi",
    }
    section = page[page.index('<section id="lesions"') :]
    section = section[: section.index("</section>")]
    for text in ("52 345 ± 1 234", "5.0, −9.0, 7.0", "2.5 mm away", "chronic or acute", "−9 000<", "(4)"):
        assert text in section, text
    assert "no label image" in section and "data:image/png;base64,iVBORw==" in section
    assert "<script>alert" not in page and '<a href="#lesions">' in page


def test_without_viewer_rows_are_text():
    page = render(_data(maps=[], masks={}))
    assert not Links(page).places and "52 345" in page and "leads to its place" not in page


def test_none_found_and_none_looked_for():
    page = render(_data(lesions={**_data().lesions, "rows": []}))
    assert "No lesion was found" in page and "data:image/png;base64,iVBORw==" not in page
    assert 'id="lesions"' not in render(_data(lesions={}))


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CLICK = """<script>
const wait = setInterval(() => {
  if (document.documentElement.dataset.viewer !== "ready") return;
  clearInterval(wait);
  document.querySelector(SELECTOR).click();
  setTimeout(() => { document.body.dataset.focus = document.activeElement.tagName; }, 200);
}, 50);
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize(
    ("selector", "xyz"),
    [
        ("#lesions tbody tr:nth-child(2) a", [-3, 5, 1]),
        ("#lesions tbody tr:nth-child(1) td:nth-child(4)", [5, -9, 7]),
        ("#regions tbody tr:nth-child(1) a", [9, 3, -5]),
    ],
    ids=["link", "row", "region"],
)
def test_click_moves_the_crosshair(tmp_path, selector, xyz):
    page = render(_data()).replace("</body>", CLICK.replace("SELECTOR", repr(selector)))
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *options, f"file://{path}"], capture_output=True, text=True, timeout=60, check=False
    )
    if "<html" not in done.stdout:
        pytest.skip("Chromium does not start here")
    readout = re.search(r'<p id="vw-readout"[^>]*>', done.stdout).group()
    assert [float(v) for v in re.search(r'data-xyz="([^"]*)"', readout).group(1).split(",")] == xyz
    assert 'data-map="chi"' in readout and 'data-focus="CANVAS"' in done.stdout
    assert done.stdout.count('aria-current="true"') == 1
