"""The columns that `mine init` finds in a table: ids, content, labels, or pairs."""
