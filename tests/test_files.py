"""Writers that leave the old or the new, sweepers that leave the living, and readers of JSON."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from benchmark import files
from benchmark.data.prepare import sweep
from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault, machine_cause
from benchmark.files import (
    atomic_path,
    build_folder,
    check_manifest,
    files_below,
    finished_in,
    is_complete,
    is_partial,
    read_json,
    remove_folder,
    write_json,
    write_manifest,
    write_text,
)
from benchmark.jobs.store import RunStore
from benchmark.leftovers import (
    ABANDONED,
    LEFT_FOR_DEAD,
    lock_by_content,
    sweep_locks,
    sweep_partial,
    sweep_partial_of,
)
from benchmark.locks import LockedElsewhere, is_free, locked

PARTIAL = ".partial-" + "0123456789abcdef" * 2 + "-"


def make_old(path: Path, seconds: float = LEFT_FOR_DEAD + 60) -> Path:
    then = time.time() - seconds
    for one in (*path.rglob("*"), path):
        os.utime(one, (then, then))
    return path


def left_by_a_writer(folder: Path, name: str, *, is_folder: bool = False) -> Path:
    path = folder / f"{PARTIAL}{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        path.mkdir()
        (path / "half").write_text("half")
    else:
        path.write_text("half")
    return path


# Writing


def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        calls.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        calls.append(f"rename to {target}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_text(tmp_path / "a", "text")
    content, rename, folder = calls
    assert is_partial(Path(content)) and Path(content).parent == tmp_path
    assert rename == f"rename to {tmp_path / 'a'}"
    assert folder == str(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    write_text(path, "old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    owner = os if call == "fsync" else Path
    monkeypatch.setattr(owner, {"open": "write_bytes"}.get(call, call), fail)
    with pytest.raises(MachineFault, match=f"a: cannot be written .{os.strerror(number)}"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_what_another_library_says_of_a_full_disk_is_the_same_sentence(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    with pytest.raises(MachineFault, match="folder: cannot be written"):
        build_folder(tmp_path / "folder", build)
    with (
        pytest.raises(MachineFault, match="file: cannot be written"),
        atomic_path(tmp_path / "file"),
    ):
        raise Exception("No space left on device (os error 28)")
    assert not list(tmp_path.iterdir())


def test_a_file_that_a_builder_cannot_find_is_not_the_places_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        build_folder(tmp_path / "a", lambda folder: (folder / "none").read_text() and None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "stops"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EIO, "x"), True),
        (OSError(errno.EROFS, "x"), True),
        (OSError(errno.EFBIG, "x"), True),
        (OSError("99999 requested and 0 written"), True),
        (PermissionError(errno.EACCES, "x"), False),
        (OSError(errno.EMFILE, "x"), False),
        (MemoryError(), False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), False),
        (RuntimeError("std::bad_alloc"), False),
        (Exception("Disk quota exceeded (os error 122)"), True),
        (OSError(errno.ENOENT, "x"), None),
        (ValueError("the loss is nan"), None),
        (RuntimeError("size mismatch, code: 7"), None),
        (KeyError("file"), None),
    ],
)
def test_which_errors_are_the_machines(error: Exception, stops: bool | None) -> None:
    cause = machine_cause(error)
    assert (None if cause is None else cause.stops) is stops
    try:
        raise RuntimeError("could not save") from error
    except RuntimeError as wrapped:
        again = machine_cause(wrapped)
    assert (None if again is None else again.stops) is stops


def test_an_error_that_was_dealt_with_is_not_looked_at() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "x")
        except OSError:
            raise ValueError("a size is wrong") from None
    except ValueError as error:
        assert machine_cause(error) is None


# Removing


def test_a_folder_goes_by_one_renaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "a").write_text("a")
    monkeypatch.setattr(files.shutil, "rmtree", lambda path, **_: None)  # killed right here
    remove_folder(folder)
    assert not folder.exists()
    (left,) = tmp_path.iterdir()
    assert is_partial(left)
    remove_folder(folder)  # that it is gone already is nothing


def test_a_folder_that_cannot_be_removed_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()

    def fail(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(MachineFault, match="run: cannot be removed"):
        remove_folder(tmp_path / "run")


# Sweeping


def test_left_overs_without_a_lock_go_when_they_are_old(tmp_path: Path) -> None:
    old = make_old(left_by_a_writer(tmp_path / "tables", "a.tex"))
    old_folder = make_old(left_by_a_writer(tmp_path / "deep" / "er", "b", is_folder=True))
    young = left_by_a_writer(tmp_path / "tables", "c.tex")
    whole = make_old_file(tmp_path / "tables" / "d.tex")
    sweep_partial(tmp_path)
    assert not old.exists() and not old_folder.exists()
    assert young.exists() and whole.exists()


def test_left_overs_go_however_young_where_nobody_else_may_write(tmp_path: Path) -> None:
    young = left_by_a_writer(tmp_path / "tables", "a.tex")
    folder = left_by_a_writer(tmp_path / "runs", "b", is_folder=True)
    (tmp_path / "tables" / "a.tex").write_text("whole")
    sweep_partial(tmp_path, is_ours=True)
    assert not young.exists() and not folder.exists()
    assert (tmp_path / "tables" / "a.tex").exists()


def test_left_overs_of_one_name_go_and_others_stay(tmp_path: Path) -> None:
    left = [left_by_a_writer(tmp_path, "a.json"), left_by_a_writer(tmp_path / "b", "trial")]
    folder = left_by_a_writer(tmp_path, "trial", is_folder=True)
    other = left_by_a_writer(tmp_path, "aa.json")
    for name in ("a.json", "trial"):
        sweep_partial_of(tmp_path / name)
    assert not left[0].exists() and not folder.exists()
    assert other.exists() and left[1].exists()  # of another name, and elsewhere


def make_old_file(path: Path) -> Path:
    path.write_text("whole")
    return make_old(path)


def test_left_overs_with_a_lock_go_when_nobody_holds_it_however_young(tmp_path: Path) -> None:
    name = "embeddings-" + "a1" * 12
    lock = tmp_path / f"{name}.lock"
    path = make_old(left_by_a_writer(tmp_path, name, is_folder=True), 100 * LEFT_FOR_DEAD)
    with locked(lock):
        sweep_partial(tmp_path, lock_by_content(tmp_path))
        assert path.exists()  # it may be built for days
    young = left_by_a_writer(tmp_path / "x", name, is_folder=True)
    sweep_partial(tmp_path, lock_by_content(tmp_path))
    assert not path.exists() and not young.exists()


def test_old_locks_go_unless_they_are_held(tmp_path: Path) -> None:
    for name in ("held", "free", "young"):
        with locked(tmp_path / f"{name}.lock"):
            pass
    make_old(tmp_path / "free.lock")
    other = make_old_file(tmp_path / "other")
    with locked(tmp_path / "held.lock"):
        make_old(tmp_path / "held.lock")
        sweep_locks(tmp_path)
        assert {one.name for one in tmp_path.iterdir()} == {"held.lock", "young.lock", "other"}
    assert other.exists()


def test_a_lock_that_is_swept_while_somebody_waits_is_still_exclusive(tmp_path: Path) -> None:
    """The waiting process must not end with a lock on a file that has no name any more."""
    lock = tmp_path / "a.lock"
    ready, go = tmp_path / "ready", tmp_path / "go"
    with locked(lock):
        child = os.fork()
        if child == 0:
            ready.touch()
            with locked(lock):
                deadline = time.monotonic() + 60
                (tmp_path / "has it").touch()
                while not go.exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
            os._exit(0)
        while not ready.exists():
            time.sleep(0.01)
        time.sleep(0.2)
        lock.unlink()
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "has it").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not is_free(lock)
        with pytest.raises(LockedElsewhere), locked(lock, waits=False):
            pass
    finally:
        go.touch()
        os.waitpid(child, 0)
    assert is_free(lock)


def test_a_suite_sweeps_wherever_left_overs_grow(tmp_path: Path) -> None:
    results = tmp_path / "results"
    RunStore(results).prepare()
    identity = "0123456789abcdef"
    places = [
        left_by_a_writer(results / "runs" / "d" / "p" / "s", identity, is_folder=True),
        left_by_a_writer(results / "work" / identity, "training.jsonl"),
        left_by_a_writer(results / "artifacts", "kind-" + "b2" * 12, is_folder=True),
        left_by_a_writer(results / "artifacts", "loose"),
        left_by_a_writer(results / "tables", "a.tex"),
        left_by_a_writer(results / "plots", "a.pdf"),
        left_by_a_writer(results / "audit", "a.json"),
        left_by_a_writer(results / "locks", "a"),
    ]
    locks = [results / "locks" / "old.lock", results / "artifacts" / "old.lock"]
    for path in (*places, *map(make_old_file, locks)):
        make_old(path)
    RunStore(results).prepare()
    assert not [path for path in (*places, *locks) if path.exists()]


def test_abandoned_work_goes_and_wanted_work_stays(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.prepare()
    names = {
        name: f"{name:x<16}"
        for name in ("abandoned", "wanted", "locked", "recent", "grows", "done")
    }
    for name in names.values():
        write_json(tmp_path / "work" / name / "identity.json", {})
        (tmp_path / "work" / name / "checkpoint").mkdir()
        make_old(tmp_path / "work" / name, ABANDONED + 60)
    make_old(tmp_path / "work" / names["recent"], ABANDONED - 3600)
    make_old(tmp_path / "work" / names["done"], 10)
    (tmp_path / "work" / names["grows"] / "checkpoint" / "step").write_text("new")
    make_old_folder_only(tmp_path / "work" / names["grows"])
    with locked(tmp_path / "locks" / f"{names['locked']}.lock"):
        store.sweep_work({names["wanted"] + "0" * 48: "unfinished", names["done"]: "finished"})
        left = {path.name for path in (tmp_path / "work").iterdir()}
    assert left == set(names.values()) - {names["abandoned"], names["done"]}


def test_abandoned_blocks_of_lists_go_and_those_in_use_stay(tmp_path: Path) -> None:
    for name in ("abandoned", "locked", "recent"):
        (tmp_path / f"tasks-{name}.blocks").mkdir()
        make_old_file(tmp_path / f"tasks-{name}.blocks" / "a.npz")
        make_old(tmp_path / f"tasks-{name}.blocks", ABANDONED + 60)
    make_old(tmp_path / "tasks-recent.blocks", ABANDONED - 3600)
    with locked(tmp_path / "tasks-locked.lock"):
        sweep(tmp_path)
    left = {path.name for path in tmp_path.glob("*.blocks")}
    assert left == {"tasks-locked.blocks", "tasks-recent.blocks"}


def make_old_folder_only(folder: Path) -> None:
    then = time.time() - ABANDONED - 60
    os.utime(folder, (then, then))


def test_walking_bears_what_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    scandir = os.scandir

    def vanishing(path: str) -> object:
        if str(path).endswith("b"):
            raise FileNotFoundError(errno.ENOENT, "gone", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert [path.parent.name for path in files_below(tmp_path, ["run.json"])] == ["a", "c"]
    assert files_below(tmp_path / "absent") == []


def test_what_a_killed_writer_left_is_no_content(tmp_path: Path) -> None:
    write_text(tmp_path / "b.json", "{}")
    write_text(tmp_path / "run" / "a.json", "{}")
    with atomic_path(tmp_path / "c.json") as temporary:
        temporary.write_text("{")
    for left in (temporary, temporary.with_name(temporary.name.replace(".json", "")) / "a.json"):
        left.parent.mkdir(exist_ok=True)
        left.write_text("{")
    (tmp_path / "c.json").unlink()
    assert finished_in(tmp_path, "*.json") == [tmp_path / "b.json"]
    assert finished_in(tmp_path, "*/a.json") == [tmp_path / "run" / "a.json"]
    assert finished_in(tmp_path / "absent", "*") == []


# Manifests and JSON


def test_every_kind_of_damage_to_a_folder_is_found(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "a").write_bytes(b"content")
        (folder / "b").mkdir()
        (folder / "b" / "c").write_bytes(b"")

    folder = tmp_path / "whole"
    build_folder(folder, fill)
    assert is_complete(folder)
    check_manifest(folder)
    damages = {
        "flipped": lambda: (folder / "a").write_bytes(b"contenT"),
        "cut": lambda: (folder / "a").write_bytes(b"conten"),
        "longer": lambda: (folder / "b" / "c").write_bytes(b"1"),
        "removed": lambda: (folder / "a").unlink(),
    }
    for name, damage in damages.items():
        damage()
        with pytest.raises(BenchmarkError):
            check_manifest(folder)
        (folder / "a").write_bytes(b"content")
        (folder / "b" / "c").write_bytes(b"")
        check_manifest(folder)
        assert name


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        '{"a": [Infinity]}',
        "-Infinity",
        "1e999",
        str(2**63),
        "1" + "0" * 5000,
        '"\\ud800"',
        '{"\\udfff": 1}',
        "[" * 100_000,
        '{"a": ' + "x" * 3000 + "}",
        "",
        "\ufeff{}",
    ],
)
def test_json_that_we_do_not_write_is_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BenchmarkError, match="is not readable as JSON") as caught:
        read_json(path)
    assert len(str(caught.value)) < len(str(path)) + 300


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63) + 1, 1.5e300, -0.0, "𝒳 \\ud800", {"é": []}])
def test_json_that_we_write_is_read(value: object, tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    (tmp_path / "b.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    assert read_json(tmp_path / "b.json") == value


# Locks


def test_a_lock_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.lock").mkdir()
    with (
        pytest.raises(MachineFault, match=r"lock file .*a\.lock: cannot be used"),
        locked(tmp_path / "a.lock"),
    ):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(MachineFault, match="cannot be used"), locked(tmp_path / "file" / "a"):
        pass


def test_who_does_not_want_to_wait_does_not(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    assert is_free(lock)
    with locked(lock):
        assert not is_free(lock)
        with pytest.raises(LockedElsewhere), locked(lock, waits=False):
            pass
    assert is_free(lock)


@pytest.mark.parametrize("name", ["a" * 256, "../a", "/a", "b//a", ".", "", "b/../a", "a\0"])
def test_a_manifest_lists_only_files_that_can_be_below_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "folder").mkdir()
    write_manifest(tmp_path)
    check_manifest(tmp_path)
    content = read_json(tmp_path / "manifest.json")
    content["files"][name] = content["files"].pop("a")
    write_json(tmp_path / "manifest.json", content)
    with pytest.raises(BenchmarkError, match="is not a manifest of files"):
        check_manifest(tmp_path)


@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
def test_what_is_no_folder_in_a_folders_place_is_removed(kind: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    place, left = tmp_path / "place", tmp_path / f".partial-{'0' * 32}-place"
    for path in (place, left):
        if kind == "file":
            path.touch()
        else:
            path.symlink_to(other if kind == "link" else tmp_path / "nowhere")
    remove_folder(place)
    sweep_partial(tmp_path, lambda target: tmp_path / "a.lock")
    assert not place.is_symlink() and not place.exists()
    assert not left.is_symlink() and not left.exists()
    assert (other / "kept").exists()
