//! Numbers by a template (`formatting.c`, `NUM_processor`), with `.` and `,` of locale C.
//!
//! A template is a row of places, one for each `9`, `0` and decimal point. The number is right-aligned on the places before the
//! point; what is left of it is blank or, from the first `0` on, zero. The sign stands before the first place that prints something.

use super::super::argument::text;
use super::super::text::built;
use super::super::{Outcome, Prepared, Unsupported};
use super::{Language, Part, refused};
use crate::error::RowError;
use crate::value::Value;

const LANGUAGE: Language = Language {
    keywords: &[
        ",", ".", "0", "9", "B", "C", "D", "EEEE", "FM", "G", "L", "MI", "PL", "PR", "RN", "SG", "SP", "S", "TH", "V", "b", "c", "d",
        "eeee", "fm", "g", "l", "mi", "pl", "pr", "rn", "sg", "sp", "s", "th", "v",
    ],
    prefixes: &[],
    suffixes: &[],
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Text(char),
    /// `9`
    Digit,
    /// `0`
    Zero,
    /// `.` or `D`
    Point,
    /// `,` or `G`
    Group,
    /// `MI`, `PL`, `SG`
    Minus,
    Plus,
    Sign,
}

/// How the sign of the number itself is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Style {
    /// A minus or a blank.
    #[default]
    Plain,
    /// `S` before or after the number.
    Before,
    After,
    /// `PR`
    Brackets,
    /// `PL` alone: as plain, also with FM.
    Plus,
    /// `MI`, `SG` or both `PL` and `MI`: not with the number.
    Apart,
}

#[derive(Clone, Debug, Default)]
struct Template {
    items: Vec<Item>,
    /// Digits before and after the point.
    before: usize,
    after: usize,
    has_point: bool,
    /// The place of the first `0` before the point.
    first_zero: Option<usize>,
    /// Places up to the last `0`.
    last_zero: usize,
    /// `FM`
    bare: bool,
    style: Style,
    /// The digits before `S`.
    digits_before_sign: Option<usize>,
}

pub(super) fn prepared(template: &Value) -> Result<Prepared, Unsupported> {
    let template = Template::read(text(template).map_err(|e| refused(&e.message))?)?;
    Ok(Prepared::new(move |value| template.print(value)))
}

impl Template {
    fn read(text: &str) -> Result<Self, Unsupported> {
        let mut template = Self::default();
        for part in LANGUAGE.parts(text)? {
            match part {
                Part::Text(c) => template.items.push(Item::Text(c)),
                Part::Field(field) => template.keyword(&field.keyword.to_ascii_uppercase())?,
            }
        }
        // S behind all digits before the point stands behind the number.
        if template.style == Style::Before && template.digits_before_sign == Some(template.before) {
            template.style = Style::After;
        }
        Ok(template)
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), Unsupported> {
        let item = match keyword {
            "9" | "0" if self.style == Style::Brackets => return Err(refused("digits must be ahead of PR")),
            "9" => self.digit(false),
            "0" => self.digit(true),
            "." | "D" if self.has_point => return Err(refused("it has several decimal points")),
            "." | "D" => {
                self.has_point = true;
                Item::Point
            }
            "," | "G" => Item::Group,
            "FM" => {
                self.bare = true;
                return Ok(());
            }
            "S" | "PR" if self.style != Style::Plain => return Err(refused("signs that exclude each other")),
            "S" => {
                self.style = if self.has_point { Style::After } else { Style::Before };
                self.digits_before_sign = (!self.has_point).then_some(self.before);
                return Ok(());
            }
            "PR" => {
                self.style = Style::Brackets;
                return Ok(());
            }
            "MI" | "PL" | "SG" if matches!(self.style, Style::Before | Style::After) => {
                return Err(refused("signs that exclude each other"));
            }
            "MI" | "PL" | "SG" if self.style == Style::Brackets => return Err(refused("PR with another sign")),
            "MI" => {
                self.style = Style::Apart;
                Item::Minus
            }
            "PL" => {
                self.style = if self.style == Style::Apart { Style::Apart } else { Style::Plus };
                Item::Plus
            }
            "SG" => {
                self.style = Style::Apart;
                Item::Sign
            }
            other => return Err(refused(other)),
        };
        self.items.push(item);
        Ok(())
    }

    fn digit(&mut self, zero: bool) -> Item {
        if zero && !self.has_point && self.first_zero.is_none() {
            self.first_zero = Some(self.before);
        }
        if self.has_point {
            self.after += 1;
        } else {
            self.before += 1;
        }
        if zero {
            self.last_zero = self.before + self.after;
            Item::Zero
        } else {
            Item::Digit
        }
    }

    fn print(&self, value: &Value) -> Outcome {
        let (shown, after) = self.rounded(value)?;
        let (negative, mut digits) = match shown.strip_prefix('-') {
            Some(digits) => (true, digits.to_owned()),
            None => (false, shown),
        };
        let whole = digits.find('.').unwrap_or(digits.len());
        if whole > self.before {
            digits = format!("{}.{}", "#".repeat(self.before), "#".repeat(after));
        }
        let blank = self.before.saturating_sub(whole);
        built(Printing::new(self, negative, &digits, blank, after).run())
    }

    /// The number in decimal digits, rounded to the places after the point, and how many of them it has.
    fn rounded(&self, value: &Value) -> Result<(String, usize), RowError> {
        Ok(match value {
            Value::Int(v) if self.after > 0 => (format!("{v}.{}", "0".repeat(self.after)), self.after),
            Value::Int(v) => (v.to_string(), 0),
            Value::Numeric(v) => (v.round(i32::try_from(self.after).unwrap_or(i32::MAX))?.to_string(), self.after),
            Value::Float4(v) => self.float((*v).into(), 6),
            Value::Float8(v) => self.float(*v, 15),
            other => return Err(super::super::argument::mismatch(other, "a number")),
        })
    }

