"""The dataset card: what is in `data/`, where it came from, what was dropped and why."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from filters.decontaminate import read_benchmarks
from pipeline import store, yaml_text
from pipeline.errors import DamagedError
from pipeline.manifest import FileEntry, RunManifest, StageManifest
from pipeline.package_data import PROMPTS
from pipeline.recipe import classified_settings
from pipeline.run import card_header
from pipeline.run.teacher_terms import terms_of
from pipeline.seed_tasks import BUILTIN
from pipeline.stage import OPERATIONAL
from pipeline.stages import STAGES, clean, decontaminate, export
from pipeline.templates import parse
from pipeline.terminal import shorten

OFFLINE = "offline"
SOURCES = 20
"""How many sources a card names one by one."""
LANGUAGE = r"^[a-z]{2,3}$"
LANGUAGES = 50
LONGEST = 200
LONGEST_REASON = 80
OF_OURS = re.compile(r"[a-z0-9_]{1,80}")
"""How the reasons of the rules that ship with synth look."""
OUR_LICENCE = "apache-2.0"
"""Of the seed tasks and the grammar that ship with synth."""
IN_A_FOLDER = re.compile(r"([a-z]+:)?/(?:[^/]*/)*([^/]*)")
TEMPLATE = PROMPTS / "dataset_card.md"


def render(
    run: Path,
    state: RunManifest,
    stages: Sequence[StageManifest],
    files: Sequence[FileEntry],
    shards: Sequence[Path] | None = None,
    ahead: Path | None = None,
) -> str:
    """The text of `data/README.md`, with the YAML header that the `datasets` package reads.

    `shards` are those of the exported rows where they are not in their place yet, and `ahead` is a
    folder that holds exported files which are not.
    """
    template = parse(TEMPLATE.read_text(encoding="utf-8"), where=str(TEMPLATE))
    recipe = _recipe(run)
    last, of_export = stages[-2:]  # the export itself has no shards
    config = export.Config.model_validate(of_export.settings)
    said = config.card or export.Card()
    exported = store.shards(run / last.folder, last) if shards is None else shards
    writers = _writers(exported, last)
    sources, teachers, has_others = _sources(exported, last)
    seeds_sha256 = state.identity.get("seeds")
    has_our_seeds = bool(seeds_sha256) and str(recipe.get("seeds", "builtin")) == "builtin"
    seeds = BUILTIN if has_our_seeds else Path(str(recipe.get("seeds", "")))
    rows = {
        side: sum(entry.rows for entry in files if entry.path.startswith(f"data/messages/{side}-"))
        for side in card_header.SIDES
    }
    licence = said.license or _licence(
        sources, teachers, has_our_seeds=has_our_seeds, has_others=has_others
    )
    languages = _languages(exported, last) or [recipe.get("language", "en")]
    header = card_header.render(
        languages=languages,
        licence=licence,
        is_synthetic=bool(teachers),
        categories=_categories(exported, last),
        size=_size_category(sum(rows.values())),
        files=files,
        in_memory={entry.path: _in_memory(entry, run, ahead) for entry in files},
        schemas=export.schemas(last.columns, config),
    )
    return template.render(
        {
            "header": header.rstrip("\n"),
            "recipe": state.recipe,
            "description": _plain(str(recipe.get("description") or "")),
            "writers": [{"name": _code(name), "rows": n} for name, n in writers[:SOURCES]],
            "more_writers": max(len(writers) - SOURCES, 0),
            "rows_of_more": sum(n for _, n in writers[SOURCES:]),
            "has_offline": any(name == OFFLINE for name, _ in writers),
            "seeds": _code(seeds.name) if seeds_sha256 else None,
            "seeds_licence": OUR_LICENCE if has_our_seeds else _code(said.seeds_license),
            "seeds_sha256": seeds_sha256,
            "input": _code(Path(state.input["path"]).name) if state.input else None,
            "sources": sources,
            "scorer": _code(state.identity.get("scorer.model")),
            "licence": _code(licence),
            "is_own_word": said.license is not None,
            "depends_on": _depends_on(
                has_seeds=bool(seeds_sha256), has_sources=bool(sources), has_teacher=bool(teachers)
            ),
            "terms": _terms(teachers),
            "judge": _code(state.judge),
            "judged_by_teacher": state.judged_by_teacher,
            "teacher": _code(state.teacher),
            "looked_for": _looked_for(state, stages),
            "rows": rows,
            "has_completion": any(entry.path.startswith("data/completion/") for entry in files),
            "settings": _settings(state, stages, has_teacher=bool(teachers)),
            "stages": [
                {
                    "name": stage.name,
                    "candidates": stage.candidates,
                    "kept": stage.kept,
                    "dropped": stage.dropped,
                    "reasons": _reasons(stage.dropped_by_reason),
                }
                for stage in stages
            ],
            "limits": _limits(state, stages, languages, teachers),
        }
    )


def _in_memory(entry: FileEntry, run: Path, ahead: Path | None) -> int:
    """The bytes of an exported file as an Arrow table."""
    path = run / entry.path
    if ahead is not None and (ahead / entry.path).is_file():
        path = ahead / entry.path
    with store.opened(path) as file:
        return sum(batch.nbytes for batch in file.iter_batches(batch_size=store.ROW_GROUP))


def _recipe(run: Path) -> dict[str, Any]:
    """The run's recipe as it is written in its folder."""
    path = run / "recipe.yaml"
    try:
        tree = yaml_text.load(path.read_text(encoding="utf-8"), where=str(path))
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}.") from error
    return tree if isinstance(tree, dict) else {}


