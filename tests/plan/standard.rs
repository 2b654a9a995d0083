//! Standard flows: the order of tasks, what templates become, where their mistakes are, what their SQL says.

use std::collections::BTreeMap;

use qetl_core::{
    DatasetName, Flow, Problems,
    standard::{Rendered, StandardFlow, StandardTask, StatementKind, TaskWork, TemplateContext, Variable, WriteMode, parse_var},
};
use qetl_sql::{
    syntax::GenericDialect,
    task::{self, TaskSql},
};

fn flow(text: &str) -> StandardFlow {
    let flow = Flow::parse("flows/f.toml", text, &qetl_plugins::registry()).unwrap_or_else(|problems| panic!("{problems}"));
    flow.standard().unwrap()
}

/// Everything that can be said of a standard flow without an engine.
pub(crate) fn problems_of(flow: &StandardFlow) -> Problems {
    let mut problems = flow.missing_sources(&[]);
    let vars = BTreeMap::new();
    for task in &flow.tasks {
        match flow.render(task, &context(&vars)) {
            Err(found) => problems.append(found),
            Ok(rendered) => {
                let TaskWork::Sql(work) = &task.work else { continue };
                match task::read(&rendered, &task.target, &GenericDialect {}) {
                    Err(found) => problems.append(found),
                    Ok(sql) => {
                        if let Err(problem) = work.write.mode(sql.kind) {
                            problems.append(Problems::from(problem).in_source(&flow.source));
                        }
                        if sql.kind == StatementKind::Insert {
                            problems.0.extend(flow.insert_of_everything(task));
                        }
                    }
                }
            }
        }
    }
    problems
}

/// Batch 7 of 2024-03-01T10:20:30Z.
fn context(vars: &BTreeMap<String, Variable>) -> TemplateContext<'_> {
    TemplateContext { batch_id: 7, execution_date: 1_709_288_430_000_000, vars, quote: '"' }
}

/// Each task's text, filled in.
pub(crate) fn templates(flow: &StandardFlow) -> String {
    let vars = BTreeMap::new();
    let text = |task: &StandardTask| flow.render(task, &context(&vars)).unwrap_or_else(|problems| panic!("{problems}")).text;
    let head = |task: &StandardTask| format!("# {} ({}) after [{}]", task.id.value, task.task_type().name(), task.after.join(", "));
    flow.tasks.iter().map(|task| format!("{}\n{}\n\n", head(task), text(task))).collect()
}

/// A flow of one task that has this line, with a TOML value, beside what it needs.
fn one_task(line: &str) -> String {
    format!(
        "id = 'f'\nflow_type = 'standard'\n[variables]\nregion = 'eu'\nlimit = 10\nrate = 0.5\non = true\nids = ['a', \"b'c\"]\n\
         [[tasks]]\nid = 't'\ntask_type = 'sql_processing'\nsource_datasets = ['raw.orders', 'Order', 'plain']\n\
         target_dataset = 'user'\n{line}\n[tasks.variables]\nregion = 'us'\nown = 1\n"
    )
}

fn rendered(line: &str, vars: &[&str]) -> Result<Rendered, Problems> {
    let flow = flow(&one_task(line));
    let vars: BTreeMap<String, Variable> = vars.iter().map(|var| parse_var(var).unwrap()).collect();
    flow.render(&flow.tasks[0], &context(&vars))
}

fn sql(template: &str) -> String {
    rendered(&format!("sql = '''{template}'''"), &[]).map_or_else(|problems| format!("! {problems}"), |rendered| rendered.text)
}

