//! The runs of flows, and the numbers of those who hold their locks.

use qetl_runtime::{
    Fence, RunError,
    records::{ENDED_EARLY, KILLED, RUNNING, RunRecord},
};

use crate::{
    cell::Cell,
    database::{Connection, Database, Failure},
    held::{bring_in, drop_notes},
    records::{int, sql, text},
};

/// What a flow's lock finds: the number of the last holder, and whether a run of the flow has not ended, which is dead.
pub(crate) fn last_fence(database: &dyn Database, connection: &mut dyn Connection, flow: &str) -> Result<(i64, bool), Failure> {
    let rows = connection.rows(&sql(database, "SELECT [fence] FROM {fences} WHERE [flow] = ?"), &[flow.into()])?;
    let of_dead = sql(database, "SELECT COUNT(*) FROM {runs} WHERE [flow] = ? AND [status] = ?");
    let dead = connection.rows(&of_dead, &[flow.into(), RUNNING.into()])?;
    Ok((rows.first().map_or(0, |row| int(&row[0])), dead.first().is_some_and(|row| int(&row[0]) > 0)))
}

/// Ends the flow's dead runs; what they may still do is refused from now on. The new number.
pub(crate) fn end_dead(database: &dyn Database, connection: &mut dyn Connection, flow: &str, held: &Fence) -> Result<i64, Failure> {
    connection.run(database.begin(), &[])?;
    let number = next_fence(database, connection, flow, held)?;
    let text = sql(database, "UPDATE {runs} SET [status] = ?, [message] = ? WHERE [flow] = ? AND [status] = ?");
    connection.run(&text, &[KILLED.into(), ENDED_EARLY.into(), flow.into(), RUNNING.into()])?;
    connection.run("COMMIT", &[])?;
    Ok(number)
}

/// Records a run of the lock's holder as running; the holder's number.
pub(crate) fn begin_run(database: &dyn Database, connection: &mut dyn Connection, held: &Fence, run: &RunRecord) -> Result<i64, Failure> {
    connection.run(database.begin(), &[])?;
    let number = next_fence(database, connection, &run.flow, held)?;
    let noted = bring_in(database, connection)?;
    replace_run(database, connection, run)?;
    connection.run("COMMIT", &[])?;
    if let Some(store) = database.store() {
        drop_notes(store, &noted);
    }
    Ok(number)
}

/// The holder's own number: the next one, unless it has one already.
fn next_fence(database: &dyn Database, connection: &mut dyn Connection, flow: &str, held: &Fence) -> Result<i64, Failure> {
    let number = held.number() + i64::from(!held.is_own());
    if held.number() == 0 {
        let text = sql(database, "INSERT INTO {fences} ([flow], [fence], [publishes]) VALUES (?, ?, 0)");
        connection.run(&text, &[flow.into(), number.into()])?;
        return Ok(number);
    }
    let text = sql(database, "UPDATE {fences} SET [fence] = ?, [publishes] = [publishes] + 1 WHERE [flow] = ? AND [fence] = ?");
    match connection.run(&text, &[number.into(), flow.into(), held.number().into()])? {
        1 => Ok(number),
        _ => Err(RunError::Locked { flow: flow.to_owned() }.into()),
    }
}

/// Whether the number is still the flow's. The row stays locked until the transaction ends, where the database locks rows.
pub(crate) fn keeps_fence(database: &dyn Database, connection: &mut dyn Connection, flow: &str, fence: i64) -> Result<bool, Failure> {
    let text = sql(database, "UPDATE {fences} SET [publishes] = [publishes] + 1 WHERE [flow] = ? AND [fence] = ?");
    Ok(connection.run(&text, &[Cell::from(flow), Cell::Int(fence)])? == 1)
}

/// Waits until no transaction publishes the flow any more: each has written the flow's row.
pub(crate) fn wait_for_publishes(database: &dyn Database, connection: &mut dyn Connection, flow: &str) -> Result<(), Failure> {
    connection.run(&sql(database, "UPDATE {fences} SET [publishes] = [publishes] + 1 WHERE [flow] = ?"), &[Cell::from(flow)])?;
    Ok(())
}

/// Records a run, in the place of itself as it was running.
pub(crate) fn replace_run(database: &dyn Database, connection: &mut dyn Connection, run: &RunRecord) -> Result<(), Failure> {
    // Another run may have taken it for dead meanwhile.
    let text = "DELETE FROM {runs} WHERE [run_id] = ? AND [flow] = ? AND COALESCE([batch_id], 0) = ? AND [status] IN (?, ?)";
    let own = [run.run_id.as_str().into(), run.flow.as_str().into(), run.batch_id.unwrap_or(0).into(), RUNNING.into(), KILLED.into()];
    connection.run(&sql(database, text), &own)?;
    let values = [
        run.run_id.as_str().into(),
        run.flow.as_str().into(),
        Cell::option(run.batch_id),
        run.status.as_str().into(),
        run.started_at.into(),
        run.seconds.into(),
        run.rows.into(),
        // No database of all holds a NUL in a text, and a message may repeat what a file has.
        run.message.replace('\0', "\u{fffd}").into(),
    ];
    let text = "INSERT INTO {runs} ([run_id], [flow], [batch_id], [status], [started_at], [seconds], [row_count], [message])
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    connection.run(&sql(database, text), &values)?;
    Ok(())
}

/// Newest first.
pub(crate) fn runs(database: &dyn Database, connection: &mut dyn Connection, flow: Option<&str>) -> Result<Vec<RunRecord>, Failure> {
    let select = "SELECT [run_id], [flow], [batch_id], [status], [started_at], [seconds], [row_count], [message] FROM {runs}";
    let order = "ORDER BY [started_at] DESC, [run_id] DESC, [batch_id] DESC";
    let rows = match flow {
        Some(flow) => connection.rows(&sql(database, &format!("{select} WHERE [flow] = ? {order}")), &[flow.into()])?,
        None => connection.rows(&sql(database, &format!("{select} {order}")), &[])?,
    };
    let run = |row: &Vec<Cell<'static>>| RunRecord {
        run_id: text(&row[0]),
        flow: text(&row[1]),
        batch_id: (row[2] != Cell::Null).then(|| int(&row[2])),
        status: text(&row[3]),
        started_at: int(&row[4]),
        seconds: if let Cell::Float(seconds) = row[5] { seconds } else { 0.0 },
        rows: int(&row[6]),
        message: text(&row[7]),
    };
    Ok(rows.iter().map(run).collect())
}
