"""card.md: what those have to know to whom a run is passed on.

Source: Mitchell et al., "Model Cards for Model Reporting" (2019). What stands above the title is
for the Hugging Face Hub.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from common.config.declaration import Declaration
from common.config.tasks import declared_of
from common.program.settings import flatten
from common.run_page.document import data_line, hardware, outline, split_rows, told
from common.run_page.files import Evaluated, RunFiles

_FIRST = "This is not a medical device; no score here says that it may be used on a patient."
_PHANTOMS = "The images are phantoms, drawn by a program: no result says anything about patients."
_ONE_SET = "One set of images was seen: other scanners, hospitals and protocols are outside of it."
_NO_PATIENTS = (
    "It is unknown which images are of one patient: if a patient's images lie in several splits,"
    " scores are too good."
)
_NO_TEST = "There is no test split: training has seen or used whatever the scores are of."
_UNLIKE = (
    "An image unlike those of training is answered all the same: the column `unlike` of what"
    " --mode=predict and --mode=evaluate write says how far outside of them it lies."
)


def model_card(files: RunFiles) -> str:
    """Returns the card of a run, in Markdown."""
    task = files.run.config.task
    declared = declared_of(task)
    blocks = (
        f"---\nlibrary_name: triptych\ntags: [medical, jax, {task}]\n---",
        f"# {_plain(files.name)}",
        _plain(outline(files)) + ".",
        *_section("Intended use", [declared.use] if declared and declared.use else []),
        *_section("Limits", [_listed(_limits(files, declared))]),
        *_section("Data", _data(files)),
        *_section("Training", _training(files)),
        *_section("Measures", _measures(files, declared)),
        *_section("The same again", _same_again(files)),
    )
    return "\n\n".join(blocks) + "\n"


def _limits(files: RunFiles, declared: Declaration | None) -> Iterator[str]:
    card = files.run.card
    yield _FIRST
    yield _PHANTOMS if card.synthetic else _ONE_SET
    if not card.num_patients and not card.synthetic:
        yield _NO_PATIENTS
    if "test" not in card.num_examples:
        yield _NO_TEST
    if declared:
        yield from declared.limits
        if declared.keeps_reference:
            yield _UNLIKE


def _data(files: RunFiles) -> Iterator[str]:
    card = files.run.card
    yield _plain(data_line(files))
    yield _table(("split", "images", "patients"), split_rows(files))
    if card.class_counts:
        rows = zip(card.classes, card.class_counts, strict=False)
        yield _table(("class", "training images"), rows)
    if files.inspection:
        yield "What the inspection of these images says: " + _plain(files.inspection.verdict)
        found = files.inspection.findings
        yield _listed(f"{each.level.title}: {_plain(each.sentence)}" for each in found)
    else:
        yield "These images were not inspected."


def _training(files: RunFiles) -> Iterator[str]:
    if files.run.ensemble:
        yield "The mean of its members' predictions: see their cards."
        return
    name = files.settings.get("model.name") or files.run.config.task
    batch, seed = files.run.settings.data.batch_size, files.run.settings.seed
    yield (
        f"Network {_plain(name)}: {files.step:,} steps of {batch} images, seed {seed}. These"
        " settings differ from the default of the task; config.json has all."
    )
    yield _table(("setting", "value"), ((name, told(x)) for name, x in files.changed.items()))
    yield _table(("hardware and speed", "value"), hardware(files.record).items())


def _measures(files: RunFiles, declared: Declaration | None) -> Iterator[str]:
    if not files.evaluations:
        yield "Not evaluated yet."
    for each in files.evaluations:
        yield f"On {_plain(each.where)}: {_plain(each.words)}" if each.where else _plain(each.words)
        if declared and (rows := [*_compared(each, declared)]):
            yield _table(("measure", "value", "better"), rows)
            over = _plain(each.found.get("intervals_over", ""))
            brackets = f"In brackets: the 95 % interval over {over}. " if over else ""
            yield f"{brackets}All scores are in {_plain(each.folder.name)}/."


def _compared(evaluated: Evaluated, declared: Declaration) -> Iterator[tuple[object, ...]]:
    """Yields a row for each number by which runs of the task are compared."""
    numbers = dict(flatten(evaluated.found))

    def written(name: str) -> str:
        value = numbers.get(name)
        return f"{value:.3g}" if isinstance(value, int | float) else ""

    for wanted in declared.compared:
        for name, called in wanted.called(numbers).items():
            ends = [written(wanted.beside(name, end)) for end in ("low", "high")]
            interval = f" [{', '.join(ends)}]" if all(ends) else ""
            real = written(wanted.beside(name, wanted.reference))
            beside = f" (real images {real})" if real else ""
            better = "higher" if wanted.best == "highest" else "lower"
            yield called, (written(name) or "no value") + interval + beside, better


def _same_again(files: RunFiles) -> Iterator[str]:
    if command := files.record.get("command"):
        yield "    " + " ".join(command.split())
    versions = dict(files.record.get("versions", {}))
    if commit := files.record.get("git_commit"):
        versions["code"] = f"commit {commit}"
    if versions:
        yield ", ".join(f"{name} {_plain(version)}" for name, version in versions.items()) + "."


def _section(title: str, blocks: Iterable[str]) -> list[str]:
    """Returns a section, or nothing if it is empty."""
    there = [block for block in blocks if block]
    return [f"## {title}", *there] if there else []


def _listed(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table, "" if it has no row."""
    lines = [" | ".join(map(_plain, row)) for row in rows]
    head = [" | ".join(header), " | ".join("---" for _ in header)]
    return "\n".join(f"| {line} |" for line in (*head, *lines)) if lines else ""


def _plain(value: object) -> str:
    """Returns what is to be read as it is: one line, without the signs of Markdown and HTML."""
    return re.sub(r"[\\<|`]|\](?=[(\[])", r"\\\g<0>", " ".join(str(value).split()))
