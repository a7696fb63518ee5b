"""Bad input: one clear message, the right exit code, and not one request sent."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import SynthError
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from tests.conftest import RunSynth, ignore
from tests.run import books
from tests.teacher_server.process import Server, running_server

GOOD_SEED = {
    "id": "a",
    "name": "a",
    "instruction": "Name a river.",
    "instances": [{"input": "", "output": "The Po."}],
    "is_classification": False,
}


@dataclass
class Bad:
    """A command with something wrong, and what has to be said about it."""

    name: str
    says: tuple[str, ...]
    exit_code: int = 2
    recipe: str | None = None
    seeds: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def recipe(*stages: str, top: str = "") -> str:
    listed = "".join(f"  - {stage}\n" for stage in stages)
    return f"name: mine\n{top}stages:\n{listed}"


def seeds(*lines: str) -> str:
    """Eight good tasks, then the given lines from line 9 on."""
    good = [json.dumps(GOOD_SEED | {"id": f"seed_{n}"}) for n in range(8)]
    return "\n".join([*good, *lines]) + "\n"


def seed(**changed: object) -> str:
    return json.dumps(GOOD_SEED | changed)


def without(name: str) -> str:
    return json.dumps({key: value for key, value in GOOD_SEED.items() if key != name})


ALL = ("stage: bootstrap", "stage: classify", "stage: instances", "stage: filter", "stage: export")

BAD_RECIPES = [
    Bad("unknown top key", ("line 2", "teachr", "did you mean 'teacher'?"),
        recipe=recipe(*ALL, top="teachr: {}\n")),
    Bad("unknown stage key", ("line 3", "bootstrap.targets", "did you mean 'target'?"),
        recipe=recipe("{stage: bootstrap, targets: 5}", *ALL[1:])),
    Bad("unknown nested key", ("bootstrap.sampling.temprature", "did you mean 'temperature'?"),
        recipe=recipe("{stage: bootstrap, sampling: {temprature: 1}}", *ALL[1:])),
    Bad("unknown teacher key", ("teacher.concurency", "did you mean 'concurrency'?"),
        recipe=recipe(*ALL, top="teacher: {concurency: 5}\n")),
    Bad("wrong type", ("bootstrap.target", "'many'"),
        recipe=recipe("{stage: bootstrap, target: many}", *ALL[1:])),
    Bad("a number as text", ("teacher.timeout_s", "'soon'"),
        recipe=recipe(*ALL, top="teacher: {timeout_s: soon}\n")),
    Bad("out of range", ("bootstrap.threshold", "7"),
        recipe=recipe("{stage: bootstrap, threshold: 7}", *ALL[1:])),
    Bad("zero target", ("bootstrap.target",),
        recipe=recipe("{stage: bootstrap, target: 0}", *ALL[1:])),
    Bad("not a number", ("bootstrap.expected_yield",),
        recipe=recipe("{stage: bootstrap, expected_yield: .nan}", *ALL[1:])),
    Bad("unknown choice", ("bootstrap.rule", "'loose'"),
        recipe=recipe("{stage: bootstrap, rule: loose}", *ALL[1:])),
    Bad("unknown language", ("language", "'tlh'"), recipe=recipe(*ALL, top="language: tlh\n")),
    Bad("negative seed", ("seed", "-1"), recipe=recipe(*ALL, top="seed: -1\n")),
    Bad("unknown stage", ("line 3", "'bootstrp'", "did you mean 'bootstrap'?"),
        recipe=recipe("stage: bootstrp", *ALL[1:])),
    Bad("a stage without name", ("line 3", "'stage'"), recipe=recipe("target: 5", *ALL[1:])),
    Bad("a stage that is a list", ("line 3", "'stage'"), recipe=recipe("[1, 2]", *ALL[1:])),
    Bad("no stages", ("stages",), recipe="name: mine\n"),
    Bad("empty stages", ("'stages' is empty",), recipe="name: mine\nstages: []\n"),
    Bad("stages as mapping", ("stages",), recipe="name: mine\nstages: {bootstrap: {}}\n"),
    Bad("empty file", ("stages",), recipe=""),
    Bad("a list", ("stages",), recipe="- a\n- b\n"),
    Bad("no name", ("name",), recipe="stages:\n  - stage: bootstrap\n"),
    Bad("name with a path", ("name", "../up"), recipe=recipe(*ALL).replace("mine", "../up")),
    Bad("stage name with a path", ("../../up",),
        recipe=recipe("{stage: bootstrap, name: ../../up}", *ALL[1:])),
    Bad("stage name that is a list", ("name",),
        recipe=recipe("{stage: bootstrap, name: [a]}", *ALL[1:])),
    Bad("stage named like a setting", ("'teacher'",),
        recipe=recipe("{stage: bootstrap, name: teacher}", *ALL[1:])),
    Bad("one name twice", ("'bootstrap'",), recipe=recipe(ALL[0], *ALL)),
    Bad("not YAML", ("line 2",), recipe="name: [\n"),
    Bad("a key twice", ("line 2", "'name'", "twice"), recipe="name: a\nname: b\nstages: []\n"),
    Bad("an alias", ("line 2", "alias"), recipe="a: &x 1\nb: *x\n"),
    Bad("a key that is a list", ("line",), recipe="? [a]\n: 1\n"),
    Bad("a key that is a number", ("1",), recipe="1: 2\n" + recipe(*ALL)),
    Bad("tagged for Python", ("line 1",), recipe="name: !!python/object/apply:os.getcwd []\n"),
    Bad("instances before classify", ("stage 2 instances", "'is_classification'"),
        recipe=recipe(ALL[0], ALL[2], ALL[1])),
    Bad("filter before instances", ("stage 2 filter", "'output'"),
        recipe=recipe(ALL[0], ALL[3], ALL[1], ALL[2])),
    Bad("bootstrap second", ("stage 2 bootstrap", "first"),
        recipe=recipe("stage: import", ALL[0])),
    Bad("classify first", ("stage 1 classify",), recipe=recipe(ALL[1], ALL[0])),
    Bad("export in the middle", ("export", "dedup"),
        recipe=recipe(*ALL, "stage: dedup")),
    Bad("unknown filter", ("'word_cuont'", "word_count"),
        recipe=recipe(*ALL[:3], "{stage: filter, filters: {word_cuont: {}}}")),
    Bad("unknown filter setting", ("'word_count'", "'at_last'", "at_least"),
        recipe=recipe(*ALL[:3], "{stage: filter, filters: {word_count: {at_last: 2}}}")),
    Bad("a filter file that is not there", ("nowhere.py",),
        recipe=recipe(*ALL[:3], "{stage: filter, filters: {'nowhere.py:rule': {}}}")),
    Bad("a prompts folder that is not there", ("prompts", "nowhere"),
        recipe=recipe(*ALL, top="prompts: nowhere\n")),
    Bad("no rows in a shard", ("shard_rows",), recipe=recipe(*ALL, top="shard_rows: 0\n")),
    Bad("a reserve beyond all disks", ("reserve_mib", "1e+16"),
        recipe=recipe(*ALL, top="reserve_mib: 1.0e+16\n")),
    Bad("a seed that is text", ("line 2", "seed", "'many'"),
        recipe=recipe(*ALL, top="seed: many\n")),
    Bad("a cap below nothing", ("budget.usd", "-1"),
        recipe=recipe(*ALL, top="budget: {usd: -1}\n")),
    Bad("a cap of no request", ("budget.requests",),
        recipe=recipe(*ALL, top="budget: {requests: 0}\n")),
    Bad("a cap in euros", ("budget.eur", "usd"), recipe=recipe(*ALL, top="budget: {eur: 5}\n")),
    Bad("a cap without a price", ("price of test-model",),
        recipe=recipe(*ALL, top="budget: {usd: 5}\n")),
    Bad("a price below nothing", ("prices.m.input", "-1"),
        recipe=recipe(*ALL, top="prices: {m: {input: -1, output: 1}}\n")),
    Bad("half a price", ("prices.m.output",), recipe=recipe(*ALL, top="prices: {m: {input: 1}}\n")),
    Bad("no concurrency", ("teacher.concurrency",),
        recipe=recipe(*ALL, top="teacher: {concurrency: 0}\n")),
    Bad("a deadline that never comes", ("teacher.timeout_s", "finite"),
        recipe=recipe(*ALL, top="teacher: {timeout_s: .inf}\n")),
    Bad("a grace without an end", ("teacher.grace_s", "finite"),
        recipe=recipe(*ALL, top="teacher: {grace_s: inf}\n")),
    Bad("no attempt", ("teacher.attempts",), recipe=recipe(*ALL, top="teacher: {attempts: 0}\n")),
    Bad("an unknown endpoint", ("teacher.endpoint", "'responses'"),
        recipe=recipe(*ALL, top="teacher: {endpoint: responses}\n")),
    Bad("too hot", ("bootstrap.sampling.temperature", "9"),
        recipe=recipe("{stage: bootstrap, sampling: {temperature: 9}}", *ALL[1:])),
    Bad("no tokens", ("bootstrap.sampling.max_tokens",),
        recipe=recipe("{stage: bootstrap, sampling: {max_tokens: 0}}", *ALL[1:])),
    Bad("a stop that is a number", ("bootstrap.sampling.stop",),
        recipe=recipe("{stage: bootstrap, sampling: {stop: 5}}", *ALL[1:])),
    *(
        Bad(f"extra {given}", ("line 3", "bootstrap.sampling.extra", said),
            recipe=recipe(f"{{stage: bootstrap, sampling: {{extra: {given}}}}}", *ALL[1:]))
        for given, said in (
            ("{n: 5}", "n stand in a request already, or make it cost more"),
            ("{model: dearer, messages: []}", "messages, model stand in"),
            ("{max_completion_tokens: 100000}", "cost more"),
            ("{max_tokens: 100000}", "max_tokens are settings of their own"),
            ("{since: 2020-01-01}", "cannot be sent as JSON"),
            ("{bias: .nan}", "cannot be sent as JSON"),
        )
    ),
    Bad("no window", ("bootstrap.window",),
        recipe=recipe("{stage: bootstrap, window: 0}", *ALL[1:])),
    Bad("no seed task shown", ("from_drafts must be below",),
        recipe=recipe("{stage: bootstrap, from_drafts: 9}", *ALL[1:])),
    Bad("lengths that leave nothing", ("words_at_least is above words_at_most",),
        recipe=recipe("{stage: bootstrap, words_at_least: 10, words_at_most: 5}", *ALL[1:])),
    Bad("half a task", ("bootstrap.target", "1.5"),
        recipe=recipe("{stage: bootstrap, target: 1.5}", *ALL[1:])),
    Bad("no instances", ("instances.instances",),
        recipe=recipe(*ALL[:2], "{stage: instances, instances: 0}", *ALL[3:])),
    Bad("a share above one", ("line 7", "dedup.threshold"),
        recipe=recipe(*ALL[:4], "{stage: dedup, threshold: 2}", ALL[4])),
    Bad("a newer recipe", ("format 99", "needs synth >="), recipe=recipe(*ALL, top="format: 99\n")),
    Bad("too deep", ("line 2", "nested deeper"),
        recipe="name: mine\nstages: " + "[" * 50 + "]" * 50 + "\n"),
    Bad("two documents", ("line 8", "another document"), recipe=recipe(*ALL) + "---\nname: b\n"),
    Bad("true for a number", ("line 3", "bootstrap.target", "not true or false", "True"),
        recipe=recipe("{stage: bootstrap, target: true}", *ALL[1:])),
    Bad("false for a number or null", ("bootstrap.window", "False"),
        recipe=recipe("{stage: bootstrap, window: false}", *ALL[1:])),
    Bad("yes for a share", ("bootstrap.threshold", "not true or false"),
        recipe=recipe("{stage: bootstrap, threshold: yes}", *ALL[1:])),
    Bad("true for money", ("budget.usd", "not true or false"),
        recipe=recipe(*ALL, top="budget: {usd: true}\n")),
    Bad("true for a price", ("prices.m.input", "not true or false"),
        recipe=recipe(*ALL, top="prices: {m: {input: true, output: 1}}\n")),
    Bad("true for the temperature", ("bootstrap.sampling.temperature", "not true or false"),
        recipe=recipe("{stage: bootstrap, sampling: {temperature: true}}", *ALL[1:])),
    Bad("true for a format", ("format", "not true or false"),
        recipe=recipe(*ALL, top="format: true\n")),
    Bad("true for a filter's number", ("line 6", "'word_count'", "at_least", "not true or false"),
        recipe=recipe(*ALL[:3], "{stage: filter, filters: {word_count: {at_least: true}}}")),
    *(
        Bad(f"{given} for a filter", ("line 6", f"'{name}'", setting, said),
            recipe=recipe(*ALL[:3], f"{{stage: filter, filters: {{{name}: {{{given}}}}}}}"))
        for name, setting, given, said in (
            ("word_count", "at_most", "at_most: many", "valid integer"),
            ("word_count", "at_most", "at_most: 2020-01-01", "valid integer"),
            ("keywords", "words", "words: 5", "sequence"),
            ("keywords", "words", "words: [1]", "valid string"),
            ("instances", "drop", "drop: all", "'task'"),
            ("refusal", "words", "words: .inf", "valid integer"),
        )
    ),
    Bad("a role that nobody has", ("bootstrap.when", "'nobody'"),
        recipe=recipe("{stage: bootstrap, when: nobody}", *ALL[1:])),
]  # fmt: skip

BAD_SEEDS = [
    Bad("no seed file", ("nowhere.jsonl", "No such file"), options={"seeds": "nowhere.jsonl"}),
    Bad("a folder as seed file", (".",), options={"seeds": "."}),
    Bad("empty", ("empty",), seeds=""),
    Bad("blank lines only", ("empty",), seeds="\n\n\n"),
    Bad("not JSON", ("line 9", "not JSON"), seeds=seeds("{not json")),
    Bad("not an object", ("line 9", "not a JSON object"), seeds=seeds("[1]")),
    *(
        Bad(f"lacks {name}", ("line 9", f"lacks '{name}'"), seeds=seeds(without(name)))
        for name in ("id", "instruction", "instances", "is_classification")
    ),
    Bad("flag as text", ("line 9", "'is_classification'"),
        seeds=seeds(seed(is_classification="no"))),
    Bad("blank instruction", ("line 9", "'instruction'"), seeds=seeds(seed(instruction=" "))),
    Bad("no instances", ("line 9", "'instances'"), seeds=seeds(seed(instances=[]))),
    Bad("instance without output", ("line 9", "'output'"),
        seeds=seeds(seed(instances=[{"input": ""}]))),
    Bad("one id twice", ("line 9", "seed_3", "line 4"), seeds=seeds(seed(id="seed_3"))),
    Bad("lone surrogate", ("line 9",), seeds=seeds(seed(instruction="\ud800 is no text"))),
    Bad("deep nesting", ("line 9", "not JSON"), seeds=seeds("[" * 100_000)),
    Bad("two bad lines", ("line 9", "line 11"), seeds=seeds("{", seed(), "{")),
    Bad("fewer than a prompt shows", ("8", "12"), seeds=seeds(),
        options={"settings": ["bootstrap.demonstrations=12"]}),
]  # fmt: skip

BAD_COMMANDS = [
    Bad("no such recipe", ("'self-instuct'", "did you mean 'self-instruct'?"),
        options={"recipe": "self-instuct"}),
    Bad("no such recipe file", ("nowhere.yaml",), options={"recipe": "nowhere.yaml"}),
    Bad("a setting without value", ("--set bootstrap.target",),
        options={"settings": ["bootstrap.target"]}),
    Bad("a setting of no stage", ("bootstrp", "did you mean 'bootstrap'?"),
        options={"settings": ["bootstrp.target=5"]}),
    Bad("an unknown setting", ("bootstrap.targte", "did you mean 'target'?"),
        options={"settings": ["bootstrap.targte=5"]}),
    Bad("flags set for numbers", ("3 things", "bootstrap.target", "teacher.timeout_s", "seed:"),
        options={"settings": ["bootstrap.target=true", "teacher.timeout_s=false", "seed=true"]}),
    Bad("until no stage", ("--until", "classfy"), options={"until": "classfy"}),
    Bad("limit of none", ("bootstrap.target",), options={"limit": 0}),
    Bad("input to seeds", ("--seeds",), options={"input": "x.jsonl"}),
    Bad("from no run", ("nowhere",), options={"made_from": "nowhere", "out": "new"}),
    *(
        Bad(f"teacher {uri}", (uri.partition("@")[0],), options={"teacher": uri})
        for uri in (
            "gpt-5", "openai", "openai:", "openai:m@", "openai:m@host:8000", "openai:m@ftp://host/v1",
            "openai:m@http://", "openai:m@http://host:99999/v1", "openai:m@http://a/v1,", "http://host",
            "",
        )
        if uri != "openai:m@"
    ),
    Bad("a password in the address", ("teacher.key=env:",),
        options={"teacher": "openai:m@http://u:secret@host/v1"}),
    *(
        Bad(f"a key after a {mark}", ("'?' or a '#'", "teacher.key=env:"),
            options={"teacher": f"openai:m@http://127.0.0.1:9/v1{mark}key=secret"})
        for mark in "?#"
    ),
    Bad("no key for OpenAI", ("OPENAI_API_KEY",), options={"teacher": "openai:gpt-5"}),
    Bad("no key for OpenAI by address", ("OPENAI_API_KEY",),
        options={"teacher": "openai:gpt-5@https://api.openai.com/v1"}),
    Bad("the key that is named is not set", ("env:MY_KEY", "MY_KEY is not set"),
        options={"settings": ["teacher.key=env:MY_KEY"]}),
    Bad("a key in the recipe", ("teacher.key",), options={"settings": ["teacher.key=sk-123"]}),
    Bad("the key in clear to another host", ("clear text",), environment={"MY_KEY": "k"},
        options={"teacher": "openai:m@http://host/v1", "settings": ["teacher.key=env:MY_KEY"]}),
    Bad("below a file", ("is a file",), options={"out": "file.txt/run"}),
    Bad("a file", ("is a file",), options={"out": "file.txt"}),
    Bad("where nothing can be made", ("/proc",), 7, options={"out": "/proc/self/run"}),
    Bad("a name that is too long", ("xxx", "name too long"), 7, options={"out": "x" * 300}),
    Bad("a folder with other things", ("not empty",), options={"out": "full"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A teacher that nobody should ask."""
    with running_server(tmp_path_factory.mktemp("silent") / "history.jsonl") as server:
        yield server


