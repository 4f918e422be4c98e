"""The paper's five tables, and the comparisons it lacks, as documents."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dxa_tbs.report.documents import Document
from dxa_tbs.report.footnotes import legend, marks_of, notes_of, time_marks_of, units_of
from dxa_tbs.report.numbers import comparisons, results
from dxa_tbs.report.paper import RESULTS
from dxa_tbs.report.runs import Experiment

COLUMNS = (
    "ours: at threshold 0.5, unless a note says another. AUC: of the scores; AUC of calls: balanced accuracy, "
    "(sensitivity + specificity) / 2"
)
INTERVALS = (
    "95 % interval, one training: other {units}. Wilson (proportions), MOVER from Wilson's limits (F1, balanced "
    "accuracy, MCC), DeLong on the logit scale or, near 1, Newcombe's method 5 (AUC). Several seeds or folds: other "
    "trainings too, by the delta method with what training adds; these networks: without it."
)
SIZES = "n in a cell: seeds averaged; column n: test images."
EXPLANATION = (
    f"{COLUMNS}; the AUC that the paper prints stands in the column whose arithmetic it follows.",
    INTERVALS,
    "95 % of that: interval of the difference of two independent test sets. The paper trained once: how much another "
    "training of theirs would differ is not known, and not in it. Counts are subtracted where as many images of the "
    f"class were tested. {SIZES}",
)
OTHERS_EXPLANATION = (f"Experiments that the paper does not have. {COLUMNS}.", INTERVALS, SIZES)


def paper_documents(experiments: Sequence[Experiment], banner: Sequence[str]) -> list[Document]:
    """Return Tables I to V, those of which there is a run, and the results of all other experiments."""
    first, second = results.table_1(experiments), results.table_2(experiments)
    heading = "Table I. Number of original and augmented samples for each class: ours (paper)"
    documents = [Document("table_i", heading, first, results.print_table_1(first), banner)]
    if second["trainable_parameters"].notna().any():
        heading = "Table II. Ad hoc architectures and hyperparameters (approach 3)"
        documents.append(Document("table_ii", heading, second, results.print_table_2(second), []))
    for table in RESULTS:
        chosen = [one for one in experiments if one.approach == table.approach and one.is_papers]
        if chosen:
            name, heading = f"table_{table.number.lower()}", f"Table {table.number}. {table.title}"
            numbers = results.results(table, chosen)
            notes = [*banner, *_notes(chosen, EXPLANATION)]
            documents.append(Document(name, heading, numbers, results.print_results(numbers), notes))
    if others := [one for one in experiments if not one.is_papers]:
        numbers = results.other_results(others)
        notes = [*banner, *_notes(others, OTHERS_EXPLANATION)]
        printed = results.print_results(numbers)
        documents.append(Document("other_experiments", "Other experiments", numbers, printed, notes))
    return documents


def _notes(chosen: Sequence[Experiment], explanation: Sequence[str]) -> list[str]:
    """Return what stands below a table of results."""
    letters = [letter for one in chosen for letter in time_marks_of(one)]
    explained = [text.format(units=units_of(chosen)) for text in explanation]
    of_runs = [f"{one.folder}: {'; '.join(texts)}" for one in chosen if (texts := notes_of(one))]
    return explained + ([legend(letters)] if letters else []) + of_runs


def comparison_documents(
    experiments: Sequence[Experiment], frame: pd.DataFrame, banner: Sequence[str]
) -> list[Document]:
    """Return the matrices of `comparisons.comparisons`, one per metric and test set, and the stability over seeds."""
    documents = []
    letters = [letter for one in experiments for letter in marks_of(one)]
    sets = list(dict.fromkeys(one.test_set for one in experiments))
    apart = (
        [f"{len(sets)} test sets: experiments on different images are not compared as pairs"] if len(sets) > 1 else []
    )
    for test_set in sets if not frame.empty else []:
        part = frame[frame["test_set"] == test_set]
        for metric, heading in comparisons.COMPARED.items() if not part.empty else ():
            numbers = part[part["metric"] == metric]
            notes = [*banner, *comparisons.describe_pairs(numbers, units=units_of(experiments)), *apart] + (
                [legend(letters)] if letters else []
            )
            suffix = f"_{test_set}" if len(sets) > 1 else ""
            title = f"Comparisons: {heading}" + (f", test set {test_set}" if suffix else "")
            printed = comparisons.print_comparisons(part, metric)
            documents.append(Document(f"comparison_{metric}{suffix}", title, numbers, printed, notes))
    stability = comparisons.stability(experiments)
    if not stability.empty:
        notes = [*banner, "F1 of the calls; a shared first place counts in parts; SD: sample standard deviation"]
        documents.append(
            Document(
                "stability",
                "Stability of the ranking over seeds",
                stability,
                comparisons.print_stability(stability),
                notes,
            )
        )
    return documents
