"""The hook of ``mkdocs.yml``: pages that are made while the site is built.

Pages of systems come from the catalogue; CONTRIBUTING, the changelog, the page on data sets, the
reference tables, the speed board and the comparison with published figures are files of the
repository that stand elsewhere and are shown as they are. ``<!-- made: NAME -->`` in a page stands
for a table.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if str(Path(__file__).resolve().parents[2]) not in sys.path:
    # MkDocs loads hooks by path; the packages of the repository lie beside its configuration.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmark.report.tables.grid import to_markdown
from benchmark.report.tables.published import published_grids
from docs.hooks import datasets, figures, links, protocol, systems
from docs.hooks.differences import ROOT

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

MADE: Mapping[str, Callable[[], str]] = {
    "settings of the protocol": protocol.settings_table,
    "figures of the audit": protocol.audit_table,
    "verdicts of the audit": protocol.verdicts_table,
}
"""What ``<!-- made: NAME -->`` stands for."""

SHOWN = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "data-sets.md": "datasets/README.md",
    "published.md": "results/reproduction/README.md",
    "submissions.md": "results/submissions/README.md",
    "speed.md": "results/speed/speed.md",
}
"""Page → the file of the repository that it shows."""

KEPT = {"ablations": "Ablations", "extended": "Newer systems", "planted": "The planted world"}
"""Folder of ``results`` → the title of the page that shows its tables."""

_MARK = re.compile(r"<!-- made: (.+?) -->")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the systems' pages into the navigation, by family."""
    families: list[Any] = [
        {title: [{row.display_name: systems.address_of(row)} for row in rows]}
        for title, rows in systems.rows_by_family().items()
    ]
    for entry in config.nav or []:
        if "Systems" in entry:
            entry["Systems"] = [*entry["Systems"], *families]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that are made."""
    from mkdocs.structure.files import File

    for address, content in made_files():
        files.append(File.generated(config, address, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Tables in their places, and links that leave the folder of the documentation."""
    if page.file.generated_by:
        return markdown
    text = _MARK.sub(lambda match: MADE[match[1]](), markdown)
    return links.in_the_site(text, f"docs/{page.file.src_uri}", page.file.src_uri)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Docstrings without the roles of Sphinx, which mean nothing here."""
    return re.sub(r":\w+:(?=<code>)", "", html)


def made_files() -> Iterator[tuple[str, str | bytes]]:
    """Address and content of everything that does not lie in ``docs``."""
    yield "systems/index.md", systems.index_page()
    for page in systems.pages():
        yield page.address, page.text
        if page.curves is not None:
            yield page.address.replace(".md", ".svg"), page.curves
    pictures: set[str] = set()
    for address, source in SHOWN.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        pictures |= links.pictures_of(text, source)
        yield address, _with_more(address, links.in_the_site(text, source, address))
    yield "results.md", reference_page()
    for name, title in KEPT.items():
        yield f"{name}.md", kept_page(name, title)
    for path in sorted((ROOT / "results" / "reference").glob("*/*.png")):
        pictures.add(path.relative_to(ROOT).as_posix())
    for picture in sorted(pictures):
        yield picture, (ROOT / picture).read_bytes()


def _with_more(address: str, text: str) -> str:
    """What belongs on a page beside the file that it shows."""
    if address == "data-sets.md":
        head, mark, rest = text.partition("## The keys of a recipe")
        return f"{head}## Sizes\n\n{datasets.sizes_table()}\n\n{mark}{rest}"
    if address == "published.md":
        grids = published_grids(figures.published_rows())
        tables = "\n\n".join(to_markdown(grid) for grid in grids)
        return f"{text.rstrip()}\n\n## What others published, as it is printed\n\n{tables}"
    return text


def reference_page() -> str:
    """The tables of the runs that are kept in ``results/reference``."""
    parts = [
        "# Results",
        "The main tables of the runs that are kept in `results/reference`, as the report writes "
        "them. How their marks are to be read: [statistics](statistics.md). Those of GenSAR with "
        "one part changed at a time: [ablations](ablations.md).",
    ]
    for folder in sorted(
        path for path in (ROOT / "results" / "reference").iterdir() if path.is_dir()
    ):
        parts.append(f"## {folder.name}")
        parts += _tables_of(folder)
        for picture in sorted(folder.glob("*.png")):
            parts.append(
                f"![{picture.stem} of {folder.name}]({picture.relative_to(ROOT).as_posix()})"
            )
    claims = ROOT / "results" / "reference" / "claims.md"
    if claims.is_file():
        parts += ["## Claims", claims.read_text(encoding="utf-8").strip()]
    return "\n\n".join(parts) + "\n"


def kept_page(name: str, title: str) -> str:
    """The tables of a folder of ``results``."""
    parts = [f"# {title}", f"The tables of `results/{name}`, as the report writes them."]
    for folder in sorted(path for path in (ROOT / "results" / name).glob("*") if path.is_dir()):
        parts += [f"## {folder.name}", *_tables_of(folder)]
    return "\n\n".join(parts) + "\n"


def _tables_of(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.md")):
        yield f"### {path.stem.replace('-', ' ').capitalize()}"
        yield path.read_text(encoding="utf-8").strip()
