"""Two maps with a divider between, ready views, and the page's colours, in a headless browser. Skipped without Chromium."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import chromium
import view_results as results
from chimap.report import MapItem, ReportData, write_report

pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium here")


def items() -> list[MapItem]:
    """Magnitude white, local field black: a pixel says which map it shows."""
    mask, shape = results.mask(), results.SHAPE
    lost = np.zeros(shape, np.float32)
    lost[12, 7, 9] = 3
    return [
        MapItem("magnitude", "Magnitude", "", np.ones(shape, np.float32), "input", window=(0, 1)),
        MapItem("local", "Local field", "ppm", np.full(shape, -1.0, np.float32), "background", window=(-1, 1)),
        MapItem("excluded", "Lost", "", lost, "field", colormap="labels", labels={3: "misfit"}, under=mask.astype(np.float32)),
        MapItem("chi", "Susceptibility", "ppm", np.where(mask, np.float32(-1), np.float32(0)), "reference", window=(-0.1, 0.2)),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    data = ReportData(
        title="Test", subject="sub-01", command="", version="0", affine=results.AFFINE, voxel_size_mm=(2, 2.5, 1.5),
        created="today", maps=items(), masks={"brain": results.mask()},
    )  # fmt: skip
    path = write_report(folder / "report.html", data)
    try:
        browser = chromium.Chromium(folder / "profile")
    except (OSError, TimeoutError) as e:
        pytest.skip(f"Chromium does not start here ({e})")
    with browser:
        browser.path = path
        yield browser


@pytest.fixture
def page(browser):
    browser.open(browser.path.as_uri())
    yield browser
    assert browser.problems == []


def brightness(page, x: float) -> float:
    """Of the axial picture at a part of its width, a little above its middle."""
    return page.js(f"""(() => {{
      const c = document.querySelector("#vw-planes canvas");
      return c.getContext("2d").getImageData(Math.round({x} * c.width), Math.round(0.42 * c.height), 1, 1).data[0];
    }})()""")


def view(page, title: str) -> None:
    page.js(
        f"[...document.querySelectorAll('#vw-views button')].find((b) => b.textContent === '{title}').click()"
    )
    settle(page)


def settle(page) -> None:
    page.js(
        "new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 60))"
    )


def test_ready_views_are_those_whose_maps_are_there(page):
    titles = page.js("[...document.querySelectorAll('#vw-views button')].map((b) => b.textContent)")
    assert titles == [
        "Susceptibility",
        "Magnitude | susceptibility",
        "Local field | susceptibility",
        "Lost voxels",
    ]
    pressed = "[...document.querySelectorAll('#vw-views [aria-pressed=true]')].map((b) => b.textContent)"
    assert page.js(pressed) == ["Susceptibility"]
    view(page, "Lost voxels")
    assert page.js(pressed) == ["Lost voxels"]
    # The crosshair went to the only lost voxel, whose reason is named.
    assert page.js("document.getElementById('vw-readout').dataset.ijk") == "12,7,9"
    assert "3 misfit" in page.js("document.getElementById('vw-readout').textContent")


def test_divider_by_mouse_keys_and_slider(page):
    view(page, "Magnitude | susceptibility")
    assert brightness(page, 0.4) == 255 and brightness(page, 0.6) == 0
    x, y, width, height = page.js("""(() => {
      const c = document.querySelector("#vw-planes canvas");
      c.scrollIntoView({ block: "center" });
      const r = c.getBoundingClientRect();
      return [r.x, r.y, r.width, r.height];
    })()""")
    before = page.js("document.getElementById('vw-readout').dataset.ijk")
    for kind, to in (("mousePressed", 0.5), ("mouseMoved", 0.3), ("mouseReleased", 0.3)):
        page.mouse(kind, x + to * width, y + height / 2)
    settle(page)
    assert brightness(page, 0.25) == 255 and brightness(page, 0.4) == 0
    assert page.js("document.getElementById('vw-split').value") == "30"
    # The divider was dragged, not the crosshair.
    assert page.js("document.getElementById('vw-readout').dataset.ijk") == before
    for _ in range(10):
        page.key(".")
    settle(page)
    assert page.js("document.getElementById('vw-split').value") == "50"
    page.js(
        "(s => { s.value = 90; s.dispatchEvent(new Event('input')); })(document.getElementById('vw-split'))"
    )
    settle(page)
    assert brightness(page, 0.8) == 255
    view(page, "Susceptibility")
    assert page.js("document.getElementById('vw-split-label').hidden")
    assert brightness(page, 0.3) == brightness(page, 0.7) == 0


def test_address_holds_the_comparison(page):
    page.open(f"{Path(page.path).as_uri()}#map=magnitude&compare=local&split=25")
    settle(page)
    values = "['base', 'after'].map((k) => document.getElementById('vw-' + k).selectedOptions[0].textContent)"
    assert page.js(values) == ["Magnitude", "Local field"]
    assert brightness(page, 0.2) == 255 and brightness(page, 0.3) == 0


def test_light_and_dark(page):
    colour = "getComputedStyle(document.body).backgroundColor"
    first = page.js(colour)
    page.js("document.getElementById('theme').click()")
    assert page.js(colour) != first
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.js(colour) == "rgb(255, 255, 255)"
    assert page.js("getComputedStyle(document.getElementById('viewer')).display") == "none"
    page.call("Emulation.setEmulatedMedia", media="")
    page.js("document.getElementById('theme').click()")
    assert page.js(colour) == first
