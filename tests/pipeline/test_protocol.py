"""The measurement against the consensus: what is met, what is not, and what cannot be told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.pipeline.protocol import RULES, Measured, protocol_rows, putamen_t2star_ms, summary

FINE = ("readout", "filtered phase", "singularities")


def good(**changes) -> Measured:
    acq = Acquisition((0.005, 0.015, 0.025, 0.035), 3.0, voxel_size_mm=(1.0, 1.0, 1.0))
    mask = np.zeros((180, 200, 160), bool)
    mask[20:160, 10:190, 20:150] = True
    scan = Measured(
        acq, mask.shape, {"MRAcquisitionType": "3D"}, [{"topic": t, "level": "ok"} for t in FINE], True, mask
    )
    return replace(scan, **changes)


def with_acq(**changes) -> Measured:
    return replace(good(), acq=good().acq.with_(**changes))


def status(scan: Measured) -> dict[str, str]:
    return {row["name"]: row["status"] for row in protocol_rows(scan)}


def test_a_good_protocol_meets_all():
    rows = protocol_rows(good())
    assert [r["name"] for r in rows] == [r.name for r in RULES]
    assert {r["status"] for r in rows} == {"met"}
    assert all(r["found"] and r["wanted"] and r["why"] for r in rows)
    assert summary(rows) == f"{len(RULES)} of {len(RULES)} recommendations met"


@pytest.mark.parametrize(
    ("scan", "name"),
    [
        (good(metadata={"MRAcquisitionType": "2D"}), "Sequence"),
        (good(magnitude=False), "Phase and magnitude"),
        (with_acq(te_s=(0.005, 0.035)), "Number of echoes"),
        (with_acq(te_s=(0.012, 0.022, 0.032)), "First echo"),
        (with_acq(te_s=(0.005, 0.015, 0.025)), "Last echo"),
        (with_acq(te_s=(0.005, 0.012, 0.035)), "Echo spacing"),
        (with_acq(voxel_size_mm=(1.2, 1.2, 1.2)), "Voxel size"),
        (with_acq(voxel_size_mm=(0.6, 0.6, 2.0)), "Isotropic voxels"),
        (with_acq(voxel_size_mm=(1.0, 1.0, 0.5)), "Coverage"),
        (good(mask=np.ones((180, 200, 160), bool)), "Coverage"),
        *[
            (good(findings=[{"topic": t, "level": "warning"}]), name)
            for t, name in zip(FINE, ("Readout", "Phase as measured", "Combination of the coils"), strict=True)
        ],
    ],
)  # fmt: skip
def test_what_is_not_met_is_told(scan, name):
    assert status(scan)[name] == "not met"
    row = next(r for r in protocol_rows(scan) if r["name"] == name)
    assert row["found"]


@pytest.mark.parametrize(
    ("scan", "names"),
    [
        (good(metadata={}), {"Sequence"}),
        (good(findings=[]), {"Readout", "Phase as measured", "Combination of the coils"}),
        (good(mask=None), {"Coverage"}),
        (with_acq(b0_t=9.4), {"Last echo"}),
    ],
)
def test_what_cannot_be_told_is_unknown(scan, names):
    found = status(scan)
    assert {n for n, s in found.items() if s == "unknown"} == names
    assert summary(protocol_rows(scan)).endswith(f"{len(names)} not known")


def test_one_echo_has_no_spacing():
    found = status(with_acq(te_s=(0.02,)))
    assert found["Echo spacing"] == "unknown"
    assert found["Number of echoes"] == "not met"


def test_echo_times_rounded_in_the_sidecar_are_even():
    """Vendors write echo times to a hundredth of a millisecond."""
    assert status(with_acq(te_s=(0.00492, 0.00984, 0.01476, 0.01969)))["Echo spacing"] == "met"


def test_t2star_of_the_putamen():
    assert putamen_t2star_ms(3.0) == pytest.approx(31.5)
    # Its rate rises with the field: the scanner of 2.89 T is nearly one of 3 T.
    assert 31.5 < putamen_t2star_ms(2.89) < 33
    assert putamen_t2star_ms(7.0) == pytest.approx(16.1)
    assert putamen_t2star_ms(0.55) is None


def test_coverage_says_where_a_mask_is_cut():
    rows = protocol_rows(good(mask=np.ones((180, 200, 160), bool)))
    found = next(r["found"] for r in rows if r["name"] == "Coverage")
    assert found == "180 × 200 × 160 mm; the brain mask ends at the edge of the grid"
