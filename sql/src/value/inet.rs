//! `inet`, kept as the text that `inet_out` prints: an address, and the length of its network when that is not the whole address.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::net::Ipv6Addr;

use crate::error::RowError;

/// An address of either family.
struct Inet {
    /// 4 or 16 bytes.
    bytes: Vec<u8>,
    bits: u8,
}

/// `inet_in`, then `inet_out`: the one form of each value. Fails with 22P02.
pub(super) fn normalize(text: &str) -> Result<String, RowError> {
    let inet = Inet::parse(text).ok_or_else(|| RowError::new("22P02", format!("invalid input syntax for type inet: \"{text}\"")))?;
    Ok(inet.to_text())
}

/// `network_cmp` of two texts in normal form: family, the common network bits, length of the network, address.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (Some(x), Some(y)) = (Inet::parse(a), Inet::parse(b)) else { return a.cmp(b) };
    let common = x.bits.min(y.bits);
    (x.bytes.len().cmp(&y.bytes.len()))
        .then_with(|| x.network(common).cmp(&y.network(common)))
        .then_with(|| x.bits.cmp(&y.bits))
        .then_with(|| x.bytes.cmp(&y.bytes))
}

impl Inet {
    fn parse(text: &str) -> Option<Inet> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(decimal(bits, 128)?)),
            None => (text, None),
        };
        if address.contains(':') {
            let bytes = address.parse::<Ipv6Addr>().ok()?.octets().to_vec();
            return Some(Inet { bytes, bits: bits.unwrap_or(128) });
        }
        let mut bytes = Vec::with_capacity(4);
        for octet in address.split('.') {
            bytes.push(decimal(octet, 255)?);
        }
        let given = u8::try_from(bytes.len()).ok().filter(|n| (1..=4).contains(n))?;
        // The length may be left out only of a whole address, and an address may be cut short only behind its network.
        let bits = if given == 4 { bits.unwrap_or(32) } else { bits? };
        if bits > 32 || bits / 8 > given {
            return None;
        }
        bytes.resize(4, 0);
        Some(Inet { bytes, bits })
    }

    /// The first `bits` bits, the others zero.
    fn network(&self, bits: u8) -> Vec<u8> {
        let kept = |i: usize| u32::from(bits).saturating_sub(u32::try_from(i).unwrap_or(0) * 8).min(8);
        self.bytes.iter().enumerate().map(|(i, byte)| byte & u8::try_from(0xff00_u32 >> kept(i) & 0xff).unwrap_or(0)).collect()
    }

    fn to_text(&self) -> String {
        let mut text = match <[u8; 16]>::try_from(self.bytes.as_slice()) {
            Ok(octets) => v6(octets),
            Err(_) => v4(&self.bytes),
        };
        if usize::from(self.bits) != self.bytes.len() * 8 {
            // Writing to a String cannot fail.
            let _ = write!(text, "/{}", self.bits);
        }
        text
    }
}

fn v4(octets: &[u8]) -> String {
    octets.iter().map(u8::to_string).collect::<Vec<_>>().join(".")
}

/// The longest run of zero words becomes `::`, and an address that carries an IPv4 one ends in dotted decimals.
fn v6(octets: [u8; 16]) -> String {
    let words: Vec<u16> = octets.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect();
    let run = |from: usize| words[from..].iter().take_while(|w| **w == 0).count();
    // The first of the longest runs: `max_by_key` would give the last.
    let (start, length) = (0..8).rev().map(|at| (at, run(at))).max_by_key(|(_, n)| *n).unwrap_or((0, 0));
    let length = if length < 2 { 0 } else { length };
    let carries_v4 = length > 0 && start == 0 && (length == 6 || length == 7 && words[7] != 1 || length == 5 && words[5] == 0xffff);
    let mut text = String::new();
    for (at, word) in words.iter().enumerate() {
        if length > 0 && (start..start + length).contains(&at) {
            if at == start {
                text.push(':');
            }
            continue;
        }
        if at > 0 {
            text.push(':');
        }
        if at == 6 && carries_v4 {
            text += &v4(&octets[12..]);
            return text;
        }
        let _ = write!(text, "{word:x}");
    }
    if length > 0 && start + length == 8 {
        text.push(':');
    }
    text
}

fn decimal(text: &str, max: u8) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok().filter(|n| *n <= max) } else { None }
}
