use std::io::Write as _;

use qetl_core::{
    Type,
    format::{OnRaggedRows, TimestampUnit},
    load::OnExtraColumns,
};

use crate::{
    ProblemKind, ReadSpec,
    testing::{check, outcome, spec},
};

#[test]
fn typed_rows() {
    let all = spec("i integer; f float; d decimal(10,2); b boolean; day date; at timestamp; t string");
    let header = "i,f,d,b,day,at,t\n";
    let good = format!(
        "{header} 1 ,-0.0, 1.5 ,T,2024-02-29,2024-02-29 10:00:00.5+01:00, x \n,,,,,,\n\"2\",nan,\"-3\",0,0001-01-01,2024-01-01,\"\"\n"
    );
    let rows =
        ["1|0.0|1.50|true|2024-02-29|2024-02-29T09:00:00.500Z| x ", "∅|∅|∅|∅|∅|∅|∅", "2|NaN|-3.00|false|0001-01-01|2024-01-01T00:00:00Z|"];
    check("o.csv", &good, &all, &rows, "");
    check("o.csv", good.replace('\n', "\r\n"), &all, &rows, "");
    check("o.csv", good.replace('\n', "\r"), &all, &rows, "");
    let one = |value: &str, problem: &str| {
        check("o.csv", format!("d,i,t\n1,2,x\n1.5,{value},y\n"), &spec("t string; i integer; d decimal(3,1)"), &[], problem);
    };
    one("3x", "o.csv:3:5: column `i`: `3x` is not an integer");
    one("\"a\nb\"", "o.csv:3:5: column `i`: `a\\nb` is not an integer");
    one(" ", "o.csv:3:5: column `i`: ` ` is not an integer");
    one("9223372036854775808", "o.csv:3:5: column `i`: `9223372036854775808` is outside the range of an integer");
    check(
        "o.csv",
        "t,d\n\"ü\nß,\",1.25\n",
        &spec("d decimal(3,1)"),
        &[],
        "o.csv:3:5: column `d`: `1.25` has too many digits behind the point for a decimal(3,1)",
    );
}

#[test]
fn columns_by_name() {
    let two = spec("b string; a integer");
    check("o.csv", "a,b\n1,x\n", &two, &["x|1"], "");
    let found = outcome("o.csv", b"c,a,,b\n9,1,8,x\n", &two);
    assert_eq!(
        (found.rows, found.warnings),
        (vec!["x|1".to_owned()], vec!["o.csv: columns `c`, `` are not in the flow's `columns` and left out".to_owned()])
    );
    let mut strict = two.clone();
    strict.on_extra_columns = OnExtraColumns::Fail;
    check("o.csv", "c,a,b\n", &strict, &[], "o.csv:1: column `c` is not in the flow's `columns`");
    check("o.csv", "a, b\n1,x\n", &two, &[], "o.csv:1: the file has no column `b`");
    check("o.csv", "a,b,a\n", &two, &[], "o.csv:1: the header names `a` twice");
    check("o.csv", "a,b,c,c\n1,x,2,3\n", &two, &["x|1"], "");
    check("o.csv", "", &two, &[], "o.csv: the file has no header line");
    check("o.csv", "\n\n", &two, &[], "o.csv: the file has no header line");
    check("o.csv", "a,b", &two, &[], "");
    let found = outcome("o.csv", b"a;b\n1;x\n", &two);
    assert_eq!(found.problem.unwrap().help, "is the delimiter `;`? then set `delimiter = \";\"`");
    let found = outcome("o.csv", b"id,Amount\n", &spec("amount integer"));
    let help = "did you mean `Amount`? known: id, Amount; a column that files may lack is declared with `optional = true`";
    assert_eq!(found.problem.unwrap().help, help);
}

#[test]
fn columns_by_position() {
    let mut bare = spec("b string; a integer");
    bare.options.header = false;
    check("o.csv", "x,1\n,2", &bare, &["x|1", "∅|2"], "");
    check("o.csv", "", &bare, &[], "");
    check("o.csv", "x,1\ny,2,3\n", &bare, &[], "o.csv:2:5: the row has 3 fields, the flow 2 columns");
    check("o.csv", "x\n", &bare, &[], "o.csv:1: the row has 1 field, the flow 2 columns");
}

