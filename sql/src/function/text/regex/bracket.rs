//! Bracket expressions and classes of characters, by collation C (`regc_pg_locale.c`, `regc_locale.c`).

use super::{Ranges, Rewriter, Unsupported, refused};

const LAST: char = char::MAX;

/// A class of ASCII characters by its name.
fn class(name: &str) -> Option<&'static [(char, char)]> {
    Some(match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\u{7f}')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\u{1f}'), ('\u{7f}', '\u{7f}')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        _ => return None,
    })
}

/// `\d`, `\s`, `\w`, and in capitals their complements.
pub(super) fn class_escape(c: char) -> Option<(Ranges, bool)> {
    let name = match c.to_ascii_lowercase() {
        'd' => "digit",
        's' => "space",
        'w' => "word",
        _ => return None,
    };
    class(name).map(|ranges| (ranges.to_vec(), c.is_ascii_uppercase()))
}

/// What is in none of the ranges, which are in order.
fn complement(ranges: &[(char, char)]) -> Ranges {
    let neighbour = |c: char, by: i64| u32::try_from(i64::from(u32::from(c)) + by).ok().and_then(char::from_u32);
    let mut from = Some('\0');
    let mut out = Vec::new();
    for (low, high) in ranges {
        if let (Some(first), Some(last)) = (from, neighbour(*low, -1))
            && first <= last
        {
            out.push((first, last));
        }
        from = neighbour(*high, 1);
    }
    out.extend(from.map(|first| (first, LAST)));
    out
}

/// The ASCII letters of the ranges in their other case.
pub(super) fn other_cases(ranges: &[(char, char)]) -> Ranges {
    let letters = ('A'..='Z').chain('a'..='z').filter(|c| ranges.iter().any(|(low, high)| (low..=high).contains(&c)));
    letters.map(|c| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() }).map(|c| (c, c)).collect()
}

impl Rewriter<'_> {
    /// What follows `[`: the characters, and whether all others are meant.
    pub(super) fn bracket(&mut self) -> Result<(Ranges, bool), Unsupported> {
        let negated = self.take('^');
        let mut ranges = Vec::new();
        let mut first = true;
        loop {
            let c = self.rest.next().ok_or_else(|| refused("a bracket is not closed"))?;
            let low = match c {
                ']' if !first => return Ok((ranges, negated)),
                '-' if !first && self.peek() != Some(']') => return Err(refused("a range begins with -")),
                '[' if self.peek().is_some_and(|c| matches!(c, ':' | '.' | '=')) => {
                    ranges.extend_from_slice(self.named_class()?);
                    self.no_range()?;
                    first = false;
                    continue;
                }
                '\\' => {
                    let escaped = self.rest.next().ok_or_else(|| refused("it ends in a backslash"))?;
                    if let Some((class, negated)) = class_escape(escaped) {
                        ranges.extend(if negated { complement(&class) } else { class });
                        self.no_range()?;
                        first = false;
                        continue;
                    }
                    self.character_escape(escaped)?
                }
                c => c,
            };
            first = false;
            ranges.push((low, self.range_end(low)?));
        }
    }

    /// The end of a range that begins with that character; without `-` the character itself.
    fn range_end(&mut self, low: char) -> Result<char, Unsupported> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || ahead.next() == Some(']') {
            return Ok(low);
        }
        self.rest.next();
        let high = match self.rest.next() {
            Some('\\') => {
                let escaped = self.rest.next().ok_or_else(|| refused("it ends in a backslash"))?;
                if class_escape(escaped).is_some() {
                    return Err(refused("a range ends in a class"));
                }
                self.character_escape(escaped)?
            }
            None | Some('[' | '-') => return Err(refused("a range ends in [ or -")),
            Some(c) => c,
        };
        if low > high {
            return Err(refused("a range has its ends reversed"));
        }
        Ok(high)
    }

    /// A class is no end of a range.
    fn no_range(&self) -> Result<(), Unsupported> {
        let mut ahead = self.rest.clone();
        if ahead.next() == Some('-') && ahead.next() != Some(']') {
            return Err(refused("a range begins with a class"));
        }
        Ok(())
    }

    /// `[:name:]`, after its first bracket.
    fn named_class(&mut self) -> Result<&'static [(char, char)], Unsupported> {
        if !self.take(':') {
            return Err(refused("collating elements"));
        }
        let rest = self.rest.as_str();
        let (name, after) = rest.split_once(":]").ok_or_else(|| refused("a class is not closed"))?;
        let name = if self.any_case && matches!(name, "upper" | "lower") { "alpha" } else { name };
        let class = class(name).ok_or_else(|| refused(&format!("the class {name}")))?;
        self.rest = after.chars();
        Ok(class)
    }
}
