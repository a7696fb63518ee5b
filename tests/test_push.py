"""`synth push`: a finished run's data on the hub, by the hub's own client, against a stand-in."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed")

from pipeline.errors import (
    DamagedError,
    HubError,
    InputError,
    InterruptedRunError,
    RecipeError,
    SynthError,
)
from pipeline.push import check_name, pack, push
from pipeline.run.purge import purge
from tests import hub_stand_in
from tests.cli.here import synth
from tests.conftest import RunSynth
from tests.hub_stand_in import TOKEN, Hub

NAME = "somebody/instructions"
# of the hub's client to its own transport
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that this process's client asks, without the storage protocol that it cannot speak."""
    from huggingface_hub import constants

    with hub_stand_in.running() as found:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield found


def there(run: Path) -> dict[str, bytes]:
    data = run / "data"
    return {
        path.relative_to(data).as_posix(): path.read_bytes()
        for path in data.rglob("*")
        if path.is_file()
    }


def of_the_run(hub: Hub, name: str = NAME) -> dict[str, bytes]:
    files = dict(hub.repositories[name].files)
    del files[".gitattributes"]
    return files


def test_the_files_are_there_in_one_commit_of_a_private_repository(
    hub: Hub, small_run: Path
) -> None:
    address = push(pack(small_run), NAME)
    repository = hub.repositories[NAME]
    assert repository.is_private
    assert of_the_run(hub) == there(small_run)
    assert len(repository.commits) == 2
    assert address == f"{hub.url}/datasets/{NAME}/commit/{repository.head}"
    assert set(hub.storage.values()) == {
        raw for name, raw in there(small_run).items() if name.endswith(".parquet")
    }
    asked = [line for line in hub.log if NAME in line or "create" in line]
    assert asked[:2] == [f"GET /api/datasets/{NAME}", "POST /api/repos/create"]


def test_what_is_not_in_the_run_any_more_goes_and_other_files_stay(
    hub: Hub, small_run: Path
) -> None:
    old = hub.make(NAME)
    old.files |= {"messages/train-00007.parquet": b"old", "notes.txt": b"mine"}
    push(pack(small_run), NAME)
    assert of_the_run(hub) == there(small_run) | {"notes.txt": b"mine"}
    assert "POST /api/repos/create" not in hub.log


def test_a_public_repository_wants_the_word(hub: Hub, small_run: Path) -> None:
    hub.make(NAME, is_private=False)
    with pytest.raises(RecipeError, match="everybody can read it: take --public"):
        push(pack(small_run), NAME)
    assert of_the_run(hub) == {}
    push(pack(small_run), NAME, is_public=True)
    assert of_the_run(hub) == there(small_run)
    push(pack(small_run), "somebody/new", is_public=True)
    assert not hub.repositories["somebody/new"].is_private


def test_a_private_repository_is_not_called_public(hub: Hub, small_run: Path) -> None:
    hub.make(NAME, is_private=True)
    with pytest.raises(RecipeError, match="is there and private"):
        push(pack(small_run), NAME, is_public=True)
    assert of_the_run(hub) == {}


@pytest.mark.parametrize(
    ("piece", "status", "error", "says"),
    [
        ("POST /api/repos/create", 403, HubError, "may not write to somebody/instructions"),
        ("POST /api/repos/create", 402, HubError, "refuses somebody/instructions (402): sorry"),
        ("POST /api/repos/create", 503, InterruptedRunError, "(503: sorry)"),
        ("/commit/", 409, InterruptedRunError, "(409: sorry)"),
        ("/commit/", 403, HubError, "may write there"),
        ("/commit/", 500, InterruptedRunError, "Nothing of this commit is there"),
        ("/commit/", 400, RecipeError, "(400): sorry"),
        ("PUT /storage/", 403, HubError, "may not write"),
    ],
)
def test_an_answer_that_is_no_gives_one_message(
    hub: Hub, small_run: Path, piece: str, status: int, error: type[SynthError], says: str
) -> None:
    hub.failing[piece] = (status, "sorry")
    with pytest.raises(error) as caught:
        push(pack(small_run), NAME)
    said = str(caught.value)
    assert says in said
    assert "\n" not in said
    assert TOKEN not in said
    assert NAME not in hub.repositories or of_the_run(hub) == {}


