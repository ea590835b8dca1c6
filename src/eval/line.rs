//! A line of the result: a row, or why there is none.

use highwater_sql::json::{Json, push_string};
use highwater_sql::{Output, RowError};

use crate::sink::ResultRow;

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    record: String,
    text: String,
}

impl Line {
    /// A line of a file; the error says what it lacks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let json = Json::parse(text).map_err(|error| format!("not JSON: {error}"))?;
        match json.get("record") {
            Some(number @ Json::Number(_)) => Ok(Self { record: printed(number), text: text.to_owned() }),
            _ => Err("there is no record number; write a line as eval prints it".to_owned()),
        }
    }

    /// A result row: `op` is `-` for what a change takes away and `+` for what it adds.
    pub fn of_row(record: usize, op: char, outputs: &[Output], row: &ResultRow) -> Result<Self, RowError> {
        let mut text = format!("{{\"record\": {record}, \"op\": \"{op}\", \"row\": {{");
        for (n, (output, value)) in outputs.iter().zip(row).enumerate() {
            text.push_str(if n > 0 { ", " } else { "" });
            push_string(&mut text, &output.name);
            text.push_str(": ");
            value.write_json(&output.ty, &mut text).map_err(|error| error.in_column(&output.name))?;
        }
        text.push_str("}}");
        Ok(Self { record: record.to_string(), text })
    }

    /// A dead letter.
    pub fn of_error(record: usize, error: &RowError) -> Self {
        let mut text = format!("{{\"record\": {record}, \"error\": {{\"sqlstate\": \"{}\", \"message\": ", error.sqlstate);
        push_string(&mut text, &error.message);
        if let Some(column) = &error.column {
            text.push_str(", \"column\": ");
            push_string(&mut text, column);
        }
        text.push_str("}}");
        Self { record: record.to_string(), text }
    }

    /// As it is printed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The record's number.
    pub fn record(&self) -> &str {
        &self.record
    }

    /// Whether both say the same. Spaces and the order of keys do not count, the digits of numbers do. An expected error need not name
    /// its column.
    pub fn is_met_by(&self, actual: &Line) -> bool {
        match (Json::parse(&self.text), Json::parse(&actual.text)) {
            (Ok(ours), Ok(theirs)) => printed(&ours) == printed(&theirs) || printed(&ours) == printed(&without_column(theirs)),
            _ => self.text == actual.text,
        }
    }

    /// Where the members of two rows (or errors) differ: name, expected, actual.
    pub fn differences(&self, actual: &Line) -> Vec<(String, String, String)> {
        let parts = |line: &Line| match Json::parse(&line.text) {
            Ok(json) => match (json.get("row"), json.get("error")) {
                (Some(Json::Object(parts)), None) | (None, Some(Json::Object(parts))) => parts.clone(),
                _ => Vec::new(),
            },
            Err(_) => Vec::new(),
        };
        let (ours, theirs) = (parts(self), parts(actual));
        let shown = |parts: &[(String, Json)], name: &str| {
            parts.iter().find(|(part, _)| part == name).map_or_else(|| "nothing".to_owned(), |(_, value)| printed(value))
        };
        let mut names: Vec<&String> = ours.iter().chain(&theirs).map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        let pairs = names.into_iter().map(|name| (name.clone(), shown(&ours, name), shown(&theirs, name)));
        pairs.filter(|(_, ours, theirs)| ours != theirs).collect()
    }
}

/// The same line, its error without the column.
fn without_column(line: Json) -> Json {
    let Json::Object(members) = line else { return line };
    let without = |(name, value): (String, Json)| match value {
        Json::Object(parts) if name == "error" => (name, Json::object(parts.into_iter().filter(|(part, _)| part != "column").collect())),
        value => (name, value),
    };
    Json::object(members.into_iter().map(without).collect())
}

fn printed(json: &Json) -> String {
    let mut text = String::new();
    json.write(&mut text);
    text
}
