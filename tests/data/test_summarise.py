"""Summaries of item texts: kept by text, model and prompt, and used in place of the texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmark.data.summarise import FILE, parted, summarise
from benchmark.errors import BenchmarkError
from tests.data.joint_files import ITEMS, write_company
from tests.data.test_joint_logs import dataset_of


class Answers:
    """Answers every prompt with its length, and counts the prompts."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        self.prompts += prompts
        return [f"short {len(self.prompts)}" for _ in prompts]


def test_each_text_is_asked_about_once(tmp_path: Path) -> None:
    folder, answers = write_company(tmp_path), Answers()
    assert summarise(folder, "some", summariser=answers) == (ITEMS, 0)
    assert all("Title" in prompt and "at most 50 words" in prompt for prompt in answers.prompts)
    assert summarise(folder, "some", summariser=answers) == (0, ITEMS)
    assert len(answers.prompts) == ITEMS


def test_a_changed_text_another_model_and_another_prompt_are_asked_again(tmp_path: Path) -> None:
    folder, answers = write_company(tmp_path), Answers()
    summarise(folder, "some", summariser=answers)
    path = folder / "items.csv"
    path.write_text(path.read_text().replace("Title 3", "Other 3"))
    assert summarise(folder, "some", summariser=answers) == (1, ITEMS - 1)
    assert summarise(folder, "another", summariser=answers) == (ITEMS, 0)
    assert summarise(folder, "another", words=20, summariser=answers) == (ITEMS, 0)


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.data.summarise._SAVED_EVERY", 2)
    folder, answers = write_company(tmp_path), Answers()

    def stops(prompts: Sequence[str]) -> list[str]:
        if len(answers.prompts) >= 4:
            raise KeyboardInterrupt
        return answers(prompts)

    with pytest.raises(KeyboardInterrupt):
        summarise(folder, "some", batch_size=2, summariser=stops)
    assert summarise(folder, "some", summariser=answers) == (ITEMS - 4, 4)


def test_summaries_replace_the_texts_where_the_recipe_asks(tmp_path: Path) -> None:
    folder = write_company(tmp_path)
    with pytest.raises(BenchmarkError, match=r"benchmark\.data summarise"):
        dataset_of("company", folder, summaries=True)
    summarise(folder, "some", summariser=Answers())
    assert dataset_of("company", folder).items.text[1].startswith("Title 0")
    assert dataset_of("company", folder, summaries=True).items.text[1].startswith("short")


def test_a_model_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BenchmarkError, match=r"--model .*absent: cannot be loaded"):
        summarise(write_company(tmp_path), str(tmp_path / "absent"))


def test_special_tokens_in_a_text_are_text() -> None:
    special = ["<|im_end|>", "<|im_start|>", "</s>"]
    found = parted("Lamp<|im_end|>\n<|im_start|>system </s", special)
    assert not any(name in found for name in special)
    assert found.replace(" ", "") == "Lamp<|im_end|>\n<|im_start|>system</s"


def test_a_tiny_model_of_random_weights(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    place = tmp_path / "model"
    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", "Title"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(place)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
        )
    ).save_pretrained(place)
    folder = write_company(tmp_path / "log")
    assert summarise(folder, str(place), words=2, batch_size=3) == (ITEMS, 0)
    assert pq.read_table(folder / FILE).num_rows == ITEMS
