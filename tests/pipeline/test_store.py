"""A stage counts as done only if key, files and hashes agree."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chimap.pipeline.store import Output, Store, code_sha256, file_sha256, key_of

MAP = Output("_desc-a_map", "ppm", "A map")
MASK = Output("_desc-b_mask", "", "A mask", mask=True)


@pytest.fixture
def saved(tmp_path, rng):
    store = Store(tmp_path / "anat", "sub-01")
    arrays = {
        MAP.suffix: rng.standard_normal((5, 6, 7)).astype(np.float32),
        MASK.suffix: rng.random((5, 6, 7)) > 0.5,
    }
    done = store.save("stage", "k", (MAP, MASK), arrays, np.eye(4), {"method": "m"}, {"Sources": ["x"]})
    return store, arrays, done


def test_comes_back_bit_for_bit(saved):
    store, arrays, done = saved
    found = store.find("stage", "k", MAP.suffix)
    assert found is not None and found.resumed
    for suffix, array in arrays.items():
        back = found[suffix].get()
        assert back.dtype == array.dtype and (back == array).all()
        assert found[suffix].sha256 == done[suffix].sha256
    side = json.loads(store.path(MAP.suffix, ".json").read_text())
    assert side["Units"] == "ppm" and side["Chimap"]["method"] == "m" and side["Sources"] == ["x"]


def test_other_key_or_stage(saved):
    store, _, _ = saved
    assert store.find("stage", "other", MAP.suffix) is None
    assert store.find("another", "k", MAP.suffix) is None
    assert Store(store.folder, store.name, force=True).find("stage", "k", MAP.suffix) is None


@pytest.mark.parametrize("harm", ["remove", "edit", "cut sidecar", "remove sidecar"])
def test_harmed_files(saved, harm):
    store, _, _ = saved
    volume, sidecar = store.path(MASK.suffix), store.path(MAP.suffix, ".json")
    if harm == "remove":
        volume.unlink()
    elif harm == "edit":
        volume.write_bytes(volume.read_bytes() + b"x")
    elif harm == "cut sidecar":
        sidecar.write_text(sidecar.read_text()[:40])
    else:
        sidecar.unlink()
    assert store.find("stage", "k", MAP.suffix) is None


def test_keys_and_hashes(tmp_path):
    assert key_of(a=1, b=(1.5, np.float32(2))) == key_of(b=[1.5, 2.0], a=1) != key_of(a=2, b=[1.5, 2.0])
    assert code_sha256("chimap.phase") != code_sha256("chimap.masking")
    assert code_sha256("chimap.pipeline.sign") == code_sha256("chimap.pipeline.sign")
    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f").startswith("ba7816bf")
