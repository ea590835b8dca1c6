//! Splits date and time text into fields, as `ParseDateTime` of Postgres' `datetime.c` does.

use std::cmp::Ordering;

/// Most fields in one text (`MAXDATEFIELDS`).
const FIELDS_MAX: usize = 25;
/// Characters by which keywords are told apart (`TOKMAXLEN`).
const KEYWORD_CHARS: usize = 10;

/// What a field looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Digits, perhaps with a decimal point.
    Number,
    /// Digits with colons.
    Time,
    /// Several parts with `-`, `/` or `.` between them, or a word with punctuation.
    Date,
    /// A word.
    Word,
    /// A sign and digits.
    Signed,
    /// A sign and a word.
    SignedWord,
}

/// One field, in lower case.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// The fields of a text; `None` when it has a character that no field has, too many fields, or more than `bytes_max` in them.
pub(super) fn fields(text: &str, bytes_max: usize) -> Option<Vec<Field>> {
    if !text.is_ascii() {
        return None;
    }
    let mut bytes_left = bytes_max;
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    let mut fields = Vec::new();
    while let Some(byte) = scanner.peek() {
        if is_space(byte) {
            scanner.at += 1;
            continue;
        }
        let start = scanner.at;
        let (kind, sign) = match byte {
            b'0'..=b'9' => (scanner.number_date_or_time(), None),
            b'.' => {
                scanner.at += 1;
                scanner.take(u8::is_ascii_digit);
                (Kind::Number, None)
            }
            b'+' | b'-' => (scanner.signed()?, Some(char::from(byte))),
            _ if byte.is_ascii_alphabetic() => (scanner.word_or_date(), None),
            _ if byte.is_ascii_punctuation() => {
                scanner.at += 1;
                continue;
            }
            _ => return None,
        };
        if fields.len() == FIELDS_MAX {
            return None;
        }
        // White space between a sign and what follows is dropped.
        let rest = text.get(start + usize::from(sign.is_some())..scanner.at)?.trim_start_matches(|c| u8::try_from(c).is_ok_and(is_space));
        let text: String = sign.into_iter().chain(rest.chars()).map(|c| c.to_ascii_lowercase()).collect();
        let field = Field { kind, text };
        // Each field ends with a NUL in the work buffer, which must not be filled to its end.
        bytes_left = bytes_left.checked_sub(field.text.len() + 1).filter(|left| *left > 0)?;
        fields.push(field);
    }
    Some(fields)
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, wanted: impl Fn(&u8) -> bool) {
        self.at += self.bytes[self.at..].iter().take_while(|b| wanted(b)).count();
    }

    fn number_date_or_time(&mut self) -> Kind {
        self.take(u8::is_ascii_digit);
        match self.peek() {
            Some(b':') => {
                self.take(|b| b.is_ascii_digit() || matches!(b, b':' | b'.'));
                Kind::Time
            }
            Some(delimiter @ (b'-' | b'/' | b'.')) => {
                self.at += 1;
                if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
                    self.take(|b| b.is_ascii_alphanumeric() || *b == delimiter);
                    return Kind::Date;
                }
                self.take(u8::is_ascii_digit);
                if self.peek() == Some(delimiter) {
                    self.take(|b| b.is_ascii_digit() || *b == delimiter);
                    return Kind::Date;
                }
                if delimiter == b'.' { Kind::Number } else { Kind::Date }
            }
            _ => Kind::Number,
        }
    }

    fn word_or_date(&mut self) -> Kind {
        let start = self.at;
        self.take(u8::is_ascii_alphabetic);
        let runs_on = match self.peek() {
            Some(b'-' | b'/' | b'.') => true,
            Some(b'+' | b'0'..=b'9') => {
                let word = String::from_utf8_lossy(&self.bytes[start..self.at]).to_ascii_lowercase();
                super::word::lookup(&word).is_none()
            }
            _ => false,
        };
        if !runs_on {
            return Kind::Word;
        }
        self.take(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'/' | b'_' | b'.' | b':'));
        Kind::Date
    }

    fn signed(&mut self) -> Option<Kind> {
        self.at += 1;
        self.take(|b| is_space(*b));
        let next = self.peek()?;
        if next.is_ascii_digit() {
            self.take(|b| b.is_ascii_digit() || matches!(b, b':' | b'.' | b'-'));
            Some(Kind::Signed)
        } else if next.is_ascii_alphabetic() {
            self.take(u8::is_ascii_alphabetic);
            Some(Kind::SignedWord)
        } else {
            None
        }
    }
}

/// Whether a word is this keyword: only the first characters count.
pub(super) fn is_keyword(word: &str, keyword: &str) -> bool {
    let cut = |w: &str| w.char_indices().nth(KEYWORD_CHARS).map_or(w.len(), |(at, _)| at);
    word[..cut(word)].cmp(&keyword[..cut(keyword)]) == Ordering::Equal
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}
