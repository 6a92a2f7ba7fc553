"""The page of a run: verdict, evaluations, pictures, curves, data, settings, how it ran."""

import json
import time
from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Any

from common.inspect.findings import Level
from common.program.words import counted
from common.report import page
from common.report.charts import SCRIPT
from common.report.page import Cell, Markup, Tone
from common.report.slides import picture, slides
from common.run_page.curves import curves
from common.run_page.files import Evaluated, RunFiles, plain
from common.run_page.tables import table_of_file, tables

TONES: dict[Level, Tone] = {Level.MEND: "bad", Level.LOOK: "warn", Level.NOTE: "note"}


def document(files: RunFiles) -> str:
    """Returns the whole page."""
    return page.page(
        f"{files.name}: {files.run.config.task}",
        page.heading(files.name, 1),
        page.quiet(outline(files)),
        *verdicts(files),
        *_warnings(files),
        *(part for each in files.evaluations for part in _evaluation(each, files.captions)),
        *_pictures(files),
        page.heading("Curves"),
        *(tuple(curves({files.name: files.rows})) or [page.paragraph("No numbers yet.")]),
        page.heading("Data"),
        *_data(files),
        page.heading("Settings"),
        *_settings(files),
        page.heading("How it ran"),
        *_how_it_ran(files),
        script=SCRIPT,
    )


def verdicts(files: RunFiles, label: str = "verdict") -> Iterator[Markup]:
    """Yields what each evaluation found, in words; without one, how to get it."""
    workdir = files.run.workdir
    if not files.evaluations:
        command = page.code(f"python launch.py --mode=evaluate --workdir={quote(str(workdir))}")
        yield page.callout("note", label, page.paragraph("Not evaluated yet: ", command))
    for each in files.evaluations:
        on = f"{label} on {each.where}" if each.where else label
        step = each.found.get("checkpoint_step")
        at = [page.quiet(f"Of the checkpoint of step {step:,}.")] if isinstance(step, int) else []
        yield page.callout("bad" if each.problem else "note", on, page.paragraph(each.words), *at)


def outline(files: RunFiles) -> str:
    """Returns what a run is, in one line: task, data, step, and when this was written."""
    record, card = files.record, files.run.card
    total = record.get("num_steps", 0)
    parts = [f"{files.run.config.task} on {card.caption}"]
    if files.run.ensemble:
        names = ", ".join(str(member.workdir) for member in files.run.ensemble)
        parts.append(f"an ensemble of {names}")
    else:
        parts.append(f"step {files.step:,}" + (f" of {total:,}" if total else ""))
    parts.append(f"written {time.strftime('%Y-%m-%d %H:%M')}")
    return "; ".join(parts)


def _warnings(files: RunFiles) -> Iterator[Markup]:
    for warning in dict.fromkeys(files.record.get("warnings", ())):
        yield page.callout("warn", "warning", page.paragraph(warning))


def _evaluation(found: Evaluated, captions: Mapping[str, str]) -> Iterator[Markup]:
    yield page.heading("Evaluation" + (f" on {found.where}" if found.where else ""))
    there = {file.name: file for file in sorted(found.folder.glob("*.png"))}
    shown = [name for name in dict.fromkeys((*captions, *there)) if name in there]
    for place, name in enumerate(shown):
        caption = captions.get(name, name)
        drawn = picture(there[name], caption, caption)
        yield page.details(caption, drawn) if place else drawn
    yield page.details("All scores", *tables(found.found))
    yield from (table_of_file(file) for file in sorted(found.folder.glob("*.csv")))


def _pictures(files: RunFiles) -> Iterator[Markup]:
    if files.pictures:
        yield page.heading("Pictures over time")
    for name, of_series in files.pictures.items():
        yield slides(name, of_series)