def _languages(shards: Sequence[Path], last: StageManifest) -> list[str]:
    """The languages of the exported rows, most rows first; none where no row says its own.

    What a row says is data: only what has the form of a code is one.
    """
    if not shards or "language" not in last.columns:
        return []
    named = store.read_frame(shards, ["language"]).drop_nulls()
    codes = named.filter(pl.col("language").str.contains(LANGUAGE))
    counts = codes.group_by("language").len().sort(["len", "language"], descending=[True, False])
    found: list[str] = counts["language"].to_list()[:LANGUAGES]
    return found


def _writers(shards: Sequence[Path], last: StageManifest) -> list[tuple[str, int]]:
    """Who wrote the exported rows, by the rows themselves, most first."""
    names = [name for name in ("teacher", "source") if name in last.columns]
    frame = store.read_frame(shards, names)
    null = pl.lit(None, pl.String)
    columns = [
        pl.col(name) if name in names else null.alias(name) for name in ("teacher", "source")
    ]
    named = frame.select(pl.coalesce(*columns, pl.lit("people or programs unknown")).alias("by"))
    counts = named.group_by("by").len().sort(["len", "by"], descending=[True, False])
    return [(str(name), int(n)) for name, n in counts.iter_rows()]


def _sources(
    shards: Sequence[Path], last: StageManifest
) -> tuple[list[dict[str, object]], list[str], bool]:
    """The sources that the exported rows name, each with its licence; the teachers; whether others.

    Most rows first; of more than `SOURCES` the rest is one entry. What a row says is data: it comes
    on one line, with no mark in it that ends a piece of code. The others are rows of which neither
    a teacher nor a licence is named.
    """
    names = [name for name in ("source", "license", "teacher") if name in last.columns]
    if not shards or not names:
        return [], [], bool(shards)
    frame = store.read_frame(shards, names)
    of_known = [pl.col(name).is_not_null() for name in names if name != "source"]
    has_others = bool(frame.select((~pl.any_horizontal(pl.lit(False), *of_known)).any()).item())
    teachers: list[str] = []
    if "teacher" in names:
        counted = frame["teacher"].drop_nulls().value_counts()
        teachers = counted.sort(["count", "teacher"], descending=[True, False])["teacher"].to_list()
    by = [name for name in names if name != "teacher"]
    if not by:
        return [], teachers, has_others
    said = frame.filter(pl.any_horizontal(pl.col(by).is_not_null()))
    counts = said.group_by(by).len().sort(["len", *by], descending=[True, *(False for _ in by)])
    found: list[dict[str, object]] = [
        {
            "name": _code(row.get("source")),
            "licence": _code(row.get("license")),
            "rows": row["len"],
            "more": 0,
        }
        for row in counts.head(SOURCES).to_dicts()
    ]
    if rest := int(counts["len"].slice(SOURCES).sum()):
        found.append({"name": None, "licence": None, "rows": rest, "more": counts.height - SOURCES})
    return found, teachers, has_others


