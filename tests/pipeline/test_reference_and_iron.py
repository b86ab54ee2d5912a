"""A run with labels: reference by a label's name, tables of regions and iron, and their sections in the report."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from chimap.cli._report import report_data
from chimap.errors import InputError
from chimap.io.inputs import find_scans
from chimap.pipeline import plan as r
from chimap.pipeline.plan import Options
from chimap.pipeline.run import run_scan
from chimap.report.html import render


@pytest.fixture(scope="module")
def scan(coarse, tmp_path_factory):
    (found,) = find_scans(coarse.bids, tmp_path_factory.mktemp("work"))
    return found


@pytest.fixture(scope="module")
def done(scan, coarse, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    options = Options(preset="fast", reference="wm", labels=coarse.truth / "sub-01_dseg.nii.gz", age=40.0)
    return out, options, run_scan(scan, out, options)


def test_reference_by_label(done):
    out, _, result = done
    about = json.loads((out / "sub-01/anat/sub-01_Chimap.json").read_text())["Reference"]
    assert about["name"] == "wm" and about["region"] == "label 8" and about["sd_ppm"] > 0
    rows = {row["name"]: row for row in result.regions}
    assert abs(rows["white matter"]["mean_ppb"]) < 0.01 and rows["CSF"]["r2star_mean"] > 0
    raw, chi, valid = (
        nib.load(p).get_fdata(dtype=np.float32)
        for p in (
            result.done["inversion"][r.RAW_CHI.suffix].path,
            result.chi,
            result.done["background"][r.VALID.suffix].path,
        )
    )
    # Back to the whole brain: the mean that the sidecar tells, and nothing else.
    assert chi[valid > 0].mean() == pytest.approx(-about["mean_ppm"], abs=1e-6)
    assert np.ptp((raw - chi)[valid > 0]) < 3e-7


def test_tables_and_report(done):
    out, _, result = done
    anat = out / "sub-01/anat"
    header = (anat / "sub-01_desc-regions_Chimap.tsv").read_text().splitlines()[0].split("\t")
    about = json.loads((anat / "sub-01_desc-regions_Chimap.json").read_text())
    assert (
        {"median_ppb", "iqr_ppb", "iron_mg_kg", "normal_mg_kg", "r2star_mean"} <= set(header) <= about.keys()
    )
    assert about["Reference"] == "wm" and about["AgeYears"] == 40 and "density" not in header
    # The simulated labels have no sides.
    assert not (anat / "sub-01_desc-asymmetry_Chimap.tsv").exists()
    assert "under whole-brain referencing" in result.methods_text
    html = render(report_data(result))
    assert 'id="iron"' in html and 'class="violin"' in html and "Not for diagnosis" in html
    assert "langkammer2012" in html and "Normal iron of" in html


def test_wrong_words_show_at_once(scan, done, tmp_path):
    out, options, _ = done
    with pytest.raises(InputError, match="age"):
        run_scan(scan, tmp_path, replace(options, age=140.0))
    with pytest.raises(InputError, match="no label image"):
        run_scan(scan, out, replace(options, labels=None, reference="whole", label_table=scan.phase[0]))
    with pytest.raises(InputError, match="globus pallidus"):
        run_scan(scan, out, replace(options, reference="amygdala"))


def test_csf_from_labels_where_there_is_no_r2star(scan, done, tmp_path):
    _, options, _ = done
    one = replace(scan, phase=scan.phase[1:2], magnitude=scan.magnitude[1:2], te_s=scan.te_s[1:2])
    result = run_scan(one, tmp_path, replace(options, reference="csf"))
    assert result.reference["name"] == "CSF" and result.reference["region"] == "label 10"
    assert "r2star_mean" not in result.regions[0] and any("no R2* map" in w for w in result.warnings)
    with pytest.raises(InputError, match="label image"):
        run_scan(one, tmp_path, replace(options, reference="csf", labels=None))
