//! The text of a SELECT as tokens, by the rules of Postgres' `scan.l` (standard_conforming_strings on).
//!
//! Promises: every token knows its bytes in the text; identifiers are folded and cut as Postgres does it; adjacent string
//! constants are joined only across a line break; an operator ends where Postgres ends it (`a>-1` is `>` and `-`). Does not
//! know keywords: a word is a word.

use crate::error::SelectError;

/// Longest text of a SELECT, in bytes.
pub const SELECT_BYTES_MAX: usize = 64 * 1024;

/// `NAMEDATALEN - 1`: identifiers are cut to this many bytes.
const IDENTIFIER_BYTES_MAX: usize = 63;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// An unquoted identifier or keyword, folded to lower case.
    Word(String),
    /// A quoted identifier.
    Quoted(String),
    /// A string constant in any of its spellings.
    String(String),
    /// Digits.
    Integer(String),
    /// A number with a point or an exponent.
    Decimal(String),
    /// One or more operator characters; `!=` reads as `<>`.
    Operator(String),
    /// `::`
    Typecast,
    /// One of `,()[].;:`
    Symbol(char),
    /// The end of the text.
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Lexeme {
    pub token: Token,
    /// Bytes of the token in the text.
    pub start: usize,
    pub end: usize,
}

pub(super) fn syntax(at: usize, message: impl Into<String>) -> SelectError {
    SelectError { sqlstate: "42601", message: message.into(), position: Some(at), hint: None }
}

/// All tokens of `sql`; the last one is [`Token::End`].
pub(super) fn tokens(sql: &str) -> Result<Vec<Lexeme>, SelectError> {
    tokens_within(sql, SELECT_BYTES_MAX, "the SELECT")
}

/// The same of a text with a limit of its own.
pub(super) fn tokens_within(sql: &str, bytes_max: usize, what: &str) -> Result<Vec<Lexeme>, SelectError> {
    if sql.len() > bytes_max {
        return Err(SelectError {
            sqlstate: "54000",
            message: format!("{what} is longer than {bytes_max} bytes"),
            position: None,
            hint: None,
        });
    }
    let mut lexer = Lexer { sql, at: 0 };
    let mut all: Vec<Lexeme> = Vec::new();
    loop {
        let broke_line = lexer.skip_blank()?;
        let start = lexer.at;
        let token = lexer.next(start)?;
        let end = lexer.at;
        if broke_line
            && sql.as_bytes().get(start) == Some(&b'\'')
            && let Token::String(more) = &token
            && let Some(Lexeme { token: Token::String(text), end: last_end, .. }) = all.last_mut()
        {
            // The SQL standard's continuation: 'a' newline 'b' is 'ab'.
            text.push_str(more);
            *last_end = end;
            continue;
        }
        let done = token == Token::End;
        all.push(Lexeme { token, start, end });
        if done {
            return Ok(all);
        }
    }
}

