use std::io::Write as _;

use crate::{
    infer,
    testing::{check, file, outcome, spec},
};

/// A file of these fields (JSON, without brackets) and blocks.
fn written(fields: &str, codec: &str, blocks: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let schema = format!(r#"{{"type":"record","name":"n.row","fields":[{fields}]}}"#);
    let mut bytes = b"Obj\x01".to_vec();
    // Two entries, in a block that tells its size.
    bytes.extend(long(-2));
    let mut entries = Vec::new();
    for entry in ["avro.codec", codec, "avro.schema", &schema] {
        entries.extend(text(entry));
    }
    bytes.extend(long(entries.len() as i64));
    bytes.extend(entries);
    bytes.push(0);
    bytes.extend([7; 16]);
    for (rows, data) in blocks {
        let data = compressed(codec, data);
        bytes.extend([long(*rows), long(data.len() as i64), data, vec![7; 16]].concat());
    }
    bytes
}

fn compressed(codec: &str, data: &[u8]) -> Vec<u8> {
    match codec {
        "deflate" => {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        "snappy" => {
            let mut crc = flate2::Crc::new();
            crc.update(data);
            [snap::raw::Encoder::new().compress_vec(data).unwrap(), crc.sum().to_be_bytes().to_vec()].concat()
        }
        "zstandard" => zstd::encode_all(data, 3).unwrap(),
        _ => data.to_vec(),
    }
}

fn long(value: i64) -> Vec<u8> {
    let (mut bits, mut out) = (((value << 1) ^ (value >> 63)) as u64, Vec::new());
    while bits > 0x7f {
        out.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
    out
}

fn text(text: &str) -> Vec<u8> {
    [long(text.len() as i64), text.as_bytes().to_vec()].concat()
}

/// Reads one column `a`, of which every value is a row.
fn column(avro: &str, values: &[Vec<u8>], ty: &str, rows: &[&str], refusal: &str) {
    let field = format!(r#"{{"name":"a","type":{avro}}}"#);
    check("o.avro", written(&field, "null", &[(values.len() as i64, values.concat())]), &spec(&format!("a {ty}")), rows, refusal);
}

const FIELDS: &str = r#"{"name":"t","type":"string"},{"name":"x","type":["null","long"]},{"name":"a","type":"long"}"#;

fn rows(from: i64, to: i64) -> (i64, Vec<u8>) {
    let row = |n: i64| [text(&format!("some text {n}")), long(1), long(n), long(n)].concat();
    (to - from, (from..to).flat_map(row).collect())
}

#[test]
fn codecs_and_blocks() {
    let expected: Vec<String> = (0..20_000).map(|n| format!("{n}|some text {n}")).collect();
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        let bytes = written(FIELDS, codec, &[rows(0, 3), rows(3, 3), rows(3, 9000), rows(9000, 9001), rows(9001, 20_000), rows(0, 0)]);
        let found = outcome("o.avro", &bytes, &spec("a integer; t string"));
        assert_eq!((found.problem, found.rows), (None, expected.clone()), "{codec}");
        assert_eq!(found.warnings, ["o.avro: column `x` is not in the flow's `columns` and left out"]);
        let found = outcome("o.avro.zst", &zstd::encode_all(bytes.as_slice(), 1).unwrap(), &spec("x integer; a integer; t string"));
        assert_eq!((found.refusal(), found.rows.len(), found.rows[1].as_str()), (String::new(), 20_000, "1|1|some text 1"));
    }
    check("o.avro", written(FIELDS, "null", &[]), &spec("a integer"), &[], "");
    check("o.avro", written(FIELDS, "null", &[]), &spec("A integer"), &[], "o.avro: the file has no column `A`");
    let refusal = "o.avro: is compressed with `bzip2`, which qetl does not read";
    check("o.avro", written(FIELDS, "bzip2", &[]), &spec("a integer"), &[], refusal);
}

#[test]
fn values_of_every_type() {
    let logical = |ty: &str, logical: &str| format!(r#"{{"type":"{ty}","logicalType":"{logical}"}}"#);
    column(r#""int""#, &[long(-1)], "integer", &["-1"], "");
    column(r#"["null","long"]"#, &[[long(1), long(i64::MIN)].concat(), long(0)], "integer", &["-9223372036854775808", "∅"], "");
    column(r#"["long","null"]"#, &[[long(0), long(5)].concat(), long(1)], "integer", &["5", "∅"], "");
    column(r#""float""#, &[(-0.0_f32).to_le_bytes().to_vec(), 0.5_f32.to_le_bytes().to_vec()], "float", &["0.0", "0.5"], "");
    column(r#""double""#, &[f64::NAN.to_le_bytes().to_vec()], "float", &["NaN"], "");
    column(r#""boolean""#, &[vec![1], vec![0]], "boolean", &["true", "false"], "");
    column(r#""string""#, &[text(""), text("longer than twelve bytes")], "string", &["", "longer than twelve bytes"], "");
    let null = || [long(0)].concat();
    let given = |bytes: Vec<u8>| [long(1), bytes].concat();
    column(r#"["null","string"]"#, &[null(), given(text("")), given(text("x"))], "string", &["∅", "", "x"], "");
    column(r#"["string","null"]"#, &[long(1), [long(0), text("")].concat(), [long(0), text("x")].concat()], "string", &["∅", "", "x"], "");
    column(
        r#"{"type":"enum","name":"e","symbols":["open","paid"]}"#,
        &[long(1), long(0), long(1)],
        "string",
        &["paid", "open", "paid"],
        "",
    );
    column(&logical("string", "uuid"), &[text("0A")], "string", &["0A"], "");
    let uuid = r#"{"type":"fixed","name":"u","size":16,"logicalType":"uuid"}"#;
    column(uuid, &[(1..=16).collect()], "string", &["01020304-0506-0708-090a-0b0c0d0e0f10"], "");
    column(&format!(r#"["null",{uuid}]"#), &[vec![0]], "string", &["∅"], "");
    column(r#""bytes""#, &[text("é"), text("")], "string", &["é", ""], "");
    column(r#"{"type":"fixed","name":"f","size":2}"#, &[b"ab".to_vec()], "string", &["ab"], "");
    column(&logical("int", "time-millis"), &[long(36_000_123)], "string", &["10:00:00.123"], "");
    column(&logical("int", "date"), &[long(1)], "date", &["1970-01-02"], "");
    for (name, unit) in [("millis", 1000), ("micros", 1_000_000), ("nanos", 1_000_000_000)] {
        for local in ["", "local-"] {
            column(&logical("long", &format!("{local}timestamp-{name}")), &[long(unit)], "timestamp", &["1970-01-01T00:00:01Z"], "");
        }
    }
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}"#;
    column(decimal, &[[long(1), vec![125]].concat(), [long(2), vec![0xff, 0]].concat()], "decimal(10,2)", &["1.25", "-2.56"], "");
    let fixed = r#"{"type":"fixed","name":"f","size":3,"logicalType":"decimal","precision":6,"scale":1}"#;
    column(fixed, &[vec![0, 1, 0]], "decimal(6,1)", &["25.6"], "");
    column(
        r#""null""#,
        &[vec![]],
        "date",
        &[],
        "o.avro: not an Avro file, or damaged or cut short: a block has an impossible number of rows",
    );
    let array = r#"{"type":"array","items":"long"}"#;
    column(array, &[[long(2), long(1), long(2), long(0)].concat(), long(0)], "string", &["[1,2]", "[]"], "");
    let map = r#"{"type":"map","values":"string"}"#;
    column(map, &[[long(1), text("k"), text("v"), long(0)].concat()], "string", &[r#"{"k":"v"}"#], "");
    let array = r#"{"type":"array","items":["null","string"]}"#;
    column(array, &[[long(2), long(0), long(1), text(""), long(0)].concat()], "string", &[r#"[null,""]"#], "");
    let record = r#"{"type":"record","name":"q","fields":[{"name":"x","type":["string","null"]},{"name":"y","type":["null","string"]}]}"#;
    column(record, &[[long(1), long(1), text("")].concat()], "string", &[r#"{"y":""}"#], "");
    let record = r#"["null",{"type":"record","name":"p","fields":[{"name":"x","type":"long"}]}]"#;
    column(record, &[[long(1), long(3)].concat(), long(0)], "string", &[r#"{"x":3}"#, "∅"], "");
}

#[test]
fn values_that_do_not_fit() {
    let place = "o.avro: row 2: column `a`:";
    let nanos = r#"{"type":"long","logicalType":"timestamp-nanos"}"#;
    let finer = format!("{place} `1970-01-01T00:00:00.000001001` is finer than a microsecond");
    // Their zone is UTC.
    let finer = finer.replace("001001`", "001001Z`");
    column(nanos, &[long(0), long(1001)], "timestamp", &[], &finer);
    let required = format!("{place} NULL, and the column is required");
    column(r#"["null","long"]"#, &[[long(1), long(1)].concat(), long(0)], "integer!", &[], &required);
    column(r#""string""#, &[text("7"), text("x")], "integer", &[], &format!("{place} `x` is not an integer"));
    let never = |what: &str| format!("o.avro: column `a`: holds {what}, which no type of qetl's holds");
    column(r#""bytes""#, &[long(0)], "integer", &[], &never("binary values"));
    let bytes = format!("{place} its bytes are not UTF-8 text: fffe");
    column(r#""bytes""#, &[text("x"), [long(2), vec![0xff, 0xfe]].concat()], "string", &[], &bytes);
    column(r#"{"type":"int","logicalType":"time-millis"}"#, &[long(0)], "integer", &[], &never("times of day"));
    let duration = r#"{"type":"fixed","name":"d","size":12,"logicalType":"duration"}"#;
    column(duration, &[vec![0; 12]], "string", &[], &never("intervals"));
    column(r#"["null","long","string"]"#, &[long(0)], "string", &[], &never("values of several types"));
    column(
        r#"{"type":"array","items":"long"}"#,
        &[long(0)],
        "integer",
        &[],
        "o.avro: column `a`: is nested in the file and integer in the flow",
    );
}

#[test]
fn types_are_brought() {
    let own_type = |avro: &str| {
        let (_dir, file) = file("o.avro", &written(&format!(r#"{{"name":"a","type":{avro}}}"#), "null", &[]));
        infer(&[file], &spec("a")).map(|types| types[0].ty.to_string()).unwrap_or_else(|problem| problem.to_string())
    };
    assert_eq!(own_type(r#"["null","int"]"#), "integer");
    assert_eq!(own_type(r#"{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}"#), "decimal(10,2)");
    assert_eq!(own_type(r#"{"type":"string","logicalType":"uuid"}"#), "string");
    assert_eq!(own_type(r#""null""#), "string");
    assert_eq!(own_type(r#""bytes""#), "o.avro: column `a`: holds binary values, which no type of qetl's holds");
}

#[test]
fn a_type_that_an_unwanted_field_defines() {
    let fields = r#"{"name":"b","type":{"type":"enum","name":"e","symbols":["open","paid"]}},{"name":"a","type":"e"}"#;
    let bytes = written(fields, "null", &[(1, [long(0), long(1)].concat())]);
    check("o.avro", &bytes, &spec("a string"), &["paid"], "");
    check("o.avro", &bytes, &spec("a string; b string"), &["paid|open"], "");
}

#[test]
fn damaged_files() {
    const CUT: &str = "o.avro: not an Avro file, or damaged or cut short: ";
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        let bytes = written(FIELDS, codec, &[rows(0, 3000), rows(3000, 5000)]);
        let header = written(FIELDS, codec, &[]).len();
        for length in (0..bytes.len()).step_by(bytes.len() / 40).chain([1, 4, header - 1, header + 1, bytes.len() - 1]) {
            let found = outcome("o.avro", &bytes[..length], &spec("a integer"));
            assert!(found.refusal().starts_with(CUT), "{length}: {}", found.refusal());
        }
        // A flipped byte is a problem or another value, but never a crash.
        for at in (0..bytes.len()).step_by(bytes.len() / 200).chain(0..header + 40) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x55;
            let found = outcome("o.avro", &flipped, &spec("a integer; t string"));
            assert!(found.problem.is_some() || found.rows.len() == 5000, "{at}");
        }
    }
    let refused = |bytes: &[u8], problem: &str| check("o.avro", bytes, &spec("a integer"), &[], problem);
    refused(b"", &format!("{CUT}it does not begin as one"));
    refused(b"a,b\n1,2\n", &format!("{CUT}it does not begin as one"));
    let (_, three) = rows(0, 3);
    let rows_of = |count| written(FIELDS, "null", &[(count, three.clone())]);
    refused(&rows_of(2), &format!("{CUT}a block has more or fewer rows than it says"));
    refused(&rows_of(4), &format!("{CUT}a row is malformed: bad varint"));
    refused(&rows_of(-1), &format!("{CUT}a block has an impossible number of rows"));
    refused(&rows_of(i64::MAX), &format!("{CUT}a block has an impossible number of rows"));
    let with = |rest: Vec<u8>| [written(FIELDS, "null", &[]), long(1), rest].concat();
    refused(&with(long(i64::MAX)), "o.avro: a batch of its rows is longer than 64 MiB, or the file is damaged");
    refused(&with(long(1 << 25)), &format!("{CUT}it ends in the middle"));
    refused(&with(long(-5)), &format!("{CUT}a length in it is negative"));
    refused(&with(vec![0xff; 12]), &format!("{CUT}a number in it is too long"));
    refused(
        &[&b"Obj\x01"[..], &long(1), &text("avro.schema"), &text("\"int\""), &[0; 17]].concat(),
        &format!("{CUT}its rows are not records"),
    );
    refused(&[&b"Obj\x01\x00"[..], &[0; 16]].concat(), &format!("{CUT}its header has no schema"));
    refused(&written("", "null", &[(1, Vec::new())]), &format!("{CUT}its rows have no columns"));
    let mut optional = spec("z integer; y string");
    optional.columns.iter_mut().for_each(|column| column.optional = true);
    check("o.avro", rows_of(3), &optional, &["∅|∅"; 3], "");
    let long_text = [long(1 << 40), b"x".to_vec()].concat();
    let found = outcome("o.avro", &written(r#"{"name":"a","type":"string"}"#, "null", &[(1, long_text)]), &spec("a string"));
    assert!(found.refusal().starts_with(&format!("{CUT}a row is malformed: ")), "{}", found.refusal());
}

#[test]
fn lists_of_nothing_end() {
    let field = r#"{"name":"a","type":{"type":"array","items":"null"}}"#;
    let bytes = written(field, "null", &[(1, [long(1 << 60), long(0)].concat())]);
    assert!(outcome("o.avro", &bytes, &spec("a string")).problem.is_some());
}
