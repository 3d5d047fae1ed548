"""Units of work: blocks of anchors, counted and written."""
