"""One process for each device, by the pool of the library sentence-transformers."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

import sentence_transformers as library
import torch

from miner.errors import EngineError, UsageError

__all__ = ["DevicePool", "SentenceTransformer", "checked_devices"]


class SentenceTransformer(library.SentenceTransformer):  # type: ignore[misc]
    """The library's model, whose processes end quietly, and with the process that started them.

    It has the name of the library's class because the checksum of a model contains the name.
    """

    @classmethod
    def _multi_process_worker(cls, device: str, model: Any, texts: Any, vectors: Any) -> None:
        """Embed what comes in a queue until this process is terminated."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # else semaphores of tqdm are left
        threading.Thread(target=_end_with_parent, daemon=True).start()
        logging.disable()  # an error is raised in the parent, which reports it
        vectors.cancel_join_thread()
        super()._multi_process_worker(device, model, texts, vectors)


def _end_with_parent() -> None:
    """End this process after its parent; one that is killed cannot end it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class DevicePool:
    """Processes that share a model, started at the first use.

    They end in `close`, when this object is freed, and when this process ends.

    Parameters
    ----------
    model : SentenceTransformer
    devices : list of str
        One process for each; none if it is empty.
    """

    def __init__(self, model: SentenceTransformer, devices: list[str]) -> None:
        self._model, self._devices = model, devices
        self._pool: Any = None
        self._stop: Any = None

    @contextmanager
    def running(self) -> Iterator[Any]:
        """Yield the library's pool for one call of `encode`; None without devices.

        Raises
        ------
        EngineError
            If a process died.
        """
        if self._devices and self._pool is None:
            self._start()
        try:
            yield self._pool
        except BaseException as error:
            died = self._pool and not all(one.is_alive() for one in self._pool["processes"])
            if died or not isinstance(error, Exception):  # vectors of this call may be on their way
                self.close()
            if died and isinstance(error, Exception):
                raise EngineError(
                    "a process of model.options.devices died (out of memory?); lower "
                    "model.batch_size, or name fewer devices; the same command continues from here"
                ) from error
            raise

    def _start(self) -> None:
        resource_tracker.ensure_running()  # its start unblocks SIGINT
        before = set(multiprocessing.active_children())
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the processes inherit it
        try:
            self._pool = self._model.start_multi_process_pool(self._devices)
        except BaseException:
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        stop = library.SentenceTransformer.stop_multi_process_pool
        self._stop = weakref.finalize(self, stop, self._pool)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool = None
            self._stop()


def checked_devices(devices: Any, device: str | None) -> list[str]:
    """Return the devices of a job; an empty list if it names none.

    Raises
    ------
    UsageError
        If they are no list of names, if a device is not there, or if `device` is set as well.
    """
    if devices is None:
        return []
    if not isinstance(devices, list) or not devices or {type(one) for one in devices} != {str}:
        raise UsageError(
            f"model.options.devices = {devices!r} must be a list of names, such as "
            '["cuda:0", "cuda:1"]'
        )
    if device is not None:
        raise UsageError("model.options.device and model.options.devices are both set; drop one")
    here = torch.accelerator.current_accelerator(check_available=True)
    for name in devices:
        try:
            found = torch.device(name)
        except RuntimeError as error:
            raise UsageError(f"model.options.devices: {name!r} is no device of PyTorch") from error
        count = torch.accelerator.device_count() if here and here.type == found.type else 0
        if found.type != "cpu" and (found.index or 0) >= count:
            raise UsageError(
                f"model.options.devices: {name!r} is not there; PyTorch sees "
                f"{count or 'no'} {found.type} here"
            )
    return devices
