use std::{io::Write as _, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Decimal64Array, Decimal128Array, DictionaryArray,
        DurationMillisecondArray, FixedSizeBinaryArray, Int32Array, Int64Array, LargeStringArray, ListArray, NullArray, StringArray,
        StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
    },
    datatypes::{Int8Type, Int32Type},
    record_batch::RecordBatch,
};
use arrow_ipc::{
    CompressionType,
    writer::{FileWriter, IpcWriteOptions, StreamWriter},
};

use crate::{
    infer,
    testing::{check, file, outcome, spec},
};

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn compressed(compression: Option<CompressionType>) -> IpcWriteOptions {
    IpcWriteOptions::default().try_with_compression(compression).unwrap()
}

fn as_file(batches: &[RecordBatch], options: IpcWriteOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new_with_options(&mut bytes, batches[0].schema_ref(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    drop(writer);
    bytes
}

fn as_stream(batches: &[RecordBatch], options: IpcWriteOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new_with_options(&mut bytes, batches[0].schema_ref(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    drop(writer);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn one(array: impl Array + 'static) -> RecordBatch {
    batch(vec![("a", Arc::new(array))])
}

/// Reads one column `a` as the type.
fn column(array: impl Array + 'static, ty: &str, rows: &[&str], refusal: &str) {
    check("o.arrow", as_file(&[one(array)], IpcWriteOptions::default()), &spec(&format!("a {ty}")), rows, refusal);
}

fn list() -> ListArray {
    ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None])
}

fn good() -> Vec<RecordBatch> {
    let texts = |from: i64, to: i64| -> ArrayRef { Arc::new(StringArray::from_iter_values((from..to).map(|n| format!("some text {n}")))) };
    let numbers = |from: i64, to: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(from..to)) };
    let some = |from, to| batch(vec![("t", texts(from, to)), ("x", numbers(from, to)), ("a", numbers(from, to))]);
    vec![some(0, 3000), some(3000, 3000), some(3000, 9_000)]
}

#[test]
fn files_and_streams() {
    let expected: Vec<String> = (0..9_000).map(|n| format!("{n}|some text {n}")).collect();
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let file = as_file(&good(), compressed(compression));
        let stream = as_stream(&good(), compressed(compression));
        let gzip = gzip(&stream);
        let packed = IpcWriteOptions::try_new(8, false, arrow_ipc::MetadataVersion::V5).unwrap();
        for (name, bytes) in
            [("o.arrow", &file), ("o.feather", &file), ("o.arrow.gz", &gzip), ("o.ipc", &stream), ("o.arrow", &as_file(&good(), packed))]
        {
            let found = outcome(name, bytes, &spec("a integer; t string"));
            assert_eq!(found.problem, None, "{name}");
            assert_eq!(found.rows, expected);
            assert_eq!(found.warnings, [format!("{name}: column `x` is not in the flow's `columns` and left out")]);
        }
    }
}

#[test]
fn without_rows() {
    let empty = one(Int64Array::from(Vec::<i64>::new()));
    check("o.arrow", as_file(std::slice::from_ref(&empty), IpcWriteOptions::default()), &spec("a integer"), &[], "");
    check("o.arrow", as_stream(&[empty], IpcWriteOptions::default()), &spec("a integer"), &[], "");
    let mut bytes = Vec::new();
    FileWriter::try_new(&mut bytes, good()[0].schema_ref()).unwrap().finish().unwrap();
    check("o.arrow", &bytes, &spec("a integer"), &[], "");
    check("o.arrow", &bytes, &spec("b integer"), &[], "o.arrow: the file has no column `b`");
    check("o.arrow", "", &spec("a integer"), &[], "o.arrow: not an Arrow file, or damaged or cut short: it does not begin as one");
}

