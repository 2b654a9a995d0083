#!/usr/bin/env python3
"""Writes bookings, and a delta batch with corrections of some.

Of the corrected keys four in five have another amount, one in ten another region and amount, one in twenty another note
alone; one in twenty is sent again as it was. One amount in twenty is NULL.
"""

from collections.abc import Iterator

import environment
from batches import File, generator

ARGUMENTS = {
    "keys": "keys of batch 1",
    "corrected_one_in": "batch 2 has one key of so many of batch 1, spread evenly",
    "seed": "another seed, other values",
}


def files(keys: int, corrected_one_in: int, seed: int) -> Iterator[File]:
    yield 1, 1, _rows(f"SELECT i AS id, 0 AS fate FROM range(1, {keys + 1}) AS numbers(i)", seed)
    corrected = f"range(1, {keys + 1}, {corrected_one_in}) AS numbers(i)"
    yield 2, 1, _rows(f"SELECT i AS id, 1 + hash(i, 'fate', {seed}) % 20 AS fate FROM {corrected}", seed)


def _rows(keys: str, seed: int) -> str:
    """Fate 0: the first version; 1 to 16: another amount; 17 and 18: region and amount; 19: note; 20: nothing."""
    def random(what: str, changed: str = "false") -> str:
        return f"hash(id, '{what}', {changed}, {seed})"

    amount = random("amount", "fate BETWEEN 1 AND 18")
    region = f"(({random('region')} % 12)::INTEGER + (fate IN (17, 18))::INTEGER) % 12"
    value = f"((({amount} % 20000000)::BIGINT - 5000000)::DOUBLE / 100)::DECIMAL(18, 2)"
    return f"""
        SELECT id, printf('account %06d', {random('account')} % 200000) AS account, printf('region %02d', {region}) AS region,
            CASE WHEN ({amount} >> 40) % 20 > 0 THEN {value} END AS amount,
            printf('note %d', {random('note', 'fate = 19')} % 1000000000) AS note
        FROM ({keys})"""


if __name__ == "__main__":
    environment.enter()
    generator(__doc__, ARGUMENTS, files)
