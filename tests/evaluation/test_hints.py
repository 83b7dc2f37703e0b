"""The protocol of Zhang et al. 2017: where hints are."""

import numpy as np
import pytest

from nxap_color.evaluation.hints import random_square


@pytest.mark.parametrize("size", [(40, 60), (3, 2), (1, 1)])
def test_squares_lie_inside(size):
    rng = np.random.default_rng(0)
    for _ in range(200):
        rows, columns = random_square(size, 5, rng)
        assert 0 <= rows.start < rows.stop <= size[0] and 0 <= columns.start < columns.stop <= size[1]
        assert rows.stop - rows.start == min(5, size[0])
