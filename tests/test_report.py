"""The tables of scores and subgroups by independent code, and the page: every number on it is one of the tables'."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from golden_runs import stored_runs
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_tables import store_metrics
from test_verification import add_digests

from dxa_tbs.report.build import make_documents, write_report, write_tables
from dxa_tbs.report.outputs import find_experiments
from dxa_tbs.runs.files import read_csv, read_json, write_csv

GOLDEN = stored_runs()
NUMBER = re.compile(r"(?<![\w.])[+-]?\d+\.\d+(?![\w.]|\d)")


class Page(HTMLParser):
    """Collects the cells of each named table, all other text, and images."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.text: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self._rows: list[list[str]] | None = None
        self._skips = 0
        self._is_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.links += [str(given[name]) for name in ("href", "src") if name in given]
        if tag == "table":
            self._rows = self.tables.setdefault(str(given["data-name"]), [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("td", "th") and self._rows:
            self._rows[-1].append("")
            self._is_cell = True
        elif tag == "img":
            self.images.append(given)
        self._skips += tag in ("script", "style", "svg")

    def handle_endtag(self, tag: str) -> None:
        self._skips -= tag in ("script", "style", "svg")
        self._rows = None if tag == "table" else self._rows
        self._is_cell = False if tag in ("td", "th") else self._is_cell

    def handle_data(self, data: str) -> None:
        if self._rows and self._is_cell:
            self._rows[-1][-1] += data
        elif not self._skips:
            self.text.append(data)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden runs, one of which kept an error."""
    root = tmp_path_factory.mktemp("report") / "outputs"
    shutil.copytree(GOLDEN, root)
    run = root / "phantom_text/adhoc/model1/seed0"
    wrong = read_csv(run / "predictions.csv").query("split == 'test' and label == 0").iloc[:1]
    assert (wrong["score"] >= 0.5).all()
    wrong = wrong.assign(kind="false_positive", place="nearest", file="errors/false_positive_nearest_1.png")
    write_csv(run / "errors.csv", wrong[["image_id", "kind", "place", "score", "file"]])
    (run / "errors").mkdir()
    Image.fromarray(np.arange(112 * 112, dtype=np.uint8).reshape(112, 112)).save(run / wrong["file"].iloc[0])
    write_report(root, prevalence=0.1)
    return root


@pytest.fixture(scope="module")
def page(root: Path) -> Page:
    return Page((root / "report.html").read_text(encoding="utf-8"))


def numbers(root: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(root / f"tables/{name}.csv")


def test_baselines_are_scikit_learns(root: Path) -> None:
    run = root / "phantom_text/full/resnet18/seed0-fa189a8f"
    split, measures = pd.read_csv(run / "split.csv"), pd.read_csv(run / "measures.csv")
    originals = split[split["origin"].isna()].merge(measures, on="image_id")
    train, test = (originals[originals["split"] == name] for name in ("train", "test"))
    found = numbers(root, "sanity").set_index(["experiment", "metric"])["value"]
    for row, columns in (("variogram slope", ["variogram_slope"]), ("grey level", ["grey"])):
        line = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-12)).fit(train[columns], train["label"])
        scores = line.predict_proba(test[columns])[:, 1]
        assert found[row, "auc"] == pytest.approx(roc_auc_score(test["label"], scores))
        assert found[row, "sensitivity"] == pytest.approx((scores[test["label"] == 1] >= 0.5).mean())
    assert found["majority class", "auc"] == 0.5
    assert found["majority class", "specificity"] == 1
    against = numbers(root, "against_slope").set_index("run")
    own = pd.read_csv(run / "predictions.csv").query("split == 'test'")
    row = against.loc["phantom_text/full/resnet18/seed0-fa189a8f"]
    expected = roc_auc_score(own["label"], own["score"]) - found["variogram slope", "auc"]
    assert row["difference"] == pytest.approx(expected)
    assert not row["beats"]


def test_operating_points_at_the_fixed_and_the_chosen_threshold(root: Path) -> None:
    table = numbers(root, "operating_points")
    assert (table["prevalence"] == 0.1).all()
    for row in table[table["seeds"] == 1].to_dict("records"):
        run = root / row["run"]
        scored = read_csv(run / "predictions.csv")
        origins = read_csv(run / "split.csv").set_index("image_id")["origin"]
        val = scored[(scored["split"] == "val") & (origins[scored["image_id"]] == "").to_numpy()]
        assert 0 < len(val) < (scored["split"] == "val").sum()
        test = scored.query("split == 'test'")
        threshold = 0.5
        if row["rule"] == "validation":  # of the originals, although these runs' metrics.json has that of copies too
            reached = {value: f1_score(val["label"], val["score"] >= value) for value in val["score"]}
            best = [value for value, f1 in reached.items() if f1 == max(reached.values())]
            threshold = min(best, key=lambda value: abs(value - 0.5))
        assert row["threshold"] == pytest.approx(threshold)
        calls = test["score"] >= threshold
        sensitivity, specificity = calls[test["label"] == 1].mean(), 1 - calls[test["label"] == 0].mean()
        assert (row["sensitivity"], row["specificity"]) == pytest.approx((sensitivity, specificity))
        ppv = 0.1 * sensitivity / (0.1 * sensitivity + 0.9 * (1 - specificity))
        assert row["ppv"] == pytest.approx(ppv)


def test_a_threshold_that_0_1_0_chose_on_copies_is_named(root: Path, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "phantom_text/adhoc/model3/seed0", tmp_path / "runs/own")
    evaluation = tmp_path / "runs/elsewhere"
    shutil.copytree(tmp_path / "runs/own", evaluation)
    for name in ("predictions.csv", "split.csv"):
        table = read_csv(evaluation / name).query("split == 'test'")
        write_csv(evaluation / name, table.assign(image_id="e" + table["image_id"]))
    (evaluation / "measures.csv").unlink()
    facts = read_json(evaluation / "metrics.json") | {"evaluated_run": "own", "data_sha256": "e"}
    del facts["val"]
    told = "chosen by version 0.1.0 with augmented copies among the validation images: the threshold of model3 adhoc"
    for changes, is_named in (({}, True), ({"threshold_of": "validation originals"}, False)):
        store_metrics(evaluation, facts | changes)
        if changes:
            add_digests(evaluation)
        documents = make_documents(find_experiments(tmp_path / "runs"), tmp_path / "runs").documents.values()
        write_tables(tmp_path / "runs/tables", documents, [])
        assert (told in (tmp_path / "runs/tables/operating_points.md").read_text(encoding="utf-8")) is is_named
        table = numbers(tmp_path / "runs", "operating_points").query("run == 'elsewhere' and rule == 'validation'")
        assert table["threshold"].item() == facts["thresholds"]["val_f1"]


def test_the_page_says_whose_the_validation_figures_are(root: Path, tmp_path: Path) -> None:
    old = (root / "report.html").read_text(encoding="utf-8")
    assert "AUC on validation, augmented copies included, by epoch" in old
    run = shutil.copytree(GOLDEN / "phantom_text/adhoc/model3/seed0", tmp_path / "runs/model3")
    history = read_csv(run / "history.csv").assign(watched_loss=0.5)
    names = {"val_loss": "val_originals_loss", "val_auc": "val_originals_auc"}
    write_csv(run / "history.csv", history.rename(columns=names))
    add_digests(run)
    write_report(tmp_path / "runs")
    html = (tmp_path / "runs/report.html").read_text(encoding="utf-8")
    assert "AUC on validation, by epoch" in html
    assert "copies included" not in html


def test_subgroups_and_bands_of_fewer_than_ten_patients_are_not_shown(root: Path) -> None:
    for name in ("subgroups", "tbs_bands"):
        assert numbers(root, name)["patients"].min() >= 10
    bands = numbers(root, "tbs_bands").query("run == 'phantom_text/full/resnet18/seed0-fa189a8f'")
    run = root / "phantom_text/full/resnet18/seed0-fa189a8f"
    test = read_csv(run / "predictions.csv").merge(read_csv(run / "split.csv").drop(columns="label"))
    test = test[test["split"] == "test"]
    for row in bands.to_dict("records"):
        inside = test[test["tbs"] > float(row["band"].removeprefix("above "))]
        assert len(inside) == row["n"]
        assert row["error_value"] == pytest.approx(((inside["score"] >= 0.5) != inside["label"]).mean())


def test_every_table_on_the_page_is_the_one_on_the_disk(root: Path, page: Page) -> None:
    checked = 0
    for name, rows in page.tables.items():
        if name in ("checklist", "confusion"):
            continue
        lines = (root / f"tables/{name}.md").read_text(encoding="utf-8").splitlines()
        printed = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        del printed[1]  # the rule below the heading
        shown = [[cell.strip() for cell in row] for row in rows]
        shown[0] = [cell if cell != "Row" else "" for cell in shown[0]]
        printed[0] = [cell if cell != "Row" else "" for cell in printed[0]]
        assert shown == printed, name
        checked += 1
    stored = {path.stem for path in (root / "tables").glob("*.csv")}
    assert set(page.tables) - {"checklist", "confusion"} == stored
    assert checked > 15


def test_confusion_matrices_are_those_of_the_runs(root: Path, page: Page) -> None:
    rows = [[cell.strip() for cell in row] for row in page.tables["confusion"]]
    expected = [
        line
        for run in numbers(root, "runs").itertuples()
        for line in (
            ["", "called Normal", "called Degraded"],
            ["Normal", f"{run.tn:g}", f"{run.fp:g}"],
            ["Degraded", f"{run.fn:g}", f"{run.tp:g}"],
        )
    ]
    assert rows == expected


def test_every_other_number_on_the_page_stands_in_a_table(root: Path, page: Page) -> None:
    """But for settings, which stand in a configuration."""
    known = {"0.05"}  # the level of significance
    for path in root.rglob("config.yaml"):
        known |= set(NUMBER.findall(path.read_text(encoding="utf-8")))
    for path in (root / "tables").glob("*.csv"):
        for values in pd.read_csv(path).select_dtypes("number").to_numpy().T:
            for value in values[np.isfinite(values)]:
                known |= {f"{value:.{digits}f}" for digits in (1, 2, 3)} | {f"{value:+.3f}"}
    told = [found for text in page.text for found in NUMBER.findall(text)]
    assert len(told) > 15
    assert [text for text in told if text not in known and text.lstrip("+") not in known] == []


def test_the_verdict_names_the_network_of_the_highest_validation_auc(root: Path, page: Page) -> None:
    overview = numbers(root, "overview")
    best = overview.loc[overview["val_auc"].idxmax()]
    text = " ".join("".join(page.text).split())
    assert f"Verdict {best['experiment']}: AUC {best['auc_value']:.3f}" in text
    assert "This trained network is worse than that." in text
    assert "This one training, other patients: nothing here says that one architecture is better than another." in text
    assert "never that a model works on patients" in text


def test_nothing_on_the_page_comes_from_elsewhere_and_every_image_is_described(root: Path, page: Page) -> None:
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert len(page.images) >= 6
    assert all(image["alt"] for image in page.images)
    thumbnails = [image for image in page.images if "false positive" in str(image["alt"])]
    assert len(thumbnails) == 1
    assert "TBS" in " ".join(page.text)
    assert str(root) not in (root / "report.html").read_text(encoding="utf-8")


def test_checklist_and_model_card_say_what_is_open(root: Path, page: Page) -> None:
    checklist = (root / "checklist.md").read_text(encoding="utf-8")
    assert checklist.count("to be completed by the investigator") >= 10
    assert "Degraded at or below 1.2" in checklist
    assert len(page.tables["checklist"]) - 1 == sum(line.startswith("| ") for line in checklist.splitlines()) - 1
    card = (root / "model_card.md").read_text(encoding="utf-8")
    assert "research only, not a medical device" in card
    assert "never that a model works on patients" in card


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(root: Path) -> None:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    write_report(root, prevalence=0.1)
    assert {path: path.read_bytes() for path in files} == before
    assert {path.suffix for path in files} >= {".csv", ".md", ".tex", ".png", ".pdf", ".html"}


def test_a_prevalence_outside_0_and_1_is_refused(root: Path) -> None:
    command = [sys.executable, "-m", "dxa_tbs.tables", str(root), "--prevalence", "12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--prevalence 12: give a share between 0 and 1" in done.stderr
