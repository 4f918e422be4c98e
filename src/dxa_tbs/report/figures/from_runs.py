"""Figs. 1 and 2 of the paper, which the runs drew themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

from dxa_tbs.report.documents import NotMadeError
from dxa_tbs.report.study import Study


def copy_figure_1(path: Path, study: Study) -> None:
    """Copy the frame and its crop from the first run that drew them."""
    _copy("frame_and_crop", path, study)


def copy_figure_2(path: Path, study: Study) -> None:
    """Copy the augmented training images from the first run that drew them."""
    _copy("augmentation", path, study)


def _copy(name: str, path: Path, study: Study) -> None:
    places = [study.root / one.folder / "figures" for one in study.experiments]
    drawn = [place for place in places if (place / f"{name}.pdf").is_file()]
    if not drawn:
        raise NotMadeError("no run drew it")
    for suffix in (".png", ".pdf"):
        shutil.copyfile(drawn[0] / f"{name}{suffix}", path.with_suffix(suffix))
