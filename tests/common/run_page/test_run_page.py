"""report.html: everything about a run on one page, made of its files alone."""

import errno
import json
import os
import re

import pytest

from common.inspect.findings import Finding, Level
from common.inspect.kept import KEPT_FILE, write_findings
from common.program.errors import UserError
from common.run_page import write
from common.run_page.command import run_report
from common.run_page.write import show_evaluation, try_page, write_page
from common.runs.workdir import Run, open_run
from tests.common.report.test_page import Outline
from tests.written_run import NASTY, write_evaluation, write_run


def page_of(workdir):
    return write_page(open_run(workdir)).read_text()


def said_by(page):
    """What a page shows as text, its script and its style left out."""
    return Outline(re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)).said


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_run(tmp_path / "runs" / "mine")


def test_a_page_says_everything_about_its_run(run):
    said = said_by(page_of(run))
    for part in (
        *("Tells the classes apart in part", "Of the checkpoint of step 40", "step 40 of 60"),
        *("Confusion matrix, ROC curves", "0.8", "0.7", "Something is wrong with"),
        *("step 1", "step 20", "Losses", "f1", "Quality", "Speed", "data.held_out", "15,15"),
        "Changed at step 20: train.num_steps from 30 to 60.",
        *("1 x cpu (cpu)", "123.4", "3.11.7", "abc", "0123456789ab"),
        *("python launch.py --config=configs/classify.py:tiny", "scored_images.csv"),
    ):
        assert part in said, part
    assert said.index("Tells the classes") < said.index("Curves") < said.index("Settings")


def test_every_name_from_a_file_is_text(run):
    page = page_of(run)
    read = Outline(re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))
    assert [tag for tag, _ in read.tags if tag == "script"] == ["script"]  # the page's own
    # The verdict, the outline, the data, a warning, the command, scores, a metric, classes.
    assert read.said.count(NASTY) >= 10
    assert NASTY.replace("/", "-") in read.said  # a picture's file


def test_a_page_can_load_nothing(run):
    page = page_of(run)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src 'none'" in policy and "img-src data:" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]{44}'$", policy)
    assert all(src.startswith("data:") for src in re.findall(r'src="([^"]*)"', page))
    without_names = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|@import|url\(|<link", without_names)


def test_without_an_evaluation_or_an_inspection_the_page_says_how_to_make_them(tmp_path):
    said = said_by(page_of(write_run(tmp_path / "mine", evaluated=False)))
    assert f"Not evaluated yet: python launch.py --mode=evaluate --workdir={tmp_path}/mine" in said
    assert "python launch.py --mode=inspect --config=FILE" in said


def test_findings_on_the_same_data_are_shown(run):
    folder = run.parent / "inspect-covid_ct"
    folder.mkdir()
    found = (Finding(Level.LOOK, f"A finding about {NASTY}.", "Look at it."),)
    data = open_run(run).settings.data
    write_findings(folder / KEPT_FILE, data, found)
    said = said_by(page_of(run))
    assert f"A finding about {NASTY}." in said and "one thing needs a check" in said
    text = (folder / KEPT_FILE).read_text()
    (folder / KEPT_FILE).write_text(text.replace("covid_ct", "another set"))
    assert "A finding about" not in said_by(page_of(run))
    (folder / KEPT_FILE).write_text("{")
    assert "These data were not inspected" in said_by(page_of(run))


def test_a_run_that_has_only_begun_has_a_page(run):
    (run / "metrics.jsonl").unlink()
    for file in (run / "pictures").iterdir():
        file.unlink()
    said = said_by(page_of(run))
    assert "No numbers yet" in said and "Pictures over time" not in said


def test_a_run_of_an_earlier_version_has_a_page(run):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({"data": record["data"]}))
    report = json.loads((run / "evaluation" / "evaluation.json").read_text())
    del report["verdict"]
    (run / "evaluation" / "evaluation.json").write_text(json.dumps(report))
    said = said_by(page_of(run))
    assert "without words" in said and "The command was not recorded" in said
    assert "Pictures over time" in said  # whose names were not recorded either


