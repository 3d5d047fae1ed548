"""Selection of the hard and semi-hard triplets to write: filters, strategies, caps, draws."""
