"""`make site`: every document is in it, its links lead somewhere, and it needs no network."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from tests.browser import browser, serious_faults
from tests.conftest import ROOT

DOCS = ROOT / "docs"
SEARCH = """
const [word, done] = arguments;
document.querySelector(".md-search__button").click();
const later = (look) => { const it = look(); it ? done(it) : setTimeout(later, 50, look); };
const shadow = () => [...document.body.children].map((part) => part.shadowRoot).find(Boolean);
later(() => {
  const input = shadow()?.querySelector("input");
  if (!input) return "";
  if (input.value !== word) {
    input.value = word;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }
  return shadow().querySelector("a")?.href;
});
"""


def kinds():
    """Returns the pages of the site by kind; the start page is of none."""
    start, *entries = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    assert start == "index.md"
    return {kind: pages for entry in entries for kind, pages in entry.items()}


def test_every_document_is_of_one_of_four_kinds_and_on_the_start_page():
    assert list(kinds()) == ["Learn", "Do", "Look up", "Understand"]
    documents = [file.name for file in DOCS.glob("*.md") if file.name != "index.md"]
    pages = [page for pages in kinds().values() for page in pages]
    assert sorted(pages) == sorted([*documents, "tour.ipynb.md"])
    _, *sections = re.split(r"^## (.+)$", (DOCS / "index.md").read_text(), flags=re.MULTILINE)
    listed = [re.findall(r"^- \[.+?\]\((.+?)\)", text, re.MULTILINE) for text in sections[1::2]]
    shown = [[page.replace(".ipynb.md", ".ipynb") for page in pages] for pages in kinds().values()]
    assert (sections[::2], listed) == (list(kinds()), shown)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built without a warning."""
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("zensical is not installed (the extra 'docs'): the site is not built")
    place = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "zensical.toml", place)
    for words in ([DOCS / "site/gather.py", "build/docs"], ["-m", "zensical", "build", "--strict"]):
        done = subprocess.run(
            [sys.executable, *words], cwd=place, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and "Warning" not in done.stdout + done.stderr, done
    return place / "build/site"


@pytest.fixture(scope="module")
def pages(site):
    return {file: file.read_text() for file in site.rglob("*.html") if file.name != "404.html"}


@pytest.mark.slow  # they build the site
class TestSite:
    def test_links_lead_to_files_and_headings_that_are_there(self, pages):
        links = 0
        for file, text in pages.items():
            for link in re.findall(r'(?:href|src)="([^"]*)"', text):
                if re.match(r"https?:|data:|javascript:", link):
                    continue
                links += 1
                path, _, heading = link.partition("#")
                place = (file.parent / path).resolve() if path else file
                assert place.is_file(), f"{file.name} links to {link}"
                assert not heading or f'id="{heading}"' in pages[place], f"{file.name}: {link}"
        assert links > 500

    def test_nothing_is_loaded_from_the_network(self, site, pages):
        loads = re.compile(
            r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=\"(?:\w+:)?//[^\"]*"
        )
        assert [found for text in pages.values() for found in loads.findall(text)] == []
        styles = [file.read_text() for file in site.rglob("*.css")]
        assert styles and not [
            x for x in styles if re.search(r"(?:url\(|@import)[\"' ]*https?:", x)
        ]

    def test_lists_are_lists(self, pages):
        for file, text in pages.items():
            assert not re.search(r"<p>[^<]*\n(?:[-*]|\d+\.) ", text), file.name

    def test_a_browser_complains_of_no_page_and_asks_for_files_alone(self, pages):
        with browser() as chromium:
            for file in pages:
                chromium.open(file)
                assert chromium.complaints() == [], file
                assert {url.partition(":")[0] for url in chromium.requests()} <= {"file"}

    @pytest.mark.parametrize("dark", [False, True])
    def test_no_page_has_a_serious_fault_of_accessibility(self, pages, dark):
        coloured = ("index", "new_task", "own_data")  # links, code, tables
        with browser() as chromium:
            for file in (file for file in pages if not dark or file.stem in coloured):
                chromium.open(file, dark=dark)
                assert serious_faults(chromium) == [], file

    def test_the_search_needs_no_server(self, site):
        with browser() as chromium:
            chromium.open(site / "index.html")
            assert chromium.wait_for(SEARCH, "memorisation").endswith("quality.html#memorisation")
