"""FAISS indexes. The only place that imports faiss. `base.open_index` and `base.check_factory`."""
