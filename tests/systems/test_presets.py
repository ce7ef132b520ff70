"""The presets: what they say of themselves, the appendix's values, and parts that are shared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.errors import BenchmarkError
from benchmark.run.__main__ import main
from benchmark.systems.catalogue import choose, entries, named_files
from benchmark.systems.configuration import configure, load_preset
from benchmark.systems.contract import SystemConfig

PRESETS = sorted(named_files("presets"))
PAGE = Path(__file__).parents[2] / "docs" / "presets.md"
GENERATIVE = (
    "gensar",
    "gensar-exact",
    "tiger",
    "p5-cid",
    "lc-rec",
    "dsi-qg",
    "webultron",
    "genret",
)
STAND_INS = {"scratch", "packaged"}


def configured(preset: str, system: str) -> SystemConfig:
    """A system's settings under a preset, by its first variant if it has several."""
    variants = entries()[system].variants
    name = f"{system}:{variants[0]}" if variants else system
    return configure(choose(name), load_preset(preset).overrides_for(name))


def value_at(config: SystemConfig, key: str) -> Any:
    """The JSON value at a dotted key; ``KeyError`` if there is none."""
    value: Any = config.model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return value


def test_the_presets_that_are_promised_are_there() -> None:
    promised = ["chinese", "gpu-hour", "laptop", "laptop-long", "original", "paper", "planted"]
    assert [name for name in PRESETS if "/" not in name] == [*promised, "smoke"]
    for name in (*promised, "smoke"):
        assert load_preset(name).description
        assert f"| `{name}`" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("system", sorted(entries()))
def test_every_preset_configures_every_system(preset: str, system: str) -> None:
    configured(preset, system)


def extended(preset: str) -> str | None:
    """The preset that one extends by its file, if any."""
    name: str | None = yaml.safe_load(named_files("presets")[preset].read_text()).get("extends")
    return name


@pytest.mark.parametrize("preset", PRESETS)
def test_stand_ins_are_taken_only_by_presets_for_small_machines(preset: str) -> None:
    asked = {
        part.name for system in entries() for part in configured(preset, system).pretrained_parts()
    }
    small = ("laptop", "laptop-long", "planted", "smoke")
    if preset in small or extended(preset) in small:
        assert asked == STAND_INS
    else:
        assert asked and not asked & (STAND_INS | {"auto"})


def longest_texts(value: Any, key: str = "") -> dict[str, int]:
    """How many tokens of an item text a configuration reads, by dotted key."""
    if isinstance(value, dict):
        inner = (longest_texts(part, f"{key}.{name}") for name, part in value.items())
        return {name: most for found in inner for name, most in found.items()}
    names = ("most_item_tokens", "most_text_tokens", "item_tokens")
    return {key: value} if key.endswith(names) else {}


@pytest.mark.parametrize("system", ["e5", "bge", *GENERATIVE])
def test_budgets_of_small_machines_do_not_grow_with_the_length_of_item_texts(system: str) -> None:
    for preset in ("laptop", "laptop-long"):
        found = longest_texts(configured(preset, system).model_dump(mode="json"))
        assert all(most <= 48 for most in found.values()), found
    if system in ("e5", "bge", "lc-rec", "gensar", "dsi-qg"):
        assert found


# The appendix


def section_on_the_appendix() -> str:
    """What the page says of it, up to its next heading."""
    text = PAGE.read_text(encoding="utf-8").partition("## What `paper` takes")[2]
    return text.partition("\n## ")[0]


def rows_of_the_appendix() -> list[tuple[tuple[str, ...], str, Any]]:
    """Systems, key and value of each row of the page's table."""
    text = section_on_the_appendix()
    found = re.findall(r"^\| ([\w, -]*) ?\| `([\w.]+)` \| (.+?) \| (.+) \|$", text, re.M)
    return [
        (tuple(name.strip() for name in systems.split(",") if name.strip()), key, yaml.safe_load(v))
        for systems, key, v, _ in found
    ]


ROWS = rows_of_the_appendix()


def test_the_table_of_the_appendix_is_read_whole() -> None:
    table = section_on_the_appendix()
    assert len(ROWS) == len(re.findall(r"^\|", table, re.M)) - 2 == 30


@pytest.mark.parametrize(("systems", "key", "value"), ROWS)
def test_the_paper_preset_has_the_appendix_value(
    systems: tuple[str, ...], key: str, value: Any
) -> None:
    if not systems:
        learned = [name for name, row in entries().items() if row.family != "references"]
        systems = tuple(
            name for name in learned if key in configured("paper", name).model_dump(mode="json")
        )
        assert systems
    for system in systems:
        assert value_at(configured("paper", system), key) == value, system