#[test]
fn templates_are_filled_in() {
    for (template, expected) in [
        ("{{ source_dataset }}", "raw.orders"),
        ("{{ source_dataset('Order') }}", "\"Order\""),
        ("{{ source_dataset('raw.orders') }} {{ source_dataset('orders') }}", "raw.orders raw.orders"),
        ("{{ source_datasets[2] }}", "plain"),
        ("{{ source_datasets_dict['plain'] }}", "plain"),
        ("{% for name in source_datasets %}{{ name }};{% endfor %}", "raw.orders;\"Order\";plain;"),
        ("{{ target_dataset }}", "\"user\""),
        ("{{ target_dataset|sql }} {{ target_dataset|ident }} {{ target_dataset ~ '_x' }}", "'user' \"user\" user_x"),
        ("{{ source_dataset|ident }} {{ source_dataset|upper }}", "\"raw\".\"orders\" RAW.ORDERS"),
        ("{{ region }} {{ limit }} {{ rate }} {{ on }} {{ own }}", "us 10 0.5 true 1"),
        ("{{ var('region') }} {{ var('none', 'x') }} {{ var('none', none) }}", "us x NULL"),
        ("{{ region|sql }} {{ limit|sql }} {{ on|sql }} {{ ids|sql }}", "'us' 10 TRUE 'a', 'b''c'"),
        ("{{ 'a\"b'|ident }}", "\"a\"\"b\""),
        ("{{ nothing|default('x') }} {{ 'aB'|upper }} {{ 'aB'|lower }}", "x AB ab"),
        ("{{ batch_id }} {{ batch_id + 1 }}", "7 8"),
        ("{{ ds }} {{ ds_nodash }} {{ yesterday_ds }} {{ tomorrow_ds }}", "2024-03-01 20240301 2024-02-29 2024-03-02"),
        ("{{ ts }} {{ ts_nodash }} {{ prev_ds }} {{ next_ds }}", "2024-03-01T10:20:30+00:00 20240301T102030 2024-02-29 2024-03-02"),
        ("{{ execution_date.year }}/{{ execution_date.month }}/{{ execution_date.second }}", "2024/3/30"),
        ("{{ execution_date.strftime('%Y-%m') }} {{ execution_date.isoformat() }}", "2024-03 2024-03-01T10:20:30+00:00"),
        ("{% if region == 'us' and nothing is not defined %}yes{% endif %}", "yes"),
        ("select * from {source_dataset} -- {x}", "select * from raw.orders -- {x}"),
    ] {
        assert_eq!(sql(template), expected, "{template}");
    }
}

#[test]
fn the_command_line_comes_first() {
    let text = |vars: &[&str]| rendered("sql = '{{ region }} {{ var(\"limit\") }} {{ more|default(0) }}'", vars).unwrap().text;
    assert_eq!(text(&[]), "us 10 0");
    assert_eq!(text(&["region=asia", "limit=007", "more=null"]), "asia 007 NULL");
}

#[test]
fn scripts_and_paths_write_names_and_values_their_way() {
    let text = "id = 'f'\nflow_type = 'standard'\nnamespace = 'raw'\n[variables]\non = true\n[[tasks]]\nid = 'i'\ntask_type = 'ingestion'\n\
                target_dataset = 'Order'\nconfig.path = 'data/{{ ds }}/{{ batch_id }}*.csv'\n[[tasks]]\nid = 's'\n\
                task_type = 'custom_script'\nsource_dataset = 'Order'\ntarget_dataset = 'x'\n\
                script = 'get(\"{{ source_dataset }}\", {{ on }}, {{ var(\"n\", none) }})'\n";
    let (flow, vars) = (flow(text), BTreeMap::new());
    let text = |task: &str| flow.render(flow.task(task).unwrap(), &context(&vars)).unwrap().text;
    assert_eq!(text("i"), "data/2024-03-01/7*.csv");
    assert_eq!(text("s"), "get(\"raw.Order\", True, None)");
}

