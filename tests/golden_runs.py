"""Run folders that version 0.1.0 wrote, put together from golden/: each as it was, byte for byte.

One cohort of 100 phantom images serves all runs. cohort.csv holds its originals with their measures, copies.csv the
digests of the augmented copies of each seed, scores.csv the scores of each run, runs.yaml all other files.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import yaml

GOLDEN = Path(__file__).parent / "golden"
# Of the folders as version 0.1.0 wrote them.
DIGEST = "59d1a2f527a5dd4017d0a2b7c3cfb8e310a5b3d0ab6e2ce5e29590507ed25c00"
MEASURES = ["image_id", "grey", "variogram_slope", "vertebrae_grey", "background_grey", "background_slope"]
SPLIT = ["image_id", "patient_id", "split", "label", "tbs", "origin", "sha256", "age", "bmi", "scanner"]


@functools.cache
def stored_runs() -> Path:
    """Return a temporary folder with the runs, made once per process. It must not be written to."""
    folder = Path(tempfile.mkdtemp(prefix="dxa_tbs_golden_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_runs(folder)
    return folder


def write_runs(folder: Path) -> None:
    """Write all run folders below `folder`."""
    cohort, copies, scores = (_read(f"{name}.csv") for name in ("cohort", "copies", "scores"))
    runs = yaml.safe_load((GOLDEN / "runs.yaml").read_text(encoding="utf-8"))
    for name, files in runs.items():
        run_dir = folder / name
        run_dir.mkdir(parents=True)
        for file, content in files.items():
            _write(run_dir / file, _text_of(file, content))
        column = name.split("/", 1)[1]
        if column in scores:
            split = _split(cohort, copies[copies["seed"] == str(files["config.yaml"]["seed"])])
            _write(run_dir / "split.csv", _csv(split))
            _write(run_dir / "measures.csv", _csv(cohort[MEASURES]))
            scored = split[split["split"].isin(["val", "test"])][["image_id", "split", "label"]]
            found = scores.set_index("image_id")[column].rename("score")
            _write(run_dir / "predictions.csv", _csv(scored.join(found, on="image_id")))


def digest_of(folder: Path) -> str:
    """Return the SHA-256 of the names and bytes of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(
            f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


def _split(cohort: pd.DataFrame, copies: pd.DataFrame) -> pd.DataFrame:
    """Return split.csv: the originals, then the copies, which share all but their digest with their origin."""
    origin = copies["image_id"].str.rpartition("+")[0]
    copied = cohort.set_index("image_id").loc[origin].reset_index(drop=True)
    named = {name: copies[name].to_numpy() for name in ("image_id", "sha256")}
    return pd.concat([cohort.assign(origin=""), copied.assign(origin=origin.to_numpy(), **named)])[SPLIT]


def _text_of(file: str, content: object) -> str:
    if file.endswith(".json"):
        return json.dumps(content, indent=2) + "\n"
    if file.endswith(".yaml"):
        return _Plain.dump(content)
    assert isinstance(content, list)
    return "".join(f"{line}\n" for line in content)


class _Plain(yaml.SafeDumper):
    """Writes no anchors: parts that are equal stand in full in every run."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    @classmethod
    def dump(cls, content: object) -> str:
        return str(yaml.dump(content, Dumper=cls, sort_keys=False))


def _read(file: str) -> pd.DataFrame:
    return pd.read_csv(GOLDEN / file, dtype=str, keep_default_na=False)


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
