"""The journal's tables, and what is reckoned from its records, as SQL."""

CREATE = """
CREATE TABLE IF NOT EXISTS records (
  number  INTEGER PRIMARY KEY,   -- consecutive, from 1
  kind    TEXT NOT NULL,         -- intent, reply, failure, told, lost (teacher/salvage.py)
  key     BLOB NOT NULL,         -- what was asked (teacher/call.py), 16 bytes
  stage   TEXT NOT NULL,
  slot    INTEGER NOT NULL,
  note    TEXT NOT NULL,         -- JSON: content, demonstrations, status, tokens, ...
  raw     BLOB NOT NULL,         -- a reply's body as it came
  crc     INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS writer (
  id      INTEGER PRIMARY KEY CHECK (id = 0),
  epoch   INTEGER NOT NULL       -- of the process that may write (run/lock.py)
) STRICT;
CREATE INDEX IF NOT EXISTS by_key ON records (key, kind);
CREATE INDEX IF NOT EXISTS by_stage ON records (stage, slot);
"""

USAGE = """
SELECT json_extract(note, '$.model') AS model,
  sum(kind = 'intent') - coalesce(sum(json_extract(note, '$.sent') = 0), 0), sum(kind = 'reply'),
  coalesce(sum(json_extract(note, '$.input_tokens')), 0),
  coalesce(sum(json_extract(note, '$.output_tokens')), 0),
  sum(kind = 'reply' AND json_extract(note, '$.input_tokens') IS NULL)
FROM records WHERE stage = ? AND json_extract(note, '$.copied') IS NULL
GROUP BY model ORDER BY model
"""
"""The columns of `ModelUsage`, a row a model, of one stage.

No copies. The failure of a request that never left says `"sent": false`.
"""

BOUGHT = """
SELECT count(*), ifnull(sum(ifnull(n_in, worst_in)), 0), ifnull(sum(ifnull(n_out, worst_out)), 0)
FROM (
  SELECT json_extract(note, '$.input_tokens') AS n_in, json_extract(note, '$.worst[0]') AS worst_in,
    json_extract(note, '$.output_tokens') AS n_out, json_extract(note, '$.worst[1]') AS worst_out
  FROM records
  WHERE stage = ? AND slot >= ? AND slot < ? AND kind = 'reply'
    AND json_extract(note, '$.copied') IS NULL
)
"""
"""Replies to some slots of a stage, input and output tokens; at the worst case without usage."""

SPENT = """
WITH own AS (
  SELECT kind, key, json_extract(note, '$.model') AS model,
    json_extract(note, '$.input_tokens') AS n_in, json_extract(note, '$.output_tokens') AS n_out,
    coalesce(json_extract(note, '$.sent'), 1) AS sent,
    json_extract(note, '$.worst[0]') AS worst_in, json_extract(note, '$.worst[1]') AS worst_out
  FROM records WHERE json_extract(note, '$.copied') IS NULL
), open AS (
  SELECT model, sum(kind = 'intent') - sum(kind != 'intent') AS n,
    max(worst_in) AS worst_in, max(worst_out) AS worst_out
  FROM own GROUP BY key, model HAVING n > 0
)
SELECT 'sent', model, sum(kind IN ('intent', 'lost')) - sum(sent = 0), 0, 0 FROM own GROUP BY model
UNION ALL
SELECT 'confirmed', model, count(*), sum(n_in), sum(n_out) FROM own
  WHERE n_in IS NOT NULL GROUP BY model
UNION ALL
SELECT 'unknown', model, count(*), sum(worst_in), sum(worst_out) FROM own
  WHERE kind != 'intent' AND worst_in IS NOT NULL GROUP BY model
UNION ALL
SELECT 'unknown', model, sum(n), sum(n * worst_in), sum(n * worst_out) FROM open GROUP BY model
"""
"""The ledger's books: sent, confirmed or unknown; model; requests; input and output tokens."""
