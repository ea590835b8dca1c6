//! The statements of a schema file that say what tables look like, as a syntax tree.
//!
//! Promises: CREATE TABLE, TYPE and DOMAIN, CREATE UNIQUE INDEX and ALTER TABLE are read as Postgres' grammar reads them (`gram.y`), and what
//! is not understood inside them is an error with its place. Every other statement is skipped, and so are psql's own commands (lines
//! that begin with a backslash). Expressions (DEFAULT, CHECK, ...) are skipped, not read.

mod alter;
mod table;

use super::lex::{self, Token};
use super::{Parser, TypeName};
use crate::error::SelectError;

/// Longest schema file, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 4 << 20;

/// A name with its place.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub at: usize,
    pub schema: Option<String>,
    pub name: String,
}

/// A statement that counts.
#[derive(Debug)]
pub(crate) enum Statement {
    Table {
        name: Name,
        if_not_exists: bool,
        columns: Vec<ColumnDefinition>,
        keys: Vec<Key>,
        unusable: Option<(&'static str, &'static str)>,
    },
    Alter {
        name: Name,
        alterations: Vec<Alteration>,
    },
    Enum {
        name: Name,
        labels: Vec<String>,
    },
    /// A label added to an enumeration: before (or after, with true) another one, else at the end.
    Label {
        name: Name,
        label: String,
        beside: Option<(bool, String)>,
    },
    Domain {
        name: Name,
        ty: Option<TypeName>,
        not_null: bool,
        collation: Option<String>,
    },
    /// A unique index on plain columns of all rows.
    UniqueIndex {
        table: Name,
        columns: Vec<String>,
    },
}

/// One column.
#[derive(Debug)]
pub(crate) struct ColumnDefinition {
    pub at: usize,
    pub name: String,
    /// None: nothing that could be a supported type.
    pub ty: Option<TypeName>,
    /// The type as it is written.
    pub written: String,
    pub not_null: bool,
    pub collation: Option<String>,
}

/// A primary key or a unique constraint.
#[derive(Debug)]
pub(crate) struct Key {
    pub at: usize,
    pub primary: bool,
    pub columns: Vec<String>,
    /// Checked at once, not at the end of the transaction.
    pub immediate: bool,
}

/// What ALTER TABLE changes.
#[derive(Debug)]
pub(crate) enum Alteration {
    Identity(&'static str),
    Key(Key),
    Column { definition: ColumnDefinition, keys: Vec<Key>, if_not_exists: bool },
    NotNull(String, bool),
}

/// The statements that count, in order.
pub(crate) fn statements(text: &str) -> Result<Vec<Statement>, SelectError> {
    let text = without_psql_commands(text);
    let lexemes = lex::tokens_within(&text, SCHEMA_BYTES_MAX, "the schema")?;
    let mut parser = Parser { sql: &text, lexemes, cursor: 0, depth: 0 };
    let mut statements = Vec::new();
    while *parser.peek() != Token::End {
        statements.extend(parser.statement()?);
        if *parser.peek() != Token::End {
            parser.expect_symbol(';')?;
        }
    }
    Ok(statements)
}

/// Lines such as `\connect` as blanks, so that every place stays where it is.
fn without_psql_commands(text: &str) -> String {
    let blank = |line: &str| line.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { char::from(byte) } else { ' ' }).collect();
    let line = |line: &str| if line.starts_with('\\') { blank(line) } else { line.to_owned() };
    text.split_inclusive('\n').map(line).collect()
}

