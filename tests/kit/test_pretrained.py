"""Published models: every form of weights, the hub's cache whole and in part, and what is said."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.kit.language_models.seq2seq import BackboneSettings, Seq2Seq
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.pretrained import finding as pretrained
from benchmark.kit.pretrained.finding import find_encoder, hub_model, if_available
from benchmark.kit.pretrained.model_folder import files_in, sha256_of_path
from benchmark.kit.text.encoders import SentenceEncoder, encoder_part
from benchmark.kit.text.tokens import Tokenizer
from tests.baselines.test_dense_retrieval import make_encoder
from tests.kit.test_seq2seq import UNTIED, t5_like_tokenizer

NAME = "owner/tiny-t5"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches of the hub and of copies, and no answer remembered from another test."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "copies"))
    hub_model.cache_clear()


@pytest.fixture(scope="module")
def model() -> Seq2Seq:
    """A T5 with an output layer of its own, as the published writers of queries have."""
    torch.manual_seed(1)
    return Seq2Seq.of_config(UNTIED | {"vocab_size": 64}, is_tied=False)


def cached_folder(tmp_path: Path, name: str = NAME) -> Path:
    """Where the hub's cache has the files of a model; made with its pointers to the commit."""
    root = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    folder = root / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    return folder


def write_beside_weights(folder: Path) -> None:
    """Configuration and tokenizer of the T5."""
    config = UNTIED | {"vocab_size": 64, "model_type": "t5", "tie_word_embeddings": False}
    config |= {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config))
    t5_like_tokenizer().save(folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}'
    )


