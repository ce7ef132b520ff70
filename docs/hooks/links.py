"""Links of the repository's Markdown, as they are right in the site.

A file of the repository is a page of the site, or a picture that the site takes along, or neither:
then its path stands where the link was, since whoever has a clone finds it there.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

PAGES: Mapping[str, str] = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "datasets/README.md": "data-sets.md",
    "results/reproduction/README.md": "published.md",
    "results/reproduction": "published.md",
    "results/submissions/README.md": "submissions.md",
    "results/submissions": "submissions.md",
    "results/ablations": "ablations.md",
    "results/extended": "extended.md",
    "results/planted": "planted.md",
    "results/reference": "results.md",
    "results/speed": "speed.md",
}
"""Path in the repository → page; what lies in ``docs`` is a page by its own name."""

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", flags=re.DOTALL | re.MULTILINE)


def page_of(path: str) -> str | None:
    """The page that shows a file or folder of the repository; None where none does.

    >>> page_of("docs/hours.md"), page_of("results/ablations/a.md"), page_of("Makefile")
    ('hours.md', 'ablations.md', None)
    """
    if path.startswith("docs/") and path.endswith(".md"):
        return path.removeprefix("docs/")
    folder = path
    while folder:
        if folder in PAGES and (folder == path or not folder.endswith(".md")):
            return PAGES[folder]
        folder = posixpath.dirname(folder)
    return None


def pictures_of(text: str, source: str) -> set[str]:
    """The pictures of the repository that a Markdown file ``source`` shows, by their paths."""
    return {
        posixpath.normpath(posixpath.join(posixpath.dirname(source), match["target"]))
        for match in _LINK.finditer(text)
        if match["image"] and not _is_outside(match["target"])
    }


def in_the_site(text: str, source: str, page: str) -> str:
    """Markdown of the file ``source`` of the repository with links that are right on ``page``.

    >>> in_the_site("[a](docs/hours.md#x), [b](Makefile)", "README.md", "systems/x.md")
    '[a](../hours.md#x), b (`Makefile`)'
    """

    def replaced(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if _is_outside(match["target"]) or not target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        found = path if match["image"] else page_of(path)
        if found is None:
            is_path = path.rpartition("/")[2] in match["text"] or match["text"] == path
            return f"`{path}`" if is_path else f"{match['text']} (`{path}`)"
        address = posixpath.relpath(found, posixpath.dirname(page) or ".")
        # A page made of a folder has other headings than the file that was linked to.
        kept = f"#{anchor}" if anchor and path in (f"docs/{found}", *PAGES) else ""
        return f"{match['image']}[{match['text']}]({address}{kept})"

    parts = _FENCE.split(text)
    return "".join(
        part if number % 2 else _LINK.sub(replaced, part) for number, part in enumerate(parts)
    )


def _is_outside(target: str) -> bool:
    return "://" in target or target.startswith("mailto:")
