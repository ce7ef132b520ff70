"""The file of lines: what it may hold, and that of this repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.data.recipe import load_recipe
from benchmark.errors import BenchmarkError
from benchmark.protocol.metrics import every_metric
from benchmark.protocol.settings import configure_protocol
from benchmark.report.tables.published import contradictions
from benchmark.reproduce.lines import SAME_ORDER, Lines, chosen_lines, read_lines
from benchmark.reproduce.measured import PRESET, PROTOCOL, choice_of, wanted_metrics
from benchmark.systems.configuration import configure, load_preset

FOLDER = Path(__file__).resolve().parents[2] / "results" / "reproduction"
ROW = {"source": "a paper", "view": "lists", "figures": {"HR@10": "0.5"}}
LINE = {
    "title": "A system",
    "dataset": "tiny",
    "counts": {"users": 3, "items": 4, "events": 5},
    "published": [ROW],
    "run": {"system": "popularity"},
}


def _read(folder: Path, **lines: object) -> Lines:
    path = folder / "lines.yaml"
    path.write_text(json.dumps({"lines": lines}), encoding="utf-8")  # JSON is YAML
    return read_lines(path)


def test_a_line_that_is_like_another_takes_over_what_it_does_not_say(tmp_path: Path) -> None:
    first = {**LINE, "run": {"system": "random", "seeds": [1], "passes": 4}}
    second = {"like": "first", "title": "Another", "run": {"seeds": [3]}}
    lines = _read(tmp_path, first=first, second=second).lines
    assert lines["second"].published == lines["first"].published
    assert lines["second"].title == "Another"
    part = lines["second"].run
    assert part is not None
    assert (part.system, part.seeds, part.passes) == ("random", (3,), 4)
    assert lines["first"].seeds == (1,)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"published": [{**LINE["published"][0], "figures": {"HR@10": "46.5"}}]},
            "of HR@10, '46.5'",
        ),
        ({"published": [{**LINE["published"][0], "figures": {"HR@10": "1"}}]}, "of HR@10, '1'"),
        ({"published": [{**LINE["published"][0], "figures": {"HR@10": 0.5}}]}, "string"),
        ({"published": [{**LINE["published"][0], "figures": {"Recall": "0.5"}}]}, "NDCG@k"),
        ({"published": [{**LINE["published"][0], "view": "some"}]}, "'lists' or 'all-items'"),
        ({"published": []}, "must name a figure"),
        ({"compare": {"engines": ["sparse", "pyserini"], "hits": 9}}, "exactly one of run and"),
        ({"run": None}, "exactly one of run and compare"),
        ({"run": {"system": "popularity", "seeds": []}}, "run.seeds"),
        ({"runs": {}}, "runs"),
        ({"like": "absent"}, "absent"),
    ],
)
def test_what_is_refused_is_named(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(BenchmarkError, match=r"lines\.yaml") as caught:
        _read(tmp_path, first=LINE, second={**LINE, **changes})
    assert "second" in str(caught.value)
    assert complaint in str(caught.value)


def test_lines_are_chosen_by_name(tmp_path: Path) -> None:
    lines = _read(tmp_path, first=LINE, second=LINE, third=LINE).lines
    assert list(chosen_lines(lines, ("second", "first"))) == ["first", "second"]
    assert list(chosen_lines(lines, ("all",))) == ["first", "second", "third"]
    assert list(chosen_lines(lines, ())) == []
    with pytest.raises(BenchmarkError, match="allowed are all, first, second, third"):
        chosen_lines(lines, ("frst",))


REPOSITORY = read_lines(FOLDER / "lines.yaml").lines


@pytest.mark.parametrize("name", REPOSITORY)
def test_every_line_can_be_configured_and_asked_for_its_figures(name: str) -> None:
    line = REPOSITORY[name]
    load_recipe(line.dataset, FOLDER.parents[1] / "datasets")
    wanted = wanted_metrics(line)
    if line.run is None:
        assert wanted == {"all-items": (SAME_ORDER,)}
        return
    choice = choice_of(name, line.run)
    preset = load_preset(PRESET).overrides_for(choice.base_name)
    configure(choice, preset, choice.settings)
    _, settings = configure_protocol(PROTOCOL, line.run.protocol)
    for view, metrics in wanted.items():
        assert set(metrics) <= set(every_metric(settings.cutoffs_of(view)))


@pytest.mark.parametrize("name", REPOSITORY)
def test_published_figures_can_be_true_together(name: str) -> None:
    for row in REPOSITORY[name].published:
        values = {metric: float(text) for metric, text in row.figures.items()}
        digits = min(len(text.partition(".")[2]) for text in row.figures.values())
        assert contradictions(values, rounding=0.5 * 10.0**-digits) == ()