def _licence(
    sources: Sequence[dict[str, object]],
    teachers: Sequence[str],
    *,
    has_our_seeds: bool,
    has_others: bool,
) -> str | None:
    """The licence of the whole, where it follows from what is known; else null.

    It does where all rows are of one licence and no teacher wrote any, and where the offline
    teacher wrote them all from the seed tasks that ship with synth.
    """
    named = {source["licence"] for source in sources}
    if teachers:
        is_ours = list(teachers) == [OFFLINE] and has_our_seeds and named <= {None}
        return OUR_LICENCE if is_ours else None
    is_one = len(named) == 1 and not has_others and all(not source["more"] for source in sources)
    only = next(iter(named)) if is_one else None
    return only if isinstance(only, str) else None


def _terms(teachers: Sequence[str]) -> list[dict[str, str | None]]:
    """What is known of the terms of each teacher but the one that ships with synth."""
    found: list[dict[str, str | None]] = []
    for name in teachers[:SOURCES]:
        if name == OFFLINE:
            continue
        terms = terms_of(name)
        known = {} if terms is None else {"said": terms.said, "read": terms.read}
        family = None if terms is None else terms.family
        found.append({"name": _code(name), "family": family, **known})
    return found


def _categories(shards: Sequence[Path], last: StageManifest) -> list[str]:
    """The hub's names of what the rows are for: classification only where most rows are that."""
    categories = ["text-generation"]
    if shards and "is_classification" in last.columns:
        share = store.read_frame(shards, ["is_classification"])["is_classification"].mean()
        if isinstance(share, float) and share > 0.5:
            categories.append("text-classification")
    return categories


def _settings(state: RunManifest, stages: Sequence[StageManifest], *, has_teacher: bool) -> str:
    """The recipe as YAML: each stage with what was set otherwise than by default.

    Left out is what does not reach a row (addresses, prices, concurrency); of a file or folder of
    this machine its name alone stands there.
    """
    steps: list[dict[str, Any]] = []
    for stage in stages:
        kind = next((kind for kind in STAGES if kind.name == stage.stage), None)
        given = stage.settings
        if kind is not None and kind.version == stage.version:
            default = kind.config()
            silent = {p for p, (c, _) in classified_settings(default) if c is OPERATIONAL}
            usual = default.model_dump(mode="json")
            given = {
                name: value
                for name, value in stage.settings.items()
                if name not in silent and value != usual.get(name)
            }
        own = {name: _without_folders(value) for name, value in given.items() if name != "card"}
        steps.append({stage.name: own})
    whole = {
        "recipe": state.recipe,
        "synth": state.synth,
        "seed": state.identity.get("seed"),
        **({"teacher": state.teacher} if has_teacher else {}),
        "stages": steps,
    }
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True).replace("```", "~~~").strip()


