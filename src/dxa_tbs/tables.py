"""Rebuild the paper's tables from finished runs: python -m dxa_tbs.tables outputs/"""

from __future__ import annotations

import argparse
from pathlib import Path

from dxa_tbs.cli import one_line_refusals


def build_tables(root: Path) -> str:
    """Write tables/table_v.csv and .md below `root`; return the Markdown.

    Raises:
        Refusal: `root` is no folder, or holds no finished run.
    """
    from dxa_tbs import records
    from dxa_tbs.errors import Refusal
    from dxa_tbs.report.tables import adhoc_rows, render_markdown

    if not root.is_dir():
        raise Refusal(f"{root}: no such folder: give the one that runs were written to (outputs)")
    finished, unfinished = records.find_runs(root)
    names = [run_dir.relative_to(root).as_posix() for run_dir in unfinished]
    rows = adhoc_rows(root, finished)
    if rows.empty:
        raise Refusal(f"{root}: no finished run below it", [f"not finished: {name}" for name in names])
    folder = root / "tables"
    folder.mkdir(exist_ok=True)
    markdown = render_markdown(rows, unfinished=names)
    records.write_table(folder / "table_v.csv", rows)
    records.write_text(folder / "table_v.md", markdown)
    return markdown


def main() -> None:
    parser = argparse.ArgumentParser(prog="dxa-tables", description=__doc__)
    parser.add_argument("outputs", type=Path, help="the folder that holds the runs")
    arguments = parser.parse_args()
    with one_line_refusals():
        print(build_tables(arguments.outputs), end="")
        print(f"\nwritten to {arguments.outputs / 'tables'}")


if __name__ == "__main__":
    main()