struct Lexer<'a> {
    sql: &'a str,
    at: usize,
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn is_operator(byte: u8) -> bool {
    b"~!@#^&|`?+-*/%<>=".contains(&byte)
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.sql.as_bytes()[self.at..]
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.sql.as_bytes().get(self.at + ahead).copied()
    }

    /// Skips blanks and comments; whether a line break was outside of a block comment.
    fn skip_blank(&mut self) -> Result<bool, SelectError> {
        let mut broke_line = false;
        loop {
            match self.rest() {
                [b'\n' | b'\r', ..] => {
                    broke_line = true;
                    self.at += 1;
                }
                [b' ' | b'\t' | 0x0b | 0x0c, ..] => self.at += 1,
                [b'-', b'-', rest @ ..] => {
                    let line = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
                    self.at += 2 + line.unwrap_or(rest.len());
                }
                [b'/', b'*', ..] => self.skip_comment()?,
                _ => return Ok(broke_line),
            }
        }
    }

    fn skip_comment(&mut self) -> Result<(), SelectError> {
        let start = self.at;
        let mut depth = 0_u32;
        loop {
            match self.rest() {
                [b'/', b'*', ..] => {
                    depth += 1;
                    self.at += 2;
                }
                [b'*', b'/', ..] => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                [] => return Err(syntax(start, "unterminated /* comment")),
                _ => self.at += 1,
            }
        }
    }

    fn next(&mut self, start: usize) -> Result<Token, SelectError> {
        let Some(byte) = self.peek(0) else { return Ok(Token::End) };
        let quoted = self.peek(1) == Some(b'\'');
        match byte {
            b'\'' => self.quoted(start, 0, '\'').map(Token::String),
            b'"' => self.identifier(start, 0).map(Token::Quoted),
            b'e' | b'E' if quoted => self.escaped(start),
            b'n' | b'N' if quoted => self.quoted(start, 1, '\'').map(Token::String),
            b'b' | b'B' | b'x' | b'X' if quoted => Err(refused(start, "bit strings are not supported", "write '...'::bytea for bytes")),
            b'u' | b'U' if self.peek(1) == Some(b'&') && matches!(self.peek(2), Some(b'\'' | b'"')) => {
                Err(refused(start, "U& constants and identifiers are not supported", "write the characters themselves, or E'\\u....'"))
            }
            b'$' if self.peek(1).is_some_and(|b| b.is_ascii_digit()) => {
                Err(refused(start, "there are no parameters here", "write the value itself"))
            }
            b'$' => self.dollar_quoted(start),
            b'0'..=b'9' => self.number(start),
            b'.' if self.peek(1).is_some_and(|b| b.is_ascii_digit()) => self.number(start),
            _ if starts_word(byte) => {
                let len = self.rest().iter().take_while(|b| continues_word(**b)).count();
                self.at += len;
                Ok(Token::Word(cut(self.sql[start..self.at].to_ascii_lowercase())))
            }
            b':' if self.peek(1) == Some(b':') => {
                self.at += 2;
                Ok(Token::Typecast)
            }
            b',' | b'(' | b')' | b'[' | b']' | b'.' | b';' | b':' => {
                self.at += 1;
                Ok(Token::Symbol(char::from(byte)))
            }
            _ if is_operator(byte) => Ok(self.operator()),
            _ => Err(syntax(start, format!("syntax error at or near \"{}\"", char::from(byte)))),
        }
    }

    /// `scan.l`, rule `operator`: no comment starts inside, and a trailing + or - belongs to what follows unless the operator
    /// has a character that no standard SQL operator has.
    fn operator(&mut self) -> Token {
        let bytes = self.rest();
        let mut len = bytes.iter().take_while(|b| is_operator(**b)).count();
        if let Some(comment) = bytes[..len].windows(2).position(|w| w == b"/*" || w == b"--") {
            len = comment;
        }
        while len > 1 && matches!(bytes[len - 1], b'+' | b'-') && !bytes[..len - 1].iter().any(|b| b"~!@#^&|`?%".contains(b)) {
            len -= 1;
        }
        let start = self.at;
        self.at += len;
        match &self.sql[start..self.at] {
            "!=" => Token::Operator("<>".to_owned()),
            other => Token::Operator(other.to_owned()),
        }
    }

    /// A constant in quotes; `prefix` bytes stand before the opening quote.
    fn quoted(&mut self, start: usize, prefix: usize, quote: char) -> Result<String, SelectError> {
        self.at += prefix + 1;
        let mut text = String::new();
        loop {
            let Some(len) = self.sql[self.at..].find(quote) else {
                let what = if quote == '"' { "quoted identifier" } else { "quoted string" };
                return Err(syntax(start, format!("unterminated {what} at or near \"{}\"", &self.sql[start..])));
            };
            text.push_str(&self.sql[self.at..self.at + len]);
            self.at += len + 1;
            if self.peek(0) != Some(quote as u8) {
                break;
            }
            text.push(quote);
            self.at += 1;
        }
        if text.contains('\0') {
            return Err(syntax(start, "a string constant cannot contain a zero byte"));
        }
        Ok(text)
    }

    fn identifier(&mut self, start: usize, prefix: usize) -> Result<String, SelectError> {
        let name = self.quoted(start, prefix, '"')?;
        if name.is_empty() {
            return Err(syntax(start, "zero-length delimited identifier at or near \"\"\"\""));
        }
        Ok(cut(name))
    }

    /// `E'...'`: C escapes (`scan.l`, state `xe`).
    fn escaped(&mut self, start: usize) -> Result<Token, SelectError> {
        self.at += 2;
        let invalid = || syntax(start, "invalid escape in a string constant");
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            match self.rest() {
                [] => return Err(syntax(start, format!("unterminated quoted string at or near \"{}\"", &self.sql[start..]))),
                [b'\'', b'\'', ..] => {
                    bytes.push(b'\'');
                    self.at += 2;
                }
                [b'\'', ..] => {
                    self.at += 1;
                    break;
                }
                [b'\\', ..] => {
                    let len = escape(self.rest(), &mut bytes).ok_or_else(invalid)?;
                    self.at += len;
                }
                [byte, ..] => {
                    bytes.push(*byte);
                    self.at += 1;
                }
            }
        }
        let text = String::from_utf8(bytes).map_err(|_| SelectError {
            sqlstate: "22021",
            message: "invalid byte sequence for encoding \"UTF8\"".to_owned(),
            position: Some(start),
            hint: None,
        })?;
        if text.contains('\0') {
            return Err(invalid());
        }
        Ok(Token::String(text))
    }

    fn dollar_quoted(&mut self, start: usize) -> Result<Token, SelectError> {
        let rest = &self.sql[start + 1..];
        let tag = rest
            .find('$')
            .map(|n| &rest[..n])
            .filter(|tag| tag.bytes().next().is_none_or(starts_word) && tag.bytes().all(|b| continues_word(b) && b != b'$'));
        let Some(tag) = tag else {
            return Err(syntax(start, "syntax error at or near \"$\""));
        };
        let fence = &self.sql[start..start + tag.len() + 2];
        let body = start + fence.len();
        let Some(len) = self.sql[body..].find(fence) else {
            return Err(syntax(start, format!("unterminated dollar-quoted string at or near \"{}\"", &self.sql[start..])));
        };
        self.at = body + len + fence.len();
        Ok(Token::String(self.sql[body..body + len].to_owned()))
    }

    fn number(&mut self, start: usize) -> Result<Token, SelectError> {
        let digits = |lexer: &mut Self| {
            let len = lexer.rest().iter().take_while(|b| b.is_ascii_digit()).count();
            lexer.at += len;
        };
        digits(self);
        let mut decimal = false;
        if self.peek(0) == Some(b'.') && self.peek(1) != Some(b'.') {
            decimal = true;
            self.at += 1;
            digits(self);
        }
        if matches!(self.peek(0), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
            if self.peek(1 + sign).is_some_and(|b| b.is_ascii_digit()) {
                decimal = true;
                self.at += 1 + sign;
                digits(self);
            }
        }
        let text = self.sql[start..self.at].to_owned();
        if self.peek(0).is_some_and(starts_word) {
            let junk = self.rest().iter().take_while(|b| continues_word(**b)).count();
            let near = &self.sql[start..self.at + junk];
            return Err(syntax(start, format!("trailing junk after numeric literal at or near \"{near}\"")));
        }
        Ok(if decimal { Token::Decimal(text) } else { Token::Integer(text) })
    }
}

