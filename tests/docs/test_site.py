"""The site builds without a warning, its links hold, and nothing in it comes from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from baselines.catalog import ENTRIES

ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """The anchors of a page, where its links lead, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif found.get("src"):
            self.loaded.append(found["src"])
        elif tag == "link" and found.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(built)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return built


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {
        path.resolve(): Page(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
        if path.name != "404.html"  # which a server shows at any address, so its links begin there
    }


def test_every_system_has_a_page_that_is_linked(site: Path) -> None:
    listed = (site / "systems" / "index.html").read_text(encoding="utf-8")
    for entry in ENTRIES:
        assert (site / "systems" / f"{entry.name}.html").is_file(), entry.name
        assert f'href="{entry.name}.html"' in listed, entry.name


def test_links_lead_somewhere(pages: dict[Path, Page]) -> None:
    wrong = []
    for path, page in pages.items():
        for link in page.links:
            split = urlsplit(link)
            if split.scheme:
                continue
            target = (path.parent / unquote(split.path)).resolve() if split.path else path
            anchor = unquote(split.fragment)
            known = pages[target].anchors if target in pages else None
            if not target.is_file() or (anchor and known is not None and anchor not in known):
                wrong.append(f"{path.name}: {link}")
    assert not wrong, "\n".join(wrong)


def test_what_pages_load_lies_in_the_site(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for loaded in page.loaded:
            split = urlsplit(loaded)
            if split.scheme == "data":
                continue
            assert not split.netloc, f"{path.name}: {loaded}"
            assert (path.parent / unquote(split.path)).is_file(), f"{path.name}: {loaded}"


def test_no_page_names_this_machine(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert str(ROOT) not in path.read_text(encoding="utf-8"), path


def test_tables_that_are_made_stand_in_their_places(site: Path) -> None:
    protocol = (site / "protocol.html").read_text(encoding="utf-8")
    assert "<!-- made:" not in protocol
    for number in range(1, 21):
        assert re.search(rf"<td>D{number}</td>\s*<td>[^<]", protocol)
    assert "<code>search_negatives</code>" in protocol
