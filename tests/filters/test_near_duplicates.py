import random
import subprocess
import sys
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import shingles
from filters.near_duplicates import (
    Settings,
    banding,
    judge_shards,
    near_duplicates,
    shingle_hashes,
    sign_shards,
    signatures,
)
from filters.near_duplicates.clusters import joined
from filters.shingles import tokens

ENGINES = [0, 10**9]  # characters from which the compiled one reads
WORD = st.sampled_from(["a", "b", "c", "d", "好", "你", "한", "🙂", "!"])
TEXT = st.none() | st.lists(WORD, max_size=14).map(" ".join)


def judge(texts, **settings_):
    """The filter on rows that have no input and no output."""
    ids = pl.Series([f"r{i}" for i in range(len(texts))], dtype=pl.String)
    empty = pl.Series([""] * len(texts), dtype=pl.String)
    return near_duplicates(ids, pl.Series(texts, dtype=pl.String), empty, empty, **settings_)


def shingle_set(text, ngram):
    words = tokens(text or "")
    return {tuple(words[i : i + ngram]) for i in range(max(1, len(words) - ngram + 1)) if words}


def jaccard(a, b):
    return len(a & b) / len(a | b) if a or b else 0.0


def plain_clusters(texts, threshold, ngram):
    """Comparing each with each: the first row of every row's cluster."""
    sets = [shingle_set(text, ngram) for text in texts]
    alike = [
        (i, j)
        for i, j in combinations(range(len(texts)), 2)
        if sets[i] and sets[j] and jaccard(sets[i], sets[j]) >= threshold
    ]
    root = list(range(len(texts)))
    for _ in texts:
        for i, j in alike:
            root[i] = root[j] = min(root[i], root[j])
    return root


def edited_texts(n, seed=0):
    """Texts with many near copies: a few words of each replaced, left out or put in."""
    rng = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(400)] + list("春夏秋冬天地人和")
    originals = [rng.choices(vocabulary, k=rng.randrange(3, 90)) for _ in range(n // 3)]
    texts = []
    for _ in range(n):
        words = list(rng.choice(originals))
        for _ in range(rng.randrange(3)):
            words[rng.randrange(len(words))] = rng.choice(vocabulary)
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize("small", ENGINES)
@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(TEXT, max_size=14),
    threshold=st.sampled_from([0.3, 0.5, 0.8, 1.0]),
    ngram=st.integers(1, 4),
)
def test_clusters_are_those_of_comparing_each_with_each(small, texts, threshold, ngram):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shingles, "SMALL", small)
        # every permutation a band of its own: what shares a shingle is nearly always compared
        found = judge(texts, threshold=threshold, ngram=ngram, permutations=256, rows=1)
    expected = [f"r{root}" for root in plain_clusters(texts, threshold, ngram)]
    kept = [f"r{i}" for i in range(len(texts))]
    assert [ref or own for ref, own in zip(found["ref"], kept, strict=True)] == expected


def test_both_engines_give_the_same_verdicts(monkeypatch):
    texts = edited_texts(600)
    found = []
    for small in ENGINES:
        monkeypatch.setattr(shingles, "SMALL", small)
        found.append(judge(texts))
    assert found[0].equals(found[1])
    assert 100 < found[0]["reason"].count() < 600


def test_batches_do_not_change_the_verdicts(monkeypatch):
    texts = edited_texts(200)
    whole = judge(texts)
    monkeypatch.setattr(shingles, "BATCH", 7)
    assert judge(texts).equals(whole)
    assert whole["reason"].count() > 20


