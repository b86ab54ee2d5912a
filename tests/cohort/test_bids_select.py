"""Which scans are meant, and which label image and participant go with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chimap.errors import InputError
from chimap.io.bids_select import age_of, label_image, matches, participants, read_filters, select
from chimap.io.scan import Scan


def _scan(name: str, suffix: str = "MEGRE") -> Scan:
    entities = dict(word.split("-", 1) for word in name.split("_"))
    return Scan(
        name=name, entities=entities, phase=(Path("/bids/anat") / f"{name}_part-phase_{suffix}.nii.gz",)
    )


SCANS = [
    _scan("sub-01_ses-1"),
    _scan("sub-01_ses-2_run-01"),
    _scan("sub-01_ses-2_run-02"),
    _scan("sub-02_ses-1", "T2starw"),
]


def _names(scans: list[Scan]) -> list[str]:
    return [s.name for s in scans]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"ses": "1"}, [0, 3]),
        ({"run": None}, [0, 3]),
        ({"run": "*"}, [1, 2]),
        ({"run": 2}, [2]),
        ({"run": [None, 1]}, [0, 1, 3]),
        ({"suffix": "T2starw"}, [3]),
        ({"datatype": "anat", "sub": "01"}, [0, 1, 2]),
    ],
)
def test_queries(query, expected):
    assert _names(select(SCANS, query=query)) == [SCANS[i].name for i in expected]


def test_labels_with_and_without_prefix():
    assert _names(select(SCANS, subjects=["sub-02"])) == ["sub-02_ses-1"]
    assert _names(select(SCANS, subjects=["01"], sessions=["ses-1"])) == ["sub-01_ses-1"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"subjects": ["09"]}, "there is no 09"),
        ({"subjects": ["02"], "sessions": ["2"]}, "both these"),
        ({"query": {"acq": "x"}}, "no scan fits"),
    ],
)
def test_nothing_left(flags, said):
    with pytest.raises(InputError, match=said):
        select(SCANS, **flags)


def test_filter_file(tmp_path):
    path = tmp_path / "filter.json"
    path.write_text(
        json.dumps(
            {
                "megre": {"session": "1", "acquisition": None},
                "dseg": {"desc": "aseg"},
                "bold": {"task": "rest"},
            }
        )
    )
    assert read_filters(path) == {
        "scan": {"ses": "1", "acq": None},
        "labels": {"desc": "aseg"},
        "t1w": {},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not readable JSON"),
        ("[]", "mapping"),
        ('{"bold": {}}', "no query is named"),
        ('{"megre": {"echoo": 1}}', "no entity 'echoo'"),
    ],
)
def test_filter_file_that_is_wrong(tmp_path, text, said):
    path = tmp_path / "filter.json"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as e:
        read_filters(path)
    assert e.value.file == str(path)


def _touch(root: Path, *names: str) -> None:
    for name in names:
        folder = root / name.split("_")[0] / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.nii.gz").touch()


def test_label_image_of_a_scan(tmp_path):
    _touch(
        tmp_path,
        "sub-01_dseg",
        "sub-01_ses-2_run-02_dseg",
        "sub-01_T1w",
        "sub-02_ses-9_dseg",
        "sub-03_desc-a_dseg",
        "sub-03_desc-b_dseg",
    )
    found = [label_image(s, tmp_path) for s in SCANS]
    assert [p.name if p else None for p in found] == [
        "sub-01_dseg.nii.gz",
        "sub-01_dseg.nii.gz",
        "sub-01_ses-2_run-02_dseg.nii.gz",
        None,
    ]
    third = _scan("sub-03")
    with pytest.raises(InputError, match="2 label images fit"):
        label_image(third, tmp_path)
    assert label_image(third, tmp_path, {"desc": "b"}) == tmp_path / "sub-03/anat/sub-03_desc-b_dseg.nii.gz"


def test_participants(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_text("participant_id\tage\tsex\nsub-01\t34\tF\nsub-02\tn/a\tM\nsub-03\t89+\t\n")
    people = participants(path)
    assert people == {"01": {"age": "34", "sex": "F"}, "02": {"sex": "M"}, "03": {"age": "89+"}}
    assert [age_of(people.get(p)) for p in ("01", "02", "03", "04")] == [34.0, None, None, None]
    path.write_text("participant_id\tage\nsub-01\t1\nsub-01\t2\n")
    with pytest.raises(InputError, match="twice"):
        participants(path)
    path.write_text("name,age\n")
    with pytest.raises(InputError, match="participant_id"):
        participants(path)


def test_an_empty_query_fits_all():
    assert matches({"sub": "01"}, {})