def test_what_is_not_as_the_authors_have_it_is_said() -> None:
    """The last table of the page, by the presets."""
    table = PAGE.read_text(encoding="utf-8").partition("not as the authors have it\n")[2]
    told = dict(re.findall(r"^\| ([\w-]+) \| (.+) \|$", table, re.M))
    assert set(told) == {"system", "GenRet", "DSI-QG", "P5-CID", "LC-Rec"}
    paper, original = (
        {name: configured(preset, name).model_dump(mode="json") for name in entries()}
        for preset in ("paper", "original")
    )
    genret = paper["genret"]
    assert (genret["codes"], genret["cluster_starts"]) == (256, 1)
    assert [genret[stage]["epochs"] for stage in ("warm_up", "main", "final")] == [4, 30, 30]
    assert original["genret"]["codes"] == 512 and original["genret"]["cluster_starts"] == 10
    assert [original["genret"][s]["epochs"] for s in ("main", "final")] == [200, 1000]
    assert (
        paper["dsi-qg"]["real_pairs"] == "distinct" and original["dsi-qg"]["real_pairs"] == "none"
    )
    training = original["dsi-qg"]["training"]
    assert (training["epochs"], training["patience"]) == (30, 5)
    one, three = paper["p5-cid"], original["p5-cid"]
    assert (one["wordings_per_prefix"], one["beam_size"]) == (1, 30)
    assert (three["wordings_per_prefix"], three["straightforward_prompts"]) == (3, 3)
    assert three["beam_size"] == 10
    assert paper["lc-rec"]["identifiers"]["collisions"] == "assignment"
    training = original["lc-rec"]["training"]
    assert (training["epochs"], training["batch_size"], training["weight_decay"]) == (
        200,
        8192,
        1e-7,
    )
    assert paper["sasrec-bce"]["dropout_rate"] == 0.5 and paper["lrurec"]["dropout"] == 0.6


def test_every_generative_model_starts_from_t5_small_with_30_beams() -> None:
    families = {entries()[name].family for name in GENERATIVE}
    of_suite = {name: row for name, row in entries().items() if row.in_suite}
    all_of_them = {name for name, row in of_suite.items() if row.family in families}
    assert all_of_them == set(GENERATIVE)
    for system in GENERATIVE:
        names = [part.name for part in configured("paper", system).pretrained_parts()]
        assert "google-t5/t5-small" in names
        assert value_at(configured("paper", system), "beam_size") == 30


@pytest.mark.parametrize("system", GENERATIVE)
def test_chinese_is_the_paper_with_chinese_models(system: str) -> None:
    english, chinese = configured("paper", system), configured("chinese", system)
    names = [part.name for part in chinese.pretrained_parts()]
    assert "IDEA-CCNL/Randeng-T5-77M-MultiTask-Chinese" in names
    assert not {part.name for part in english.pretrained_parts()} & set(names)
    if system.startswith("gensar"):
        assert value_at(chinese, "pseudo_queries.queries_per_item") == 10
        assert "doc2query/msmarco-chinese-mt5-base-v1" in names and "BAAI/bge-base-zh-v1.5" in names


def test_original_is_the_released_code_and_each_systems_own_recipe() -> None:
    gensar = configured("original", "gensar")
    assert value_at(gensar, "training.optimizer") == "adamw"
    assert value_at(gensar, "training.weight_decay") == 1e-7
    assert value_at(gensar, "warmup_share") == 0.01
    assert value_at(gensar, "identifiers.training.optimizer") == "adamw"
    assert value_at(gensar, "identifiers.warmup_epochs") == 50
    assert value_at(gensar, "pseudo_queries.queries_per_item") == 20
    assert value_at(gensar, "pseudo_queries.fine_tuned") is False
    assert value_at(configured("original", "tiger"), "backbone") is None
    assert value_at(configured("original", "tiger"), "history_length") == 20
    sasrec = configured("original", "sasrec-bce")
    assert (value_at(sasrec, "history_length"), value_at(sasrec, "dropout_rate")) == (50, 0.5)
    genret = configured("original", "genret")
    assert (value_at(genret, "codes"), value_at(genret, "final.epochs")) == (512, 1000)


# Parts


def preset_file(folder: Path, text: str, name: str = "mine") -> str:
    """A preset as a file."""
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_part_is_put_in_place_and_keys_beside_it_win(tmp_path: Path) -> None:
    preset = load_preset(
        preset_file(
            tmp_path,
            "parts:\n"
            "  short: {epochs: 3, batch_size: 8}\n"
            "  fast: {learning_rate: 0.5, epochs: 4}\n"
            "  training: {use: [short, fast], batch_size: 16}\n"
            "  length: 7\n"
            "systems:\n"
            "  sasrec: {training: {use: training, epochs: 5}, history_length: {use: length}}\n",
        )
    )
    training = {"epochs": 5, "batch_size": 16, "learning_rate": 0.5}
    assert preset.systems == {"sasrec": {"training": training, "history_length": 7}}


def test_another_value_of_a_part_changes_all_that_use_it(tmp_path: Path) -> None:
    preset_file(
        tmp_path,
        "parts: {run: {epochs: 3, batch_size: 8}}\n"
        "systems: {sasrec: {training: {use: run}}, gru4rec: {training: {use: run, epochs: 1}}}\n",
        "base",
    )
    child = "extends: base.yaml\nparts: {run: {batch_size: 9}}\nsystems: {bm25: {k1: 1.0}}\n"
    preset = load_preset(preset_file(tmp_path, child))
    assert preset.systems == {
        "sasrec": {"training": {"epochs": 3, "batch_size": 9}},
        "gru4rec": {"training": {"epochs": 1, "batch_size": 9}},
        "bm25": {"k1": 1.0},
    }


