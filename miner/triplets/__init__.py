"""The definition: distances, the three classes, and which rows are positives of an anchor."""