#[test]
fn one_column_has_blank_rows() {
    check("o.csv", "\na\n1\n\n2\n\n", &spec("a integer"), &["1", "∅", "2", "∅"], "");
    check("o.csv", "a,b\n1,\n\n2,\n\n", &spec("a integer"), &["1", "2"], "");
}

#[test]
fn ragged_and_broken_rows() {
    let two = spec("a integer; b string");
    check("o.csv", "a,b\n1,x\n2\n", &two, &[], "o.csv:3: the row has 1 field, the header 2");
    check("o.csv", "a,b\n1,x\n2,\"y\nz\",w\n", &two, &[], "o.csv:4:4: the row has 3 fields, the header 2");
    check("o.csv", "a,b\n1,\"x\"y\n", &two, &[], "o.csv:2:6: text follows a closing quote");
    check("o.csv", "a,b\n1,\"x\n2,y\n", &two, &[], "o.csv:2:3: the quote that opens here is never closed");
    check("o.csv", b"a,b\n1,x\n2,\xc3\xbc\xff\n", &two, &[], "o.csv:3:4: the bytes here are not UTF-8 text");
    check("o.csv", b"a,\xffb\n", &two, &[], "o.csv:1:3: the bytes here are not UTF-8 text");
    let found = outcome("o.csv", b"\xff\xfea\0", &two);
    assert_eq!(found.problem.unwrap().help, "`encoding = \"utf-16le\"` reads the file");
}

#[test]
fn full_batches_come_before_a_problem() {
    let rows: String = (0..8192).map(|row| format!("{row}\n")).collect();
    let found = outcome("o.csv", format!("a\n{rows}x").as_bytes(), &spec("a integer"));
    assert_eq!((found.rows.len(), found.refusal().as_str()), (8192, "o.csv:8194:1: column `a`: `x` is not an integer"));
}

#[test]
fn required_columns() {
    check("o.csv", "a,b\n1,x\n,y\n", &spec("a integer!; b string"), &[], "o.csv:3:1: column `a`: NULL, and the column is required");
    check("o.csv", "a,b\n1,\"\"\n2,\n", &spec("a integer; b string!"), &[], "o.csv:3:3: column `b`: NULL, and the column is required");
    check("o.csv", "a,b\n\"\",x\n", &spec("a integer!; b string"), &[], "o.csv:2:1: column `a`: NULL, and the column is required");
}

#[test]
fn renamed_and_optional_columns() {
    let mut spec = spec("mrr decimal(5,2); note string; id integer");
    spec.columns[0].source = "MRR (EUR), net".into();
    spec.columns[1].optional = true;
    check("o.csv", "id,\"MRR (EUR), net\"\n1,2.5\n", &spec, &["2.50|∅|1"], "");
    check("o.csv", "id,\"MRR (EUR), net\",note\n1,2.5,\"\"\n", &spec, &["2.50||1"], "");
    check("o.csv", "id,mrr\n1,2.5\n", &spec, &[], "o.csv:1: the file has no column `MRR (EUR), net`");
    spec.columns[1].required = true;
    check("o.csv", "id,\"MRR (EUR), net\"\n1,2.5\n", &spec, &[], "o.csv:2: column `note`: NULL, and the column is required");
}

#[test]
fn quoted_nulls() {
    let mut nulls = spec("a integer; t string; d date");
    nulls.options.null_values = vec!["NULL".into()];
    let text = "a,t,d\n\"NULL\",\"NULL\",\" NULL \"\n\"\",\"\",\"\"\n NULL ,NULL,\n";
    check("o.csv", text, &nulls, &["∅|NULL|∅", "∅||∅", "∅|∅|∅"], "");
    nulls.options.quoted_nulls = true;
    check("o.csv", text, &nulls, &["∅|∅|∅", "∅|∅|∅", "∅|∅|∅"], "");
    nulls.columns[1].open = true;
    nulls.options.quoted_nulls = false;
    check("o.csv", text, &nulls, &["∅|∅|∅", "∅|∅|∅", "∅|∅|∅"], "");
}