impl Parser<'_> {
    fn statement(&mut self) -> Result<Option<Statement>, SelectError> {
        let words = |parser: &Self, all: &[&str]| all.iter().enumerate().all(|(n, word)| parser.word_at(n, word));
        if words(self, &["alter", "table"]) {
            return self.alter_table().map(Some);
        }
        if words(self, &["alter", "type"]) {
            return self.alter_type();
        }
        if self.word_at(0, "create") {
            let before = (1..5).take_while(|n| self.is_before_table(*n)).count();
            if self.word_at(before + 1, "table") {
                return self.create_table().map(Some);
            }
            match self.peek_at(1) {
                Token::Word(word) if word == "type" => return self.create_type(),
                Token::Word(word) if word == "domain" => return self.create_domain().map(Some),
                Token::Word(word) if word == "unique" => return self.create_unique_index(),
                _ => {}
            }
        }
        self.skip_statement();
        Ok(None)
    }

    /// Words between CREATE and TABLE.
    fn is_before_table(&self, ahead: usize) -> bool {
        ["global", "local", "temporary", "temp", "unlogged", "foreign"].iter().any(|word| self.word_at(ahead, word))
    }

    fn place(&mut self) -> Result<Name, SelectError> {
        let at = self.at();
        let (schema, name) = self.qualified_name()?;
        Ok(Name { at, schema, name })
    }

    fn take_words(&mut self, words: &[&str]) -> bool {
        let all = words.iter().enumerate().all(|(n, word)| self.word_at(n, word));
        self.cursor += if all { words.len() } else { 0 };
        all
    }

    /// Up to the semicolon or the end.
    fn skip_statement(&mut self) {
        self.skip_until(&|parser: &Self| *parser.peek() == Token::Symbol(';'));
    }

    /// Up to the token, outside of parentheses, where `stop` holds, or to the end of the statement around it.
    fn skip_until(&mut self, stop: &dyn Fn(&Self) -> bool) {
        let mut open = 0_usize;
        while *self.peek() != Token::End {
            if open == 0 && (stop(self) || *self.peek() == Token::Symbol(')')) {
                return;
            }
            match self.next() {
                Token::Symbol('(' | '[') => open += 1,
                Token::Symbol(')' | ']') => open = open.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// A group in parentheses, if there is one.
    fn skip_group(&mut self) -> Result<bool, SelectError> {
        if !self.take_symbol('(') {
            return Ok(false);
        }
        self.skip_until(&|_| false);
        self.expect_symbol(')')?;
        Ok(true)
    }

    /// `(a, b)`
    fn column_names(&mut self) -> Result<Vec<String>, SelectError> {
        self.expect_symbol('(')?;
        let mut names = vec![self.name()?];
        while self.take_symbol(',') {
            names.push(self.name()?);
        }
        self.expect_symbol(')')?;
        Ok(names)
    }

    fn string(&mut self) -> Result<String, SelectError> {
        let at = self.at();
        match self.next() {
            Token::String(text) => Ok(text),
            _ => Err(self.unexpected_at(at)),
        }
    }

    /// What the syntax error is, and that the rest of the file need not be understood.
    fn not_understood(&self) -> SelectError {
        let mut error = self.unexpected();
        error.hint =
            Some("write the table as pg_dump --schema-only writes it, or leave this part out if it is neither type nor key".to_owned());
        error
    }

    /// Types other than enumerations are types that no column can be read with.
    fn create_type(&mut self) -> Result<Option<Statement>, SelectError> {
        self.take_words(&["create", "type"]);
        let name = self.place()?;
        if !self.take_words(&["as", "enum"]) {
            self.skip_statement();
            return Ok(None);
        }
        self.expect_symbol('(')?;
        let mut labels = Vec::new();
        while !self.take_symbol(')') {
            labels.push(self.string()?);
            if !self.take_symbol(',') && *self.peek() != Token::Symbol(')') {
                return Err(self.not_understood());
            }
        }
        Ok(Some(Statement::Enum { name, labels }))
    }

    fn create_domain(&mut self) -> Result<Statement, SelectError> {
        self.take_words(&["create", "domain"]);
        let name = self.place()?;
        self.take_word("as");
        let (ty, _) = self.type_or_other()?;
        let (mut not_null, mut collation) = (false, None);
        loop {
            if self.take_word("constraint") {
                self.name()?;
            } else if self.take_words(&["not", "null"]) {
                not_null = true;
            } else if self.take_word("null") || self.take_words(&["not", "valid"]) || self.take_words(&["no", "inherit"]) {
            } else if self.take_word("check") {
                self.skip_group()?;
            } else if self.take_word("default") {
                self.skip_default();
            } else if self.take_word("collate") {
                collation = Some(self.qualified_name()?.1);
            } else if matches!(self.peek(), Token::Symbol(';') | Token::End) {
                return Ok(Statement::Domain { name, ty, not_null, collation });
            } else {
                return Err(self.not_understood());
            }
        }
    }

    /// `None` where only some rows or expressions are unique.
    fn create_unique_index(&mut self) -> Result<Option<Statement>, SelectError> {
        self.take_words(&["create", "unique", "index"]);
        self.take_word("concurrently");
        self.take_words(&["if", "not", "exists"]);
        if !self.word_at(0, "on") {
            self.name()?;
        }
        self.expect_word("on")?;
        self.take_word("only");
        let table = self.place()?;
        if self.take_word("using") {
            self.name()?;
        }
        let mark = self.mark();
        let Ok(columns) = self.column_names() else {
            self.reset(mark);
            self.skip_statement();
            return Ok(None);
        };
        let mut partial = false;
        while !matches!(self.peek(), Token::Symbol(';') | Token::End) {
            partial |= self.word_at(0, "where");
            self.next();
        }
        Ok(if partial { None } else { Some(Statement::UniqueIndex { table, columns }) })
    }
}
