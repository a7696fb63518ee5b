"""Tables and records: turn them into Markdown or JSON, sort, filter and add them up."""

from __future__ import annotations

import json
from random import Random

from pipeline.teacher.offline.family import Family
from pipeline.teacher.offline.phrasing import Slots
from pipeline.teacher.offline.words import pool, sentence

Row = tuple[str, int, int]


def _goods(rng: Random) -> list[Row]:
    names = rng.sample(pool("item"), rng.randint(3, 5))
    prices = rng.sample(range(2, 90), len(names))
    return [(name, rng.randint(1, 40), price) for name, price in zip(names, prices, strict=True)]


def _csv(rows: list[Row]) -> str:
    return "\n".join(["item,count,price", *(f"{a},{b},{c}" for a, b, c in rows)])


def _markdown(_: Slots, rng: Random) -> tuple[str, str]:
    rows = _goods(rng)
    lines = ["| item | count | price |", "| --- | --- | --- |"]
    return _csv(rows), "\n".join([*lines, *(f"| {a} | {b} | {c} |" for a, b, c in rows)])


def _sort(slots: Slots, rng: Random) -> tuple[str, str]:
    rows = _goods(rng)
    by_price = slots["column"] == "price"
    return _csv(rows), _csv(sorted(rows, key=lambda row: row[2] if by_price else row[0]))


def _total(_: Slots, rng: Random) -> tuple[str, str]:
    rows = _goods(rng)
    worth = " + ".join(f"{b} x {c}" for _, b, c in rows)
    return _csv(rows), f"{worth} = {sum(b * c for _, b, c in rows)}"


def _filter(slots: Slots, rng: Random) -> tuple[str, str]:
    rows, limit = _goods(rng), int(slots["n"])
    kept = [name for name, _, price in rows if price > limit]
    return _csv(rows), ", ".join(kept) or "None of them."


def _dearest(_: Slots, rng: Random) -> tuple[str, str]:
    rows = _goods(rng)
    dearest = max(rows, key=lambda row: row[2])
    return _csv(rows), f"{sentence(dearest[0])}, at {dearest[2]}."


def _to_json(_: Slots, rng: Random) -> tuple[str, str]:
    rows = _goods(rng)
    records: list[dict[str, str | int]] = [{"item": a, "count": b, "price": c} for a, b, c in rows]
    return _csv(rows), json.dumps(records, indent=1)


def _person(slots: Slots, _: Random) -> tuple[str, str]:
    record: dict[str, object] = {
        "name": slots["name"],
        "age": int(slots["n"]),
        "city": slots["city"],
        "hobbies": [slots["hobby"], slots["hobby2"]],
    }
    return "", json.dumps(record, indent=2)


def _order(slots: Slots, _: Random) -> tuple[str, str]:
    record: dict[str, object] = {
        "order": int(slots["id"]),
        "customer": slots["name"],
        "lines": [
            {"item": slots["item"], "quantity": int(slots["n"])},
            {"item": slots["item2"], "quantity": int(slots["m"])},
        ],
    }
    return "", json.dumps(record, indent=2)


FAMILIES = (
    Family("csv_to_markdown", "tables", "work", _markdown, "Table"),
    Family("sort_rows", "tables", "work", _sort, "Table", pools={"column": ("price", "item")}),
    Family("table_total", "tables", "work", _total, "Table"),
    Family("filter_rows", "tables", "work", _filter, "Table"),
    Family("dearest", "tables", "work", _dearest, "Table"),
    Family("csv_to_json", "data formats", "code", _to_json, "CSV"),
    Family("person_json", "data formats", "code", _person),
    Family("order_json", "data formats", "code", _order),
)
