"""Writes random files as other programs do: write.py SEED COUNT FOLDER

For each file `flows/f_N.toml` reads it, and `expected.json` says what has to be landed: the type of each column and its values, and
which file has to be refused, with the words of the reason.
"""

import csv, gzip, io, json, math, random, string, struct, sys, uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import duckdb, fastavro, pandas, polars, pyarrow as pa, pyarrow.csv, pyarrow.feather, pyarrow.parquet
import zstandard

import rules

ALPHABET = "abcXYZ äßé東€'\"`,;|\\\t#-_.:/0159"
UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind:
    """A kind of column: what its values are, and how Arrow holds them."""

    def __init__(self, name, make, arrow, declared, says=None):
        self.name, self.make, self.arrow, self.declared, self.says = name, make, arrow, declared, says


def text(r):
    length = r.choice([0, 1, 3, 8, 30])
    return "".join(r.choice(ALPHABET) for _ in range(length)) if r.random() < 0.9 else r.choice(["NULL", "nan", "007", "true", "1", " ", "-", "é\n中"])


def micros(r):
    return EPOCH + timedelta(microseconds=r.choice([r.randrange(-(10**16), 10**16), r.randrange(-(10**9), 10**9) * 1_000_000, 0]))


def decimal(precision, scale):
    return lambda r: Decimal(r.randrange(-(10**precision) + 1, 10**precision)).scaleb(-scale)


def floating(r):
    return r.choice([
        lambda: r.uniform(-1e6, 1e6), lambda: round(r.uniform(-1000, 1000), 2), lambda: float(r.randrange(-50, 50)),
        lambda: r.uniform(-1, 1) * 10.0 ** r.randrange(-300, 300), lambda: 0.1 + 0.2, lambda: 5e-324, lambda: -0.0,
        lambda: r.choice([float("nan"), float("inf"), float("-inf"), 1.5, 2.25]),
    ])()


def single(r):
    return struct.unpack("f", struct.pack("f", r.uniform(-1e6, 1e6)))[0]


def kinds(r):
    p = r.randrange(1, 39)
    s = r.randrange(0, p + 1)
    bits = lambda low, high: lambda r: r.choice([r.randrange(low, high + 1), low, high, 0, 1])
    signed = lambda n: bits(-(2 ** (n - 1)), 2 ** (n - 1) - 1)
    unsigned = lambda n: bits(0, 2**n - 1)
    unit = r.choice(["s", "ms", "us", "ns"])
    zone = r.choice([None, "UTC", "Europe/Berlin"])
    cut = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 1}[unit]
    near = lambda r: EPOCH + timedelta(microseconds=r.randrange(-(10**9), 10**9) * 1000 // cut * cut * 1000)
    return [
        Kind("integer", signed(8), pa.int8(), "integer"), Kind("integer", signed(16), pa.int16(), "integer"),
        Kind("integer", signed(32), pa.int32(), "integer"), Kind("integer", signed(64), pa.int64(), "integer"),
        Kind("integer", unsigned(8), pa.uint8(), "integer"), Kind("integer", unsigned(32), pa.uint32(), "integer"),
        Kind("decimal", unsigned(64), pa.uint64(), "decimal(20,0)"),
        Kind("float", floating, pa.float64(), "float"), Kind("float", single, pa.float32(), "float"),
        Kind("decimal", decimal(p, s), pa.decimal128(p, s), f"decimal({p},{s})"),
        Kind("decimal", decimal(9, 2), pa.decimal128(12, 2), "decimal(12,2)"),
        Kind("boolean", lambda r: r.random() < 0.5, pa.bool_(), "boolean"),
        Kind("string", text, pa.string(), "string"), Kind("string", text, pa.large_string(), "string"),
        Kind("string", lambda r: r.choice(["", "open", "paid", "é"]), pa.dictionary(pa.int32(), pa.string()), "string"),
        Kind("date", lambda r: date.fromordinal(r.randrange(1, 3_652_059)), pa.date32(), "date"),
        Kind("timestamp", near, pa.timestamp(unit, zone), "timestamp"),
        Kind("timestamp", micros, pa.timestamp("us", "UTC"), "timestamp"),
    ]


def odd_kinds():
    """Kinds that have a type only where the flow declares text, if at all."""
    return [
        Kind("string", lambda r: uuid.UUID(int=r.getrandbits(128)), pa.binary(16), "uuid"),
        Kind("bytes", lambda r: text(r).encode(), pa.binary(), "string", "binary values"),
        Kind("json", lambda r: [r.choice([None, "", "x", "é"]) for _ in range(r.randrange(3))], pa.list_(pa.string()), "string", "nested values"),
        Kind("json", lambda r: {"a": r.choice([None, 1, -5]), "b": r.choice([None, "", "y"])}, pa.struct([("a", pa.int64()), ("b", pa.string())]), "string", "nested values"),
        Kind("time", lambda r: time(r.randrange(24), r.randrange(60), r.randrange(60), r.randrange(10**6)), pa.time64("us"), "string", "times of day"),
        Kind("finer", lambda r: r.randrange(1, 10**15) * 1000 + r.randrange(1, 1000), pa.timestamp("ns"), "timestamp", "finer than a microsecond"),
    ]


class Column:
    def __init__(self, r, name, kind, rows, nulls):
        self.name, self.kind, self.blank = name, kind, False
        self.values = [None if r.random() < nulls else kind.make(r) for _ in range(rows)]


def names(r, count):
    some = ["id", "Amount", "status", "größe", "MRR (EUR)", "a b", "select", "x.y", "Ünit", "n°"]
    return r.sample(some, min(count, len(some))) + [f"c{n}" for n in range(count - len(some))]


def table(columns):
    arrays = [pa.array(column.values, type=column.kind.arrow, from_pandas=False) for column in columns]
    return pa.table(arrays, names=[column.name for column in columns])


def plain(column):
    """The values as JSON can hold them, by kind."""
    def one(value):
        if value is None:
            return None
        if isinstance(value, uuid.UUID):
            return str(value)
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, time):
            # As Arrow prints times of day.
            return value.isoformat("microseconds" if value.microsecond % 1000 else "milliseconds" if value.microsecond else "seconds")
        if isinstance(value, datetime):
            return (value - EPOCH) // timedelta(microseconds=1)
        return value if isinstance(value, (list, dict, bool, int)) else repr(value) if isinstance(value, float) else str(value)
    return [one(value) for value in column.values]


