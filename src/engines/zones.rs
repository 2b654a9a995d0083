//! Dates in time zones, for databases that know none, or not surely.

use qetl_core::{Plan, ir::time_zones};
use qetl_runtime::zones::Zone;
use qetl_sql::dialects::{LAST_YEAR, ZONES};

use crate::{
    cell::Cell,
    database::{Connection, Database, Failure},
    records::int,
    tables::quoted,
};

/// The date that an instant has in a time zone, as days since 1970.
///
/// # Errors
/// There is no such time zone.
#[cfg_attr(not(any(feature = "duckdb", feature = "sqlite")), expect(dead_code, reason = "only these call it"))]
pub(crate) fn date_in(micros: i64, zone: &str) -> Result<i32, String> {
    Ok(Zone::of(zone)?.date(micros))
}

/// Sees to it that the zones of a plan are in the table of zones.
pub(crate) fn make_table(database: &dyn Database, connection: &mut dyn Connection, plan: &Plan) -> Result<(), Failure> {
    let wanted = time_zones(plan);
    if wanted.is_empty() {
        return Ok(());
    }
    let table = quoted(database, ZONES);
    let key = database.key_type().map_err(|what| Failure::Other(what.to_string()))?;
    let columns = format!("zone {key}, since BIGINT, seconds BIGINT, PRIMARY KEY (zone, since)");
    connection.run(&format!("CREATE TABLE IF NOT EXISTS {table} ({columns})"), &[])?;
    for name in wanted {
        let changes = Zone::of(name).map_err(Failure::Other)?.changes(LAST_YEAR);
        let known = connection.rows(&format!("SELECT since, seconds FROM {table} WHERE zone = ? ORDER BY since"), &[name.into()])?;
        if known.iter().map(|row| (int(&row[0]), int(&row[1]))).eq(changes.iter().copied()) {
            continue;
        }
        let places = vec!["(?, ?, ?)"; changes.len()].join(", ");
        let values: Vec<Cell<'_>> =
            changes.into_iter().flat_map(|(since, seconds)| [name.into(), Cell::Int(since), Cell::Int(seconds)]).collect();
        // The rules of another version of this program go. Another process may do the same.
        connection.run(database.begin(), &[])?;
        connection.run(&format!("DELETE FROM {table} WHERE zone = ?"), &[name.into()])?;
        connection.run(&format!("INSERT INTO {table} VALUES {places} ON DUPLICATE KEY UPDATE seconds = VALUES(seconds)"), &values)?;
        connection.run("COMMIT", &[])?;
    }
    Ok(())
}
