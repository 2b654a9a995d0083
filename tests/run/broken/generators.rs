//! Files that are too large, or too little text, to stand in the manifest; its head says what each of them holds.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
        StructArray, TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
    },
    datatypes::{DataType, Field},
};
use flate2::{read::GzDecoder, write::GzEncoder};
use parquet::{
    arrow::ArrowWriter,
    basic::Compression,
    data_type::{Int64Type, Int96, Int96Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

const HEADER: &str = "id,status,amount,day\n";
const ROW: &str = "1,open,1.00,2024-01-01\n";
const OBJECT: &str = "{\"id\": 1, \"status\": \"open\", \"amount\": 1.00, \"day\": \"2024-01-01\"}\n";

/// More than a record may be long.
const LONG: usize = 70 << 20;

/// 2024-01-01, in days since 1970.
const DAY: i32 = 19_723;
const MICROS_OF_HOUR: i64 = 3_600_000_000;
const MIDNIGHT: i64 = DAY as i64 * 24 * MICROS_OF_HOUR;

/// What the generator of this name writes.
pub(super) fn generated(name: &str) -> Vec<u8> {
    match name {
        "columns_10000" => columns_10000(),
        "fields_100001" => ((1..=100_001).map(|n| format!("f{n}")).collect::<Vec<_>>().join(",") + "\n").into_bytes(),
        "long_line" => [HEADER, ROW, "2,", &"x".repeat(LONG), ",1.00,2024-01-01\n"].concat().into_bytes(),
        "long_open_quote" => [HEADER, ROW, "2,\"", &"x".repeat(LONG), ",1.00,2024-01-01\n"].concat().into_bytes(),
        "long_line_jsonl" => {
            [OBJECT, "{\"id\": 2, \"status\": \"", &"x".repeat(LONG), "\", \"amount\": 1, \"day\": \"2024-01-01\"}\n"].concat().into_bytes()
        }
        "wrong_type_in_last_row_of_200000" => {
            let rows: String = (1..200_000).map(|n| format!("{n},open,1.00,2024-01-01\n")).collect();
            [HEADER, &rows, "200000,open,x,2024-01-01\n"].concat().into_bytes()
        }
        "wrong_type_in_last_row_of_200000_jsonl" => {
            let row =
                |n: u32, amount: &str| format!("{{\"id\": {n}, \"status\": \"open\", \"amount\": {amount}, \"day\": \"2024-01-01\"}}\n");
            let rows: String = (1..200_000).map(|n| row(n, "1.00")).collect();
            (rows + &row(200_000, "\"x\"")).into_bytes()
        }
        "truncated_gzip" => without_last_third(gzip(&csv_rows())),
        "corrupt_gzip" => corrupt_gzip(),
        "gzip_header_alone" => gzip(&csv_rows())[..10].to_vec(),
        "gzip_with_trailing_garbage" => [gzip([HEADER, ROW].concat().as_bytes()), b"garbage".to_vec()].concat(),
        "gzip_of_nothing" => gzip(b""),
        "gzip_wrong_value" => gzip([HEADER, ROW, "2,open,x,2024-01-01\n"].concat().as_bytes()),
        "truncated_gzip_jsonl" => without_last_third(gzip(&jsonl_rows())),
        "truncated_zstd" => without_last_third(zstd(&csv_rows())),
        "corrupt_zstd" => {
            let mut bytes = zstd(&csv_rows());
            let middle = bytes.len() / 2;
            flip(&mut bytes[middle..=middle]);
            flip(bytes.last_chunk_mut::<1>().unwrap());
            bytes
        }
        "zstd_header_alone" => zstd(&csv_rows())[..6].to_vec(),
        "gzip_of_parquet" => gzip(&written(rows(3), None)),
        _ => parquet_file(name).unwrap_or_else(|| panic!("there is no generator `{name}`")),
    }
}

/// One good row as the file's name wants it.
pub(super) fn good(file: &str) -> Vec<u8> {
    let text = [HEADER, ROW].concat().into_bytes();
    match file.split_once('.').unwrap().1 {
        "csv" => text,
        "csv.gz" => gzip(&text),
        "csv.zst" => zstd(&text),
        "jsonl" => OBJECT.into(),
        "parquet" => written(rows(1), None),
        other => panic!("`{other}`: no good file for this ending"),
    }
}

fn columns_10000() -> Vec<u8> {
    let names: String = (5..=10_000).map(|n| format!(",c{n}")).collect();
    let values: String = (5..10_000).map(|n| format!(",{n}")).collect();
    [HEADER.trim_end(), &names, "\n", ROW.trim_end(), &values, ",x\n"].concat().into_bytes()
}

/// 10,000 good rows.
fn csv_rows() -> Vec<u8> {
    let rows: String = (1..=10_000).map(|n| format!("{n},open{n},{n}.00,2024-01-01\n")).collect();
    [HEADER, &rows].concat().into_bytes()
}

/// The same rows as [`csv_rows`].
fn jsonl_rows() -> Vec<u8> {
    let row = |n| format!("{{\"id\": {n}, \"status\": \"open{n}\", \"amount\": {n}.00, \"day\": \"2024-01-01\"}}\n");
    (1..=10_000).map(row).collect::<String>().into_bytes()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum of the content at its end.
fn zstd(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn corrupt_gzip() -> Vec<u8> {
    let mut bytes = gzip(&csv_rows());
    let (middle, checksum) = (bytes.len() / 2, bytes.len() - 8);
    flip(&mut bytes[middle..=middle]);
    if GzDecoder::new(bytes.as_slice()).read_to_end(&mut Vec::new()).is_ok() {
        flip(&mut bytes[checksum..=checksum]);
    }
    bytes
}

fn without_last_third(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - bytes.len() / 3);
    bytes
}

fn flip(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte ^= 0xff);
}

/// The Parquet generators; `None` for another name.
fn parquet_file(name: &str) -> Option<Vec<u8>> {
    let bytes = match name {
        "parquet_good" => written(rows(3), None),
        "truncated_parquet" => {
            let bytes = written(rows(3), None);
            bytes[..bytes.len() - 16].to_vec()
        }
        "corrupt_parquet_page" => {
            let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
            let mut bytes = written(rows(10_000), Some(properties));
            flip(&mut bytes[100..164]);
            bytes
        }
        "corrupt_parquet_footer" => {
            let mut bytes = written(rows(3), None);
            let end = bytes.len() - 8;
            let length = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap()) as usize;
            flip(&mut bytes[end - length..end]);
            bytes
        }
        "parquet_column_misnamed" => {
            let mut columns = rows(3);
            columns[2].0 = "amuont";
            written(columns, None)
        }
        "parquet_column_twice" => with_more("status", StringArray::from(vec!["open"; 3])),
        "parquet_boolean_day" => with("day", BooleanArray::from(vec![true; 3])),
        "parquet_text_day" => with("day", StringArray::from(vec!["2024-01-01", "2024-01-02", "2024-02-30"])),
        "parquet_null_key" => with("id", Int64Array::from(vec![Some(1), Some(2), None])),
        "parquet_null_key_in_row_20001" => {
            let ids: Int64Array = (1..=30_000_i64).map(|n| (n != 20_001).then_some(n)).collect();
            let properties = WriterProperties::builder().set_max_row_group_row_count(Some(10_000)).build();
            written(replaced(rows(30_000), "id", ids), Some(properties))
        }
        "parquet_float_id" => with("id", Float64Array::from(vec![1.0, 1.5, 3.0])),
        "parquet_uint64_id" => with("id", UInt64Array::from(vec![1, u64::MAX, 3])),
        "parquet_decimal_scale_3" => with("amount", decimals([1000, 1234, 3000], 3)),
        "parquet_float_amount" => with("amount", Float64Array::from(vec![1.5, 0.1 + 0.2, 3.0])),
        "parquet_timestamp_day" => with("day", TimestampMicrosecondArray::from(vec![MIDNIGHT, MIDNIGHT + 10 * MICROS_OF_HOUR, MIDNIGHT])),
        "parquet_nanoseconds" => {
            let midnight = MIDNIGHT * 1000;
            let times = TimestampNanosecondArray::from(vec![midnight, midnight + 1, midnight]).with_timezone("UTC");
            written(vec![("id", Arc::new(Int64Array::from(vec![1, 2, 3]))), ("v", Arc::new(times))], None)
        }
        "parquet_int96_nanoseconds" => int96_nanoseconds(),
        "parquet_binary_status" => with("status", BinaryArray::from(vec![&b"\xff\xfe"[..]; 3])),
        "parquet_struct_amount" => {
            let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
            with("amount", StructArray::from(vec![(Arc::new(Field::new("value", DataType::Int64, true)), values)]))
        }
        "parquet_extra_column" => with_more("note", StringArray::from(vec!["x"; 3])),
        "parquet_no_rows" => written(rows(0), None),
        "parquet_duplicate_key" => {
            let columns = replaced(rows(3), "id", Int64Array::from(vec![1, 2, 1]));
            written(replaced(columns, "status", StringArray::from(vec!["open", "open", "paid"])), None)
        }
        _ => return None,
    };
    Some(bytes)
}

type Columns = Vec<(&'static str, ArrayRef)>;

/// Good rows: `n`, open, `n`.00, 2024-01-01.
fn rows(count: usize) -> Columns {
    let ids = 1..=i64::try_from(count).unwrap();
    vec![
        ("id", Arc::new(Int64Array::from_iter_values(ids.clone()))),
        ("status", Arc::new(StringArray::from(vec!["open"; count]))),
        ("amount", Arc::new(decimals(ids.map(|n| i128::from(n) * 100), 2))),
        ("day", Arc::new(Date32Array::from(vec![DAY; count]))),
    ]
}

fn decimals(unscaled: impl IntoIterator<Item = i128>, scale: i8) -> Decimal128Array {
    Decimal128Array::from_iter_values(unscaled).with_precision_and_scale(18, scale).unwrap()
}

fn replaced(mut columns: Columns, name: &str, array: impl Array + 'static) -> Columns {
    let column = columns.iter_mut().find(|(known, _)| *known == name).unwrap();
    column.1 = Arc::new(array);
    columns
}

/// The good file of three rows with another column of this name.
fn with(name: &str, array: impl Array + 'static) -> Vec<u8> {
    written(replaced(rows(3), name, array), None)
}

/// The good file of three rows with a further column at its end.
fn with_more(name: &'static str, array: impl Array + 'static) -> Vec<u8> {
    let mut columns = rows(3);
    columns.push((name, Arc::new(array)));
    written(columns, None)
}

fn written(columns: Columns, properties: Option<WriterProperties>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), properties).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Arrow's writer knows no INT96: nanoseconds of the day and the Julian day.
fn int96_nanoseconds() -> Vec<u8> {
    const JULIAN_1970: u32 = 2_440_588;
    let times: Vec<Int96> = [0, 1, 0].into_iter().map(|nanos| Int96::from(vec![nanos, 0, JULIAN_1970 + DAY as u32])).collect();
    let schema = Arc::new(parse_message_type("message m { required int64 id; required int96 v; }").unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::new())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[1, 2, 3], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int96Type>().write_batch(&times, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}