def write_weights(folder: Path, state: dict[str, torch.Tensor], form: str) -> None:
    """The weights in one form; shards hold about half of the names each."""
    kind, _, sharding = form.partition(" ")
    stem, ending = {"safetensors": ("model", "safetensors"), "bin": ("pytorch_model", "bin")}[kind]
    save: Callable[..., None] = torch.save if kind == "bin" else _save_clones
    if not sharding:
        save(state, folder / f"{stem}.{ending}")
        return
    names, places = sorted(state), {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"{stem}-{number:05d}-of-00002.{ending}"
        save({name: state[name] for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": places}
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps(index))


def _save_clones(state: dict[str, torch.Tensor], path: Path) -> None:
    save_file({name: value.clone() for name, value in state.items()}, path, {"format": "pt"})


def cached_model(root: Path, model: Seq2Seq, form: str) -> Path:
    """The folder of ``model`` in the hub's cache below ``root``."""
    folder = cached_folder(root)
    write_beside_weights(folder)
    write_weights(folder, model.t5.state_dict(), form)
    return folder


FORMS = ("safetensors", "bin", "safetensors sharded", "bin sharded")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_weights_is_read_to_the_bit(
    form: str, tmp_path: Path, model: Seq2Seq
) -> None:
    cached_model(tmp_path, model, form)
    files = BackboneSettings(hub_name=NAME).find()
    assert files is not None and files.name == NAME
    read = Seq2Seq.of_files(files)
    assert not read.is_tied
    expected = model.t5.state_dict()
    for name, value in read.t5.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert len(TextTokenizer.of_files(files)(["red lamp"])) == 1
    assert BackboneSettings(hub_name=NAME).stand_in() == ""


@pytest.mark.parametrize("form", ["bin", "bin sharded"])
def test_a_copy_of_torchs_format_is_kept_and_made_once(
    form: str, tmp_path: Path, model: Seq2Seq, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cached_model(tmp_path, model, form)
    first = files_in(folder, NAME)
    assert first.folder.is_relative_to(tmp_path / "copies") and not list(first.folder.glob("*.bin"))
    monkeypatch.setattr(torch, "load", lambda *given, **named: pytest.fail("it is read again"))
    assert files_in(folder, NAME) == first
    with next(first.folder.glob("*.safetensors")).open("ab") as opened:
        opened.write(b"damage")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "copies"))
    assert files_in(folder, NAME) == first, "a damaged copy is made anew, with the same bits"


def test_tied_weights_of_torchs_format_stay_tied(tmp_path: Path) -> None:
    tied = Seq2Seq.of_config(UNTIED | {"vocab_size": 64})
    write_beside_weights(tmp_path)
    torch.save(tied.t5.state_dict(), tmp_path / "pytorch_model.bin")
    assert Seq2Seq.of_files(files_in(tmp_path, "tied")).is_tied


def test_an_encoder_in_torchs_format_gives_the_same_vectors(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder")
    files = files_in(folder, "encoder")
    torch_folder = shutil.copytree(folder, tmp_path / "torch")
    (torch_folder / "model.safetensors").unlink()
    (torch_folder / "1_Pooling").mkdir()
    (torch_folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    torch.save(
        SentenceEncoder.from_files(files, "mean").encoder.state_dict(),
        torch_folder / "pytorch_model.bin",
    )
    read = files_in(torch_folder, "encoder")
    assert (read.folder / "1_Pooling" / "config.json").is_file()
    ids, mask = Tokenizer(files)(["ask1 find2"], "", 8).padded(torch.arange(1).numpy())
    one, other = (SentenceEncoder.from_files(found, "mean")(ids, mask) for found in (files, read))
    assert torch.equal(one, other)


def test_safetensors_are_taken_where_both_are(
    tmp_path: Path, model: Seq2Seq, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cached_model(tmp_path, model, "safetensors")
    write_weights(folder, model.t5.state_dict(), "bin")
    monkeypatch.setattr(torch, "load", lambda *given, **named: pytest.fail("torch's is read"))
    assert files_in(folder, NAME).folder == folder


# What cannot be had


def missing(**settings: Any) -> str:
    """The sentence that stops a run."""
    with pytest.raises(BenchmarkError) as caught:
        BackboneSettings(hub_name=NAME, **settings).find()
    sentence = str(caught.value)
    assert sentence.startswith(f"backbone {NAME}: ") and sentence.count("\n") == 0
    assert sentence.endswith("give a folder with it, or 'scratch' for a stand-in.")
    return sentence


def test_a_model_that_is_nowhere_stops_the_run_and_says_why(tmp_path: Path) -> None:
    assert "not in the hub's cache, and the hub is not asked (offline mode)" in missing()


def test_neither_form_of_weights_is_said(tmp_path: Path) -> None:
    write_beside_weights(cached_folder(tmp_path))
    assert "neither model.safetensors nor pytorch_model.bin" in missing()


@pytest.mark.parametrize("form", ["safetensors sharded", "bin sharded"])
def test_a_download_that_broke_off_between_shards_is_said(
    form: str, tmp_path: Path, model: Seq2Seq
) -> None:
    folder = cached_model(tmp_path, model, form)
    shard = next(folder.glob("*-00002-of-*"))
    shard.unlink()
    shard.symlink_to(tmp_path / "hub" / "blobs" / "abc.incomplete")
    assert f"names {shard.name}, which is missing" in missing()


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_a_file_that_was_cut_is_said(form: str, tmp_path: Path, model: Seq2Seq) -> None:
    folder = cached_model(tmp_path, model, form)
    (path,) = (*folder.glob("*.safetensors"), *folder.glob("*.bin"))
    path.write_bytes(path.read_bytes()[:-2000])
    assert f"{path.name}: is not readable as" in missing()
    assert not list((tmp_path / "copies").rglob("config.json")), "nothing half-written stays"


def test_no_code_of_a_weights_file_is_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "was here"),)

    folder = cached_folder(tmp_path)
    write_beside_weights(folder)
    torch.save({"shared.weight": Harmful()}, folder / "pytorch_model.bin")
    told = missing()
    assert "pytorch_model.bin: is not readable as weights (it is cut, or holds other things" in told
    assert "weights_only" not in told, "torch's own advice is to run it"
    assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize(
    "weight", [torch.eye(3).to_sparse(), torch.empty(3, device="meta")], ids=["sparse", "no values"]
)
def test_weights_that_safetensors_cannot_hold_are_refused(
    weight: torch.Tensor, tmp_path: Path
) -> None:
    write_beside_weights(tmp_path)
    torch.save({"shared.weight": weight}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BenchmarkError, match="holds weights that are sparse, or names without"):
        files_in(tmp_path, NAME)


def test_a_user_without_a_home_is_told_what_to_set(
    tmp_path: Path, model: Seq2Seq, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_beside_weights(tmp_path)
    write_weights(tmp_path, model.t5.state_dict(), "bin")
    monkeypatch.delenv("XDG_CACHE_HOME")

    def nowhere(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nowhere)
    with pytest.raises(BenchmarkError, match=r"^XDG_CACHE_HOME: is not set, and this user has no"):
        files_in(tmp_path, NAME)


def test_a_folder_that_cannot_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_beside_weights(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(BenchmarkError, match=r"cannot be listed \(permission denied\)"):
        files_in(tmp_path, NAME)


def test_how_a_model_pools_is_part_of_what_it_is(tmp_path: Path) -> None:
    """A file that comes later changes the hash, also where the weights are copied."""
    folder = make_encoder(tmp_path / "encoder")
    state = SentenceEncoder.from_files(files_in(folder, "encoder"), "mean").encoder.state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    before = files_in(folder, "encoder")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    after = files_in(folder, "encoder")
    assert after.sha256 != before.sha256
    assert (after.folder / "1_Pooling" / "config.json").is_file()
    (folder / "special_tokens_map.json").write_text("{}")
    assert files_in(folder, "encoder").sha256 not in (before.sha256, after.sha256)


# What is there and cannot be loaded


def flawed_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


FLAWS: dict[str, Callable[[Path], object]] = {
    "no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "a kind that nobody knows": lambda folder: flawed_config(folder, model_type="unheard-of"),
    "another kind": lambda folder: flawed_config(folder, model_type="bert"),
    "other shapes": lambda folder: flawed_config(folder, d_model=24),
    "a broken tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{"),
    "code of its own": lambda folder: flawed_config(
        folder, model_type="own", auto_map={"AutoConfig": "configuration_own.Own"}
    ),
}


@pytest.mark.parametrize("flaw", FLAWS.values(), ids=FLAWS.keys())
def test_a_backbone_that_cannot_be_loaded_is_found_before_any_job(
    flaw: Callable[[Path], object],
    tmp_path: Path,
    model: Seq2Seq,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = cached_model(tmp_path, model, "safetensors")
    settings = BackboneSettings(hub_name=NAME)
    assert settings.part().find() is not None
    flaw(folder)
    hub_model.cache_clear()
    monkeypatch.setattr("builtins.input", lambda *given: pytest.fail("somebody is asked"))
    with pytest.raises(BenchmarkError) as caught:
        settings.part().find()
    assert str(caught.value).count("\n") == 0


def test_an_encoder_that_cannot_be_loaded_is_found_before_any_job(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder")
    assert encoder_part(str(folder), "owner/encoder").find() is not None
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(BenchmarkError, match=r"^encoder: cannot be loaded \("):
        encoder_part(str(folder), "owner/encoder").find()


def test_a_tokenizer_of_sentencepiece_alone_is_read(tmp_path: Path, model: Seq2Seq) -> None:
    """As T5s are published that have no tokenizer.json."""
    import sentencepiece

    write_beside_weights(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    words = [f"red lamp {number} of a blue table {7 * number}" for number in range(300)]
    with (tmp_path / "spiece.model").open("wb") as opened:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(words),
            model_writer=opened,
            vocab_size=60,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            minloglevel=2,
        )
    write_weights(tmp_path, model.t5.state_dict(), "safetensors")
    assert BackboneSettings(model=str(tmp_path)).part().find() is not None
    tokenizer = TextTokenizer.of_files(files_in(tmp_path, NAME))
    (ids,) = tokenizer.marked(["red lamp"]).padded(np.arange(1))[0].tolist()
    own = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    assert [number for number in ids if number > 1] == own.encode("red lamp")


def test_an_index_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    write_beside_weights(tmp_path)
    index = {"weight_map": {"shared.weight": "../outside.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(BenchmarkError, match="outside its folder"):
        files_in(tmp_path, NAME)


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_weights_that_are_missing_are_never_drawn_at_random(
    form: str, tmp_path: Path, model: Seq2Seq
) -> None:
    write_beside_weights(tmp_path)
    state = model.t5.state_dict()
    del state["decoder.final_layer_norm.weight"]
    write_weights(tmp_path, state, form)
    with pytest.raises(BenchmarkError, match=r"final_layer_norm.weight and 0 others are missing"):
        Seq2Seq.of_files(files_in(tmp_path, NAME))


def test_an_encoder_without_all_its_weights_is_refused(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder")
    state = SentenceEncoder.from_files(files_in(folder, "encoder"), "mean").encoder.state_dict()
    _save_clones(dict(list(state.items())[1:]), folder / "model.safetensors")
    with pytest.raises(BenchmarkError, match="embeddings"):
        SentenceEncoder.from_files(files_in(folder, "encoder"), "mean")


# The hub, if it may be asked


class Hub:
    """Stands for the hub's client: what it lists, and a download into the cache."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
        import huggingface_hub as hub

        self.asked_for: list[str] = []
        self.answer = answer
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
        monkeypatch.setattr(hub, "HfApi", lambda: self)
        monkeypatch.setattr(hub, "snapshot_download", self.download)

    def model_info(self, name: str, timeout: float) -> Any:
        """What the hub lists of a model."""
        if isinstance(self.answer, Exception):
            raise self.answer

        names = [path.name for path in Path(self.answer).iterdir()]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])

    def download(self, name: str, allow_patterns: list[str]) -> str:
        """Copy what was asked for."""
        self.asked_for = allow_patterns
        folder = Path(self.answer).parent / "downloaded"
        folder.mkdir()
        for file in allow_patterns:
            shutil.copy(Path(self.answer) / file, folder / file)
        return str(folder)


@pytest.mark.parametrize("form", FORMS)
def test_one_form_of_the_weights_is_downloaded(
    form: str, tmp_path: Path, model: Seq2Seq, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    write_beside_weights(there)
    write_weights(there, model.t5.state_dict(), "bin")
    write_weights(there, model.t5.state_dict(), form)
    for other in ("tf_model.h5", "training_args.bin", "flax_model.msgpack"):
        (there / other).write_text("of no use")
    hub = Hub(monkeypatch, there)
    files = BackboneSettings(hub_name=NAME).find()
    assert files is not None and not Seq2Seq.of_files(files).is_tied
    weights = {name for name in hub.asked_for if not name.endswith(".json")}
    assert len({Path(name).suffix for name in weights}) == 1 and "tf_model.h5" not in weights
    assert "training_args.bin" not in weights
    assert all(name.endswith("safetensors") for name in weights) == form.startswith("safetensors")


def test_half_a_model_in_the_cache_is_completed_by_the_hub(
    tmp_path: Path, model: Seq2Seq, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    write_beside_weights(there)
    write_beside_weights(cached_folder(tmp_path))
    write_weights(there, model.t5.state_dict(), "bin")
    Hub(monkeypatch, there)
    assert BackboneSettings(hub_name=NAME).find() is not None


def test_why_the_hub_does_not_give_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx2
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    request = httpx2.Request("GET", "http://localhost")
    answers: dict[str, Exception] = {
        "the hub has no such model": RepositoryNotFoundError(
            "404", response=httpx2.Response(404, request=request)
        ),
        "only to those who asked": GatedRepoError(
            "403", response=httpx2.Response(403, request=request)
        ),
        "the hub cannot be reached (ConnectError)": httpx2.ConnectError("no route"),
    }
    for reason, answer in answers.items():
        hub_model.cache_clear()
        Hub(monkeypatch, answer)
        assert reason in missing()


def test_offline_mode_asks_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("it asks the network")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    assert isinstance(hub_model("nobody/has-this-model"), str)
    files = find_encoder(str(make_encoder(tmp_path / "encoder")), "nobody/has-this-model")
    assert len(Tokenizer(files)(["ask1"], "", 8)) == 1
    SentenceEncoder.from_files(files, "mean")


# Folders, names and stand-ins


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="no such folder"):
        find_encoder(str(tmp_path / "absent"), "owner/model")
    with pytest.raises(BenchmarkError, match=r"config\.json"):
        find_encoder(str(tmp_path), "owner/model")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BenchmarkError, match="no tokenizer"):
        find_encoder(str(tmp_path), "owner/model")


def test_a_name_that_was_given_is_never_stood_in_for() -> None:
    with pytest.raises(BenchmarkError, match=r"encoder owner/model: it is not in the hub's cache"):
        find_encoder("owner/model", "other/model")
    with pytest.raises(BenchmarkError, match=r"encoder other/model: it is not in the hub's cache"):
        find_encoder("published", "other/model")


def test_auto_takes_a_stand_in_and_warns_of_it(caplog: pytest.LogCaptureFixture) -> None:
    settings = BackboneSettings(model="auto", hub_name=NAME)
    assert settings.find() is None and "scratch" in settings.identity()
    assert f"stands in for the pretrained {NAME}" in settings.stand_in()
    assert f"{NAME}: it is not in the hub's cache" in caplog.text
    assert if_available(NAME) is None


def test_without_the_hub_the_packaged_encoder_stands_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / pretrained._PACKAGE
    make_encoder(package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('its code must not run')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BenchmarkError, match="checksum"):
        find_encoder("auto", "owner/model")
    known = sha256_of_path(package / "model" / "model.safetensors")
    monkeypatch.setattr(pretrained, "_PACKAGED_SHA256", known)
    for choice in ("auto", "packaged"):
        files = find_encoder(choice, "owner/model")
        assert (files.name, files.is_packaged) == ("all-MiniLM-L6-v2", True)
        assert "stands in for owner/model" in files.stand_in(("owner/model",))
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemFailure, match="offline"):
        find_encoder("auto", "owner/model")
