use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, Decimal256Array, DictionaryArray, Float32Array,
        Float64Array, Int32Array, Int64Array, LargeStringArray, ListArray, NullArray, StringArray, StringViewArray, Time64MicrosecondArray,
        TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt8Array, UInt64Array,
    },
    datatypes::{Int32Type, i256},
    record_batch::RecordBatch,
};
use qetl_core::{Type, format::TimestampUnit};

use crate::{
    infer,
    testing::{check, file, outcome, spec},
};

fn written(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Reads one column `a` as the type, and infers its own.
fn column(array: impl arrow::array::Array + 'static, ty: &str, rows: &[&str], refusal: &str) {
    check("o.parquet", written(vec![("a", Arc::new(array))]), &spec(&format!("a {ty}")), rows, refusal);
}

fn own_type(array: impl arrow::array::Array + 'static) -> Result<String, String> {
    let (_dir, file) = file("o.parquet", &written(vec![("a", Arc::new(array))]));
    infer(&[file], &spec("a")).map(|types| types[0].ty.to_string()).map_err(|problem| problem.to_string())
}

fn list() -> ListArray {
    ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None])
}

#[test]
fn own_types() {
    let check = |found: Result<String, String>, expected: &str| assert_eq!(found.unwrap_or_else(|problem| problem), expected);
    check(own_type(Int32Array::from(vec![1])), "integer");
    check(own_type(UInt8Array::from(vec![1])), "integer");
    check(own_type(UInt64Array::from(vec![1])), "decimal(20,0)");
    check(own_type(Float32Array::from(vec![1.0])), "float");
    check(own_type(StringArray::from(vec!["1"])), "string");
    check(own_type(vec!["a"].into_iter().collect::<DictionaryArray<Int32Type>>()), "string");
    check(own_type(BooleanArray::from(vec![true])), "boolean");
    check(own_type(Date32Array::from(vec![1])), "date");
    check(own_type(TimestampNanosecondArray::from(vec![1])), "timestamp");
    check(own_type(Decimal256Array::from(vec![i256::ONE]).with_precision_and_scale(50, 3).unwrap()), "decimal(38,3)");
    check(own_type(NullArray::new(2)), "string");
    check(own_type(BinaryArray::from(vec![&b"x"[..]])), "o.parquet: column `a`: holds binary values, which no type of qetl's holds");
    check(own_type(Time64MicrosecondArray::from(vec![1])), "o.parquet: column `a`: holds times of day, which no type of qetl's holds");
    check(own_type(list()), "o.parquet: column `a`: holds nested values, which no type of qetl's holds");
}

#[test]
fn values_of_every_type() {
    column(Int32Array::from(vec![Some(-1), None]), "integer", &["-1", "∅"], "");
    column(UInt64Array::from(vec![u64::MAX]), "decimal(20,0)", &["18446744073709551615"], "");
    column(Float32Array::from(vec![-0.0, 0.5]), "float", &["0.0", "0.5"], "");
    column(Float64Array::from(vec![-f64::NAN]), "float", &["NaN"], "");
    column(StringArray::from(vec![Some(""), None, Some("longer than twelve bytes")]), "string", &["", "∅", "longer than twelve bytes"], "");
    column(LargeStringArray::from(vec!["x"]), "string", &["x"], "");
    column(StringViewArray::from(vec!["x"]), "string", &["x"], "");
    column(vec![Some("a"), None, Some("a")].into_iter().collect::<DictionaryArray<Int32Type>>(), "string", &["a", "∅", "a"], "");
    column(BooleanArray::from(vec![true]), "boolean", &["true"], "");
    column(Date32Array::from(vec![0]), "date", &["1970-01-01"], "");
    column(Date64Array::from(vec![86_400_000]), "date", &["1970-01-02"], "");
    column(Decimal128Array::from(vec![125]).with_precision_and_scale(5, 2).unwrap(), "decimal(5,2)", &["1.25"], "");
    column(Decimal256Array::from(vec![i256::from(125)]).with_precision_and_scale(50, 2).unwrap(), "decimal(38,2)", &["1.25"], "");
    column(NullArray::new(2), "date", &["∅", "∅"], "");
    let one = "1970-01-01T00:00:01Z";
    column(TimestampSecondArray::from(vec![1]), "timestamp", &[one], "");
    column(TimestampMillisecondArray::from(vec![1000]).with_timezone("+02:00"), "timestamp", &[one], "");
    column(TimestampMicrosecondArray::from(vec![1_000_000]).with_timezone("Europe/Berlin"), "timestamp", &[one], "");
    column(TimestampNanosecondArray::from(vec![1_000_000_000]), "timestamp", &[one], "");
    column(list(), "string", &["[1,null]", "∅"], "");
}

