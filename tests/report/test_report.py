"""The report: self-contained, escaped, small, and true to the arrays it was given."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from report_page import EVIL, SHAPE, Elements, ball, make

from chimap.errors import OutputError
from chimap.pipeline.quality_terms import TERMS, Quality
from chimap.report import MapItem, ReportData, write_report
from chimap.report.echoes import Echoes
from chimap.report.figures import histogram, region_chart, robust_window, three_plane
from chimap.report.html import render, show, words
from chimap.report.quality import WORDS, quality_rows
from chimap.report.viewer import MISSING, build, quantise, unpack


@pytest.fixture(scope="module")
def page():
    return render(make())


def test_loads_nothing_from_outside(page):
    for tag, attributes in Elements(page).found:
        for name in ("src", "srcset", "data", "poster", "action"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
        if "href" in attributes:
            assert tag == "a"
            assert attributes["href"].startswith(("#", "https://doi.org/"))
    assert "url(" not in page.split("</style>")[0]
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_strings_are_escaped(page):
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 10
    scripts = [a for t, a in Elements(page).found if t == "script"]
    assert [a.get("type") for a in scripts].count(None) == 1


def test_accessible(page):
    found = Elements(page).found
    assert all(a.get("alt") for t, a in found if t == "img")
    assert sum(t == "h1" for t, _ in found) == 1
    assert page.count("<table") == page.count("<caption>") > 5
    ids = [a["id"] for _, a in found if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for t, a in found if t == "a" and a.get("href", "").startswith("#")}
    assert targets <= set(ids)


def test_references_are_linked_once(page):
    assert page.count(">doi:10.1002/x<") == 1
    assert " https://doi.org/10.1002/x<" not in page
    assert '<a href="https://doi.org/10.1002/x" rel="noopener">[1]</a>' in page


def test_warnings_come_before_pictures(page):
    assert page.index("Careful") < page.index("<img")


def test_same_data_same_bytes(page):
    assert render(make()) == page


def test_written_whole(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "report.html"
    assert write_report(path, make()) == path
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert path.stat().st_mode & 0o400

    def full(source, target):
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="disk is full"):
        write_report(path, make(title="other"))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_bare_report():
    bare = ReportData("t", "s", "c", "v", np.eye(4), (1, 1, 1), "now")
    page = render(bare)
    assert "vw-meta" not in page.split("<script>")[0]
    assert "No warnings" in page


def test_no_masks_and_an_empty_map():
    empty = MapItem("chi", "Nothing", "ppm", np.zeros(SHAPE, np.float32), "inversion")
    assert "Nothing" in render(make(maps=[empty], masks={}))


def test_nan_is_drawn_and_kept():
    volume = np.full(SHAPE, np.nan, np.float32)
    volume[5:15, 5:15, 5:15] = np.linspace(0, 1, 10, dtype=np.float32)
    assert three_plane(volume, np.eye(4), mask=ball())[:4] == b"\x89PNG"
    assert "mean" in histogram(volume, ball(), window=(0, 1))
    assert (quantise(volume, 0.01)[0, 0] == MISSING).all()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        render(make(masks={"brain": np.ones((3, 3, 3), bool)}))
    with pytest.raises(ValueError, match="same key"):
        render(make(maps=[make().maps[0]] * 2))
    with pytest.raises(ValueError, match="low to high"):
        render(make(maps=[replace(make().maps[0], window=(1.0, 1.0))]))


def test_robust_window():
    rng = np.random.default_rng(0)
    low, high = robust_window(rng.normal(0, 1, (40, 40, 40)).astype(np.float32), np.ones((40, 40, 40), bool))
    assert low == pytest.approx(-2.33, abs=0.15)
    assert high == pytest.approx(2.33, abs=0.15)
    assert robust_window(np.zeros((3, 3, 3), np.float32)) == (0.0, 1.0)
    assert robust_window(np.full((3, 3, 3), 7.0, np.float32)) == (3.5, 10.5)
    assert robust_window(rng.uniform(50, 100, (20, 20, 20)).astype(np.float32))[0] == 0


def test_charts():
    data = make()
    chart = histogram(data.maps[1].volume, data.brain, window=(0, 40), unit="1/s", title=EVIL)
    assert chart.startswith("<svg") and "<script" not in chart
    assert "mean" in chart
    assert "<script" not in region_chart(data.regions)
    assert region_chart([]) == ""


def test_show():
    assert show(True) == "yes"
    assert show((0.004, 0.00812345)) == "0.004, 0.008123"
    assert show(None) == "–"
    assert show(np.float32(2.5)) == "2.5"
    assert show({"a": 1}) == "a 1"


def test_a_warning_is_said_once():
    finding = {"level": "warning", "topic": "readout", "what": "bipolar", "fix": "Use monopolar ones"}
    page = render(make(findings=[finding], warnings=["readout: bipolar", "Something else"]))
    summary = page.split('id="summary"')[1].split("</section>")[0]
    assert summary.count("bipolar") == 1 and "Use monopolar ones" in summary
    assert "Something else" in summary and "No warnings" not in summary
    assert "No warnings" in render(make(findings=[], warnings=[]))


def test_an_echo_that_stands_out_is_a_warning():
    shape = (8, 9)
    blank = np.zeros((*shape, 3), np.float32)
    echoes = Echoes(
        (0.004, 0.008, 0.012),
        (1.0, 1.0),
        5.0,
        blank + 1,
        blank,
        blank,
        np.zeros((20, 3)),
        np.array([0.1, 0.9, 0.1]),
    )
    page = render(make(warnings=[], findings=[], echoes=echoes))
    summary = page.split('id="summary"')[1].split("</section>")[0]
    assert "echo 2 (8 ms) much worse" in summary and "No warnings" not in summary
    assert "Echo 2 stands out" in page
    fine = render(make(warnings=[], findings=[], echoes=replace(echoes, rms_rad=np.array([0.1, 0.2, 0.3]))))
    assert "No warnings" in fine and "stands out" not in fine


def test_protocol_is_a_table_and_a_sentence_on_top():
    row = {"name": "Readout", "found": "bipolar", "wanted": "monopolar", "why": "Why not."}
    page = render(make(protocol=[{**row, "status": "not met"}, {**row, "name": "Echoes", "status": "met"}]))
    assert "1 of 2 recommendations met, 1 not met. Not met: readout." in page
    assert '<span class="badge warning">not met</span>' in page and "Why not." in page
    assert 'id="protocol"' not in render(make())


def test_quality_is_a_table_and_a_sentence_on_top():
    assert WORDS.keys() == TERMS.keys()
    measured = Quality(
        {"snr_first_echo": 24.234, "ghost_percent": 6.21, "chi_noise_ppb": 2.5, "streak_index": None}
    )
    rows = quality_rows(measured)
    assert [(r["title"], r["threshold"], r["status"]) for r in rows] == [
        ("SNR, first echo", "at least 10", "met"),
        ("Ghosts", "at most 3", "not met"),
        ("Noise of the map", "", "no limit"),
    ]
    page = render(make(quality=rows))
    assert "3 numbers measured, 1 beyond its threshold: Ghosts." in page
    table = page.split("<caption>Quality numbers</caption>")[1].split("</table>")[0]
    assert "<td>24.2</td>" in table and '<span class="badge warning">not met</span>' in table
    assert "Streaks" not in table and table.count("<tr>") == 4
    assert "2 numbers measured, none beyond their thresholds." in render(make(quality=[rows[0], rows[2]]))
    assert 'id="quality"' not in render(make())


def test_names_of_sidecars_become_words():
    assert [words(n) for n in ("RepetitionTime", "Echo times", "MRAcquisitionType", "Units")] == [
        "Repetition time", "Echo times", "MRAcquisitionType", "Units",
    ]  # fmt: skip


def test_labels_lie_over_the_magnitude_with_a_legend():
    data = make()
    labels = np.zeros(SHAPE, np.float32)
    labels[3, 8, 5] = 2
    item = MapItem(
        "lost", "Lost", "", labels, "field", colormap="labels", under=data.maps[0].volume, labels={2: EVIL}
    )
    page = render(replace(data, maps=[*data.maps, item]))
    assert re.search(r'<i style="background:#[0-9a-f]{6}"></i>&lt;script', page)
    plain = three_plane(labels, data.affine, mask=data.brain, colormap="labels", centre=(3, 8, 5))
    over = three_plane(
        labels, data.affine, mask=data.brain, colormap="labels", centre=(3, 8, 5), under=item.under
    )
    assert len(over) > len(plain)


def test_wrapped_phase_is_not_averaged():
    phase = np.where(np.indices(SHAPE).sum(0) % 2, 3.1, -3.1).astype(np.float32)
    data = make(maps=[MapItem("phase", "Phase", "rad", phase, "input", window=(-np.pi, np.pi))], masks={})
    meta, (packed,) = build(data, 100)
    assert meta["factor"] > 1
    held = unpack(base64.b64decode(packed.text), tuple(meta["shape"]), difference=packed.meta["difference"])
    assert np.abs(np.abs(held * packed.meta["step"]) - 3.1).max() < 0.03


def test_what_rounds_to_zero_has_no_sign():
    from chimap.report.html import number

    assert [number(v) for v in (-0.004, -1234.56, None, float("nan"))] == ["0.0", "−1 234.6", "–", "–"]