def test_a_small_run_does_not_load_the_compiler():
    script = (
        "import sys, polars as pl; from filters.near_duplicates import near_duplicates;"
        "s = pl.Series([f'write {i} about {i * 7 % 13}' for i in range(500)]);"
        "near_duplicates(s, s, s, s); sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.8, 0.9])
def test_the_chosen_bands_find_nearly_all_pairs(threshold):
    texts = edited_texts(900, seed=1)
    expected = plain_clusters(texts, threshold, 5)
    found = judge(texts, threshold=threshold)
    roots = [int(ref[1:]) if ref else i for i, ref in enumerate(found["ref"])]
    # nothing is dropped that comparing each with each would keep
    assert all(expected[i] == expected[root] for i, root in enumerate(roots))
    dropped = sum(root != i for i, root in enumerate(expected))
    assert found["reason"].count() >= 0.99 * dropped


def test_the_threshold_itself_is_alike():
    texts = ["a b c d e", "a b c d f", "p q r s", "p q r s t"]
    found = judge(texts, ngram=1, rows=1, threshold=0.8)
    assert found["reason"].to_list() == [None, None, None, "near_duplicate"]
    assert judge(texts, ngram=1, rows=1, threshold=0.81)["reason"].count() == 0


def test_texts_shorter_than_a_shingle_are_alike_only_where_their_tokens_are_the_same():
    found = judge(
        ["Write a poem.", "write a poem!", "write a poem now", "诗", "诗。", "poem a write"]
    )
    assert found["ref"].to_list() == [None, "r0", None, None, "r3", None]


def test_rows_without_tokens_are_kept():
    found = judge(["", None, "?!", "🙂", "", None])
    assert found["reason"].null_count() == 6
    texts = {"reason": pl.String, "detail": pl.String, "ref": pl.String}
    assert found.schema == texts | {"similarity": pl.Float64}


def test_chinese_is_compared_by_sign():
    texts = [
        "请把下面的句子翻译成英文，然后解释每个词的意思。",
        "请把下面的句子翻译成英文，再解释每个词的意思！",
    ]
    assert judge(texts, threshold=0.5)["reason"].to_list() == [None, "near_duplicate"]
    assert judge(texts, threshold=0.8)["reason"].null_count() == 2


def test_very_long_texts_are_compared():
    rng = random.Random(3)
    words = [f"w{rng.randrange(5000)}" for _ in range(50_000)]
    texts = [" ".join(words), " ".join(words[:25_000]), " ".join(words[1000:])]
    assert judge(texts)["ref"].to_list() == [None, None, "r0"]


def row(text, **more):
    return {"instruction": text, "input": "", "output": "", "rating": None, **more}


LONG = "one two three four five six seven eight nine ten eleven twelve thirteen"
ALIKE = [LONG, LONG + " fourteen", LONG.upper()]


def kept_of(rows, **settings_):
    frame = pl.DataFrame(rows, schema_overrides={"rating": pl.Float64})
    columns = (frame[name] for name in ("instruction", "input", "output"))
    found = near_duplicates(pl.Series(range(len(rows))), *columns, **settings_)
    return [i for i, reason in enumerate(found["reason"]) if reason is None], frame


def test_the_best_rating_is_kept_then_the_longest_output_then_the_first():
    rated = [row(text, rating=value) for text, value in zip(ALIKE, [3, 5, 4], strict=True)]
    kept, frame = kept_of(rated)
    assert kept == [0]  # no rating handed in, no output: the first
    assert kept_of(rated, rating=frame["rating"])[0] == [1]

    tied = [
        row(LONG, output=output, rating=rating)
        for output, rating in [
            ("yes", 2),
            ("yes.", 4),
            ("yes!!", 4),
            ("yes?!", 4),
            ("yes, yes", None),
        ]
    ]
    kept, frame = kept_of(tied, threshold=0.5)
    assert kept == [4]
    assert kept_of(tied, threshold=0.5, rating=frame["rating"])[0] == [2]
    nan = frame["rating"].fill_null(float("nan"))
    assert kept_of(tied, threshold=0.5, rating=nan)[0] == [2]


def test_a_dropped_row_names_the_kept_row_and_the_similarity():
    found = judge([LONG, LONG + " fourteen", "something else that is not like it at all"])
    assert found.row(0) == found.row(2) == (None, None, None, None)
    assert found.row(1) == ("near_duplicate", "Jaccard 0.9 with the one kept of 2 rows", "r0", 0.9)


def test_a_chain_is_one_cluster_and_its_detail_tells():
    words = LONG.split()
    texts = [" ".join(words[i:] + [f"x{j}" for j in range(i)]) for i in (0, 1, 2)]
    found = judge(texts, threshold=0.8)
    assert found["ref"].to_list() == [None, "r0", "r0"]
    assert found["detail"][2] == "Jaccard 0.636 with the one kept of 3 rows"
    assert found["similarity"][2] == 7 / 11


def test_instruction_input_and_output_count_together():
    frame = pl.DataFrame(
        {
            "instruction": ["Add these", "Add", "Add these", None],
            "input": ["1 2 3 4 5 6 7", "these 1 2 3 4 5 6 7", None, "Add these 1 2 3 4 5 6 7 28"],
            "output": ["28", "28", "28", None],
        }
    )
    found = near_duplicates(pl.Series(["a", "b", "c", "d"]), *frame)
    assert found["ref"].to_list() == [None, "a", None, "a"]


def test_only_the_named_columns_count():
    texts = pl.Series(["Sort the list"] * 2)
    others = pl.Series(["3 1 2", "of these words there are none in the other row"])
    ids = pl.Series(["a", "b"])
    found = near_duplicates(ids, texts, others, others, columns=["instruction"])
    assert found["ref"].drop_nulls().to_list() == ["b"]  # whose output is longer
    assert near_duplicates(ids, texts, others, texts)["reason"].null_count() == 2


@settings(deadline=None, max_examples=30)
@given(st.lists(TEXT, max_size=20))
def test_rows_keep_order_and_count_and_the_kept_stay_kept(texts):
    found = judge(texts, ngram=2)
    assert found.height == len(texts)
    kept = [text for text, reason in zip(texts, found["reason"], strict=True) if reason is None]
    assert judge(kept, ngram=2)["reason"].null_count() == len(kept)


@pytest.mark.parametrize("small", ENGINES)
@settings(deadline=None, max_examples=40)
@given(
    texts=st.lists(st.text(max_size=30) | TEXT.filter(bool), max_size=5),
    permutations=st.sampled_from([1, 16, 128]),
    ngram=st.integers(1, 6),
    seed=st.integers(0, 3),
)
def test_signatures_are_those_of_datasketch(small, texts, permutations, ngram, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shingles, "SMALL", small)
        found = signatures(texts, permutations=permutations, ngram=ngram, seed=seed)
    assert found.dtype == np.uint32
    assert found.shape == (len(texts), permutations)
    for text, signature in zip(texts, found, strict=True):
        sketch = MinHash(permutations, seed, hashfunc=int, scheme="affine32")
        sketch.update_batch(shingle_hashes(text, ngram=ngram).tolist())
        assert signature.tolist() == sketch.hashvalues.tolist()


def test_signatures_go_into_an_index_of_datasketch():
    index = MinHashLSH(threshold=0.8, num_perm=128)
    signed = signatures([LONG, LONG + " fourteen"])
    index.insert("first", MinHash(hashvalues=signed[0], scheme="affine32"))
    assert index.query(MinHash(hashvalues=signed[1], scheme="affine32")) == ["first"]


@given(st.integers(1, 100).map(lambda n: n / 100), st.integers(1, 300))
def test_bands_fit_into_the_permutations(threshold, permutations):
    bands, rows = banding(threshold, permutations)
    assert bands >= 1
    assert rows >= 1
    assert bands * rows <= permutations


def test_bands_or_rows_alone_leave_the_other_to_the_permutations():
    assert Settings(bands=20).banding == (20, 6)
    assert Settings(rows=4).banding == (32, 4)
    assert Settings(bands=3, rows=5).banding == (3, 5)


@pytest.mark.parametrize(
    "setting",
    [
        {"threshold": 0},
        {"threshold": 1.1},
        {"permutations": 0},
        {"ngram": 0},
        {"rows": 0},
        {"bands": 16, "rows": 9},
        {"columns": []},
        {"columns": ["instruction", "text"]},
    ],
)
def test_settings_that_cannot_be_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        judge(["a"], **setting)


def shards_of(frame, n, folder):
    """The frame cut into n Parquet files, and names for what is made of them."""
    step = max(1, -(-frame.height // n))
    names = [folder / f"{i:02d}" for i in range(n)]
    for i, name in enumerate(names):
        frame.slice(i * step, step).write_parquet(name)
    return [[name.with_suffix(end) for name in names] for end in ("", ".signed", ".verdicts")]


def edited_rows(n):
    rng = random.Random(5)
    texts = edited_texts(n)
    return pl.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(n)],
            "instruction": [rng.choice([text, text, None, text.upper()]) for text in texts],
            "input": [rng.choice([None, "", text[:20]]) for text in texts],
            "output": [rng.choice(["", "yes", "no", "so so", None]) for _ in texts],
            "stars": [rng.choice([None, 1.0, 2.0]) for _ in texts],
        }
    )


