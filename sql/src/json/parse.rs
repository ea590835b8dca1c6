//! Reading JSON text: the grammar of `json_lex` and `pg_parse_json`.

use super::{DEPTH_MAX, Json};
use crate::error::RowError;
use crate::function::VALUE_BYTES_MAX;
use crate::numeric::Numeric;

/// Digits of a numeric before its point (`NUMERIC_WEIGHT_MAX`), and about the most that an exponent adds.
const NUMERIC_DIGITS_MAX: usize = 131_072;

/// Builds the tree of a whole text.
pub(super) fn tree(text: &str) -> Result<Json, RowError> {
    let mut parser = Parser::new(text);
    let json = parser.value()?;
    parser.end()?;
    Ok(json)
}

/// Checks a whole text without building anything. Escapes are checked for their form only: `json` keeps a `\u0000` or half a
/// surrogate pair as written.
pub(super) fn skip(text: &str) -> Result<(), RowError> {
    let mut parser = Parser::new(text);
    parser.skip_value()?;
    parser.end()
}

/// How many elements the array has that starts the text.
pub(super) fn elements(text: &str) -> Result<i64, RowError> {
    let mut parser = Parser::new(text);
    if parser.next_token() != Some(b'[') {
        return Err(invalid());
    }
    parser.open()?;
    if parser.next_token() == Some(b']') {
        return Ok(0);
    }
    let mut count = 0;
    loop {
        parser.skip_value()?;
        count += 1;
        if parser.separator(b']')? {
            return Ok(count);
        }
    }
}

pub(super) struct Parser<'a> {
    text: &'a str,
    /// The cursor, in bytes.
    pub at: usize,
    depth: usize,
    /// What strings that are skipped are read for.
    skipped: Use,
    /// Digits that exponents have added so far.
    expanded: usize,
}

/// What a string is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Value,
    /// Its form alone.
    Check,
    /// Its form, and that each escape is a character.
    Verify,
}

