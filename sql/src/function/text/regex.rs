//! `~`, `~*`, `!~`, `!~*`, `regexp_like` and SIMILAR TO: Postgres' advanced regular expressions (`regex/regcomp.c`, `regc_lex.c`),
//! rewritten for the crate `regex`, which matches in linear time.
//!
//! Only whether a text matches is asked, so that greediness and the choice among matches do not matter. In collation C classes and
//! case are those of ASCII; `.` and negated classes match line breaks; `^` and `$` are the ends of the text. What has no counterpart
//! (back references, looking around, collating elements, embedded options other than `i`, `c`, `s`, `t`) is refused, and so is
//! what Postgres finds invalid.

mod bracket;
mod similar;

use std::fmt::Write as _;

use super::super::Base::*;
use super::super::argument::text;
use super::super::{Function, Prepared, Run, Unsupported, row};
use crate::value::Value;

/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 4_096;
/// Groups within groups.
const DEPTH_MAX: u32 = 50;
/// Largest repetition count (`DUPMAX`).
const REPEAT_MAX: u32 = 255;
/// Memory of a compiled pattern, in bytes: patterns that Postgres finds too complex are beyond it.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;

const INSTEAD: &str =
    "LIKE, starts_with, strpos and split_part say most of what is left, and several simpler patterns can be joined by AND and OR";

/// Ranges of characters, both ends included.
type Ranges = Vec<(char, char)>;

/// What has no counterpart here, or is no regular expression at all.
fn refused(why: &str) -> Unsupported {
    Unsupported { why: format!("this regular expression is invalid or not supported: {why}"), instead: INSTEAD }
}

/// A pattern being rewritten.
struct Rewriter<'p> {
    rest: std::str::Chars<'p>,
    any_case: bool,
    depth: u32,
    out: String,
}