/// What of the file a template's mistake is shown at.
#[test]
fn mistakes_are_placed_in_every_kind_of_string() {
    for (line, at) in [
        ("sql = \"select {{ regoin }} from t\"", "regoin"),
        ("sql = 'select {{ regoin }} from t'", "regoin"),
        ("sql = '''\nselect 1,\n  {{ regoin }}\nfrom t'''", "regoin"),
        ("sql = \"\"\"\nselect 1,\n  {{ regoin }}\nfrom t\"\"\"", "regoin"),
        ("sql = \"\"\"\nselect \\\"é\\\" \\\n    , {{ regoin }}\"\"\"", "regoin"),
        ("sql = \"select '\\u00e9\\t' {{ regoin }}\"", "regoin"),
        ("sql = '''\r\nselect\r\n {{ regoin }}\r\n'''", "regoin"),
        ("sql = \"select {{ var('x\\u0041') }}\"", "var('x\\u0041')"),
        ("sql = 'from {source_dataset} {{ regoin }} {target_dataset}'", "regoin"),
        ("sql = 'a {{ region|uper }}'", "uper"),
        ("sql = 'a {{ source_datasets[9] }}'", "source_datasets[9]"),
        ("sql = 'a {{ batch_id / 0 }}'", "batch_id / 0"),
        ("sql = 'a {{ execution_date.strftime(\"%Q\") }}'", ".strftime(\"%Q\")"),
    ] {
        let text = one_task(line);
        let problems = match Flow::parse("f", &text, &qetl_plugins::registry()) {
            Err(problems) => problems,
            Ok(flow) => {
                let flow = flow.standard().unwrap();
                flow.render(&flow.tasks[0], &context(&BTreeMap::new())).unwrap_err()
            }
        };
        let span = problems.0.iter().find(|problem| !problem.warning).unwrap().span;
        assert_eq!(&text[span.start..span.end], at, "{line}\n{problems}");
    }
}

/// What the rendered text says is placed where the file says it, before, in and after what templates put in.
#[test]
fn rendered_text_is_placed_in_the_file() {
    let line =
        "sql = '''\nselect {{ region }}, colour -- é\nfrom {source_dataset}\n{% for id in ids %}or {{ id }} is bad\n{% endfor %}limit'''";
    let (text, rendered) = (one_task(line), rendered(line, &[]).unwrap());
    assert_eq!(rendered.text, "select us, colour -- é\nfrom raw.orders\nor a is bad\nor b'c is bad\nlimit");
    let file = |needle: &str| {
        let at = rendered.text.find(needle).unwrap();
        let span = rendered.span(at..at + needle.len());
        text[span.start..span.end].to_owned()
    };
    assert_eq!(file("colour"), "colour");
    assert_eq!(file("limit"), "limit");
    assert_eq!(file("c is bad"), "{{ id }} is bad");
    assert_eq!(file("raw"), "{source_dataset}");
    assert_eq!(file("us"), "{{ region }}");
    let place = rendered.span_at(4, 1);
    assert_eq!(&text[place.start..place.end], "or");
}

#[test]
fn loops_and_texts_have_limits() {
    for (template, code) in [
        ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "qetl::template::limit"),
        ("{{ 'abcdefghij' * 9000000 }}", "qetl::template::limit"),
        ("{% for a in range(20000) %}{{ 'abcdefghij' * 1000 }}{% endfor %}", "qetl::template::limit"),
        ("{{ ('a' * 1000000)|replace('a', 'bbbbbbbbbbbbbbbbbbbb') }}", "qetl::template::limit"),
        ("{% include 'x' %}", "qetl::template::syntax"),
        ("{% macro f() %}{% endmacro %}", "qetl::template::syntax"),
        ("{% import 'x' as y %}", "qetl::template::syntax"),
    ] {
        let text = one_task(&format!("sql = '''{template}'''"));
        let problems = match Flow::parse("f", &text, &qetl_plugins::registry()) {
            Err(problems) => problems,
            Ok(flow) => {
                let flow = flow.standard().unwrap();
                flow.render(&flow.tasks[0], &context(&BTreeMap::new())).unwrap_err()
            }
        };
        assert_eq!(problems.0[0].code, code, "{template}: {problems}");
    }
}

