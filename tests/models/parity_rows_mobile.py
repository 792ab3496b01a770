"""Rows of the parity table: the networks for small devices, RegNet, ConvNeXt and ViT."""

from tests.parity import Row

ROWS: list[Row] = []