#[test]
fn values_of_every_type() {
    column(Int32Array::from(vec![Some(-1), None]), "integer", &["-1", "∅"], "");
    column(UInt64Array::from(vec![u64::MAX]), "decimal(20,0)", &["18446744073709551615"], "");
    column(StringArray::from(vec![Some(""), None, Some("longer than twelve bytes")]), "string", &["", "∅", "longer than twelve bytes"], "");
    column(LargeStringArray::from(vec!["x"]), "string", &["x"], "");
    column(StringViewArray::from(vec!["x", "longer than twelve bytes"]), "string", &["x", "longer than twelve bytes"], "");
    column(vec![Some("a"), None, Some("a")].into_iter().collect::<DictionaryArray<Int8Type>>(), "string", &["a", "∅", "a"], "");
    let numbers = DictionaryArray::<Int8Type>::new(vec![Some(1), None, Some(0)].into(), Arc::new(Int64Array::from(vec![7, 8])));
    column(numbers, "integer", &["8", "∅", "7"], "");
    column(BooleanArray::from(vec![true, false]), "boolean", &["true", "false"], "");
    column(Decimal64Array::from(vec![125]).with_precision_and_scale(5, 2).unwrap(), "decimal(5,2)", &["1.25"], "");
    column(NullArray::new(2), "date", &["∅", "∅"], "");
    let second = "1970-01-01T00:00:01Z";
    column(TimestampMillisecondArray::from(vec![1000]).with_timezone("+02:00"), "timestamp", &[second], "");
    column(TimestampMicrosecondArray::from(vec![1_000_000]).with_timezone("Europe/Berlin"), "timestamp", &[second], "");
    column(list(), "string", &["[1,null]", "∅"], "");
}

#[test]
fn values_that_do_not_fit() {
    let place = "o.arrow: row 2: column `a`:";
    let finer = format!("{place} `1970-01-01T00:00:00.000001001` is finer than a microsecond");
    column(TimestampNanosecondArray::from(vec![0, 1001]), "timestamp", &[], &finer);
    column(Int64Array::from(vec![Some(1), None]), "integer!", &[], &format!("{place} NULL, and the column is required"));
    column(StringArray::from(vec!["7", "x"]), "integer", &[], &format!("{place} `x` is not an integer"));
    column(list(), "integer", &[], "o.arrow: column `a`: is nested in the file and integer in the flow");
    let binary = "o.arrow: column `a`: holds binary values, which no type of qetl's holds";
    column(BinaryArray::from(vec![&b"x"[..]]), "integer", &[], binary);
    column(FixedSizeBinaryArray::try_from_iter([[1, 2]].into_iter()).unwrap(), "integer", &[], binary);
    column(BinaryArray::from(vec![&b"x"[..]]), "string", &["x"], "");
    column(BinaryViewArray::from_iter_values([&b"caf\xc3\xa9"[..]]), "string", &["café"], "");
    let sparse = Decimal128Array::from(vec![12]).with_precision_and_scale(5, -2).unwrap();
    column(sparse, "decimal(7,0)", &["1200"], "");
    column(DurationMillisecondArray::from(vec![1500]), "string", &["PT1.5S"], "");
    let nested = DictionaryArray::<Int8Type>::new(vec![Some(0)].into(), Arc::new(list()));
    column(nested, "string", &[], "o.arrow: column `a`: holds nested values in a dictionary, which no type of qetl's holds");
    // The row is counted through the file's batches and through ours.
    let mut batches = good();
    batches.push(batch(vec![
        ("t", Arc::new(StringArray::from(vec!["x"]))),
        ("x", Arc::new(Int64Array::from(vec![1]))),
        ("a", { Arc::new(Int64Array::from(vec![None])) }),
    ]));
    let found = outcome("o.arrow", &as_stream(&batches, IpcWriteOptions::default()), &spec("a integer!"));
    assert_eq!(found.refusal(), "o.arrow: row 9001: column `a`: NULL, and the column is required");
}