fn order_of(tasks: &str) -> String {
    let flow = flow(&format!("id = 'f'\nflow_type = 'standard'\n{tasks}"));
    let say = |task: &StandardTask| format!("{}({})", task.id.value, task.after.join(" "));
    flow.tasks.iter().map(say).collect::<Vec<_>>().join(" ")
}

fn query_task(id: &str, more: &str) -> String {
    format!("[[tasks]]\nid = '{id}'\ntask_type = 'sql_processing'\ntarget_dataset = '{id}_out'\nsql = 'select 1'\n{more}\n")
}

#[test]
fn tasks_run_in_the_order_of_what_they_read() {
    let last = query_task("last", "source_datasets = ['b_out', 'C_OUT']");
    let (b, c) = (query_task("b", "source_dataset = 'a_out'"), query_task("c", "source_dataset = 'a_out'"));
    let (a, z) = (query_task("a", ""), query_task("z", ""));
    assert_eq!(order_of(&format!("{last}{c}{b}{a}{z}")), "a() c(a) b(a) last(c b) z()");
    let first = query_task("first", "downstream_tasks = ['a']");
    let end = query_task("end", "dependencies = ['c', 'b']");
    assert_eq!(order_of(&format!("{end}{b}{c}{a}{first}")), "first() a(first) b(a) c(a) end(b c)");
}

