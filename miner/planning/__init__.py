"""Predicting a run, and writing a starter job."""
