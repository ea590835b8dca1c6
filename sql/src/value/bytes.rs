//! Text of `bytea` and `uuid`.

use crate::error::RowError;

/// Characters of a uuid's text.
const UUID_CHARS: usize = 36;

/// `\xdeadbeef` (`bytea_output = hex`).
pub(super) fn push_bytea(out: &mut String, bytes: &[u8]) {
    out.reserve(2 + 2 * bytes.len());
    out.push_str("\\x");
    bytes.iter().for_each(|byte| push_hex(out, *byte));
}

fn push_hex(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// `byteain`: the hex form, with white space between its pairs, or the escape form.
pub(super) fn parse_bytea(text: &str) -> Result<Vec<u8>, RowError> {
    match text.strip_prefix("\\x") {
        Some(hex) => parse_hex(hex),
        None => parse_escaped(text),
    }
}

fn parse_hex(text: &str) -> Result<Vec<u8>, RowError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut chars = text.chars();
    while let Some(high) = chars.next() {
        if matches!(high, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = hex_digit(high)?;
        let Some(low) = chars.next() else {
            return Err(RowError::new("22023", "invalid hexadecimal data: odd number of digits"));
        };
        bytes.push(high << 4 | hex_digit(low)?);
    }
    Ok(bytes)
}

fn hex_digit(c: char) -> Result<u8, RowError> {
    let digit = c.to_digit(16).and_then(|d| u8::try_from(d).ok());
    digit.ok_or_else(|| RowError::new("22023", format!("invalid hexadecimal digit: \"{c}\"")))
}

fn parse_escaped(text: &str) -> Result<Vec<u8>, RowError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        match rest {
            [] => return Ok(bytes),
            [b'\\', b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            [b'\\', ..] => {
                return Err(RowError::new("22P02", "invalid input syntax for type bytea"));
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
}

/// `00000000-0000-4000-8000-000000000001`.
pub(super) fn push_uuid(out: &mut String, uuid: &[u8; 16]) {
    out.reserve_exact(UUID_CHARS);
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        push_hex(out, *byte);
    }
}

/// `uuid_in`: 32 digits with a hyphen after any group of four, and braces around them if you like.
pub(super) fn parse_uuid(text: &str) -> Result<[u8; 16], RowError> {
    read_uuid(text.as_bytes()).ok_or_else(|| RowError::new("22P02", format!("invalid input syntax for type uuid: \"{text}\"")))
}

fn read_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text = match text {
        [b'{', inner @ .., b'}'] => inner,
        [b'{', ..] => return None,
        all => all,
    };
    let mut uuid = [0_u8; 16];
    let mut at = 0;
    for (i, byte) in uuid.iter_mut().enumerate() {
        *byte = nibble(*text.get(at)?)? << 4 | nibble(*text.get(at + 1)?)?;
        at += 2;
        if i % 2 == 1 && i < 15 && text.get(at) == Some(&b'-') {
            at += 1;
        }
    }
    (at == text.len()).then_some(uuid)
}

fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