impl Rewriter<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest.next();
        }
        found
    }

    /// Branches up to the end or to the closing parenthesis of a group.
    fn branches(&mut self) -> Result<(), Unsupported> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(refused("groups are nested too deep"));
        }
        while let Some(c) = self.peek() {
            match c {
                ')' if self.depth > 1 => break,
                '|' => {
                    self.rest.next();
                    self.out.push('|');
                }
                _ => self.piece()?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// A constraint, or an atom with its quantifier.
    fn piece(&mut self) -> Result<(), Unsupported> {
        let start = self.out.len();
        let Some(c) = self.rest.next() else { return Ok(()) };
        match c {
            '^' => return self.constraint("\\A"),
            '$' => return self.constraint("\\z"),
            '*' | '+' | '?' => return Err(refused("a quantifier has nothing to repeat")),
            '{' if self.peek().is_some_and(|c| c.is_ascii_digit()) => return Err(refused("a quantifier has nothing to repeat")),
            ')' => return Err(refused("a parenthesis is closed that was not opened")),
            '(' => self.group()?,
            '.' => self.out.push_str("(?s:.)"),
            '[' => {
                let (ranges, negated) = self.bracket()?;
                self.set(&ranges, negated);
            }
            '\\' => {
                if self.escape()? {
                    return Ok(());
                }
            }
            c => self.literal(c),
        }
        self.quantifier(start)
    }

    /// What holds between characters; it cannot be repeated, which the next piece finds.
    fn constraint(&mut self, rewritten: &str) -> Result<(), Unsupported> {
        self.out.push_str(rewritten);
        Ok(())
    }

    fn group(&mut self) -> Result<(), Unsupported> {
        if self.take('?') && !self.take(':') {
            return Err(refused("(?...) other than (?:...) and options at the start"));
        }
        self.out.push_str("(?:");
        self.branches()?;
        self.out.push(')');
        if self.take(')') { Ok(()) } else { Err(refused("a parenthesis is not closed")) }
    }

    fn literal(&mut self, c: char) {
        if self.any_case && c.is_ascii_alphabetic() {
            self.set(&[(c, c)], false);
        } else {
            let _ = write!(self.out, "\\x{{{:x}}}", u32::from(c));
        }
    }

    fn set(&mut self, ranges: &[(char, char)], negated: bool) {
        let mut all = ranges.to_vec();
        if self.any_case {
            all.extend(bracket::other_cases(ranges));
        }
        self.out.push_str(if negated { "[^" } else { "[" });
        for (low, high) in all {
            let _ = write!(self.out, "\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high));
        }
        self.out.push(']');
    }

    /// What follows a backslash; whether it was a constraint.
    fn escape(&mut self) -> Result<bool, Unsupported> {
        let c = self.rest.next().ok_or_else(|| refused("it ends in a backslash"))?;
        let constraint = match c {
            'A' => "\\A",
            'Z' => "\\z",
            'y' => "(?-u:\\b)",
            'm' => "(?-u:\\b{start})",
            'M' => "(?-u:\\b{end})",
            _ => {
                match bracket::class_escape(c) {
                    Some((ranges, negated)) => self.set(&ranges, negated),
                    None => {
                        let c = self.character_escape(c)?;
                        self.literal(c);
                    }
                }
                return Ok(false);
            }
        };
        self.out.push_str(constraint);
        Ok(true)
    }

    /// The character that an escape means.
    fn character_escape(&mut self, c: char) -> Result<char, Unsupported> {
        Ok(match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'e' => '\u{1b}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'B' => '\\',
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            c if c.is_alphanumeric() => return Err(refused(&format!("\\{c}"))),
            c => c,
        })
    }

    fn code(&mut self, digits: usize) -> Result<char, Unsupported> {
        let hex: String = self.rest.by_ref().take(digits).collect();
        let code = (hex.len() == digits && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| u32::from_str_radix(&hex, 16).ok());
        let found = code.flatten().filter(|c| *c != 0).and_then(char::from_u32);
        found.ok_or_else(|| refused(&format!("{hex} is no character")))
    }

    fn number(&mut self) -> Result<u32, Unsupported> {
        let mut number = 0;
        let mut any = false;
        while let Some(digit) = self.peek().filter(char::is_ascii_digit).and_then(|c| c.to_digit(10)) {
            self.rest.next();
            any = true;
            number = number * 10 + digit;
            if number > REPEAT_MAX {
                break;
            }
        }
        if any && number <= REPEAT_MAX { Ok(number) } else { Err(refused("repetition counts are 0 to 255")) }
    }

    /// The quantifier after an atom that begins at `start` of the output.
    fn quantifier(&mut self, start: usize) -> Result<(), Unsupported> {
        let quantifier = match self.peek() {
            Some(c @ ('*' | '+' | '?')) => {
                self.rest.next();
                c.to_string()
            }
            Some('{') if self.rest.clone().nth(1).is_some_and(|c| c.is_ascii_digit()) => {
                self.rest.next();
                self.bound()?
            }
            _ => return Ok(()),
        };
        // Greedy or not is the same for whether there is a match.
        self.take('?');
        self.out.insert_str(start, "(?:");
        self.out.push(')');
        self.out.push_str(&quantifier);
        Ok(())
    }

    fn bound(&mut self) -> Result<String, Unsupported> {
        let least = self.number()?;
        let bound = if self.take(',') {
            if self.peek() == Some('}') {
                format!("{{{least},}}")
            } else {
                let most = self.number()?;
                if most < least {
                    return Err(refused("a repetition has its bounds reversed"));
                }
                format!("{{{least},{most}}}")
            }
        } else {
            format!("{{{least}}}")
        };
        if self.take('}') { Ok(bound) } else { Err(refused("a repetition is not closed")) }
    }
}

/// The options at the start of a pattern, `(?i)`: whether case matters, and what follows.
fn options(pattern: &str, mut any_case: bool) -> Result<(&str, bool), Unsupported> {
    if pattern.starts_with("***") {
        return Err(refused("*** at its start"));
    }
    let Some(after) = pattern.strip_prefix("(?").filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic())) else {
        return Ok((pattern, any_case));
    };
    let (letters, rest) = after.split_once(')').ok_or_else(|| refused("options that are not closed"))?;
    for letter in letters.chars() {
        match letter {
            'i' => any_case = true,
            'c' => any_case = false,
            // Tight syntax, and line breaks are like other characters: both as without the option.
            's' | 't' => {}
            other => return Err(refused(&format!("the option {other}"))),
        }
    }
    Ok((rest, any_case))
}

