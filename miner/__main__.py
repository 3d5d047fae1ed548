"""``python -m miner`` is ``mine``."""

from miner.cli.main import main

if __name__ == "__main__":
    main()
