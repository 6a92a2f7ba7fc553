"""The tables of an ablation: ablation.csv, cells.csv, ablation.md and ablation.tex."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.program.files import write_atomically
from common.program.words import counted
from common.runs.evaluation import write_table
from studies.ablation.summary import ERROR, POWER, Measure, Row
from studies.ablation.sweep import Place

_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def write_tables(
    workdir: Path,
    rows: Sequence[Row],
    ensembles: Sequence[Row],
    found: Mapping[Place, Mapping[str, float]],
    failed: Mapping[Place, str],
) -> None:
    """Writes the tables.

    Args:
      workdir: of the ablation.
      rows: see `summarise`.
      ensembles: the same of the ensembles of folds; () for none.
      found: all numbers of each finished cell.
      failed: why others are not finished.
    """
    of_what = {"run": rows, "ensemble of folds": ensembles}
    lines = [{"of": name, **_columns(row)} for name, some in of_what.items() for row in some]
    write_table(workdir / "ablation.csv", lines)
    cells = [(place, "finished", numbers) for place, numbers in found.items()]
    cells += [(place, reason, {}) for place, reason in failed.items()]
    names = sorted({name for numbers in found.values() for name in numbers})
    write_table(
        workdir / "cells.csv",
        [
            {
                "arm": place.arm,
                "seed": place.seed,
                "fold": "" if place.fold is None else place.fold,
                "state": state,
                **{name: numbers.get(name, "") for name in names},
            }
            for place, state, numbers in cells
        ],
    )
    said = "\n\n".join(conclusions(rows, failed))
    page = f"# Ablation\n\n{said}\n\n{markdown(rows)}\n\n{explanation(rows)}\n"
    if ensembles:
        page += f"\n## Ensembles of the folds\n\n{markdown(ensembles)}\n"
    write_atomically(workdir / "ablation.md", page)
    write_atomically(workdir / "ablation.tex", latex(rows))


def conclusions(rows: Sequence[Row], failed: Mapping[Place, str]) -> list[str]:
    """Returns sentences: what was found, what could not be seen, and which runs failed."""
    said = []
    compared = [row for row in rows if row.difference]
    shown = [row for row in compared if row.difference and row.difference.significant]
    base = rows[0].arm if rows else ""
    if not rows:
        said.append("No run is finished with numbers to compare.")
    elif not compared:
        said.append("There is one arm, or none shares a seed with the first: nothing is compared.")
    elif shown:
        said.append(" ".join(_sentence(row, base) for row in shown))
    elif all(row.difference and row.difference.n < 2 for row in compared):
        said.append("With one repetition, chance can't be told from a difference; add seeds.")
    else:
        said.append(f"No arm was shown to differ from {base}.")
    sizes = _detectable(compared)
    if sizes:
        said.append(
            "What could not be seen: differences smaller than "
            + "; ".join(f"{number(size)} in {name}" for name, size in sizes.items())
            + f". One of that size is found with a probability of {POWER:.0%};"
            f" these repetitions ({_repetitions(compared)}) say no more."
        )
    if failed:
        reasons = "; ".join(f"{told(place)}: {reason}" for place, reason in failed.items())
        said.append(f"{counted(len(failed), 'run')} failed ({reasons}).")
    return said


def told(place: Place) -> str:
    """Returns a cell's place in words."""
    fold = "" if place.fold is None else f", fold {place.fold}"
    return f"{place.arm}, seed {place.seed}{fold}"


def markdown(rows: Sequence[Row]) -> str:
    """Returns a table with a line for each arm; of each measure its value and difference."""
    measures, lines = _by_measure(rows)
    head = ["arm", "n"]
    for measure in measures:
        head += [_title(measure), "difference, p"]
    table = [head, ["---"] * len(head)]
    for arm, cells in lines.items():
        line = [arm.replace("|", "\\|"), str(max(row.n for row in cells.values()))]
        for measure in measures:
            row = cells.get(measure)
            value = "" if row is None else _value(row)
            line += [f"**{value}**" if row and row.best else value, _difference(row)]
        table.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in table)


