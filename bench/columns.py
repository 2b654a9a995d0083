"""The payload columns: what kinds there are, and how a value is drawn and changed, as DuckDB expressions."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of payload column. `{h}` stands for a random UBIGINT, `{c}` for the present value, never NULL."""

    name: str
    drawn: str
    changed: str  # always differs from `{c}`


KINDS = [
    Kind("quantity", "({h} % 1000)::INTEGER", "{c} + 1"),
    Kind("amount", "(({h} % 10000000)::DOUBLE / 100)::DECIMAL(18,2)", "({c} + 0.01)::DECIMAL(18,2)"),
    Kind("status", "printf('status_%02d', {h} % 50)", "printf('status_%02d', (right({c}, 2)::INTEGER + 1) % 50)"),
    Kind("weight", "({h} % 1000000007)::DOUBLE / 1000", "{c} + 0.5"),
    Kind("ordered_on", "DATE '2020-01-01' + ({h} % 2000)::INTEGER", "{c} + 1"),
    Kind("updated_at", "make_timestamptz((1577836800000000 + {h} % 150000000000000)::BIGINT)", "{c} + INTERVAL 1 MICROSECOND"),
    Kind("paid", "{h} % 2 = 0", "NOT {c}"),
    Kind("customer", "printf('customer %05d', {h} % 20000)", "printf('customer %05d', (right({c}, 5)::INTEGER + 1) % 20000)"),
    Kind("points", "({h} % 1000000000000)::BIGINT", "{c} + 1"),
]


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind

    def drawn(self, random: str) -> str:
        """A value for a new row; one in twenty is NULL."""
        return f"CASE WHEN {_is_null(random)} THEN NULL ELSE {self._drawn(random)} END"

    def changed(self, random: str) -> str:
        """Another value than the present one: from NULL, to NULL, or from value to value."""
        other = self.kind.changed.format(c=self.name)
        return f"CASE WHEN {self.name} IS NULL THEN {self._drawn(random)} WHEN {_is_null(random)} THEN NULL ELSE {other} END"

    def _drawn(self, random: str) -> str:
        return self.kind.drawn.format(h=random)


def payload(count: int) -> list[Column]:
    """`count` columns, kind after kind; from the second round on with a number: `quantity`, …, `quantity_2`, …"""
    columns = []
    for i in range(count):
        kind, turn = KINDS[i % len(KINDS)], i // len(KINDS) + 1
        columns.append(Column(kind.name if turn == 1 else f"{kind.name}_{turn}", kind))
    return columns


def _is_null(random: str) -> str:
    # High bits, so that being NULL says nothing about the value that the low bits draw.
    return f"({random} >> 40) % 20 = 0"