#[test]
fn what_inferred_columns_do_not_take() {
    let one = |ty: &str, value: &str, why: &str| {
        let problem = if why.is_empty() { String::new() } else { format!("o.csv:2:1: column `a`: `{value}` {why}") };
        check(
            "o.csv",
            format!("a,b\n{value},\n"),
            &spec(&format!("b string; a {ty}")),
            if why.is_empty() { &["∅|7"] } else { &[] },
            &problem,
        );
    };
    one("integer", "007", "");
    for (ty, value) in [("integer?", "007"), ("integer?", "+7"), ("boolean?", "F"), ("boolean?", "1")] {
        let what = if ty == "integer?" { "an integer" } else { "a boolean" };
        one(ty, value, &format!("would lose characters as {what}, as the column was inferred"));
    }
    one("decimal(38,0)?", "07", "would lose characters as a decimal(38,0), as the column was inferred");
    one("integer?", "12e4", "is not an integer");
    one("float?", "3.5215257120407011", "has too many digits for a float");
}

#[test]
fn measures_are_finite() {
    let mut amounts = spec("a float; b float");
    amounts.columns[0].finite = true;
    check("o.csv", "a,b\n1.5,NaN\n", &amounts, &["1.5|NaN"], "");
    for value in ["NaN", "-inf", "Infinity"] {
        let problem = format!("o.csv:2:1: column `a`: `{value}` is no amount: sums of the measure could never balance");
        check("o.csv", format!("a,b\n{value},1\n"), &amounts, &[], &problem);
    }
}

#[test]
fn bad_rows_are_told_one_by_one() {
    let text = "a,b,c\n1,x,2024-01-31\nz,y,2024-13-01\n2,\"w\nw\",\n3,v\n4,u,x\n";
    let found = outcome("o.csv", text.as_bytes(), &spec("a integer; b string; c date"));
    assert_eq!(found.rows, ["1|x|2024-01-31", "2|w\nw|∅"]);
    let told: Vec<_> = found.bad.iter().map(|row| (row.number, row.text.as_str(), row.unreadable.as_slice())).collect();
    assert_eq!(told, [(2, "z,y,2024-13-01", &[0, 2][..]), (4, "3,v", &[0, 1, 2][..]), (5, "4,u,x", &[2][..])]);
    assert_eq!(found.bad_rows, ["∅|y|∅", "∅|∅|∅", "4|u|∅"]);
    let told = "o.csv:3:1: column `a`: `z` is not an integer
  o.csv:6: the row has 2 fields, the header 3
  o.csv:7:5: column `c`: `x` is not a date
  3 rows do not fit";
    assert_eq!(found.problem.unwrap().to_string(), told);
}

#[test]
fn inferred_columns_widen() {
    let widened = |ty: &str, values: &[&str]| -> Result<Vec<(usize, Type)>, String> {
        let found = outcome("o.csv", format!("a,b\n1,\n{},\n", values.join(",\n")).as_bytes(), &spec(&format!("b string; a {ty}")));
        found.problem.map_or(Ok(found.wider), |problem| Err(problem.to_string()))
    };
    let decimal = |scale| Ok(vec![(1, Type::Decimal { precision: 38, scale })]);
    assert_eq!(widened("integer?", &["2.50"]), decimal(1));
    assert_eq!(widened("integer?", &["2.50", "3.125", "4", "1.5"]), decimal(3));
    assert_eq!(widened("integer?", &["99999999999999999999"]), decimal(0));
    assert_eq!(widened("decimal(38,2)?", &["1.234"]), decimal(3));
    assert_eq!(widened("decimal(10,2)?", &["123456789012.5"]), decimal(2));
    assert_eq!(widened("float?", &["2.5"]), Ok(Vec::new()));
    for (ty, value) in [("decimal(38,2)?", "1.2e37"), ("integer?", "2.5.0"), ("integer", "2.5")] {
        assert!(widened(ty, &[value]).is_err(), "{ty} {value}");
    }
    let mut key = spec("b string; a integer?");
    key.columns[1].key = true;
    check("o.csv", "a,b\n1.5,\n", &key, &[], "o.csv:2:1: column `a`: `1.5` is not an integer");
}

