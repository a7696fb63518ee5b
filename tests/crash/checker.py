"""What must hold of a history: pure functions, each gives the violations that it found, in words.

Imports nothing of the product and believes nothing that it says of itself: the server's log is the
witness, the journal as it lay there at each death says what was settled.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from tests.crash.history import Death, Event, History
from tests.crash.published import Record

SETTLED_AFTER_S = 0.25
"""A reply that was whole this long before a kill has reached the journal."""


def journalled_replies_are_never_asked_again(history: History) -> list[str]:
    """R1, exact: what the journal held at the instant of death is not sent once more."""
    found = []
    for n, death in enumerate(history.deaths):
        settled = Counter(record.asked for record in death.journal if record.asked)
        found += [f"kill {n}: request {h} was in the journal"
                  for h in _too_often(history, n, settled)]  # fmt: skip
    return found


def old_replies_are_never_asked_again(history: History) -> list[str]:
    """R1 by the server alone: a reply sent 250 ms before a kill is not asked for after it.

    A quarter of a second of a machine that has room: where the run's threads waited for a
    processor, that time is added.
    """
    found = []
    good = _good(history)
    for n, death in enumerate(history.deaths):
        begun = _contact_after(history, history.deaths[n - 1].over if n else 0)
        limit = death.killed - _margin_ns(death)
        settled = Counter(e["hash"][:24] for e in good if begun < e["t"] <= limit)
        found += [f"kill {n}: {h} was answered long before, and asked again"
                  for h in _too_often(history, n, settled)]  # fmt: skip
    return found


def _too_often(history: History, n: int, settled: Counter[str]) -> list[str]:
    """Of the settled requests those that came again after the n-th death.

    In a conversation a failed try may be followed by one in the same words: what the unkilled run
    asked twice may be asked twice, less what is settled, until the next death.
    """
    until, needed = 2**63, Counter[str]()
    if history.workload.conversations:
        until = history.deaths[n + 1].over if n + 1 < len(history.deaths) else until
        needed = history.clean_times
    later = (e for e in _requests_after(history, history.deaths[n]) if e["t"] <= until)
    again = Counter(e["hash"][:24] for e in later)
    return [h for h in settled if again[h] > max(needed.get(h, 1) - settled[h], 0)]


def _margin_ns(death: Death) -> int:
    return int((SETTLED_AFTER_S + death.starved_s) * 1e9)


def _contact_after(history: History, t: int) -> int:
    """When the next launch came to the server. A late server may answer the dead until then."""
    times = [e["t"] for e in history.events if e["event"] == "request" and e["kind"] == "models"]
    return next((time for time in times if time > t), 2**63)


def _was_safe(history: History, event: Event) -> bool:
    """Whether no kill came so soon after a reply that it may not have reached the journal."""
    return not any(
        d.killed - _margin_ns(d) < event["t"] <= _contact_after(history, d.over)
        for d in history.deaths
    )


def requests_are_bounded(history: History) -> list[str]:
    """R1: requests <= slots + retries + C x kills, and no slot has two answers.

    Where a slot is a conversation, each of its requests counts as one, and none may be asked that
    the unkilled run did not ask.
    """
    sent = len(history.paid_requests())
    of = _ask if history.workload.conversations else _slot
    slots = asked_slots(history)
    retries = len(_own(history.journal, "failure")) + len(_bad(history.journal))
    kills = len(history.deaths)
    bound = len(slots) + retries + history.workload.concurrency * kills
    found = []
    if sent > bound:
        found.append(
            f"{sent} requests, and {len(slots)} slots + {retries} retries + "
            f"{history.workload.concurrency} x {kills} kills allow {bound}"
        )
    if history.workload.conversations:
        others = set(map(_ask, _own(history.journal, "intent"))) - history.clean_asks
        found += [f"slot {slot} of {stage} asked {key}, an unkilled run never did"
                  for stage, slot, key in others]  # fmt: skip
    answers = Counter(of(r) for r in _own(history.journal, "reply") if r.asked)
    twice = [slot for slot, n in answers.items() if n > 1]
    return found + [f"slot {slot} of {stage} was answered twice" for stage, slot, *_ in twice]


def asked_slots(history: History) -> set[tuple[object, ...]]:
    """What may be asked once: the slots, where they are conversations each of their requests."""
    of = _ask if history.workload.conversations else _slot
    return {of(record) for record in _own(history.journal, "intent")}


def _slot(record: Record) -> tuple[str, int]:
    return record.stage, record.slot


def _ask(record: Record) -> tuple[str, int, str]:
    return record.stage, record.slot, record.key


def every_request_was_booked_before_it_left(history: History) -> list[str]:
    """R12: at no death has the server seen more requests than the journal has intents."""
    found = []
    paid = history.paid_requests()
    moments = [(f"kill {n}", d.over, d.journal) for n, d in enumerate(history.deaths)]
    moments.append(("the end", 2**63, history.journal))
    for name, t, journal in moments:
        sent = sum(e["t"] <= t for e in paid)
        booked = len(_own(journal, "intent"))
        if sent > booked:
            found.append(f"{name}: the server saw {sent} requests, {booked} intents are booked")
    return found


def no_reply_was_lost(history: History) -> list[str]:
    """R2: the journal holds every whole reply of the server, but for C a kill."""
    found = []
    replies = history.replies()
    limit = history.workload.concurrency
    for n, death in enumerate([*history.deaths, None]):
        t = death.killed if death else 2**63
        journal = death.journal if death else history.journal
        kept = sum(
            r.kind in ("reply", "failure") and not r.is_copied and r.note.get("outcome") != "cut"
            for r in journal
        )
        sent = sum(e["t"] <= t for e in replies)
        kills = n + 1 if death else n
        if sent - kept > limit * kills:
            name = f"kill {n}" if death else "the end"
            found.append(f"{name}: {sent} whole replies were sent, {kept} are journalled")
    asked = {record.asked for record in history.journal if record.asked}
    for event in _good(history):
        if event["hash"][:24] not in asked and _was_safe(history, event):
            found.append(f"the reply to {event['hash'][:24]} is not in the journal")
    return found


def the_journal_only_grows(history: History) -> list[str]:
    """R5: consecutive numbers, sound CRCs, and what once stood there stands there still."""
    found = []
    before: list[Record] = []
    for n, journal in enumerate([*(d.journal for d in history.deaths), history.journal]):
        if [r.number for r in journal] != list(range(1, len(journal) + 1)):
            found.append(f"kill {n}: the numbers of the records are not consecutive")
        found += [f"kill {n}: the CRC of record {r.number} is wrong"
                  for r in journal if not r.is_sound]  # fmt: skip
        if journal[: len(before)] != before:
            found.append(f"kill {n}: records that were there are gone or changed")
        before = journal
    keys = Counter(record.key for record in _own(before, "reply"))
    return found + [f"request {key} has {n} replies" for key, n in keys.items() if n > 1]


def files_are_those_of_the_unkilled_run(history: History) -> list[str]:
    """R3 and R7: at each death every file is whole and the one to be, and at the end all are."""
    if history.caps:
        return _rows_are_those_of_the_unkilled_run(history)
    found = []
    for n, death in enumerate(history.deaths):
        for name, digest in death.files.items():
            if name not in history.clean_files:
                found.append(f"kill {n}: {name} belongs to nothing")
            elif history.clean_files[name] != digest:
                found.append(f"kill {n}: {name} is not what the unkilled run wrote")
    if history.files != history.clean_files:
        wrong = {name for name, _ in history.files.items() ^ history.clean_files.items()}
        found.append(f"at the end {len(wrong)} files differ: {sorted(wrong)[:5]}")
    return found


def _rows_are_those_of_the_unkilled_run(history: History) -> list[str]:
    """A stage that ends early publishes what it has, so later cuts between its shards move."""
    wrong = {name for name, _ in history.rows.items() ^ history.clean_rows.items()}
    wrong |= {
        name
        for name, _ in history.files.items() ^ history.clean_files.items()
        if name.startswith("data/")
    }
    return [f"at the end {len(wrong)} differ: {sorted(wrong)[:5]}"] if wrong else []


def readers_never_lose_rows(history: History) -> list[str]:
    """R7: whoever reads the folders naively after a kill succeeds and sees no row go."""
    found = []
    before: dict[str, int] = {}
    for n, death in enumerate(history.deaths):
        found += [f"kill {n}: {problem}" for problem in death.problems]
        for folder, rows in before.items():
            if death.rows.get(folder, 0) < rows:
                found.append(f"kill {n}: {folder} fell from {rows} rows")
        before = before | death.rows
    return found


def the_same_command_ends_the_run(history: History) -> list[str]:
    """R4, R23 and the books: every start ends as it must, and a finished run stays as it is."""
    found = [f"a start ended with exit code {code}: {history.said}"
             for code in history.exit_codes if code]  # fmt: skip
    for n, death in enumerate(history.deaths):
        if death.left_alive:
            found.append(f"kill {n}: processes {death.left_alive} outlived it")
        if death.second_start not in (None, 8):
            found.append(f"kill {n}: a second start beside the first: {death.second_start}")
    found += [f"{path} changed as a finished run was started again"
              for path in history.changed_when_run_again]  # fmt: skip
    return found + history.books


def who_is_refused_asks_nothing(history: History) -> list[str]:
    """R23: a start that finds the run locked sends no request, not even for the list of models."""
    found = []
    for refusal in history.refusals:
        sent = [e for e in history.events
                if e["event"] == "request" and refusal.began < e["t"] < refusal.ended]  # fmt: skip
        if sent:
            found.append(f"a start on {refusal.host!r} was refused and sent {len(sent)} requests")
    return found


def a_cap_is_never_passed(history: History) -> list[str]:
    """R11: what the server billed while a cap held, of all that was ever asked, is below it."""
    found = []
    for cap in history.caps:
        billed = _billed(history, cap.until)
        if billed > cap.tokens:
            found.append(f"{billed} tokens were billed under a cap of {cap.tokens}")
        if set(cap.exit_codes) != {3}:
            found.append(f"under a cap of {cap.tokens} starts ended with {cap.exit_codes}")
    return found


def _billed(history: History, until: int) -> int:
    return sum(
        e["prompt_tokens"] + e["completion_tokens"]
        for e in history.events
        if e["event"] == "bill" and e["t"] <= until
    )


def the_ledger_brackets_the_servers_books(history: History) -> list[str]:
    """R12: confirmed <= what the server billed <= confirmed + unknown; equal without a fault."""
    billed = _billed(history, 2**63)
    confirmed, unknown = spent(history.journal)
    if not confirmed <= billed <= confirmed + unknown:
        return [f"{billed} tokens were billed: {confirmed} are confirmed, {unknown} unknown"]
    if not history.deaths and not history.workload.rules and confirmed != billed:
        return [f"{billed} tokens were billed and {confirmed} are confirmed"]
    return []


def spent(journal: Sequence[Record]) -> tuple[int, int]:
    """Confirmed and unknown tokens, recounted from the records."""
    confirmed = unknown = 0
    open_worst: dict[str, list[int]] = {}
    for record in journal:
        if record.is_copied:
            continue
        worst = sum(record.note.get("worst") or (0,))
        if record.kind == "intent":
            open_worst.setdefault(record.key, []).append(worst)
            continue
        if open_worst.get(record.key):  # else it was never booked: said by another check
            open_worst[record.key].pop()
        if record.note.get("input_tokens") is not None:
            confirmed += record.note["input_tokens"] + record.note["output_tokens"]
        else:
            unknown += worst
    return confirmed, unknown + sum(sum(worsts) for worsts in open_worst.values())


CHECKS: tuple[Callable[[History], list[str]], ...] = (
    journalled_replies_are_never_asked_again,
    old_replies_are_never_asked_again,
    requests_are_bounded,
    every_request_was_booked_before_it_left,
    no_reply_was_lost,
    the_journal_only_grows,
    files_are_those_of_the_unkilled_run,
    readers_never_lose_rows,
    the_same_command_ends_the_run,
    who_is_refused_asks_nothing,
    a_cap_is_never_passed,
    the_ledger_brackets_the_servers_books,
)


def violations(history: History) -> list[str]:
    """All violations, each with the name of what it violates."""
    return [f"{check.__name__}: {text}" for check in CHECKS for text in check(history)]


def sent_again(history: History) -> int:
    """How many requests were sent that a teacher had been sent before, for the table."""
    return len(history.paid_requests()) - len({e["hash"] for e in history.paid_requests()})


# what the scenarios without kills ask


def early_requests(history: History, margin_s: float = 0.1) -> list[str]:
    """R14: requests that came before the time was over that a Retry-After asked for."""
    found = []
    asks = [e for e in history.events if e["event"] == "fault" and "retry_after" in e["params"]]
    for ask in asks:
        low = ask["t"] + int(margin_s * 1e9)
        high = ask["t"] + int(float(ask["params"]["retry_after"]) * 1e9)
        early = [e for e in history.paid_requests() if low < e["t"] < high]
        if early:
            found.append(f"{len(early)} requests before {ask['params']['retry_after']} s were over")
    return found


def overspent(history: History, cap_tokens: int) -> list[str]:
    """R11: what the server billed above the cap."""
    billed = _billed(history, 2**63)
    return (
        [f"{billed} tokens were billed under a cap of {cap_tokens}"] if billed > cap_tokens else []
    )


def _requests_after(history: History, death: Death) -> list[Event]:
    return [e for e in history.paid_requests() if e["t"] > death.over]


def _good(history: History) -> list[Event]:
    """Whole replies that hold an answer."""
    return [e for e in history.replies() if e["status"] == 200 and not e.get("fault")]


def _own(journal: Sequence[Record], kind: str) -> list[Record]:
    return [r for r in journal if r.kind == kind and not r.is_copied]


def _bad(journal: Sequence[Record]) -> list[Record]:
    return [r for r in _own(journal, "reply") if r.asked is None]
