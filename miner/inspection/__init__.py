"""Reading a finished run: report, verification, comparison."""
