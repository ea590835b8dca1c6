//! Characters as numbers, bytes as text, digests (`encode.c`, `oracle_compat.c`, `cryptohashfuncs.c`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

use super::super::Base::*;
use super::super::argument::{bytes, int, text};
use super::super::{Function, Outcome, Run, VALUE_BYTES_MAX, row};
use super::{built, too_long};
use crate::error::RowError;
use crate::value::Value;

/// Characters in a line of `encode(..., 'base64')` (RFC 2045).
const BASE64_LINE: usize = 76;

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    digits.map(char::from).collect()
}

fn unknown_encoding(name: &str) -> RowError {
    RowError::new("22023", format!("unrecognized encoding: \"{name}\""))
}

fn encode(value: &Value, format: &Value) -> Outcome {
    let (bytes, format) = (bytes(value)?, text(format)?);
    if bytes.len() > VALUE_BYTES_MAX / 4 {
        return Err(too_long());
    }
    match format.to_ascii_lowercase().as_str() {
        "hex" => built(hex(bytes)),
        "base64" => {
            let line = STANDARD.encode(bytes);
            let lines: Vec<&str> = line.as_bytes().chunks(BASE64_LINE).filter_map(|chunk| std::str::from_utf8(chunk).ok()).collect();
            built(lines.join("\n"))
        }
        "escape" => {
            let mut escaped = String::with_capacity(bytes.len());
            for byte in bytes {
                match byte {
                    0 | 0x80.. => escaped.push_str(&format!("\\{byte:03o}")),
                    b'\\' => escaped.push_str("\\\\"),
                    _ => escaped.push(char::from(*byte)),
                }
            }
            built(escaped)
        }
        _ => Err(unknown_encoding(format)),
    }
}

fn decode(value: &Value, format: &Value) -> Outcome {
    let (encoded, format) = (text(value)?, text(format)?);
    let bytes = match format.to_ascii_lowercase().as_str() {
        "hex" => from_hex(encoded)?,
        "base64" => from_base64(encoded)?,
        "escape" => from_escape(encoded.as_bytes())?,
        _ => return Err(unknown_encoding(format)),
    };
    Ok(Value::Bytea(bytes.into()))
}

/// White space may stand before a pair of digits, not within.
fn from_hex(text: &str) -> Result<Vec<u8>, RowError> {
    let digit = |c: char| {
        let digit = c.to_digit(16).and_then(|d| u8::try_from(d).ok());
        digit.ok_or_else(|| RowError::new("22023", format!("invalid hexadecimal digit: \"{c}\"")))
    };
    let mut characters = text.chars();
    let mut out = Vec::with_capacity(text.len() / 2);
    while let Some(c) = characters.next() {
        if matches!(c, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = digit(c)?;
        let low = characters.next().ok_or_else(|| RowError::new("22023", "invalid hexadecimal data: odd number of digits"))?;
        out.push(high << 4 | digit(low)?);
    }
    Ok(out)
}

/// `pg_base64_decode`: white space anywhere; padding must be there.
fn from_base64(text: &str) -> Result<Vec<u8>, RowError> {
    let invalid = |c: char| RowError::new("22023", format!("invalid symbol \"{c}\" found while decoding base64 sequence"));
    let bad_end = || RowError::new("22023", "invalid base64 end sequence");
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut buffer, mut position, mut padding) = (0_u32, 0, 0);
    for c in text.chars() {
        let bits = match c {
            ' ' | '\t' | '\n' | '\r' => continue,
            '=' => {
                // The first may only stand third, the second fourth.
                if padding == 0 {
                    match position {
                        2 => padding = 1,
                        3 => padding = 2,
                        _ => return Err(RowError::new("22023", "unexpected \"=\" while decoding base64 sequence")),
                    }
                }
                0
            }
            'A'..='Z' => u32::from(c) - u32::from('A'),
            'a'..='z' => u32::from(c) - u32::from('a') + 26,
            '0'..='9' => u32::from(c) - u32::from('0') + 52,
            '+' => 62,
            '/' => 63,
            _ => return Err(invalid(c)),
        };
        buffer = (buffer << 6) + bits;
        position += 1;
        if position == 4 {
            let [_, a, b, c] = buffer.to_be_bytes();
            out.push(a);
            if padding == 0 || padding > 1 {
                out.push(b);
            }
            if padding == 0 || padding > 2 {
                out.push(c);
            }
            (buffer, position) = (0, 0);
        }
    }
    if position != 0 { Err(bad_end()) } else { Ok(out) }
}

fn from_escape(mut rest: &[u8]) -> Result<Vec<u8>, RowError> {
    let mut out = Vec::with_capacity(rest.len());
    while let Some((first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = &tail[3..];
            }
            (b'\\', [b'\\', ..]) => {
                out.push(b'\\');
                rest = &tail[1..];
            }
            (b'\\', _) => return Err(RowError::new("22P02", "invalid input syntax for type bytea")),
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    Ok(out)
}

fn ascii(value: &Value) -> Outcome {
    Ok(Value::Int(text(value)?.chars().next().map_or(0, |c| u32::from(c).into())))
}

fn chr(value: &Value) -> Outcome {
    let code = int(value)?;
    let refused = |message: String| Err(RowError::new("54000", message));
    match code {
        ..0 => Err(RowError::new("22023", "character number must be positive")),
        0 => refused("null character not permitted".to_owned()),
        0x11_0000.. => refused(format!("requested character too large for encoding: {code}")),
        _ => match u32::try_from(code).ok().and_then(char::from_u32) {
            Some(c) => built(c.to_string()),
            None => refused(format!("requested character not valid for encoding: {code}")),
        },
    }
}

/// Negative numbers as their two's complement in the width of the type.
fn to_hex(value: &Value, mask: i64) -> Outcome {
    built(format!("{:x}", int(value)? & mask))
}

fn digest<D: sha2::Digest>(value: &Value) -> Outcome {
    Ok(Value::Bytea(D::digest(bytes(value)?).as_slice().into()))
}

pub(super) const FUNCTIONS: &[Function] = &[
    row("encode", &[Bytea, Text], Text, Run::Two(encode)),
    row("decode", &[Text, Text], Bytea, Run::Two(decode)),
    row("ascii", &[Text], Int4, Run::One(ascii)),
    row("chr", &[Int4], Text, Run::One(chr)),
    row("to_hex", &[Int4], Text, Run::One(|a| to_hex(a, 0xffff_ffff))),
    row("to_hex", &[Int8], Text, Run::One(|a| to_hex(a, -1))),
    row("md5", &[Text], Text, Run::One(|a| built(hex(&md5::Md5::digest(text(a)?.as_bytes()))))),
    row("md5", &[Bytea], Text, Run::One(|a| built(hex(&md5::Md5::digest(bytes(a)?))))),
    row("sha224", &[Bytea], Bytea, Run::One(digest::<sha2::Sha224>)),
    row("sha256", &[Bytea], Bytea, Run::One(digest::<sha2::Sha256>)),
    row("sha384", &[Bytea], Bytea, Run::One(digest::<sha2::Sha384>)),
    row("sha512", &[Bytea], Bytea, Run::One(digest::<sha2::Sha512>)),
];
