use std::io::Write as _;

use qetl_core::{Type, load::OnExtraColumns};

use crate::{
    ProblemKind,
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
    one("\"\"", "o.csv:3:5: column `i`: an empty text is not an integer");
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
    check("o.csv", "c,a,b\n", &strict, &[], "o.csv: column `c` is not in the flow's `columns`");
    check("o.csv", "a, b\n1,x\n", &two, &[], "o.csv:1: the file has no column `b`");
    check("o.csv", "a,b,a\n", &two, &[], "o.csv:1: the header names `a` twice");
    check("o.csv", "", &two, &[], "o.csv: the file has no header line");
    check("o.csv", "\n\n", &two, &[], "o.csv: the file has no header line");
    check("o.csv", "a,b", &two, &[], "");
    let found = outcome("o.csv", b"a;b\n1;x\n", &two);
    assert_eq!(found.problem.unwrap().help, "is the delimiter `;`? then set `delimiter = \";\"`");
    let found = outcome("o.csv", b"id,Amount\n", &spec("amount integer"));
    assert_eq!(found.problem.unwrap().help, "did you mean `Amount`? known: id, Amount");
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
}

#[test]
fn inferred_columns_widen() {
    let widened = |ty: &str, value: &str| {
        let found = outcome("o.csv", format!("a,b\n1,\n{value},\n").as_bytes(), &spec(&format!("b string; a {ty}")));
        found.problem.map(|problem| (problem.kind, problem.to_string()))
    };
    let decimal = |scale| ProblemKind::Widen { column: 1, to: Type::Decimal { precision: 38, scale } };
    let message = "o.csv:3:1: column `a`: `2.50` is not an integer, as the column was inferred; a decimal(38,1) holds it";
    assert_eq!(widened("integer?", "2.50"), Some((decimal(1), message.to_owned())));
    assert_eq!(widened("integer?", "99999999999999999999").unwrap().0, decimal(0));
    assert_eq!(widened("decimal(38,2)?", "1.234").unwrap().0, decimal(3));
    assert_eq!(widened("decimal(38,2)?", "1.2e37").unwrap().0, ProblemKind::Refused);
    assert_eq!(widened("integer?", "2.5.0").unwrap().0, ProblemKind::Refused);
    assert_eq!(widened("integer", "2.5").unwrap().0, ProblemKind::Refused);
    assert_eq!(widened("float?", "2.5"), None);
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