def latex(rows: Sequence[Row]) -> str:
    """Returns the same table for LaTeX with the package booktabs."""
    measures, lines = _by_measure(rows)
    arrows = {"highest": r"$\uparrow$", "lowest": r"$\downarrow$"}
    head = " & ".join(["arm", "n", *(f"{_tex(m.name)} {arrows[m.best]}" for m in measures)])
    body = []
    for arm, cells in lines.items():
        line = [_tex(arm), str(max(row.n for row in cells.values()))]
        for measure in measures:
            row = cells.get(measure)
            value = "" if row is None else f"{number(row.mean)}"
            if row and math.isfinite(row.deviation):
                value += rf" $\pm$ {number(row.deviation)}"
            mark = "$^{*}$" if row and row.difference and row.difference.significant else ""
            line.append((rf"\textbf{{{value}}}" if row and row.best else value) + mark)
        body.append(" & ".join(line) + r" \\")
    return "\n".join(
        [
            r"\begin{tabular}{lr" + "r" * len(measures) + "}",
            r"\toprule",
            head + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def explanation(rows: Sequence[Row]) -> str:
    """Returns what the table shows."""
    base = f", {rows[0].arm}" if rows else ""
    return (
        "Means over seeds (and folds) with 95 % intervals by Student's t. Differences are from the"
        f" first arm{base}, paired by seed (and fold); p by the paired t-test, corrected for all"
        f" differences of this table (Holm). Bold: the best mean, where p < {ERROR}. Intervals say"
        " how much training runs differ; they do not cover the choice of test patients."
    )


def number(value: float) -> str:
    """Returns three figures, without an exponent where that reads well."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _columns(row: Row) -> dict[str, object]:
    columns: dict[str, object] = {
        "measure": row.measure.name,
        "best_is": row.measure.best,
        "real_data": row.measure.reference,
        "arm": row.arm,
        "n": row.n,
        "mean": row.mean,
        "deviation": row.deviation,
        "low": row.low,
        "high": row.high,
        "best": row.best,
    }
    own = row.difference
    return columns | {
        "difference": own.value if own else "",
        "difference_low": own.low if own else "",
        "difference_high": own.high if own else "",
        "pairs": own.n if own else "",
        "p": own.p if own else "",
        "p_corrected": own.p_corrected if own else "",
        "detectable": own.detectable if own else "",
        "significant": own.significant if own else "",
    }


def _sentence(row: Row, base: str) -> str:
    own = row.difference
    assert own
    better = (own.value > 0) == (row.measure.best == "highest")
    return (
        f"{row.arm} is {'better' if better else 'worse'} than {base} in {row.measure.name}, by"
        f" {number(abs(own.value))} [{number(own.low)}, {number(own.high)}], p ="
        f" {own.p_corrected:.2g}."
    )


def _detectable(rows: Sequence[Row]) -> dict[str, float]:
    """Returns for each measure the size from which on every difference would be found."""
    sizes: dict[str, float] = {}
    for row in rows:
        if row.difference and math.isfinite(row.difference.detectable):
            size = max(sizes.get(row.measure.name, 0.0), row.difference.detectable)
            sizes[row.measure.name] = size
    return sizes


def _repetitions(rows: Sequence[Row]) -> str:
    numbers = sorted({row.difference.n for row in rows if row.difference})
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])


def _by_measure(rows: Sequence[Row]) -> tuple[list[Measure], dict[str, dict[Measure, Row]]]:
    measures = list(dict.fromkeys(row.measure for row in rows))
    lines: dict[str, dict[Measure, Row]] = {row.arm: {} for row in rows}
    for row in rows:
        lines[row.arm][row.measure] = row
    return measures, lines


def _title(measure: Measure) -> str:
    arrow = {"highest": "↑", "lowest": "↓"}[measure.best]
    beside = "" if math.isnan(measure.reference) else f", real: {number(measure.reference)}"
    return f"{measure.name} {arrow}{beside}"


def _value(row: Row) -> str:
    if math.isnan(row.low):
        return number(row.mean)
    return f"{number(row.mean)} [{number(row.low)}, {number(row.high)}]"


def _difference(row: Row | None) -> str:
    own = row.difference if row else None
    if own is None:
        return ""
    sign = "+" if own.value > 0 else ""
    if math.isnan(own.p_corrected):
        return f"{sign}{number(own.value)}"
    return f"{sign}{number(own.value)}, {own.p_corrected:.2g}"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)