def _without_folders(value: Any) -> Any:  # noqa: ANN401 - any setting
    """A setting without the folders of this machine that its texts name.

    >>> _without_folders({"/home/me/own.py:short": ["hf:/models/small", "a/b"], "most": 3})
    {'own.py:short': ['hf:small', 'a/b'], 'most': 3}
    """
    if isinstance(value, dict):
        return {_without_folders(name): _without_folders(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(one) for one in value]
    if isinstance(value, str) and (found := IN_A_FOLDER.fullmatch(value)) is not None:
        return f"{found[1] or ''}{found[2]}"
    return value


def _limits(
    state: RunManifest,
    stages: Sequence[StageManifest],
    languages: Sequence[str],
    teachers: Sequence[str],
) -> list[str]:
    """What this data set lacks, as far as the run can tell."""
    names = {stage.stage for stage in stages}
    rated = names & {"rate", "compare", "keep", "teacher-tag"}
    found = []
    if teachers:
        found.append("What a teacher gets wrong, or leans to, is in the rows that it wrote.")
    if state.judged_by_teacher:
        found.append("The teacher rated what it had written itself: judges favour their own.")
    elif not rated:
        found.append("No judge has rated the rows.")
    if decontaminate.STAGE.name not in names:
        found.append("Prompts of benchmarks may be among the rows: nobody looked for them.")
    looked_at = set(stages[-2].columns)
    used = _rules(stages)
    if "personal_data" not in used and "masked" not in looked_at:
        found.append("Personal data were not looked for.")
    if "secrets" not in used and "masked" not in looked_at:
        found.append("Secrets, as keys and passwords, were not looked for.")
    if "toxicity" not in used | looked_at:
        found.append("Toxic text was not looked for.")
    if len(languages) == 1:
        found.append(f"All rows are taken to be in one language ({languages[0]}).")
    return found


def _rules(stages: Sequence[StageManifest]) -> set[str]:
    """The rules that `clean` went by, and the filters that `filter` did."""
    found: set[str] = set()
    for stage in stages:
        if stage.stage == clean.STAGE.name:
            config = clean.Config.model_validate(stage.settings)
            found |= {name for name, value in config if value is not False}
        elif stage.stage == "filter":
            found |= set(stage.settings.get("filters", ()))
    return found


def _code(text: str | None) -> str | None:
    """A text of a row as it may stand between backticks."""
    if text is None:
        return None
    return shorten(" ".join(text.split()).replace("`", "'"), LONGEST) or "(blank)"


def _plain(text: str) -> str:
    """A text of a recipe as it may stand in a line of Markdown, and means what it says."""
    line = shorten(text, LONGEST)
    return re.sub(r"[\\`*<>\[\]|#&]", lambda sign: f"\\{sign[0]}", line)


def _reasons(dropped: Mapping[str, int]) -> str:
    r"""Rules and their rows as a cell of a table, most first; one's own rules may say anything.

    >>> print(_reasons({"not_novel": 3, "a|b\n<i>": 2}))
    not_novel 3, `a\|b <i>` 2
    """
    counts = Counter(dropped).most_common()
    named = [f"{_reason(name)} {n}" for name, n in counts[:SOURCES]]
    if rest := counts[SOURCES:]:
        named.append(f"{len(rest)} others {sum(n for _, n in rest)}")
    return ", ".join(named)


def _reason(name: str) -> str:
    if OF_OURS.fullmatch(name):
        return name
    quoted = shorten((_code(name) or "").replace("\\", "/"), LONGEST_REASON)
    return f"`{quoted}`".replace("|", "\\|")


def _looked_for(state: RunManifest, stages: Sequence[StageManifest]) -> list[dict[str, object]]:
    """What each stage of decontamination looked for: the file, its SHA-256, and its benchmarks.

    A file that is gone, or is another by now, is named without what is in it.
    """
    found: list[dict[str, object]] = []
    for stage in stages:
        if stage.stage != decontaminate.STAGE.name:
            continue
        path = stage.settings.get("benchmarks")
        digest = state.identity.get(f"{stage.name}.file.{path}")
        prompts = None if path is None else _prompts(Path(path), digest)
        counts = None if prompts is None else prompts.group_by("benchmark").len()
        named = (
            []
            if counts is None
            else counts.sort(["len", "benchmark"], descending=[True, False]).rows()
        )
        found.append(
            {
                "stage": stage.name,
                "file": None if path is None else _code(Path(path).name),
                "sha256": digest,
                "prompts": None if prompts is None else prompts.height,
                "benchmarks": [{"name": _code(name or ""), "n": n} for name, n in named[:SOURCES]],
                "more": max(len(named) - SOURCES, 0),
            }
        )
    return found


def _prompts(path: Path, digest: object) -> pl.DataFrame | None:
    """The prompts of a file, where it is still the one that was looked into."""
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return None
        return read_benchmarks(path)
    except (OSError, ValueError, pl.exceptions.PolarsError):
        return None


def _depends_on(*, has_seeds: bool, has_sources: bool, has_teacher: bool) -> str:
    """What the licence of the result depends on."""
    parts = [
        *(["the licences of the rows that were taken in"] if has_sources else []),
        *(["the seed tasks"] if has_seeds else []),
        *(["the terms of the teacher"] if has_teacher else []),
    ]
    return " and on ".join(parts) or "where its rows come from"


def _size_category(rows: int) -> str:
    for limit, name in (
        (1_000, "n<1K"),
        (10_000, "1K<n<10K"),
        (100_000, "10K<n<100K"),
        (1_000_000, "100K<n<1M"),
    ):
        if rows < limit:
            return name
    return "n>1M"