#[test]
fn rows_of_other_lengths() {
    let two = spec("a integer; b string");
    let fill = |options: &ReadSpec| {
        let mut fill = options.clone();
        fill.options.on_ragged_rows = OnRaggedRows::Fill;
        fill
    };
    check("o.csv", "a,b\n1,x,\n2,y,,\n3\n", &fill(&two), &["1|x", "2|y", "3|∅"], "");
    check("o.csv", "a,b\n1,x,\"\"\n", &fill(&two), &[], "o.csv:2:5: the row has 3 fields, the header 2");
    check("o.csv", "b,a\nx\n", &fill(&spec("a integer!; b string")), &[], "o.csv:2: column `a`: NULL, and the column is required");
    let help = |text: &str| outcome("o.csv", text.as_bytes(), &two).problem.unwrap().help;
    assert!(help("a,b\n1,x,\n").contains("`on_ragged_rows = \"fill\"` leaves empty fields"));
    assert!(help("a,b\n1\n").contains("`on_ragged_rows = \"fill\"` reads"));
    assert!(help("a,b\n1,x,y\n").contains("are quoted"));
    // A delimiter at the end of the header names no column.
    check("o.csv", "a,b,,\n1,x\n2,y,\n3,z,,\n", &two, &["1|x", "2|y", "3|z"], "");
    check("o.csv", "a,b,\n1\n", &two, &[], "o.csv:2: the row has 1 field, the header 3");
}

#[test]
fn lines_of_excel() {
    let two = spec("a integer; b string");
    for text in ["sep=;\r\na;b\r\n1;x\r\n", "SEP=;\na;b\n1;x", "\u{feff}sep=|\na|b\n1|x\n", "sep=\t\na\tb\n1\tx\n"] {
        check("o.csv", text, &two, &["1|x"], "");
    }
    let mut named = two.clone();
    named.options.delimiter = Some(b';');
    check("o.csv", "sep=;\na;b\n1;x\n", &named, &["1|x"], "");
    check("o.csv", "sep=,\na;b\nx;x\n", &named, &[], "o.csv:3:1: column `a`: `x` is not an integer");
    check("o.csv", "sep=;x\n1\n", &spec("sep=;x integer"), &["1"], "");
}

#[test]
fn other_delimiters_are_told_of() {
    let found = outcome("o.csv", b"a;b\n1;x\n", &spec("a;b string"));
    assert_eq!(found.warnings, ["o.csv:1: the header is a single column: is the delimiter `;`? then set `delimiter = \";\"`"]);
}

#[test]
fn options() {
    let mut options = spec("a decimal(5,2); b string; c date");
    options.options.delimiter = Some(b';');
    options.options.decimal_separator = b',';
    options.options.null_values = vec!["NULL".into(), " ".into()];
    options.options.date_format = Some("%d.%m.%Y".into());
    options.options.comment = Some(b'#');
    options.options.skip_rows = 2;
    options.options.escape = Some(b'\\');
    let text = "exported, \"by\n\n#1\na;b;c\n1,5;\"NULL\";31.12.2024\n#2;\n ;NULL;2024-12-30\n2;\"a\\\"b\";\n";
    check("o.csv", text, &options, &["1.50|NULL|2024-12-31", "∅|∅|2024-12-30", "2.00|a\"b|∅"], "");
    check("o.csv", "\n\n\na;b;c\n1.5;;\n", &options, &[], "o.csv:5:1: column `a`: `1.5` is not a decimal(5,2)");
    options.options.null_values.clear();
    check("o.csv", "\n\na;b;c\nNULL;;\n", &options, &[], "o.csv:4:1: column `a`: `NULL` is not a decimal(5,2)");
    check("o.tsv", "a\tb\n1,5\tx\n", &spec("a string; b string"), &["1,5|x"], "");
    let mut bare = spec("a string; b string");
    bare.options.quote = None;
    check("o.csv", "a,b\n\"x,\"\"\n", &bare, &["\"x|\"\""], "");
}

#[test]
fn numbers_in_groups() {
    let mut grouped = spec("a decimal(10,2); b integer; c float");
    grouped.options.thousands_separator = Some(',');
    check("o.csv", "a,b,c\n\"1,234.50\",\"-12,345\",\"1,000.5\"\n99.00,7,1\n", &grouped, &["1234.50|-12345|1000.5", "99.00|7|1.0"], "");
    let problem = "o.csv:2:1: column `a`: `1,23` is not a decimal(10,2): its digits do not stand in groups of three";
    check("o.csv", "a,b,c\n\"1,23\",1,1\n", &grouped, &[], problem);
}

