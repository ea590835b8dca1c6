//! Finding one value in JSON text along a path, without building a tree (`jsonfuncs.c`, `get_worker` and `jsonb_get_element`).
//!
//! What is found is a slice of the text, as `json -> key` gives it. In `json` the last of several matches counts and every escape of
//! the document is checked, as Postgres does it; in the normal form of `jsonb` keys are unique, so the search stops at the first.

use super::parse::{self, Parser};
use crate::error::RowError;

/// One step of a path: the key it means in an object, and the index it means in an array, negative from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'p> {
    key: Option<&'p str>,
    index: Option<i64>,
}

impl<'p> Step<'p> {
    /// A key of an object: arrays have none.
    pub fn key(key: &'p str) -> Self {
        Self { key: Some(key), index: None }
    }

    /// An index of an array: objects have none.
    pub fn index(index: i64) -> Self {
        Self { key: None, index: Some(index) }
    }

    /// An element of a `text[]` path: a key, and an index when the text is an integer (`strtoint`: white space and a sign in front).
    pub fn text(text: &'p str) -> Self {
        let number = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
        let digits = number.strip_prefix(['-', '+']).unwrap_or(number);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        // The least int stands for "no index" in Postgres.
        let index = if plain { number.parse::<i32>().ok().filter(|i| *i != i32::MIN) } else { None };
        Self { key: Some(text), index: index.map(i64::from) }
    }
}

/// The value at the path in the text of a `json`. Fails with 22P05 or 22P02 when any string of the document has an escape that is
/// not a character of its own.
///
/// A negative index counts from the end of the first array of the document that is as deep and long enough, be it on the path or
/// not, as in Postgres (`get_array_start` keeps the index that it made positive). The path is used up by that.
pub fn find_json<'t>(text: &'t str, path: &mut [Step<'_>]) -> Result<Option<&'t str>, RowError> {
    Search { parser: Parser::verifying(text), text, path, first_only: false, found: None }.run()
}

/// The value at the path in the normal form of a `jsonb`.
pub fn find_jsonb<'t>(text: &'t str, path: &mut [Step<'_>]) -> Result<Option<&'t str>, RowError> {
    Search { parser: Parser::new(text), text, path, first_only: true, found: None }.run()
}

/// The value as text (`->>`): a string without its quotes and escapes, `None` for null, the JSON itself for the others.
pub fn unquoted(json: &str) -> Result<Option<String>, RowError> {
    let token = json.trim_start_matches([' ', '\t', '\n', '\r']);
    match token.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => Parser::new(token).text().map(Some),
        _ => Ok(Some(json.to_owned())),
    }
}

struct Search<'t, 's, 'p> {
    parser: Parser<'t>,
    text: &'t str,
    path: &'s mut [Step<'p>],
    first_only: bool,
    found: Option<&'t str>,
}

