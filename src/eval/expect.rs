//! What came out beside what should have.

use std::fmt::Write as _;
use std::path::Path;

use super::Error;
use super::line::Line;
use super::lines::Lines;

/// Reads the expected lines.
pub fn read(path: &Path) -> Result<Vec<Line>, Error> {
    let mut lines = Lines::open(path)?;
    let mut expected = Vec::new();
    while let Some((line, text)) = lines.next()? {
        let wrong = |message: String| Error::Wrong { path: path.to_owned(), line, message };
        expected.push(Line::parse(&text).map_err(wrong)?);
    }
    Ok(expected)
}

/// How they differ.
pub struct Comparison {
    /// Record, what was expected, what came: those that differ.
    pairs: Vec<(String, Option<Line>, Option<Line>)>,
    lines: usize,
}

/// Compares the lines of each record with each other, in order.
pub fn compare(expected: &[Line], actual: &[Line]) -> Comparison {
    let mut pairs = Vec::new();
    let (mut rest, mut coming) = (expected, actual);
    while let Some(record) = next_record(rest, coming) {
        let ours = of_record(&mut rest, &record);
        let theirs = of_record(&mut coming, &record);
        for n in 0..ours.len().max(theirs.len()) {
            let pair = (ours.get(n), theirs.get(n));
            if !matches!(pair, (Some(expected), Some(actual)) if expected.is_met_by(actual)) {
                pairs.push((record.clone(), pair.0.cloned(), pair.1.cloned()));
            }
        }
    }
    Comparison { pairs, lines: actual.len() }
}

/// The lower number of the two that are next.
fn next_record(expected: &[Line], actual: &[Line]) -> Option<String> {
    let number = |lines: &[Line]| lines.first().map(|line| line.record().to_owned());
    let by_size = |record: &String| (record.len(), record.clone());
    [number(expected), number(actual)].into_iter().flatten().min_by_key(by_size)
}

/// Takes the leading lines of that record.
fn of_record<'a>(lines: &mut &'a [Line], record: &str) -> &'a [Line] {
    let count = lines.iter().take_while(|line| line.record() == record).count();
    let (these, rest) = lines.split_at(count);
    *lines = rest;
    these
}

impl Comparison {
    /// Nothing differs.
    pub fn is_equal(&self) -> bool {
        self.pairs.is_empty()
    }

    /// For people. `colour`: for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let painted = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
        let mut out = String::new();
        let mut last = None;
        for (record, expected, actual) in &self.pairs {
            if last != Some(record) {
                let _ = writeln!(out, "record {record}");
                last = Some(record);
            }
            let text = |line: &Option<Line>| line.as_ref().map_or_else(|| "nothing".to_owned(), |line| line.text().to_owned());
            let _ = writeln!(out, "  expected  {}", painted("31", &text(expected)));
            let _ = writeln!(out, "  got       {}", painted("32", &text(actual)));
            if let (Some(expected), Some(actual)) = (expected, actual) {
                for (name, expected, actual) in expected.differences(actual) {
                    let _ = writeln!(out, "            {name}: expected {}, got {}", painted("31", &expected), painted("32", &actual));
                }
            }
        }
        let _ = match self.pairs.len() {
            0 => writeln!(out, "{} lines as expected", self.lines),
            1 => writeln!(out, "1 line differs"),
            n => writeln!(out, "{n} lines differ"),
        };
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        text.lines().map(|line| Line::parse(line).unwrap()).collect()
    }

    const ACTUAL: &str = r#"{"record": 1, "op": "+", "row": {"id": 1, "amount": 1.50}}
{"record": 2, "op": "-", "row": {"id": 1, "amount": 1.50}}
{"record": 2, "error": {"sqlstate": "22012", "message": "division by zero", "column": "amount"}}
{"record": 10, "op": "+", "row": {"id": 3, "amount": null}}"#;

    #[test]
    fn spaces_order_of_keys_and_the_column_of_an_error_do_not_count() {
        let expected = r#"{"record":1,"row":{"amount":1.50,"id":1},"op":"+"}
{"record":2,"op":"-","row":{"id":1,"amount":1.50}}
{"record":2,"error":{"message":"division by zero","sqlstate":"22012"}}
{"record":10,"op":"+","row":{"id":3,"amount":null}}"#;
        let comparison = compare(&lines(expected), &lines(ACTUAL));
        assert!(comparison.is_equal());
        assert_eq!(comparison.render(true), "4 lines as expected\n");
    }

    #[test]
    fn digits_missing_lines_and_other_rows_count() {
        let expected = r#"{"record": 1, "op": "+", "row": {"id": 1, "amount": 1.5}}
{"record": 2, "op": "-", "row": {"id": 1, "amount": 1.50}}
{"record": 9, "op": "+", "row": {"id": 2}}
{"record": 10, "op": "+", "row": {"id": 3, "amount": null}}"#;
        let comparison = compare(&lines(expected), &lines(ACTUAL));
        assert!(!comparison.is_equal());
        let shown = r#"record 1
  expected  {"record": 1, "op": "+", "row": {"id": 1, "amount": 1.5}}
  got       {"record": 1, "op": "+", "row": {"id": 1, "amount": 1.50}}
            amount: expected 1.5, got 1.50
record 2
  expected  nothing
  got       {"record": 2, "error": {"sqlstate": "22012", "message": "division by zero", "column": "amount"}}
record 9
  expected  {"record": 9, "op": "+", "row": {"id": 2}}
  got       nothing
3 lines differ
"#;
        assert_eq!(comparison.render(false), shown);
        assert!(comparison.render(true).contains("amount: expected \x1b[31m1.5\x1b[0m"));
    }
}
