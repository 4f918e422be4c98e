"""Everything that is made of the runs below a folder: tables, figures, the page. Never imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from dxa_tbs import records
from dxa_tbs.errors import Refusal
from dxa_tbs.report import figures, ledger, operating, page, pairs, score_figures, subgroups
from dxa_tbs.report.documents import Document
from dxa_tbs.report.marks import SYNTHETIC, legend, marks_of
from dxa_tbs.report.paper import RESULTS
from dxa_tbs.report.paper_tables import comparison_documents, paper_documents
from dxa_tbs.report.runs import Experiment, Run, gather_experiments, read_run
from dxa_tbs.report.sanity import find_grounds, sanity_documents
from dxa_tbs.report.verdict import choose, verdict

PAPERS_TABLES = ("table_*", "comparison_*", "stability.*", "sanity*", "against_slope*", "all.md")
OF_SCORES = ("overview", "operating_points", "calibration", "reliability", "decision_curve", "tbs_bands", "subgroups")
OF_RUNS = ("errors", "runs", "data_card", "environment")
TABLES = (*PAPERS_TABLES, *(f"{name}.*" for name in (*OF_SCORES, *OF_RUNS)))
FIGURES = ("figure_[1-4].*", "roc_curves.*", "forest_f1.*", "reliability.*", "decision_curve.*")


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder holds: experiments in the paper's order, controls, and a line for each run that is in neither."""

    experiments: list[Experiment]
    controls: list[Experiment]
    missing: list[str]


def write_report(root: Path, *, prevalence: float | None = None) -> str:
    """Write tables/, figures/, report.html, checklist.md and model_card.md below `root`.

    Args:
        prevalence: share of Degraded for which PPV and NPV are computed; None: that of the test set.

    Returns:
        The paper's tables, comparisons, and sanity rows as Markdown.

    Raises:
        Refusal: `root` is no folder, or holds no finished experiment.
    """
    found = find_experiments(root)
    experiments = found.experiments
    banner = [SYNTHETIC] if all(one.first.facts["synthetic"] for one in experiments) else []
    grounds = find_grounds(experiments, found.controls, root)
    compared = pairs.comparisons(experiments)
    main = paper_documents(experiments, banner) + sanity_documents(grounds, banner)
    main += comparison_documents(experiments, compared, banner)
    others = _further_documents(experiments, root, prevalence, banner)
    documents = {document.name: document for document in [*main, *others]}
    _clear(root / "tables", TABLES)
    _clear(root / "figures", FIGURES)
    for document in documents.values():
        records.write_table(root / "tables" / f"{document.name}.csv", document.numbers)
        records.write_text(root / "tables" / f"{document.name}.md", document.markdown())
        records.write_text(root / "tables" / f"{document.name}.tex", document.latex())
    missing = found.missing + _draw(root / "figures", experiments, root, documents, banner)
    absent = "\n## Not in the tables\n\n" + "".join(f"- {line}\n" for line in missing) if missing else ""
    text = "\n".join(document.markdown() for document in documents.values())
    records.write_text(root / "tables" / "all.md", text + absent)
    verdicts = [verdict(ground, compared) for ground in grounds]
    chosen = [choose(ground.experiments) for ground in grounds]
    page.write_page(root, documents, experiments, verdicts=verdicts, chosen=chosen, missing=missing, banner=banner)
    return "\n".join(document.markdown() for document in main) + absent


def find_experiments(root: Path) -> Found:
    """Return what `root` holds.

    Raises:
        Refusal: it is no folder, or holds no finished experiment.
    """
    if not root.is_dir():
        raise Refusal(f"{root}: no such folder: give the one that runs were written to (outputs)")
    states = records.find_runs(root)
    finished = [run_dir for run_dir, state in states.items() if state == "finished"]
    others = [_not_finished(root, run_dir, state) for run_dir, state in states.items() if state != "finished"]
    if not finished:
        raise Refusal(f"{root}: no finished run below it", others)
    runs, unreadable = _read_all(root, finished)
    gathered, lacking = gather_experiments(runs)
    experiments = _numbered(sorted((one for one in gathered if not one.control), key=_papers_place))
    controls = sorted((one for one in gathered if one.control), key=_papers_place)
    if not experiments:
        only = [f"a control, no experiment: {one.folder}" for one in controls]
        raise Refusal(f"{root}: no complete experiment below it", [*others, *lacking, *unreadable, *only])
    return Found(experiments, controls, [*_missing(experiments), *others, *lacking, *unreadable])