impl<'t> Search<'t, '_, '_> {
    fn run(mut self) -> Result<Option<&'t str>, RowError> {
        self.value(0, true)?;
        // The blanks before a document that is a scalar stay (`get_scalar` says that skipping them is not worth it).
        if self.path.is_empty() && !matches!(self.found.and_then(|found| found.bytes().next()), Some(b'[' | b'{')) {
            return Ok(Some(&self.text[..self.parser.at]));
        }
        Ok(self.found)
    }

    fn done(&self) -> bool {
        self.first_only && self.found.is_some()
    }

    /// Passes the value at the cursor, which is that many steps from the top.
    fn value(&mut self, level: usize, on_path: bool) -> Result<(), RowError> {
        let token = self.parser.next_token();
        if on_path && level == self.path.len() {
            let start = self.parser.at;
            self.parser.skip_value()?;
            self.found = Some(&self.text[start..self.parser.at]);
            return Ok(());
        }
        match token {
            _ if !on_path && !self.counts_below(level) => self.parser.skip_value(),
            Some(b'{') => self.members(level, on_path),
            Some(b'[') => self.elements(level, on_path),
            _ => self.parser.skip_value(),
        }
    }

    /// Whether arrays from here on still decide what a negative index means.
    fn counts_below(&self, level: usize) -> bool {
        !self.first_only && self.path.iter().skip(level).any(|step| step.index.is_some_and(|index| index < 0))
    }

    fn members(&mut self, level: usize, on_path: bool) -> Result<(), RowError> {
        let wanted = if on_path { self.path.get(level).and_then(|step| step.key) } else { None };
        self.parser.open()?;
        if self.parser.next_token() == Some(b'}') {
            self.parser.close();
            return Ok(());
        }
        loop {
            let matches = self.parser.key(wanted)?;
            self.value(level + 1, matches)?;
            if self.done() || self.parser.separator(b'}')? {
                return Ok(());
            }
        }
    }

    fn elements(&mut self, level: usize, on_path: bool) -> Result<(), RowError> {
        let wanted = self.wanted(level)?;
        self.parser.open()?;
        if self.parser.next_token() == Some(b']') {
            self.parser.close();
            return Ok(());
        }
        let mut index = 0;
        loop {
            self.value(level + 1, on_path && wanted == Some(index))?;
            index += 1;
            if self.done() || self.parser.separator(b']')? {
                return Ok(());
            }
        }
    }

    /// The index that is wanted of the array at the cursor; a negative one becomes positive when the array is long enough.
    fn wanted(&mut self, level: usize) -> Result<Option<i64>, RowError> {
        let rest = &self.text[self.parser.at..];
        let Some(Step { index: Some(index), .. }) = self.path.get_mut(level) else { return Ok(None) };
        if *index < 0 {
            let count = parse::elements(rest)?;
            if -*index <= count {
                *index += count;
            }
        }
        Ok(Some(*index))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_of_duplicate_keys_counts_and_slices_are_kept() {
        let text = " { \"a\" : {\"b\": 1} , \"a\": { \"c\" : [ 1 , {\"d\":2} ] } } ";
        let find = |path: &[&str]| {
            let mut steps: Vec<Step<'_>> = path.iter().map(|p| Step::text(p)).collect();
            find_json(text, &mut steps).unwrap()
        };
        assert_eq!(find(&[]), Some(text.trim()));
        assert_eq!(find(&["a"]), Some("{ \"c\" : [ 1 , {\"d\":2} ] }"));
        // Postgres (get_object_field_start): the match in the first `a` stands when the second has none.
        assert_eq!(find(&["a", "b"]), Some("1"));
        assert_eq!(find(&["a", "c", "-1", "d"]), Some("2"));
        assert_eq!(find(&["a", "c", " +1"]), Some("{\"d\":2}"));
        assert_eq!(find(&["a", "c", "1 "]), None);
        assert_eq!(find(&["a", "c", "-3"]), None);
        assert_eq!(find(&["a", "c", "2"]), None);
    }

    /// `select '[[1, 2], [3, 4, 5]]'::json #> '{1,-1}'` is 4 in Postgres 15, and 5 for jsonb.
    #[test]
    fn a_negative_index_counts_in_the_first_array_that_is_as_deep() {
        let text = "[[1, 2], [3, 4, 5]]";
        let path = || [Step::index(1), Step::index(-1)];
        assert_eq!(find_json(text, &mut path()).unwrap(), Some("4"));
        assert_eq!(find_jsonb(text, &mut path()).unwrap(), Some("5"));
        assert_eq!(find_json("[[], [3, 4, 5]]", &mut path()).unwrap(), Some("5"));
    }

    #[test]
    fn an_escape_anywhere_in_a_json_document_counts() {
        let text = r#"{"a": "\u0000", "b": 1}"#;
        assert_eq!(find_json(text, &mut [Step::key("b")]).unwrap_err().sqlstate, "22P05");
        assert_eq!(find_json(r#"["\ud800", 1]"#, &mut [Step::index(1)]).unwrap_err().sqlstate, "22P02");
        assert_eq!(find_json(r#"{"\u0061": 1}"#, &mut [Step::key("a")]).unwrap(), Some("1"));
    }

    #[test]
    fn strings_lose_quotes_and_escapes() {
        assert_eq!(unquoted(r#""a\n\"\ud83d\ude00""#).unwrap(), Some("a\n\"😀".to_owned()));
        assert_eq!(unquoted(" null").unwrap(), None);
        assert_eq!(unquoted("[ 1 ]").unwrap(), Some("[ 1 ]".to_owned()));
    }
}