impl<'a> Parser<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, skipped: Use::Check, expanded: 0 }
    }

    /// One that checks the escapes of what it skips.
    pub fn verifying(text: &'a str) -> Self {
        Self { skipped: Use::Verify, ..Self::new(text) }
    }

    /// The string at the cursor.
    pub fn text(&mut self) -> Result<String, RowError> {
        self.string(Use::Value)
    }

    /// Passes the key at the cursor and its colon; whether it is the wanted one.
    pub fn key(&mut self, wanted: Option<&str>) -> Result<bool, RowError> {
        if self.next_token() != Some(b'"') {
            return Err(invalid());
        }
        let start = self.at;
        self.string(self.skipped)?;
        let raw = &self.text[start + 1..self.at - 1];
        let matches = match wanted {
            Some(wanted) if raw.contains('\\') => Parser { at: start, ..Parser::new(self.text) }.text()? == wanted,
            Some(wanted) => raw == wanted,
            None => false,
        };
        self.expect(b':')?;
        Ok(matches)
    }

    /// A number, unless the exponents of the text make more digits than a value may have.
    fn numeric(&mut self) -> Result<Numeric, RowError> {
        let text = self.number()?;
        if let Some((_, exponent)) = text.split_once(['e', 'E']) {
            let digits = exponent.trim_start_matches(['+', '-']).parse::<usize>().unwrap_or(usize::MAX);
            // Beyond what numeric can hold the parse fails by itself.
            self.expanded += digits.min(NUMERIC_DIGITS_MAX);
            if self.expanded > VALUE_BYTES_MAX {
                return Err(RowError::new("54000", format!("the numbers of a json document have more than {VALUE_BYTES_MAX} digits")));
            }
        }
        Numeric::parse(text).or_else(|error| self.next_is_token().and(Err(error)))
    }

    /// Postgres reads the token behind a number before it converts the number: of two errors there the later one counts.
    fn next_is_token(&mut self) -> Result<(), RowError> {
        match self.next_token() {
            Some(b'"') => self.string(Use::Value).map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            None | Some(b'{' | b'}' | b'[' | b']' | b',' | b':') => Ok(()),
            Some(_) => Err(invalid()),
        }
    }

    fn value(&mut self) -> Result<Json, RowError> {
        match self.next_token() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => self.string(Use::Value).map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.numeric().map(Json::Number),
            Some(b't') => self.word("true").map(|()| Json::Bool(true)),
            Some(b'f') => self.word("false").map(|()| Json::Bool(false)),
            Some(b'n') => self.word("null").map(|()| Json::Null),
            _ => Err(invalid()),
        }
    }

    fn object(&mut self) -> Result<Json, RowError> {
        self.open()?;
        let mut pairs = Vec::new();
        if self.next_token() == Some(b'}') {
            self.close();
            return Ok(Json::Object(pairs));
        }
        loop {
            if self.next_token() != Some(b'"') {
                return Err(invalid());
            }
            let key = self.string(Use::Value)?;
            self.expect(b':')?;
            pairs.push((key, self.value()?));
            if self.separator(b'}')? {
                return Ok(Json::object(pairs));
            }
        }
    }

    fn array(&mut self) -> Result<Json, RowError> {
        self.open()?;
        let mut items = Vec::new();
        if self.next_token() == Some(b']') {
            self.close();
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            if self.separator(b']')? {
                return Ok(Json::Array(items));
            }
        }
    }

    pub fn skip_value(&mut self) -> Result<(), RowError> {
        let end = match self.next_token() {
            Some(b'{') => b'}',
            Some(b'[') => b']',
            Some(b'"') => return self.string(self.skipped).map(|_| ()),
            Some(b'-' | b'0'..=b'9') => return self.number().map(|_| ()),
            Some(b't') => return self.word("true"),
            Some(b'f') => return self.word("false"),
            Some(b'n') => return self.word("null"),
            _ => return Err(invalid()),
        };
        self.open()?;
        if self.next_token() == Some(end) {
            self.close();
            return Ok(());
        }
        loop {
            if end == b'}' {
                if self.next_token() != Some(b'"') {
                    return Err(invalid());
                }
                self.string(self.skipped)?;
                self.expect(b':')?;
            }
            self.skip_value()?;
            if self.separator(end)? {
                return Ok(());
            }
        }
    }

    pub fn open(&mut self) -> Result<(), RowError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(RowError::new("54001", "stack depth limit exceeded")) } else { Ok(()) }
    }

    pub fn close(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// After an element: true at the end of the container, false after a comma.
    pub fn separator(&mut self, end: u8) -> Result<bool, RowError> {
        match self.next_token() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == end => {
                self.close();
                Ok(true)
            }
            _ => Err(invalid()),
        }
    }

    /// The first byte of the next token, white space skipped.
    pub fn next_token(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let skipped = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.at += skipped;
        rest.get(skipped).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), RowError> {
        if self.next_token() != Some(byte) {
            return Err(invalid());
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), RowError> {
        if self.next_token().is_none() { Ok(()) } else { Err(invalid()) }
    }

    fn word(&mut self, word: &str) -> Result<(), RowError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(invalid());
        }
        self.at += word.len();
        self.boundary()
    }

    /// A word or number must not run into further letters or digits.
    fn boundary(&self) -> Result<(), RowError> {
        let next = self.text.as_bytes().get(self.at);
        let continues = next.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || !b.is_ascii());
        if continues { Err(invalid()) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<&'a str, RowError> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let digits = |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
        let integer = digits(at);
        if integer == 0 || (integer > 1 && bytes[at] == b'0') {
            return Err(invalid());
        }
        at += integer;
        if bytes.get(at) == Some(&b'.') {
            let fraction = digits(at + 1);
            if fraction == 0 {
                return Err(invalid());
            }
            at += 1 + fraction;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits(at);
            if exponent == 0 {
                return Err(invalid());
            }
            at += exponent;
        }
        self.at = at;
        self.boundary()?;
        Ok(&self.text[start..at])
    }

    /// The string that starts here; empty when it is only checked.
    fn string(&mut self, purpose: Use) -> Result<String, RowError> {
        let text = self.text;
        let mut out = String::new();
        self.at += 1;
        loop {
            let rest = text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = rest.iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)).count();
            if purpose == Use::Value {
                out.push_str(&text[self.at..self.at + plain]);
            }
            self.at += plain + 1;
            match rest.get(plain) {
                Some(b'"') => return Ok(out),
                Some(b'\\') => {
                    if let Some(c) = self.escape(purpose)? {
                        out.push(c);
                    }
                }
                _ => return Err(invalid()),
            }
        }
    }

    /// What follows a backslash; `None` when it is only checked.
    fn escape(&mut self, purpose: Use) -> Result<Option<char>, RowError> {
        let byte = self.text.as_bytes().get(self.at).copied();
        self.at += 1;
        let c = match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let unit = self.hex4()?;
                if purpose == Use::Check {
                    return Ok(None);
                }
                self.code_point(unit)?
            }
            _ => return Err(invalid()),
        };
        Ok((purpose == Use::Value).then_some(c))
    }

    fn hex4(&mut self) -> Result<u32, RowError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or_else(invalid)?;
        let mut unit = 0;
        for digit in digits {
            unit = unit * 16 + char::from(*digit).to_digit(16).ok_or_else(invalid)?;
        }
        self.at += 4;
        Ok(unit)
    }

    fn code_point(&mut self, unit: u32) -> Result<char, RowError> {
        match unit {
            0 => Err(RowError::new("22P05", "unsupported Unicode escape sequence")),
            0xd800..=0xdbff => {
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(invalid());
                }
                self.at += 2;
                let low = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(invalid());
                }
                char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)).ok_or_else(invalid)
            }
            _ => char::from_u32(unit).ok_or_else(invalid),
        }
    }
}

fn invalid() -> RowError {
    RowError::new("22P02", "invalid input syntax for type json")
}
