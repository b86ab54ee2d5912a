import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from chimap import metrics
from chimap.errors import InputError


@pytest.fixture
def maps(rng):
    shape = (30, 32, 28)
    truth = gaussian_filter(rng.standard_normal(shape), 1.5) * 0.5
    seg = np.zeros(shape, int)
    for label in range(1, 10):
        seg[3 * label : 3 * label + 3, 8:20, 8:20] = label
        truth[seg == label] += 0.02 * label
    seg[8:11, 22:24, 10:12] = 11
    seg[14:17, 14:17, 14:17] = 16
    truth[seg == 16] = -2.0
    mask = np.zeros(shape, bool)
    mask[2:-2, 3:-2, 2:-3] = True
    return truth, mask, seg


def test_the_truth_scores_perfectly(maps):
    truth, mask, seg = maps
    values = metrics.score(truth, truth, mask, seg)
    for name in (
        "nrmse",
        "nrmse_detrend",
        "hfen",
        "nrmse_tissue",
        "nrmse_blood",
        "nrmse_dgm",
        "dgm_linearity",
    ):
        assert values[name] == pytest.approx(0, abs=1e-4), name
    assert values["xsim"] == values["correlation"] == 1
    assert values["calc_moment_dev"] == pytest.approx(0, abs=1e-3)
    assert values["calc_streak"] == pytest.approx(0, abs=1e-3)
    assert values["coverage"] == 1


def test_scale_and_offset(maps):
    truth, mask, seg = maps
    recon = 0.7 * truth + 0.05
    assert metrics.nrmse(recon, truth, mask) == pytest.approx(30)
    assert metrics.nrmse_detrended(recon, truth, mask) == pytest.approx(0, abs=1e-9)
    assert metrics.correlation(recon, truth, mask) == pytest.approx(1)
    assert metrics.hfen(recon, truth, mask) == pytest.approx(30)
    assert metrics.linearity(recon, truth, seg) == pytest.approx((0.7, 0.05))
    assert metrics.xsim(recon, truth, mask) < 0.95


def test_xsim_is_the_mean_over_windows(maps, rng):
    truth, mask, _ = maps
    mask = mask & (rng.random(mask.shape) < 0.1)
    recon = truth + 0.02 * rng.standard_normal(truth.shape)
    values = []
    for i, j, k in np.argwhere(mask):
        box = tuple(slice(max(c - 2, 0), c + 3) for c in (i, j, k))
        a, b = recon[box].ravel(), truth[box].ravel()
        cov = np.mean(a * b) - a.mean() * b.mean()
        num = (2 * a.mean() * b.mean() + 1e-4) * (2 * cov + 1e-6)
        values.append(num / ((a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (a.var() + b.var() + 1e-6)))
    assert metrics.xsim(recon, truth, mask) == pytest.approx(np.mean(values), abs=1e-6)


def test_measures_do_not_depend_on_what_surrounds_the_box(maps, rng):
    """Working on the mask's box gives what the whole volume gives."""
    truth, mask, _ = maps
    recon = truth + 0.02 * rng.standard_normal(truth.shape)
    wide = [np.pad(a, 20) for a in (recon * mask, truth * mask, mask)]
    inner = metrics.hfen(*wide), metrics.xsim(*wide)
    wider = [np.pad(a, 5) for a in wide]
    assert inner == pytest.approx((metrics.hfen(*wider), metrics.xsim(*wider)), rel=1e-12)


def test_streaks_show(maps):
    truth, _mask, seg = maps
    clean = metrics.streaking(truth, truth, seg)
    streaky = truth + 0.2 * np.sin(np.arange(28) * 1.5)
    assert metrics.streaking(streaky, truth, seg)[1] > clean[1] + 0.02
    assert all(math.isnan(v) for v in metrics.streaking(truth, truth, np.zeros_like(seg)))
    # Where nothing diamagnetic is found, the whole moment is missing.
    lost = metrics.streaking(np.zeros_like(truth), truth, seg)
    assert lost[0] == pytest.approx(54) and math.isnan(lost[1])


def test_eroded_maps_cost_unless_support_is_asked_for(maps):
    truth, mask, seg = maps
    recon = truth.copy()
    recon[:, :, 20:] = 0
    whole, support = metrics.score(recon, truth, mask), metrics.score(recon, truth, mask, support=True)
    assert whole["coverage"] == support["coverage"] < 1
    assert whole["nrmse"] > 10 and support["nrmse"] == pytest.approx(0, abs=1e-4)
    assert "nrmse_dgm" not in metrics.score(recon, truth, mask, seg, kind="field")


def test_nan_in_the_reconstruction_is_a_missing_voxel(maps):
    truth, mask, _ = maps
    recon = truth.copy()
    recon[10, 10, 10] = np.nan
    values = metrics.score(recon, truth, mask)
    assert values["coverage"] < 1 and all(v is not None for v in values.values())


def test_undefined_measures_are_none():
    flat = np.ones((8, 8, 8))
    assert metrics.score(flat, flat, flat)["nrmse"] is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"recon": np.zeros((3, 3, 3))}, "shape"),
        ({"mask": np.zeros((30, 32, 28))}, "empty"),
        ({"kind": "x"}, "kind"),
    ],
)
def test_bad_input_is_told(maps, change, word):
    truth, mask, _ = maps
    with pytest.raises(InputError, match=word):
        metrics.score(**{"recon": truth, "truth": truth, "mask": mask, **change})
