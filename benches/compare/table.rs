//! What was found, as a Markdown table.

use std::time::Duration;

/// The middle of some values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

/// Milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Bytes as megabytes.
pub fn mb(bytes: f64) -> f64 {
    bytes / 1e6
}

/// The rows so far; each is printed to stderr when it is known.
pub struct Table {
    rows: String,
    /// Whether the numbers are good enough to be held against goals.
    judge: bool,
}

impl Table {
    /// No rows yet.
    pub fn new(judge: bool) -> Self {
        Self { rows: String::new(), judge }
    }

    /// Adds a row. `reached` says nothing where there is no goal.
    pub fn row(&mut self, what: &str, measured: &str, goal: &str, reached: Option<bool>) {
        let reached = match reached.filter(|_| self.judge) {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let row = format!("| {what} | {measured} | {goal} | {reached} |\n");
        eprint!("{row}");
        self.rows.push_str(&row);
    }

    /// Prints all.
    pub fn print(&self) {
        print!("| what | measured | goal | reached |\n|---|---|---|---|\n{}", self.rows);
    }
}
