"""Files in tables/ and figures/ that a report wrote, so that the next one removes them and no file of the user's.

Each of the two folders holds a list, files.txt: one file name per line. A table or figure that is registered no longer
therefore goes too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dxa_tbs.runs.files import write_text

LIST = "files.txt"
UNLISTED = (  # names of files of versions that wrote no list
    *("primary.*", "table_*", "other_experiments.*", "comparison_*", "stability.*", "sanity*", "against_slope*"),
    *("all.md", "overview.*", "operating_points.*", "calibration.*", "tbs_bands.*", "subgroups.*", "errors.*"),
    *("runs.*", "data_card.*", "environment.*", "figure_[1-4].*", "roc_curves.*", "forest_f1.*", "reliability.*"),
    "decision_curve.*",
)


def clear_folder(folder: Path, names: Iterable[str]) -> None:
    """Remove what an earlier report wrote into a folder, and list the names of what this one will write.

    The list is written before the files: a report that is interrupted leaves nothing that the next one does not know.
    """
    folder.mkdir(exist_ok=True)
    for path in _written_earlier(folder):
        path.unlink(missing_ok=True)
    write_text(folder / LIST, "".join(f"{name}\n" for name in names))


def _written_earlier(folder: Path) -> list[Path]:
    try:
        listed = (folder / LIST).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return [path for pattern in UNLISTED for path in folder.glob(pattern)]
    in_folder = [folder / name for name in listed if Path(name).name == name]  # nothing outside, whatever it says
    return [path for path in in_folder if path.is_file()]
