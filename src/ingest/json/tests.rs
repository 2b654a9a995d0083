use qetl_core::{Type, format::TimestampUnit, load::OnExtraColumns};

use crate::testing::{check, outcome, spec};

#[test]
fn typed_rows() {
    let all = spec("i integer; f float; d decimal(38,3); b boolean; day date; at timestamp; t string");
    let text = concat!(
        r#"{"i":1,"f":-0.0,"d":12345678901234567890123456789012345.678,"b":true,"day":"2024-02-29","at":"2024-02-29T10:00:00Z","t":"x\n"}"#,
        "\n  \r\n",
        r#"{"t":{"a": [1, 2.50]},"i":" 2 ","f":"NaN","d":"1.5","b":0,"day":null,"at":"2024-01-01"}"#,
        "\r\n",
        r#"{"t":1.50,"b":"f"}"#,
        "\n",
        r#"{"t":false}"#,
        "\n{}",
    );
    let rows = [
        "1|0.0|12345678901234567890123456789012345.678|true|2024-02-29|2024-02-29T10:00:00Z|x\n",
        "2|NaN|1.500|false|∅|2024-01-01T00:00:00Z|{\"a\": [1, 2.50]}",
        "∅|∅|∅|false|∅|∅|1.50",
        "∅|∅|∅|∅|∅|∅|false",
        "∅|∅|∅|∅|∅|∅|∅",
    ];
    check("o.jsonl", text, &all, &rows, "");
    let one = |value: &str, problem: &str| {
        check("o.jsonl", format!("{{\"t\":\"ü\", \"i\": {value}}}\n"), &spec("t string; i integer"), &[], problem);
    };
    one("\"3x\"", "o.jsonl:1:16: column `i`: `3x` is not an integer");
    check("o.jsonl", r#"{"t":"","i":""}"#, &spec("t string; i integer"), &["|∅"], "");
    one("1.0", "o.jsonl:1:16: column `i`: `1.0` is not an integer");
    one("true", "o.jsonl:1:16: column `i`: `true` is not an integer");
    one("[1]", "o.jsonl:1:16: column `i`: `[1]` is a nested value, not an integer");
}

#[test]
fn keys() {
    let two = spec("b string; a integer");
    check("o.jsonl", "{\"a\":1,\"b\":\"x\"}\n{\"b\":\"y\"}\n{\"\\u0061\":3}\n", &two, &["x|1", "y|∅", "∅|3"], "");
    check("o.jsonl", "{\"a\":1}\n{\"a\":2}\n", &two, &[], "o.jsonl: the file has no column `b`");
    check("o.jsonl", "{\"a\":1}\n{\"b\":null}\n", &two, &["∅|1", "∅|∅"], "");
    check("o.jsonl", "", &two, &[], "");
    check("o.jsonl", "{\"a\":1,\"b\":\"\",\"a\":1}", &two, &[], "o.jsonl:1:15: the object has the key `a` twice");
    check("o.jsonl", "{\"c\":1,\"b\":\"\",\"c\":1}", &two, &[], "o.jsonl:1:15: the object has the key `c` twice");
    let found = outcome("o.jsonl", b"{\"a\":1,\"b\":\"x\",\"c\":[]}\n{\"d\":1}\n{\"c\":1}", &two);
    assert_eq!(found.warnings, ["o.jsonl: columns `c`, `d` are not in the flow's `columns` and left out"]);
    assert_eq!(found.rows.len(), 3);
    let mut strict = two.clone();
    strict.on_extra_columns = OnExtraColumns::Fail;
    check("o.jsonl", "{\"a\":1,\n", &strict, &[], "o.jsonl:1:8: not a JSON object: a key in double quotes is expected here");
    check("o.jsonl", "{\"a\":1,\"c\":2}\n", &strict, &[], "o.jsonl:1:8: column `c` is not in the flow's `columns`");
}

#[test]
fn required_and_inferred_columns() {
    let required = spec("a integer!; b string");
    check(
        "o.jsonl",
        "{\"a\":1,\"b\":\"\"}\n{\"b\":\"\"}\n",
        &required,
        &[],
        "o.jsonl:2: column `a`: NULL, and the column is required: the object has no key `a`",
    );
    check("o.jsonl", "{\"a\":null,\"b\":\"\"}\n", &required, &[], "o.jsonl:1:6: column `a`: NULL, and the column is required");
    let found = outcome("o.jsonl", b"{\"a\":1.25}\n{\"a\":1e3}", &spec("a integer?"));
    assert_eq!((found.refusal().as_str(), found.wider), ("", vec![(0, Type::Decimal { precision: 38, scale: 2 })]));
    let mut optional = spec("a integer; note string");
    optional.columns[1].optional = true;
    optional.columns[0].source = "A (1)".into();
    check("o.jsonl", "{\"A (1)\":1}\n{}\n", &optional, &["1|∅", "∅|∅"], "");
    check("o.jsonl", "{\"a\":1}\n", &optional, &[], "o.jsonl: the file has no column `A (1)`");
}

#[test]
fn what_options_mean_here() {
    let mut options = spec("n decimal(10,2); s decimal(10,2); at timestamp; b boolean; f float");
    options.options.decimal_separator = b',';
    options.options.thousands_separator = Some('.');
    options.options.timestamp_unit = Some(TimestampUnit::S);
    options.options.true_values = vec!["yes".into()];
    let text = r#"{"n":1.5,"s":"1.234,5","at":1704103200.5,"b":"yes","f":NaN}"#;
    check("o.jsonl", text, &options, &["1.50|1234.50|2024-01-01T10:00:00.500Z|true|NaN"], "");
    check(
        "o.jsonl",
        r#"{"n":null,"s":null,"at":"1704103200","b":null,"f":"-Infinity"}"#,
        &options,
        &["∅|∅|2024-01-01T10:00:00Z|∅|-inf"],
        "",
    );
}

#[test]
fn bad_rows_are_told_one_by_one() {
    let text = "{\"a\":1,\"b\":\"x\"}\n{\"a\":\"z\",\"b\":\"y\"}\n{\"a\":2,\n{\"a\":3,\"b\":\"u\",\"b\":\"v\"}\n{}\n";
    let found = outcome("o.jsonl", text.as_bytes(), &spec("a integer; b string"));
    assert_eq!(found.rows, ["1|x", "∅|∅"]);
    let told: Vec<_> = found.bad.iter().map(|row| (row.number, row.unreadable.as_slice())).collect();
    assert_eq!(told, [(2, &[0][..]), (3, &[0, 1][..]), (4, &[0, 1][..])]);
    assert_eq!((found.bad[1].text.as_str(), found.bad_rows[0].as_str()), ("{\"a\":2,", "∅|y"));
    assert!(found.refusal().ends_with("\n  3 rows do not fit"), "{}", found.refusal());
    // A file of which nothing can be read does not lack a column, it is malformed.
    check("o.jsonl", "{\"a\":\n", &spec("a integer; b string"), &[], "o.jsonl:1:6: not a JSON object: a value is expected here");
}

#[test]
fn rows_of_no_columns() {
    let mut none = spec("a integer");
    none.columns.clear();
    let found = outcome("o.jsonl", b"{}\n{}\n", &none);
    assert_eq!((found.rows, found.problem), (vec![String::new(); 2], None));
}

#[test]
fn what_is_no_json_lines() {
    let one = spec("a integer");
    check("o.jsonl", "[{\"a\":1}]", &one, &[], "o.jsonl:1:1: not a JSON object: `{` is expected here");
    assert!(outcome("o.jsonl", b"[{\"a\":1}]", &one).problem.unwrap().help.contains("format = \"json\""));
    let found = outcome("o.jsonl", b"{\n  \"a\": 1\n}", &one);
    assert!(
        found.refusal().starts_with("o.jsonl:1:2: not a JSON object: a key in double quotes is expected here\n"),
        "{}",
        found.refusal()
    );
    check("o.jsonl", b"{\"a\":1}\n{\"\xff\":1}", &one, &[], "o.jsonl:2:3: the bytes here are not UTF-8 text");
    check("o.jsonl", "\u{feff}{\"a\":1}", &one, &["1"], "");
    check("o.jsonl", "{\"a\":1}{\"a\":2}", &one, &[], "o.jsonl:1:8: not a JSON object: more follows after the object");
}

#[test]
fn lists() {
    let two = spec("a integer; t string");
    let text = "\n[ {\"a\":1,\"t\":\"x]}\\\"\"},\r\n  {\"t\": {\"k\": [1,\n 2]},\n   \"a\":2} ,{}\r]\n";
    check("o.json", text, &two, &["1|x]}\"", "2|{\"k\": [1,\n 2]}", "∅|∅"], "");
    for text in ["", " \n", "[]", "[ ]\n", "\u{feff}[]"] {
        check("o.json", text, &two, &[], "");
    }
    let one = spec("a integer");
    check("o.json", "[\n {\"a\":1}, {\"a\":\n \"x\"}]", &one, &[], "o.json:3:2: column `a`: `x` is not an integer");
    check("o.json", "[\n {\"a\":1}, {\"a\":\"x\"}]", &one, &[], "o.json:2:16: column `a`: `x` is not an integer");
    check(
        "o.json",
        "[{\"a\":1},\r\n{\"b\":1}]",
        &spec("a integer!"),
        &[],
        "o.json:2: column `a`: NULL, and the column is required: the object has no key `a`",
    );
    check("o.json", "[{\"b\":1}]", &one, &[], "o.json: the file has no column `a`");
    // Rows are found whatever the blocks are.
    let long = "x".repeat(3 << 20);
    let text = format!("[{{\"a\":1,\"t\":\"{long}\"}},{{\"a\":2,\"t\":\"\"}}]");
    let found = outcome("o.json", text.as_bytes(), &two);
    assert_eq!((found.refusal(), found.rows.len(), found.rows[0].len()), (String::new(), 2, long.len() + 2));
}

#[test]
fn what_is_no_list() {
    let one = spec("a integer");
    let refused = |text: &str, problem: &str| check("o.json", text, &one, &[], problem);
    refused("\n {\"a\":1}\n{\"a\":2}", "o.json:2:2: the file is an object, not a list of objects");
    assert!(outcome("o.json", b"{}", &one).problem.unwrap().help.contains("format = \"jsonl\""));
    refused("17", "o.json:1:1: not a list of objects: `[` is expected here");
    refused("[{\"a\":1}", "o.json:1:9: the list does not end: the file is cut short");
    refused("[", "o.json:1:2: the list does not end: the file is cut short");
    refused("[{\"a\":1},", "o.json:1:10: the list does not end: the file is cut short");
    refused("[{\"a\":1},]", "o.json:1:10: not a list of objects: `{` is expected here");
    refused("[{\"a\":1},\n3]", "o.json:2:1: not a list of objects: `{` is expected here");
    refused("[{\"a\":1}\n{\"a\":2}]", "o.json:2:1: not a list of objects: `,` or `]` is expected here");
    refused("[{\"a\":1}]\n,", "o.json:2:1: more follows after the list");
    refused("[{\"a\":1}][", "o.json:1:10: more follows after the list");
    refused("[{\"a\":1", "o.json:1:8: not a JSON object: `,` or `}` is expected here");
    refused("[{\"a\":1},{\"a\":\"x", "o.json:1:15: not a JSON object: the string that begins here does not end");
    refused("[\n{\"a\":1],{\"a\":2}]", "o.json:2:7: not a JSON object: `,` or `}` is expected here");
    check("o.json", b"[\n{\"\xff\":1}]", &one, &[], "o.json:2:3: the bytes here are not UTF-8 text");
}
