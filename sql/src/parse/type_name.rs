//! Type names, as Postgres' grammar reads them (`gram.y`, `Typename`).

use super::Parser;
use super::lex::Token;
use super::syntax::TypeName;
use crate::error::SelectError;

impl Parser<'_> {
    pub(super) fn type_name(&mut self) -> Result<TypeName, SelectError> {
        let at = self.at();
        if self.word_at(0, "setof") {
            return Err(self.unexpected());
        }
        let mut ty = match self.peek().clone() {
            Token::Word(word) => match self.keyword_type(at, &word)? {
                Some(ty) => ty,
                None => self.named_type(at)?,
            },
            _ => self.named_type(at)?,
        };
        while self.take_symbol('[') {
            if matches!(self.peek(), Token::Integer(_)) {
                self.next();
            }
            self.expect_symbol(']')?;
            ty.array = true;
        }
        if self.take_word("array") {
            ty.array = true;
        }
        Ok(ty)
    }

    /// The types that the grammar knows by keywords.
    fn keyword_type(&mut self, at: usize, word: &str) -> Result<Option<TypeName>, SelectError> {
        let name = match word {
            "int" | "integer" => "int4",
            "smallint" => "int2",
            "bigint" => "int8",
            "real" => "float4",
            "boolean" => "bool",
            "dec" | "decimal" | "numeric" => "numeric",
            "float" => return self.float(at).map(Some),
            "double" if self.word_at(1, "precision") => {
                self.next();
                "float8"
            }
            "char" | "character" | "nchar" | "varchar" => return self.character(at, word).map(Some),
            "national" => {
                self.next();
                return self.character(at, word).map(Some);
            }
            "time" | "timestamp" => return self.time(at, word).map(Some),
            "interval" => return self.interval(at).map(Some),
            _ => return Ok(None),
        };
        self.next();
        let modifiers = if name == "numeric" { self.modifiers()? } else { Vec::new() };
        Ok(Some(system(at, name, modifiers)))
    }

    fn float(&mut self, at: usize) -> Result<TypeName, SelectError> {
        self.next();
        let name = match self.modifiers()?.as_slice() {
            [] | [25..=53] => "float8",
            [1..=24] => "float4",
            [..=0] => return Err(invalid(at, "precision for type float must be at least 1 bit")),
            _ => return Err(invalid(at, "precision for type float must be less than 54 bits")),
        };
        Ok(system(at, name, Vec::new()))
    }

    /// `char` without a length is `char(1)`; `varchar` without one has none.
    fn character(&mut self, at: usize, word: &str) -> Result<TypeName, SelectError> {
        self.next();
        let varying = word == "varchar" || self.take_word("varying");
        let mut modifiers = self.modifiers()?;
        if !varying && modifiers.is_empty() {
            modifiers.push(1);
        }
        Ok(system(at, if varying { "varchar" } else { "bpchar" }, modifiers))
    }

    fn time(&mut self, at: usize, word: &str) -> Result<TypeName, SelectError> {
        self.next();
        let modifiers = self.modifiers()?;
        let mut zoned = false;
        if (self.word_at(0, "with") || self.word_at(0, "without")) && self.word_at(1, "time") {
            zoned = self.word_at(0, "with");
            self.next();
            self.next();
            self.expect_word("zone")?;
        }
        let name = match (word, zoned) {
            ("time", false) => "time",
            ("time", true) => "timetz",
            (_, false) => "timestamp",
            (_, true) => "timestamptz",
        };
        Ok(system(at, name, modifiers))
    }

    fn interval(&mut self, at: usize) -> Result<TypeName, SelectError> {
        self.next();
        if *self.peek() == Token::Symbol('(') || self.interval_field() {
            return Err(self.refuse(
                "interval fields and precision are not supported",
                "write interval alone, and the unit inside the text: interval '1 day'",
            ));
        }
        Ok(system(at, "interval", Vec::new()))
    }

    fn named_type(&mut self, at: usize) -> Result<TypeName, SelectError> {
        let (schema, name) = self.qualified_name()?;
        let modifiers = self.modifiers()?;
        Ok(TypeName { at, schema, name, modifiers, array: false })
    }

    fn modifiers(&mut self) -> Result<Vec<i64>, SelectError> {
        let mut modifiers = Vec::new();
        if !self.take_symbol('(') {
            return Ok(modifiers);
        }
        loop {
            let at = self.at();
            let negative = matches!(self.peek(), Token::Operator(minus) if minus == "-");
            if negative {
                self.next();
            }
            let Token::Integer(digits) = self.next() else { return Err(self.unexpected_at(at)) };
            let value: i32 = digits.parse().map_err(|_| invalid(at, "type modifier is out of range"))?;
            modifiers.push(i64::from(if negative { -value } else { value }));
            if !self.take_symbol(',') {
                break;
            }
        }
        self.expect_symbol(')')?;
        Ok(modifiers)
    }
}

fn system(at: usize, name: &str, modifiers: Vec<i64>) -> TypeName {
    TypeName { at, schema: Some("pg_catalog".to_owned()), name: name.to_owned(), modifiers, array: false }
}

fn invalid(at: usize, message: &str) -> SelectError {
    SelectError { sqlstate: "22023", message: message.to_owned(), position: Some(at), hint: None }
}
