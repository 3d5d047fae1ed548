"""FAISS indexes: the only package that imports faiss. Other code calls the functions of `base`."""
