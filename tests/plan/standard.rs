//! Standard flows: the order of tasks, what templates become, where their mistakes are, what their SQL says.

use std::collections::BTreeMap;

use qetl_core::{
    DatasetName, Flow, Problems,
    standard::{Rendered, StandardFlow, StandardTask, StatementKind, TaskWork, TemplateContext, Variable, WriteMode, parse_var, scopes},
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
    let (mut modes, mut texts) = (BTreeMap::new(), Vec::new());
    for task in &flow.tasks {
        match flow.render(task, &context(&vars)) {
            Err(found) => problems.append(found),
            Ok(rendered) => {
                let TaskWork::Sql(work) = &task.work else { continue };
                match task::read(&rendered, &task.target, &GenericDialect {}) {
                    Err(found) => problems.append(found),
                    Ok(sql) => {
                        match work.write.mode(sql.kind) {
                            Err(problem) => problems.append(Problems::from(problem).in_source(&flow.source)),
                            Ok(mode) => {
                                modes.insert(task.id.value.clone(), mode);
                            }
                        }
                        texts.push((task, sql));
                    }
                }
            }
        }
    }
    for (task, sql) in texts {
        let reads: Vec<_> = sql.reads.iter().map(|read| (read.dataset.clone(), read.span)).collect();
        let readings = flow.readings(&reads, &modes, &BTreeMap::new());
        problems.append(scopes(task, sql.kind == StatementKind::Insert, &readings).1.in_source(&flow.source));
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
        ("{{ source_dataset('main.Order') }} {{ source_dataset('ORDER') }}", "\"Order\" \"Order\""),
        (
            "{{ source_datasets_dict['main.plain'] }} {{ source_datasets_dict.plain }} {{ source_datasets_dict['Orders'] }}",
            "plain plain raw.orders",
        ),
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
        ("{{ ts }} {{ ts_nodash }} {{ prev_ds }} {{ next_ds }}", "2024-03-01T10:20:30 20240301T102030 2024-02-29 2024-03-02"),
        ("{{ execution_date }} {{ execution_date.hour }}:{{ execution_date.minute }}", "2024-03-01 10:20:30 10:20"),
        ("{{ execution_date.year }}/{{ execution_date.month }}/{{ execution_date.second }}", "2024/3/30"),
        ("{{ execution_date.strftime('%Y-%m') }} {{ execution_date.isoformat() }}", "2024-03 2024-03-01T10:20:30"),
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

/// What the authors of other tools know of Jinja.
#[test]
fn templates_have_what_jinja_has() {
    for (template, expected) in [
        (
            "{% macro cents(c, n=2) %}round({{ c }} / 100.0, {{ n }}){% endmacro %}{{ cents('a') }}, {{ cents('b', n=0) }}",
            "round(a / 100.0, 2), round(b / 100.0, 0)",
        ),
        (
            "{% macro all() %}{% for c in ['a', 'b'] %}{{ caller(c) }}{{ ', ' if not loop.last }}{% endfor %}{% endmacro %}\
             {% call(c) all() %}max({{ c }}){% endcall %}",
            "max(a), max(b)",
        ),
        ("{% set cols %}a, b{% endset %}select {{ cols }}", "select a, b"),
        ("{% set cols = ['a', 'b'] %}{{ cols|map('upper')|join(', ') }}", "A, B"),
        ("{% filter upper %}select {{ limit }} a{% endfilter %}", "SELECT 10 A"),
        ("{% with x = 1, y = 2 %}{{ x + y }}{% endwith %}", "3"),
        ("{% for i in range(1, 4) %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "13"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% else %}none{% endfor %}", "01"),
        ("{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "10"),
        ("{% for k, v in {'a': 1, 'b': 2}|items %}{{ k }}={{ v }};{% endfor %}", "a=1;b=2;"),
        (
            "{% for row in [['a', ['b', ['c']]]] recursive %}{{ row[0] }}{% if row|length > 1 %}({{ loop([row[1]]) }}){% endif %}{% endfor %}",
            "a(b(c))",
        ),
        (
            "{{ 'ab' * 3 }} {{ 2 * 3 }} {{ 2 * 1.5 }} {{ ([1] * 3)|join(',') }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 3 }}",
            "ababab 6 3.0 1,1,1 3 3 8",
        ),
        ("{{ 'abc'[1:] }} {{ [1, 2, 3][:2]|join('-') }} {{ 'a' ~ 1 }} {{ (1, 2)|length }}", "bc 1-2 a1 2"),
        ("{{ 'x' if limit > 5 else 'y' }} {{ limit is divisibleby 5 }} {{ 'eu' in ['eu', 'us'] }} {{ 1 < 2 < 3 }}", "x true true true"),
        ("{{ [3, 1, 2]|sort|first }} {{ [1, 1, 2]|unique|list|length }} {{ [1, 2]|sum }} {{ 'a,b'|split(',')|last }}", "1 2 3 b"),
        ("{{ 'a\nb'|indent(2) }} {{ 'ab cd'|title }}", "a\n  b Ab Cd"),
        ("{%- if true -%}  x  {%- endif -%}", "x"),
        ("{% raw %}{{ x }}{% endraw %}{# none #}", "{{ x }}"),
    ] {
        assert_eq!(sql(template), expected, "{template}");
    }
}

/// What macros and loops make is placed where it is put in.
#[test]
fn what_a_macro_makes_is_placed_at_its_call() {
    let line = "sql = '''\n{% macro twice(c) %}{{ c }} + {{ c }}{% endmacro %}\nselect {{ twice('a') }},\n{% filter upper %}b{% endfilter %} from t'''";
    let (text, rendered) = (one_task(line), rendered(line, &[]).unwrap_or_else(|problems| panic!("{problems}")));
    assert_eq!(rendered.text, "\nselect a + a,\nB from t");
    let file = |needle: &str| {
        let at = rendered.text.find(needle).unwrap();
        let span = rendered.span(at..at + needle.len());
        text[span.start..span.end].to_owned()
    };
    assert_eq!(file("+ a"), "{{ twice('a') }}");
    assert_eq!(file("from"), "from");
    assert!(file("B").contains("filter upper"), "{}", file("B"));
}

#[test]
fn loops_and_values_have_limits() {
    let doubling = "{% set x = 'ab' %}".to_owned() + &"{% set x = x ~ x %}".repeat(60) + "{{ x|length }}";
    let lists = "{% set x = [1] %}".to_owned() + &"{% set x = [x, x] %}".repeat(60) + "{{ x }}";
    let merged = "{% set x = [1] %}".to_owned() + &"{% set x = x + x %}".repeat(60) + "{{ x|length }}";
    let deep = "{% set x = [1] %}".to_owned() + &"{% set x = [x] %}".repeat(5000) + "{{ x }}";
    let many = "{% if false %}{{ 'x' * 90000000 }}{% endif %}".repeat(200) + "{% set x = 'x' * 90000000 %}";
    for template in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{{ 'abcdefghij' * 9000000 }}",
        "{% for a in range(20000) %}{{ 'abcdefghij' * 1000 }}{% endfor %}",
        "{{ ('a' * 1000000)|replace('a', 'bbbbbbbbbbbbbbbbbbbb') }}",
        "{{ [1] * 100000000 }}",
        "{{ ([1] * 100000000)|length }}",
        "{{ 5 in [1] * 100000000 }}",
        "{{ [1] * 100000000 == [1] * 100000000 }}",
        "{{ 100000000 * ['a'] }}",
        "{{ (1, 2) * 100000000 }}",
        "{{ (([1] * 1000) * 1000) * 1000 }}",
        "{{ [[['a'] * 1000] * 1000] * 1000 }}",
        "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('abc') }}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}x{% endmacro %}{{ f(30) }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x|length }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(50000) %}{% set ns.x = ns.x + [ns.x] %}{% endfor %}",
        "{% for a in range(100000) %}{% if 'x' * 1000000 == 'y' * 1000000 %}{% endif %}{% endfor %}",
        "{{ (['aaaaaaaaaa'] * 100000) | map('replace', 'a', 'b' * 100000) | list | length }}",
        "{{ 'a\nb' | indent(100000000) }}",
        "{{ [1] | batch(100000000, 0) }}",
        &doubling,
        &lists,
        &merged,
        &deep,
        &many,
    ] {
        assert_eq!(refused(template), "qetl::template::limit", "{}", &template[..template.len().min(100)]);
    }
    for other in [
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{% block x %}{% endblock %}",
        "{% autoescape true %}{% endautoescape %}",
    ] {
        assert_eq!(refused(other), "qetl::template::syntax", "{other}");
    }
}

/// What a template is refused with, when its file is read or when it is filled in.
fn refused(template: &str) -> &'static str {
    let text = one_task(&format!("sql = '''{template}'''"));
    let problems = match Flow::parse("f", &text, &qetl_plugins::registry()) {
        Err(problems) => problems,
        Ok(flow) => {
            let flow = flow.standard().unwrap();
            match flow.render(&flow.tasks[0], &context(&BTreeMap::new())) {
                Err(problems) => problems,
                Ok(rendered) => panic!("{template}: {} bytes", rendered.text.len()),
            }
        }
    };
    problems.0.iter().find(|problem| !problem.warning).unwrap().code
}

#[test]
fn variables_have_any_name() {
    let text = "id = 'f'\nflow_type = 'standard'\n[variables]\n\"min-amount\" = 3\n\"größe\" = 'x'\nin = 1\n\"a b\" = true\n[[tasks]]\nid = 't'\n\
                type = 'sql_processing'\ntarget_dataset = 'x'\n\
                sql = '''{{ var(\"min-amount\") }} {{ var(\"größe\") }} {{ var(\"in\") }} {{ var('a b') }}'''\n";
    let flow = flow(text);
    let rendered = flow.render(&flow.tasks[0], &context(&BTreeMap::new())).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(rendered.text, "3 x 1 true");
    assert_eq!(parse_var("min-amount=4").unwrap().0, "min-amount");
}

#[test]
fn a_flow_knows_its_variables() {
    let names = |sql: &str| {
        let flow = flow(&one_task(&format!("sql = '''{sql}'''")));
        flow.variable_names().map(|names| names.into_iter().collect::<Vec<_>>().join(" "))
    };
    let own = "ids limit on own rate region";
    assert_eq!(names("select 1").as_deref(), Some(own));
    assert_eq!(names("{{ more }} {{ var('other', 1) }} {{ ds }}").as_deref(), Some("ids limit more on other own rate region"));
    assert_eq!(names("{% for x in ids %}{{ x }}{% endfor %}{% macro m(y) %}{{ y }}{% endmacro %}{{ m(limit) }}").as_deref(), Some(own));
    assert_eq!(names("{{ var(region) }}"), None);
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

/// Two ingestions, a table that is replaced, and an INSERT of these; what is said of it, with what of the file it is at.
fn insert(sql: &str, more: &str) -> Vec<(&'static str, String)> {
    let files = |id: &str| format!("[[tasks]]\nid = '{id}'\ntype = 'ingestion'\ntarget_dataset = '{id}'\nconfig.path = 'a.csv'\n");
    let whole = "[[tasks]]\nid = 'whole'\ntype = 'sql_processing'\ntarget_dataset = 'whole'\nsql = 'select 1'\n";
    let task = format!("[[tasks]]\nid = 't'\ntype = 'sql_processing'\ntarget_dataset = 'x'\n{more}\nsql = '{sql}'\n");
    warnings(&format!("id = 'f'\nflow_type = 'standard'\n{}{}{whole}{task}", files("raw"), files("other")))
}

#[test]
fn an_insert_reads_its_batch_and_of_several_sources_it_is_asked() {
    let codes = |sql: &str, more: &str| insert(sql, more).into_iter().map(|(code, at)| format!("{} {at}", &code[14..])).collect::<Vec<_>>();
    let none: [&str; 0] = [];
    let (one, two) = ("insert into x select * from raw", "insert into x select * from raw, other");
    assert_eq!(codes(one, ""), none);
    for scope in ["'batch'", "'all'", "{ raw = 'batch' }", "{ RAW = 'all' }", "{ \"main.raw\" = 'all' }"] {
        assert_eq!(codes(one, &format!("source_scope = {scope}")), none, "{scope}");
    }
    assert_eq!(codes(two, ""), [format!("source_scope '{two}'")]);
    assert_eq!(codes(two, "source_scope = 'batch'"), none);
    assert_eq!(codes(two, "source_scope = { raw = 'batch', other = 'all' }"), none);
    assert_eq!(codes(two, "source_scope = { raw = 'batch' }"), ["source_scope { raw = 'batch' }"]);
    assert_eq!(codes("select * from raw, other", ""), none);
    assert_eq!(codes(one, "source_scope = { rwa = 'batch' }"), ["unknown_dataset rwa"]);
    assert_eq!(codes(one, "source_scope = { raw = 'batch', \"main.Raw\" = 'all' }"), ["duplicate_dataset \"main.Raw\""]);
    // What is replaced as a whole has no batches.
    let (of_whole, beside) = ("insert into x select * from whole", "insert into x select * from raw, whole");
    assert_eq!(codes(of_whole, ""), [format!("insert_of_everything '{of_whole}'")]);
    assert_eq!(codes(of_whole, "source_scope = 'all'"), none);
    assert_eq!(codes(of_whole, "source_scope = 'batch'"), ["not_by_batch 'batch'"]);
    assert_eq!(codes(beside, ""), [format!("insert_of_everything '{beside}'")]);
    assert_eq!(codes(beside, "source_scope = 'batch'"), ["source_scope 'batch'"]);
    assert_eq!(codes(beside, "source_scope = { raw = 'batch', whole = 'all' }"), none);
    assert_eq!(codes(beside, "source_scope = { raw = 'batch', whole = 'batch' }"), ["not_by_batch 'batch'"]);
}

#[test]
fn the_line_to_write_is_shown() {
    let load = |id: &str| format!("[[tasks]]\nid = '{id}'\ntype = 'ingestion'\ntarget_dataset = '{id}'\nconfig.path = '{id}.csv'\n");
    let sql = "insert into shop.x select * from shop.a, shop.b, shop.a as c";
    let task = format!("[[tasks]]\nid = 't'\ntype = 'sql_processing'\ntarget_dataset = 'x'\nsql = '{sql}'\n");
    let problems = problems_of(&flow(&format!("id = 'f'\nflow_type = 'standard'\nnamespace = 'shop'\n{}{}{task}", load("a"), load("b"))));
    assert!(problems.0[0].help.ends_with("source_scope = { a = \"batch\", b = \"all\" }"), "{problems}");
    assert!(problems.has_errors());
}
