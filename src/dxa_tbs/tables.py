"""Rebuild the paper's tables from finished runs: python -m dxa_tbs.tables outputs/"""

from __future__ import annotations

import argparse
from pathlib import Path

from dxa_tbs.cli import one_line_refusals


def build_tables(root: Path) -> str:
    """Write tables/table_iii, iv and v, .csv and .md, below `root`, where there are runs; return the Markdown of all.

    Raises:
        Refusal: `root` is no folder, or holds no finished run.
    """
    from dxa_tbs import records
    from dxa_tbs.errors import Refusal
    from dxa_tbs.report.paper import RESULTS
    from dxa_tbs.report.tables import render_markdown, table_rows

    if not root.is_dir():
        raise Refusal(f"{root}: no such folder: give the one that runs were written to (outputs)")
    finished, unfinished = records.find_runs(root)
    if not finished:
        names = [f"not finished: {run_dir.relative_to(root).as_posix()}" for run_dir in unfinished]
        raise Refusal(f"{root}: no finished run below it", names)
    approaches = {run_dir: records.read_config(run_dir)["approach"]["name"] for run_dir in unfinished}
    folder = root / "tables"
    folder.mkdir(exist_ok=True)
    texts = []
    for table in RESULTS:
        lacking = [
            run_dir.relative_to(root).as_posix() for run_dir in unfinished if approaches[run_dir] == table.approach
        ]
        rows = table_rows(table, root, finished)
        if rows.empty and not lacking:
            continue
        texts.append(render_markdown(table, rows, unfinished=lacking))
        records.write_table(folder / f"table_{table.number.lower()}.csv", rows)
        records.write_text(folder / f"table_{table.number.lower()}.md", texts[-1])
    return "\n".join(texts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="dxa-tables", description=__doc__)
    parser.add_argument("outputs", type=Path, help="the folder that holds the runs")
    arguments = parser.parse_args()
    with one_line_refusals():
        print(build_tables(arguments.outputs), end="")
        print(f"\nwritten to {arguments.outputs / 'tables'}")


if __name__ == "__main__":
    main()