#[test]
fn types_are_brought() {
    let own_type = |array: ArrayRef| {
        let (_dir, file) = file("o.arrow", &as_file(&[batch(vec![("a", array)])], IpcWriteOptions::default()));
        infer(&[file], &spec("a")).map(|types| types[0].ty.to_string()).unwrap_or_else(|problem| problem.to_string())
    };
    assert_eq!(own_type(Arc::new(UInt64Array::from(vec![1]))), "decimal(20,0)");
    assert_eq!(own_type(Arc::new(vec!["a"].into_iter().collect::<DictionaryArray<Int32Type>>())), "string");
    assert_eq!(own_type(Arc::new(list())), "o.arrow: column `a`: holds nested values, which no type of qetl's holds");
}

#[test]
fn dictionaries_that_change() {
    let some = |values: &[&str]| one(values.iter().copied().collect::<DictionaryArray<Int32Type>>());
    let stream = as_stream(&[some(&["a", "b"]), some(&["c", "a", "c"])], IpcWriteOptions::default());
    check("o.arrow", stream, &spec("a string"), &["a", "b", "c", "a", "c"], "");
}

#[test]
fn damaged_files() {
    const CUT: &str = "o.arrow: not an Arrow file, or damaged or cut short: ";
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        for bytes in [as_file(&good(), compressed(compression)), as_stream(&good(), compressed(compression))] {
            let every = (0..bytes.len()).step_by(bytes.len() / 40);
            for length in every.chain([1, 6, 8, 9, bytes.len() - 8, bytes.len() - 4, bytes.len() - 1]) {
                let found = outcome("o.arrow", &bytes[..length], &spec("a integer"));
                assert!(found.refusal().starts_with(CUT), "{length}: {}", found.refusal());
            }
            // A flipped byte is a problem or another value, but never a crash.
            for at in (0..bytes.len()).step_by(bytes.len() / 60).chain((0..1200).step_by(7)) {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x55;
                let found = outcome("o.arrow", &flipped, &spec("a integer; t string"));
                assert!(found.problem.is_some() || found.rows.len() == 9_000, "{at}");
            }
        }
    }
    let refused = |bytes: &[u8], problem: &str| check("o.arrow", bytes, &spec("a integer"), &[], problem);
    refused(b"a,b\n1,2\n", &format!("{CUT}it does not begin as one"));
    refused(b"PAR1\x15", &format!("{CUT}it does not begin as one"));
    refused(b"FEA1....", "o.arrow: the file is of the first version of Feather, which is not Arrow's format");
    let file = as_file(&good(), IpcWriteOptions::default());
    refused(&gzip(&file), "o.arrow: an Arrow file stands inside gzip or zstd");
    // Some writers leave the schema at the beginning incomplete.
    let mut headless = file.clone();
    headless[8..100].fill(0);
    assert_eq!(outcome("o.arrow", &headless, &spec("a integer")).rows.len(), 9_000);
    // Lengths that no bytes follow.
    refused(
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        "o.arrow: a batch of its rows is longer than 1024 MiB, or the file is damaged",
    );
    refused(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x2f, 1], &format!("{CUT}it ends in the middle"));
    refused(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &format!("{CUT}a length in it is negative"));
}

#[test]
fn compressed_values_keep_to_their_length() {
    // 1 MiB of zeros, told to be 1 TiB, and told to be 1 byte.
    let zeros = one(Int64Array::from(vec![0; 1 << 17]));
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let bytes = as_stream(std::slice::from_ref(&zeros), compressed(Some(compression)));
        let told = (1_u64 << 20).to_le_bytes();
        let at = bytes.windows(8).rposition(|window| window == told).unwrap();
        for (length, problem) in [(1_u64 << 40, "longer than 1024 MiB"), (1, "damaged"), (u64::MAX / 2, "longer than 1024 MiB")] {
            let mut changed = bytes.clone();
            changed[at..at + 8].copy_from_slice(&length.to_le_bytes());
            let found = outcome("o.arrow", &changed, &spec("a integer"));
            assert!(found.refusal().contains(problem), "{compression:?} {length}: {}", found.refusal());
        }
    }
}
