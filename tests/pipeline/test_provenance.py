"""Names of inputs in sidecars: they stay true when data set and results move, and hold no path of the machine."""

import json
from pathlib import Path

from chimap.cli._report import shareable
from chimap.pipeline.provenance import finding_with, link_inputs, names_of


def data_set(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return folder


def test_data_set_that_holds_the_results(tmp_path):
    root = data_set(tmp_path / "bids")
    out = data_set(root / "derivatives" / "chimap")
    image, own = root / "sub-01" / "anat" / "a.nii.gz", out / "work" / "b.nii"
    assert names_of([image, own], out) == {image: "bids:raw:sub-01/anat/a.nii.gz", own: "bids::work/b.nii"}
    link_inputs([image], out)
    links = json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]
    assert links == {"raw": "../.."}
    assert (out / links["raw"]).resolve() == root.resolve()


def test_data_set_beside_and_elsewhere(tmp_path):
    root, out = data_set(tmp_path / "a" / "bids"), data_set(tmp_path / "a" / "out")
    far = data_set(tmp_path / "far" / "Quendolin" / "bids")
    images = [root / "sub-01" / "a.nii", far / "sub-02" / "a.nii"]
    assert list(names_of(images, out).values()) == ["bids:raw:sub-01/a.nii", "sub-02/a.nii"]
    link_inputs(images, out)
    link_inputs(images, out)
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"raw": "../bids"} and description["Name"] == "x"


def test_loose_files(tmp_path):
    files = [tmp_path / "Quendolin" / f"echo{e}" / "phase.nii" for e in (1, 2)]
    assert list(names_of(files, tmp_path / "out").values()) == ["echo1/phase.nii", "echo2/phase.nii"]
    assert list(names_of(files[:1], tmp_path / "out").values()) == ["phase.nii"]
    link_inputs(files, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_findings(tmp_path):
    file = tmp_path / "Quendolin" / "phase.nii"
    found = {"file": str(file), "what": f"{file} is odd", "fix": ""}
    names = {file: "phase.nii"}
    assert finding_with(found, names) == {"file": "phase.nii", "what": "phase.nii is odd", "fix": ""}
    assert (
        finding_with({"file": str(tmp_path / "other.nii"), "what": "x", "fix": ""}, names)["file"]
        == "other.nii"
    )


def test_command_without_folders(tmp_path):
    source, out = tmp_path / "Quendolin 1", tmp_path / "Quendolin_out"
    (out / "sub-01" / "anat").mkdir(parents=True)
    source.mkdir()
    labels = tmp_path / "Quendolin_2" / "dseg.nii.gz"
    command = f"chimap run '{source}' {out} participant --labels {labels} --set inversion.lam=0.1"
    said = shareable(command, out / "sub-01" / "anat")
    assert said == "chimap run INPUT OUT participant --labels dseg.nii.gz --set inversion.lam=0.1"
    assert (
        shareable(f"chimap run --output={out} '{source}'", out / "sub-01") == "chimap run --output=OUT INPUT"
    )
