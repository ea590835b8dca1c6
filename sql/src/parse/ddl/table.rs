//! CREATE TABLE: columns, keys, and what of them is skipped.

use super::super::lex::Token;
use super::super::{Parser, TypeName};
use super::{ColumnDefinition, Key, Statement};
use crate::error::SelectError;

/// What can follow the expression of a DEFAULT.
const AFTER_DEFAULT: &[&str] =
    &["constraint", "not", "null", "check", "unique", "primary", "references", "generated", "collate", "deferrable", "initially"];

impl Parser<'_> {
    pub(super) fn create_table(&mut self) -> Result<Statement, SelectError> {
        self.expect_word("create")?;
        let mut unusable = None;
        while !self.take_word("table") {
            let Token::Word(word) = self.next() else { return Err(self.not_understood()) };
            unusable = match word.as_str() {
                "temp" | "temporary" => Some(("is a temporary table", "use a permanent table")),
                "unlogged" => {
                    Some(("is an unlogged table", "run ALTER TABLE ... SET LOGGED: changes of unlogged tables are not in the WAL"))
                }
                "foreign" => Some(("is a foreign table", "use the table in its own database: foreign tables have no change events")),
                _ => unusable,
            };
        }
        let if_not_exists = self.take_words(&["if", "not", "exists"]);
        let name = self.place()?;
        let (mut columns, mut keys) = (Vec::new(), Vec::new());
        if self.take_symbol('(') {
            if !self.take_symbol(')') {
                loop {
                    self.element(&mut columns, &mut keys)?;
                    if !self.take_symbol(',') {
                        break;
                    }
                }
                if !self.take_symbol(')') {
                    return Err(self.not_understood());
                }
            }
        } else {
            unusable = Some(("is made without a list of its columns", "write CREATE TABLE with all columns"));
        }
        while !matches!(self.peek(), Token::Symbol(';') | Token::End) {
            if self.word_at(0, "inherits") {
                unusable = Some(("inherits columns", "write CREATE TABLE with all columns"));
            } else if self.word_at(0, "partition") && self.word_at(1, "by") {
                unusable = Some(("is a partitioned table", "name one partition: the changes of each partition are in a topic of its own"));
            } else if self.word_at(0, "as") {
                unusable = Some(("is made from a query", "write CREATE TABLE with all columns"));
            }
            if !self.skip_group()? {
                self.next();
            }
        }
        Ok(Statement::Table { name, if_not_exists, columns, keys, unusable })
    }

    fn element(&mut self, columns: &mut Vec<ColumnDefinition>, keys: &mut Vec<Key>) -> Result<(), SelectError> {
        if self.word_at(0, "like") {
            return Err(self.refuse("LIKE is not read", "write the columns themselves"));
        }
        if self.begins_constraint() {
            keys.extend(self.table_constraint()?);
            return Ok(());
        }
        let definition = self.column_definition(keys)?;
        columns.push(definition);
        Ok(())
    }

    pub(super) fn begins_constraint(&self) -> bool {
        let excludes = self.word_at(0, "exclude") && (self.word_at(1, "using") || *self.peek_at(1) == Token::Symbol('('));
        excludes || ["constraint", "primary", "unique", "check", "foreign"].iter().any(|word| self.word_at(0, word))
    }

    /// A constraint of the table; the key if it is one.
    pub(super) fn table_constraint(&mut self) -> Result<Option<Key>, SelectError> {
        if self.take_word("constraint") {
            self.name()?;
        }
        let at = self.at();
        let primary = self.take_words(&["primary", "key"]);
        if primary || self.take_word("unique") {
            if self.word_at(0, "using") {
                return Err(self.refuse("a key made from an index is not read", "write the key with its columns: PRIMARY KEY (a, b)"));
            }
            self.take_nulls();
            let columns = self.column_names()?;
            if self.take_word("include") {
                self.skip_group()?;
            }
            let immediate = self.rest_of_constraint();
            return Ok(Some(Key { at, primary, columns, immediate }));
        }
        if self.take_word("check") || self.take_words(&["foreign", "key"]) || self.take_word("exclude") {
            self.rest_of_constraint();
            return Ok(None);
        }
        Err(self.not_understood())
    }

    fn take_nulls(&mut self) {
        if self.take_words(&["nulls", "not", "distinct"]) {
            return;
        }
        self.take_words(&["nulls", "distinct"]);
    }

    /// Up to the comma; whether it is checked at once.
    fn rest_of_constraint(&mut self) -> bool {
        let from = self.cursor;
        self.skip_until(&|parser: &Self| matches!(parser.peek(), Token::Symbol(',' | ';')));
        let deferrable = |n: usize| matches!(&self.lexemes[n].token, Token::Word(word) if word == "deferrable");
        let not = |n: usize| n > 0 && matches!(&self.lexemes[n - 1].token, Token::Word(word) if word == "not");
        !(from..self.cursor).any(|n| deferrable(n) && !not(n))
    }

    /// `name type constraint ...`
    pub(super) fn column_definition(&mut self, keys: &mut Vec<Key>) -> Result<ColumnDefinition, SelectError> {
        let at = self.at();
        let name = self.name()?;
        let (ty, written) = self.type_or_other()?;
        let mut column = ColumnDefinition { at, name, ty, written, not_null: false, collation: None };
        while !matches!(self.peek(), Token::Symbol(',' | ')' | ';') | Token::End) {
            self.column_constraint(&mut column, keys)?;
        }
        Ok(column)
    }

    fn column_constraint(&mut self, column: &mut ColumnDefinition, keys: &mut Vec<Key>) -> Result<(), SelectError> {
        if self.take_word("constraint") {
            self.name()?;
        }
        let at = self.at();
        if self.take_words(&["not", "null"]) {
            column.not_null = true;
            self.take_words(&["no", "inherit"]);
        } else if self.take_word("null") {
        } else if self.take_word("default") {
            self.skip_default();
        } else if self.take_word("check") {
            self.skip_group()?;
            self.take_words(&["no", "inherit"]);
        } else if self.take_words(&["primary", "key"]) {
            keys.push(Key { at, primary: true, columns: vec![column.name.clone()], immediate: !self.key_attributes()? });
        } else if self.take_word("unique") {
            self.take_nulls();
            keys.push(Key { at, primary: false, columns: vec![column.name.clone()], immediate: !self.key_attributes()? });
        } else if self.take_word("references") {
            self.reference()?;
        } else if self.take_word("generated") {
            column.not_null |= self.generated()?;
        } else if self.take_word("collate") {
            column.collation = Some(self.qualified_name()?.1);
        } else if self.take_word("storage") || self.take_word("compression") {
            self.label()?;
        } else {
            return Err(self.not_understood());
        }
        Ok(())
    }

    /// What follows a key; whether it is deferrable.
    fn key_attributes(&mut self) -> Result<bool, SelectError> {
        let mut deferrable = false;
        loop {
            if self.take_word("deferrable") {
                deferrable = true;
            } else if self.take_word("with") {
                self.skip_group()?;
            } else if self.take_words(&["using", "index", "tablespace"]) {
                self.name()?;
            } else if !self.take_words(&["not", "deferrable"]) && !self.initially() {
                return Ok(deferrable);
            }
        }
    }

    fn initially(&mut self) -> bool {
        self.take_words(&["initially", "deferred"]) || self.take_words(&["initially", "immediate"])
    }

    /// `table [(columns)] [MATCH ...] [ON DELETE ...] [ON UPDATE ...] [DEFERRABLE ...]`
    fn reference(&mut self) -> Result<(), SelectError> {
        self.qualified_name()?;
        self.skip_group()?;
        loop {
            if self.take_word("match") {
                self.label()?;
            } else if self.take_word("on") {
                self.label()?;
                if self.take_word("set") {
                    self.label()?;
                    self.skip_group()?;
                } else if !self.take_words(&["no", "action"]) {
                    self.label()?;
                }
            } else if !self.take_word("deferrable") && !self.take_words(&["not", "deferrable"]) && !self.initially() {
                return Ok(());
            }
        }
    }

    /// What follows GENERATED; whether the column is an identity, and so never NULL.
    fn generated(&mut self) -> Result<bool, SelectError> {
        if !self.take_word("always") && !self.take_words(&["by", "default"]) {
            return Err(self.not_understood());
        }
        self.expect_word("as")?;
        let identity = self.take_word("identity");
        let group = self.skip_group()?;
        if !identity && (!group || !self.take_word("stored")) {
            return Err(self.not_understood());
        }
        Ok(identity)
    }

    /// The expression ends where a constraint or the next column begins. `NULL` can be the expression itself, `IS NOT` is inside of one.
    pub(super) fn skip_default(&mut self) {
        let first = self.cursor;
        self.skip_until(&|parser: &Self| match parser.peek() {
            Token::Symbol(',' | ';') => true,
            Token::Word(word) => {
                let inside =
                    parser.cursor == first || matches!(&parser.lexemes[parser.cursor - 1].token, Token::Word(word) if word == "is");
                !inside && AFTER_DEFAULT.contains(&word.as_str())
            }
            _ => false,
        });
    }

    /// A type, or words that look like one, with its text.
    pub(super) fn type_or_other(&mut self) -> Result<(Option<TypeName>, String), SelectError> {
        let (from, mark) = (self.at(), self.mark());
        let ty = match self.type_name() {
            Ok(ty) => Some(ty),
            Err(error) => {
                // geometry(Point, 4326): a name with a group that no supported type has.
                self.reset(mark);
                self.qualified_name()?;
                if !self.skip_group()? {
                    return Err(error);
                }
                while self.take_symbol('[') {
                    self.expect_symbol(']')?;
                }
                None
            }
        };
        let end = self.lexemes.get(self.cursor.saturating_sub(1)).map_or(from, |last| last.end);
        Ok((ty, self.sql[from..end.max(from)].to_owned()))
    }
}
