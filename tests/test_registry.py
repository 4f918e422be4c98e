"""Tables and figures from outside the package, parts of a report that fail, and files of earlier reports."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from golden_runs import stored_runs
from test_tables import store_run
from test_verification import add_digests

from dxa_tbs.report.build import make_documents, write_report
from dxa_tbs.report.documents import Document, NotMadeError
from dxa_tbs.report.figures.drawing import new_figure, save
from dxa_tbs.report.outputs import Found, find_experiments
from dxa_tbs.report.registry import FIGURES, SECTIONS, TABLES, Figure, Table
from dxa_tbs.report.runs import NEEDED_FACTS
from dxa_tbs.report.study import Study
from dxa_tbs.runs.files import METRICS_JSON, read_json, write_json


def count_seeds(study: Study) -> list[Document]:
    numbers = pd.DataFrame({"model": [one.model for one in study.experiments]}).assign(seeds=7)
    return [Document("toy_table", "Toy: seeds", numbers, numbers.map(str), ["a note on the toy"])]


def draw_seeds(path: Path, study: Study) -> None:
    figure, (axes,) = new_figure(2.0, 2.0)
    axes.bar(range(len(study.experiments)), 1)
    save(figure, path, marks=[])


def fail(*_: object) -> list[Document]:
    raise KeyError("no such column in /home/anna.miller/outputs/x.csv")


TOY_TABLE = Table("toy_table", count_seeds, "calibration")
TOY_FIGURE = Figure("toy_figure", draw_seeds, "bars, one per experiment")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Study]:
    root = tmp_path_factory.mktemp("runs")
    store_run(root, "model=model1")
    found = find_experiments(root)
    return found, make_documents(found, root)


def missing_of(text: str) -> list[str]:
    return text.split("## Not in the tables\n\n")[1].splitlines()


def test_a_table_and_a_figure_from_outside_are_in_the_report_and_leave_with_their_registration(tmp_path: Path) -> None:
    store_run(tmp_path, "model=model1")
    write_report(tmp_path, tables=(*TABLES, TOY_TABLE), figures=(TOY_FIGURE,))
    assert pd.read_csv(tmp_path / "tables/toy_table.csv").to_dict("list") == {"model": ["model1"], "seeds": [7]}
    toys = [*(tmp_path / f"tables/toy_table.{suffix}" for suffix in ("csv", "md", "tex")),
            *(tmp_path / f"figures/toy_figure.{suffix}" for suffix in ("png", "pdf"))]  # fmt: skip
    assert all(path.stat().st_size for path in toys)
    assert "Toy: seeds" in (tmp_path / "tables/all.md").read_text(encoding="utf-8")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.index('id="calibration"') < page.index('data-name="toy_table"') < page.index('id="failures"')
    assert page.index('id="further"') < page.index('data-name="toy_figure"') < page.index('id="runs"')
    assert 'alt="bars, one per experiment"' in page

    own = tmp_path / "tables/my_notes.md"
    own.write_text("of the user")
    write_report(tmp_path, figures=())
    assert not any(path.exists() for path in toys)
    assert own.read_text() == "of the user"
    assert (tmp_path / "tables/overview.csv").is_file()


def test_files_that_a_version_without_a_list_wrote_go_too_and_nothing_outside_the_folder(tmp_path: Path) -> None:
    store_run(tmp_path, "model=model1")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/table_iv.csv").write_text("of an earlier report")
    (tmp_path / "outside.csv").write_text("of the user")
    write_report(tmp_path, tables=TABLES[:2], figures=())
    assert not (tmp_path / "tables/table_iv.csv").exists()
    (tmp_path / "tables/files.txt").write_text("../outside.csv\nall.md\n\n..\n")
    write_report(tmp_path, tables=TABLES[:2], figures=())
    assert (tmp_path / "outside.csv").is_file()


def test_no_table_is_needed_by_another_or_by_the_page(tmp_path: Path) -> None:
    store_run(tmp_path, "model=model1")
    broken = [dataclasses.replace(one, make=fail) for one in TABLES]
    drawn_from_tables = [one for one in FIGURES if one.name in ("reliability", "decision_curve")]
    lines = missing_of(write_report(tmp_path, tables=[*broken, TOY_TABLE], figures=drawn_from_tables))
    for table in TABLES:
        assert f"- tables/{table.name} failed (KeyError: 'no such column in x.csv')" in lines
    for figure in drawn_from_tables:
        assert f"- figures/{figure.name}: it is drawn from the table {figure.name}, which is missing" in lines
    assert {path.stem for path in (tmp_path / "tables").glob("*.csv")} == {"toy_table"}
    page = (tmp_path / "report.html").read_text(encoding="utf-8").replace("&#39;", "'")
    assert all(line.removeprefix("- ") in page for line in lines)


EVERY_FIFTH = [
    pytest.param(place, id=table.name, marks=[] if place % 5 == 0 else pytest.mark.slow)
    for place, table in enumerate(TABLES)
]


@pytest.mark.parametrize("broken", EVERY_FIFTH)
def test_a_table_that_fails_takes_no_other_with_it(broken: int, whole: tuple[Found, Study]) -> None:
    tables = [dataclasses.replace(one, make=fail) if place == broken else one for place, one in enumerate(TABLES)]
    found, complete = whole
    study = make_documents(found, complete.root, tables=tables)
    assert study.missing[-1].startswith(f"tables/{TABLES[broken].name} failed")
    assert len(study.missing) == len(complete.missing) + 1
    own = {document.name for document in complete.tables[TABLES[broken].name]}
    assert study.documents.keys() == complete.documents.keys() - own


def test_a_figure_that_fails_leaves_no_half_of_itself(tmp_path: Path) -> None:
    def half(path: Path, study: Study) -> None:
        path.with_suffix(".png").write_bytes(b"half")
        raise OSError("no room")

    def nothing(path: Path, study: Study) -> None:
        raise NotMadeError("no run has two scanners")

    store_run(tmp_path, "model=model1")
    figures = [Figure("half", half, "alt"), Figure("nothing", nothing, "alt"), TOY_FIGURE]
    lines = missing_of(write_report(tmp_path, figures=figures))
    assert lines[-2:] == ["- figures/half failed (OSError: no room)", "- figures/nothing: no run has two scanners"]
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"files.txt", "toy_figure.png", "toy_figure.pdf"}


def test_files_of_another_version_are_named_and_take_nothing_else_with_them(tmp_path: Path) -> None:
    """Their digests are right, so the runs count as intact."""
    root = Path(shutil.copytree(stored_runs(), tmp_path / "outputs"))
    changed = {
        "history.csv": ("phantom_text/full/squeezenet/seed0-fa189a8f", "epoch\n1\n"),
        "measures.csv": ("phantom_text/full/resnet18/seed0-fa189a8f", "image_id,other\nP0-000000,1\n"),
        "layers.csv": ("phantom_text/adhoc/model1/seed0", "layer\nconv1\n"),
        "timing.json": ("phantom_text/adhoc/model3/seed0", '{"data_s": "soon"}'),
    }
    for file, (run, text) in changed.items():
        (root / run / file).write_text(text)
        add_digests(root / run)
    text = write_report(root, figures=[one for one in FIGURES if one.name == "figure_3"])
    for line in (
        "- charts of phantom_text/full/squeezenet/seed0-fa189a8f failed (KeyError: ",
        "- no baselines from phantom_text/full/resnet18/seed0-fa189a8f: ",
        "- figures/figure_3 failed (KeyError: ",
        "- tables/runs failed (ValueError: ",
    ):
        assert line in text
    assert len(pd.read_csv(root / "tables/overview.csv")) == 5
    assert (root / "tables/sanity.csv").is_file()
    assert (root / "report.html").is_file()


@pytest.mark.parametrize("key", NEEDED_FACTS)
def test_a_run_without_a_fact_that_tables_need_is_left_out_and_named(key: str, tmp_path: Path) -> None:
    store_run(tmp_path, "model=model1")
    run_dir = store_run(tmp_path, "model=model2")
    facts = read_json(run_dir / METRICS_JSON)
    del facts[key]
    write_json(run_dir / METRICS_JSON, facts)
    found = find_experiments(tmp_path)
    assert any("runs/phantom/adhoc/model2/seed0" in line for line in found.missing)
    assert [one.model for one in found.experiments] == ["model1"]


def test_scores_that_are_no_numbers_leave_one_experiment_out(tmp_path: Path) -> None:
    store_run(tmp_path, "model=model1")
    run_dir = store_run(tmp_path, "model=model2")
    predictions = pd.read_csv(run_dir / "predictions.csv")
    predictions.loc[predictions["split"] == "test", "label"] = 2
    predictions.to_csv(run_dir / "predictions.csv", index=False)
    found = find_experiments(tmp_path)
    assert any("runs/phantom/adhoc/model2/seed0" in line for line in found.missing)
    assert [one.model for one in found.experiments] == ["model1"]


def test_names_that_clash_or_are_no_file_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="overview: registered twice"):
        write_report(tmp_path, tables=(*TABLES, Table("overview", count_seeds)))
    with pytest.raises(ValueError, match="letters, digits, _ and - only"):
        Table("../overview", count_seeds)
    with pytest.raises(ValueError, match=f"toy: section=nowhere: must be one of {', '.join(SECTIONS)}"):
        Table("toy", count_seeds, "nowhere")
    store_run(tmp_path, "model=model1")
    again = dataclasses.replace(TOY_TABLE, name="another")
    twice = Table("twice", lambda study: [Document("same", "", pd.DataFrame(), pd.DataFrame(), [])] * 2)
    lines = missing_of(write_report(tmp_path, tables=(*TABLES, TOY_TABLE, again, twice), figures=()))
    assert "- tables/twice failed (ValueError: another table is called same)" in lines
    assert "- tables/another failed (ValueError: another table is called toy_table)" in lines


def test_labels_are_ascii_and_stand_in_columns_of_their_own(tmp_path: Path) -> None:
    root = Path(shutil.copytree(stored_runs(), tmp_path / "outputs"))
    write_report(root, figures=())
    for path in (*(root / "tables").glob("*.csv"), *(root / "tables").glob("*.tex")):
        assert path.read_text(encoding="utf-8").isascii(), path
    overview = pd.read_csv(root / "tables/overview.csv").set_index("experiment")
    assert overview["marks"].to_dict()["model3 adhoc"] == "bdg"
    assert overview["seeds"].to_dict()["model3 adhoc"] == 2
    printed = (root / "tables/table_v.md").read_text(encoding="utf-8")
    assert "| model3 adhoc | bdg " in printed
    assert json.loads((root / "phantom_text/adhoc/model3/seed0/metrics.json").read_text())["synthetic"]


def test_the_time_has_marks_of_its_own(tmp_path: Path) -> None:
    store_run(tmp_path, "model=model1")
    store_run(tmp_path, "model=model2", time_s=None)
    write_report(tmp_path, figures=())
    printed = (tmp_path / "tables/table_v.md").read_text(encoding="utf-8")
    assert "| model1 adhoc | time e" in printed
    assert "| model2 adhoc |  " in printed
