"""The runs of other retrievers: files of ranked documents."""
