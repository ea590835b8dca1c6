//! Names, function calls (also those with keywords inside) and typed constants such as `date '2024-01-31'`.

use super::Parser;
use super::lex::Token;
use super::syntax::{Expr, Kind};
use crate::error::SelectError;

/// Aggregates and window functions that people reach for, to say more than "does not exist".
const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "array_agg",
    "string_agg",
    "json_agg",
    "jsonb_agg",
    "json_object_agg",
    "jsonb_object_agg",
    "bool_and",
    "bool_or",
    "every",
    "bit_and",
    "bit_or",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "variance",
    "var_pop",
    "var_samp",
    "percentile_cont",
    "percentile_disc",
    "mode",
    "corr",
    "row_number",
    "rank",
    "dense_rank",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "ntile",
    "nth_value",
    "percent_rank",
    "cume_dist",
];

impl Parser<'_> {
    /// Calls whose arguments are not a plain list. `None`: an ordinary call.
    ///
    /// Each has a function of its own, so that nesting one in the other takes little stack.
    pub(super) fn special_call(&mut self, word: &str) -> Result<Option<Expr>, SelectError> {
        let expr = match word {
            "coalesce" => self.coalesce(),
            "greatest" | "least" => self.extreme(word == "greatest"),
            "nullif" => self.nullif(),
            "cast" => self.cast(),
            "extract" => self.extract(),
            "position" => self.position(),
            "overlay" => self.overlay(),
            "substring" => self.substring(),
            "trim" => self.trim(),
            "treat" | "normalize" | "xmlconcat" | "xmlelement" | "xmlexists" | "xmlforest" | "xmlparse" | "xmlpi" | "xmlroot"
            | "xmlserialize" | "collation" | "grouping" => {
                return Err(self.refuse(&format!("{word}(...) is not supported"), "leave it to the reader of the result"));
            }
            _ => return Ok(None),
        };
        expr.map(Some)
    }

    fn coalesce(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        let list = self.plain_arguments()?;
        Expr::new(at, Kind::Coalesce(list))
    }

    fn extreme(&mut self, greatest: bool) -> Result<Expr, SelectError> {
        let at = self.at();
        let list = self.plain_arguments()?;
        Expr::new(at, Kind::Extreme { greatest, list })
    }

    fn nullif(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        self.open()?;
        let left = self.expression()?;
        self.expect_symbol(',')?;
        let right = self.expression()?;
        self.expect_symbol(')')?;
        Expr::new(at, Kind::NullIf(Box::new(left), Box::new(right)))
    }

    fn cast(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        self.open()?;
        let operand = Box::new(self.expression()?);
        self.expect_word("as")?;
        let ty = self.type_name()?;
        self.expect_symbol(')')?;
        Expr::new(at, Kind::Cast { operand, ty })
    }

    fn extract(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        self.open()?;
        let field_at = self.at();
        let field = match self.next() {
            Token::Word(field) | Token::Quoted(field) | Token::String(field) => field,
            _ => return Err(self.unexpected_at(field_at)),
        };
        self.expect_word("from")?;
        let value = self.expression()?;
        self.expect_symbol(')')?;
        Expr::new(at, self.call("extract", vec![Expr::new(field_at, Kind::String(field))?, value]))
    }

    fn position(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        self.open()?;
        // b_expr: nothing that binds as loosely as IN.
        let needle = self.expression_above(7)?;
        self.expect_word("in")?;
        let text = self.expression_above(7)?;
        self.expect_symbol(')')?;
        Expr::new(at, self.call("position", vec![text, needle]))
    }

    fn overlay(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        self.open()?;
        let mut arguments = vec![self.expression()?];
        if self.take_word("placing") {
            arguments.push(self.expression()?);
            self.expect_word("from")?;
            arguments.push(self.expression()?);
            if self.take_word("for") {
                arguments.push(self.expression()?);
            }
        } else {
            while self.take_symbol(',') {
                arguments.push(self.expression()?);
            }
        }
        self.expect_symbol(')')?;
        Expr::new(at, self.call("overlay", arguments))
    }

    fn call(&self, name: &str, arguments: Vec<Expr>) -> Kind {
        Kind::Call { schema: None, name: name.to_owned(), arguments }
    }

    fn open(&mut self) -> Result<(), SelectError> {
        self.next();
        self.expect_symbol('(')
    }

    fn plain_arguments(&mut self) -> Result<Vec<Expr>, SelectError> {
        self.open()?;
        let list = self.list()?;
        self.expect_symbol(')')?;
        Ok(list)
    }

    /// `substring(s FROM i FOR n)` in all its orders (`gram.y`, `substr_list`), or a plain call.
    fn substring(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        self.open()?;
        let mut arguments = vec![self.expression()?];
        if self.take_word("from") {
            arguments.push(self.expression()?);
            if self.take_word("for") {
                arguments.push(self.expression()?);
            }
        } else if self.take_word("for") {
            let length = self.expression()?;
            if self.take_word("from") {
                arguments.push(self.expression()?);
            } else {
                arguments.push(Expr::new(at, Kind::Integer("1".to_owned()))?);
            }
            arguments.push(length);
        } else if self.word_at(0, "similar") {
            return Err(self.refuse("substring(... SIMILAR ...) is not supported", "use substring(text, from, length)"));
        } else {
            while self.take_symbol(',') {
                arguments.push(self.expression()?);
            }
        }
        self.expect_symbol(')')?;
        Expr::new(at, self.call("substring", arguments))
    }

    /// `trim([BOTH | LEADING | TRAILING] [characters] FROM s)`, `trim(... FROM s, characters)` and `trim(s, characters)`.
    fn trim(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        self.open()?;
        let name = if self.take_word("leading") {
            "ltrim"
        } else if self.take_word("trailing") {
            "rtrim"
        } else {
            self.take_word("both");
            "btrim"
        };
        let mut arguments;
        if self.take_word("from") {
            arguments = self.list()?;
        } else {
            let first = self.expression()?;
            if self.take_word("from") {
                arguments = self.list()?;
                arguments.push(first);
            } else {
                arguments = vec![first];
                while self.take_symbol(',') {
                    arguments.push(self.expression()?);
                }
            }
        }
        self.expect_symbol(')')?;
        Expr::new(at, self.call(name, arguments))
    }

    /// `type 'text'`, when that is what stands here.
    pub(super) fn typed_constant(&mut self) -> Result<Option<Expr>, SelectError> {
        let (at, mark) = (self.at(), self.mark());
        let interval = self.word_at(0, "interval");
        let ty = match self.type_name() {
            Ok(ty) => ty,
            // `interval(3) '...'`: nothing else begins so.
            Err(error) if interval && error.sqlstate == "0A000" => return Err(error),
            Err(_) => {
                self.reset(mark);
                return Ok(None);
            }
        };
        let Token::String(text) = self.peek().clone() else {
            self.reset(mark);
            return Ok(None);
        };
        if ty.array {
            return Err(self.unexpected());
        }
        let operand = Box::new(self.constant_text(text)?);
        if ty.name == "interval" && self.interval_field() {
            return Err(self.refuse("fields after an interval constant are not supported", "write the unit inside: interval '1 day'"));
        }
        Expr::new(at, Kind::Cast { operand, ty }).map(Some)
    }

    fn constant_text(&mut self, text: String) -> Result<Expr, SelectError> {
        let at = self.at();
        self.next();
        Expr::new(at, Kind::String(text))
    }

    pub(super) fn interval_field(&self) -> bool {
        ["year", "month", "day", "hour", "minute", "second"].iter().any(|field| self.word_at(0, field))
    }

    pub(super) fn name_or_call(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        let mut names = vec![self.name()?];
        while self.take_symbol('.') {
            if matches!(self.peek(), Token::Operator(star) if star == "*") {
                return Err(self.refuse("* is only allowed as a whole entry of the SELECT list", "name the columns"));
            }
            names.push(self.label()?);
        }
        if *self.peek() != Token::Symbol('(') {
            if names.len() > 3 {
                return Err(super::lex::syntax(at, format!("improper qualified name (too many dotted names): {}", names.join("."))));
            }
            return Expr::new(at, Kind::Column(names));
        }
        let (Some(name), schema) = (names.pop(), names.pop()) else { return Err(self.unexpected()) };
        if !names.is_empty() {
            return Err(self.refuse_at(at, "cross-database references are not implemented", "name the function alone"));
        }
        let arguments = self.arguments(at, &name)?;
        Expr::new(at, Kind::Call { schema, name, arguments })
    }

    fn arguments(&mut self, at: usize, name: &str) -> Result<Vec<Expr>, SelectError> {
        self.expect_symbol('(')?;
        let aggregate = AGGREGATES.contains(&name);
        if aggregate || matches!(self.peek(), Token::Operator(star) if star == "*") || self.word_at(0, "distinct") {
            return Err(self.refuse_at(
                at,
                &format!("{name}(...) is not supported: a row is computed from one change alone, without the other rows"),
                "aggregate in the sink (a ranking sums its score over the window)",
            ));
        }
        self.take_word("all");
        let mut arguments = Vec::new();
        while *self.peek() != Token::Symbol(')') || !arguments.is_empty() {
            if self.word_at(0, "variadic") {
                return Err(self.refuse("VARIADIC is not supported", "pass the arguments one by one"));
            }
            arguments.push(self.expression()?);
            if !self.take_symbol(',') {
                break;
            }
        }
        if matches!(self.peek(), Token::Operator(arrow) if arrow == "=>") || *self.peek() == Token::Symbol(':') {
            return Err(self.refuse("named arguments are not supported", "pass the arguments in order"));
        }
        self.expect_symbol(')')?;
        if self.word_at(0, "over") || self.word_at(0, "filter") || self.word_at(0, "within") {
            return Err(self.refuse(
                "window functions and aggregates are not supported: a row is computed from one change alone",
                "aggregate in the sink (a ranking sums its score over the window)",
            ));
        }
        Ok(arguments)
    }
}
