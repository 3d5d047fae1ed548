"""Units of work: ranges of anchors whose triplets are counted and written together."""