# Files that bring their types.

def to_avro(columns, path, r):
    def avro(kind):
        arrow, first = kind.arrow, None
        if pa.types.is_decimal(arrow):
            first = {"type": "bytes", "logicalType": "decimal", "precision": arrow.precision, "scale": arrow.scale}
        elif pa.types.is_timestamp(arrow):
            first = {"type": "long", "logicalType": "timestamp-micros" if kind.name != "finer" else "timestamp-nanos"}
        elif kind.declared == "uuid":
            first = {"type": "string", "logicalType": "uuid"}
        elif kind.name == "time":
            first = {"type": "long", "logicalType": "time-micros"}
        elif pa.types.is_list(arrow):
            first = {"type": "array", "items": ["null", "string"]}
        elif pa.types.is_struct(arrow):
            fields = [{"name": "a", "type": ["null", "long"]}, {"name": "b", "type": ["string", "null"]}]
            first = {"type": "record", "name": f"r{r.getrandbits(32)}", "fields": fields}
        elif kind.name in ("integer", "decimal"):
            first = "long" if kind.name == "integer" else None
        else:
            first = {"float": "double", "boolean": "boolean", "string": "string", "date": {"type": "int", "logicalType": "date"}, "bytes": "bytes"}[kind.name]
        return first and (["null", first] if r.random() < 0.5 else [first, "null"])
    columns = [column for column in columns if avro(column.kind)]
    fields = [{"name": f"f{index}", "type": avro(column.kind)} for index, column in enumerate(columns)]
    for index, column in enumerate(columns):
        column.name = f"f{index}"
    schema = {"type": "record", "name": "row", "fields": fields}
    rows = [{column.name: column.values[row] for column in columns} for row in range(len(columns[0].values))]
    with open(path, "wb") as out:
        fastavro.writer(out, schema, rows, codec=r.choice(["null", "deflate", "snappy", "zstandard"]), sync_interval=r.choice([100, 16000]))
    return columns, "fastavro"


