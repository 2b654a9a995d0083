"""Runs the script of a qetl task: its sources and its result are Arrow files in a folder."""

import datetime
import json
import linecache
import os
import sys
import threading
import traceback

folder = sys.argv[1]
with open(os.path.join(folder, "task.json"), encoding="utf-8") as file:
    task = json.load(file)


def fail(**what):
    sys.stdout.flush()
    with open(os.path.join(folder, "error.json"), "w", encoding="utf-8") as file:
        json.dump(what, file)
    os._exit(1)


def end_with_parent():
    # qetl holds the other end and writes nothing: when it closes, qetl is gone.
    sys.stdin.buffer.read()
    os._exit(1)


def need(module):
    try:
        return __import__(module)
    except ImportError as error:
        fail(kind="missing", module=module, message=str(error))


class Context:
    """What a script may ask for."""

    def __init__(self):
        self.batch_id = task["batch_id"]
        self.variables = task["variables"]
        self.execution_date = datetime.datetime.fromtimestamp(0, datetime.timezone.utc) + datetime.timedelta(
            microseconds=task["execution_date"]
        )
        self.ds = self.execution_date.strftime("%Y-%m-%d")
        self.ds_nodash = self.execution_date.strftime("%Y%m%d")
        self.ts = self.execution_date.strftime("%Y-%m-%dT%H:%M:%S")
        self.sources = [source["names"][0] for source in task["sources"]]
        self.target = task["target"][0]

    def var(self, name, *default):
        """A variable's value; the default, or an error, if there is none."""
        if name in self.variables:
            return self.variables[name]
        if default:
            return default[0]
        raise KeyError("there is no variable %r" % name)

    def get_dataframe(self, name=None, kind="pandas"):
        """A source's rows: the first source without a name; kind is pandas, polars or pyarrow."""
        wanted = (name or self.sources[0]).lower()
        for source in task["sources"]:
            if wanted in [known.lower() for known in source["names"]]:
                break
        else:
            raise KeyError("%r is not a source of the task; its sources are %s" % (name, ", ".join(self.sources)))
        pyarrow = need("pyarrow")
        with pyarrow.ipc.open_file(source["path"]) as reader:
            table = reader.read_all()
        if kind == "pyarrow":
            return table
        if kind == "polars":
            return need("polars").from_arrow(table)
        if kind != "pandas":
            raise ValueError("kind is 'pandas', 'polars' or 'pyarrow', not %r" % kind)
        pandas = need("pandas")
        # Whole numbers and truth keep their types where values are missing.
        types = {pyarrow.int64(): pandas.Int64Dtype(), pyarrow.bool_(): pandas.BooleanDtype()}
        return table.to_pandas(types_mapper=types.get)

    def save_dataframe(self, name, df):
        """Makes these rows the task's result."""
        if name.lower() not in [known.lower() for known in task["target"]]:
            raise KeyError("the task makes %r, not %r" % (self.target, name))
        pyarrow = need("pyarrow")
        if isinstance(df, pyarrow.Table):
            table = df
        elif isinstance(df, pyarrow.RecordBatch):
            table = pyarrow.Table.from_batches([df])
        elif hasattr(df, "to_arrow"):
            table = df.to_arrow()
        elif type(df).__module__.split(".")[0] == "pandas" and hasattr(df, "columns"):
            df = df.rename(columns=str)
            table = pyarrow.Table.from_pandas(df, preserve_index=False)
        else:
            raise TypeError("save_dataframe takes a pandas, polars or pyarrow table, not %s" % type(df).__name__)
        with pyarrow.ipc.new_file(task["result"], table.schema) as writer:
            writer.write_table(table)


threading.Thread(target=end_with_parent, daemon=True).start()
name = "<script of task %s>" % task["id"]
text = task["script"]
linecache.cache[name] = (len(text), None, text.splitlines(True), name)
try:
    exec(compile(text, name, "exec"), {"__name__": "__main__", "context": Context()})
except SystemExit as end:
    code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    if code:
        fail(kind="exit", code=code, message=str(end.code))
except SyntaxError as error:
    lines = traceback.format_exception_only(type(error), error)
    fail(kind="failed", message="".join(lines[-1:]).strip(), line=error.lineno if error.filename == name else None, trace="".join(lines))
except BaseException as error:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    own = [frame.lineno for frame in frames if frame.filename == name]
    trace = "".join(traceback.format_list(frames))
    message = "".join(traceback.format_exception_only(type(error), error)).strip()
    fail(kind="failed", message=message, line=own[-1] if own else None, trace=trace)
sys.stdout.flush()
sys.stderr.flush()
os._exit(0)
