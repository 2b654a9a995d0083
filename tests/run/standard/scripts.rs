//! Python scripts between tables.

use std::path::PathBuf;

use qetl_test_peers::venv;

use super::{flow, ingestion, project, rows, sql};
use crate::cli::Cli;

/// The Python of the tests, with pandas and pyarrow; `None` when there is none.
pub(super) fn python() -> Option<PathBuf> {
    let found = venv::python("venv", &["pandas", "pyarrow", "polars"], "import pandas, pyarrow, polars");
    if found.is_none() && std::env::var_os("CI").is_some() {
        panic!("CI has no Python with pandas and pyarrow");
    }
    found
}

fn script(target: &str, source: &str, text: &str) -> String {
    format!(
        "[[tasks]]\nid = \"make_{target}\"\ntask_type = \"custom_script\"\nsource_dataset = \"{source}\"\n\
         target_dataset = \"{target}\"\nscript = '''\n{text}'''\n"
    )
}

fn with_python(tasks: &str) -> Option<Cli> {
    let python = python()?;
    let cli = project(&flow(tasks));
    cli.write("qetl.toml", &format!("[python]\ninterpreter = \"{}\"\n", python.display()));
    cli.write("data/t_1.csv", "id,name,amount,day,flag\n1,Ada,1.50,2024-03-01,true\n2,,2.25,,\n,Cleo,3.00,2024-03-03,false\n");
    Some(cli)
}

const COLUMNS: &str = "columns = [\"id\", \"name\", { name = \"amount\", schema_type = \"decimal(10,2)\" }, \"day\", \"flag\"]";

/// Every kind of table goes there and back as it was.
#[test]
fn tables_go_through_python_unchanged() {
    for kind in ["pandas", "polars", "pyarrow"] {
        let text = format!(
            "df = context.get_dataframe(\"{{{{ source_dataset }}}}\", \"{kind}\")\nprint('rows', len(df))\n\
             context.save_dataframe(\"{{{{ target_dataset }}}}\", df)\n"
        );
        let tasks = format!("{}{}{}", ingestion("t", COLUMNS), script("copy", "t", &text), sql("after", "SELECT id FROM copy", ""));
        let Some(cli) = with_python(&tasks) else { return };
        let ran = cli.run(&["execute"]);
        assert_eq!(ran.code, 0, "{kind}: {ran:?}");
        assert!(ran.stderr.contains("copy: rows 3"), "{kind}: {ran:?}");
        let all = |table: &str| rows(&cli, &format!("SELECT id, name, amount, day, flag FROM {table} ORDER BY amount"));
        assert_eq!(all("copy"), all("t"), "{kind}");
        assert_eq!(rows(&cli, "SELECT COUNT(*) FROM after"), ["3"]);
    }
}

#[test]
fn a_script_knows_its_batch_and_its_variables() {
    let text = "df = context.get_dataframe()\n\
                df = df.assign(batch=context.batch_id, ds=context.ds, region=context.var('region'), least={{ least }})\n\
                context.save_dataframe('copy', df[['batch', 'ds', 'region', 'least']].head(1))\n";
    let tasks = format!("[variables]\nregion = \"eu\"\nleast = 3\n{}{}", ingestion("t", COLUMNS), script("copy", "t", text));
    let Some(cli) = with_python(&tasks) else { return };
    cli.ok(&["execute", "--execution-date", "2024-03-05", "--var", "region=us"]);
    assert_eq!(rows(&cli, "SELECT batch, ds, region, least FROM copy"), ["1,2024-03-05,us,3"]);
}

#[test]
fn a_script_that_fails_is_told_with_its_place() {
    for (text, said) in [
        ("x = 1\ny = 1 / 0\n", "ZeroDivisionError: division by zero"),
        ("x = 1\ndef f(:\n", "SyntaxError"),
        ("x = 1\nraise SystemExit(3)\n", "exit code 3"),
        ("x = 1\ncontext.get_dataframe('other')\n", "is not a source of the task"),
        ("x = 1\ncontext.save_dataframe('other', None)\n", "the task makes 'copy', not 'other'"),
        ("x = 1\n", "saved nothing"),
    ] {
        let tasks = format!("{}{}", ingestion("t", COLUMNS), script("copy", "t", text));
        let Some(cli) = with_python(&tasks) else { return };
        let failed = cli.run(&["execute"]);
        assert_eq!(failed.code, 1, "{text}: {failed:?}");
        assert!(failed.stderr.contains(said), "{said}: {failed:?}");
        let file = flow(&tasks);
        let second = file.lines().position(|line| line == "x = 1").unwrap() + 2;
        let is_placed = failed.stderr.contains(&format!("flows/flow.toml:{second}:"));
        assert!(is_placed || said.contains("exit code") || said.contains("saved"), "{second}: {failed:?}");
        assert!(!cli.path("warehouse/data/main/t").exists() || cli.run(&["show", "t"]).code == 2, "{text}");
    }
}

#[test]
fn a_missing_python_is_told_with_the_way_out() {
    let cli = project(&flow(&format!("{}{}", ingestion("t", ""), script("copy", "t", "pass\n"))));
    cli.write("qetl.toml", "[python]\ninterpreter = \"no-such-python\"\n");
    cli.write("data/t_1.csv", "id\n1\n");
    let failed = cli.run(&["execute"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("`no-such-python`") && failed.stderr.contains("[python] interpreter"), "{failed:?}");
}
