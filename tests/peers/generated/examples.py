"""The worked examples of the specification, run through generated SQL scripts in a database's own shell.

    python3 examples.py DIALECT FOLDER

FOLDER holds what `--target sql` made of flows/. Exit code 77: the database is not installed.
"""

import csv
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

NULL = "~null~"


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def succeed(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Refused(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Refused(Exception):
    pass


def as_server_user(command):
    """Servers refuse to be root's."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command] if os.getuid() == 0 else command


class Database:
    quote = '"'

    def table(self, namespace, name):
        return f"{self.quote}{name}{self.quote}" if not namespace else f"{self.quote}{namespace}{self.quote}.{self.quote}{name}{self.quote}"

    def literal(self, value):
        return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)

    def stop(self):
        pass


class Sqlite(Database):
    def __init__(self, folder):
        self.file = folder / "test.sqlite"
        version = succeed(["sqlite3", "--version"]).split()[0] if shutil.which("sqlite3") else "0"
        if tuple(map(int, version.split(".")))[:2] < (3, 39):
            skip(f"the sqlite3 shell is {version}, not 3.39 or later")

    def table(self, namespace, name):
        return f'"{namespace}_{name}"' if namespace else f'"{name}"'

    def literal(self, value):
        return f"'{value}.00'" if isinstance(value, Decimal) else super().literal(value)

    def script(self, file, **values):
        sets = [f'.parameter set :{name} "{self.literal(value)}"' for name, value in values.items()]
        return succeed(["sqlite3", "-bail", self.file, *sets, f".read {file}"])

    def rows(self, sql):
        return list(csv.reader(io.StringIO(succeed(["sqlite3", "-bail", "-csv", "-nullvalue", NULL, self.file, sql]))))


class DuckDb(Database):
    def __init__(self, folder):
        self.file = folder / "test.duckdb"
        self.shell = os.environ.get("DUCKDB_SHELL") or shutil.which("duckdb")
        if not self.shell:
            skip("there is no duckdb shell")

    def script(self, file, **values):
        sets = "".join(f"SET VARIABLE {name} = {self.literal(value)};" for name, value in values.items())
        return succeed([self.shell, self.file, "-bail", "-cmd", "SET TimeZone = 'America/New_York'; " + sets, "-f", str(file)])

    def rows(self, sql):
        return list(csv.reader(io.StringIO(succeed([self.shell, self.file, "-bail", "-csv", "-noheader", "-nullvalue", NULL, "-c", "SET TimeZone = 'UTC'", "-c", sql]))))


class Postgres(Database):
    def __init__(self, folder):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            skip("there is no PostgreSQL server")
        self.bin, self.folder = found[-1].parent, folder
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
            folder.chmod(0o755)
        succeed(as_server_user([self.bin / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"]), cwd="/")
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off", "-c", "TimeZone=America/New_York"]
        self.server = subprocess.Popen(as_server_user([self.bin / "postgres", "-D", folder / "data", *options]), stderr=subprocess.DEVNULL, cwd="/")
        for _ in range(300):
            if subprocess.run([self.bin / "pg_isready", "-h", folder], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)

    def shell(self, *arguments):
        return succeed([self.bin / "psql", "-X", "-q", "-h", self.folder, "-U", "postgres", "-d", "postgres", *arguments])

    def script(self, file, **values):
        return self.shell(*[part for name, value in values.items() for part in ("-v", f"{name}={value}")], "-f", file)

    def rows(self, sql):
        return list(csv.reader(io.StringIO(self.shell("--csv", "-t", "-v", "ON_ERROR_STOP=1", "-P", f"null={NULL}", "-c", "SET TimeZone = 'UTC'", "-c", sql))))

    def stop(self):
        self.server.terminate()
        self.server.wait()


class MySql(Database):
    quote = "`"

    def __init__(self, folder):
        if not shutil.which("mariadbd") and not Path("/usr/sbin/mariadbd").exists():
            skip("there is no MariaDB server")
        server = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
        user = [f"--user={'mysql' if os.getuid() == 0 else os.environ.get('USER', 'mysql')}"]
        if os.getuid() == 0:
            shutil.chown(folder, "mysql", "mysql")
        succeed(["mariadb-install-db", "--no-defaults", f"--datadir={folder / 'data'}", "--auth-root-authentication-method=normal", "--skip-test-db", *user])
        self.socket = folder / "sock"
        self.server = subprocess.Popen([server, "--no-defaults", f"--datadir={folder / 'data'}", f"--socket={self.socket}", "--skip-networking", f"--pid-file={folder / 'pid'}", *user], stderr=subprocess.DEVNULL)
        for _ in range(300):
            if subprocess.run(["mariadb", "--no-defaults", "-S", self.socket, "-u", "root", "-e", "CREATE DATABASE IF NOT EXISTS test"], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)

    def table(self, namespace, name):
        return f"`{namespace}_{name}`" if namespace else f"`{name}`"

    def shell(self, *arguments, **options):
        return succeed(["mariadb", "--no-defaults", "--default-character-set=utf8mb4", "-S", self.socket, "-u", "root", *arguments, "test"], **options)

    def script(self, file, **values):
        values = {name: value.replace("T", " ").rstrip("Z") if isinstance(value, str) else value for name, value in values.items()}
        sets = ", ".join(f"@{name} = {self.literal(value)}" for name, value in values.items())
        with open(file) as text:
            return self.shell(*([f"--init-command=SET {sets}"] if sets else []), stdin=text)

    def rows(self, sql):
        return [[NULL if cell == "NULL" else cell for cell in line.split("\t")] for line in self.shell("-N", "-B", "-e", sql).splitlines()]

    def stop(self):
        self.server.terminate()
        self.server.wait()


DATABASES = {"sqlite": Sqlite, "duckdb": DuckDb, "postgres": Postgres, "mysql": MySql}


def plain(cell):
    """A cell as the specification writes it, whatever the database's own way."""
    if cell == NULL:
        return "∅"
    if cell in ("t", "true"):
        return "1"
    if cell in ("f", "false"):
        return "0"
    head = cell.replace("T", " ").removesuffix("Z").removesuffix("+00")
    if len(head) > 11 and head[4] == "-" and head[13] == ":":
        return head.split(".")[0]
    return cell.rstrip("0").rstrip(".") if "." in cell and cell.replace(".", "").lstrip("-").isdigit() else cell


class Flow:
    def __init__(self, database, scripts, id, columns, namespace="", prefix=None):
        self.database, self.scripts, self.id, self.columns = database, scripts, id, columns
        self.namespace, self.prefix = namespace, prefix or id
        database.script(scripts / id / "tables.sql")
        # Made again, they stay as they are.
        database.script(scripts / id / "tables.sql")

    def name(self, dataset):
        return self.database.table(self.namespace, f"{self.prefix}_{dataset}")

    def land(self, batch, rows):
        q = self.database.quote
        landing = self.name("landing")
        columns = [*self.columns, "xt_batch_id", "xt_loaded_at", "xt_source_file", "xt_row_number"]
        statements = f"DELETE FROM {landing} WHERE xt_batch_id = {batch};"
        for number, row in enumerate(rows, 1):
            values = ", ".join(map(self.database.literal, [*row, batch, "2024-01-01 00:00:00", f"batch_{batch}.csv", number]))
            statements += f"INSERT INTO {landing} ({', '.join(f'{q}{column}{q}' for column in columns)}) VALUES ({values});"
        self.database.rows(statements)

    def derive(self, batch, **values):
        return self.database.script(self.scripts / self.id / "batch.sql", batch_id=batch, **values)

    def load(self, batch, rows, later=(), **values):
        """Lands a batch and derives it, and the later ones again, as the script's comments say."""
        self.land(batch, rows)
        out = self.derive(batch, **values)
        lines = [line.strip(" │|") for line in out.splitlines()]
        told = [int(line) for line in lines if line.isdigit() and int(line) > batch]
        assert sorted(set(told)) == list(later), f"batches to derive again: {told} and not {list(later)}: {out}"
        for other in later:
            self.derive(other, accept_guards=1)

    def rows(self, dataset, columns, where="1 = 1", extra=""):
        q = self.database.quote
        names = ", ".join(f"{q}{column}{q}" for column in columns)
        found = self.database.rows(f"SELECT {names} FROM {self.name(dataset)} WHERE {where} {extra}")
        return sorted(tuple(plain(cell) for cell in row) for row in found)


def expect(what, found, expected):
    expected = sorted(tuple(str(cell) for cell in row) for row in expected)
    assert found == expected, f"{what}:\n  only found    {[row for row in found if row not in expected]}\n  only expected {[row for row in expected if row not in found]}"
    print(f"ok: {what}")


def refuses(what, word, run):
    try:
        run()
    except Refused as why:
        assert word in str(why), f"{what}: {why}"
        print(f"ok: {what}")
        return
    raise AssertionError(f"{what}: not refused")


def order(text):
    return [(key, status, None if amount == "∅" else Decimal(amount)) for key, status, amount in (row.split() for row in text.split(", "))]


ORDERS = {
    1: order("A open 100, B open 100, C open 50, D open 70, E open 10"),
    2: order("A open 100, B open 150, E open ∅"),
    3: order("A open 100, B open 120, C open 50, E open ∅"),
    4: order("A open 100, B open 150, D open 75, E open ∅, F open 20"),
    5: order("A open 100, B paid 150, C open 50, D open 75, E open 10, F open 20, F open 20"),
    6: order("A open 100, B paid 150, C open 50, E open 10, F open 25"),
}


def feed(text):
    return [tuple(row.split()) for row in text.split(", ")]


FEED = {
    1: feed("A NEW 100, B NEW 100, C NEW 50, D NEW 70, E NEW 10"),
    2: feed("A STALE 100, B CHANGED 150, C DELETED 50, D DELETED 70, E CHANGED ∅"),
    4: feed("A STALE 100, B STALE 150, D REACTIVATED 75, E STALE ∅, F NEW 20"),
    5: feed("A STALE 100, B CHANGED 150, C REACTIVATED 50, D STALE 75, E CHANGED 10, F STALE 20"),
    6: feed("A STALE 100, B STALE 150, C STALE 50, D DELETED 75, E STALE 10, F CHANGED 25"),
}

LATE = {
    3: feed("A STALE 100, B CHANGED 120, C REACTIVATED 50, E STALE ∅"),
    4: feed("A STALE 100, B CHANGED 150, C DELETED 50, D REACTIVATED 75, E STALE ∅, F NEW 20"),
}


def change_feed(database, scripts):
    flow = Flow(database, scripts, "orders", ["id", "status", "amount"])
    columns = ["xt_batch_id", "id", "xt_record_type", "amount"]

    def all_of(expected):
        return [(batch, *row) for batch, rows in expected.items() for row in rows]

    for batch in [1, 2, 4, 5, 6]:
        flow.load(batch, ORDERS[batch])
    expect("change feed, in order", flow.rows("change_feed", columns), all_of(FEED))
    flow.derive(6)
    expect("change feed, a batch run again", flow.rows("change_feed", columns), all_of(FEED))
    before = flow.rows("change_feed", ["xt_batch_id", "xt_processed_at"], "xt_batch_id = 6", "GROUP BY 1, 2")
    flow.load(3, ORDERS[3], later=[4, 5, 6])
    expect("change feed, late batch 3", flow.rows("change_feed", columns), all_of(FEED | LATE))
    expect("execution times stay", flow.rows("change_feed", ["xt_batch_id", "xt_processed_at"], "xt_batch_id = 6", "GROUP BY 1, 2"), before)
    flow.load(5, order("A open 100, B paid 155, C open 50, D open 75, E open 10, F open 20, F open 20"), later=[6])
    expect(
        "change feed, batch 5 replaced",
        [row for row in flow.rows("change_feed", [*columns, "xt_changed_columns"], "xt_batch_id >= 5") if row[1] == "B"],
        [(5, "B", "CHANGED", "155", "status,amount"), (6, "B", "CHANGED", "150", "amount")],
    )
    state = flow.rows("state", ["id", "status", "amount"])
    expect("the live keys", state, feed("A open 100, B paid 150, C open 50, E open 10, F open 25"))

    flow.land(7, order("A open 1, A open 2"))
    refuses("two rows of one key", "one key", lambda: flow.derive(7))
    flow.land(7, [(None, "open", Decimal(1))])
    refuses("a key that is missing", "missing", lambda: flow.derive(7))
    flow.land(7, [])
    refuses("an empty snapshot", "has rows", lambda: flow.derive(7))
    expect("what was refused is not there", flow.rows("change_feed", columns, "xt_batch_id = 7"), [])
    flow.derive(7, accept_guards=1)
    expect("the guards let it through", flow.rows("change_feed", ["id", "xt_record_type"], "xt_batch_id = 7"), [(key, "DELETED") for key in "ABCEF"])


def transactions(text):
    """`2 B#R REVERSAL open -100 B#1#B`: batch, id with its leg, type, status, amount, what it refers to."""
    rows = []
    for line in text.strip().splitlines():
        batch, leg, kind, status, amount, refers = line.split()
        rows.append((batch, leg.replace("#", f"#{batch}#"), kind, status, amount, refers))
    return rows


FIRST = """
1 A#B INITIAL_BOOKING open 100 ∅
1 B#B INITIAL_BOOKING open 100 ∅
1 C#B INITIAL_BOOKING open 50 ∅
1 D#B INITIAL_BOOKING open 70 ∅
1 E#B INITIAL_BOOKING open 10 ∅
"""
LEDGERS = {
    "reverse_replay": FIRST
    + """2 B#R REVERSAL open -100 B#1#B
2 B#B INITIAL_BOOKING open 150 ∅
2 C#R REVERSAL open -50 C#1#B
2 D#R REVERSAL open -70 D#1#B
2 E#R REVERSAL open -10 E#1#B
2 E#B INITIAL_BOOKING open ∅ ∅
4 D#B REPUBLISH open 75 D#2#R
4 F#B INITIAL_BOOKING open 20 ∅
5 B#R REVERSAL open -150 B#2#B
5 B#B INITIAL_BOOKING paid 150 ∅
5 C#B REPUBLISH open 50 C#2#R
5 E#R REVERSAL open ∅ E#2#B
5 E#B INITIAL_BOOKING open 10 ∅
6 D#R REVERSAL open -75 D#4#B
6 F#R REVERSAL open -20 F#4#B
6 F#B INITIAL_BOOKING open 25 ∅""",
    "delta_correction": FIRST
    + """2 B#D DELTA_CORRECTION open 50 B#1#B
2 C#R REVERSAL open -50 C#1#B
2 D#R REVERSAL open -70 D#1#B
2 E#D DELTA_CORRECTION open -10 E#1#B
4 D#B REPUBLISH open 75 D#2#R
4 F#B INITIAL_BOOKING open 20 ∅
5 B#R REVERSAL open -150 B#1#B
5 B#B INITIAL_BOOKING paid 150 ∅
5 C#B REPUBLISH open 50 C#2#R
5 E#D DELTA_CORRECTION open 10 E#1#B
6 D#R REVERSAL open -75 D#4#B
6 F#D DELTA_CORRECTION open 5 F#4#B""",
}


def ledger(database, scripts, method):
    columns = ["xt_batch_id", "xt_transaction_id", "xt_transaction_type", "status", "amount", "xt_referred_transaction_id"]
    flow = Flow(database, scripts, method, ["id", "status", "amount"])
    for batch in [1, 2, 4, 5, 6]:
        flow.load(batch, ORDERS[batch])
    expect(f"ledger by {method}", flow.rows("delta_transaction", columns), transactions(LEDGERS[method]))
    flow.load(3, ORDERS[3], later=[4, 5, 6])
    late = flow.rows("delta_transaction", columns)
    database.rows("".join(f"DELETE FROM {flow.name(name)};" for name in ["landing", "change_feed", "delta_transaction"]))
    database.rows(f"DELETE FROM {database.table('', 'qetl_script_batches')}")
    for batch in [1, 2, 3, 4, 5, 6]:
        flow.load(batch, ORDERS[batch])
    expect(f"ledger by {method}, late as in order", flow.rows("delta_transaction", columns), late)


def sessions(database, scripts):
    def event(id, user, time, day=1):
        return (id, user, f"2024-01-0{day}{'T' if isinstance(database, Sqlite) else ' '}{time}{'.000000Z' if isinstance(database, Sqlite) else '' if isinstance(database, MySql) else '+00'}")

    flow = Flow(database, scripts, "visits", ["event_id", "user_id", "timestamp"])
    batches = {
        1: [event("e1", "u1", "10:00:00"), event("e2", "u1", "10:30:00"), event("e3", "u1", "11:00:01"), event("e4", "u1", "11:00:01"), event("e5", "u2", "23:50:00")],
        2: [event("e6", "u2", "00:10:00", 2), event("e7", "u1", "10:45:00"), event("e8", "u1", "12:00:00"), event("e1", "u1", "10:00:00")],
        3: [event("e9", "u1", "09:00:00")],
    }
    expected = {
        1: [("u1_1", "10:00:00", "10:30:00", 2), ("u1_2", "11:00:01", "11:00:01", 2), ("u2_1", "23:50:00", "23:50:00", 1)],
        2: [("u1_1", "10:00:00", "11:00:01", 5), ("u1_2", "12:00:00", "12:00:00", 1), ("u2_1", "23:50:00", "00:10:00", 2)],
        3: [("u1_1", "09:00:00", "09:00:00", 1), ("u1_2", "10:00:00", "11:00:01", 5), ("u1_3", "12:00:00", "12:00:00", 1), ("u2_1", "23:50:00", "00:10:00", 2)],
    }
    for batch, rows in batches.items():
        flow.load(batch, rows)
        found = [(id, start.split()[1], end.split()[1], count) for id, start, end, count in flow.rows("sessions", ["session_id", "start_time", "end_time", "event_count"])]
        expect(f"sessions after batch {batch}", sorted(found), expected[batch])


def growth(database, scripts):
    def summary(text):
        return [(f"2024-01-{row.split(': ')[0]}", *row.split(": ")[1].split()) for row in text.split(" · ")]

    columns = ["period", "acquisitions", "churn", "resurrections", "net_growth", "active_users", "user_base"]
    flow = Flow(database, scripts, "app", ["user_id", "timestamp"])
    flow.load(1, [(user, f"2024-01-{day:02}") for user, days in {"u1": [1, 4, 8], "u2": [1], "u3": [2, 3]}.items() for day in days])
    first = "01: 2 0 0 2 2 2 · 02: 1 0 0 1 1 3 · 03: 0 0 0 0 1 3 · 04: 0 1 0 -1 1 2 · 05: 0 0 0 0 0 2 · 06: 0 1 0 -1 0 1 · 07: 0 1 0 -1 0 0 · 08: 0 0 1 1 1 1 · 09: 0 0 0 0 0 1"
    expect("growth by day", flow.rows("growth_summary", columns), summary(first))
    flow.load(2, [("u2", "2024-01-03")])
    late = "01: 2 0 0 2 2 2 · 02: 1 0 0 1 1 3 · 03: 0 0 0 0 2 3 · 04: 0 0 0 0 1 3 · 05: 0 0 0 0 0 3 · 06: 0 2 0 -2 0 1 · 07: 0 1 0 -1 0 0 · 08: 0 0 1 1 1 1 · 09: 0 0 0 0 0 1"
    expect("growth with a late event", flow.rows("growth_summary", columns), summary(late))


def versions(database, scripts):
    flow = Flow(database, scripts, "versions", ["k", "v"], namespace="history")
    for day, rows in enumerate([[("K", 1)], [("K", 1)], [("K", 2)], [], [("K", 2)]], 1):
        flow.load(day, rows, processed_at=f"2024-01-0{day}T00:00:00.000000Z")
    columns = ["xt_version", "v", "xt_effective_from", "xt_effective_to", "xt_is_current"]
    at = "2024-01-0{} 00:00:00".format
    expect("versions", flow.rows("scd2", columns), [(1, 1, at(1), at(3), 0), (2, 2, at(3), at(4), 0), (3, 2, at(5), "∅", 1)])
    flow.land(6, [("K", 3)])
    refuses("an execution time that falls", "execution time", lambda: flow.derive(6, processed_at="2024-01-02T00:00:00.000000Z"))


def main():
    dialect, scripts = sys.argv[1], Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory(prefix="qetl-", dir="/tmp") as folder:
        database = DATABASES[dialect](Path(folder))
        try:
            change_feed(database, scripts)
            for method in LEDGERS:
                ledger(database, scripts, method)
            sessions(database, scripts)
            growth(database, scripts)
            versions(database, scripts)
        finally:
            database.stop()


if __name__ == "__main__":
    main()
