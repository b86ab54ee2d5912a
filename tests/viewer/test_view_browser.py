"""The page of `chimap view` in a headless browser: clicks, keys and values against the files. Skipped without Chromium."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from urllib.parse import quote

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

import chromium
import view_results as results
from chimap.io.nifti import save_volume
from chimap.viewer.server import ViewServer

pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium here")

FAST, BEST = (f"0/{run}/sub-01/ses-1/anat/{results.NAME}" for run in ("fast", "best"))
PLANES = {"Axial": (0, 1), "Coronal": (0, 2), "Sagittal": (1, 2)}
SCREEN = {
    "ArrowLeft": (2, 0, 0), "ArrowRight": (-2, 0, 0), "ArrowUp": (0, 1.5, 0), "ArrowDown": (0, -1.5, 0),
    "PageUp": (0, 0, 2.5), "PageDown": (0, 0, -2.5),
}  # fmt: skip
"""What keys do on an axial picture, in mm: left on the screen is the patient's right."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewServer]:
    root = tmp_path_factory.mktemp("view") / "out"
    results.write(root, "fast", method="tkd")
    results.write(root, "best", shift=0.02)
    # A bright block on the patient's right, at the front, on top.
    bright = np.zeros(results.SHAPE, np.float32)
    bright[3:8, 10:15, 2:5] = 1
    save_volume(root / "other" / "corner.nii.gz", bright, results.AFFINE)
    save_volume(
        root / "other" / "coarse_Chimap.nii.gz",
        results.chi()[::2, ::2, ::2],
        results.AFFINE @ np.diag([2, 2, 2, 1]),
    )
    save_volume(root / "other" / "<img src=x onerror=alert(1)>.nii.gz", bright, results.AFFINE)
    with ViewServer([root]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Chromium]:
    try:
        started = chromium.Chromium(tmp_path_factory.mktemp("profile"))
    except (OSError, TimeoutError) as e:
        pytest.skip(f"Chromium does not start here ({e})")
    with started:
        yield started


@pytest.fixture
def page(served: ViewServer, browser: chromium.Chromium) -> Iterator[chromium.Chromium]:
    """The page as it starts; at the end nothing may have gone wrong in it."""
    browser.problems.clear()
    browser.open(served.url)
    yield browser
    assert browser.problems == []


def go(page: chromium.Chromium, served: ViewServer, **state: str) -> None:
    page.open(served.url + "#" + "&".join(f"{k}={quote(v)}" for k, v in state.items()))


def canvas(page: chromium.Chromium, side: str, plane: str) -> tuple[float, float, float, float]:
    """Left, top, width and height of a picture in the window."""
    return tuple(
        page.js(f"""(() => {{
          const c = [...document.querySelectorAll("#panel-{side} canvas")].find(c => c.getAttribute("aria-label").includes("{plane}"));
          c.scrollIntoView({{ block: "center" }});
          const r = c.getBoundingClientRect();
          return [r.x, r.y, r.width, r.height];
        }})()""")
    )


def reading(page: chromium.Chromium, side: str) -> tuple[tuple[int, ...], float, str]:
    """Voxel in the file, value in the file's unit, and the words of the read-out."""
    ijk, value, text = page.js(
        f"(v => [v.dataset.ijk, v.dataset.value, v.textContent])(document.getElementById('value-{side}'))"
    )
    return tuple(int(i) for i in ijk.split(",")), float(value), text


def change(page: chromium.Chromium, selector: str, value: str, event: str = "change") -> None:
    """Give a control a value as a user would."""
    page.js(
        f"""(e => {{ e.value = {value!r}; e.dispatchEvent(new Event("{event}")); }})(document.querySelector("{selector}"))"""
    )


def in_file(served: ViewServer, key: str) -> np.ndarray:
    return nib.load(served.roots[0] / f"{key[2:]}.nii.gz").get_fdata()


def to_mm(voxel: tuple[float, ...]) -> np.ndarray:
    return nib.affines.apply_affine(results.AFFINE, voxel)


def box_mm() -> tuple[np.ndarray, np.ndarray]:
    """Outer edges of the image in mm."""
    ends = to_mm((-0.5,) * 3), to_mm(tuple(n - 0.5 for n in results.SHAPE))
    return np.minimum(*ends), np.maximum(*ends)


