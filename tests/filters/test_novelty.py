import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import LCSseq
from rouge_score.rouge_scorer import RougeScorer

import filters.novelty as novelty_package
from filters.novelty import Nearest, NoveltyIndex, Verdicts, novelty
from filters.novelty.index import Engine
from filters.novelty.words import Vocabulary
from filters.rouge import Rule, Tokens, f_measure, is_duplicate, tokens
from tests.soaked import REASON, SOAK

Verdict = tuple[bool, int, int]  # accepted, nearest entry, LCS

ENGINES: list[Engine] = ["numpy", "numba"]
WORD = st.sampled_from(["a", "b", "c", "d", "e", "1", "好", "你", "한", "мир", "🙂", "é", "!"])
TEXT = st.lists(WORD, max_size=12).map(" ".join)
NEAR_THRESHOLD = st.lists(st.sampled_from("abc"), min_size=7, max_size=13).map(" ".join)
LONG = st.lists(st.sampled_from("abcdefgh"), min_size=55, max_size=140).map(" ".join)


def plain_lcs(a: list[str], b: list[str]) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, 1):
            above = row[j]
            row[j] = diagonal + 1 if x == y else max(above, row[j - 1])
            diagonal = above
    return row[-1]


def plain_filter(
    texts: list[str],
    *,
    threshold: float = 0.7,
    kind: Tokens = "unicode",
    rule: Rule = "strict",
    lcs: Callable[[list[str], list[str]], int] = plain_lcs,
) -> list[Verdict]:
    """Accepted, nearest entry and LCS of every text, by comparing it with every entry."""
    pool: list[list[str]] = []
    verdicts: list[Verdict] = []
    for text in texts:
        words = tokens(text, kind=kind)
        scored = []
        for entry, other in enumerate(pool):
            found, m, n = lcs(words, other), len(words), len(other)
            exact = Fraction(2 * found, m + n) if found else Fraction(0)
            score = f_measure(found, m, n) if rule == "published" else exact
            scored.append((score, -entry, found, n))
        _, entry, found, n = max(scored, default=(0, 1, 0, 0))
        duplicate = is_duplicate(found, len(words), n, threshold=threshold, rule=rule)
        if not duplicate:
            pool.append(words)
        verdicts.append((not duplicate, -entry, found))
    return verdicts


def rows(verdicts: Verdicts) -> list[Verdict]:
    columns = verdicts.accepted, verdicts.entry, verdicts.lcs
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("engine", ENGINES)
@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(TEXT | NEAR_THRESHOLD, max_size=30) | st.lists(LONG, max_size=6),
    threshold=st.sampled_from([0.05, 0.5, 0.7, 0.7, 0.7, 0.9, 1.0]),
    kind=st.sampled_from(["unicode", "published"]),
    rule=st.sampled_from(["strict", "published"]),
    cut=st.integers(0, 30),
)
def test_verdicts_are_those_of_comparing_with_every_entry(
    engine: Engine, texts: list[str], threshold: float, kind: Tokens, rule: Rule, cut: int
) -> None:
    expected = plain_filter(texts, threshold=threshold, kind=kind, rule=rule)
    index = NoveltyIndex(threshold=threshold, tokens=kind, rule=rule, engine=engine)
    found = rows(index.filter(texts[:cut])) + rows(index.filter(texts[cut:]))
    assert found == expected

    deciding = NoveltyIndex(threshold=threshold, tokens=kind, rule=rule, engine=engine)
    found = rows(deciding.filter(texts, nearest=False))
    assert found == [row if not row[0] else (True, -1, 0) for row in expected]