def to_parquet(columns, path, r):
    whole = table(columns)
    writer = r.choice(["pyarrow", "pandas", "polars", "duckdb"])
    has = lambda test: any(test(column.kind.arrow) for column in columns)
    if has(pa.types.is_fixed_size_binary):
        writer = "duckdb" if len(columns) == 1 else "pyarrow"
    if writer == "duckdb" and (has(pa.types.is_time) or has(lambda arrow: pa.types.is_timestamp(arrow) and arrow.tz) or has(pa.types.is_list)):
        writer = "pyarrow"
    compression = r.choice(["snappy", "zstd", "gzip", None])
    if writer == "pyarrow":
        fields = []
        for field in whole.schema:
            is_uuid = pa.types.is_fixed_size_binary(field.type)
            fields.append(whole[field.name].combine_chunks() if not is_uuid else pa.ExtensionArray.from_storage(pa.uuid(), whole[field.name].combine_chunks()))
        whole = pa.table(fields, names=whole.column_names)
        options = {"compression": compression or "none", "use_dictionary": r.random() < 0.5, "data_page_version": r.choice(["1.0", "2.0"])}
        if r.random() < 0.2 and not has(lambda arrow: pa.types.is_timestamp(arrow)):
            options["use_deprecated_int96_timestamps"] = True
        pyarrow.parquet.write_table(whole, path, row_group_size=r.choice([1, 7, 10000]), **options)
    elif writer == "pandas":
        whole.to_pandas(types_mapper=pandas.ArrowDtype).to_parquet(path, compression=compression)
    elif writer == "polars":
        polars.from_arrow(whole).write_parquet(path, compression=compression or "uncompressed")
    else:
        con = duckdb.connect()
        con.execute("SET TimeZone = 'UTC'")
        con.register("whole", whole)
        wanted = ", ".join(
            f'CAST(lower(regexp_replace(hex("{name}"), \'(.{{8}})(.{{4}})(.{{4}})(.{{4}})(.*)\', \'\\1-\\2-\\3-\\4-\\5\')) AS UUID) AS "{name}"'
            if pa.types.is_fixed_size_binary(kind) else f'"{name}"'
            for name, kind in zip(whole.column_names, whole.schema.types)
        )
        con.execute(f"COPY (SELECT {wanted} FROM whole) TO '{path}' (FORMAT parquet, COMPRESSION {compression or 'uncompressed'})")
    return columns, writer


def to_arrow(columns, path, r):
    whole = table(columns)
    writer = r.choice(["feather", "stream", "polars"])
    if writer == "polars" and any(pa.types.is_fixed_size_binary(column.kind.arrow) for column in columns):
        writer = "feather"
    if any(pa.types.is_fixed_size_binary(column.kind.arrow) for column in columns):
        arrays = [pa.ExtensionArray.from_storage(pa.uuid(), array.combine_chunks()) if pa.types.is_fixed_size_binary(array.type) else array for array in whole.columns]
        whole = pa.table(arrays, names=whole.column_names)
    if writer == "feather":
        pyarrow.feather.write_feather(whole, path, compression=r.choice(["lz4", "zstd", "uncompressed"]))
    elif writer == "stream":
        with pa.OSFile(str(path), "wb") as out, pa.ipc.new_stream(out, whole.schema) as stream:
            for batch in whole.to_batches(max_chunksize=r.choice([1, 5, 1000])):
                stream.write_batch(batch)
    else:
        polars.from_arrow(whole).write_ipc(path, compression=r.choice(["lz4", "zstd", "uncompressed"]))
    return columns, writer


def typed(r, path, ending):
    rows = r.choice([0, 1, 5, 60, 500])
    some = kinds(r)
    columns = [Column(r, name, r.choice(some), rows, r.choice([0, 0.2, 0.5, 1])) for name in names(r, r.randrange(1, 9))]
    if r.random() < 0.35:
        columns[-1] = Column(r, columns[-1].name, r.choice(odd_kinds()), rows, r.choice([0, 0.3]))
    columns, writer = {"avro": to_avro, "parquet": to_parquet, "arrow": to_arrow}[ending](columns, path, r)
    declares = r.random() < 0.7
    refused, listed, expected = None, [], []
    for column in columns:
        kind = column.kind
        declared = kind.says and kind.name != "finer"
        if declared and declares:
            listed.append({"name": column.name, "schema_type": "string"})
        else:
            listed.append({"name": column.name})
            if kind.says and (declared or any(value is not None for value in column.values)):
                refused = kind.says
        ty = "string" if kind.says and kind.name != "finer" or kind.declared == "uuid" else kind.declared
        # What such a file brings is its writer's affair.
        expected.append({"name": column.name, "kind": kind.name, "type": None if not rows else ty, "values": plain(column)})
    if ending == "avro" and any(column.kind.declared.startswith("decimal(20") for column in columns):
        pass
    return {"writer": writer, "columns": listed if declares else None, "options": {}, "expected": expected, "refused": refused}


