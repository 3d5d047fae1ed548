"""Count every triplet of a block of anchors."""
