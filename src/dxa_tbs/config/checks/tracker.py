"""Checks of the section tracker."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from dxa_tbs.config.schema import Config, MlflowConfig, TensorBoardConfig, TrackerConfig, WandbConfig

PACKAGES: dict[type[TrackerConfig], tuple[str, ...]] = {  # that a tracker imports; the first names the extra
    TensorBoardConfig: ("tensorboard",),
    MlflowConfig: ("mlflow", "sqlalchemy", "alembic"),
    WandbConfig: ("wandb",),
}


def tracker_problems(config: Config) -> Iterator[str]:
    """Yield a line if the library of the tracker is not installed, or if its store is not a local one."""
    tracker = config.tracker
    packages = PACKAGES.get(type(tracker), ())
    if lacking := [name for name in packages if not _is_installed(name)]:
        yield (
            f"tracker={tracker.name}: needs {' and '.join(lacking)}, not installed here: "
            f"pip install dxa-tbs[{packages[0]}]"
        )
    if isinstance(tracker, MlflowConfig) and ":/" in tracker.store[2:]:  # beyond the drive of C:/mlflow.db
        yield f"tracker.store={tracker.store}: only local stores are supported: give a file (.db) or a folder"


def _is_installed(package: str) -> bool:
    """Return whether a package can be imported; a folder that merely has its name, such as wandb/, is none."""
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None