def test_a_token_that_the_hub_does_not_know_is_said(
    hub: Hub, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another-one-altogether")
    with pytest.raises(HubError, match=r"does not know the token in HF_TOKEN \(401\)") as caught:
        push(pack(small_run), NAME)
    assert caught.value.exit_code == 5
    assert "another-one" not in str(caught.value)


@pytest.mark.parametrize("token", ["", " "])
def test_without_a_token_nothing_is_sent(
    hub: Hub, small_run: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(RecipeError, match="HF_TOKEN is not set"):
        push(pack(small_run), NAME)
    assert hub.log == []


@pytest.mark.parametrize("token", ["hf_bad\ntoken", "hf_ünicode", "hf_two words", "hf_\x07"])
def test_a_token_that_can_be_none_is_refused_unseen(
    hub: Hub, small_run: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(RecipeError, match="HF_TOKEN holds characters") as caught:
        push(pack(small_run), NAME)
    assert token[3:6] not in str(caught.value)
    assert hub.log == []


def test_an_address_that_can_be_none_is_refused(
    hub: Hub, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    with pytest.raises(RecipeError, match="HF_ENDPOINT is 'nonsense'"):
        push(pack(small_run), NAME)
    assert hub.log == []


def test_a_name_that_the_hub_finds_too_long_is_refused() -> None:
    check_name(f"me/{'x' * 96}")
    with pytest.raises(RecipeError, match="96 signs at most"):
        check_name(f"me/{'x' * 97}")


def test_somebody_who_comes_first_is_not_overwritten(hub: Hub, small_run: Path) -> None:
    def first(repository: hub_stand_in.Repository) -> None:
        repository.files["other.txt"] = b"theirs"
        hub.commit(NAME, "theirs")

    hub.between = first
    with pytest.raises(InterruptedRunError, match="412"):
        push(pack(small_run), NAME)
    assert of_the_run(hub) == {"other.txt": b"theirs"}
    hub.between = None
    push(pack(small_run), NAME)
    assert of_the_run(hub) == there(small_run) | {"other.txt": b"theirs"}


def test_a_hub_that_nobody_serves_is_not_reached(
    small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InterruptedRunError, match="cannot be reached"):
        push(pack(small_run), NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RecipeError, match="HF_HUB_OFFLINE forbids"):
        push(pack(small_run), NAME)


@pytest.mark.parametrize("name", ["", "alone", "a/b/c", "a b/c", "a/..", "../c", "a/b--c", "ä/b"])
def test_a_name_that_can_be_none_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="name ORG/NAME"):
        check_name(name)


def test_a_run_that_is_not_whole_is_refused(run_synth: RunSynth, small_copy: Path) -> None:
    (shard,) = (small_copy / "data/alpaca").glob("validation-*.parquet")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(DamagedError, match=r"alpaca/validation-00000\.parquet"):
        pack(small_copy)
    shard.write_bytes(whole)
    state = json.loads((small_copy / "run.json").read_bytes())
    (small_copy / "run.json").write_text(json.dumps(state | {"status": "stopped"}))
    with pytest.raises(InputError, match="is not finished"):
        pack(small_copy)


def test_a_run_without_export_or_rows_has_nothing_to_push(
    run_synth: RunSynth, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "Say where the river lies.", "output": "Far away."}\n')
    run_synth(tmp_path / "bare", recipe="filter", input=str(rows))
    with pytest.raises(InputError, match="no 'export'"):
        pack(tmp_path / "bare")
    rule = "filter.filters={word_count: {at_least: 900, at_most: 999}}"
    run_synth(tmp_path / "none", rule, recipe="curate", input=str(rows))
    with pytest.raises(InputError, match="kept no row"):
        pack(tmp_path / "none")


def test_a_card_that_was_changed_by_hand_goes_as_long_as_it_counts_right(
    hub: Hub, small_copy: Path
) -> None:
    card = small_copy / "data/README.md"
    text = card.read_text()
    card.write_text(text.replace("license: apache-2.0", "license: mit"))
    parcel = pack(small_copy)
    assert parcel.notes == ["data/README.md was changed by hand and goes as it is."]
    push(parcel, NAME)
    assert b"license: mit" in of_the_run(hub)["README.md"]
    card.write_text(text.replace("num_examples: ", "num_examples: 9", 1))
    with pytest.raises(RecipeError, match="says that messages has 9"):
        pack(small_copy)
    card.write_text("# no header\n")
    with pytest.raises(RecipeError, match="no header"):
        pack(small_copy)
    card.write_text(text.replace("license: apache-2.0", "license: [mit, other]"))
    with pytest.raises(RecipeError, match='"license" must be a string'):
        push(pack(small_copy), NAME)


def test_rows_that_were_purged_where_they_came_from_are_not_pushed(
    run_synth: RunSynth, small_copy: Path, tmp_path: Path
) -> None:
    later = tmp_path / "later"
    run_synth(later, recipe="curate", input=str(small_copy))
    assert pack(later).notes == []
    row = pack(later).run.kept()["row_id"][0]
    purge(small_copy, row=row, descendants=True)
    with pytest.raises(InputError, match=f"older than a purge of {small_copy}: it still has {row}"):
        pack(later)
    (note,) = pack(small_copy).notes
    assert "1 row was purged from this run: an earlier commit" in note
    purge(later, row=row, descendants=True)
    assert row not in set(pack(later).run.kept()["row_id"])


def as_command(*given: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"} | environment
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "push", *given],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_says_what_it_does_and_never_the_token(small_run: Path) -> None:
    with hub_stand_in.running() as hub:
        given = (str(small_run), NAME)
        environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_DEBUG": ""}
        dry = synth("push", *given, "--dry-run")
        assert (dry.code, hub.log) == (0, [])
        assert [line.split(" (")[0] for line in dry.out.splitlines()] == sorted(there(small_run))
        assert "Nothing sent." in dry.err
        done = as_command(*given, **environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{hub.url}/datasets/{NAME}/commit/{hub.repositories[NAME].head}\n"
        assert of_the_run(hub) == there(small_run)
        hub.failing["GET /api/datasets"] = (403, f"{TOKEN} may not")
        refused = as_command(*given, **environment)
        assert refused.returncode == 5
        said = "".join(one.stdout + one.stderr for one in (done, refused))
        assert TOKEN not in said
        assert "[key removed] may not" in refused.stderr


def test_without_the_package_the_extra_is_named(
    small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RecipeError, match=r"pip install '\.\[hub\]'"):
        push(pack(small_run), NAME)


def test_no_part_of_a_run_pushes() -> None:
    users = [
        path
        for path in Path(pack.__code__.co_filename).parent.rglob("*.py")
        if "pipeline.push" in path.read_text("utf-8") or "import push" in path.read_text("utf-8")
    ]
    assert [path.name for path in users] == ["people.py"]
