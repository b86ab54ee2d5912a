"""`chimap run --lesions`: table, figure and report beside the map, and nothing made twice."""

from __future__ import annotations

from chimap.cli import main
from chimap.pipeline.store import file_sha256


def test_run_with_lesions(coarse, tmp_path, capsys):
    argv = ["run", str(coarse.bids), str(tmp_path), "participant", "--preset", "fast", "--lesions"]
    assert main(argv) == 0
    anat = tmp_path / "sub-01" / "anat"
    assert "lesions: no label image" in capsys.readouterr().err
    for name in ("desc-lesions_Chimap.tsv", "desc-lesions_Chimap.json", "desc-lesions_dseg.nii.gz"):
        assert (anat / f"sub-01_{name}").is_file()
    figure, report = anat / "sub-01_desc-lesions_Chimap.png", anat / "sub-01_report.html"
    assert figure.read_bytes()[:4] == b"\x89PNG" and '<section id="lesions"' in report.read_text()
    before = file_sha256(figure), file_sha256(report)
    assert main(argv) == 0
    assert "report done before" in capsys.readouterr().err
    # A figure that was lost comes back as it was.
    figure.unlink()
    assert main(argv) == 0
    assert "report done before" not in capsys.readouterr().err and file_sha256(figure) == before[0]
    # Without the flag the report speaks of none.
    assert main(argv[:-1]) == 0
    assert '<section id="lesions"' not in report.read_text()
