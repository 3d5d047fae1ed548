"""The stages of a mining run, and the code that executes them in order."""
