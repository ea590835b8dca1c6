//! ALTER TABLE and ALTER TYPE, as far as they say what a table looks like.

use super::super::Parser;
use super::super::lex::Token;
use super::{Alteration, Statement};
use crate::error::SelectError;

/// Actions that change neither types nor keys.
const WITHOUT_EFFECT: &[&str] =
    &["owner", "enable", "disable", "force", "no", "cluster", "set", "reset", "validate", "attach", "detach", "inherit", "of"];

impl Parser<'_> {
    pub(super) fn alter_table(&mut self) -> Result<Statement, SelectError> {
        self.take_words(&["alter", "table"]);
        self.take_words(&["if", "exists"]);
        self.take_word("only");
        let name = self.place()?;
        if matches!(self.peek(), Token::Operator(star) if star == "*") {
            self.next();
        }
        let mut alterations = Vec::new();
        loop {
            alterations.extend(self.alteration()?);
            if !self.take_symbol(',') {
                break;
            }
        }
        Ok(Statement::Alter { name, alterations })
    }

    fn alteration(&mut self) -> Result<Option<Alteration>, SelectError> {
        if self.take_words(&["replica", "identity"]) {
            return self.identity().map(Some);
        }
        if self.take_word("add") {
            return self.addition();
        }
        if self.take_word("alter") {
            self.take_word("column");
            let column = self.name()?;
            if self.take_words(&["set", "not", "null"]) {
                return Ok(Some(Alteration::NotNull(column, true)));
            }
            if self.take_words(&["drop", "not", "null"]) {
                return Ok(Some(Alteration::NotNull(column, false)));
            }
            let ty = self.word_at(0, "type") || (self.word_at(0, "set") && self.word_at(1, "data"));
            if !ty {
                self.skip_action();
                return Ok(None);
            }
        }
        match self.peek() {
            Token::Word(word) if WITHOUT_EFFECT.contains(&word.as_str()) => {
                self.skip_action();
                Ok(None)
            }
            _ => Err(self.refuse(
                "this change of a table is not read",
                "write the CREATE TABLE as the table is now: pg_dump --schema-only writes such a file",
            )),
        }
    }

    fn skip_action(&mut self) {
        self.skip_until(&|parser: &Self| matches!(parser.peek(), Token::Symbol(',' | ';')));
    }

    fn identity(&mut self) -> Result<Alteration, SelectError> {
        for word in ["full", "default", "nothing"] {
            if self.take_word(word) {
                return Ok(Alteration::Identity(word));
            }
        }
        if self.take_words(&["using", "index"]) {
            self.name()?;
            return Ok(Alteration::Identity("index"));
        }
        Err(self.not_understood())
    }

    fn addition(&mut self) -> Result<Option<Alteration>, SelectError> {
        if self.begins_constraint() {
            return Ok(self.table_constraint()?.map(Alteration::Key));
        }
        self.take_word("column");
        let if_not_exists = self.take_words(&["if", "not", "exists"]);
        let mut keys = Vec::new();
        let definition = self.column_definition(&mut keys)?;
        Ok(Some(Alteration::Column { definition, keys, if_not_exists }))
    }

    /// ADD VALUE; everything else about a type is skipped, but for a new name of a label.
    pub(super) fn alter_type(&mut self) -> Result<Option<Statement>, SelectError> {
        self.take_words(&["alter", "type"]);
        let name = self.place()?;
        if self.word_at(0, "rename") {
            return Err(self.refuse("renaming a type or a label is not read", "write CREATE TYPE as the type is now"));
        }
        if !self.take_words(&["add", "value"]) {
            self.skip_statement();
            return Ok(None);
        }
        self.take_words(&["if", "not", "exists"]);
        let label = self.string()?;
        let beside = match (self.take_word("before"), self.take_word("after")) {
            (false, false) => None,
            (_, after) => Some((after, self.string()?)),
        };
        Ok(Some(Statement::Label { name, label, beside }))
    }
}
