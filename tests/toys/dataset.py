"""A dataset of PNG files named <class>_<number>_<tbs>.png."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import MISSING

from dxa_tbs.config.kinds import Kind, register_kind
from dxa_tbs.config.schema import FilesConfig
from dxa_tbs.data.cohort import ordered


@dataclass
class NamedConfig(FilesConfig):
    folder: str = MISSING


def read_named(*, folder: str, **_: object) -> pd.DataFrame:
    rows = []
    for path in Path(folder).glob("*.png"):
        label, number, tbs = path.stem.split("_")
        rows.append({"image_id": number, "patient_id": number, "label": int(label), "tbs": float(tbs), "source": path})
    return ordered(pd.DataFrame(rows))


register_kind("dataset", "named", Kind(NamedConfig, "toys.dataset:read_named"))