@pytest.mark.parametrize(
    ("n", "workers", "rating"),
    [(1, 1, None), (7, 1, None), (7, 3, "stars"), (64, 1, "stars")],
)
def test_shards_get_the_verdicts_of_the_whole(n, workers, rating, tmp_path, monkeypatch):
    frame = edited_rows(500)
    columns = (frame[name] for name in ("row_id", "instruction", "input", "output"))
    whole = near_duplicates(*columns, threshold=0.7, rating=frame[rating] if rating else None)
    assert 50 < whole["reason"].count() < 450

    monkeypatch.setattr("filters.near_duplicates.clusters.AT_ONCE", 2000)
    monkeypatch.setattr("filters.near_duplicates.shards.ROW_GROUP", 50)
    sources, signed, verdicts = shards_of(frame, n, tmp_path)
    sign_shards(sources, signed, Settings(threshold=0.7), rating=rating, workers=workers)
    judge_shards(signed, verdicts)
    found = [pl.read_parquet(path) for path in verdicts]
    assert [part.height for part in found] == [pl.read_parquet(path).height for path in sources]
    assert pl.concat(found).equals(whole.insert_column(0, frame["row_id"]))
    assert sorted(tmp_path.iterdir()) == sorted([*sources, *signed, *verdicts])


@pytest.mark.parametrize(
    ("texts", "refs"),
    [
        ([], []),
        ([None], [None]),
        (["", "!"], [None, None]),
        (["one two", "One two"], [None, "0"]),
    ],
)
def test_shards_of_few_rows_or_of_none_are_judged(texts, refs, tmp_path):
    texts = pl.Series(texts, dtype=pl.String)
    frame = pl.DataFrame({"row_id": pl.int_range(len(texts), eager=True), "instruction": texts})
    frame = frame.with_columns(input=texts, output=texts)
    sources, signed, verdicts = shards_of(frame, 2, tmp_path)
    sign_shards(sources, signed, Settings())
    judge_shards(signed, verdicts)
    found = pl.concat(map(pl.read_parquet, verdicts))
    assert found["row_id"].to_list() == [str(i) for i in range(len(texts))]
    assert found["ref"].to_list() == refs


def test_no_shards_are_no_error_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    judge_shards([], [])
    sign_shards([], [], Settings())
    assert list(tmp_path.iterdir()) == []


def test_shards_that_were_signed_otherwise_are_refused(tmp_path):
    sources, signed, verdicts = shards_of(edited_rows(10), 2, tmp_path)
    with pytest.raises(ValueError, match="00 is not a signature file"):
        judge_shards(sources, verdicts)
    sign_shards(sources[:1], signed[:1], Settings())
    sign_shards(sources[1:], signed[1:], Settings(threshold=0.7))
    with pytest.raises(ValueError, match="signed with other settings"):
        judge_shards(signed, verdicts)
    with pytest.raises(ValueError, match="no column score"):
        sign_shards(sources, signed, Settings(), rating="score")


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11))))
def test_joined_rows_have_the_lowest_row_as_root(n, links):
    links = [(a, b) for a, b in links if a < n and b < n]
    expected = list(range(n))
    for _ in range(n):
        for a, b in links:
            expected[a] = expected[b] = min(expected[a], expected[b])
    a, b = np.array(links, np.int64).reshape(-1, 2).T
    assert joined(np.arange(n), a, b).tolist() == expected
