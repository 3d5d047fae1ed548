"""The conditions of `dataset.where`."""
