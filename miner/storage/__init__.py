"""Durable files, JSON, arrays, locks and URLs."""
