"""Cohorts read from class folders and tables; real files on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dxa_tbs.config.choices import LabelRule, LabelSource
from dxa_tbs.data.cohort import leave_out_unlabelled, pseudonym, read_table
from dxa_tbs.data.folders import read_folder
from dxa_tbs.data.frames import decode
from dxa_tbs.data.labels import label_tbs
from dxa_tbs.errors import Refusal


def write_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / name)


def read(
    root: Path,
    text: str,
    *,
    label_from: LabelSource = LabelSource.auto,
    rule: LabelRule = LabelRule.binary,
    needs_tbs: bool = False,
    encoding: str = "utf-8",
) -> pd.DataFrame:
    (root / "cohort.csv").write_text(text, encoding=encoding)
    return read_table(
        root=str(root),
        table="cohort.csv",
        label_from=label_from,
        normal_label="Normal",
        degraded_label="Degraded",
        label=lambda tbs: label_tbs(tbs, rule=rule, degraded_max=1.2, normal_min=1.35),
        needs_tbs=needs_tbs,
        keep=["age", "sex"],
    )


@pytest.mark.parametrize(
    ("tbs", "binary", "extremes"),
    [(1.0, 1, 1), (1.2, 1, 1), (1.201, 0, None), (1.349, 0, None), (1.35, 0, 0), (1.5, 0, 0)],
)
def test_labels_at_and_around_the_limits(tbs: float, binary: int, extremes: int | None) -> None:
    def label(rule: LabelRule) -> float:
        return float(label_tbs(np.array([tbs]), rule=rule, degraded_max=1.2, normal_min=1.35)[0])

    assert label(LabelRule.binary) == binary
    assert label(LabelRule.extremes) == extremes if extremes is not None else np.isnan(label(LabelRule.extremes))


def test_class_folders_ignore_hidden_files_and_report_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path, "Healthy bone/maria garcia.png", "Healthy bone/deep/b.JPG", "Degraded/c.tif")
    (tmp_path / "Healthy bone/.DS_Store").write_text("")
    (tmp_path / "Healthy bone/Thumbs.db").write_text("")
    (tmp_path / "Healthy bone/GARCIA^MARIA.19600101 F").write_text("")
    write_images(tmp_path, "Degraded/.ipynb_checkpoints/c-checkpoint.png")
    cohort = read_folder(root=str(tmp_path), normal_folder="Healthy bone", degraded_folder="Degraded")
    assert sorted(cohort["label"]) == [0, 0, 1]
    assert cohort["image_id"].is_monotonic_increasing
    assert "2 files are not images and stay out (.db)" in caplog.text
    assert "maria" not in (cohort.drop(columns="source").to_csv() + caplog.text).lower()


def test_class_folders_take_webp_files(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    (tmp_path / "Degraded").mkdir()
    Image.fromarray(pixels).save(tmp_path / "Degraded/c.webp", lossless=True)
    write_images(tmp_path, "Normal/a.png")
    cohort = read_folder(root=str(tmp_path), normal_folder="Normal", degraded_folder="Degraded")
    (source,) = cohort.loc[cohort["label"] == 1, "source"]
    assert np.array_equal(decode(source), pixels)


def test_a_missing_class_folder_is_refused_and_the_existing_ones_are_named(tmp_path: Path) -> None:
    write_images(tmp_path, "normal_/a.png", "Degraded/c.png")
    with pytest.raises(Refusal, match=r"dataset\.normal_folder=Normal.*holds Degraded, normal_"):
        read_folder(root=str(tmp_path), normal_folder="Normal", degraded_folder="Degraded")


def test_a_plain_table(tmp_path: Path) -> None:
    write_images(tmp_path, "b.png", "a.png")
    cohort = read(
        tmp_path, "image_id,patient_id,path,tbs,age,name\nB,007,b.png,1.31,60,Maria\nA,008,a.png,1.2,71,Ana\n"
    )
    assert cohort["image_id"].tolist() == ["A", "B"]
    assert cohort["patient_id"].tolist() == ["008", "007"]
    assert cohort["label"].tolist() == [1, 0]
    assert cohort["age"].tolist() == [71, 60]
    assert "name" not in cohort
    assert cohort["source"].tolist() == [tmp_path / "a.png", tmp_path / "b.png"]


def test_a_table_saved_by_a_spanish_or_german_spreadsheet(tmp_path: Path) -> None:
    write_images(tmp_path, "images/a.png", "images/b.png")
    text = "Path;Patient_ID;TBS;Sex\nimages\\a.png;1;1,195;F\nimages\\b.png;2;1,42;M\n"
    cohort = read(tmp_path, text, encoding="utf-8-sig").sort_values("patient_id")
    assert cohort["tbs"].tolist() == [1.195, 1.42]
    assert cohort["sex"].tolist() == ["F", "M"]
    assert cohort["image_id"].tolist() == [pseudonym(Path("images/a.png")), pseudonym(Path("images/b.png"))]


def test_labels_are_read_by_name_if_there_is_no_tbs(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    cohort = read(tmp_path, "image_id,path,patient_id,label\na,a.png,1,Degraded\nb,b.png,2,Normal\n")
    assert cohort["label"].tolist() == [1, 0]
    assert cohort["tbs"].isna().all()


def test_all_unusable_rows_are_listed(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png", "c.png", "d.png")
    rows = ["gone.png,1,1.3", "a.png,2,1.3", "./a.png,3,1.3", "b.png,,1.3", "c.png,4,1300", "d.png,5,", ",6,1.3"]
    with pytest.raises(Refusal, match=r"7 of 7 rows cannot be used") as refusal:
        read(tmp_path, "\n".join(["path,patient_id,tbs", *rows]))
    assert sorted(refusal.value.details) == [
        "line 2: gone.png does not exist",
        "line 3: a.png is listed more than once",
        "line 4: ./a.png is listed more than once",
        "line 5: patient_id is empty",
        "line 6: tbs is not a TBS (0.3 to 2.2)",
        "line 7: tbs is missing",
        "line 8: path is empty",
    ]


def test_a_label_that_contradicts_the_tbs_is_refused_until_one_is_chosen(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    text = "path,patient_id,tbs,label\na.png,1,1.1,Normal\n"
    with pytest.raises(Refusal) as refusal:
        read(tmp_path, text)
    assert refusal.value.details == (
        "line 2: label and tbs disagree: give dataset.label_from=tbs or dataset.label_from=label",
    )
    assert read(tmp_path, text, label_from=LabelSource.tbs)["label"].tolist() == [1]
    assert read(tmp_path, text, label_from=LabelSource.label)["label"].tolist() == [0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("path,patient_id\na.png,1\n", "no column tbs or label; it has path, patient_id"),
        ("file,tbs\na.png,1.2\n", "no column path, patient_id"),
        ("path,patient_id,tbs\n", "no rows"),
        ("path,patient_id,tbs,TBS\na.png,1,1.2,1.3\n", "has the column tbs twice"),
        ("path,patient_id,tbs,roi_x0,roi_y0,roi_x1\na.png,1,1.2,1,1,5\n", "no column roi_y1"),
        ("", "is empty"),
        ("path,patient_id,tbs\na.png,1,1.2,3,4\nb.png,1\n", "2 rows have more or fewer cells than the header"),
        ('path,patient_id,tbs\na.png,"1,1.2\n', "not a CSV file"),
        ("path,patient_id,tbs,\na.png,1,1.2,x\n", "column 4 has values but no name"),
        ("path,patient_id,tbs\na.png,1\0,1.2\n", "line 2 contains a NUL byte"),
    ],
)
def test_a_file_that_is_not_a_cohort_is_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(Refusal, match=what):
        read(tmp_path, text)


def test_a_rule_that_needs_the_tbs_does_not_accept_label_names(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    with pytest.raises(Refusal, match="no column tbs"):
        read(tmp_path, "path,patient_id,label\na.png,1,Normal\n", needs_tbs=True)


def test_a_region_may_be_missing_but_not_incomplete(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path, "a.png", "b.png")
    head = "image_id,path,patient_id,tbs,roi_x0,roi_y0,roi_x1,roi_y1\na,a.png,1,1.1,1,2,5,6\n"
    cohort = read(tmp_path, head + "b,b.png,2,1.3,,,,\n")
    assert cohort.loc[0, ["roi_x0", "roi_y0", "roi_x1", "roi_y1"]].tolist() == [1, 2, 5, 6]
    assert "no region in 1 of 2 images" in caplog.text
    with pytest.raises(Refusal) as refusal:
        read(tmp_path, head + "b,b.png,2,1.3,1,2,5,\n")
    assert refusal.value.details == ("line 3: its region is incomplete",)


def test_line_numbers_are_those_of_the_file_and_a_missing_label_does_not_contradict_a_tbs(
    tmp_path: Path,
) -> None:
    write_images(tmp_path, "a.png", "b.png")
    text = "path,patient_id,tbs,label\na.png,1,1.1,\n\nb.png,2,1.3,Norml\n"
    with pytest.raises(Refusal) as refusal:
        read(tmp_path, text)
    assert len(refusal.value.details) == 1
    assert refusal.value.details[0].startswith("line 4: label 'Norml' is neither Normal nor Degraded")


def test_latin_1_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="UTF-8"):
        read(tmp_path, "path,patient_id,tbs,name\na.png,1,1.2,Núñez\n", encoding="latin-1")
    (tmp_path / "cohort.csv").unlink()
    with pytest.raises(Refusal, match=r"cohort\.csv does not exist"):
        read_table(
            root=str(tmp_path),
            table="cohort.csv",
            label_from=LabelSource.auto,
            normal_label="Normal",
            degraded_label="Degraded",
            label=lambda tbs: tbs,
            needs_tbs=False,
            keep=[],
        )


def test_images_of_neither_class_are_counted_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path, "a.png", "b.png", "c.png")
    text = "path,patient_id,tbs\na.png,1,1.1\nb.png,2,1.3\nc.png,3,1.4\n"
    cohort = leave_out_unlabelled(read(tmp_path, text, rule=LabelRule.extremes))
    assert sorted(cohort["label"]) == [0, 1]
    assert "1 of 3 images belong to neither class" in caplog.text


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("007", "7"),
        ("P012", "P12"),
        ("p1", "P1"),
        ("7", "7.0"),
        ("P 1", "P_1"),
        ("nu\u00f1ez", "nun\u0303ez"),
        ("\uff11", "1"),
    ],
)
@pytest.mark.parametrize("column", ["patient_id", "image_id"])
def test_all_identifiers_that_differ_only_in_form_are_refused_and_listed(
    tmp_path: Path, first: str, second: str, column: str
) -> None:
    write_images(tmp_path, "a.png", "b.png", "c.png")
    other = "image_id" if column == "patient_id" else "patient_id"
    rows = [f"a.png,{first},x1,1.1", f"b.png,{second},x2,1.3", "c.png,99,x3,1.3"]
    with pytest.raises(Refusal, match="2 of 3 rows cannot be used") as refusal:
        read(tmp_path, "\n".join([f"path,{column},{other},tbs", *rows]))
    assert [line.split(":")[:2] for line in refusal.value.details] == [
        [f"line {line}", f" {column} is written in several ways"] for line in (2, 3)
    ]
    assert ascii(first) in refusal.value.details[0]
    assert ascii(second) in refusal.value.details[0]


def test_identifiers_that_differ_in_more_than_form_are_accepted(tmp_path: Path) -> None:
    ids = ["1-12", "11-2", "112", "1.2", "12", "P1", "Q1", "100", "10", "1", "A-1", "A1", "1.20"]
    write_images(tmp_path, *(f"{row}.png" for row in range(len(ids))))
    rows = [f"{row}.png,{patient},1.3" for row, patient in enumerate(ids)]
    assert sorted(read(tmp_path, "\n".join(["path,patient_id,tbs", *rows]))["patient_id"]) == sorted(ids)


@pytest.mark.parametrize(
    ("patient", "what"),
    [
        ("1E+05", "is 1E+05, a number rounded by a spreadsheet: format the column as text"),
        ("1,23457E+11", "a number rounded by a spreadsheet"),
        ("P\u200b1", "contains the invisible character U+200B"),
        ('"P\n1"', "contains the invisible character U+000A"),
        ("P\ufffd1", "(U+FFFD)"),
        ("#N/A", "is #N/A, a spreadsheet error"),
        ("########", "a spreadsheet error"),
        ("NaN", "is NaN, which identifies nobody"),
        ("unknown", "which identifies nobody"),
    ],
)
def test_damaged_identifiers_are_refused(tmp_path: Path, patient: str, what: str) -> None:
    write_images(tmp_path, "a.png", "b.png")
    with pytest.raises(Refusal, match="1 of 2 rows cannot be used") as refusal:
        read(tmp_path, f"path;patient_id;tbs\na.png;{patient};1.1\nb.png;2;1.3\n")
    assert refusal.value.details[0].startswith("line 2: patient_id ")
    assert what in refusal.value.details[0]


@pytest.mark.parametrize("second", ["tbs", "TBS", " tbs ", "\uff54bs", "t\u200bbs"])
def test_a_column_named_twice_is_refused_and_never_renamed(tmp_path: Path, second: str) -> None:
    write_images(tmp_path, "a.png")
    with pytest.raises(Refusal, match=r"has the column path, tbs twice"):
        read(tmp_path, f"path,patient_id,tbs,{second},Path\na.png,1,1.1,1.3,a.png\n")


def test_all_rows_longer_or_shorter_than_the_header_are_listed(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png", "c.png")
    text = 'path,patient_id,tbs,"a\nnote"\na.png,1,1.1,"two\nlines"\nb.png,2,1.3\n\nc.png,3,1,25,x\n,,,\n'
    with pytest.raises(Refusal, match="2 rows have more or fewer cells than the header") as refusal:
        read(tmp_path, text)
    assert refusal.value.details == (
        "line 5: 3 cells, the header has 4",
        "line 7: 5 cells, the header has 4",
    )


def test_empty_columns_without_a_name_are_dropped_and_blank_lines_count_as_lines(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    text = 'path,,patient_id,tbs,note,\na.png,,1,1.1,"two\nlines",\n\nb.png,,2,9,,\n'
    with pytest.raises(Refusal) as refusal:
        read(tmp_path, text)
    assert refusal.value.details == ("line 5: tbs is not a TBS (0.3 to 2.2)",)
    assert len(read(tmp_path, text.replace(",9,", ",1.3,"))) == 2


def folders(root: Path, normal: list[str], degraded: list[str]) -> Path:
    write_images(root, *(f"Normal/{name}" for name in normal), *(f"Degraded/{name}" for name in degraded))
    return root


def whose(root: Path, patient_from: str | None) -> pd.DataFrame:
    return read_folder(root=str(root), normal_folder="Normal", degraded_folder="Degraded", patient_from=patient_from)


def test_names_that_look_like_repeats_are_refused_until_the_patients_are_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="dxa_tbs.data")
    folders(tmp_path, ["garcia_L.png", "garcia_R.png", "p2_L.png", "p2_R.png"], ["p3_L.png", "P2_L.jpg", "p4_L.png"])
    with pytest.raises(
        Refusal, match=r"dataset\.patient_from: 5 files have names that look like repeats of 2"
    ) as refusal:
        whose(tmp_path, None)
    assert f"{tmp_path}/Normal/garcia_L.png = {tmp_path}/Normal/garcia_R.png" in refusal.value.details
    own = whose(tmp_path, "file")
    assert own["patient_id"].tolist() == own["image_id"].tolist()
    grouped = whose(tmp_path, "(?i)^p?(?P<patient>[a-z]*[0-9]*)_")
    assert grouped["patient_id"].nunique() == 4
    assert grouped.groupby("patient_id")["label"].nunique().max() == 2  # a patient may have images of both classes
    assert grouped["image_id"].tolist() == own["image_id"].tolist()
    assert "7 images of 4 patients" in caplog.text
    assert "garcia" not in grouped.drop(columns="source").to_csv() + caplog.text
    assert grouped["patient_id"].str.fullmatch("[0-9a-f]{12}").all()
    with pytest.raises(Refusal, match="finds a different patient in each of 7 file names, although 2 groups of names"):
        whose(tmp_path, "^(.*)$")


def test_names_without_repeats_are_accepted_but_images_are_not_called_patients(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders(tmp_path, ["IMG_0001.png", "IMG_0002.png"], ["IMG_0003.png"])
    cohort = whose(tmp_path, None)
    assert cohort["patient_id"].tolist() == cohort["image_id"].tolist()
    assert "it is not known which images belong to the same patient" in caplog.text
    caplog.clear()
    whose(tmp_path, "file")
    assert caplog.text == ""


def test_an_expression_is_matched_against_the_path_relative_to_the_class_folder(tmp_path: Path) -> None:
    folders(tmp_path, ["a/1.png", "a/2.png", "b/1.png"], ["b/3.png"])
    assert sorted(whose(tmp_path, "^([^/]+)/")["patient_id"].value_counts()) == [2, 2]


@pytest.mark.parametrize(
    ("expression", "what", "details"),
    [
        ("(", "is not a regular expression", 0),
        ("^p[0-9]+", "has no group", 0),
        ("^p([0-9]+)_", "finds no patient in 2 of 3 file names", 2),
        ("^x?([0-9]*)", "finds no patient in 3 of 3 file names", 3),
        ("^(p)|q", "finds no patient in 2 of 3 file names", 2),
        ("([.])png", "finds the same patient in all 3 file names", 3),
        ("^(..)", "1 patients are written in several ways", 1),
    ],
)
def test_an_expression_that_does_not_find_the_patients_is_refused(
    tmp_path: Path, expression: str, what: str, details: int
) -> None:
    folders(tmp_path, ["p1_L.png", "P1_R.png"], ["q.png"])
    with pytest.raises(Refusal, match=what) as refusal:
        whose(tmp_path, expression)
    assert str(refusal.value).startswith(f"dataset.patient_from={expression}: ")
    assert len(refusal.value.details) == details
