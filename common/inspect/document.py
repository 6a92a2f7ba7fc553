"""The page of an inspection: verdict, findings, tables, contact sheets and copies side by side."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from common.data.copies.find import Copies
from common.data.settings import DataSettings
from common.inspect.agreement import Odd
from common.inspect.check_agreement import seems
from common.inspect.check_copies import COPIES_FILE, labels_of, splits_of
from common.inspect.check_masks import mask_shares
from common.inspect.facts import Facts, Survey
from common.inspect.findings import Level, verdict
from common.inspect.inspection import Inspection
from common.inspect.sheets import beside, contact_sheet, one_of
from common.inspect.shortcuts import Shortcut, TooFew
from common.inspect.tables import (
    counts_table,
    frame_kind,
    kind_table,
    mask_table,
    range_table,
)
from common.program.words import counted, percent, some
from common.report import page
from common.report.page import Markup, Tone

_TONES: dict[Level, Tone] = {Level.MEND: "bad", Level.LOOK: "warn", Level.NOTE: "note"}
_COPIES_SHOWN = 24
_BROKEN_SHOWN = 100  # also for the files that are not read
_ODD_SHOWN = 24


def document(inspection: Inspection) -> str:
    """Returns the whole page; rereads some images to show them."""
    survey = inspection.survey
    return page.page(
        f"Inspection of {survey.name}",
        page.heading(f"Inspection of {survey.name}", 1),
        page.quiet(_outline(survey)),
        page.callout(_worst(inspection), "verdict", verdict(inspection.findings)),
        page.heading("Findings"),
        *_findings(inspection),
        *_copies(inspection),
        *_broken(survey),
        *_unread(survey),
        page.heading("Classes, splits and groups"),
        page.table(*counts_table(survey)),
        page.heading("Files"),
        *_files(survey),
        *_probes(inspection),
        *_masks(survey),
        *_odd_masks(inspection),
        page.heading("Samples of each class"),
        *_sheets(survey),
        page.heading("Settings"),
        page.paragraph("All of the above holds for training with ", *_settings(survey), "."),
    )


def _worst(inspection: Inspection) -> Tone:
    levels = {finding.level for finding in inspection.findings} - {Level.NOTE}
    return _TONES[min(levels)] if levels else "good"


def _outline(survey: Survey) -> str:
    return (
        f"{counted(len(survey.images), 'image')} of"
        f" {counted(len(survey.classes), 'class', 'classes')} in"
        f" {counted(len(survey.splits), 'split')}"
        + (f", {len(survey.broken):,} unusable" if survey.broken else "")
    )


def _settings(survey: Survey) -> list[page.Text]:
    """Returns the settings that differ from the defaults, as flags."""
    defaults = asdict(DataSettings())
    flags = [
        f"--config.data.{name}={value}"
        for name, value in sorted(asdict(survey.settings).items())
        if value != defaults[name]
    ]
    parts: list[page.Text] = []
    for flag in flags:
        parts += [page.code(flag), " "]
    return parts[:-1] or ["the defaults"]


def _findings(inspection: Inspection) -> list[Markup]:
    parts = []
    for finding in inspection.findings:
        remedy = [page.quiet(*_with_settings(finding.remedy))] if finding.remedy else []
        parts.append(
            page.callout(
                _TONES[finding.level],
                finding.level.title,
                page.paragraph(finding.sentence),
                *remedy,
            )
        )
    levels = {finding.level for finding in inspection.findings}
    legend = [f"{level.title.capitalize()}: {level.meaning}." for level in Level if level in levels]
    return [*parts, page.quiet(" ".join(legend))] if parts else [page.paragraph("None.")]


def _with_settings(remedy: str) -> list[page.Text]:
    """Returns a sentence with its flags set as code."""
    parts: list[page.Text] = []
    for word in remedy.split(" "):
        bare = word.rstrip(",;")
        parts += [page.code(bare), word[len(bare) :]] if bare.startswith("--") else [word]
        parts.append(" ")
    return parts


def _files(survey: Survey) -> list[Markup]:
    kinds: dict[str, Callable[[Facts], str]] = {
        "size": lambda image: f"{image.width}x{image.height}",
        "mode": lambda image: f"{image.mode}, {image.bits} bit",
        "file type": lambda image: image.file_type or "not a file of its own",
        "frame": frame_kind,
    }
    tables = [page.table(*kind_table(survey, kind, value)) for kind, value in kinds.items()]
    by_class = {
        name: np.array([survey.images[row].brightness for row in survey.rows("", label)])
        for label, name in enumerate(survey.classes)
    }
    return [
        page.gallery(*tables),
        page.table(*range_table(survey)),
        page.heading("Mean brightness", 3),
        page.histograms({n: v for n, v in by_class.items() if len(v)}, "grey level of 0 to 255"),
    ]


def _probes(inspection: Inspection) -> list[Markup]:
    if len(inspection.survey.classes) < 2:
        return []
    parts = [
        page.heading("Telling classes apart without the picture"),
        page.quiet(
            "A random forest sees a few numbers of each file but never the picture. Its area under"
            " the curve (AUC) is measured on images, and groups, that it was not trained on: 0.5 is"
            " chance, 1 is certainty."
        ),
    ]
    for title, shortcut in (
        ("Size, mode, file type and frame", inspection.by_file),
        ("Brightness, contrast and compression", inspection.by_tone),
    ):
        parts.append(page.heading(title, 3))
        parts += _probe(inspection.survey, shortcut)
    return parts


def _probe(survey: Survey, shortcut: Shortcut | TooFew | None) -> list[Markup]:
    if shortcut is None:
        return [page.paragraph("These are the same in all images and tell nothing apart.")]
    if isinstance(shortcut, TooFew):
        name = survey.classes[shortcut.label]
        return [
            page.paragraph(
                f"Not tested: class {name} has {counted(shortcut.images, 'image')} of"
                f" {counted(shortcut.groups, 'group')}, which is too few."
            )
        ]
    name = survey.classes[shortcut.label]
    rest = survey.classes[1 - shortcut.label] if len(survey.classes) == 2 else "the rest"
    return [
        page.paragraph(
            f"Class {name} against {rest}: AUC {shortcut.auc:.2f}, 95 % interval {shortcut.low:.2f}"
            f" to {shortcut.high:.2f}."
        ),
        page.table(
            ("property", name, rest, "AUC of this alone"),
            [
                (
                    each.name,
                    percent(each.inside) if each.is_share else f"{each.inside:.4g}",
                    percent(each.outside) if each.is_share else f"{each.outside:.4g}",
                    f"{each.auc:.2f}",
                )
                for each in shortcut.telling[:6]
            ],
            "Medians, or the share of images that have the property",
        ),
    ]


def _masks(survey: Survey) -> list[Markup]:
    if not survey.mask_classes:
        return []
    by_split = {split: 100 * mask_shares(survey, split) for split in survey.splits}
    filled = {split: shares[shares > 0] for split, shares in by_split.items() if shares.any()}
    return [
        page.heading("Masks"),
        page.table(*mask_table(survey)),
        *([page.histograms(filled, "% of the image covered, if any")] if filled else []),
    ]


def _odd_masks(inspection: Inspection) -> list[Markup]:
    survey, odd = inspection.survey, inspection.odd
    if not odd:
        return []
    rest = len(odd) - _ODD_SHOWN
    return [
        page.heading("Masks that do not seem to fit their images", 3),
        page.quiet(
            "A pixel classifier that learnt from the other pairs finds that something else fits"
            " better. It may be wrong: check." + (f" And {rest:,} more." if rest > 0 else "")
        ),
        page.gallery(*[_odd_mask(survey, each) for each in odd[:_ODD_SHOWN]]),
    ]


def _odd_mask(survey: Survey, odd: Odd) -> Markup:
    name = survey.images[odd.row].record.id
    return page.figure(one_of(survey, odd.row), f"{name}: {seems(survey, odd)}", f"mask of {name}")


def _sheets(survey: Survey) -> list[Markup]:
    parts = []
    for label, name in enumerate(survey.classes):
        if rows := survey.rows("", label):
            picture, num = contact_sheet(survey, rows)
            caption = f"{name}: {num} of {counted(len(rows), 'image')}, drawn at random"
            parts.append(page.figure(picture, caption, f"images of class {name}"))
    return parts


def _copies(inspection: Inspection) -> list[Markup]:
    survey, copies = inspection.survey, inspection.survey.copies
    if not copies:
        return []
    worst_first = sorted(
        copies,
        key=lambda group: (
            group.kind == "mirrored",
            -len(splits_of(survey, group)) - len(labels_of(survey, group)),
        ),
    )
    shown = worst_first[:_COPIES_SHOWN]
    rest = len(copies) - len(shown)
    return [
        page.heading("Copies: the same picture more than once"),
        page.quiet(
            f"{counted(len(copies), 'picture')}; {COPIES_FILE} beside this page lists every copy."
            + (f" The {len(shown)} that matter most are shown." if rest else "")
        ),
        page.gallery(*[_copy(survey, group) for group in shown]),
    ]


def _copy(survey: Survey, group: Copies) -> Markup:
    picture, shown = beside(survey, group)
    names = " = ".join(survey.images[row].record.id for row in shown)
    rest = len(group.rows) - len(shown)
    caption = f"{group.kind}: {names}" + (f" and {rest} more" if rest else "")
    return page.figure(picture, caption, f"copies: {names}")


def _broken(survey: Survey) -> list[Markup]:
    if not survey.broken:
        return []
    rows = [(broken.record.id, broken.why) for broken in survey.broken[:_BROKEN_SHOWN]]
    rest = len(survey.broken) - len(rows)
    return [
        page.heading("Images that can't be used"),
        page.table(("image", "why"), rows),
        *([page.quiet(f"and {rest:,} more")] if rest else []),
    ]


def _unread(survey: Survey) -> list[Markup]:
    if not survey.unread:
        return []
    return [
        page.heading("Files that are not read"),
        page.paragraph(f"{some(survey.unread, _BROKEN_SHOWN)}."),
    ]
