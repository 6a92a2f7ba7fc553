"""report.html in Chromium: it draws, moves, complains of nothing and loads nothing."""

import pytest

from common.report import page
from common.report.page import Markup
from common.run_page.command import run_report
from common.run_page.write import write_page
from common.runs.workdir import open_run
from tests.browser import browser, serious_faults
from tests.written_run import NASTY, write_run

SHOWN = """
return [...document.querySelectorAll(".series figure")]
  .filter((figure) => figure.checkVisibility()).map((figure) => figure.innerText)
"""
PATH = """return document.querySelector('.chart svg[aria-label^="loss"] path:last-of-type')"""
LATER = f"const path = () => {{ {PATH}.getAttribute('d') }}; setTimeout(() => arguments[0](path()))"
MOVE = """
const input = document.querySelector(arguments[0]);
if (input.type === "checkbox") input.click();
else { input.value = arguments[1]; input.dispatchEvent(new Event("input", { bubbles: true })); }
"""
POINT = """
const chart = document.querySelector('.chart svg[aria-label^="loss"]');
const box = chart.getBoundingClientRect();
for (const [place, name] of arguments[0].entries())
  chart.dispatchEvent(new PointerEvent(name, {
    clientX: box.left + arguments[1][place] * box.width, clientY: box.top + 9, bubbles: true,
  }));
return chart.parentNode.querySelector(".readout").textContent;
"""


@pytest.fixture(scope="module")
def chromium():
    with browser() as session:
        yield session


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of a run, and one that compares two."""
    place = tmp_path_factory.mktemp("pages")
    runs = [write_run(place / name, rate) for name, rate in (("one", 0.1), ("two", 0.2))]
    run_report(",".join(map(str, runs)), str(place / "out"))
    return write_page(open_run(runs[0])), place / "out" / "report.html"


def test_a_slider_shows_one_picture_after_the_other(chromium, pages):
    chromium.open(pages[0])
    assert chromium.run(SHOWN) == ["step 40"]
    chromium.run(MOVE, ".series input", 0)
    assert chromium.run(SHOWN) == ["step 1"]
    said = chromium.run("return document.querySelector('.series input').ariaValueText")
    assert said == "step 1"


def test_curves_can_be_smoothed_zoomed_and_drawn_logarithmically(chromium, pages):
    chromium.open(pages[0])
    drawn = [chromium.run(f"{PATH}.getAttribute('d')")]
    for control, value in (("smoothing", 0.9), ("from", 500), ("log", 1)):
        chromium.run(MOVE, f".controls [name={control}]", value)
        drawn.append(chromium.run(f"{PATH}.getAttribute('d')"))
    assert len(set(drawn)) == 4 and all(path.startswith("M") for path in drawn)
    assert "NaN" not in "".join(drawn)
    assert drawn[2].count("L") < drawn[1].count("L")  # of half of the steps
    chromium.run("document.querySelector('.controls button').click()")
    assert chromium.wait_for(LATER) == drawn[0]


def test_a_drag_across_a_chart_zooms_and_its_values_are_read_under_the_pointer(chromium, pages):
    chromium.open(pages[0])
    whole = chromium.run(f"{PATH}.getAttribute('d')")
    said = chromium.run(POINT, ["pointermove"], [0.5])
    assert said == "train 0.1111 at 18, val 0.5 at 40"
    chromium.run(POINT, ["pointerdown", "pointerup"], [0.3, 0.7])
    assert chromium.run(f"{PATH}.getAttribute('d')").count("L") < whole.count("L")


def test_the_script_draws_what_the_page_holds_without_it(chromium, pages):
    chromium.open(pages[0])
    drawn = chromium.run(f"{PATH}.getAttribute('d')")
    assert f'd="{drawn}"' in pages[0].read_text()


def test_a_single_value_is_drawn_as_a_point(chromium, pages):
    chromium.open(pages[0])
    assert chromium.run("return document.querySelectorAll('.chart circle').length") >= 2


def test_a_page_runs_no_script_but_its_own(chromium, tmp_path):
    intruder = Markup("<script>document.title = 'taken'</script><img src=x onerror='alert(1)'>")
    (tmp_path / "page.html").write_text(page.page("t", intruder, script="window.ours = 1"))
    chromium.open(tmp_path / "page.html")
    assert chromium.run("return [document.title, window.ours]") == ["t", 1]
    assert any("Content Security Policy" in each for each in chromium.complaints())


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False)])
def test_a_page_complains_of_nothing_loads_nothing_and_fits(chromium, pages, which, width, dark):
    chromium.complaints(), chromium.requests()
    chromium.open(pages[which], width, dark=dark)
    assert chromium.complaints() == []
    assert chromium.requests() == [pages[which].as_uri()]
    assert chromium.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert NASTY in chromium.run("return document.body.innerText")
    background = chromium.run("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") != dark


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("dark", [False, True])
def test_a_page_has_no_serious_fault_of_accessibility(chromium, pages, which, dark):
    chromium.open(pages[which], dark=dark)
    assert serious_faults(chromium) == []


def test_without_javascript_pictures_curves_and_tables_are_there(chromium, pages):
    with chromium.without_javascript():
        chromium.open(pages[0])
        text = chromium.text()
    assert "step 1" in text and "step 20" in text and "step 40" in text
    assert "logarithmic" not in text and "data.held_out" in text