# Files of text.

TEXT_KINDS = ["integer", "decimal", "float", "boolean", "string", "date", "timestamp"]


def text_columns(r, rows):
    some = [kind for kind in kinds(r) if not pa.types.is_dictionary(kind.arrow) and kind.declared != "decimal(20,0)" and not pa.types.is_float32(kind.arrow)]
    def kind():
        chosen = r.choice(some)
        return Kind("timestamp", micros, pa.timestamp("us", None), "timestamp") if chosen.name == "timestamp" else chosen
    return [Column(r, name, kind(), rows, r.choice([0, 0.2, 0.5, 1])) for name in names(r, r.randrange(1, 9))]


def written(value, r, style):
    """A value as an exporter of its own would write it."""
    if value is None:
        return r.choice(style["nulls"])
    if isinstance(value, bool):
        return ("ja" if value else "nein") if style["words"] else ("true" if value else "false")
    if isinstance(value, datetime):
        return value.strftime("%d.%m.%Y %H:%M:%S.%f") if style["patterns"] else value.isoformat(sep=r.choice("T ")).replace("+00:00", r.choice(["", "Z", "+00:00", " UTC", "+00"]))
    if isinstance(value, date):
        return f"{value:%d.%m.}{value.year:04}" if style["patterns"] else value.isoformat()
    if isinstance(value, (int, Decimal)):
        form = ("," if style["thousands"] else "") + ("d" if isinstance(value, int) else "f")
        number = format(value, form)
        return number.replace(",", "_").replace(".", style["point"]).replace("_", style["thousands"] or "")
    if isinstance(value, float):
        return repr(value).replace(".", style["point"])
    return value


def own_csv(columns, path, r, options):
    """By Python's csv, in all the ways that its options have."""
    style = {"nulls": [""], "words": False, "patterns": False, "thousands": None, "point": "."}
    declares = any(column.kind.name == "boolean" for column in columns) and r.random() < 0.3
    if declares:
        style["words"] = True
        options.update(true_values=["ja"], false_values=["nein"])
    if r.random() < 0.3:
        style["point"] = options["decimal_separator"] = ","
    if r.random() < 0.3:
        style["thousands"] = options["thousands_separator"] = "." if style["point"] == "," else r.choice([",", "'", " "])
    if r.random() < 0.3:
        style["patterns"] = True
        options.update(date_format="%d.%m.%Y", timestamp_format="%d.%m.%Y %H:%M:%S%.f")
    if r.random() < 0.3:
        style["nulls"] = ["", "N/A"]
        options["null_values"] = ["N/A"]
    options["delimiter"] = r.choice([",", ";", "\t", "|"])
    quoting = r.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    end = r.choice(["\n", "\r\n", "\r"])
    out = io.StringIO()
    lines = r.choice([0, 0, 2])
    out.write(("exported by: nobody" + end) * lines)
    if lines:
        options["skip_rows"] = lines
    elif r.random() < 0.2 and len(columns) > 1 and options["delimiter"] != "\t":
        out.write(f"sep={options['delimiter']}{end}")
    def field(text, is_null, is_text):
        if is_null and (text == "" or is_text):
            return text
        special = any(c in text for c in (options["delimiter"], '"', "\r", "\n")) or text == "" or is_text and (text in style["nulls"])
        if special or quoting == csv.QUOTE_ALL or quoting == csv.QUOTE_NONNUMERIC and is_text or text.startswith((" ", "\t")) and r.random() < 0.5:
            return '"' + text.replace('"', '""') + '"'
        return text
    record = lambda texts: out.write(options["delimiter"].join(texts) + end)
    record([field(column.name, False, True) for column in columns])
    for row in range(len(columns[0].values)):
        record([field(written(column.values[row], r, style), column.values[row] is None, column.kind.name == "string") for column in columns])
    encoding = r.choice(["utf-8", "utf-8-sig", "utf-16-le", "windows-1252"])
    try:
        data = out.getvalue().encode(encoding)
    except UnicodeEncodeError:
        encoding, data = "utf-8", out.getvalue().encode()
    if encoding in ("utf-16-le", "windows-1252"):
        options["encoding"] = "utf-16le" if encoding == "utf-16-le" else encoding
    Path(path).write_bytes(data)
    return "csv", declares


