"""Tables and report over all scans, from results written by hand."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from chimap.cli import main

REGIONS = {1: ("caudate", 50.0), 2: ("thalamus", 10.0), 3: ("calcification", -2000.0)}


def _scan(out, name, shift=0.0, lam=1.0, regions=True, quality=None):
    folder = out.joinpath(*(w for w in name.split("_") if w[:4] in ("sub-", "ses-"))) / "anat"
    folder.mkdir(parents=True)

    def sidecar(suffix, **record):
        (folder / f"{name}{suffix}.json").write_text(json.dumps({"Chimap": record}))

    sidecar(
        "_desc-combined_T2starw",
        acquisition={"voxel_size": [1, 1, 2]},
        findings=[{"level": "warning"}, {"level": "ok"}],
    )
    sidecar("_desc-unreferenced_Chimap", stage="inversion", method="l2", parameters={"lam": lam})
    reference = {"name": "whole brain", "voxels": 600000, "mean_ppm": 1e-12, "sd_ppm": 0.04}
    sidecar("_Chimap", stage="reference", method="mean", parameters={}, reference=reference)
    if regions:
        lines = ["label\tname\tvoxels\tmean_ppb\tiron_flag"]
        lines += [f"{n}\t{r}\t100\t{v + shift}\tn/a" for n, (r, v) in REGIONS.items()]
        (folder / f"{name}_desc-regions_Chimap.tsv").write_text("\n".join(lines) + "\n")
    if quality is not None:
        (folder / f"{name}_quality.json").write_text(json.dumps(quality))
    (folder / f"{name}_report.html").write_text("<p>report</p>")


def _table(path):
    return list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))


@pytest.fixture
def out(tmp_path):
    """Ten subjects, the first with two sessions; caudate grows by 0.5 ppb a year; the last is far off."""
    out, bids = tmp_path / "out", tmp_path / "bids"
    bids.mkdir()
    (bids / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    noise = np.random.default_rng(1).normal(0, 1, 12)
    people = ["participant_id\tage\tsex"]
    for n in range(10):
        age = 20 + 5 * n
        people.append(f"sub-{n:02d}\t{age}\t{'FM'[n % 2]}")
        for session in ("_ses-1", "_ses-2") if n == 0 else ("",):
            shift = 0.5 * (age - 42.5) + noise[n] + 300 * (n == 9)
            _scan(
                out,
                f"sub-{n:02d}{session}",
                shift,
                quality={
                    "snr_first_echo": 50.0 + noise[n],
                    "other": 1.0,
                    "Warnings": ["x"],
                    "phase_jumps": None,
                },
            )
    (bids / "participants.tsv").write_text("\n".join(people) + "\n")
    return out


def test_tables(out, tmp_path, capsys):
    assert main(["run", str(tmp_path / "bids"), str(out), "group"]) == 0
    assert "11 scans" in capsys.readouterr().out
    scans = _table(out / "group_scans.tsv")
    assert [s["scan"] for s in scans][:3] == ["sub-00_ses-1", "sub-00_ses-2", "sub-01"]
    first = scans[0]
    assert (first["age"], first["sex"], first["warnings"], first["regions"]) == ("20", "F", "1", "3")
    assert float(first["reference_sd_ppb"]) == 40 and float(first["reference_mean_ppb"]) == 0
    assert float(first["reference_ml"]) == 1200 and 45 < float(first["snr_first_echo"]) < 55
    assert (first["quality_warnings"], first["other"]) == ("1", "1") and "phase_jumps" not in first
    regions = _table(out / "group_regions.tsv")
    assert len(regions) == 33 and {r["name"] for r in regions} == {"caudate", "thalamus", "calcification"}
    flagged = {(r["scan"], r["region"]) for r in _table(out / "group_outliers.tsv")}
    assert {("sub-09", r) for r, _ in REGIONS.values()} <= flagged
    assert {r["scan"] for r in regions if r["outlier"] == "1"} == {"sub-09"}
    wide = _table(out / "group_wide.tsv")
    assert len(wide) == 11 and list(wide[0])[-3:] == ["caudate", "thalamus", "calcification"]
    for table in ("scans", "regions", "wide", "outliers", "regression"):
        columns = (out / f"group_{table}.tsv").read_text().splitlines()[0].split("\t")
        about = json.loads((out / f"group_{table}.json").read_text())
        assert all(about[c]["Description"] for c in columns), table
        assert about["Reference"] == "whole brain"


def test_regression_counts_a_participant_once(out, tmp_path):
    assert main(["group", str(out), "--participants", str(tmp_path / "bids" / "participants.tsv"), "--covariates", "age"]) == 0  # fmt: skip
    rows = _table(out / "group_regression.tsv")
    caudate = next(r for r in rows if r["region"] == "caudate")
    assert caudate["term"] == "age" and caudate["participants"] == "10" and caudate["units"] == "ppb per year"
    values = {r["scan"][:6]: float(r["caudate"]) for r in _table(out / "group_wide.tsv")}
    slope = np.polyfit([20 + 5 * n for n in range(10)], [values[f"sub-{n:02d}"] for n in range(10)], 1)[0]
    assert float(caudate["estimate"]) == pytest.approx(slope, rel=1e-4)


def test_harmonised_means_are_columns_and_a_sentence(out, tmp_path):
    people = tmp_path / "people.tsv"
    lines = ["participant_id\tage\tsite", *(f"sub-{n:02d}\t{20 + 5 * n}\t{'AB'[n % 2]}" for n in range(10))]
    people.write_text("\n".join(lines) + "\n")
    command = ["group", str(out), "--participants", str(people)]
    assert main([*command, "--harmonise", "site"]) == 0
    regions, wide = _table(out / "group_regions.tsv"), _table(out / "group_wide.tsv")
    mine = [r for r in regions if r["name"] == "caudate"]
    assert [r["mean_ppb_harmonised"] for r in mine] == [w["caudate_harmonised"] for w in wide]
    assert all(r["mean_ppb_harmonised"] != r["mean_ppb"] for r in mine)
    taken = _table(out / "group_harmonisation.tsv")
    assert [(r["site"], r["scans"]) for r in taken if r["region"] == "caudate"] == [("A", "6"), ("B", "5")]
    about = json.loads((out / "group_regions.json").read_text())
    assert "ComBat" in about["mean_ppb_harmonised"]["Description"]
    page = (out / "group_report.html").read_text()
    assert "Regional means were harmonised for site by ComBat" in page and "A (6 scans), B (5 scans)" in page
    # The next time nobody asks for it.
    assert main(command) == 0
    assert "harmonised" not in (out / "group_regions.tsv").read_text()
    assert not (out / "group_harmonisation.tsv").exists()


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.loaded = [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "a":
            self.links.append(values.get("href", ""))
        self.loaded += [v for k, v in attrs if k in ("src", "srcset", "xlink:href") or (tag == "link")]


def test_report_leads_to_files_and_loads_nothing(out, tmp_path):
    assert main(["run", str(tmp_path / "bids"), str(out), "group", "--quiet"]) == 0
    page = (out / "group_report.html").read_text()
    parser = _Links()
    parser.feed(page)
    assert not parser.loaded and not re.search(r"url\(|@import|https?://", page)
    files = {u for u in parser.links if not u.startswith("#")}
    assert {"sub-00/ses-1/anat/sub-00_ses-1_report.html", "group_scans.tsv"} <= files
    assert all((out / f).is_file() for f in files)
    assert {u[1:] for u in parser.links if u.startswith("#")} <= set(re.findall(r'id="([^"]+)"', page))
    # The calcification is on an axis of its own; rings mark the scan that is far off.
    assert page.count('class="chart group" viewBox') >= 3 and 'class="dot out"' in page
    assert "prefers-color-scheme: dark" in page
    before = {p.name: p.read_bytes() for p in out.glob("group_*")}
    assert main(["run", str(tmp_path / "bids"), str(out), "group", "--quiet"]) == 0
    assert {p.name: p.read_bytes() for p in out.glob("group_*")} == before
    assert "group_report.html" in (out / "report.html").read_text()


def test_parquet_holds_the_same(out, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert main(["run", str(tmp_path / "bids"), str(out), "group"]) == 0
    rows = parquet.read_table(out / "group_wide.parquet").to_pylist()
    text = _table(out / "group_wide.tsv")
    assert [r["scan"] for r in rows] == [r["scan"] for r in text]
    assert [r["caudate"] for r in rows] == pytest.approx([float(r["caudate"]) for r in text], abs=1e-3)


def test_scans_that_differ_are_told(tmp_path, capsys):
    out = tmp_path / "out"
    _scan(out, "sub-01")
    _scan(out, "sub-02", lam=2.0, regions=False)
    assert main(["group", str(out)]) == 0
    page = (out / "group_report.html").read_text()
    assert "made in 2 different ways" in page and "<b>No table of regions:</b> sub-02" in page
    assert not (out / "group_regression.tsv").exists()


def test_a_table_that_is_empty_now_goes(out, tmp_path):
    assert main(["run", str(tmp_path / "bids"), str(out), "group"]) == 0
    assert (out / "group_regression.tsv").is_file()
    assert main(["group", str(out)]) == 0
    assert not (out / "group_regression.tsv").exists() and not (out / "group_regression.json").exists()


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--covariates", "weight"], "no participant has weight"),
        (["--harmonise", "site"], "--harmonise: no participant has site"),
        (["--participants", "none.tsv"], "no such file"),
    ],
)
def test_wrong_flags(out, capsys, extra, said):
    assert main(["group", str(out), *extra]) == 2
    assert said in capsys.readouterr().err


def test_nothing_finished(tmp_path, capsys):
    assert main(["group", str(tmp_path)]) == 2
    assert "no finished scan" in capsys.readouterr().err
    assert main(["group", str(tmp_path / "none")]) == 2
