"""Layouts of folders and tables that become queries, a corpus and links."""
