"""Every family computes what PyTorch's does, from the same random weights.

A variant is a row of the table in `parity_rows_*.py`, one file for each group of families.
"""

import pytest

from tests import parity
from tests.models import (
    parity_rows_cifar,
    parity_rows_classic,
    parity_rows_mobile,
    parity_rows_residual,
)

ROWS = [
    *parity_rows_cifar.ROWS,
    *parity_rows_classic.ROWS,
    *parity_rows_mobile.ROWS,
    *parity_rows_residual.ROWS,
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.variant)
def test_parameters_have_pytorchs_names_and_shapes(row):
    parity.check_shapes(row)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.image_size], ids=lambda row: row.variant
)
def test_outputs_and_gradients_are_pytorchs(row):
    differences = parity.measure(row)
    assert differences.logits < 1e-4
    assert differences.features < 1e-4
    assert differences.gradients is None or differences.gradients < 1e-3