@pytest.mark.parametrize("engine", ENGINES)
@settings(deadline=None, max_examples=30)
@given(texts=st.lists(TEXT | NEAR_THRESHOLD, max_size=15))
def test_published_verdicts_are_those_of_the_published_loop(
    engine: Engine, texts: list[str]
) -> None:
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    pool: list[str] = []
    index = NoveltyIndex(tokens="published", rule="published", engine=engine)
    verdicts = index.filter(texts)
    for row, text in enumerate(texts):
        scores = [scorer.score(entry, text)["rougeL"].fmeasure for entry in pool]
        met = verdicts.nearest(row)
        assert (met and met.f) == max(scores, default=None)
        assert (met and met.entry) == (scores.index(max(scores)) if scores else None)
        assert verdicts.accepted[row] == (max(scores, default=0.0) <= 0.7)
        if verdicts.accepted[row]:
            pool.append(text)


@pytest.mark.parametrize("engine", ENGINES)
def test_texts_of_any_length_are_compared_exactly(engine: Engine) -> None:
    rng = random.Random(0)

    def text(n: int, vocabulary: int) -> list[str]:
        return [f"w{rng.randrange(vocabulary)}" for _ in range(n)]

    # one strip of the scan is 4,096 tokens: below, at and beyond it, two of them, and edits
    drawn = [text(n, 50) for n in (4095, 4096, 4097, 5000, 8192, 9000)] + [text(5000, 10**6)]
    drawn += [
        [word if rng.random() < keep else "x" for word in drawn[i]]
        for i, keep in [(2, 0.75), (3, 0.65), (3, 0.9), (5, 0.8), (6, 0.7)]
    ]
    texts = [" ".join(words) for words in drawn]
    expected = plain_filter(texts, lcs=LCSseq.similarity)
    assert {accepted for accepted, *_ in expected} == {True, False}
    assert rows(NoveltyIndex(engine=engine).filter(texts)) == expected


def test_a_text_of_5000_tokens_against_the_plain_lcs() -> None:
    rng = random.Random(1)
    a = [rng.choice("abcdefgh") for _ in range(5000)]
    b = [letter for letter in a if rng.random() < 0.6][:1500]
    index = NoveltyIndex(engine="numba")
    index.add([" ".join(a)])
    assert index.nearest(" ".join(b)) == Nearest(0, plain_lcs(a, b), len(b), 5000)


