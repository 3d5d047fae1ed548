"""Engines, which distribute units over workers; one file per library."""
