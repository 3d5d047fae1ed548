"""``python -m miner`` is ``mine``."""

from miner.cli import main

if __name__ == "__main__":
    main()