def _data(files: RunFiles) -> Iterator[Markup]:
    card = files.run.card
    yield page.paragraph(data_line(files))
    yield page.gallery(
        page.table(("split", "images", "patients"), split_rows(files)),
        page.table(
            ("class", "training images"), list(zip(card.classes, card.class_counts, strict=False))
        ),
    )
    yield page.heading("Findings of the inspection", 3)
    if files.inspection is None:
        path = files.run.config.data.dir
        flag = f"--input={quote(path)}" if path else "--config=FILE"
        command = page.code(f"python launch.py --mode=inspect {flag}")
        whose = "" if path else ", with the config of this run"
        yield page.paragraph("These data were not inspected: ", command, whose, ".")
        return
    yield page.paragraph(files.inspection.verdict)
    for finding in files.inspection.findings:
        remedy = [page.quiet(finding.remedy)] if finding.remedy else []
        words = page.paragraph(finding.sentence)
        yield page.callout(TONES[finding.level], finding.level.title, words, *remedy)
    yield page.quiet(f"Inspected in {files.inspection.folder}.")


def data_line(files: RunFiles) -> str:
    """Returns what the data are, in one line."""
    card = files.run.card
    kind = "grey" if card.slice_channels == 1 else "colour"
    skipped = f"; {counted(card.skipped, 'unreadable image')} left out" if card.skipped else ""
    size = f"{card.image_size}x{card.image_size}"
    return f"{card.caption}: {size}, {kind}; fingerprint {card.fingerprint[:12]}{skipped}."


def split_rows(files: RunFiles) -> list[tuple[Cell, ...]]:
    """Returns the name of each split with its images and its patients."""
    card = files.run.card
    return [
        (split, images, card.num_patients.get(split, "unknown"))
        for split, images in card.num_examples.items()
    ]


def _settings(files: RunFiles) -> Iterator[Markup]:
    settings, defaults = files.settings, files.defaults

    def default_of(name: str) -> str:
        return told(defaults[name]) if name in defaults else "none"

    yield page.table(
        ("setting", "default", "this run"),
        [(name, default_of(name), told(value)) for name, value in files.changed.items()],
        "What differs from the default of the task",
    )
    for change in files.record.get("config_changes", ()):
        names = ", ".join(
            f"{name} from {told(before)} to {told(now)}"
            for name, (before, now) in change.get("settings", {}).items()
        )
        yield page.paragraph(f"Changed at step {change.get('step', 0):,}: {names}.")
    everything = [(name, told(value)) for name, value in settings.items()]
    yield page.details("All settings", page.table(("setting", "value"), everything))


def _how_it_ran(files: RunFiles) -> Iterator[Markup]:
    record = files.record
    if not record:
        yield page.paragraph("An ensemble does not run by itself: see the pages of its members.")
        return
    rows: list[tuple[Cell, ...]] = [(name, value) for name, value in hardware(record).items()]
    versions = list(record.get("versions", {}).items())
    yield page.gallery(
        page.table(("hardware and speed", "value"), rows),
        page.table(("package", "version"), [*versions, ("code", record.get("git_commit") or "?")]),
    )
    if command := record.get("command"):
        yield page.paragraph("The same again, with this code and these packages:")
        yield page.block(command)
    else:
        yield page.paragraph(
            "The command was not recorded; the settings above, in config.json, are the whole"
            " experiment."
        )


def hardware(record: Mapping[str, Any]) -> dict[str, str]:
    """Returns what a run ran on and how fast, by name, for people."""
    devices, found = record.get("devices", {}), {}
    if devices:
        kinds = f"{devices.get('count')} x {devices.get('kind')} ({devices.get('platform')})"
        found["devices"] = kinds
    for name, form in (
        ("images_per_second", "{:.4g}"),
        ("wall_seconds", "{:,.0f}"),
        ("idle_share", "{:.1%}"),
        ("data_wait_share", "{:.1%}"),
        ("utilisation", "{:.1%}"),
    ):
        if name in record:
            found[name.replace("_", " ")] = form.format(record[name])
    return found


def told(value: object) -> str:
    """Returns a setting for people: a text as it is, '' for an empty one."""
    if isinstance(value, str):
        return value or "''"
    return json.dumps(plain(value))
