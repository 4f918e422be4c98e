"""Write the stored tables and settings anew: make golden, or python tests/golden.py. Read the diff then.

The stored runs are inputs: version 0.1.0 wrote them (see golden_runs.py), and they are never made anew.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from conftest import composed
from golden_runs import GOLDEN, write_runs
from hydra import initialize_config_dir
from test_tables import rebuild

from dxa_tbs.config.compose import to_plain
from dxa_tbs.config.kinds import register_schemas
from dxa_tbs.config.schema import conf_dir
from dxa_tbs.report.paper import RESULTS
from dxa_tbs.runs.identity import flatten

FORMATS = ("table_iv.md", "table_iv.tex")  # one table in the other formats
DIGITS = 10  # of stored numbers; versions of scipy differ in those behind
HEAD = """\
# Settings of the fourteen experiments: those of all, those that an approach shares, and each experiment's own.
# make golden writes them anew.
"""


def write_golden(folder: Path) -> None:
    """Write tables.txt, FORMATS and experiments.yaml into `folder`. Hydra must be initialised."""
    with tempfile.TemporaryDirectory() as scratch:
        outputs = Path(scratch)
        write_runs(outputs)
        rebuild(outputs)
        _write(folder / "tables.txt", "\n".join(map(_rounded, sorted(outputs.glob("tables/*.csv")))))
        for name in FORMATS:
            shutil.copyfile(outputs / "tables" / name, folder / name)
    text = yaml.safe_dump(_compact(composed_experiments()), sort_keys=False, default_flow_style=None, width=118)
    _write(folder / "experiments.yaml", HEAD + text)


def composed_experiments() -> dict[str, dict[str, Any]]:
    """Return all settings of each of the fourteen experiments under dotted keys, by approach/model."""
    return {
        f"{table.approach}/{model}": flatten(to_plain(composed(f"approach={table.approach}", f"model={model}")))
        for table in RESULTS
        for model in table.rows
    }


def stored_experiments() -> dict[str, dict[str, Any]]:
    """Return the same as it is stored."""
    stored = yaml.safe_load((GOLDEN / "experiments.yaml").read_text(encoding="utf-8"))
    return {name: stored["all"] | stored[name.split("/")[0]] | own for name, own in stored.items() if "/" in name}


def _compact(experiments: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what all experiments share, what each approach shares beyond that, and what each has of its own."""
    everywhere = _shared(list(experiments.values()))
    compact = {"all": everywhere}
    for approach in dict.fromkeys(name.split("/")[0] for name in experiments):
        members = {name: own for name, own in experiments.items() if name.split("/")[0] == approach}
        shared = _shared(list(members.values()))
        compact[approach] = _without(shared, everywhere)
        compact |= {name: _without(own, shared) for name, own in members.items()}
    return compact


def _shared(several: list[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = several
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}


def _without(settings: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in known}


def _rounded(path: Path) -> str:
    """Return a table under the name of its file, with DIGITS significant digits."""
    rounded = pd.read_csv(path).to_csv(index=False, lineterminator="\n", float_format=f"%.{DIGITS}g")
    return f"# {path.name}\n{rounded}"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    register_schemas()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        write_golden(GOLDEN)