    /// Floats have no more digits than their type is sure of (`FLT_DIG`, `DBL_DIG`).
    fn float(&self, value: f64, sure: usize) -> (String, usize) {
        let shown = |places: usize| {
            if value.is_nan() {
                "NaN".to_owned()
            } else if value.is_infinite() {
                (if value > 0.0 { "Infinity" } else { "-Infinity" }).to_owned()
            } else {
                format!("{value:.places$}")
            }
        };
        let whole = shown(0).trim_start_matches('-').len();
        let after = self.after.min(sure.saturating_sub(whole));
        (shown(after), after)
    }
}

/// One number on its way through a template.
struct Printing<'t> {
    template: &'t Template,
    negative: bool,
    digits: &'t [u8],
    /// Places before the first digit.
    blank: usize,
    /// Digits after the point, which may be fewer than the template has.
    after: usize,
    brackets: bool,
    sign_due: bool,
    /// The place behind which a closing sign stands.
    end: usize,
    /// With FM the last digit after the point that is printed, or the point.
    last: Option<usize>,
    /// Whether the last place printed a digit: only then a group separator is printed.
    in_number: bool,
    place: usize,
    out: String,
}

impl<'t> Printing<'t> {
    fn new(template: &'t Template, negative: bool, digits: &'t str, blank: usize, after: usize) -> Self {
        let digits = digits.as_bytes();
        let brackets = template.style == Style::Brackets && (negative || !template.bare);
        let sign_due = match template.style {
            Style::Apart => false,
            Style::Plus | Style::Before | Style::After => true,
            Style::Plain | Style::Brackets => negative || !template.bare,
        };
        let last = template.bare && template.has_point;
        let last = if last { last_printed(digits, template.last_zero, blank) } else { None };
        let end = template.before + after + usize::from(template.has_point) + usize::from(blank > 0) + usize::from(sign_due && blank == 0);
        Self { template, negative, digits, blank, after, brackets, sign_due, end, last, in_number: false, place: 0, out: String::new() }
    }

    fn run(mut self) -> String {
        let bare = self.template.bare;
        for item in &self.template.items {
            let printed = match item {
                Item::Text(c) => Some(*c),
                Item::Digit | Item::Zero | Item::Point => {
                    self.place(*item == Item::Zero);
                    None
                }
                Item::Group if self.in_number => Some(','),
                Item::Minus if self.negative => Some('-'),
                Item::Plus if !self.negative => Some('+'),
                Item::Group | Item::Minus | Item::Plus => (!bare).then_some(' '),
                Item::Sign => Some(self.sign()),
            };
            self.out.extend(printed);
        }
        // Postgres' result is a C string: it ends where the digits were too few for the places.
        self.out.split('\0').next().unwrap_or("").to_owned()
    }

    fn sign(&self) -> char {
        if self.negative { '-' } else { '+' }
    }

    fn blank(&mut self) {
        if !self.template.bare {
            self.out.push(' ');
        }
    }

    fn ends_in_point(&self) -> bool {
        self.last.is_some_and(|last| self.digits.get(last) == Some(&b'.'))
    }

    /// `0` alone before the point is not printed.
    fn is_bare_zero(&self) -> bool {
        self.place == self.blank && self.digits.first() == Some(&b'0') && self.template.first_zero.is_none() && self.after > 0
    }

    fn place(&mut self, zero: bool) {
        let zeros_began = self.template.first_zero.is_some_and(|first| first <= self.place);
        self.opening_sign();
        self.in_number = false;
        if self.place < self.blank {
            if zeros_began {
                self.out.push('0');
                self.in_number = true;
            } else {
                self.blank();
            }
        } else {
            self.digit(zero);
        }
        if self.place + 2 == self.end {
            self.closing_sign();
        }
        self.place += 1;
    }

    fn digit(&mut self, zero: bool) {
        let index = (self.place - self.blank).min(self.digits.len());
        match self.digits.get(index) {
            Some(b'.') => self.out.push('.'),
            _ if !zero && self.last.is_some_and(|last| index > last) => {}
            _ if self.is_bare_zero() => {
                if self.template.bare && self.ends_in_point() {
                    self.out.push('0');
                } else {
                    self.blank();
                }
            }
            digit => {
                self.out.push(digit.map_or('\0', |digit| char::from(*digit)));
                self.in_number = true;
            }
        }
    }

    fn opening_sign(&mut self) {
        let reached = self.place >= self.blank || self.template.first_zero == Some(self.place);
        if !self.sign_due || !reached || self.is_bare_zero() && !self.ends_in_point() {
            return;
        }
        match self.template.style {
            Style::After => return,
            Style::Before => self.out.push(self.sign()),
            Style::Brackets if self.brackets => self.out.push(if self.negative { '<' } else { ' ' }),
            _ if self.negative => self.out.push('-'),
            _ => self.blank(),
        }
        self.sign_due = false;
    }

    fn closing_sign(&mut self) {
        match self.template.style {
            Style::Brackets if self.brackets && !self.sign_due => self.out.push(if self.negative { '>' } else { ' ' }),
            Style::After => self.out.push(self.sign()),
            _ => {}
        }
    }
}

/// The last digit after the point that is not zero, or the point; later where the template has a `0`.
fn last_printed(digits: &[u8], last_zero: usize, blank: usize) -> Option<usize> {
    let point = digits.iter().position(|d| *d == b'.')?;
    let last = digits.iter().rposition(|d| *d != b'0').unwrap_or(point).max(point);
    if last_zero > blank {
        let kept = (digits.len() - 1).min(last_zero - blank);
        return Some(last.max(kept));
    }
    Some(last)
}
