"""The command that writes the stored tables and configurations anew. Needs the stored runs; no torch."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml
from golden import GOLDEN, write_golden


def files_of(folder: Path) -> dict[str, Path]:
    stored = [folder / "experiments.yaml", *folder.glob("tables/*")]
    return {path.relative_to(folder).as_posix(): path for path in stored}


def test_golden_data_written_anew_are_those_that_are_stored(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/left_over.csv").write_text("")
    write_golden(tmp_path)
    made, stored = files_of(tmp_path), files_of(GOLDEN)
    assert made.keys() == stored.keys()
    for name, path in stored.items():
        if path.suffix == ".csv":  # versions of scipy differ in the last digits
            pd.testing.assert_frame_equal(pd.read_csv(made[name]), pd.read_csv(path), rtol=1e-9)
        else:
            assert made[name].read_bytes() == path.read_bytes(), name


def test_the_citation_names_the_version_and_licence_of_the_package() -> None:
    cited = yaml.safe_load((GOLDEN.parents[1] / "CITATION.cff").read_text(encoding="utf-8"))
    package = (GOLDEN.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{cited["version"]}"' in package
    assert f'license = "{cited["license"]}"' in package
