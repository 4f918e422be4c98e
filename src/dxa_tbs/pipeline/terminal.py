"""Progress bars on a terminal, one for each stage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from tqdm import tqdm

from dxa_tbs.progress import OnProgress, Progress


@contextlib.contextmanager
def progress_bars() -> Iterator[OnProgress]:
    """Yield a callback that draws a bar for each stage if stderr is a terminal."""
    bar: tqdm[Any] | None = None
    stage = ""

    def show(progress: Progress) -> None:
        nonlocal bar, stage
        if bar is None or stage != progress.stage:
            if bar is not None:
                bar.close()
            bar, stage = _new_bar(progress), progress.stage
        bar.update(progress.done - bar.n)
        if progress.epoch:
            bar.set_postfix({name: f"{value:.3g}" for name, value in _shown(progress.epoch).items()})

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def _new_bar(progress: Progress) -> tqdm[Any]:
    return tqdm(
        total=progress.total,
        desc=progress.stage,
        unit=progress.unit,
        unit_scale=progress.unit == "B",
        disable=None,
        leave=progress.stage == "training",
    )


def _shown(epoch: Mapping[str, float]) -> dict[str, float]:
    """Return the number of the epoch, its losses and its figure of merit, under short names."""
    figures = {name.replace("val_originals", "val"): value for name, value in epoch.items() if "originals" in name}
    return {"epoch": epoch["epoch"], "loss": epoch["train_loss"], **figures}
