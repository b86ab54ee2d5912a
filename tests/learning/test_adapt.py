"""Learning from one scan, where torch is installed: nothing leaks, it learns, and what it writes is what inference runs."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from chimap.cli import main  # noqa: E402
from chimap.errors import InputError  # noqa: E402
from chimap.inversion.learned import learned_map  # noqa: E402
from chimap.learning import _adapt_rounds, adapt  # noqa: E402
from chimap.learning._adapt_card import card_before  # noqa: E402
from chimap.learning._adapt_views import Scan, view_of  # noqa: E402
from chimap.learning.synthetic import local_sample  # noqa: E402
from chimap.networks import cards  # noqa: E402
from chimap.networks.session import load, sha256  # noqa: E402
from chimap.numerics import threads  # noqa: E402

SHAPE = (28, 26, 22)
QUICK = adapt.Settings(steps=4, rounds=2, rate=1e-3, crop=16)


@pytest.fixture(autouse=True)
def one_thread():  # type: ignore[no-untyped-def]
    """These volumes are too small to share."""
    threads.set_threads(1)
    yield
    threads.set_threads(None)


@pytest.fixture(scope="module")
def scan() -> Scan:
    s = local_sample(np.random.default_rng(11), SHAPE)
    return Scan(s.field_ppm, s.mask, s.acq, s.magnitude, s.r2star, s.noise_ppm)


@pytest.fixture(scope="module")
def parent(tmp_path_factory):  # type: ignore[no-untyped-def]
    """A network of two steps with random weights and its card."""
    path = tmp_path_factory.mktemp("parent") / "parent.onnx"
    torch.manual_seed(3)
    net = adapt.Correction(2, 4, 6)
    with torch.no_grad():
        net.out.weight.normal_(std=0.02)
        # Equal initial values would share one place in the exported file.
        for p in net.parameters():
            p.add_(1e-3 * torch.randn_like(p))
    adapt._export(net, path)
    path.with_suffix(".json").write_text(json.dumps(card_before(path, None).to_dict()))
    return path


def _hidden(scan: Scan, share: float = 0.2):  # type: ignore[no-untyped-def]
    return scan.mask & (np.random.default_rng(1).random(SHAPE) < share)


def test_nothing_of_a_hidden_voxel_reaches_the_network(scan, parent):
    hidden = _hidden(scan)
    other = replace(scan, field=np.where(hidden, np.float32(0.5), scan.field))
    views = [view_of(s, hidden, hidden, load(parent), 2, 1.0) for s in (scan, other)]
    assert np.array_equal(views[0].channels, views[1].channels)
    assert not np.array_equal(views[0].field, views[1].field)
    assert views[0].channels[4][views[0].told > 0].max() == 0


def test_without_a_noise_map_hiding_leaves_the_other_weights_at_one(scan):
    bare = replace(scan, noise=None)
    hidden = _hidden(scan)
    assert np.allclose(bare.hiding(hidden).weights(), (scan.mask & ~hidden), atol=1e-5)


def test_the_view_is_what_inference_computes(scan, parent):
    """The last step's residual, of the whole volume, is that of the map that `learned` makes of the same voxels."""
    hidden = _hidden(scan)
    network = load(parent)
    learner = _adapt_rounds.Learner(adapt.correction_of(network), network, network.card, 1.0)
    view = learner.view(scan, hidden, hidden)
    given = scan.hiding(hidden)
    made = learned_map(
        given.field,
        given.mask,
        given.acq,
        magnitude=given.magnitude,
        r2star=given.r2star,
        noise=given.noise,
        model=str(parent),
        refine=0,
    )
    expected = -(made.residual - given.field + scan.field)[hidden] / view.scale
    found = view._box.restore(
        np.pad(learner.residual(view), [(0, b - n) for b, n in zip(view._box.shape, view.field.shape)])
    )[hidden]
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


def test_the_held_out_residual_falls_where_there_is_something_to_learn(scan, parent, tmp_path):
    """The parent's last step spoils the map; a few steps mend it."""
    made = adapt.adapt(
        scan, tmp_path / "mine.onnx", model=parent, settings=replace(QUICK, steps=32, rounds=4, rate=3e-3)
    )
    assert made.changed and made.after_ppm < 0.985 * made.before_ppm
    old, new = adapt.correction_of(load(parent)), adapt.correction_of(load(made.file))
    for a, b in zip(old.parameters(), new.parameters(), strict=True):
        assert torch.equal(a[0], b[0])
    assert any(not torch.equal(a[1], b[1]) for a, b in zip(old.parameters(), new.parameters(), strict=True))


def test_without_gain_the_weights_stay_and_the_card_says_so(scan, parent, tmp_path, monkeypatch):
    monkeypatch.setattr(adapt, "LEAST_GAIN", 1.0)
    made = adapt.adapt(scan, tmp_path / "mine.onnx", model=parent, settings=QUICK)
    assert not made.changed and made.file.read_bytes() == parent.read_bytes()
    card = cards.card_of(made.file)
    assert card is not None and "did not fall" in card.config
    assert sha256(parent) in card.config and "seed 1" in card.config and card.name == "mine"


def test_the_same_seed_gives_the_same_weights(scan, parent, tmp_path, monkeypatch):
    monkeypatch.setattr(adapt, "LEAST_GAIN", -10.0)
    files = [
        adapt.adapt(scan, tmp_path / f"{n}.onnx", model=parent, settings=replace(QUICK, seed=s)).file
        for n, s in (("a", 5), ("b", 5), ("c", 6))
    ]
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()


def test_an_untrained_network_learns_from_the_command_line_and_inverts(scan, tmp_path):
    flags = []
    for name, data in (("field", scan.field), ("mask", scan.mask), ("r2star", scan.r2star)):
        path = tmp_path / f"{name}.nii"
        nib.save(nib.Nifti1Image(data.astype(np.float32), np.diag([*scan.acq.voxel_size_mm, 1.0])), path)
        flags += [f"--{name}", str(path)]
    out = tmp_path / "mine.onnx"
    b0 = ["--b0-dir", *(str(v) for v in scan.acq.b0_dir)]
    quick = ["--untrained", "--steps", "8", "--crop", "16", "--threads", "1", "--quiet"]
    assert main(["adapt", flags[1], *flags[2:], *b0, "-o", str(out), *quick]) == 0
    assert "random weights" in json.loads(out.with_suffix(".json").read_text())["config"]
    chi = tmp_path / "chi.nii"
    invert = ["invert", "--method", "learned", "--model", str(out), *flags, *b0, "-o", str(chi)]
    assert main([*invert, "--quiet"]) == 0
    assert np.asarray(nib.load(chi).dataobj).std() > 0


def test_errors_name_the_cause(scan, parent, tmp_path):
    with pytest.raises(InputError, match="network to start from"):
        adapt.adapt(scan, parent, model=parent)
    with pytest.raises(InputError, match="onnx"):
        adapt.adapt(scan, tmp_path / "m.pt", model=parent)
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(parent.read_bytes())
    with pytest.raises(InputError, match="no model card"):
        adapt.adapt(scan, tmp_path / "m.onnx", model=bare)
    with pytest.raises(InputError, match="steps is 0"):
        replace(QUICK, steps=0)
    with pytest.raises(InputError, match="NaN"):
        replace(scan, field=np.full(SHAPE, np.nan, np.float32))