@pytest.mark.parametrize("plane", PLANES)
def test_a_click_reads_the_voxel_of_the_file(page, served, plane):
    data = in_file(served, f"{FAST}_Chimap")
    low, high = box_mm()
    go(page, served, a=f"{FAST}_Chimap.nii.gz")
    for parts in ((0.3, 0.4), (0.62, 0.55), (0.5, 0.71)):
        x, y, width, height = canvas(page, "a", plane)
        page.click(x + parts[0] * width, y + parts[1] * height)
        voxel, value, text = reading(page, "a")
        assert value == pytest.approx(data[voxel], abs=2e-5)
        shown = float(text.split(" ppb")[0].replace("−", "-"))
        assert shown == pytest.approx(1000 * data[voxel], abs=0.02)
        # The patient's right and the front are on the left of the screen, above is above.
        for axis, part in zip(PLANES[plane], parts):
            expected = high[axis] - part * (high[axis] - low[axis])
            assert to_mm(voxel)[axis] == pytest.approx(
                expected, abs=0.6 * np.abs(results.AFFINE[axis, :3]).max()
            )


@pytest.mark.parametrize(("side", "on_the_left"), [("R", True), ("L", False)])
def test_right_front_and_top_are_where_the_letters_say(page, served, side, on_the_left):
    place = to_mm((5, 12, 3))
    assert (place > np.mean(box_mm(), axis=0)).all()
    go(page, served, a="0/other/corner.nii.gz", xyz=",".join(map(str, place)))
    change(page, "#left", side)
    page.js("document.getElementById('cross').click()")
    page.js("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    for plane in PLANES:
        x, y, width, height = canvas(page, "a", plane)
        picture = np.asarray(Image.open(io.BytesIO(page.picture())).convert("RGB"), float)
        part = picture[round(y) : round(y + height), round(x) : round(x + width)]
        # Gray, as the block is, not blue, as the letters are.
        rows, columns = np.nonzero((part.min(axis=2) > 60) & (np.ptp(part, axis=2) < 5))
        assert rows.size > 50
        assert rows.mean() < height / 2
        assert (columns.mean() < width / 2) == (plane == "Sagittal" or on_the_left)
    letters = page.js("[...document.querySelectorAll('#panel-a canvas')].map(c => c.dataset.left)")
    assert letters == [side, side, "A"]


def test_keys(page, served):
    go(page, served, a=f"{FAST}_Chimap.nii.gz")
    x, y, width, height = canvas(page, "a", "Axial")
    page.click(x + width / 2, y + height / 2)
    before = to_mm(reading(page, "a")[0])
    for key, step in SCREEN.items():
        page.key(key)
        now = to_mm(reading(page, "a")[0])
        np.testing.assert_allclose(now - before, step, atol=1e-6)
        before = now
    page.key("x")
    assert page.js("document.getElementById('cross').checked") is False


def test_everything_is_reached_by_tab_and_has_a_name(page, served):
    go(page, served, a=f"{FAST}_Chimap.nii.gz", b=f"{BEST}_Chimap.nii.gz", d="1")
    page.js("document.body.focus()")
    page.js("document.querySelector('.skip').focus()")
    seen = []
    for _ in range(80):
        page.key("Tab")
        seen.append(
            page.js(
                "document.activeElement.id || document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
            )
        )
    assert {"theme", "compare", "over", "outline", "planes", "zoom", "left", "reset", "x", "y", "z"} <= set(
        seen
    )
    assert sum("slice. Arrow keys" in s for s in seen) == 9
    nameless = page.js("""[...document.querySelectorAll("input, select, button, a, canvas")]
      .filter(e => e.checkVisibility() && !e.closest("[hidden]") && e.getAttribute("aria-hidden") !== "true")
      .filter(e => !e.getAttribute("aria-label") && !(e.labels && e.labels.length) && !e.textContent.trim()).map(e => e.outerHTML)""")
    assert nameless == []
    page.js("document.querySelector('#panel-a canvas').focus()")
    page.key("ArrowUp")
    outline = page.js("getComputedStyle(document.querySelector('#panel-a canvas')).outlineWidth")
    assert outline == "3px"


def test_labels_have_names_and_are_drawn(page, served):
    place = ",".join(map(str, to_mm((5, 7, 7))))
    go(page, served, a=f"{FAST}_Chimap.nii.gz", over=f"{FAST}_dseg.nii.gz", xyz=place)
    assert "5 right side" in reading(page, "a")[2]

    def colourful() -> int:
        page.js("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
        x, y, width, height = (round(v) for v in canvas(page, "a", "Coronal"))
        picture = np.asarray(Image.open(io.BytesIO(page.picture())).convert("RGB"), int)
        # Crosshair and letters are cut away.
        part = picture[y + 40 : y + height - 40, x + 40 : x + width - 40]
        red, green, _ = np.moveaxis(part, 2, 0)
        return int((red > green + 20).sum())

    assert colourful() > 100
    change(page, "#opacity", "0", "input")
    assert colourful() == 0
    change(page, "#outline", f"{FAST}_desc-brain_mask.nii.gz")
    page.wait("document.getElementById('outline').value !== ''")
    page.wait("performance.getEntriesByType('resource').some(r => r.name.includes('brain_mask'))")
    assert colourful() > 20


def test_a_second_map_over_the_first(page, served):
    chi, r2star = in_file(served, f"{FAST}_Chimap"), in_file(served, f"{FAST}_R2starmap")
    go(page, served, a=f"{FAST}_Chimap.nii.gz")
    assert page.js("document.getElementById('second-controls').hidden")
    choices = page.js("[...document.getElementById('second').options].map(o => o.value)")
    assert f"{FAST}_R2starmap.nii.gz" in choices and f"{FAST}_Chimap.nii.gz" not in choices

    def picture() -> np.ndarray:
        page.js("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
        x, y, width, height = (round(v) for v in canvas(page, "a", "Coronal"))
        whole = np.asarray(Image.open(io.BytesIO(page.picture())).convert("RGB"), int)
        return whole[y + 40 : y + height - 40, x + 40 : x + width - 40]

    def spread(part: np.ndarray) -> int:
        return int((part.max(axis=2) - part.min(axis=2) > 30).sum())

    page.js("document.getElementById('cross').click()")
    plain = picture()
    assert spread(plain) == 0
    change(page, "#second", f"{FAST}_R2starmap.nii.gz")
    page.wait("!document.getElementById('second-controls').hidden")
    change(page, "#second-colours", "inferno")
    assert spread(picture()) > 500
    x, y, width, height = canvas(page, "a", "Axial")
    page.click(x + 0.4 * width, y + 0.45 * height)
    voxel, value, text = reading(page, "a")
    below = float(page.js("document.getElementById('value-a').dataset.second"))
    assert value == pytest.approx(chi[voxel], abs=2e-5)
    assert below == pytest.approx(r2star[voxel], abs=0.02)
    assert "R2*: " in text and text.endswith("1/s")
    # Weaker by the keyboard, down to nothing; the slider follows.
    page.js("document.querySelector('#panel-a canvas').focus()")
    for _ in range(10):
        page.key("[")
    assert page.js("document.getElementById('second-opacity').value") == "0"
    page.key("Home")
    assert np.array_equal(picture(), plain)
    page.key("]")
    assert page.js("document.getElementById('second-opacity').getAttribute('aria-valuetext')") == "5 %"
    change(page, "#second-opacity", "100", "input")
    full = picture()
    change(page, "#second-low", "1000", "input")
    assert not np.array_equal(picture(), full)
    page.js("document.getElementById('second-clear').click()")
    assert np.array_equal(picture(), plain)
    page.js("document.getElementById('reset').click()")
    assert page.js("document.getElementById('second-opacity').value") == "50"
    page.wait("decodeURIComponent(location.hash).includes('second=" + FAST + "_R2starmap')")
    # The same address shows the same; another map as A puts none over itself.
    change(page, "#side-a .map", f"{FAST}_R2starmap.nii.gz")
    page.wait("document.querySelector('#panel-a h2 b').textContent === 'R2*'")
    assert page.js("document.getElementById('second-controls').hidden")


def test_an_overlay_on_another_grid_is_not_drawn(page, served):
    go(page, served, a=f"{FAST}_Chimap.nii.gz", second="0/other/coarse_Chimap.nii.gz")
    notice = page.js("document.getElementById('notice').textContent")
    assert "on another grid than A, and is not drawn" in notice
    assert page.js("document.getElementById('value-a').dataset.second") == ""


def test_two_runs_and_their_difference(page, served):
    first, second = (in_file(served, f"{k}_Chimap") for k in (FAST, BEST))
    go(page, served, a=f"{FAST}_Chimap.nii.gz", b=f"{BEST}_Chimap.nii.gz", d="1")
    titles = page.js("[...document.querySelectorAll('#panels h2')].map(h => h.textContent)")
    assert "inversion tkd" in titles[0] and "inversion tv" in titles[1]
    assert "Difference A − B" in titles[2] and "mean −20.00 ppb, standard deviation 0.0" in titles[2]
    assert f"{results.mask().sum()} voxels" in titles[2]
    x, y, width, height = canvas(page, "b", "Coronal")
    page.click(x + 0.4 * width, y + 0.45 * height)
    voxels, values, _ = zip(*(reading(page, n) for n in "abd"))
    assert len(set(voxels)) == 1
    assert values[0] == pytest.approx(first[voxels[0]], abs=2e-5)
    assert values[1] == pytest.approx(second[voxels[0]], abs=2e-5)
    assert values[2] == pytest.approx(first[voxels[0]] - second[voxels[0]], abs=4e-5)
    # Outside the masks there is no difference to speak of.
    page.js("document.getElementById('z').focus()")
    change(page, "#z", "22")
    assert reading(page, "d")[2] == "no value"


def test_other_grids_are_linked_in_mm_and_not_subtracted(page, served):
    go(
        page,
        served,
        a=f"{FAST}_Chimap.nii.gz",
        b="0/other/coarse_Chimap.nii.gz",
        d="1",
        xyz=",".join(map(str, to_mm((10, 8, 6)))),
    )
    notice = page.js("document.getElementById('notice').textContent")
    assert "different grids" in notice and "21 × 15 × 18 voxels of 2 × 1.5 × 2.5 mm" in notice
    assert page.js("document.getElementById('panel-d')") is None
    assert reading(page, "a")[0] == (10, 8, 6)
    assert reading(page, "b")[0] == (5, 4, 3)
    go(page, served, a=f"{FAST}_Chimap.nii.gz", b=f"{FAST}_R2starmap.nii.gz", d="1")
    assert "A is in ppm, B in 1/s" in page.js("document.getElementById('notice').textContent")


def test_window_by_field_and_by_the_right_button(page, served):
    go(page, served, a=f"{FAST}_Chimap.nii.gz", b=f"{BEST}_Chimap.nii.gz")

    def window(side: str) -> list[float]:
        return page.js(
            f"['low', 'high'].map(k => Number(document.querySelector('#side-{side} .' + k).value))"
        )

    assert window("a") == window("b") == [-100, 200]
    change(page, "#side-a .high", "150", "input")
    assert window("a") == window("b") == [-100, 150]
    x, y, width, height = canvas(page, "a", "Axial")
    page.mouse("mousePressed", x + width / 2, y + height / 2, "right")
    page.mouse("mouseMoved", x + width / 2 + 0.2 * width, y + height / 2, "right")
    page.mouse("mouseReleased", x + width / 2 + 0.2 * width, y + height / 2, "right")
    low, high = window("a")
    # Two fifths of the first window wider, the same middle.
    assert high - low == pytest.approx(250 + 0.4 * 300, abs=5)
    assert (high + low) / 2 == pytest.approx(25, abs=1)
    page.js("document.getElementById('reset').click()")
    assert window("a") == [-100, 200]


def test_light_and_dark(page, served):
    def colours() -> list[str]:
        return page.js("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")

    seen = {}
    for choice in ("light", "dark"):
        change(page, "#theme", choice)
        seen[choice] = colours()
    assert seen["light"] == ["rgb(255, 255, 255)", "rgb(27, 37, 48)"]
    assert seen["dark"] == ["rgb(18, 22, 27)", "rgb(228, 233, 238)"]
    change(page, "#theme", "system")
    for choice in ("dark", "light"):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": choice}])
        assert colours() == seen[choice]


def test_scans_are_picked_from_the_list(page, served):
    picks = "[...document.querySelectorAll('#scans button')]"
    assert page.js("document.querySelector('#scans [aria-current]').textContent") == results.NAME
    page.js(f"{picks}.find(b => b.textContent === 'R2*').click()")
    page.wait("document.querySelector('#panel-a h2 b').textContent === 'R2*'")
    # A name is never markup.
    page.js(f"{picks}.find(b => b.textContent === 'files').click()")
    page.wait(f"{picks}.some(b => b.textContent === '<img src=x onerror=alert(1)>')")
    assert page.js("document.images.length") == 0
    page.js(f"{picks}.find(b => b.textContent === '{results.NAME}').click()")
    page.wait("document.querySelector('#panel-a h2').textContent.includes('best')")
    page.js(f"{picks}.find(b => b.textContent === 'R2*').click()")
    page.wait("document.querySelector('#panel-a h2 b').textContent === 'R2*'")
    # The other scan opens with the same kind of map.
    page.js(f"{picks}.filter(b => b.textContent === '{results.NAME}')[1].click()")
    page.wait("document.querySelector('#panel-a h2').textContent.includes('fast')")
    assert page.js("document.querySelector('#panel-a h2 b').textContent") == "R2*"
    assert reading(page, "a")[2].endswith("1/s")
    report = page.js("document.querySelector('#side-a .report').href")
    page.call("Page.navigate", url=report)
    page.wait("document.getElementById('p')?.textContent === 'report of a scan'")
    assert page.js("self.origin") == "null"


def test_a_damaged_file_is_named(page, served):
    bad = served.roots[0] / "other" / "bad.nii.gz"
    bad.write_bytes(b"nothing")
    try:
        go(page, served, a="0/other/bad.nii.gz")
        assert "bad.nii.gz cannot be shown" in page.js("document.getElementById('problem').textContent")
    finally:
        bad.unlink()
    # The browser notes the refused request.
    page.problems[:] = [p for p in page.problems if "422" not in p]
