"""Object stores: what is in one is copied, what changes is sent; one may fail for a while."""

import json

import fsspec
import pytest

from common.program import stores
from common.program.errors import UserError
from common.program.files import user_path
from common.program.stores import kept_in_store

RUN = "memory://bucket/run"


@pytest.fixture(autouse=True)
def memory(monkeypatch, tmp_path):
    """An empty store in memory, and a cache of its own."""
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setattr(stores, "_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(stores, "_PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(stores.time, "sleep", lambda _: None)
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def put(files, **contents):
    for name, text in contents.items():
        files.pipe(f"/bucket/run/{name.replace('__', '/')}", text.encode())


def held(files):
    """Returns what is in the store, by its names in the workdir."""
    return {
        path.removeprefix("/bucket/run/"): files.cat(path).decode()
        for path in files.find("/bucket/run")
    }


def write(folder, **contents):
    for name, text in contents.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_a_new_workdir_is_sent(memory):
    with kept_in_store(RUN):
        write(user_path(RUN), config="{}", pictures__1="p")
    assert held(memory) == {"config": "{}", "pictures/1": "p"}


def test_a_workdir_in_the_store_is_copied_changed_and_sent(memory):
    put(memory, config="{}", old="o", metrics="1\n")
    with kept_in_store(RUN + "/"):
        folder = user_path(RUN)
        assert (folder / "metrics").read_text() == "1\n"
        write(folder, metrics="1\n2\n")
        (folder / "old").unlink()
    assert held(memory) == {"config": "{}", "metrics": "1\n2\n"}


def test_what_changes_is_sent_meanwhile(memory):
    with kept_in_store(RUN):
        write(user_path(RUN), metrics="1\n")
        for _ in range(10**6):
            if held(memory):
                break
    assert held(memory) == {"metrics": "1\n"}


def test_a_user_is_told_the_address_and_not_the_copy(tmp_path):
    with kept_in_store(RUN):
        assert stores.address(user_path(RUN)) == RUN
    assert stores.address(tmp_path) == str(tmp_path)


def test_unfinished_files_stay_here(memory):
    with kept_in_store(RUN):
        folder = user_path(RUN)
        names = {".tmp-1-2-run.json": "x", ".lock": "", "checkpoints/4.orbax-checkpoint-tmp/a": "x"}
        write(folder, **names)
    assert held(memory) == {}


def test_the_marker_of_a_checkpoint_is_sent_last_and_removed_first(memory, monkeypatch):
    calls = []
    for name in ("send", "remove"):
        kept = getattr(stores._Store, name)

        def noted(self, *given, name=name, kept=kept):
            calls.append((name, given[-1]))
            kept(self, *given)

        monkeypatch.setattr(stores._Store, name, noted)
    put(memory, checkpoints__2___CHECKPOINT_METADATA="m", checkpoints__2__a="a")
    with kept_in_store(RUN):
        folder = user_path(RUN)
        for file in (folder / "checkpoints/2").iterdir():
            file.unlink()
        write(folder, checkpoints__4___CHECKPOINT_METADATA="m", checkpoints__4__d__z="z", run="r")
        write(folder, checkpoints__4__b="b")
    marker = "_CHECKPOINT_METADATA"
    assert calls == [
        *(("send", name) for name in ("run", "checkpoints/4/b", "checkpoints/4/d/z")),
        ("send", f"checkpoints/4/{marker}"),
        *(("remove", f"checkpoints/2/{name}") for name in (marker, "a")),
    ]


def test_a_checkpoint_without_its_marker_is_not_copied(memory):
    put(memory, config="{}", checkpoints__8__a="a", checkpoints__8__b="b")
    with kept_in_store(RUN):
        assert [file.name for file in user_path(RUN).rglob("*")] == ["config"]
    put(memory, checkpoints__8___CHECKPOINT_METADATA="m")
    with kept_in_store(RUN):
        assert len(list(user_path(RUN).glob("checkpoints/8/*"))) == 3


@pytest.mark.parametrize("times", [1, 5])
def test_a_store_that_fails_for_a_while_loses_nothing(memory, monkeypatch, times):
    put(memory, config="{}")
    left = {"put_file": times, "find": times}
    for name in tuple(left):
        kept = getattr(type(memory), name)

        def failing(self, *given, name=name, kept=kept, **more):
            left[name] -= 1
            if left[name] >= 0:
                raise ConnectionError("the store is away")
            return kept(self, *given, **more)

        monkeypatch.setattr(type(memory), name, failing)
    with kept_in_store(RUN):
        write(user_path(RUN), metrics="1\n")
    assert held(memory) == {"config": "{}", "metrics": "1\n"}


def test_a_store_that_stays_away_leaves_everything_here(memory, monkeypatch):
    def failing(*_, **__):
        raise ConnectionError("the store is away")

    monkeypatch.setattr(type(memory), "put_file", failing)
    monkeypatch.setattr(stores, "_PATIENCE_SECONDS", 0.0)
    match = r"can't be written: ConnectionError.*copy it"
    with pytest.raises(UserError, match=match) as told, kept_in_store(RUN):
        write(user_path(RUN), metrics="1\n")
        place = user_path(RUN)
    assert str(place) in str(told.value) and (place / "metrics").read_text() == "1\n"


def test_another_process_reads_a_copy_of_its_own_and_sends_nothing(memory):
    put(memory, config="{}")
    with kept_in_store(RUN, process=1):
        write(user_path(RUN), metrics="1\n")
    assert held(memory) == {"config": "{}"}


def test_a_copy_in_use_is_left_alone(tmp_path):
    with stores._own_folder(tmp_path / "run") as first:
        (first / "metrics").write_text("1\n")
        with stores._own_folder(tmp_path / "run") as other:
            assert other != first and not list(other.iterdir())
        assert (first / "metrics").read_text() == "1\n"
    with stores._own_folder(tmp_path / "run") as again:
        assert again == first and not list(again.iterdir())


def test_inputs_are_copied_once_and_again_when_they_change(memory, monkeypatch):
    put(memory, a="1", b="2")
    fetched = []
    fetch = stores._Store._fetch_one
    monkeypatch.setattr(
        stores._Store, "_fetch_one", lambda *given: fetched.append(given[1]) or fetch(*given)
    )
    folder = user_path(RUN)
    assert user_path(RUN) == folder and fetched == ["a", "b"]
    put(memory, a="3")
    memory.rm("/bucket/run/b")
    assert [file.read_text() for file in user_path(RUN).iterdir()] == ["3"]
    assert fetched == ["a", "b", "a"]


def test_an_input_may_be_one_file(memory):
    put(memory, **{"scans.npz": "n"})
    file = user_path(f"{RUN}/scans.npz")
    assert file.name == "scans.npz" and file.read_text() == "n"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("memory://nothing/here", "there is nothing; check the address"),
        ("nosuch://bucket/run", "can't be opened: Protocol not known: nosuch"),
        ("file:///tmp/run", "name the folder without file://"),
    ],
)
def test_an_address_that_is_none_is_a_sentence(url, told):
    with pytest.raises(UserError, match=told):
        user_path(url)


def test_a_name_in_the_store_never_leads_out_of_the_copy(memory, tmp_path):
    memory.store["/bucket/run/../../../x"] = memory.store.get("/x") or memory.open("/y", "wb")
    with pytest.raises(UserError, match="rename it"):
        user_path(RUN)


def test_two_workdirs_are_both_kept(memory):
    put(memory, config="{}")
    memory.pipe("/bucket/other/config", json.dumps({"a": 1}).encode())
    with kept_in_store(f"{RUN},memory://bucket/other"):
        assert (user_path("memory://bucket/other") / "config").exists()
        assert (user_path(RUN) / "config").exists()