@pytest.mark.parametrize("rule", ["strict", "published"])
def test_both_engines_and_the_change_between_them_answer_alike(
    rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(2)
    words = [f"w{i}" for i in range(60)]
    texts = [" ".join(rng.choices(words, k=rng.randrange(25))) for _ in range(1500)]
    copies = [text.replace("w1", "v", rng.randrange(3)) for text in texts[::3]]
    texts = rng.sample(texts + copies, 2000)

    monkeypatch.setattr("filters.novelty.index.SMALL_US", 40_000)  # auto changes over on the way
    found = {}
    for engine in ("numpy", "numba", "auto"):
        index = NoveltyIndex(rule=rule, engine=engine)
        index.add(texts[:100])
        parts = [index.filter(texts[i : i + 7]) for i in range(100, 2000, 7)]
        found[engine] = [row for part in parts for row in rows(part)]
    assert found["numpy"] == found["numba"] == found["auto"]
    assert 0 < sum(accepted for accepted, *_ in found["auto"]) < 1900


@pytest.mark.parametrize("rule", ["strict", "published"])
def test_deciding_alone_answers_as_with_the_nearest_entry_over_many_blocks_and_pages(
    rule: Rule,
) -> None:
    rng = random.Random(3)
    words = [f"w{i}" for i in range(300)]
    lengths = [5, 6, 20, 40, 90, 200]  # signatures of 1, 1, 2, 4, 8 and 16 words
    texts = [rng.choices(words, k=lengths[i % 6] + rng.randrange(2)) for i in range(5000)]
    for i in range(1, 5000, 3):  # a near copy of an earlier one, of its own block or of a full page
        texts[i] = list(texts[rng.choice([rng.randrange(i), max(0, i - 5)])])
        for at in rng.sample(range(len(texts[i])), rng.randrange(len(texts[i]) // 2)):
            texts[i][at] = rng.choice(words)
    stream = [" ".join(text) for text in texts]

    nearest = rows(NoveltyIndex(rule=rule, engine="numba").filter(stream))
    deciding = NoveltyIndex(rule=rule, engine="numba")
    parts = [deciding.filter(stream[i : i + 700], nearest=False) for i in range(0, 5000, 700)]
    found = [row for part in parts for row in rows(part)]
    assert found == [row if not row[0] else (True, -1, 0) for row in nearest]
    assert 500 < sum(not accepted for accepted, *_ in found) < 1500
    assert found[:1500] == rows(
        NoveltyIndex(rule=rule, engine="numpy").filter(stream[:1500], nearest=False)
    )


def test_a_small_run_does_not_load_the_compiler() -> None:
    script = (
        "import sys; from filters.novelty import NoveltyIndex; index = NoveltyIndex();"
        "[index.filter([f'write {i} about {i * 7 % 13} and {j}' for j in range(4)])"
        " for i in range(500)]; sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


FIRST_COMPARED_LATER_COMPILED = """
from filters.novelty import NoveltyIndex, index
from filters.novelty.loading import loading
index.SMALL_US = 100  # two calls are work enough to begin to load, and none enough to wait
novelty = NoveltyIndex()
first = [novelty.filter([text]).accepted.item() for text in ("a b c", "a b c d")]
is_beside = loading().is_alive()
loading().join()
second = novelty.filter(["c d e", "c d e f", "a b c"]).accepted.tolist()
from filters.novelty import kernels, scan
hits = kernels.stream.stats.cache_hits.total()
print(first, second, is_beside, type(novelty._large).__name__, hits)
"""


def compared(cache: Path, *prefix: str, **more: str) -> str:
    """What a process of its own says whose cache of compiled code lies there."""
    command = [*prefix, sys.executable, "-c", FIRST_COMPARED_LATER_COMPILED]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), **more}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


ANSWERS = "[True, False] [True, False, False]"


def test_numpy_answers_while_the_compiler_is_at_work(tmp_path: Path) -> None:
    assert compared(tmp_path) == f"{ANSWERS} True ScanSearch 0"
    assert compared(tmp_path).endswith("ScanSearch 1")  # read, not compiled


@pytest.mark.skipif(not SOAK, reason=REASON)
def test_two_processes_compile_at_once_and_a_third_reads_what_they_left(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        both = [*pool.map(compared, [tmp_path] * 2)]
    assert [said.rpartition(" ")[0] for said in both] == [f"{ANSWERS} True ScanSearch"] * 2
    assert compared(tmp_path).endswith("ScanSearch 1")
    assert not [*tmp_path.rglob("*.tmp.*")]


@pytest.mark.skipif(not SOAK, reason=REASON)
def test_compiled_code_is_read_from_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    cache, home = tmp_path / "cache", tmp_path / "home"
    source, clean = Path(novelty_package.__file__).parents[1], shutil.ignore_patterns("__pycache__")
    tree = Path(shutil.copytree(source, tmp_path / "filters", ignore=clean))
    home.mkdir()
    where = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONPATH": str(tmp_path),
             "PYTHONSAFEPATH": "1"}  # fmt: skip
    prefix = []
    if os.geteuid() == 0:  # root writes anywhere, unless it gives that up
        if not shutil.which("setpriv"):
            pytest.skip("root can write anywhere, and there is no setpriv to give that up with")
        prefix = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    compared(cache, **where)
    writable = [path for path in (cache, home, tree) for path in (path, *path.rglob("*"))]
    try:
        for path in writable:
            path.chmod(0o555)
        before = sorted(tmp_path.rglob("*"))
        assert compared(cache, *prefix, **where).endswith("ScanSearch 1")
        # nowhere to read from, nowhere to write to: compiled for this process alone
        assert compared(home / "none", *prefix, **where) == f"{ANSWERS} True ScanSearch 0"
        assert sorted(tmp_path.rglob("*")) == before
    finally:
        for path in writable:
            path.chmod(0o755)


@pytest.mark.skipif(not SOAK, reason=REASON)  # test_compiled.py has smaller ones
def test_a_damaged_cache_of_compiled_code_costs_time_and_no_answer(tmp_path: Path) -> None:
    compared(tmp_path)
    files = [*tmp_path.rglob("*.nbi")]
    assert files
    for file in files:
        file.write_bytes(b"")
    assert compared(tmp_path) == f"{ANSWERS} True ScanSearch 0"
    assert compared(tmp_path).endswith("ScanSearch 1")


@pytest.mark.parametrize("engine", ENGINES)
def test_ties_go_to_the_first_entry(engine: Engine) -> None:
    index = NoveltyIndex(engine=engine)
    index.add(["no match here", "a b x y z", "a b c", "a b d", "a b e"])
    assert index.nearest("a b f") == Nearest(2, 2, 3, 3)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("rule", "expected"), [("strict", Nearest(0, 3, 5, 4)), ("published", Nearest(1, 4, 5, 7))]
)
def test_published_scores_tie_as_floats_not_as_fractions(
    engine: Engine, rule: Rule, expected: Nearest
) -> None:
    index = NoveltyIndex(rule=rule, engine=engine)
    index.add(["a b c x", "a b c d x y z"])  # both 2/3, as floats ...65 and ...66
    assert index.nearest("a b c d e") == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_pool_has_no_nearest_entry(engine: Engine) -> None:
    index = NoveltyIndex(engine=engine)
    assert index.nearest("anything") is None
    assert len(index.filter([])) == 0
    assert len(index) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_text_without_tokens_is_accepted_and_nearest_to_the_first_entry(engine: Engine) -> None:
    index = NoveltyIndex(engine=engine)
    verdicts = index.filter(["", "", "!?", "one", ""])
    assert verdicts.accepted.all()
    assert verdicts.entry.tolist() == [-1, 0, 0, 0, 0]
    assert verdicts.f.tolist() == [0.0] * 5
    assert index.nearest("two") == Nearest(0, 0, 1, 0)


def test_chinese_is_compared_by_character_unless_the_published_tokens_are_asked_for() -> None:
    texts = ["请把下面的句子翻译成英文。", "请把下面的句子翻译成法文。", "写一首关于春天的诗。"]
    assert NoveltyIndex().filter(texts).accepted.tolist() == [True, False, True]
    published = NoveltyIndex(tokens="published").filter([*texts, *texts])
    assert published.accepted.all()


def test_nearest_leaves_the_pool_as_it_is() -> None:
    index = NoveltyIndex()
    index.add(["a b c"])
    assert index.nearest("a b c d") == Nearest(0, 3, 4, 3)
    assert len(index) == 1


@settings(deadline=None)
@given(st.lists(st.text() | TEXT, max_size=8), st.sampled_from(["unicode", "published"]))
def test_the_vocabulary_encodes_the_tokens_of_every_text(texts: list[str], kind: Tokens) -> None:
    vocabulary = Vocabulary(kind)
    ids, offsets = vocabulary.encode(texts)
    words = [word.decode() for word in vocabulary]
    found = [[words[i] for i in ids[a:b]] for a, b in pairwise(offsets)]
    assert found == [tokens(text, kind=kind) for text in texts]


@pytest.mark.parametrize("engine", ENGINES)
@settings(deadline=None, max_examples=20)
@given(texts=st.lists(TEXT, max_size=20), cut=st.integers(0, 20))
def test_a_saved_index_goes_on_where_it_was(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, texts: list[str], cut: int
) -> None:
    path = tmp_path_factory.mktemp("index") / "novelty.npz"
    index = NoveltyIndex(threshold=0.6, tokens="published", rule="published", engine=engine)
    index.filter(texts[:cut])
    index.save(path)
    restored = NoveltyIndex.load(path, engine=engine)
    assert (restored.limit, restored.tokens) == (index.limit, "published")
    assert len(restored) == len(index)
    assert rows(restored.filter(texts[cut:])) == rows(index.filter(texts[cut:]))
    assert [file.name for file in path.parent.iterdir()] == ["novelty.npz"]


def test_a_file_that_is_not_a_whole_index_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "novelty.npz"
    NoveltyIndex().save(path)
    whole = path.read_bytes()
    with np.load(path) as saved:
        parts = dict(saved)
    broken = [
        {**parts, "format": np.array(99)},
        {**parts, "rule": np.array("loose")},
        {**parts, "offsets": np.array([0, 5])},
        {**parts, "offsets": np.array([0, 2, 1, 0]), "ids": np.zeros(0, np.int32)},
        {**parts, "offsets": np.array([0, 1]), "ids": np.array([7], np.int32)},
        {**parts, "ids": np.zeros((0, 2), np.int32)},
        {**parts, "vocabulary": np.frombuffer(b"\0\na\na", np.uint8)},
        {**parts, "ids": np.array([{}])},  # would be a pickle
        {"format": parts["format"]},
    ]
    for case in broken:
        np.savez(path, **case)
        with pytest.raises(ValueError, match=r"novelty\.npz is not a novelty index"):
            NoveltyIndex.load(path)
    for content in (b"", b"{}", whole[:-30], whole[:200]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"novelty\.npz is not a novelty index"):
            NoveltyIndex.load(path)
    with pytest.raises(FileNotFoundError):
        NoveltyIndex.load(tmp_path / "none.npz")


def test_a_file_with_one_wrong_byte_is_refused_or_reads_as_before(tmp_path: Path) -> None:
    path = tmp_path / "novelty.npz"
    index = NoveltyIndex()
    index.add(["a b c", "写 d"])
    index.save(path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x15]) + whole[at + 1 :])
        try:
            restored = NoveltyIndex.load(path)
        except ValueError:
            continue
        assert restored.limit == index.limit
        assert len(restored) == 2
        assert restored.nearest("a b c d") == index.nearest("a b c d")