#[test]
fn units_and_booleans() {
    let mut unit = spec("at timestamp; b boolean");
    unit.options.timestamp_unit = Some(TimestampUnit::Ms);
    (unit.options.true_values, unit.options.false_values) = (vec!["ja".into()], vec!["nein".into()]);
    let rows = ["2024-01-01T10:00:00.123Z|true", "2024-01-01T00:00:00Z|false", "∅|true"];
    check("o.csv", "at,b\n1704103200123,ja\n2024-01-01,nein\n\"\",T\n", &unit, &rows, "");
    check("o.csv", "at,b\n1,Ja\n", &unit, &[], "o.csv:2:3: column `b`: `Ja` is not a boolean");
}

#[test]
fn encodings() {
    let mut latin = spec("a string; b integer");
    latin.options.encoding = "latin1".into();
    check("o.csv", b"a,b\ncaf\xe9,1\n", &latin, &["café|1"], "");
    let mut wide = latin.clone();
    wide.options.encoding = "UTF-16LE".into();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    check("o.csv", utf16("\u{feff}a,b\né😀,1\n"), &wide, &["é😀|1"], "");
    check(
        "o.csv",
        [utf16("a,b\né,1\nü,"), vec![0x00, 0xdc], utf16("\n")].concat(),
        &wide,
        &[],
        "o.csv:3:3: the bytes here are not UTF-16LE text",
    );
    wide.options.encoding = "klingon".into();
    check("o.csv", "", &wide, &[], "o.csv: `klingon` is not a known encoding");
    check("o.csv", "\u{feff}a,b\nx,1\n", &spec("a string"), &["x"], "");
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(text).unwrap();
    writer.finish().unwrap()
}

#[test]
fn compressed_files() {
    let a = spec("a string");
    let (one, two) = (gzip(b"a\nx"), gzip(b"y\nz\n"));
    let long = format!("a\n{}", "some text to compress\n".repeat(1000));
    check("o.csv.gz", [one.clone(), two].concat(), &a, &["xy", "z"], "");
    check("o.csv", zstd::encode_all(&b"a\nx\n"[..], 3).unwrap(), &a, &["x"], "");
    let cut = |mut bytes: Vec<u8>| {
        bytes.truncate(bytes.len() - 6);
        let found = outcome("o.csv.gz", &bytes, &a);
        found.refusal()
    };
    let refusal = cut(gzip(long.as_bytes()));
    assert!(refusal.contains(": the gzip stream is damaged or cut short"), "{refusal}");
    let refusal = cut(zstd::encode_all(long.as_bytes(), 3).unwrap());
    assert!(refusal.contains(": the zstd stream is damaged or cut short"), "{refusal}");
    let mut flipped = gzip(long.as_bytes());
    let crc = flipped.len() - 5;
    flipped[crc] ^= 1;
    assert!(outcome("o.csv.gz", &flipped, &a).refusal().contains("gzip stream is damaged"));
    assert!(outcome("o.csv.gz", &[one, b"rubbish".to_vec()].concat(), &a).refusal().contains("gzip stream is damaged"));
    check("o.csv", b"PK\x03\x04....", &a, &[], "o.csv: the file is a zip archive (or a spreadsheet), not text");
}

#[test]
fn very_wide_files() {
    let names: Vec<String> = (0..10_000).map(|index| format!("c{index}")).collect();
    let text = format!("{}\n{}\n", names.join(","), (0..10_000).map(|value| value.to_string()).collect::<Vec<_>>().join(","));
    check("o.csv", text, &spec("c9999 integer; c0 integer"), &["9999|0"], "");
}

#[test]
fn unreadable_files() {
    let missing = crate::SourceFile { path: "/nowhere/o.csv".into(), name: "o.csv".into(), format: qetl_core::format::Format::Csv };
    let problem = crate::read(&missing, &spec("a string")).err().unwrap();
    assert_eq!((problem.kind, problem.to_string().starts_with("o.csv: cannot be read: No such file")), (ProblemKind::Unreadable, true));
}
