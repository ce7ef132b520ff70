"""The page: whole in one file, safe, and in a browser it loads, sorts, filters and tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.files import write_text
from benchmark.report.page import render_page
from benchmark.report.reading.papers import papers
from benchmark.report.tables.rows import place_of_family
from benchmark.report.whole import make_report
from benchmark.systems.catalogue import family_title
from tests.report.browser import CHROMIUM, Page
from tests.report.conftest import drawn_ranks

EVIL = "<script>window.hacked=1</script><img src=x onerror='window.hacked=1'>\"'&{{7*7}}"


def write_page(runs_root: Path, folder: Path) -> Path:
    write_text(folder / "report.html", render_page(make_report(runs_root), "runs"))
    return folder / "report.html"


@pytest.fixture(scope="module")
def page_file(suite, suite_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(suite_root, tmp_path_factory.mktemp("page"))


def test_the_page_asks_for_nothing_outside(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    assert not re.search(r"\b(src|action|srcset|data-src)\s*=", text)
    assert not re.search(r"@import|url\((?!#)", text)
    assert not re.search(r"<(link(?! rel=\"icon\" href=\"data:,\")|iframe|object|embed|form)", text)
    assert "default-src 'none'" in text


def test_ids_are_unique(page_file: Path) -> None:
    found = re.findall(r'\sid="([^"]+)"', page_file.read_text(encoding="utf-8"))
    assert len(found) == len(set(found))


def test_text_from_runs_is_escaped(make_run, runs_root: Path, tmp_path: Path) -> None:
    write_hostile_runs(make_run)
    text = write_page(runs_root, tmp_path).read_text(encoding="utf-8")
    assert text.count("<script") == 1 and "<img" not in text
    assert "&lt;script&gt;" in text and "{{7*7}}" in text


def test_papers_have_links() -> None:
    (paper,) = papers("kang2018sasrec")
    assert paper.short == "Kang et al. (2018)" and paper.url.startswith("https://")
    assert list(papers("")) == [] and list(papers("nobody1900")) == []


def write_hostile_runs(make_run) -> None:
    make_run(
        EVIL,
        display_name=EVIL,
        family=EVIL,
        dataset=EVIL,
        preset=EVIL,
        recommendation=drawn_ranks(0.2),
        search=drawn_ranks(0.2),
        configuration={EVIL: EVIL},
        environment={"torch": EVIL},
        stand_ins=(EVIL,),
        curve=(0.1, 0.2),
    )
    make_run("failed", dataset=EVIL, preset=EVIL, tasks=("search",), error=EVIL)


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    page = Page(tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


@pytest.fixture
def page(browser: Page, page_file: Path) -> Page:
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(page_file)
    return browser


SEARCH = "document.getElementById('tiny-paper-laptop-search')"
NAMES = f"[...{SEARCH}.querySelectorAll('tr.row th')].map((cell) => cell.textContent)"
SORT = f"{SEARCH}.querySelectorAll('tr.names button')[%d].click()"


def test_it_loads_without_complaints_or_requests(page: Page, page_file: Path) -> None:
    assert page.complaints == []
    assert page.requests == [page_file.as_uri()]
    assert page("document.querySelectorAll('svg').length") >= 4


def test_a_click_on_a_column_sorts_and_a_third_restores(page: Page) -> None:
    before = page(NAMES)
    values = f"[...{SEARCH}.querySelectorAll('tr.row')].map((row) => row.cells[1].dataset.value)"
    page(SORT % 1)
    sorted_values = [float(value) for value in page(values) if value is not None]
    assert sorted_values == sorted(sorted_values, reverse=True)
    assert page(f"{SEARCH}.querySelectorAll('th')[1].getAttribute('aria-sort')") == "descending"
    # What has no figure (a system of the other task, a failure) stays below.
    assert [value is None for value in page(values)] == sorted(v is None for v in page(values))
    page(SORT % 1)
    assert [float(value) for value in page(values) if value is not None] == sorted_values[::-1]
    page(SORT % 1)
    assert page(NAMES) == before


def test_headings_of_variants_go_while_sorted_and_come_back(
    browser: Page, make_run, runs_root: Path, tmp_path: Path
) -> None:
    from benchmark.systems.catalogue import entries

    variants = [name for name, row in entries().items() if row.heading][:2]
    for level, name in enumerate(("first", *variants, "last"), start=1):
        make_run(name, display_name=f"Name {level}", search=0.1 * level, family="references")
    browser.open(write_page(runs_root, tmp_path))
    lines = f"[...{SEARCH}.querySelectorAll('tbody tr')].map((row) => row.className)"
    before, names = browser(lines), browser(NAMES)
    assert before.count("heading") == 1 and before.count("row variant") == 2
    browser(SORT % 1)
    assert "heading" not in browser(lines)
    assert browser(NAMES) == ["Name 4", "Name 3", "Name 2", "Name 1"]
    browser(SORT % 1)
    browser(SORT % 1)
    assert (browser(lines), browser(NAMES)) == (before, names)


def test_names_sort_by_the_alphabet(page: Page) -> None:
    page(SORT % 0)
    names = [re.sub(r"[\d†,=]+$", "", name).strip().lower() for name in page(NAMES)]
    assert names[0] == "bge" and names[-1] == "zam"


def test_the_keyboard_sorts(page: Page) -> None:
    page(f"{SEARCH}.querySelectorAll('tr.names button')[2].focus()")
    page.press("Enter")
    assert page(f"{SEARCH}.querySelectorAll('th')[2].getAttribute('aria-sort')") == "descending"
    page.press("Tab")
    assert page("document.activeElement.textContent") == "HR@10"


@pytest.mark.parametrize("wanted, left", [("gensar", 4), ("dense", 2), ("", 24), ("nobody", 0)])
def test_the_filter_hides_other_systems(page: Page, wanted: str, left: int) -> None:
    page(f"filter.value = '{wanted}'; filter.dispatchEvent(new Event('input'))")
    shown = f"[...{SEARCH}.querySelectorAll('tr.row')].filter((row) => row.offsetHeight > 0).length"
    assert page(shown) == left
    families = f"[...{SEARCH}.querySelectorAll('tr.family')].filter((r) => r.offsetHeight).length"
    assert (page(families) == 0) == (left == 0)


def choose(page: Page, name: str, value: str) -> None:
    page(f"{name}.value = {value!r}; {name}.dispatchEvent(new Event('change'))")


SYSTEMS = f"[...{SEARCH}.querySelectorAll('tr.row')].filter((row) => row.offsetHeight > 0)"


def test_a_family_can_be_chosen(page: Page, suite) -> None:
    families = {run.record.system.family for run in suite}
    order = sorted(families, key=place_of_family)
    titles = page("[...family.options].map((option) => option.text)")
    assert titles == ["all", *map(family_title, order)]
    choose(page, "family", "Dense retrieval")
    assert page(f"{SYSTEMS}.map((row) => row.cells[0].textContent)") == ["E51,=", "BGE2,1,="]
    assert int(page("document.getElementById('shown').value.split(' ')[0]")) >= 2
    runs = "[...document.querySelectorAll('details.run')].filter((run) => !run.hidden).length"
    assert page(runs) == 6  # two systems of three seeds
    page("filter.value = 'bge'; filter.dispatchEvent(new Event('input'))")
    assert page(f"{SYSTEMS}.length") == 1
    # Differences are divided otherwise and keep their rows.
    page("filter.value = ''; filter.dispatchEvent(new Event('input'))")
    pairs = "document.getElementById('tiny-paper-laptop-search-differences')"
    assert page(f"[...{pairs}.querySelectorAll('tr.row')].every((row) => !row.hidden)")
    choose(page, "family", "")
    assert page(f"{SYSTEMS}.length") == 24


def test_a_data_set_can_be_chosen(browser: Page, make_run, runs_root, tmp_path) -> None:
    for name in ("first", "second"):
        make_run("alpha", search=0.1, dataset=name)
    browser.open(write_page(runs_root, tmp_path))
    shown = (
        "[...document.querySelectorAll('section.group')].filter((s) => s.offsetHeight > 0).length"
    )
    assert browser(shown) == 2
    choose(browser, "group", "section-second-paper-laptop")
    assert browser(shown) == 1 and browser(
        "document.getElementById('section-second-paper-laptop').offsetHeight"
    )
    choose(browser, "group", "")
    assert browser(shown) == 2


def test_a_tap_beside_a_mark_tells_the_nearest(browser: Page, page_file: Path) -> None:
    browser.open(page_file, width=390)
    browser("document.querySelector('svg .hover').scrollIntoView({block: 'center'})")
    x, y, said = browser(
        "(() => { const mark = document.querySelector('svg .hover');"
        " const box = mark.getBoundingClientRect();"
        " return [box.left + box.width / 2, box.top + box.height / 2,"
        " mark.querySelector('title').textContent]; })()"
    )
    tip = "[document.getElementById('tip').hidden, document.getElementById('tip').textContent]"
    browser.tap(x + 9, y)
    is_hidden, told = browser(tip)
    assert not is_hidden and told.count(" (NDCG@5)") == 1
    browser.tap(x, y)
    assert browser(tip) == [False, said]
    box = "(() => { const b = document.getElementById('tip').getBoundingClientRect();"
    left, right = browser(f"{box} return [b.left, b.right]; }})()")
    assert left >= 0 and right <= 390


def test_numbers_tell_at_a_tap(browser: Page, page_file: Path) -> None:
    browser.open(page_file, width=390)
    cell = f"{SEARCH}.querySelector('td[title]')"
    browser(f"{cell}.scrollIntoView({{block: 'center'}})")
    x, y, said = browser(
        f"(() => {{ const b = {cell}.getBoundingClientRect();"
        f" return [b.left + 20, b.top + 8, {cell}.title]; }})()"
    )
    browser.tap(x, y)
    assert browser("document.getElementById('tip').textContent") == said


def test_on_a_telephone_all_columns_can_be_reached(browser: Page, page_file: Path) -> None:
    browser.open(page_file, width=390)
    browser("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    browser("document.querySelector('#views input[value=\"\"]').click()")
    # Every table and figure ends within its own scrolling region, which the window holds.
    lost = browser(
        "[...document.querySelectorAll('table, svg')].filter((part) => {"
        " const region = part.closest('.scroll'); if (!region) return true;"
        " region.scrollLeft = 1e6; const inner = part.getBoundingClientRect();"
        " const outer = region.getBoundingClientRect();"
        " return outer.right > innerWidth || inner.right > outer.right + 1; }).length"
    )
    assert lost == 0
    # The name of a row stays beside its last figure.
    left = browser(f"{SEARCH}.querySelector('tr.row th').getBoundingClientRect().left")
    assert 0 <= left < 40


PARTS = "[...document.querySelectorAll('[data-view]')]"
SHOWN = f"{PARTS}.filter((part) => part.offsetHeight > 0).map((part) => part.dataset.view)"


def test_without_a_script_both_views_are_there(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    parts = re.findall(r"<div class=\"part\"[^>]*>", text)
    assert [re.findall(r"data-view=\"([a-z-]+)\"", part) for part in parts] == [
        ["lists"],
        ["all-items"],
        [],
    ]
    assert not any("hidden" in part for part in parts)
    (switch,) = re.findall(r"<div id=\"views\"[^>]*>", text)
    assert "hidden" in switch  # it would do nothing


def test_the_switch_shows_one_view_or_both(page: Page) -> None:
    assert page("document.getElementById('views').offsetHeight") > 0
    assert page(SHOWN) == ["lists"]
    for value, shown in (("all-items", ["all-items"]), ("", ["lists", "all-items"])):
        page(f"document.querySelector('#views input[value=\"{value}\"]').click()")
        assert page(SHOWN) == shown
    count = "Number(document.getElementById('shown').value.split(' ')[0])"
    page("filter.value = 'gensar'; filter.dispatchEvent(new Event('input'))")
    both = page(count)
    page("document.querySelector('#views input[value=lists]').click()")
    assert 0 < page(count) < both


def test_a_runs_configuration_opens(make_run, runs_root, tmp_path, browser: Page) -> None:
    make_run("alpha", search=drawn_ranks(0.2), configuration={"dimension": 64})
    browser.open(write_page(runs_root, tmp_path))
    is_seen = "document.querySelector('pre.configuration').checkVisibility()"
    assert not browser(is_seen)
    browser("document.querySelector('details.run summary').click()")
    assert browser(is_seen)
    assert '"dimension": 64' in browser("document.querySelector('pre.configuration').textContent")


def test_a_mark_tells_its_figures(page: Page) -> None:
    said = page("[...document.querySelectorAll('svg .hover > title')].map((t) => t.textContent)")
    assert any(text.startswith("GenSAR: recommendation 0.") for text in said)
    page("document.querySelector('svg .hover').dispatchEvent(new MouseEvent('click', "
         "{bubbles: true, clientX: 50, clientY: 50}))")  # fmt: skip
    assert page("!document.getElementById('tip').hidden")
    page.press("Escape")
    assert page("document.getElementById('tip').hidden")


def test_hostile_text_runs_nothing(make_run, runs_root, tmp_path, browser: Page) -> None:
    write_hostile_runs(make_run)
    browser.complaints.clear()
    browser.open(write_page(runs_root, tmp_path))
    browser("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert browser("typeof window.hacked") == "undefined"
    assert browser("document.images.length") == 0 and browser.complaints == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_never_wider_than_its_window(browser: Page, page_file, width: int) -> None:
    browser.open(page_file, width=width)
    assert browser("document.documentElement.scrollWidth") <= width


def test_contrast_of_text_is_7_to_1(page: Page) -> None:
    """By the formula of WCAG 2: (L1 + 0.05) / (L2 + 0.05), for every colour of the style."""

    def luminance(color: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for selector in ("body", ".caption", ".family th", "a", "small", "pre", "figcaption", "dt"):
        color = page(f"getComputedStyle(document.querySelector('{selector}')).color")
        assert 1.05 / (luminance(color) + 0.05) >= 7.0, selector
