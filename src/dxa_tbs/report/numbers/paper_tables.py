"""Tables III to V of the paper, and the same table for experiments that the paper does not have."""

from __future__ import annotations

from collections.abc import Sequence

from dxa_tbs.report.documents import Document
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import explain, marks_of, notes_of, time_marks_of
from dxa_tbs.report.labels import sampling_units
from dxa_tbs.report.numbers.results import other_results, papers_results, print_results
from dxa_tbs.report.paper import RESULTS
from dxa_tbs.report.study import Study

THRESHOLD = (
    "ours: at threshold 0.5, unless a note names another. AUC: of the scores; AUC of calls: balanced accuracy, "
    "(sensitivity + specificity) / 2"
)
INTERVALS = (
    "95 % interval, one training: other {units}. Wilson (proportions), MOVER from Wilson's limits (F1, balanced "
    "accuracy, MCC), DeLong on the logit scale or, near 1, Newcombe's method 5 (AUC). Several seeds or folds: other "
    "trainings too, by the delta method with the variance that training adds; these networks: without it."
)
SIZES = "n in a cell: seeds averaged; column n: test images."
EXPLANATION = (
    f"{THRESHOLD}; the paper's AUC is in the column whose arithmetic it follows.",
    INTERVALS,
    "95 % of that: interval of the difference of two independent test sets. The paper trained once: how much another "
    "training would differ is unknown and is left out. Counts are subtracted if as many images of the class were "
    f"tested. {SIZES}",
)
OTHERS_EXPLANATION = (f"{THRESHOLD}.", INTERVALS, SIZES)


def tables_3_to_5(study: Study) -> list[Document]:
    """Return those of Tables III to V that have a finished experiment."""
    documents = []
    for table in RESULTS:
        chosen = [one for one in study.experiments if one.approach == table.approach and one.is_papers]
        if chosen:
            name, title = f"table_{table.number.lower()}", f"Table {table.number}. {table.title}"
            frame = papers_results(table, chosen)
            notes = [*study.banner, *_notes(chosen, EXPLANATION)]
            documents.append(Document(name, title, frame, print_results(frame), notes))
    return documents


def other_experiments_table(study: Study) -> list[Document]:
    """Return the results of experiments that the paper does not have, if there are any."""
    others = [one for one in study.experiments if not one.is_papers]
    if not others:
        return []
    frame = other_results(others)
    notes = [*study.banner, *_notes(others, OTHERS_EXPLANATION)]
    return [
        Document(
            "other_experiments",
            "Full results of experiments that the paper does not have",
            frame,
            print_results(frame),
            notes,
        )
    ]


def _notes(chosen: Sequence[Experiment], explanation: Sequence[str]) -> list[str]:
    explained = [text.format(units=sampling_units(chosen)) for text in explanation]
    of_runs = [f"{one.folder}: {'; '.join(texts)}" for one in chosen if (texts := notes_of(one))]
    letters = [time_marks_of(one) if one.times_s.size else marks_of(one) for one in chosen]
    return explained + explain("".join(letters)) + of_runs
