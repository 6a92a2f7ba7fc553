"""The page of several runs: verdicts, scores and settings side by side, curves in one chart."""

from collections.abc import Iterator, Mapping, Sequence

from common.report import page
from common.report.charts import SCRIPT
from common.report.page import Markup
from common.report.slides import picture
from common.run_page.curves import curves
from common.run_page.document import hardware, told, verdicts
from common.run_page.files import RunFiles
from common.run_page.tables import figures
from common.runs.evaluation import FOLDER


def comparison(runs: Sequence[RunFiles]) -> str:
    """Returns the whole page."""
    named = dict(zip(_names(runs), runs, strict=True))
    title = f"{len(runs)} runs: {', '.join(named)}"
    return page.page(
        title,
        page.heading(title, 1),
        *(part for name, run in named.items() for part in verdicts(run, name)),
        page.heading("Scores"),
        page.quiet("The last in training; evaluations have more, with intervals."),
        _side_by_side({name: _last(run) for name, run in named.items()}),
        page.details("All scores of the evaluations", _scores(named)),
        page.heading("Settings that differ"),
        _settings(named),
        page.heading("Curves"),
        *curves({name: run.rows for name, run in named.items()}),
        *_pictures(named),
        page.heading("Hardware and speed"),
        _side_by_side({name: hardware(run.record) for name, run in named.items()}),
        script=SCRIPT,
    )


def _names(runs: Sequence[RunFiles]) -> list[str]:
    """Returns the runs' names, or their whole paths where two have the same name."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.run.workdir) for run in runs]


def _side_by_side(columns: Mapping[str, Mapping[str, str]]) -> Markup:
    """Returns a table with a column of each run; what one lacks is empty."""
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = [(name, *(column.get(name, "") for column in columns.values())) for name in names]
    return page.table(("name", *columns), rows)


def _last(run: RunFiles) -> dict[str, str]:
    """Returns the last value of each score that is not of single steps, by name."""
    last = {name: value for row in run.rows for name, value in row.items()}
    return {
        name: f"{value:.4g}"
        for name, value in last.items()
        if "/" in name and not name.startswith(("train/", "timing/"))
    }


def _scores(runs: Mapping[str, RunFiles]) -> Markup:
    """Returns the scores of the runs' own evaluations."""
    found = {
        name: next((figures(x.found) for x in run.evaluations if x.folder.name == FOLDER), {})
        for name, run in runs.items()
    }
    if not any(found.values()):
        return page.paragraph("None of the runs was evaluated.")
    return _side_by_side(found)


def _settings(runs: Mapping[str, RunFiles]) -> Markup:
    settings = {
        name: {key: told(x) for key, x in run.settings.items()} for name, run in runs.items()
    }
    keys = sorted({key for one in settings.values() for key in one})
    differ = [key for key in keys if len({one.get(key) for one in settings.values()}) > 1]
    if not differ:
        return page.paragraph("None: the runs have the same settings.")
    return _side_by_side(
        {name: {key: one[key] for key in differ if key in one} for name, one in settings.items()}
    )


def _pictures(runs: Mapping[str, RunFiles]) -> Iterator[Markup]:
    series = dict.fromkeys(name for run in runs.values() for name in run.pictures)
    for name in series:
        yield page.heading(f"Last pictures: {name}")
        parts = []
        for run, files in runs.items():
            if of_run := files.pictures.get(name):
                step, file = list(of_run.items())[-1]
                parts.append(picture(file, f"{run}, step {step:,}", f"{name} of {run}"))
        yield page.gallery(*parts)