/// One escape sequence at the start of `rest`; its length.
fn escape(rest: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let code = *rest.get(1)?;
    let radix_digits = |from: usize, radix: u32, most: usize| -> (u32, usize) {
        let mut value = 0;
        let mut len = 0;
        while len < most
            && let Some(digit) = rest.get(from + len).and_then(|b| char::from(*b).to_digit(radix))
        {
            value = value * radix + digit;
            len += 1;
        }
        (value, len)
    };
    match code {
        b'b' => out.push(8),
        b'f' => out.push(12),
        b'n' => out.push(b'\n'),
        b'r' => out.push(b'\r'),
        b't' => out.push(b'\t'),
        b'v' => out.push(11),
        b'0'..=b'7' => {
            let (value, len) = radix_digits(1, 8, 3);
            out.push(u8::try_from(value & 0xff).ok()?);
            return Some(1 + len);
        }
        b'x' if rest.get(2).is_some_and(u8::is_ascii_hexdigit) => {
            let (value, len) = radix_digits(2, 16, 2);
            out.push(u8::try_from(value).ok()?);
            return Some(2 + len);
        }
        b'u' | b'U' => {
            let want = if code == b'u' { 4 } else { 8 };
            let (value, len) = radix_digits(2, 16, want);
            if len != want {
                return None;
            }
            let (value, used) = match value {
                0xd800..=0xdbff if rest.get(2 + len) == Some(&b'\\') && rest.get(3 + len) == Some(&b'u') => {
                    let (low, low_len) = radix_digits(4 + len, 16, 4);
                    if low_len != 4 || !(0xdc00..=0xdfff).contains(&low) {
                        return None;
                    }
                    (0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00), 2 + len + 6)
                }
                _ => (value, 2 + len),
            };
            let mut buffer = [0; 4];
            out.extend_from_slice(char::from_u32(value)?.encode_utf8(&mut buffer).as_bytes());
            return Some(used);
        }
        other => out.push(other),
    }
    Some(2)
}

