"""FAISS indexes. The only place that imports faiss. `base.check_index` and `base.INDEXES`."""
