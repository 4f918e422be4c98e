"""Every table and figure of the paper from the runs below a folder, written to it. Never imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dxa_tbs import records
from dxa_tbs.errors import Refusal
from dxa_tbs.report import figures, pairs, tables
from dxa_tbs.report.marks import SUPERSCRIPTS, SYNTHETIC, legend, marks_of, notes_of, time_marks_of
from dxa_tbs.report.paper import RESULTS
from dxa_tbs.report.runs import Experiment, Run, gather_experiments, read_run

EXPLANATION = (
    "ours: at threshold 0.5, unless a note says another. AUC: of the scores; AUC of calls: balanced accuracy, "
    "(sensitivity + specificity) / 2; the AUC that the paper prints stands in the column whose arithmetic it follows. "
    "95 % interval: Wilson (proportions), DeLong on the logit scale (AUC), stratified bootstrap over patients with "
    "2000 resamples (the others, and means over seeds). in, out: whether the printed value lies within it. n in a "
    "cell: seeds averaged; column n: test images."
)


@dataclass(frozen=True)
class Document:
    """One table: numbers in full, as printed, and what is to be said below it, a line each."""

    name: str
    title: str
    numbers: pd.DataFrame
    printed: pd.DataFrame
    notes: list[str]

    def markdown(self) -> str:
        table = "" if self.printed.empty else self.printed.to_markdown(index=False, disable_numparse=True) + "\n\n"
        return f"## {self.title}\n\n{table}" + "".join(f"- {note}\n" for note in self.notes)

    def latex(self) -> str:
        """Return a table for the packages booktabs and graphicx, as wide as the page, with its notes below."""
        body = "" if self.printed.empty else _latex_text(self.printed.to_latex(index=False, escape=True))
        notes = "".join(f"\\par\\footnotesize {_latex_text(_escape(note))}\n" for note in self.notes)
        fitted = f"\\resizebox{{\\textwidth}}{{!}}{{%\n{body}}}\n" if body else ""
        return f"\\begin{{table}}\n\\caption{{{_escape(self.title)}}}\n{fitted}{notes}\\end{{table}}\n"


def write_paper(root: Path) -> str:
    """Write tables/*.csv, .md, .tex and figures/*.png, .pdf below `root`; return all tables as Markdown.

    Raises:
        Refusal: `root` is no folder, or holds no finished run.
    """
    if not root.is_dir():
        raise Refusal(f"{root}: no such folder: give the one that runs were written to (outputs)")
    states = records.find_runs(root)
    finished = [run_dir for run_dir, state in states.items() if state == "finished"]
    others = [_not_finished(root, run_dir, state) for run_dir, state in states.items() if state != "finished"]
    if not finished:
        raise Refusal(f"{root}: no finished run below it", others)
    runs, unreadable = _read_all(root, finished)
    experiments, lacking = gather_experiments(runs)
    lacking += unreadable
    if not experiments:
        raise Refusal(f"{root}: no complete experiment below it", [*others, *lacking])
    experiments = _numbered(sorted(experiments, key=_papers_place))
    banner = [SYNTHETIC] if all(one.first.facts["synthetic"] for one in experiments) else []
    documents = _documents(experiments, banner)
    folder = root / "tables"
    _clear(folder, ("table_*", "comparison_*", "stability.*", "all.md"))
    _clear(root / "figures", ("figure_[1-4].*", "roc_curves.*", "forest_f1.*"))
    for document in documents:
        records.write_table(folder / f"{document.name}.csv", document.numbers)
        records.write_text(folder / f"{document.name}.md", document.markdown())
        records.write_text(folder / f"{document.name}.tex", document.latex())
    lacking += _draw(root / "figures", experiments, root, banner)
    missing = [*_missing(experiments), *others, *lacking]
    text = "\n".join(document.markdown() for document in documents)
    if missing:
        text += "\n## Not in the tables\n\n" + "".join(f"- {line}\n" for line in missing)
    records.write_text(folder / "all.md", text)
    return text


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


def _documents(experiments: Sequence[Experiment], banner: list[str]) -> list[Document]:
    first, second = tables.table_1(experiments), tables.table_2(experiments)
    heading = "Table I. Number of original and augmented samples for each class: ours (paper)"
    documents = [Document("table_i", heading, first, tables.print_table_1(first), banner)]
    if second["trainable_parameters"].notna().any():
        heading = "Table II. Ad hoc architectures and hyperparameters (approach 3)"
        documents.append(Document("table_ii", heading, second, tables.print_table_2(second), []))
    for table in RESULTS:
        chosen = [one for one in experiments if one.approach == table.approach]
        if not chosen:
            continue
        numbers = tables.results(table, chosen)
        letters = [letter for one in chosen for letter in time_marks_of(one)]
        notes = [*banner, EXPLANATION] + ([legend(letters)] if letters else [])
        notes += [f"{one.folder}: {'; '.join(texts)}" for one in chosen if (texts := notes_of(one))]
        name, heading = f"table_{table.number.lower()}", f"Table {table.number}. {table.title}"
        documents.append(Document(name, heading, numbers, tables.print_results(numbers), notes))
    return documents + _comparison_documents(experiments, banner)


def _comparison_documents(experiments: Sequence[Experiment], banner: list[str]) -> list[Document]:
    frame, documents = pairs.comparisons(experiments), []
    letters = [letter for one in experiments for letter in marks_of(one)]
    sets = list(dict.fromkeys(one.test_set for one in experiments))
    apart = (
        [f"{len(sets)} test sets: experiments on different images are not compared as pairs"] if len(sets) > 1 else []
    )
    for test_set in sets if not frame.empty else []:
        part = frame[frame["test_set"] == test_set]
        for metric, heading in pairs.COMPARED.items() if not part.empty else ():
            tests = ", ".join(sorted(set(part.loc[part["metric"] == metric, "test"])))
            notes = [*banner, f"row less column; {tests}; p-values after Holm, over the pairs of this table", *apart]
            notes += [legend(letters)] if letters else []
            suffix = f"_{test_set}" if len(sets) > 1 else ""
            title = f"Comparisons: {heading}" + (f", test set {test_set}" if suffix else "")
            numbers, printed = part[part["metric"] == metric], pairs.print_comparisons(part, metric)
            documents.append(Document(f"comparison_{metric}{suffix}", title, numbers, printed, notes))
    stability = pairs.stability(experiments)
    if not stability.empty:
        printed = pd.DataFrame(
            {
                "Experiment": stability["experiment"],
                "Best in": [f"{row.best_in:g} of {row.seeds} seeds" for row in stability.itertuples()],
                "Mean rank": [f"{row.mean_rank:.1f} (n={row.seeds})" for row in stability.itertuples()],
                "F1, mean": [f"{row.f1_mean:.3f} (n={row.seeds})" for row in stability.itertuples()],
                "F1, SD": [f"{row.f1_sd:.3f} (n={row.seeds})" for row in stability.itertuples()],
            }
        )
        notes = [*banner, "F1 of the calls; a shared first place counts in parts; SD: sample standard deviation"]
        documents.append(Document("stability", "Stability of the ranking over seeds", stability, printed, notes))
    return documents


def _draw(folder: Path, experiments: Sequence[Experiment], root: Path, banner: list[str]) -> list[str]:
    letters = [letter for one in experiments for letter in marks_of(one)]
    marks = [*banner, *([legend(letters)] if letters else [])]
    folder.mkdir(exist_ok=True)
    lacking = figures.copy_run_figures(folder, experiments, root)
    if not figures.draw_figure_3(folder, experiments, root):
        lacking.append("Fig. 3: no ad hoc network was run")
    figures.draw_figure_4(folder, experiments, marks=marks)
    figures.draw_roc_curves(folder, experiments, marks=marks)
    figures.draw_forest(folder, experiments, marks=marks)
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


def _escape(text: str) -> str:
    """Return text as LaTeX prints it."""
    text = text.replace("\\", "\\textbackslash ")
    for character in "&%$#_{}":
        text = text.replace(character, f"\\{character}")
    return text.replace("~", "\\textasciitilde ").replace("^", "\\textasciicircum ")


def _latex_text(text: str) -> str:
    """Return text with the superscript letters as LaTeX writes them."""
    for letter in "abcdefgh":
        text = text.replace(letter.translate(SUPERSCRIPTS), f"\\textsuperscript{{{letter}}}")
    return text.replace(" < ", " $<$ ")