def test_what_is_damaged_is_said_and_the_rest_is_shown(run):
    (run / "evaluation" / "evaluation.json").write_text("{")
    (run / "evaluation" / "figures.png").write_text("no picture")
    (run / "evaluation" / "scored_images.csv").write_bytes(b"\xff\xfe")
    (run / "pictures" / "000020_predictions.png").write_text("")
    said = said_by(page_of(run))
    assert "evaluation.json is damaged" in said and "figures.png is damaged" in said
    assert "scored_images.csv is damaged" in said
    assert "000020_predictions.png is damaged" in said and "Losses" in said


def test_an_evaluation_of_other_images_has_its_own_verdict(run, capsys):
    write_evaluation(run / "evaluation-elsewhere")
    show_evaluation(open_run(run), run / "evaluation-elsewhere")
    assert f"report: {run}/report.html" in capsys.readouterr().out
    said = said_by((run / "report.html").read_text())
    assert "verdict on elsewhere" in said and "Evaluation on elsewhere" in said


def test_an_evaluation_in_another_folder_changes_no_page(run, tmp_path, capsys):
    show_evaluation(open_run(run), tmp_path / "out")
    assert not capsys.readouterr().out and not (run / "report.html").exists()


def test_short_tables_are_shown_and_long_ones_named(run):
    table = run / "evaluation" / "scored_images.csv"
    table.write_text(f'image,dice\n"{NASTY}, 2",0.123456\n')
    said = said_by(page_of(run))
    assert f"{NASTY}, 20.1235" in said
    table.write_text("image,dice\n" + "a,0.5\n" * 1234)
    assert "evaluation/scored_images.csv has 1,234 rows." in said_by(page_of(run))
    table.write_text("")
    assert "scored_images.csv" in said_by(page_of(run))


def test_an_ensemble_has_a_page(run, tmp_path):
    member = open_run(run)
    both = Run(tmp_path / "both", member.config, member.card, (member, member))
    both.workdir.mkdir()
    write_evaluation(both.workdir / "evaluation")
    said = said_by(write_page(both).read_text())
    assert f"an ensemble of {run}, {run}" in said and "see the pages of its members" in said
    assert "Tells the classes apart in part" in said


def test_training_goes_on_without_a_page_but_not_on_a_full_disk(run, monkeypatch, caplog):
    def failing(files, number=errno.EACCES):
        raise OSError(number, os.strerror(number), "x")

    monkeypatch.setattr(write, "document", failing)
    try_page(open_run(run))
    assert "report.html could not be written" in caplog.text
    monkeypatch.setattr(write, "document", lambda files: failing(files, errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        try_page(open_run(run))
    assert not (run / "report.html").exists()


def test_runs_are_compared_on_one_page(run, capsys):
    other = write_run(run.parent / "other", learning_rate=0.25, evaluated=False)
    assert run_report(f"{run},{other}", "") == 0
    file = run.parent / "compare-mine-other" / "report.html"
    assert capsys.readouterr().out == f"runs/{file.relative_to(run.parent)}\n"
    said = said_by(file.read_text())
    assert "2 runs: mine, other" in said and "Not evaluated yet" in said
    settings = said[said.index("Settings that differ") : said.index("Curves")]
    assert "optimizer.learning_rate" in settings and "0.25" in settings
    assert "data.image_size" not in settings
    assert "mine, train" in said and "other, train" in said and "other, step 40" in said
    run_report(f"{run},{other}", "")  # it may be written again


def test_runs_of_equal_names_are_compared_by_their_paths(run, tmp_path):
    other = write_run(tmp_path / "there" / "mine")
    run_report(f"{run},{other}", str(tmp_path / "out"))
    said = said_by((tmp_path / "out" / "report.html").read_text())
    assert str(run) in said and str(other) in said and "None: the runs have the same" in said


@pytest.mark.parametrize(
    ("workdirs", "output", "why"),
    [
        ("", "", "--mode=report needs --workdir=RUN"),
        ("nothing", "", "nothing holds no run"),
        ("runs/mine", "out", "leave out --output"),
        ("runs/mine,runs/../runs/mine", "", "names a run twice"),
    ],
)
def test_what_cannot_be_reported_is_refused(run, workdirs, output, why):
    with pytest.raises(UserError, match=re.escape(why)):
        run_report(workdirs, output)