def to_csv(columns, path, r):
    options = {}
    writer = r.choice(["own", "own", "pandas", "polars", "duckdb", "pyarrow"])
    frame = table(columns)
    forced = False
    if writer == "own":
        writer, forced = own_csv(columns, path, r, options)
    elif writer == "pandas":
        quoting = r.choice([csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])
        frame.to_pandas(types_mapper=pandas.ArrowDtype).to_csv(path, index=False, quoting=quoting)
        # It quotes what is missing like what is empty, or leaves both bare, as it likes.
        for column in columns:
            column.blank = True
    elif writer == "polars":
        options["delimiter"] = r.choice([",", ";"])
        polars.from_arrow(frame).write_csv(path, separator=options["delimiter"], quote_style=r.choice(["necessary", "non_numeric"]))
    elif writer == "duckdb":
        con = duckdb.connect()
        con.register("frame", frame)
        con.execute(f"COPY frame TO '{path}' (FORMAT csv, HEADER, DELIMITER '|')")
        options["delimiter"] = "|"
    else:
        pyarrow.csv.write_csv(frame, path)
    return writer, options, forced


def to_json(columns, path, r):
    writer = r.choice(["python", "python", "pandas", "polars", "duckdb"])
    if writer == "pandas" and any(column.kind.name in ("float", "date") for column in columns):
        # It rounds floats, and has no dates.
        writer = "python"
    frame, lines = table(columns), path.suffix == ".jsonl"
    if writer == "pandas":
        frame = frame.to_pandas(types_mapper=pandas.ArrowDtype)
        frame.to_json(path, orient="records", lines=lines, date_format="iso", date_unit="us", double_precision=15)
    elif writer == "polars":
        frame = polars.from_arrow(frame)
        frame.write_ndjson(path) if lines else frame.write_json(path)
        for column in columns:
            finite = lambda value: not isinstance(value, float) or math.isfinite(value)
            column.values = [value if finite(value) else None for value in column.values]
    elif writer == "duckdb":
        con = duckdb.connect()
        con.register("frame", frame)
        con.execute(f"COPY frame TO '{path}' (FORMAT json, ARRAY {not lines})")
    else:
        value = lambda v: str(v) if isinstance(v, (Decimal, date, datetime)) else v
        rows = [{column.name: value(column.values[row]) for column in columns} for row in range(len(columns[0].values))]
        escaped = r.random() < 0.5
        text = "".join(json.dumps(row, ensure_ascii=escaped) + "\n" for row in rows) if lines else json.dumps(rows, indent=r.choice([None, 1]), ensure_ascii=escaped)
        path.write_text(text)
    return writer


def decoded(path, options):
    data = Path(path).read_bytes()
    return data.decode({"utf-16le": "utf-16-le"}.get(options.get("encoding"), options.get("encoding", "utf-8"))).removeprefix("\ufeff")


def texts_of_csv(path, columns, options):
    """What stands in the file for each column: no NULL, and nothing that is NULL where the column is not text."""
    text = decoded(path, options)
    for _ in range(options.get("skip_rows", 0)):
        text = text[min(at for at in (text.find("\n"), text.find("\r")) if at >= 0) :]
        text = text[2:] if text.startswith("\r\n") else text[1:]
    if text.lower().startswith("sep="):
        text = text[7:] if text[5:7] == "\r\n" else text[6:]
    delimiter = options.get("delimiter", ",")
    # With one column a blank line is a row, and NULL.
    rows = list(rules.fields(text, delimiter))
    header = [name for name, _ in rows[0]]
    nulls = ["", *options.get("null_values", [])]
    for column in columns:
        place = header.index(column.name)
        yield [text for text, _ in (row[place] for row in rows[1:]) if text.strip(" \t") not in nulls or text == " "]


def as_number(text, options):
    thousands, point = options.get("thousands_separator"), options.get("decimal_separator", ".")
    if thousands:
        import re
        whole = text.lstrip("-").split(point)[0]
        if thousands in text and not re.match(r"\d{1,3}(\D\d{3})*$", whole):
            return "x"
        text = text.replace(thousands, "")
    if point == ",":
        text = text.replace(".", "x").replace(",", ".")
    return text


