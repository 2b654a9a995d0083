#!/usr/bin/env python3
"""Writes the events of 30 days in the order of time, and a late batch of events of all users and days.

In every hour a few users are there, with six events each on average; so most sessions are of one hour, and few users'
sessions touch. Half of the late events fall into such an hour of their user, where they extend or join sessions. No two
events of a user have one time. `device` is NULL in one event in twenty.
"""

from collections.abc import Iterator

import environment
from batches import File, generator

START = 1_704_067_200_000_000  # 2024-01-01, in microseconds
SPAN = 30 * 24 * 3600 * 1_000_000
HOURS = 30 * 24
EVENTS_A_VISIT = 6

ARGUMENTS = {
    "events": "events of batch 1",
    "users": "users, of whom nearly all have events if there are many events",
    "late_one_in": "batch 2 has one event for so many of batch 1",
    "files": "files of batch 1",
    "seed": "another seed, other values",
}


def files(events: int, users: int, late_one_in: int, files: int, seed: int) -> Iterator[File]:
    late = max(events // late_one_in, 1)
    visitors = max(events // HOURS // EVENTS_A_VISIT, 1)
    for part in range(1, files + 1):
        yield 1, part, _events(1, events * (part - 1) // files, events * part // files, events, users, visitors, seed)
    yield 2, 1, _events(2, 0, late, late, users, visitors, seed)


def _events(batch: int, low: int, high: int, count: int, users: int, visitors: int, seed: int) -> str:
    """The events from `low` to `high` of `count` events of a batch; each is a function of its number and the seed alone."""
    def random(what: str) -> str:
        return f"hash(i, '{what}', {batch}, {seed})"

    # Each event has a piece of the span for itself, so times rise. They are even in batch 1, odd in batch 2.
    micros = f"({START} + ((i + {random('time')} % 1000000 / 1000001.0) * {SPAN / count:.6f})::BIGINT // 2 * 2 + {batch - 1})"
    visitor = f"hash((micros - {START}) // 3600000000, {random('visitor')} % {visitors}, {seed})"
    someone = visitor if batch == 1 else f"CASE WHEN {random('visit')} % 2 = 0 THEN {visitor} ELSE {random('user')} END"
    return f"""
        SELECT (someone % {users})::BIGINT AS user_id, make_timestamp(micros) AS timestamp,
            '/page/' || {random('page')} % 500 AS page,
            ['view', 'view', 'view', 'click', 'click', 'search', 'cart', 'order'][({random('type')} % 8)::INTEGER + 1] AS event_type,
            CASE WHEN {random('device')} % 20 > 0 THEN ['phone', 'tablet', 'desktop'][(someone % 3)::INTEGER + 1] END AS device
        FROM (SELECT *, {someone} AS someone FROM (SELECT i, {micros} AS micros FROM range({low}, {high}) AS numbers(i)))"""


if __name__ == "__main__":
    environment.enter()
    generator(__doc__, ARGUMENTS, files)
