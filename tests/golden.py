"""Write the stored tables and configurations anew: make golden, or python tests/golden.py. Read the diff then.

The stored runs, golden/outputs, are inputs: version 0.1.0 wrote them, and they are never made anew.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import yaml
from conftest import composed
from hydra import initialize_config_dir
from test_tables import rebuild

from dxa_tbs.config.compose import to_plain
from dxa_tbs.config.kinds import register_schemas
from dxa_tbs.config.schema import conf_dir
from dxa_tbs.report.paper import RESULTS

GOLDEN = Path(__file__).parent / "golden"
HEAD = "# What each of the fourteen experiments composes to; make golden writes it anew.\n"


def write_golden(folder: Path) -> None:
    """Write tables/ and experiments.yaml below `folder`; what was in tables/ goes. Hydra must be initialised."""
    with tempfile.TemporaryDirectory() as scratch:
        outputs = shutil.copytree(GOLDEN / "outputs", Path(scratch, "outputs"))
        rebuild(outputs)
        shutil.rmtree(folder / "tables", ignore_errors=True)
        shutil.copytree(outputs / "tables", folder / "tables")
    experiments = {
        f"{table.approach}/{model}": to_plain(composed(f"approach={table.approach}", f"model={model}"))
        for table in RESULTS
        for model in table.rows
    }
    text = HEAD + yaml.safe_dump(experiments, sort_keys=False)
    (folder / "experiments.yaml").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    register_schemas()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        write_golden(GOLDEN)
