//! What a person sees while a run goes on: a line a second when piped, a small screen on a terminal.

use std::io::{IsTerminal, Write};

use serde_json::json;

use crate::clock::MILLISECOND;
use crate::figures::Figures;
use crate::plan::Phase;
use crate::run::Observer;
use crate::table::number;

/// Writes to standard error, so that standard output holds the result alone.
pub(crate) struct Progress {
    quiet: bool,
    /// Lines of the screen that the next one replaces; 0 when there is none.
    drawn: usize,
    terminal: bool,
    phase: String,
    duration: u64,
    /// Rates of the last seconds, for the small chart.
    history: Vec<f64>,
}

const HISTORY_MAX: usize = 60;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Progress {
    /// Shows nothing if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            drawn: 0,
            terminal: std::io::stderr().is_terminal(),
            phase: String::new(),
            duration: 0,
            history: Vec::new(),
        }
    }

    fn line(second: u64, name: &str, figures: &Figures) -> String {
        let counts = &figures.counts;
        let records = counts.acked + counts.read;
        let megabytes = (counts.value_bytes + counts.read_bytes) as f64 / 1e6;
        let latency = match figures.end_to_end.is_empty() {
            true => &figures.latency,
            false => &figures.end_to_end,
        };
        let ms = |quantile| {
            let value = latency.value_at_quantile(quantile) as f64 / MILLISECOND as f64;
            number(&json!(value), 2)
        };
        format!(
            "{second:>5} s  {name:<10} {:>11}/s {:>9} MB/s  p50 {:>8} p99 {:>8} ms  backlog {:>7}  errors {}",
            number(&json!(records as f64), 0),
            number(&json!(megabytes), 1),
            ms(0.5),
            ms(0.99),
            counts.backlog,
            counts.failed + counts.corrupt + counts.lost,
        )
    }

    fn screen(&mut self, second: u64, workloads: &[(String, Figures)]) -> String {
        let records: u64 = workloads
            .iter()
            .map(|(_, figures)| figures.counts.acked + figures.counts.read)
            .sum();
        self.history.push(records as f64);
        if self.history.len() > HISTORY_MAX {
            self.history.remove(0);
        }
        let most = self.history.iter().copied().fold(1.0, f64::max);
        let chart: String = self
            .history
            .iter()
            .map(|rate| BARS[((rate / most * 7.0).round() as usize).min(7)])
            .collect();
        let done = ((second + 1) as f64 / self.duration as f64).min(1.0);
        let filled = (done * 30.0) as usize;
        let mut lines = vec![format!(
            "{}  [{}{}] {} of {} s",
            self.phase,
            "━".repeat(filled),
            " ".repeat(30 - filled),
            second + 1,
            self.duration
        )];
        for (name, figures) in workloads {
            lines.push(Self::line(second, name, figures));
        }
        lines.push(chart);
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in &lines {
            text.push_str("\x1b[2K");
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = lines.len();
        text
    }
}

impl Observer for Progress {
    fn phase(&mut self, phase: &Phase) {
        self.phase.clone_from(&phase.name);
        self.duration = phase.duration;
        self.history.clear();
        self.drawn = 0;
        if !self.quiet && !self.terminal {
            eprintln!("phase {} ({} s)", phase.name, phase.duration);
        }
    }

    fn second(&mut self, second: u64, workloads: &[(String, Figures)]) {
        if self.quiet {
            return;
        }
        let text = if self.terminal {
            self.screen(second, workloads)
        } else {
            let lines = workloads
                .iter()
                .map(|(name, figures)| Self::line(second, name, figures));
            lines.collect::<Vec<_>>().join("\n") + "\n"
        };
        // Nobody may be looking any more.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