def run(bad: Bad, server: Server, folder: Path) -> SynthError:
    (folder / "file.txt").write_text("a file", encoding="utf-8")
    (folder / "full").mkdir()
    (folder / "full" / "thesis.doc").write_text("years of work", encoding="utf-8")
    given: dict[str, Any] = {"recipe": "self-instruct", "out": "run"}
    given["teacher"] = f"openai:test-model@{server.url}"
    if bad.recipe is not None:
        (folder / "mine.yaml").write_text(bad.recipe, encoding="utf-8")
        given["recipe"] = "mine.yaml"
    if bad.seeds is not None:
        (folder / "mine.jsonl").write_text(bad.seeds, encoding="utf-8")
        given["seeds"] = "mine.jsonl"
    given |= bad.options
    with pytest.raises(SynthError) as caught:
        execute(prepare(Options(**given), bad.environment), ignore)
    return caught.value


@pytest.mark.parametrize(
    "bad", BAD_RECIPES + BAD_SEEDS + BAD_COMMANDS, ids=lambda bad: bad.name.replace(" ", "_")
)
def test_it_is_refused_by_name_before_any_request(
    bad: Bad, silent: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = silent.counts().get("requests", 0)
    began = time.process_time()
    error = run(bad, silent, tmp_path)
    assert time.process_time() - began <= 3
    assert silent.counts().get("requests", 0) == before
    assert error.exit_code == bad.exit_code, error
    for part in bad.says:
        assert part.lower() in str(error).lower()
    assert len(str(error)) < 1500
    assert "secret" not in str(error)
    assert not (tmp_path / "run").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.doc"]


def test_all_that_is_wrong_is_said_in_one_message(
    silent: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    order = recipe("{stage: bootstrap, demonstrations: 9}", "stage: instances", "stage: classify")
    options = {"teacher": "gpt", "out": "/proc/self/a"}
    bad = Bad("", (), recipe=order, seeds=seeds(), options=options)
    error = run(bad, silent, tmp_path)
    assert error.exit_code == 7
    for part in ("4 things", "'is_classification'", "8 seed tasks", "'gpt'", "/proc"):
        assert part in str(error)


def test_what_is_wrong_outside_the_recipe_is_said_beside_what_is_wrong_in_it(
    silent: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = recipe("{stage: bootstrap, target: many}", "stage: clasify", *ALL[2:])
    options = {"teacher": "gpt", "out": "full", "settings": ["bootstrap.sampling.top_p=2", "x=1"]}
    bad = Bad("", (), recipe=wrong, seeds=seeds("{"), options=options)
    said = str(run(bad, silent, tmp_path))
    for part in ("'many'", "'clasify'", "top_p", "'x'", "line 9", "'gpt'", "not empty"):
        assert part in said
    assert silent.counts().get("requests", 0) == 0


def test_what_a_wrong_recipe_names_is_looked_at_in_the_same_pass(
    silent: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key, price, prompts, seeds and filters are no second pass after what is no setting."""
    monkeypatch.chdir(tmp_path)
    top = (
        "teacher: {concurency: 5, key: env:MY_KEY}\nbudget: {usd: 5}\nprompts: no-prompts\n"
        "seeds: no-seeds.jsonl\n"
    )
    filters = "{stage: filter, filters: {word_cuont: {}, 'nowhere.py:f': {}}}"
    wrong = recipe("{stage: bootstrap, threshold: 7}", *ALL[1:3], filters, ALL[4], top=top)
    options = {"settings": ["x=1", "no-value", "bootstrap.target=["], "limit": 5}
    said = str(run(Bad("", (), recipe=wrong, options=options), silent, tmp_path))
    for part in (
        *("10 things", "concurency", "threshold", "'word_cuont'", "nowhere.py", "--set x"),
        *("no-value", "--set bootstrap.target", "MY_KEY is not set", "price of test-model"),
        *("no-prompts", "no-seeds.jsonl"),
    ):
        assert part in said
    assert silent.counts().get("requests", 0) == 0


def test_every_changed_identity_setting_is_named(
    run_synth: RunSynth, silent: Server, small_run: Path, tmp_path: Path
) -> None:
    before = books.all_files(small_run)
    mine = tmp_path / "mine.jsonl"
    mine.write_text(seeds(), encoding="utf-8")
    changed = ["seed=1", "bootstrap.window=9", "bootstrap.from_drafts=1", "shard_rows=50"]
    changed += ["classify.sampling.temperature=1", "instances.instances=4", "bootstrap.target=60"]
    teacher = f"openai:test-model@{silent.url}"
    with pytest.raises(SynthError) as caught:
        run_synth(small_run, *changed, teacher=teacher, seeds=str(mine))
    assert caught.value.exit_code == 2
    names = re.findall(r"^- (\S+) was", str(caught.value), re.MULTILINE)
    assert sorted(names) == [
        "bootstrap.from_drafts", "bootstrap.window", "classify.sampling.temperature",
        "instances.instances", "seed", "seeds", "teacher.model",
    ]  # fmt: skip
    assert silent.counts().get("requests", 0) == 0
    assert books.all_files(small_run) == before


def test_a_damaged_run_json_is_refused_as_damaged(run_synth: RunSynth, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"format": 1, "sta', encoding="utf-8")
    with pytest.raises(SynthError, match=r"run\.json is damaged") as caught:
        run_synth(tmp_path / "run")
    assert caught.value.exit_code == 6


def test_a_run_of_a_newer_format_is_refused(run_synth: RunSynth, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(SynthError, match="format 99") as caught:
        run_synth(tmp_path / "run")
    assert caught.value.exit_code == 2
