"""Compares what was landed with what was written: compare.py QETL FOLDER, after `qetl execute --format json > FOLDER/report.json`.

Prints a line for each difference, then the counts; ends with 1 if there is a difference, or a file was refused that should not be.
"""

import collections, concurrent.futures, json, math, re, subprocess, sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def type_of(arrow):
    text = str(arrow)
    found = re.match(r"decimal128\((\d+), (\d+)\)", text)
    if found:
        return f"decimal({found[1]},{found[2]})"
    names = {"int64": "integer", "double": "float", "bool": "boolean", "date32[day]": "date"}
    return names.get(text, "timestamp" if text.startswith("timestamp") else "string")


def same(kind, wanted, landed, ty, blank):
    if blank and kind == "string" and wanted in (None, "") and landed in (None, ""):
        return True
    if wanted is None or landed is None:
        # An empty text is NULL where nobody knows yet that the column is one of text.
        return landed is None and (wanted is None or wanted == "" and ty == "open")
    if kind == "json":
        return json.loads(landed) == without_nulls(wanted)
    if isinstance(landed, bool) or kind == "boolean":
        return landed is wanted or str(landed) == str(wanted).lower()
    if isinstance(landed, datetime):
        return (landed - EPOCH) // timedelta(microseconds=1) == wanted
    if isinstance(landed, date):
        return landed.isoformat() == wanted
    if kind in ("integer", "decimal", "float"):
        number = float(wanted) if kind == "float" else wanted
        if isinstance(landed, float):
            return math.isnan(landed) and math.isnan(float(number)) or Decimal(repr(landed)) == Decimal(repr(number) if kind == "float" else str(number))
        if kind == "float" and not math.isfinite(number):
            return isinstance(landed, str) and float(landed.replace(",", ".")) == number
        try:
            return Decimal(str(landed)) == Decimal(repr(number) if kind == "float" else str(number))
        except ArithmeticError:
            return None
    return landed == wanted if kind in ("string", "bytes", "time") else None


def without_nulls(value):
    # Arrow's JSON leaves keys of NULL out.
    return {key: inner for key, inner in value.items() if inner is not None} if isinstance(value, dict) else value


def differences(qetl, folder, file):
    number = file["number"]
    out = folder / f"out_{number}.parquet"
    query = f"SELECT * FROM raw_{number} ORDER BY xt_row_number"
    asked = subprocess.run([qetl, "--project", str(folder), "query", query, "--format", "parquet", "--out", str(out)], capture_output=True)
    if asked.returncode:
        yield f"cannot be queried: {asked.stderr.decode()}"
        return
    table = pyarrow.parquet.read_table(out)
    out.unlink()
    for column in file["expected"]:
        name, ty = column["name"], column["type"]
        if name not in table.column_names:
            if column["values"] or ty is not None:
                yield f"{name} is not there"
            continue
        landed = table[name].to_pylist()
        found = type_of(table.schema.field(name).type)
        if len(landed) != len(column["values"]):
            yield f"{name}: {len(landed)} rows of {len(column['values'])}"
            continue
        if ty not in (None, found) and not (ty == "open" and found == "string"):
            yield f"{name}: {found}, not {ty}"
        for row, (wanted, value) in enumerate(zip(column["values"], landed)):
            is_same = same(column["kind"], wanted, value, ty, column.get("blank"))
            # What became text is judged as text: by whoever inferred it.
            if is_same is None:
                is_same = isinstance(value, str)
            if not is_same:
                yield f"{name}, row {row + 1}: {value!r}, not {wanted!r}"
                break


def main(qetl, folder):
    folder = Path(folder).absolute()
    expected = json.loads((folder / "expected.json").read_text())
    flows = {flow["flow"]: flow for flow in json.loads((folder / "report.json").read_text())["flows"]}
    wrong, reasons, landed = [], collections.Counter(), collections.Counter()
    good = []
    for file in expected:
        flow = flows[f"f_{file['number']}"]
        what = f"{file['file']} ({file['writer']})"
        error = flow.get("error") or next((batch["error"] for batch in flow["batches"] if batch.get("error")), None)
        if error and file["refused"] and file["refused"] in error["message"]:
            reasons[file["refused"]] += 1
        elif error:
            wrong.append(f"{what}: refused: {error['message']}")
        elif file["refused"]:
            wrong.append(f"{what}: not refused, though it has {file['refused']}")
        else:
            landed[f"{file['file'].rsplit('.')[-1]} by {file['writer']}"] += 1
            good.append((what, file))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for (what, _), found in zip(good, pool.map(lambda pair: list(differences(qetl, folder, pair[1])), good)):
            wrong += [f"{what}: {difference}" for difference in found]
    print("\n".join(wrong))
    for what, count in sorted(landed.items()):
        print(f"landed as written: {count:4} {what}")
    for reason, count in sorted(reasons.items()):
        print(f"refused:           {count:4} {reason}")
    refused = sum(reasons.values())
    print(f"{len(expected)} files, {len(good)} landed, {refused} refused, {len(wrong)} wrong")
    if refused * 10 > max(len(expected), 10):
        print("more than a tenth was refused")
        return 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
