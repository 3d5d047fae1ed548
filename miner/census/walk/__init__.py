"""The exact pass over all (anchor, row) keys: `census.Census` yields blocks of counted anchors."""
