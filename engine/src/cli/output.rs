//! What commands print: bytes, small tables, JSON.
//!
//! A table that goes to a terminal is made to fit it: the widest cells lose their ends. A pipe gets everything.

use std::io::{self, IsTerminal as _, Write};

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{Failure, Outcome};

/// A cell is never cut below this.
const CELL_MIN: usize = 6;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(super) struct OutputArguments {
    /// How the answer is written.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    format: Format,
    /// The same as --format json.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people: tables.
    Text,
    /// For programs: one JSON value.
    Json,
}

impl OutputArguments {
    pub(super) fn is_json(self) -> bool {
        self.json || self.format == Format::Json
    }

    /// Rows under a head; as JSON a list of objects whose names are the head's, in lower case with underscores.
    /// Cells that are numbers become numbers, and `-` becomes null.
    pub(super) fn rows(self, head: &[&str], rows: &[Vec<String>]) -> Outcome<()> {
        if self.is_json() {
            return json(&objects(head, rows));
        }
        write(table(head, rows).as_bytes())
    }
}

/// What a cell says of which nothing is known.
pub(super) const NOTHING: &str = "-";

/// Rows as a list of objects.
pub(super) fn objects(head: &[&str], rows: &[Vec<String>]) -> Value {
    let name = |cell: &str| {
        let plain = cell.trim_start_matches('#').to_lowercase();
        plain.replace(['-', ' '], "_")
    };
    let value = |cell: &String| match cell.parse::<i64>() {
        Ok(number) if number.to_string() == *cell => Value::from(number),
        _ if cell == NOTHING => Value::Null,
        _ => Value::from(cell.as_str()),
    };
    let object = |row: &Vec<String>| {
        let fields = head.iter().zip(row);
        Value::Object(
            fields
                .map(|(head, cell)| (name(head), value(cell)))
                .collect(),
        )
    };
    Value::Array(rows.iter().map(object).collect())
}

/// Writes to the standard output, at once.
pub(super) fn write(bytes: &[u8]) -> Outcome<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Said(format!("the output cannot be written: {error}")),
        })
}

/// Writes a JSON value, indented, with a newline.
pub(super) fn json(value: &Value) -> Outcome<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(Failure::new)?;
    text.push('\n');
    write(text.as_bytes())
}

/// Rows under a head, in columns as wide as they need to be, or as the terminal lets them; the last one is not padded.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = match io::stdout().is_terminal() {
        true => terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)),
        false => None,
    };
    fitted(head, rows, width)
}

fn fitted(head: &[&str], rows: &[Vec<String>], width: Option<usize>) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if let Some(width) = width {
        shrink(&mut widths, width);
    }
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let cell = cut(cell, *width);
            text.push_str(&cell);
            if index + 1 < row.len() {
                let padding = width - cell.chars().count() + 2;
                text.extend(std::iter::repeat_n(' ', padding));
            }
        }
        text.push('\n');
    }
    text
}

/// Takes from the widest column until all fit.
fn shrink(widths: &mut [usize], width: usize) {
    let gaps = widths.len().saturating_sub(1) * 2;
    while widths.iter().sum::<usize>() + gaps > width {
        match widths.iter_mut().max() {
            Some(widest) if *widest > CELL_MIN => *widest -= 1,
            _ => return,
        }
    }
}

fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    let mut kept: String = cell.chars().take(width.saturating_sub(1)).collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [Vec<String>; 2] {
        [
            vec!["a".to_owned(), "OK".to_owned()],
            vec!["longer".to_owned(), "no".to_owned()],
        ]
    }

    #[test]
    fn columns_stand_under_each_other() {
        assert_eq!(
            fitted(&["TOPIC", "STATUS"], &rows(), None),
            "TOPIC   STATUS\na       OK\nlonger  no\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_column_first() {
        let rows = [vec!["a-very-long-consumer-id".to_owned(), "7".to_owned()]];
        let text = fitted(&["ID", "LAG"], &rows, Some(20));
        assert_eq!(text, "ID               LAG\na-very-long-co…  7\n");
        // Nothing is cut where nothing can be gained.
        assert_eq!(
            fitted(&["ID", "LAG"], &rows, Some(1)).lines().next(),
            Some("ID      LAG")
        );
    }

    #[test]
    fn json_has_numbers_and_nulls_and_plain_names() {
        let rows = [vec!["007".to_owned(), "42".to_owned(), "-".to_owned()]];
        assert_eq!(
            objects(&["CLIENT-ID", "#PARTITIONS", "HOST"], &rows),
            serde_json::json!([{"client_id": "007", "partitions": 42, "host": null}])
        );
    }
}