def test_parts_are_laid_over_those_of_the_preset_that_is_extended(tmp_path: Path) -> None:
    """Nothing of the other preset is lost where both use parts in one place."""
    child = "extends: paper\nparts: {mine: {beam_size: 7}}\nsystems: {gensar: {use: mine}}\n"
    mine = load_preset(preset_file(tmp_path, child)).systems["gensar"]
    paper = load_preset("paper").systems["gensar"]
    assert paper["beam_size"] == 30 and mine == {**paper, "beam_size": 7}
    of_value = "extends: paper\nparts: {other: a/b}\nsystems: {bge: {encoder: {use: other}}}\n"
    replaced = load_preset(preset_file(tmp_path, of_value, "value")).systems["bge"]
    assert replaced == {"encoder": "a/b"}
    again = f"extends: mine.yaml\nparts: {{more: {{search_history: 9}}}}\n{'systems: '}"
    last = load_preset(preset_file(tmp_path, f"{again}{{gensar: {{use: more}}}}\n", "again"))
    assert last.systems["gensar"] == {**mine, "search_history": 9}


def test_a_variant_lies_over_what_its_group_has(tmp_path: Path) -> None:
    text = "extends: paper\nsystems: {'recbole:GRU4Rec': {training: {epochs: 2}}}\n"
    preset = load_preset(preset_file(tmp_path, text))
    assert preset.overrides_for("recbole:GRU4Rec") == {
        "history_length": 5,
        "training": {"epochs": 2},
    }
    assert preset.overrides_for("recbole:NARM") == {"history_length": 5}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "parts: {small: {epochs: 1}}\nsystems: {sasrec: {training: {use: smal}}}",
            "systems.sasrec: unknown part 'smal' (did you mean 'small'?); allowed are small.",
        ),
        (
            "systems: {sasrec: {training: {use: small}}}",
            "systems.sasrec: unknown part 'small'; allowed are none.",
        ),
        ("systems: {sasrec: {training: {use: 3}}}", "unknown part '3'"),
        (
            "parts: {a: {use: b}, b: {use: a}}\nsystems: {sasrec: {use: a}}",
            "systems.sasrec: the part 'a' uses itself.",
        ),
        (
            "parts: {a: 5}\nsystems: {sasrec: {training: {use: a, epochs: 1}}}",
            "systems.sasrec: the part 'a' is one value, so nothing can stand beside it.",
        ),
        ("parts: {a: {epochs: 1}}\nsystems: {sasrec: {}}", "parts.a: no system uses it."),
        ("extends: mine.yaml", "extends itself by way of 'mine'."),
        ("extends: ./a/../mine.yaml", "extends itself by way of 'mine'."),
        (
            "systems: {gensar: {identifiers: {shared_sizes: [{use: wide}]}}}",
            "systems.gensar: unknown part 'wide'; allowed are none.",
        ),
        ("extends: nowhere", "unknown preset 'nowhere'"),
        ("extends: paper\nparts: {t6: {hub_name: a/b}}", "parts.t6: no system uses it."),
        ("part: {}", "part: there is no such key"),
    ],
)
def test_a_wrong_preset_is_one_sentence(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = preset_file(tmp_path, f"{text}\n")
    with pytest.raises(BenchmarkError) as caught:
        load_preset(path)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(path) or "unknown preset" in expected


# As a command


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small data set is prepared once."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def nothing_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of the hub, and nobody to ask."""
    from benchmark.kit.pretrained.finding import hub_model

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub_model.cache_clear()


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_planned_without_any_model(
    preset: str,
    prepared: Path,
    tmp_path: Path,
    nothing_published: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--dataset", "generated", "--prepared", str(prepared), "--dry-run"]
    assert main([*arguments, "--preset", preset, "--results", str(tmp_path / "results")]) == 0
    planned = capsys.readouterr().out.count("will run")
    assert planned == sum(row.in_suite for row in entries().values())
    assert not (tmp_path / "results").exists()


def test_a_missing_model_stops_the_run_before_the_first_job(
    prepared: Path,
    tmp_path: Path,
    nothing_published: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--dataset", "generated", "--prepared", str(prepared), "--preset", "paper"]
    results = tmp_path / "results"
    systems = "popularity,gensar,tiger"
    assert main([*arguments, "--systems", systems, "--results", str(results)]) == 2
    said = capsys.readouterr().err
    for name in ("google-t5/t5-small", "BAAI/bge-base-en-v1.5", "doc2query/msmarco-t5-base-v1"):
        assert f"{name}: it is not in the hub's cache" in said
    assert said.count("google-t5/t5-small") == 1 and "Traceback" not in said
    assert not list(results.rglob("run.json"))
    small = ["--systems", "popularity", "--results", str(results)]
    assert main([*arguments, *small]) == 0, "what needs no model runs"
