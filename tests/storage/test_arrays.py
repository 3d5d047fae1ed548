"""Files of our own are read by one thread at a time: two syntax trees at once end in an error."""

from __future__ import annotations

import ast
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miner.storage.arrays import load_array, load_arrays


def test_headers_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(6).reshape(2, 3)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "b.npz", first=array, second=array + 1)
    whole, inside, most, found = ast.literal_eval, [0], [0], []

    def slow(text: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.002)
        inside[0] -= 1
        return whole(text)

    def work() -> None:
        found.append(np.array(load_array(tmp_path / "a.npy")))
        with (tmp_path / "b.npz").open("rb") as file:
            found.append(load_arrays(file)["second"] - 1)

    monkeypatch.setattr(ast, "literal_eval", slow)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and len(found) == 16
    assert all((one == array).all() for one in found)