#[test]
fn what_the_sql_reads_orders_the_tasks_too() {
    let flow = flow(&format!("id = 'f'\nflow_type = 'standard'\n{}{}", query_task("b", ""), query_task("a", "")));
    let a = DatasetName { namespace: "main".into(), name: "A_out".into() };
    let flow = flow.with_reads(&BTreeMap::from([("b".to_owned(), vec![(a, qetl_core::Span::default())])])).unwrap();
    assert_eq!(flow.tasks.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(flow.tasks[1].after, ["a"]);
}

fn sql_of(sql: &str) -> Result<(Rendered, TaskSql), Problems> {
    let flow = flow(&one_task(&format!("sql = '''{sql}'''")));
    let rendered = flow.render(&flow.tasks[0], &context(&BTreeMap::new()))?;
    let read = task::read(&rendered, &flow.tasks[0].target, &GenericDialect {})?;
    Ok((rendered, read))
}

#[test]
fn sql_is_a_query_or_an_insert() {
    let said = |text: &str| {
        let (rendered, sql) = sql_of(text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        let reads: Vec<String> = sql.reads.iter().map(|read| read.dataset.to_string()).collect();
        let functions: Vec<&str> = sql.functions.iter().map(|(name, _)| name.as_str()).collect();
        let query = &rendered.text[sql.query.clone()];
        format!("{:?} [{}] ({}) {} | {query}", sql.kind, sql.columns.join(" "), reads.join(" "), functions.join(" "))
    };
    for (text, expected) in [
        ("select 1;", "Query [] ()  | select 1"),
        ("-- all\nselect * from {{ source_dataset }} ; ; -- end", "Query [] (raw.orders)  | select * from raw.orders"),
        ("insert into {{ target_dataset }} select now()", "Insert [] () now | select now()"),
        ("INSERT INTO user (a, \"B\") (select 1, 2)", "Insert [a B] ()  | (select 1, 2)"),
        ("insert into main.\"USER\" with x as (select 1) select * from x", "Insert [] ()  | with x as (select 1) select * from x"),
        ("insert into user values (1), (2)", "Insert [] ()  | values (1), (2)"),
        (
            "with orders as (select * from orders) select * from orders",
            "Query [] (orders)  | with orders as (select * from orders) select * from orders",
        ),
        (
            "with a as (select * from t), b as (select * from A) select * from b, c",
            "Query [] (t c)  | with a as (select * from t), b as (select * from A) select * from b, c",
        ),
        (
            "with recursive n as (select 1 union all select * from n) select * from n",
            "Query [] ()  | with recursive n as (select 1 union all select * from n) select * from n",
        ),
        (
            "select (select max(x) from a where exists (select 1 from b)) from c",
            "Query [] (a b c) max | select (select max(x) from a where exists (select 1 from b)) from c",
        ),
        (
            "select Upper(x) from generate_series(1, 3) union select x from raw.orders",
            "Query [] (raw.orders) upper generate_series | select Upper(x) from generate_series(1, 3) union select x from raw.orders",
        ),
    ] {
        assert_eq!(said(text), expected);
    }
}

#[test]
fn other_sql_is_refused_where_it_stands() {
    for (sql, code, at) in [
        ("create table x as select 1", "qetl::sql::statement", "create"),
        ("drop table x", "qetl::sql::statement", "drop"),
        ("  update x set a = 1", "qetl::sql::statement", "update"),
        ("delete from x", "qetl::sql::statement", "delete"),
        ("merge into x using y on a = b when matched then delete", "qetl::sql::statement", "merge"),
        ("truncate table x", "qetl::sql::statement", "truncate"),
        ("copy x to 'y'", "qetl::sql::statement", "copy"),
        ("select 1;\n select 2", "qetl::sql::several_statements", "select"),
        ("create table x as select 1; select 1", "qetl::sql::several_statements", "create"),
        ("create temp table x (a int); select 1", "qetl::sql::several_statements", "create"),
        ("create temp table x as select 1 into y; select 1", "qetl::sql::statement", "select"),
        ("create temp table x as select 1", "qetl::sql::statement", "create"),
        ("create temp table qetl_x as select 1; select 1", "qetl::sql::table_name", "qetl_x"),
        ("insert into other select 1", "qetl::sql::other_target", "other"),
        ("insert into user default values", "qetl::sql::statement", "insert"),
        ("insert into user select 1 returning 1", "qetl::sql::statement", "insert"),
        ("insert into user (a, A) select 1, 2", "qetl::sql::duplicate_column", "A"),
        ("with x as (select 1) insert into user select * from x", "qetl::sql::statement", "with"),
        ("select 1 into y", "qetl::sql::statement", "select"),
        ("-- nothing", "qetl::sql::empty", ""),
        ("select a b c d from {{ source_dataset }}", "qetl::sql::syntax", "c"),
        ("select {{ limit }} form t where", "qetl::sql::syntax", "t"),
        ("select 'open", "qetl::sql::syntax", "'"),
        ("select * from a.b.c", "qetl::sql::table_name", "a.b.c"),
    ] {
        let text = one_task(&format!("sql = '''{sql}'''").replace("'open'''", "'open '''"));
        let flow = flow(&text);
        let rendered = flow.render(&flow.tasks[0], &context(&BTreeMap::new())).unwrap();
        let problems = task::read(&rendered, &flow.tasks[0].target, &GenericDialect {}).unwrap_err();
        let problem = &problems.0[0];
        assert_eq!((problem.code, &text[problem.span.start..problem.span.end]), (code, at), "{sql}: {problems}");
    }
}

#[test]
fn temporary_tables_stand_before_the_query() {
    let text = "CREATE TEMP TABLE big AS SELECT * FROM {{ source_dataset }} WHERE now() > t;
        create temporary table \"Orders\" as select * from big, other, \"Order\";
        INSERT INTO {{ target_dataset }} (a) SELECT * FROM orders, big, late;";
    let (rendered, sql) = sql_of(text).unwrap_or_else(|problems| panic!("{problems}"));
    let tables: Vec<(&str, &str)> =
        sql.temporary.iter().map(|table| (table.written.as_str(), &rendered.text[table.query.clone()])).collect();
    let expected = [("big", "SELECT * FROM raw.orders WHERE now() > t"), ("\"Orders\"", "select * from big, other, \"Order\"")];
    assert_eq!(tables, expected);
    let reads: Vec<String> = sql.reads.iter().map(|read| read.dataset.to_string()).collect();
    assert_eq!(reads, ["raw.orders", "other", "Order", "late"], "temporary tables are no datasets");
    assert_eq!((sql.kind, &rendered.text[sql.query.clone()]), (StatementKind::Insert, "SELECT * FROM orders, big, late"));
    assert_eq!(sql.functions.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["now"]);
}

#[test]
fn the_text_decides_the_write_mode() {
    let mode = |more: &str, kind| {
        let flow = flow(&one_task(&format!("sql = 'x'\n{more}")));
        let TaskWork::Sql(work) = flow.tasks[0].work.clone() else { unreachable!() };
        work.write.mode(kind).map_err(|problem| problem.code)
    };
    assert_eq!(mode("", StatementKind::Query), Ok(WriteMode::Replace));
    assert_eq!(mode("", StatementKind::Insert), Ok(WriteMode::ReplaceBatch));
    assert_eq!(mode("write_mode = 'replace_batch'", StatementKind::Query), Ok(WriteMode::ReplaceBatch));
    assert_eq!(mode("write_mode = 'merge'\nunique_key = ['a']", StatementKind::Insert), Ok(WriteMode::Merge));
    assert_eq!(mode("write_mode = 'replace'", StatementKind::Insert), Err("qetl::decode::write_mode"));
}

/// Warnings of a flow that is right, with what of the file they are at.
fn warnings(text: &str) -> Vec<(&'static str, String)> {
    let flow = Flow::parse("f", text, &qetl_plugins::registry()).unwrap_or_else(|problems| panic!("{problems}"));
    let mut problems = flow.warnings.clone();
    problems.append(problems_of(&flow.standard().unwrap()));
    problems.0.iter().map(|problem| (problem.code, text[problem.span.start..problem.span.end].to_owned())).collect()
}

#[test]
fn what_is_meant_otherwise_is_taken_with_a_warning() {
    let head = "id = 'f'\nflow_type = 'standard'\n[[tasks]]\nid = 't'\ntask_type = 'sql_processing'\ntarget_dataset = 'x'\n";
    for (more, expected) in [
        ("[tasks.variables]\na = 1\nsql = 'select {{ a }}'\n", vec![("qetl::decode::key_in_table", "sql")]),
        ("[tasks.config]\nsql = 'select 1'\n", vec![("qetl::decode::key_in_table", "sql")]),
        ("sql = 'insert into {target_dataset} select 1'\n", vec![("qetl::template::single_braces", "{target_dataset}")]),
        ("sql = 'select 1'\n[tasks.variables]\na = [1, 2]\nid = 'x'\n", vec![]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|(code, at)| (code, at.to_owned())).collect();
        assert_eq!(warnings(&format!("{head}{more}")), expected, "{more}");
    }
}

#[test]
fn an_insert_of_everything_is_a_warning() {
    let warned = |more: &str| {
        let files = "[[tasks]]\nid = 'i'\ntask_type = 'ingestion'\ntarget_dataset = 'raw'\nconfig.path = 'a.csv'\n";
        let insert = format!("source_dataset = 'raw'\n{more}\nsql = 'insert into {{{{ target_dataset }}}} select * from raw'\n");
        let task = format!("[[tasks]]\nid = 't'\ntask_type = 'sql_processing'\ntarget_dataset = 'x'\n{insert}");
        warnings(&format!("id = 'f'\nflow_type = 'standard'\n{files}{task}")).len()
    };
    assert_eq!(warned(""), 1);
    assert_eq!(warned("source_scope = 'batch'"), 0);
    assert_eq!(warned("source_scope = 'all'"), 0);
    assert_eq!(warned("write_mode = 'merge'\nunique_key = ['id']"), 0);
}
