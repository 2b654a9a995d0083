#!/usr/bin/env python3
"""Writes the events of a year in the order of time, and of one more day.

Users are numbered as they come: on the first day the events are those of the first 30 %, on the last day of all. Half of a
day's visits are by the newest tenth, half by anyone before; so new users come often at first, and rarely later. A visit
has two events on average.
"""

from collections.abc import Iterator

import environment
from batches import File, generator

START = 1_672_531_200_000_000  # 2023-01-01, in microseconds
DAY = 24 * 3600 * 1_000_000
EVENTS_A_VISIT = 2

ARGUMENTS = {
    "events": "events of batch 1",
    "users": "users",
    "days": "days of batch 1; batch 2 is the day after",
    "files": "files of batch 1",
    "seed": "another seed, other values",
}


def files(events: int, users: int, days: int, files: int, seed: int) -> Iterator[File]:
    a_day = max(events // days, 1)
    for part in range(1, files + 1):
        yield 1, part, _events(a_day * days * (part - 1) // files, a_day * days * part // files, a_day, users, days, seed)
    yield 2, 1, _events(a_day * days, a_day * (days + 1), a_day, users, days, seed)


def _events(low: int, high: int, a_day: int, users: int, days: int, seed: int) -> str:
    """The events from `low` to `high`; each is a function of its number and the seed alone."""
    def random(what: str) -> str:
        return f"hash(i, '{what}', {seed})"

    visit = f"hash(day, {random('visit')} % {max(a_day // EVENTS_A_VISIT, 1)}, {seed})"
    come = f"({users} * (0.3 + 0.7 * least(day, {days - 1})::DOUBLE / {max(days - 1, 1)}))"
    place = "((visit >> 1) % 1000000)::DOUBLE / 1000000"
    user = f"floor({come} * CASE WHEN visit % 2 = 0 THEN 0.9 + 0.1 * ({place}) ELSE 0.9 * ({place}) END)::BIGINT + 1"
    micros = f"{START} + (i * {DAY / a_day:.6f}::DOUBLE)::BIGINT"
    return f"""
        SELECT {user} AS user_id, make_timestamp(micros) AS timestamp,
            ['view', 'view', 'view', 'click', 'click', 'search', 'cart', 'order'][({random('type')} % 8)::INTEGER + 1] AS event_type
        FROM (SELECT *, {visit} AS visit
            FROM (SELECT i, {micros} AS micros, i // {a_day} AS day FROM range({low}, {high}) AS numbers(i)))"""


if __name__ == "__main__":
    environment.enter()
    generator(__doc__, ARGUMENTS, files)
