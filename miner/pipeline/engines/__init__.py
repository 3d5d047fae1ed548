"""Engines: how units are spread over workers, a file a family."""
