"""Write a phantom cohort in the form of real data, PNG files and cohort.csv: python -m dxa_tbs.phantom <folder>"""

from __future__ import annotations

import argparse
from pathlib import Path

from hydra import compose, initialize_config_dir

from dxa_tbs.config.answers import one_line_refusals
from dxa_tbs.config.checks import check_config
from dxa_tbs.config.compose import load_config
from dxa_tbs.config.kinds import register_schemas
from dxa_tbs.config.schema import Config, PhantomConfig, conf_dir
from dxa_tbs.errors import Refusal


def write_phantom(config: Config, folder: Path) -> Path:
    """Render the configured phantom cohort into a new or empty folder; return the path of cohort.csv.

    Raises:
        Refusal: the dataset is not a phantom, or the folder is not empty.
    """
    from dxa_tbs.data.phantom.cohort import export_cohort
    from dxa_tbs.pipeline.cohort import read_cohort

    if not isinstance(config.dataset, PhantomConfig):
        raise Refusal(f"dataset={config.dataset.name}: is not a phantom: use dataset=phantom")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refusal(f"{folder}: is not an empty folder: name a new one")
    return export_cohort(read_cohort(config.dataset, config.labels, config.split), folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="dxa-phantom", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder to write to; must be new or empty")
    parser.add_argument("overrides", nargs="*", help="settings as for training: dataset=phantom_null dataset.seed=1")
    arguments = parser.parse_args()
    with one_line_refusals():
        register_schemas()
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = load_config(compose("config", overrides=["split=stratified", *arguments.overrides]))
        check_config(config)
        csv = write_phantom(config, arguments.folder)
        print(f"wrote {csv}: read it with dataset=table dataset.root={arguments.folder}")


if __name__ == "__main__":
    main()
