//! `qetl query` and `qetl show`.

mod out;

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use futures::StreamExt;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use qetl_core::suggest;
use qetl_runtime::{RunError, engine::Rows};

use crate::{
    args::{RowArgs, RowFormat},
    library::Project,
    output::{Output, cells::Cells},
    time::parse_at,
};

/// The most rows that a table on the screen has.
const TABLE_ROWS: usize = 1000;

pub(crate) async fn run(project: &Project, sql: &str, args: &RowArgs, output: &Output) -> Result<i32, RunError> {
    let at = args.at.as_deref().map(parse_at).transpose()?;
    let rows = project.engine.query(sql, at).await?;
    write(rows, args, output).await
}

pub(crate) async fn show(
    project: &Project,
    dataset: &str,
    batch: Option<i64>,
    limit: u64,
    args: &RowArgs,
    output: &Output,
) -> Result<i32, RunError> {
    let known = project.engine.datasets().await?;
    let Some(found) = known.iter().find(|known| known.name.to_string().eq_ignore_ascii_case(dataset)) else {
        let names: Vec<String> = known.iter().map(|known| known.name.to_string()).collect();
        let help = suggest::help(dataset, names.iter().map(String::as_str));
        return Err(RunError::usage(format!("there is no dataset `{dataset}`"), help));
    };
    let only = batch.map_or_else(String::new, |id| format!(" WHERE xt_batch_id = {id}"));
    let sql = format!("SELECT * FROM {}{only} LIMIT {limit}", project.engine.table(&found.name));
    run(project, &sql, args, output).await
}

async fn write(rows: Rows, args: &RowArgs, output: &Output) -> Result<i32, RunError> {
    match &args.out {
        Some(path) => {
            let format = out::format(path, args.format)?;
            let file = out::Out::create(path);
            match format {
                RowFormat::Parquet => parquet(rows, file.file()?).await?,
                RowFormat::Csv | RowFormat::Json | RowFormat::Table => text(rows, format, &mut BufWriter::new(file.file()?)).await?,
            }
            file.done()?;
        }
        None => match args.format.unwrap_or(RowFormat::Table) {
            RowFormat::Table => table(rows, output).await?,
            RowFormat::Parquet => return Err(RunError::usage("Parquet is not text", "name a file with `--out FILE`")),
            format @ (RowFormat::Csv | RowFormat::Json) => text(rows, format, &mut BufWriter::new(std::io::stdout().lock())).await?,
        },
    }
    Ok(0)
}

async fn table(mut rows: Rows, output: &Output) -> Result<(), RunError> {
    let names: Vec<String> = rows.schema.fields().iter().map(|field| field.name().clone()).collect();
    let (mut lines, mut more) = (Vec::new(), false);
    while let Some(batch) = rows.stream.next().await {
        let batch = batch?;
        let cells = Cells::new(&batch)?;
        for row in 0..batch.num_rows() {
            if lines.len() == TABLE_ROWS {
                more = true;
                break;
            }
            lines.push((0..names.len()).map(|column| cells.shown(column, row)).collect());
        }
    }
    output.table(&names.iter().map(String::as_str).collect::<Vec<_>>(), &lines);
    if more {
        output.note(&format!("the first {TABLE_ROWS} rows; `--format csv` gives all"));
    }
    Ok(())
}

/// Writes rows as they come. A reader that has seen enough ends it without an error.
async fn text(mut rows: Rows, format: RowFormat, to: &mut dyn Write) -> Result<(), RunError> {
    let mut line = String::new();
    let names: Vec<&str> = rows.schema.fields().iter().map(|field| field.name().as_str()).collect();
    if format == RowFormat::Csv {
        let header: Vec<String> = names.iter().map(|name| crate::output::cells::csv_text(name)).collect();
        line = header.join(",") + "\n";
    }
    let mut put = |line: &str| match to.write_all(line.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(RunError::failed(format!("the output cannot be written: {error}"))),
    };
    if !put(&line)? {
        return Ok(());
    }
    let keys: Vec<String> = names.iter().map(|name| serde_json::Value::from(*name).to_string()).collect();
    while let Some(batch) = rows.stream.next().await {
        let batch = batch?;
        let cells = Cells::new(&batch)?;
        for row in 0..batch.num_rows() {
            line.clear();
            match format {
                RowFormat::Json => {
                    line.push('{');
                    for (column, key) in keys.iter().enumerate() {
                        line.push_str(if column == 0 { "" } else { "," });
                        line.push_str(key);
                        line.push(':');
                        cells.json(column, row, &mut line);
                    }
                    line.push_str("}\n");
                }
                RowFormat::Csv | RowFormat::Table | RowFormat::Parquet => {
                    for column in 0..keys.len() {
                        line.push_str(if column == 0 { "" } else { "," });
                        cells.csv(column, row, &mut line);
                    }
                    line.push('\n');
                }
            }
            if !put(&line)? {
                return Ok(());
            }
        }
    }
    to.flush().or_else(|error| if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(RunError::failed(error)) })
}

async fn parquet(mut rows: Rows, file: File) -> Result<(), RunError> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(file, rows.schema.clone(), Some(properties)).map_err(RunError::failed)?;
    while let Some(batch) = rows.stream.next().await {
        writer.write(&batch?).map_err(RunError::failed)?;
    }
    writer.close().map(|_| ()).map_err(RunError::failed)
}
