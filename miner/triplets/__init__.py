"""The definition: distances, the three classes, and who is relevant to whom."""
