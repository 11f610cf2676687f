"""Waiting for long work while showing how far it is."""

from __future__ import annotations

import json
import warnings
from typing import Any

from . import _native

#: Seconds between two looks at a job: less than half of what Ctrl-C may take.
LOOK = 0.025


class Bar:
    """A tqdm bar that appears when there is something to show; nothing where tqdm is missing.

    `tqdm.auto` draws a widget in a notebook that has ipywidgets, and text elsewhere.
    """

    def __init__(self, shown: bool) -> None:
        self._class = tqdm_class() if shown else None
        self._bar: Any = None

    def show(self, progress: str | None) -> None:
        """Moves the bar to a job's progress, given as the JSON of a download or of a sync."""
        if self._class is None or progress is None:
            return
        now = json.loads(progress)
        download = "bytesDone" in now
        unit = "bytes" if download else "documents"
        if self._bar is None:
            form = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
            self._bar = self._class(**(form if download else {"unit": "document"}))
        self._bar.total = now.get(f"{unit}Total")
        label = now.get("file" if download else "document") or ""
        self._bar.set_description(label, refresh=False)
        self._bar.update(now[f"{unit}Done"] - self._bar.n)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def tqdm_class() -> type[Any] | None:
    """tqdm's bar, where it is there."""
    try:
        with warnings.catch_warnings():
            # A notebook without ipywidgets gets a text bar; there is nothing to warn of.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm


def finish(job: _native.Job, progress: bool) -> Any:
    """The job's result. Ctrl-C and every other exception stop the job."""
    bar = Bar(progress)
    try:
        while True:
            done = job.wait(LOOK)
            bar.show(job.progress())
            if done is not None:
                return done[0]
    except BaseException:
        job.cancel()
        raise
    finally:
        bar.close()


async def afinish(job: _native.Job, progress: bool) -> Any:
    """The awaitable twin of :func:`finish`. Cancelling the task stops the job."""
    import asyncio

    bar, pause = Bar(progress), LOOK / 16
    try:
        while True:
            done = job.wait(0.0)
            bar.show(job.progress())
            if done is not None:
                return done[0]
            await asyncio.sleep(pause)
            pause = min(pause * 2, LOOK)
    except BaseException:
        job.cancel()
        raise
    finally:
        bar.close()