def type_of_texts(texts, options, json_texts=None):
    if options.get("date_format"):
        import re
        if texts and all(re.match(r"\d\d\.\d\d\.\d{4}$", text.strip(" \t")) for text in texts):
            return "date"
        if texts and all(re.match(r"\d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d\.\d+$", text.strip(" \t")) for text in texts):
            return "timestamp"
    numbers = rules.inferred([as_number(text.strip(" \t"), options) for text in texts])
    if numbers in ("integer", "float", "open") or numbers.startswith("decimal"):
        return numbers
    plain = rules.inferred(texts)
    return plain if plain in ("boolean", "date", "timestamp") else "string"


class Raw(str):
    pass


def types_of_json(path, columns):
    parse = lambda text: json.loads(text, parse_float=Raw, parse_int=Raw, parse_constant=Raw)
    text = Path(path).read_text()
    rows = parse(text or "[]") if path.suffix == ".json" else [parse(line) for line in text.split("\n") if line.strip()]
    for column in columns:
        values = [row.get(column.name) for row in rows]
        values = [value for value in values if value not in (None, "")]
        if not values:
            yield "open"
        elif all(isinstance(value, Raw) for value in values):
            yield rules.inferred(values, json=True)
        elif all(isinstance(value, bool) for value in values):
            yield "boolean"
        elif all(isinstance(value, str) and not isinstance(value, Raw) for value in values):
            found = rules.inferred(values)
            yield found if found in ("date", "timestamp") else "string"
        else:
            yield "string"


def text_file(r, path, ending):
    rows = r.choice([0, 1, 5, 60, 500])
    columns = text_columns(r, rows)
    options, forced = {}, False
    if ending == "csv":
        writer, options, forced = to_csv(columns, path, r)
        types = [type_of_texts(texts, options) for texts in texts_of_csv(path, columns, options)]
    else:
        writer = to_json(columns, path, r)
        types = list(types_of_json(path, columns))
    declares = forced or r.random() < 0.5
    listed = [{"name": column.name, **({"schema_type": column.kind.declared} if declares else {})} for column in columns]
    expected = [
        {"name": column.name, "kind": column.kind.name, "type": column.kind.declared if declares else ty, "values": plain(column), "blank": column.blank}
        for column, ty in zip(columns, types)
    ]
    if ending != "csv" and rows == 0:
        declares = True
    return {"writer": writer, "columns": listed if declares or r.random() < 0.3 else None, "options": options, "expected": expected, "refused": None}


def compressed(path, r):
    how = r.choice([None, None, "gz", "zst"])
    data = path.read_bytes()
    if how == "gz":
        data = gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :])
    elif how == "zst":
        data = zstandard.ZstdCompressor().compress(data)
    path.write_bytes(data)


def toml(value):
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (str, int)) else "[" + ", ".join(map(toml, value)) + "]"


def flow(number, name, made):
    lines = [f'id = "f_{number}"', 'flow_type = "standard"', "[[tasks]]", 'id = "land"', 'task_type = "ingestion"', f'target_dataset = "raw_{number}"']
    lines += ["[tasks.config]", f'path = "data/{name}"']
    lines += [f"{key} = {toml(value)}" for key, value in made["options"].items()]
    if made["columns"]:
        columns = ["{ " + ", ".join(f"{key} = {toml(value)}" for key, value in column.items()) + " }" for column in made["columns"]]
        lines.append("columns = [" + ", ".join(columns) + "]")
    return "\n".join(lines) + "\n"


def main(seed, count, folder):
    folder = Path(folder)
    for part in ("data", "flows"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "qetl.toml").write_text("")
    all = []
    for number in range(count):
        r = random.Random(f"{seed}/{number}")
        ending = r.choice(["csv", "csv", "csv", "json", "jsonl", "jsonl", "parquet", "parquet", "arrow", "avro"])
        name = f"d_{number}.{ending}"
        path = folder / "data" / name
        make = typed if ending in ("parquet", "arrow", "avro") else text_file
        made = make(r, path, ending)
        if ending in ("csv", "json", "jsonl"):
            compressed(path, r)
        (folder / "flows" / f"f_{number}.toml").write_text(flow(number, name, made))
        all.append({"number": number, "file": name, **{key: made[key] for key in ("writer", "expected", "refused")}})
    (folder / "expected.json").write_text(json.dumps(all))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