fn refused(at: usize, message: &str, hint: &str) -> SelectError {
    SelectError { sqlstate: "0A000", message: message.to_owned(), position: Some(at), hint: Some(hint.to_owned()) }
}

fn cut(mut name: String) -> String {
    if name.len() > IDENTIFIER_BYTES_MAX {
        let end = (0..=IDENTIFIER_BYTES_MAX).rev().find(|n| name.is_char_boundary(*n));
        name.truncate(end.unwrap_or(0));
    }
    name
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(sql: &str) -> Vec<Token> {
        tokens(sql).unwrap().into_iter().map(|l| l.token).collect()
    }

    #[test]
    fn an_operator_ends_where_postgres_ends_it() {
        let operator = |s: &str| Token::Operator(s.to_owned());
        for (sql, first, second) in [
            ("a>-1", ">", Some("-")),
            ("a||-1", "||-", None),
            ("a<=-1", "<=", Some("-")),
            ("a@-1", "@-", None),
            ("a*-1", "*", Some("-")),
            ("a!=1", "<>", None),
        ] {
            let tokens = of(sql);
            assert_eq!(tokens[1], operator(first), "{sql}");
            match second {
                Some(second) => assert_eq!(tokens[2], operator(second), "{sql}"),
                None => assert!(matches!(tokens[2], Token::Integer(_)), "{sql}"),
            }
        }
    }

    #[test]
    fn strings() {
        let string = |s: &str| vec![Token::String(s.to_owned()), Token::End];
        assert_eq!(of("'it''s'"), string("it's"));
        assert_eq!(of("'a' -- comment\n 'b'"), string("ab"));
        assert_eq!(of("'a' 'b'").len(), 3);
        assert_eq!(of(r"E'\x41\n\u00e9\'\101'"), string("A\né'A"));
        assert_eq!(of("$$a'b$$"), string("a'b"));
        assert_eq!(of("$q$a$$b$q$"), string("a$$b"));
        assert!(tokens("'open").is_err());
        assert!(tokens("/* /* */").is_err());
    }

    #[test]
    fn numbers_and_words() {
        assert_eq!(of("1.")[0], Token::Decimal("1.".to_owned()));
        assert_eq!(of(".5e-3")[0], Token::Decimal(".5e-3".to_owned()));
        assert_eq!(of("12")[0], Token::Integer("12".to_owned()));
        assert_eq!(tokens("12ab").unwrap_err().message, "trailing junk after numeric literal at or near \"12ab\"");
        assert_eq!(of("Foo \"Foo\" É")[..3], [Token::Word("foo".into()), Token::Quoted("Foo".into()), Token::Word("É".into())]);
    }
}
