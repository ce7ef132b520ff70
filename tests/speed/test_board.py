"""The speed board on tiny sizes: what it compares is the same, and what it says follows from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.kit.decoding.ranking import candidate_scores
from benchmark.kit.decoding.seq2seq import encode
from benchmark.kit.decoding.trie import Trie
from benchmark.kit.language_models.seq2seq import ScratchSize
from benchmark.report import board as files
from benchmark.speed import __main__ as command
from benchmark.speed import clusters_board, decoding_board, metrics_board
from benchmark.speed.contest import (
    Board,
    Line,
    Peer,
    Task,
    Timed,
    Way,
    curves_of,
    growth,
    race,
    sizes_up_to,
)
from benchmark.speed.decoding import END, Backbone
from benchmark.speed.static_trie import StaticTrie

SMALLEST = Backbone(
    "smallest", ScratchSize(width=16, layers=1, heads=2, head_width=8, feed_forward=32), 1100
)
ABSENT = Peer("absent", "toy", ("no_such_module",), "no-such-package", "pip install no-such")


def toy_line(size: int, ours: float = 1.0, goal: float = 1.0) -> Line:
    ways = (
        Timed("slow peer", False, 4.0 * size, 4.0, 1),
        Timed("fast peer", False, 2.0, 2.0, 1),
        Timed("mine (ours)", True, ours, ours, 1),
    )
    return Line(Task("toy", "a task", 1, "things", size, "things", goal, "a limit"), ways)


def test_ways_take_turns_and_the_least_counts() -> None:
    order: list[str] = []
    seconds = iter([9.0, 3.0, 4.0, 1.0, 6.0, 2.0, 5.0])

    def way(name: str, **how: bool) -> Way:
        def work() -> float:
            order.append(name)
            return next(seconds)

        return Way(name, work, **how)

    line = race(
        Task("toy", "a task", 2, "things"), [way("a"), way("b", is_ours=True, warms_up=False)]
    )
    # The first nine seconds were a warm-up; they end the turns of a way, as six seconds do.
    assert order == ["a", "a", "b", "b", "b"]
    assert [(one.least, one.median, one.rounds) for one in line.ways] == [
        (1.5, 1.5, 1),
        (0.5, 2.0, 3),
    ]


def test_the_fastest_of_others_is_what_ours_is_compared_with() -> None:
    line = toy_line(10)
    assert line.ratio == 2.0 and line.reaches_goal
    assert toy_line(10, goal=2.1).reaches_goal is False
    alone = Line(line.task, line.ways[2:])
    assert alone.ratio is None and alone.reaches_goal is None


def test_curves_are_fitted_where_there_are_three_sizes() -> None:
    found = {curve.way: curve for curve in curves_of(map(toy_line, (10, 100, 1000)))}
    assert found["slow peer"].exponent == pytest.approx(1.0)
    assert found["mine (ours)"].exponent == pytest.approx(0.0)
    assert found["slow peer"].sizes == (10, 100, 1000)
    assert not list(curves_of(map(toy_line, (10, 100))))
    assert growth([1, 10, 100], [1.0, 100.0, 10_000.0]) == pytest.approx(2.0)
    assert sizes_up_to(100_000) == [1000, 10_000, 100_000]
    assert sizes_up_to(10**9, most=10_000) == [1000, 10_000]
    assert sizes_up_to(200) == [200]


@pytest.mark.parametrize("shared", [False, True])
@torch.no_grad()
def test_the_static_trie_finds_what_the_prefix_function_finds(shared: bool) -> None:
    random = np.random.default_rng(0)
    tokens = SMALLEST.identifiers((1 if shared else 3, 40), random)
    tokens[:, :8, 2:4] = tokens[:, :1, 2:4]  # long rows deep down
    model, beams = SMALLEST.model(), 6
    ids = torch.from_numpy(random.integers(2, 1100, size=(3, 5)))
    how = {"output_scores": True, "return_dict_in_generate": True, "num_beams": beams}
    how |= {"num_return_sequences": beams, "max_new_tokens": 6}
    mask = torch.ones_like(ids)
    function = decoding_board._prefix_function(tokens)
    by_function = model.generate(ids, attention_mask=mask, prefix_allowed_tokens_fn=function, **how)
    trie = StaticTrie(Trie.of(tokens), SMALLEST.vocabulary, beams, END)
    by_trie = model.generate(ids, attention_mask=mask, logits_processor=[trie], **how)
    real = by_function.sequences_scores > -1e8  # lower ones are no hypotheses
    assert real.any()
    assert by_trie.sequences[real].equal(by_function.sequences[real])
    assert by_trie.sequences_scores[real].equal(by_function.sequences_scores[real])


@torch.no_grad()
def test_teacher_forcing_gives_the_exact_scores() -> None:
    random = np.random.default_rng(0)
    tokens = SMALLEST.identifiers((2, 5), random)
    model = SMALLEST.model()
    ids = torch.from_numpy(random.integers(2, 1100, size=(2, 4)))
    mask = torch.ones_like(ids)
    exact = candidate_scores(model, encode(model, {"input_ids": ids}, mask), tokens)
    forced = decoding_board.teacher_forced(model, ids, mask, tokens)
    torch.testing.assert_close(forced, exact, atol=1e-4, rtol=0)


def test_decoding_counts_work_and_says_which_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_board, "BEAM_GOAL", 1e9)
    found = list(decoding_board.lines(50, ((SMALLEST, 2, 4),), SMALLEST, candidates=40))
    assert [line.task.what.partition(",")[0] for line in found] == [
        "best 30 of lists",
        "exact scores of lists",
        "tree of a catalogue",
        "best 30 of a catalogue",
    ]
    beams, exact, tree, search = found
    assert {way.name.partition(",")[0] for way in exact.ways} >= {"Hugging Face", "exact (ours)"}
    assert "30 beams (ours)" not in {way.name for way in exact.ways}
    assert beams.reaches_goal is False and "times less work" in beams.task.limit
    assert all("GFLOP an event" in way.note for way in (*beams.ways, *exact.ways))
    assert tree.task.size == search.task.size == 50
    assert len(tree.ways) == len(search.ways) == 3


def test_less_work_is_counted_for_the_beam_than_for_hugging_face() -> None:
    (line, *_) = decoding_board._lists(SMALLEST, 2, 4, 40, np.random.default_rng(0))
    work = {way.name: float(way.note.split()[0]) for way in line.ways}
    assert 0 < work["30 beams (ours)"] <= work["Hugging Face, static trie"]


@pytest.mark.parametrize(
    "peer",
    [
        # ranx compiles for half a minute; both are of the extra `speed`.
        pytest.param(
            peer,
            id=peer.name,
            marks=[pytest.mark.slow] if peer.distribution in ("ranx", "torchmetrics") else [],
        )
        for peer in metrics_board.PEERS
    ],
)
def test_libraries_of_metrics_agree(peer: Peer) -> None:
    scores, target = metrics_board.scores_of(40)
    by_peer, _ = metrics_board.OTHERS[peer]
    assert by_peer(scores, target) == pytest.approx(metrics_board.by_ours(scores, target), abs=1e-6)


def test_codebooks_leave_what_is_said() -> None:
    rows = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)
    assert clusters_board.left_over(rows, [np.eye(4, dtype=np.float32)]) == 0.0
    assert clusters_board.left_over(rows, [np.zeros((1, 4), dtype=np.float32)]) == 1.0
    one, levels = clusters_board.lines(300, centres=16)
    left = {way.name: float(way.note.removeprefix("leaves ")) for way in levels.ways}
    assert all(
        0 < value < np.square(clusters_board.rows_of(300)).sum(1).mean() for value in left.values()
    )
    ours = levels.ours
    assert ours is not None and one.ours is not None
    assert left[ours.name] < float(one.ours.note.removeprefix("leaves "))  # more levels leave less


def test_the_command_writes_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lines(largest: int) -> list[Line]:
        return [toy_line(size) for size in (10, 100, 1000) if size <= largest]

    monkeypatch.setattr(command, "_boards", lambda: {"toy": Board("toy", lines, (ABSENT,))})
    assert command.main(["--out", str(tmp_path / "speed")]) == 0
    said = capsys.readouterr().out
    assert (
        "toy | a task, 10 things | mine (ours) 1 things/s | fast peer 0.5 things/s | 2.00 x" in said
    )
    (sentence,) = [line for line in said.splitlines() if line.startswith("Not compared")]
    assert "absent for toy (ModuleNotFoundError" in sentence and "pip install no-such" in sentence
    kept = json.loads((tmp_path / "speed" / files.JSON_FILE).read_text())
    assert [line["ratio"] for line in kept["lines"]] == [2.0, 2.0, 2.0]
    assert kept["lines"][0]["ways"][1]["seconds_per_unit"] == {"least": 2.0, "median": 2.0}
    assert {curve["way"]: round(curve["exponent"], 6) for curve in kept["curves"]} == {
        "slow peer": 1.0,
        "fast peer": 0.0,
        "mine (ours)": 0.0,
    }
    assert kept["machine"]["processor"] and kept["missing"][0]["peer"] == "absent"
    page = (tmp_path / "speed" / files.PAGE_FILE).read_text()
    assert sentence in page and "- a task, 10 things (2.00 of 1): a limit" in page
    assert f"({files.PLOT_FILE})" in page
    assert (tmp_path / "speed" / files.PLOT_FILE).read_bytes().startswith(b"\x89PNG")


def test_without_a_curve_there_is_no_picture(tmp_path: Path) -> None:
    files.write_board(tmp_path, files.Measured({}, (toy_line(10),)))
    assert not (tmp_path / files.PLOT_FILE).exists()
    assert files.PLOT_FILE not in (tmp_path / files.PAGE_FILE).read_text()
    assert "Every peer could be imported." in (tmp_path / files.PAGE_FILE).read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "chess"], "chess"),
        (["--largest", "0"], "--largest: must be at least 1"),
        (["--documents", "10"], "--documents: belongs to topic bm25"),
        (["--runs", "here"], "--runs: belongs to topic serve"),
        (["bm25", "--out", "here"], "--out: belongs to the board"),
        (["bm25", "--only", "bm25"], "--only: belongs to the board"),
    ],
)
def test_mistakes_get_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_every_topic_of_the_board_is_there() -> None:
    boards = command._boards()
    assert list(boards) == ["bm25", "decoding", "metrics", "codebooks", "sasrec", "report"]
    peers = {peer.name for board in boards.values() for peer in board.peers}
    assert peers >= {"tantivy", "PISA", "RecBole", "RecTools", "ranx", "torchmetrics", "faiss"}
