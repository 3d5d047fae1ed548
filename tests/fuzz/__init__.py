"""Hostile input, generated: documents of every reader's format, job files, conditions, runs.

`python -m tests.fuzz --minutes 10 --seed 1` looks for what the tests' small share has not found.
"""
