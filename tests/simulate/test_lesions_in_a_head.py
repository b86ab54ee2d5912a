"""Lesions put into a simulated head: their moment is exact, and the head's own can be taken away."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.errors import InputError
from chimap.simulate import head_phantom
from chimap.simulate.lesions import Lesion, place_lesions, random_lesions, without_lesions
from chimap.simulate.tissue import LABELS


@pytest.fixture(scope="module")
def head():
    return without_lesions(head_phantom((2.5, 2.5, 2.5)))


def test_taken_away(head):
    assert not np.isin(head.labels, [LABELS["microbleed"], LABELS["calcification"]]).any()
    assert head.chi_ppm[head.mask].max() < 0.5 and head.chi_ppm[head.mask].min() > -1


def test_random_and_placed(head):
    lesions = random_lesions(head, microbleeds=6, calcifications=3, seed=1)
    assert lesions == random_lesions(head, microbleeds=6, calcifications=3, seed=1)
    assert [x.kind for x in lesions] == ["microbleed"] * 6 + ["calcification"] * 3
    for i, a in enumerate(lesions):
        for b in lesions[:i]:
            apart = np.linalg.norm(np.subtract(a.centre_mm, b.centre_mm))
            assert apart >= (a.diameter_mm + b.diameter_mm) / 2 + 4
    sick, moments = place_lesions(head, lesions)
    added = (sick.chi_ppm.astype(float) - head.chi_ppm).sum() * 2.5**3
    assert added == pytest.approx(sum(moments), rel=1e-4)
    for lesion, moment in zip(lesions, moments):
        assert moment == pytest.approx(lesion.chi_ppm * lesion.volume_mm3, rel=0.3)
        assert np.sign(moment) == np.sign(lesion.chi_ppm)
    assert head.chi_ppm[head.mask].max() < 0.5


def test_errors(head):
    with pytest.raises(InputError, match="not wholly in the brain"):
        place_lesions(head, [Lesion("microbleed", (0, 0, 90), 4, 1)])
    with pytest.raises(InputError, match="outside the phantom"):
        place_lesions(head, [Lesion("microbleed", (900, 0, 0), 4, 1)])
    with pytest.raises(InputError, match="no room"):
        random_lesions(head, microbleeds=1, calcifications=0, diameter_mm=(150, 160))