def _further_documents(
    experiments: Sequence[Experiment], root: Path, prevalence: float | None, banner: list[str]
) -> list[Document]:
    found = [
        ledger.overview_document(experiments, banner),
        operating.operating_document(experiments, prevalence, banner),
        operating.calibration_document(experiments, banner),
        operating.reliability_document(experiments, banner),
        operating.decision_document(experiments, banner),
        subgroups.band_document(experiments, banner),
        subgroups.subgroup_document(experiments, banner),
        ledger.errors_document(experiments, root, banner),
        ledger.runs_document(experiments, banner),
        ledger.data_card(experiments, root, banner),
        ledger.environment_document(experiments),
    ]
    return [document for document in found if document is not None]


def _read_all(root: Path, run_dirs: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Return the runs, and a line for each that cannot be read or belongs to no table."""
    runs, left_out = [], []
    for run_dir in run_dirs:
        name = run_dir.relative_to(root).as_posix()
        try:
            run = read_run(root, run_dir)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            left_out.append(f"cannot be read (damaged, or of another version; {type(error).__name__}): {name}")
            continue
        if run.config["approach"]["name"] in {table.approach for table in RESULTS}:
            runs.append(run)
        else:
            left_out.append(f"of an approach of your own, which no table of the paper has: {name}")
    return runs, left_out


def _clear(folder: Path, patterns: Sequence[str]) -> None:
    """Make a folder, or remove from it what an earlier call wrote."""
    folder.mkdir(exist_ok=True)
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def _draw(
    folder: Path, experiments: Sequence[Experiment], root: Path, documents: dict[str, Document], banner: list[str]
) -> list[str]:
    """Draw everything; return what could not be drawn."""
    letters = [letter for one in experiments for letter in marks_of(one)]
    marks = [*banner, *([legend(letters)] if letters else [])]
    lacking = figures.copy_run_figures(folder, experiments, root)
    if not figures.draw_figure_3(folder, experiments, root):
        lacking.append("Fig. 3: no ad hoc network was run")
    figures.draw_figure_4(folder, experiments, marks=marks)
    figures.draw_roc_curves(folder, experiments, marks=marks)
    figures.draw_forest(folder, experiments, marks=marks)
    score_figures.draw_reliability(folder, experiments, documents["reliability"].numbers, marks=marks)
    score_figures.draw_decision_curves(folder, experiments, documents["decision_curve"].numbers, marks=marks)
    return lacking


def _numbered(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Return the experiments, those of the same network and approach numbered."""
    seen: dict[tuple[str, str], int] = {}
    numbered = []
    for one in experiments:
        key = one.model, one.approach
        seen[key] = seen.get(key, 0) + 1
        numbered.append(dataclasses.replace(one, number=seen[key]))
    return numbered


def _papers_place(experiment: Experiment) -> tuple[int, int, str, str]:
    """Return where an experiment stands in the paper; other networks follow those of their approach."""
    number = next(number for number, table in enumerate(RESULTS) if table.approach == experiment.approach)
    models = list(RESULTS[number].rows)
    place = models.index(experiment.model) if experiment.model in models else len(models)
    return number, place, experiment.model, experiment.folder


def _missing(experiments: Sequence[Experiment]) -> list[str]:
    """Return the paper's experiments of which there is no run, for each approach."""
    present = {(one.approach, one.model) for one in experiments if one.is_papers}
    lines = []
    for table in RESULTS:
        if lacking := [model for model in table.rows if (table.approach, model) not in present]:
            lines.append(f"no finished run: approach={table.approach} model={','.join(lacking)}")
    return lines


def _not_finished(root: Path, run_dir: Path, state: str) -> str:
    name = run_dir.relative_to(root).as_posix()
    if state == "failed":
        return f"failed: {name}: {records.read_json(run_dir / records.FAILED)['error']}"
    return f"{'still running' if state == 'running' else 'not finished'}: {name}"
