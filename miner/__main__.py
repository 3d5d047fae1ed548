"""Run the command line: ``python -m miner`` is the same as ``mine``."""

from miner.cli.main import main

if __name__ == "__main__":
    main()
