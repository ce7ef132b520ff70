"""Every mistake on the command line: one sentence on stderr, exit code 2, no traceback."""

from __future__ import annotations

import pytest

from benchmark.run.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--systems", "sassrec"], "unknown system 'sassrec' (did you mean 'sasrec'?)"),
        (["--systems", "recbole:DIN"], "it needs tables of user and item features"),
        (["--systems", "recbole:Nope"], "unknown variant 'Nope'"),
        (["--systems", "popularity:x"], "has no variants"),
        (["--dataset", "ml-1k"], "ml-1k"),
        (["--preset", "desktop"], "unknown preset 'desktop'"),
        (["--protocol", "papr"], "unknown protocol 'papr' (did you mean 'paper'?)"),
        (["--suite", "everything"], "unknown suite 'everything'"),
        (["--suite", "missing.yaml"], "missing.yaml: the file is missing"),
        (["--seeds", "one"], "--seeds one"),
        (["--seeds", "-1"], "--seeds -1"),
        (["--seeds", "9223372036854775808"], "must not be above 9223372036854775807"),
        (["--seeds", "1,1"], "--seeds: 1 stands twice."),
        (["--seeds", "1,2,01"], "--seeds: 1 stands twice."),
        (["--systems", "popularity,bm25,popularity"], "--systems: 'popularity' stands twice."),
        (["--dataset", "generated,generated"], "--dataset: 'generated' stands twice."),
        (["--protocol", "paper,clean,paper"], "--protocol: 'paper' stands twice."),
        (["--jobs", "0"], "--jobs 0"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--set", "sasrec"], "--set sasrec"),
        (["--systems", "popularity", "--set", "sasrec.loss=CE"], "unknown system of this suite"),
        (["--systems", "history-copy", "--set", "history-copy.length=3"], "length: there is no"),
        (
            ["--systems", "history-copy", "--set", "history-copy.history_length=0"],
            "history_length: input should be greater than or equal to 1, not 0",
        ),
        (["--set", "protocol.negative=5"], "negative: there is no such key"),
        (["--set", "protocol.split=random"], "'leave-one-out' or 'global-time', not 'random'"),
        (["--candidates", "/nowhere", "--systems", "popularity"], "/nowhere"),
    ],
)
def test_one_sentence_and_exit_code_2(
    arguments: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = tmp_path_factory.mktemp("results")
    code = main([*arguments, "--results", str(place / "results"), "--prepared", str(place / "p")])
    captured = capsys.readouterr()
    assert code == 2
    assert expected in captured.err
    assert captured.err.count("error:") == 1
    assert "Traceback" not in captured.err + captured.out


LONG = "x" * 5_000


@pytest.mark.parametrize(
    "arguments",
    [
        ["--systems", LONG],
        ["--systems", f"recbole:{LONG}"],
        ["--systems", f"popularity:{LONG}"],
        ["--systems", "sasrec", "--set", f"sasrec.{LONG}=1"],
        ["--systems", "sasrec", "--set", f"sasrec.training={LONG}"],
        ["--dataset", LONG],
        ["--preset", f"{LONG}.yaml"],
        ["--suite", LONG],
        ["--protocol", LONG],
        ["--seeds", LONG],
        ["--device", f"cuda:{LONG}"],
        ["--set", LONG],
        ["--set", f"{LONG}.a=1"],
        ["--set", f"protocol.{LONG}=1"],
        ["--set", f"protocol.split={LONG}"],
        ["--results", LONG],
    ],
)
def test_a_message_quotes_at_most_200_characters(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    given = arguments if "--results" in arguments else [*arguments, "--results", str(tmp_path)]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("x") < 450  # a path twice, at most
    assert max(len(word) for word in said.split()) < 300
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seeds: [-1]", "seeds.0: input should be greater than or equal to 0, not -1"),
        ("seeds: [9223372036854775807, 1.5]", "seeds.1: input should be a valid integer"),
        ("seeds: [3, 4, 3]", "seeds: 3 stands twice"),
        ("systems: [bm25, bm25]", "systems: 'bm25' stands twice"),
        ("datasets: [generated, generated]", "datasets: 'generated' stands twice"),
        (
            "systems: [{system: bm25, name: a}, {system: bm25, name: a}]",
            "systems: 'bm25@a' stands twice",
        ),
    ],
)
def test_a_suite_file_that_names_something_twice(
    text: str, expected: str, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"{text}\n", encoding="utf-8")
    assert main(["--suite", str(path)]) == 2
    assert f"{path}: {expected}" in capsys.readouterr().err


def test_a_suite_file_with_a_wrong_key_is_named(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("datasets: [ml-100k]\nsystem: all\n", encoding="utf-8")
    assert main(["--suite", str(path)]) == 2
    assert f"{path}: system: there is no such key" in capsys.readouterr().err


def test_a_preset_that_names_an_unknown_system_is_refused(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("systems: {nosuch: {epochs: 1}}\n", encoding="utf-8")
    assert main(["--preset", str(path), "--results", str(tmp_path)]) == 2  # type: ignore[arg-type]
    assert "unknown system 'nosuch'" in capsys.readouterr().err


def test_a_results_folder_that_is_a_file_is_named(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results"  # type: ignore[operator]
    path.write_text("not a folder", encoding="utf-8")
    assert main(["--systems", "popularity", "--results", str(path)]) == 2
    assert f"results folder {path}: cannot be written" in capsys.readouterr().err
