"""A small object is noticed, a brain is not."""

import numpy as np
import pytest

from chimap.pipeline.size import small_object


@pytest.mark.parametrize(
    ("side_mm", "small"), [(0.2, True), (1.0, True), (2.0, False)], ids=["mouse", "piece", "brain"]
)
def test_length_of_the_object_decides(side_mm, small) -> None:
    mask = np.zeros((40, 60, 30), bool)
    mask[5:35, 3:55, 4:26] = True
    said = small_object(mask, (side_mm,) * 3)
    assert (said is not None) is small
    if said:
        assert f"{52 * side_mm:.0f} mm" in said


def test_the_longest_side_counts_in_mm() -> None:
    mask = np.zeros((40, 60, 30), bool)
    mask[5:35, 3:55, 4:26] = True
    assert small_object(mask, (0.5, 0.5, 4.0)) is None  # 22 slices of 4 mm


def test_no_object_is_not_a_small_one() -> None:
    assert small_object(np.zeros((4, 4, 4), bool), (1.0, 1.0, 1.0)) is None
