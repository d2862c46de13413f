//! Tables for people: no lines between the cells, as wide as the terminal.

use comfy_table::{ContentArrangement, Table, presets};

/// A table without rows.
pub fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// Its lines, without blanks at their ends.
pub fn text_of(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