#[test]
fn values_that_do_not_fit() {
    let place = "o.parquet: row 2: column `a`:";
    column(
        TimestampNanosecondArray::from(vec![0, 1001]),
        "timestamp",
        &[],
        &format!("{place} `1970-01-01T00:00:00.000001001` is finer than a microsecond"),
    );
    column(
        TimestampSecondArray::from(vec![0, i64::MAX]),
        "timestamp",
        &[],
        &format!("{place} `9223372036854775807` is outside the range of a timestamp"),
    );
    column(Date32Array::from(vec![0, 3_000_000]), "date", &[], &format!("{place} `+10183-09-21` is outside the range of a date"));
    column(Int64Array::from(vec![Some(1), None]), "integer!", &[], &format!("{place} NULL, and the column is required"));
    column(list(), "integer", &[], "o.parquet: column `a`: is nested in the file and integer in the flow");
    column(BooleanArray::from(vec![true]), "integer", &[], "o.parquet: column `a`: is boolean in the file and integer in the flow");
    column(BinaryArray::from(vec![&b"x"[..]]), "integer", &[], "o.parquet: column `a`: holds binary values, which no type of qetl's holds");
    column(BinaryArray::from(vec![&b"x"[..], &b"\xff"[..]]), "string", &[], &format!("{place} its bytes are not UTF-8 text: ff"));
    let rows =
        vec![("a", Arc::new(StringArray::from(vec!["1", "x", "3", "y"])) as ArrayRef), ("b", Arc::new(Int32Array::from(vec![1, 2, 3, 4])))];
    let found = outcome("o.parquet", &written(rows), &spec("b integer; a integer"));
    assert_eq!((found.rows, found.bad_rows), (vec!["1|1".to_owned(), "3|3".to_owned()], vec!["2|∅".to_owned(), "4|∅".to_owned()]));
    let told: Vec<_> = found.bad.iter().map(|row| (row.number, row.text.as_str(), row.unreadable.as_slice())).collect();
    assert_eq!(told, [(2, r#"{"a":"x","b":2}"#, &[1][..]), (4, r#"{"a":"y","b":4}"#, &[1][..])]);
}

#[test]
fn bytes_that_are_text() {
    let unmarked = BinaryArray::from(vec![Some(&b"caf\xc3\xa9"[..]), None, Some(&b""[..])]);
    column(unmarked, "string", &["café", "∅", ""], "");
    column(Time64MicrosecondArray::from(vec![36_000_000_001]), "string", &["10:00:00.000001"], "");
    let uuid = ::parquet::schema::parser::parse_message_type("message m { optional fixed_len_byte_array(16) a (UUID); }").unwrap();
    let mut writer = ::parquet::file::writer::SerializedFileWriter::new(Vec::new(), Arc::new(uuid), Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut own = group.next_column().unwrap().unwrap();
    let value = ::parquet::data_type::FixedLenByteArray::from(vec![0x12; 16]);
    own.typed::<::parquet::data_type::FixedLenByteArrayType>().write_batch(&[value], Some(&[1, 0]), None).unwrap();
    own.close().unwrap();
    group.close().unwrap();
    let bytes = writer.into_inner().unwrap();
    check("o.parquet", &bytes, &spec("a string"), &["12121212-1212-1212-1212-121212121212", "∅"], "");
    let (_dir, file) = file("o.parquet", &bytes);
    assert_eq!(infer(&[file], &spec("a")).unwrap()[0].ty, Type::Text);
}

#[test]
fn what_options_mean_here() {
    let mut options = spec("at timestamp; d date; n decimal(10,2)");
    options.options.timestamp_unit = Some(TimestampUnit::Ms);
    options.options.date_format = Some("%d.%m.%Y".into());
    options.options.decimal_separator = b',';
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("at", Arc::new(Int64Array::from(vec![Some(1_704_103_200_123), None]))),
        ("d", Arc::new(StringArray::from(vec!["31.12.2024", ""]))),
        ("n", Arc::new(StringArray::from(vec!["1,5", ""]))),
    ];
    check("o.parquet", written(columns), &options, &["2024-01-01T10:00:00.123Z|2024-12-31|1.50", "∅|∅|∅"], "");
    let refusal = "o.parquet: column `at`: is integer in the file and timestamp in the flow";
    check("o.parquet", written(vec![("at", Arc::new(Int64Array::from(vec![1])))]), &spec("at timestamp"), &[], refusal);
}

#[test]
fn renamed_and_optional_columns() {
    let mut spec = spec("a integer; note string");
    spec.columns[0].source = "A (1)".into();
    spec.columns[1].optional = true;
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    check("o.parquet", written(vec![("A (1)", ints.clone())]), &spec, &["1|∅"], "");
    check("o.parquet", written(vec![("a", ints)]), &spec, &[], "o.parquet: the file has no column `A (1)`");
}

#[test]
fn measures_are_finite() {
    let mut amounts = spec("a float");
    amounts.columns[0].finite = true;
    let refusal = "o.parquet: row 2: column `a`: `NaN` is no amount: sums of the measure could never balance";
    check("o.parquet", written(vec![("a", Arc::new(Float64Array::from(vec![1.0, f64::NAN])))]), &amounts, &[], refusal);
}

#[test]
fn casts() {
    let place = "o.parquet: row 2: column `a`:";
    let decimals = || Decimal128Array::from(vec![500, 125]).with_precision_and_scale(10, 2).unwrap();
    column(Int64Array::from(vec![5, 1 << 53]), "decimal(18,2)", &["5.00", "9007199254740992.00"], "");
    column(Int64Array::from(vec![5, 1 << 53]), "float", &["5.0", "9007199254740992.0"], "");
    column(Int64Array::from(vec![5, (1 << 53) + 1]), "float", &[], &format!("{place} `9007199254740993` has too many digits for a float"));
    column(Int64Array::from(vec![5, 100]), "decimal(3,1)", &[], &format!("{place} `100` has too many digits for a decimal(3,1)"));
    column(decimals(), "decimal(18,4)", &["5.0000", "1.2500"], "");
    column(decimals(), "decimal(18,1)", &[], &format!("{place} `1.25` has too many digits behind the point for a decimal(18,1)"));
    column(decimals(), "integer", &[], &format!("{place} `1.25` is not an integer"));
    column(decimals(), "float", &["5.0", "1.25"], "");
    column(decimals(), "string", &["5.00", "1.25"], "");
    column(Float64Array::from(vec![0.1, 12.5]), "decimal(5,2)", &["0.10", "12.50"], "");
    column(
        Float64Array::from(vec![0.1, 0.1 + 0.2]),
        "decimal(5,2)",
        &[],
        &format!("{place} `0.30000000000000004` has too many digits behind the point for a decimal(5,2)"),
    );
    column(Float64Array::from(vec![2.0, f64::INFINITY]), "integer", &[], &format!("{place} `Infinity` is not an integer"));
    column(Float64Array::from(vec![2.0, -3.0]), "integer", &["2", "-3"], "");
    column(Date32Array::from(vec![1]), "timestamp", &["1970-01-02T00:00:00Z"], "");
    column(TimestampMicrosecondArray::from(vec![0]), "date", &["1970-01-01"], "");
    column(
        TimestampMicrosecondArray::from(vec![0, 1]),
        "date",
        &[],
        &format!("{place} `1970-01-01T00:00:00.000001Z` has a time of day, which a date has not"),
    );
    column(StringArray::from(vec!["7", "x"]), "integer", &[], &format!("{place} `x` is not an integer"));
    column(StringArray::from(vec!["2024-01-31"]), "date", &["2024-01-31"], "");
    column(BooleanArray::from(vec![true]), "string", &["true"], "");
    let found = outcome("o.parquet", &written(vec![("a", Arc::new(decimals()))]), &spec("a integer?"));
    assert_eq!((found.refusal().as_str(), found.wider), ("", vec![(0, Type::Decimal { precision: 38, scale: 2 })]));
}

#[test]
fn columns_by_name() {
    let ints = |values: &[i64]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    let bytes = written(vec![("x", ints(&[1])), ("b.c", ints(&[2])), ("a", ints(&[3])), ("w", ints(&[4]))]);
    let found = outcome("o.parquet", &bytes, &spec("a integer; b.c integer"));
    assert_eq!(
        (found.rows, found.warnings),
        (vec!["3|2".to_owned()], vec!["o.parquet: columns `x`, `w` are not in the flow's `columns` and left out".to_owned()])
    );
    check("o.parquet", &bytes, &spec("A integer"), &[], "o.parquet: the file has no column `A`");
}

/// A file of one INT96 column `a`, with days and nanoseconds since 1970.
fn int96(values: &[(i64, i64)]) -> Vec<u8> {
    use ::parquet::{
        data_type::{Int96, Int96Type},
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::parser::parse_message_type,
    };
    let values: Vec<Int96> =
        values.iter().map(|(days, nanos)| Int96::from(vec![*nanos as u32, (*nanos >> 32) as u32, (days + 2_440_588) as u32])).collect();
    let schema = Arc::new(parse_message_type("message m { required int96 a; required int32 b; }").unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::new())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int96Type>().write_batch(&values, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<::parquet::data_type::Int32Type>().write_batch(&vec![7; values.len()], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn int96_timestamps() {
    let both = spec("b integer; a timestamp");
    let last_day = 2_932_896;
    check("o.parquet", int96(&[(0, 1000), (last_day, 0)]), &both, &["7|1970-01-01T00:00:00.000001Z", "7|9999-12-31T00:00:00Z"], "");
    let refusal = "o.parquet: row 2: column `a`: `1970-01-02T00:00:00.000001001` is finer than a microsecond";
    check("o.parquet", int96(&[(0, 1000), (1, 1001)]), &both, &[], refusal);
    let refusal = "o.parquet: row 1: column `a`: `+10000-01-01T00:00:00` is outside the range of a timestamp";
    check("o.parquet", int96(&[(last_day + 1, 0)]), &both, &[], refusal);
}

#[test]
fn several_files() {
    let (_one, first) = file("1.parquet", &written(vec![("a", Arc::new(Int64Array::from(vec![1])))]));
    let (_two, second) = file("2.parquet", &written(vec![("a", Arc::new(StringArray::from(vec!["x"])))]));
    let (_three, text) = file("3.csv", b"a\n2\n");
    let found = infer(&[first.clone(), text], &spec("a")).unwrap();
    assert_eq!((found[0].ty, found[0].decimals), (Type::Int, Some(0)));
    let problem = infer(&[first, second], &spec("a")).unwrap_err();
    assert_eq!(problem.to_string(), "2.parquet: column `a`: is a string in this file and an integer in another");
}

#[test]
fn damaged_files() {
    let values: Vec<String> = (0..5000).map(|value| format!("some text {value}")).collect();
    let bytes = written(vec![("a", Arc::new(StringArray::from(values)))]);
    let one = spec("a string");
    for length in [0, 4, 100, bytes.len() / 2, bytes.len() - 1] {
        let found = outcome("o.parquet", &bytes[..length], &one);
        assert!(found.refusal().starts_with("o.parquet: not a Parquet file, or damaged or cut short: "), "{length}: {}", found.refusal());
    }
    let found = outcome("o.parquet", b"a,b\n1,2\n", &one);
    assert!(found.refusal().starts_with("o.parquet: not a Parquet file"), "{}", found.refusal());
    // A flipped byte is a problem or another value, but never a crash.
    for at in (0..bytes.len()).step_by(bytes.len() / 100) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x55;
        let found = outcome("o.parquet", &flipped, &one);
        assert!(found.problem.is_some() || found.rows.len() == 5000, "{at}");
    }
}
