"""A teacher on loopback that answers the OpenAI protocol, and misbehaves on demand.

It is a test tool: standard library only, HTTP written by hand so that it can be wrong on purpose.
Its history log is the only witness of the tests; what a client counts about itself proves nothing.

In a test:

    with running_server(tmp_path / "history.jsonl", plan=[...], seed=7) as server:
        ...  # any client, in any process, at server.url
        assert server.faults("rst_mid_body") > 0
        paid = server.counts()["billed"]

By hand: `python -m tests.teacher_server --history h.jsonl --plan plan.json`, and `--list-faults`.

A plan is a list of rules, of which the first that matches a request decides:

    [{"fault": "status", "status": 503, "match": {"attempt": {"max": 2}}},
     {"fault": "garbage", "match": {"probability": 0.1}},
     {"fault": "rate_limit", "retry_after": 3, "match": {"nth": 37}},
     {"fault": "black_hole", "match": {"after": 10, "until": 20}, "times": 5}]

`match` may name kind, path, method, model, key, stream, listener, attempt (of this request), nth
(since the plan was set), each as a value, a list, or {"min", "max"}; every, probability, prompt (a
pattern), hash (a prefix), and after and until (seconds since the plan was set). What is random
depends on seed, request and attempt, never on the order of arrival. An object may hold `rules`
beside settings: content, latency, limiter, keys, models, known_models_only, bill_on_abort, seed.

Events of the history: start, open, close, request, first_byte, reply (the last byte of a whole
answer is in the kernel's hands), cut (the server ended an answer before its end), abort (the client
did), fault, bill, plan, control, listener_down, listener_up, error, stop. Tokens are UTF-8 bytes
divided by 4, rounded up. A request is billed when its answer is complete, cut or aborted, unless it
was refused.
"""