@pytest.mark.parametrize(
    "setting", [{"tokens": "latin"}, {"engine": "fast"}, {"rule": "loose"}, {"threshold": 7}]
)
def test_an_unknown_setting_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"unknown|threshold"):
        NoveltyIndex(**setting)


def test_the_column_filter_names_what_a_dropped_row_met() -> None:
    against = pl.Series(["write a story about a dog"])
    instruction = pl.Series(
        [
            "write a story about a big dog",
            "sort these numbers",
            "sort these big numbers",
            None,
            "sort these numbers",
        ]
    )
    found = novelty(instruction, against=against)
    assert found.schema == {
        "reason": pl.String,
        "detail": pl.String,
        "ref": pl.Int64,
        "score": pl.Float64,
    }
    assert found["reason"].to_list() == ["not_novel", None, "not_novel", None, "not_novel"]
    assert found["ref"].to_list() == [0, 0, 2, 0, 2]
    assert found["detail"][0] == "ROUGE-L 0.92 (lcs 6 of 7 and 6 tokens)"
    assert found["score"].to_list() == [f_measure(6, 7, 6), 0.0, f_measure(3, 4, 3), 0.0, 1.0]


def test_the_first_row_has_nothing_to_be_compared_with() -> None:
    found = novelty(pl.Series(["one", "two"]))
    assert found.row(0) == (None, None, None, None)
    assert found.row(1) == (None, "ROUGE-L 0.0 (lcs 0 of 1 and 1 tokens)", 0, 0.0)


@pytest.mark.parametrize("against", [None, pl.Series([], dtype=pl.String)])
def test_a_column_without_rows_has_no_verdicts(against: pl.Series | None) -> None:
    assert novelty(pl.Series([], dtype=pl.String), against=against).height == 0


@settings(deadline=None)
@given(st.lists(TEXT | st.none(), max_size=25))
def test_kept_rows_are_all_kept_when_filtered_again(texts: list[str | None]) -> None:
    column = pl.Series(texts, dtype=pl.String)
    found = novelty(column)
    assert found.height == len(column)
    kept = column.filter(found["reason"].is_null())
    assert novelty(kept)["reason"].is_null().all()
