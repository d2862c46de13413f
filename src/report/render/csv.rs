//! A report as one CSV table: a row for each day, target, user and so on; the
//! column `table` says which, under the names that JSON has.

use std::io::{self, Write};

use serde_json::{Map, Value};

use crate::report::totals::Report;

/// The first columns, in this order; the others follow by name.
const FIRST: [&str; 9] = [
    "table",
    "date",
    "week",
    "month",
    "server_name",
    "virtual_proxy",
    "user",
    "session_id",
    "category",
];

type Row = Map<String, Value>;

/// Writes the table.
///
/// # Errors
/// When it cannot be written.
pub fn write_csv(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut rows = Vec::new();
    if let Value::Object(tables) = serde_json::to_value(report)? {
        for (name, table) in tables {
            add_table(&mut rows, &name, table);
        }
    }
    let columns = columns(&rows);
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(&columns).map_err(io_error)?;
    for row in &rows {
        let cells = columns.iter().map(|column| row.get(column).map_or_else(String::new, cell));
        csv.write_record(cells).map_err(io_error)?;
    }
    csv.flush()
}

/// Adds an object as a row, and a list as rows. Lists and objects inside become tables
/// of their own.
fn add_table(rows: &mut Vec<Row>, name: &str, table: Value) {
    match table {
        Value::Array(items) => items.into_iter().for_each(|item| add_table(rows, name, item)),
        Value::Object(keys) => {
            let (inner, mut row): (Row, Row) =
                keys.into_iter().partition(|(_, value)| value.is_array() || value.is_object());
            row.insert("table".to_owned(), Value::from(name));
            rows.push(row);
            for (key, value) in inner {
                add_table(rows, &format!("{name}.{key}"), value);
            }
        }
        _ => {}
    }
}

fn columns(rows: &[Row]) -> Vec<String> {
    let names: std::collections::BTreeSet<&str> =
        rows.iter().flat_map(|row| row.keys().map(String::as_str)).collect();
    let first = FIRST.into_iter().filter(|name| names.contains(name));
    let others = names.iter().copied().filter(|name| !FIRST.contains(name));
    first.chain(others).map(str::to_owned).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => harmless(text),
        value => value.to_string(),
    }
}

/// A spreadsheet takes a cell that begins like this for a formula, and a name
/// may be anything.
fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// The operating system's error, so that a closed pipe is recognised as one.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}
