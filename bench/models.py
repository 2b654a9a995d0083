"""What sessions, growth accounting and a ledger are, in plain Python that is slow and easy to believe."""

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal

# A user, a time, and the batch; for sessions also the values of the other columns. No two events of a user have one time.
Event = tuple[int, datetime, int, tuple]


def sessions(events: list[Event], timeout: timedelta) -> list[tuple]:
    """Id, user, start, end, seconds, events, first and last value of each column in turn, greatest batch."""
    rows = []
    for user, own in _by_user(events).items():
        cut: list[list[Event]] = []
        for event in own:
            if not cut or event[1] - cut[-1][-1][1] > timeout:
                cut.append([])
            cut[-1].append(event)
        for number, session in enumerate(cut, 1):
            (_, start, _, first), (_, end, _, last) = session[0], session[-1]
            ends = tuple(value for pair in zip(first, last) for value in pair)
            batch = max(event[2] for event in session)
            rows.append((f"{user}_{number}", user, start, end, (end - start) / timedelta(seconds=1), len(session), *ends, batch))
    return rows


def growth(events: list[Event], threshold: int) -> dict[str, list[tuple]]:
    """The five datasets, by days."""
    as_of = max(event[1] for event in events).date()
    rows: dict[str, list[tuple]] = defaultdict(list)
    for user, own in _by_user(events).items():
        times: dict[date, list[datetime]] = defaultdict(list)
        for _, at, *_ in own:
            times[at.date()].append(at)
        days = sorted(times)
        rows["activity_periods"] += [(user, day, len(times[day]), min(times[day]), max(times[day])) for day in days]
        rows["acquisitions"].append((days[0], user, min(times[days[0]])))
        for day, following in zip(days, [*days[1:], None]):
            churned_on = day + timedelta(days=threshold)
            if churned_on > as_of or (following is not None and following <= churned_on):
                continue
            rows["churn"].append((churned_on, user, day, churned_on))
            if following is not None:
                rows["resurrections"].append((following, user, churned_on, following, (following - day).days))
    rows["growth_summary"] = _summary(rows, as_of)
    return rows


def _summary(rows: dict[str, list[tuple]], as_of: date) -> list[tuple]:
    acquired, churned, returned = (Counter(row[0] for row in rows[name]) for name in ("acquisitions", "churn", "resurrections"))
    active = Counter(row[1] for row in rows["activity_periods"])
    summary, base, day = [], 0, min(active)
    while day <= as_of:
        net = acquired[day] - churned[day] + returned[day]
        base += net
        summary.append((day, acquired[day], churned[day], returned[day], net, active[day], base, True))
        day += timedelta(days=1)
    return summary


def _by_user(events: list[Event]) -> dict[int, list[Event]]:
    users: dict[int, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event[1]):
        users[event[0]].append(event)
    return users


# id, account, region, amount, note
Booking = tuple[int, str, str, Decimal | None, str]
NAMES = ["account", "region", "amount", "note"]


def ledger(batches: dict[int, list[Booking]], method: str) -> tuple[list[tuple], list[tuple]]:
    """Feed rows (the booking, batch, record type, changed columns) and transactions (the booking with a signed amount, id,
    type, id of what it refers to, batch). Batches are deltas, and delete nothing."""
    state: dict[int, Booking] = {}
    opened: dict[int, str] = {}
    feed, transactions = [], []

    def post(row: Booking, amount: Decimal | None, batch: int, leg: str, kind: str, referred: str | None) -> None:
        key, account, region, _, note = row
        transactions.append((key, account, region, amount, note, f"{key}#{batch}#{leg}", kind, referred, batch))

    for batch, rows in sorted(batches.items()):
        for new in rows:
            key, amount = new[0], new[3]
            old = state.get(key)
            changed = [name for name, a, b in zip(NAMES, old[1:], new[1:]) if a != b] if old else []
            feed.append((*new, batch, "NEW" if not old else "CHANGED" if changed else "STALE", ",".join(changed) or None))
            moved = "account" in changed or "region" in changed
            booked_anew = moved or (method == "REVERSE_REPLAY" and "amount" in changed)
            if old and booked_anew:
                post(old, None if old[3] is None else -old[3], batch, "R", "REVERSAL", opened[key])
            elif old and "amount" in changed:
                post(new, (amount or 0) - (old[3] or 0), batch, "D", "DELTA_CORRECTION", opened[key])
            if not old or booked_anew:
                post(new, amount, batch, "B", "INITIAL_BOOKING", None)
                opened[key] = f"{key}#{batch}#B"
            state[key] = new
    return feed, transactions
