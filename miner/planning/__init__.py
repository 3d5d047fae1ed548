"""Prediction of a run's time, memory and disk (`mine plan`), and starter jobs (`mine init`)."""