fn compile(pattern: &str, any_case: bool) -> Result<::regex::Regex, Unsupported> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(refused(&format!("it has more than {PATTERN_BYTES_MAX} bytes")));
    }
    let (pattern, any_case) = options(pattern, any_case)?;
    let mut rewriter = Rewriter { rest: pattern.chars(), any_case, depth: 0, out: String::new() };
    rewriter.branches()?;
    let mut builder = ::regex::RegexBuilder::new(&rewriter.out);
    let built = builder.size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build();
    built.map_err(|_| refused("it is too large"))
}

fn prepared<const ANY_CASE: bool, const WANTED: bool>(pattern: &Value) -> Result<Prepared, Unsupported> {
    let Value::Text(pattern) = pattern else { return Err(refused("it is no text")) };
    let regex = compile(pattern, ANY_CASE)?;
    Ok(Prepared::new(move |value| Ok(Value::Bool(regex.is_match(text(value)?) == WANTED))))
}

const FLAGS: &str = "write (?i) at the start of the pattern, or ~*";

pub(super) const OPERATORS: &[Function] = &[
    row("~", &[Text, Text], Bool, Run::Prepared(prepared::<false, true>)).in_c(),
    row("~", &[Bpchar, Text], Bool, Run::Prepared(prepared::<false, true>)).in_c(),
    row("!~", &[Text, Text], Bool, Run::Prepared(prepared::<false, false>)).in_c(),
    row("!~", &[Bpchar, Text], Bool, Run::Prepared(prepared::<false, false>)).in_c(),
    row("~*", &[Text, Text], Bool, Run::Prepared(prepared::<true, true>)).in_c(),
    row("~*", &[Bpchar, Text], Bool, Run::Prepared(prepared::<true, true>)).in_c(),
    row("!~*", &[Text, Text], Bool, Run::Prepared(prepared::<true, false>)).in_c(),
    row("!~*", &[Bpchar, Text], Bool, Run::Prepared(prepared::<true, false>)).in_c(),
];

/// Which of several matches Postgres takes is not computed here.
const MATCHES: &str = "test with ~, cut with split_part, substring(text, from, length) or replace";

pub(super) const FUNCTIONS: &[Function] = &[
    row("regexp_like", &[Text, Text], Bool, Run::Prepared(prepared::<false, true>)).in_c(),
    row("regexp_like", &[Text, Text, Text], Bool, Run::Refused(FLAGS)),
    row("similar_to_escape", &[Text], Text, Run::One(|pattern| similar::rewritten(pattern, Some('\\')))),
    row("similar_to_escape", &[Text, Text], Text, Run::Two(similar::escaped)),
    row("regexp_replace", &[Text, Text, Text], Text, Run::Refused(MATCHES)),
    row("regexp_replace", &[Text, Text, Text, Text], Text, Run::Refused(MATCHES)),
    row("regexp_match", &[Text, Text], TextArray, Run::Refused(MATCHES)),
    row("regexp_match", &[Text, Text, Text], TextArray, Run::Refused(MATCHES)),
    row("regexp_substr", &[Text, Text], Text, Run::Refused(MATCHES)),
    row("regexp_count", &[Text, Text], Int4, Run::Refused(MATCHES)),
    row("regexp_instr", &[Text, Text], Int4, Run::Refused(MATCHES)),
    row("regexp_split_to_array", &[Text, Text], TextArray, Run::Refused(MATCHES)),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::compile;

    #[test]
    fn what_has_no_counterpart_is_refused() {
        for pattern in [
            "(a)\\1",
            "(?=a)",
            "(?!a)",
            "(?<=a)b",
            "(?#c)a",
            "[[.a.]]",
            "[[=a=]]",
            "[[:<:]]a",
            "***=a",
            "(?x)a",
            "(?n)a",
            "\\x41",
            "\\Y",
            "a**",
            "*a",
            "a|*b",
            "^*",
            "(a",
            "a)",
            "[a",
            "[b-a]",
            "[a-c-e]",
            "[[:nothing:]]",
            "a{256}",
            "a{2,1}",
            "a{1",
            "a\\",
            "\\q",
            "[a-\\d]",
            "\\u12",
            "\\ud800",
        ] {
            assert!(compile(pattern, false).is_err(), "{pattern}");
        }
    }

    #[test]
    fn large_patterns_end_in_a_refusal() {
        assert!(compile(&"a".repeat(5_000), false).is_err());
        assert!(compile(&("(".repeat(60) + &")".repeat(60)), false).is_err());
        assert!(compile("((((a{255}){255}){255}){255})", false).is_err());
    }
}
