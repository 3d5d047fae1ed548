"""Strategies: which of the semi-hard and hard triplets are written. `base.load_strategy`."""
