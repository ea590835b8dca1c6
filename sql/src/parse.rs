//! The text of a SELECT as a syntax tree.
//!
//! Promises: what is accepted means what it means in Postgres (`gram.y` of Postgres 15: precedence, non-associative
//! comparisons, names of outputs), every node knows the position Postgres would report, nothing recurses deeper than
//! [`EXPRESSION_DEPTH_MAX`], and what Highwater does not do is refused here with the reason and what to write instead. Does not
//! know tables, columns, functions or types.
//!
//! A parser of its own and not the `sqlparser` crate (0.63, tried with the Postgres dialect): that one reads `-2 ^ 2` as `-(2 ^ 2)`,
//! `a>-1` as an operator `>-`, `'a'` newline `'b'` and `a ISNULL` as aliases, accepts `a < b < c`, knows neither BETWEEN SYMMETRIC
//! nor `trim(both from a)`, and keeps no position of operators.

mod call;
mod ddl;
mod expression;
mod lex;
mod syntax;
mod type_name;

pub use ddl::SCHEMA_BYTES_MAX;
pub use lex::SELECT_BYTES_MAX;
pub use syntax::EXPRESSION_DEPTH_MAX;

pub(crate) use ddl::{Alteration, ColumnDefinition, Key, Name, Statement, statements};
pub(crate) use syntax::{Expr, Item, JoinClause, Kind, Pattern, Select, TableRef, Test, TypeName};

use crate::error::SelectError;
use lex::{Lexeme, Token};

/// `pg_get_keywords()`: reserved words, and those that may only name functions and types.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "initially",
    "intersect",
    "into",
    "lateral",
    "leading",
    "limit",
    "localtime",
    "localtimestamp",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "session_user",
    "some",
    "symmetric",
    "table",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
];
const RESERVED_EXCEPT_FUNCTIONS: &[&str] = &[
    "authorization",
    "binary",
    "collation",
    "concurrently",
    "cross",
    "current_schema",
    "freeze",
    "full",
    "ilike",
    "inner",
    "is",
    "isnull",
    "join",
    "left",
    "like",
    "natural",
    "notnull",
    "outer",
    "overlaps",
    "right",
    "similar",
    "tablesample",
    "verbose",
];
/// Words that name an output only after AS.
const LABEL_NEEDS_AS: &[&str] = &[
    "array",
    "as",
    "char",
    "character",
    "create",
    "day",
    "except",
    "fetch",
    "filter",
    "for",
    "from",
    "grant",
    "group",
    "having",
    "hour",
    "intersect",
    "into",
    "isnull",
    "limit",
    "minute",
    "month",
    "notnull",
    "offset",
    "on",
    "order",
    "over",
    "overlaps",
    "precision",
    "returning",
    "second",
    "to",
    "union",
    "varying",
    "where",
    "window",
    "with",
    "within",
    "without",
    "year",
];

/// A table as a SELECT names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// The schema when one is written.
    pub schema: Option<String>,
    /// The table's name, folded unless quoted.
    pub name: String,
}

/// The tables that a SELECT reads, FROM first, each once: what the catalog has to know before [`crate::check::check`].
pub fn tables(sql: &str) -> Result<Vec<TableName>, SelectError> {
    let select = select(sql)?;
    let mut names: Vec<TableName> = Vec::new();
    for table in std::iter::once(&select.from).chain(select.joins.iter().map(|join| &join.table)) {
        let name = TableName { schema: table.schema.clone(), name: table.name.clone() };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The whole text as one SELECT.
pub(crate) fn select(sql: &str) -> Result<Select, SelectError> {
    let lexemes = lex::tokens(sql)?;
    let mut parser = Parser { sql, lexemes, cursor: 0, depth: 0 };
    let select = parser.select()?;
    parser.take_symbol(';');
    match parser.peek() {
        Token::End => Ok(select),
        _ => Err(parser.unexpected()),
    }
}

struct Parser<'a> {
    sql: &'a str,
    lexemes: Vec<Lexeme>,
    cursor: usize,
    depth: u16,
}

/// The cursor and helpers that all of the grammar uses.
impl Parser<'_> {
    fn peek_at(&self, ahead: usize) -> &Token {
        self.lexemes.get(self.cursor + ahead).map_or(&Token::End, |l| &l.token)
    }

    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    fn at(&self) -> usize {
        self.lexemes.get(self.cursor).map_or(self.sql.len(), |l| l.start)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.cursor += 1;
        token
    }

    fn mark(&self) -> (usize, u16) {
        (self.cursor, self.depth)
    }

    fn reset(&mut self, (cursor, depth): (usize, u16)) {
        (self.cursor, self.depth) = (cursor, depth);
    }

    fn enter(&mut self) -> Result<(), SelectError> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX { Err(syntax::too_deep(self.at())) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    fn word_at(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek_at(ahead), Token::Word(w) if w == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.word_at(0, word);
        self.cursor += usize::from(found);
        found
    }

    fn take_symbol(&mut self, symbol: char) -> bool {
        let found = *self.peek() == Token::Symbol(symbol);
        self.cursor += usize::from(found);
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<(), SelectError> {
        if self.take_word(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn expect_symbol(&mut self, symbol: char) -> Result<(), SelectError> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> SelectError {
        self.unexpected_at(self.at())
    }

    /// Postgres' `syntax error at or near` for the token that starts there.
    fn unexpected_at(&self, at: usize) -> SelectError {
        match self.lexemes.iter().find(|l| l.start == at).filter(|l| l.token != Token::End) {
            Some(lexeme) => lex::syntax(at, format!("syntax error at or near \"{}\"", &self.sql[lexeme.start..lexeme.end])),
            None => lex::syntax(at, "syntax error at end of input"),
        }
    }

    fn refuse(&self, message: &str, hint: &str) -> SelectError {
        self.refuse_at(self.at(), message, hint)
    }

    fn refuse_at(&self, at: usize, message: &str, hint: &str) -> SelectError {
        SelectError { sqlstate: "0A000", message: message.to_owned(), position: Some(at), hint: Some(hint.to_owned()) }
    }

    fn refuse_subquery(&self) -> Result<(), SelectError> {
        if self.word_at(0, "select") || self.word_at(0, "with") || self.word_at(0, "values") {
            return Err(self.refuse("subqueries are not supported", "LEFT JOIN the table on its key and use its columns"));
        }
        Ok(())
    }

    /// A name that is not a reserved word (`ColId`); function names may also be `left`, `right`, ...
    fn name(&mut self) -> Result<String, SelectError> {
        let called = *self.peek_at(1) == Token::Symbol('(');
        match self.peek() {
            Token::Quoted(_) => {}
            Token::Word(word) if RESERVED.contains(&word.as_str()) => return Err(self.unexpected()),
            Token::Word(word) if !called && RESERVED_EXCEPT_FUNCTIONS.contains(&word.as_str()) => return Err(self.unexpected()),
            Token::Word(_) => {}
            _ => return Err(self.unexpected()),
        }
        self.label()
    }

    /// Any word (`ColLabel`).
    fn label(&mut self) -> Result<String, SelectError> {
        match self.peek().clone() {
            Token::Word(name) | Token::Quoted(name) => {
                self.cursor += 1;
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// `[schema.]name`
    fn qualified_name(&mut self) -> Result<(Option<String>, String), SelectError> {
        let at = self.at();
        let first = self.name()?;
        if !self.take_symbol('.') {
            return Ok((None, first));
        }
        let second = self.label()?;
        if *self.peek() == Token::Symbol('.') {
            return Err(self.refuse_at(at, "cross-database references are not implemented", "write schema.name"));
        }
        Ok((Some(first), second))
    }
}

/// The SELECT statement itself.
impl Parser<'_> {
    fn select(&mut self) -> Result<Select, SelectError> {
        if self.word_at(0, "with") {
            return Err(self.refuse("WITH queries are not supported", "write one SELECT over the table and its joins"));
        }
        if *self.peek() == Token::Symbol('(') || !self.word_at(0, "select") {
            return Err(if *self.peek() == Token::End {
                self.unexpected()
            } else {
                self.refuse("only a SELECT can be kept live", "begin with SELECT")
            });
        }
        self.next();
        self.take_word("all");
        if self.word_at(0, "distinct") {
            return Err(self.refuse(
                "DISTINCT is not supported: a row is computed from one change alone",
                "leave it out; a sink keyed by the columns keeps one row for each key",
            ));
        }
        if self.word_at(0, "from") {
            return Err(self.refuse("a SELECT without output columns is not supported", "name the columns that the sinks need"));
        }
        let mut items = vec![self.item()?];
        while self.take_symbol(',') {
            items.push(self.item()?);
        }
        self.refuse_clause()?;
        if !self.word_at(0, "from") {
            return Err(match self.peek() {
                Token::End | Token::Symbol(';') => {
                    self.refuse("a SELECT without FROM has no changes to follow", "add FROM and the table whose changes are the source")
                }
                _ => self.unexpected(),
            });
        }
        self.next();
        let from = self.table()?;
        let mut joins = Vec::new();
        while let Some(join) = self.join()? {
            joins.push(join);
        }
        if *self.peek() == Token::Symbol(',') {
            return Err(self.refuse("FROM takes one table, the source", "write LEFT JOIN other_table ON its key = ..."));
        }
        let filter = if self.take_word("where") { Some(self.expression()?) } else { None };
        self.refuse_clause()?;
        Ok(Select { items, from, joins, filter })
    }

    fn item(&mut self) -> Result<Item, SelectError> {
        let at = self.at();
        if let Some(table) = self.star()? {
            return Ok(Item::Star { at, table });
        }
        let expr = self.expression()?;
        let alias = if self.take_word("as") {
            Some(self.label()?)
        } else {
            match self.peek() {
                Token::Quoted(_) => Some(self.label()?),
                Token::Word(word) if !LABEL_NEEDS_AS.contains(&word.as_str()) => Some(self.label()?),
                _ => None,
            }
        };
        Ok(Item::Value { expr, alias })
    }

    /// `*`, `t.*`, `s.t.*`: the qualifying names.
    fn star(&mut self) -> Result<Option<Vec<String>>, SelectError> {
        let mark = self.mark();
        let mut table = Vec::new();
        loop {
            match self.next() {
                Token::Operator(star) if star == "*" => return Ok(Some(table)),
                Token::Word(name) | Token::Quoted(name) if table.len() < 2 && self.take_symbol('.') => table.push(name),
                _ => {
                    self.reset(mark);
                    return Ok(None);
                }
            }
        }
    }

    fn table(&mut self) -> Result<TableRef, SelectError> {
        let at = self.at();
        if *self.peek() == Token::Symbol('(') {
            return Err(self.refuse(
                "subqueries and parentheses in FROM are not supported",
                "name the table, and write the joins one after the other",
            ));
        }
        if self.word_at(0, "lateral") || self.word_at(0, "only") {
            return Err(self.refuse("LATERAL and ONLY are not supported", "name the table alone"));
        }
        let (schema, name) = self.qualified_name()?;
        if *self.peek() == Token::Symbol('(') {
            return Err(self.refuse_at(at, "functions in FROM are not supported", "name a table"));
        }
        if matches!(self.peek(), Token::Operator(star) if star == "*") {
            self.next();
        }
        let alias = if self.take_word("as") || self.names_table() { Some(self.name()?) } else { None };
        if alias.is_some() && *self.peek() == Token::Symbol('(') {
            return Err(self.refuse("column aliases of a table are not supported", "give the outputs their names with AS"));
        }
        if self.word_at(0, "tablesample") {
            return Err(self.refuse("TABLESAMPLE is not supported", "use WHERE"));
        }
        Ok(TableRef { at, schema, name, alias })
    }

    fn names_table(&self) -> bool {
        match self.peek() {
            Token::Quoted(_) => true,
            Token::Word(word) => !RESERVED.contains(&word.as_str()) && !RESERVED_EXCEPT_FUNCTIONS.contains(&word.as_str()),
            _ => false,
        }
    }

    fn join(&mut self) -> Result<Option<JoinClause>, SelectError> {
        let Token::Word(word) = self.peek().clone() else { return Ok(None) };
        let lookup = "write LEFT JOIN (keeps every row) or INNER JOIN (drops rows without a match) from the source to the lookup table";
        let inner = match word.as_str() {
            "join" => true,
            "inner" => {
                self.next();
                true
            }
            "left" => {
                self.next();
                self.take_word("outer");
                false
            }
            "right" | "full" | "cross" | "natural" => {
                return Err(self.refuse(
                    &format!("{} JOIN is not supported: each change of the source gives one row", word.to_ascii_uppercase()),
                    lookup,
                ));
            }
            _ => return Ok(None),
        };
        self.expect_word("join")?;
        let table = self.table()?;
        if self.word_at(0, "using") {
            return Err(self.refuse("JOIN ... USING is not supported", "write ON a.column = b.column"));
        }
        if let Token::Word(word) = self.peek()
            && ["join", "inner", "left", "right", "full", "cross", "natural"].contains(&word.as_str())
        {
            return Err(self.refuse("joins within joins are not supported", "write the ON of each table right after it"));
        }
        self.expect_word("on")?;
        let on = self.expression()?;
        Ok(Some(JoinClause { inner, table, on }))
    }

    /// Clauses that need more than one row.
    fn refuse_clause(&self) -> Result<(), SelectError> {
        let Token::Word(word) = self.peek() else { return Ok(()) };
        let (message, hint) = match word.as_str() {
            "group" | "having" => (
                "GROUP BY and HAVING are not supported: a row is computed from one change alone",
                "aggregate in the sink (a ranking sums its score over the window)",
            ),
            "window" => ("WINDOW is not supported: a row is computed from one change alone", "leave it to the reader of the result"),
            "order" => {
                ("ORDER BY is not supported: changes keep the order of their commits", "leave it out; a ranking is ordered by its score")
            }
            "limit" | "offset" | "fetch" => {
                ("LIMIT, OFFSET and FETCH are not supported: every change counts", "leave it out; limit when you read the result")
            }
            "union" | "intersect" | "except" => ("UNION, INTERSECT and EXCEPT are not supported", "write one pipeline for each SELECT"),
            "for" => ("FOR UPDATE and FOR SHARE are not supported", "leave it out"),
            "into" => ("SELECT INTO is not supported", "leave it out; the sinks say where rows go"),
            _ => return Ok(()),
        };
        Err(self.refuse(message, hint))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The expression with every operator in parentheses.
    fn shape(expr: &Expr) -> String {
        let list = |list: &[Expr], by: &str| list.iter().map(shape).collect::<Vec<_>>().join(by);
        match &expr.kind {
            Kind::Integer(d) | Kind::Decimal(d) => d.clone(),
            Kind::String(s) => format!("'{s}'"),
            Kind::Column(names) => names.join("."),
            Kind::Unary { operator, operand } => format!("({operator} {})", shape(operand)),
            Kind::Binary { operator, left, right } => format!("({} {operator} {})", shape(left), shape(right)),
            Kind::And(all) => format!("({})", list(all, " and ")),
            Kind::Or(all) => format!("({})", list(all, " or ")),
            Kind::Not(operand) => format!("(not {})", shape(operand)),
            Kind::Is { operand, test, negated } => format!("({} is {negated} {test:?})", shape(operand)),
            Kind::In { operand, list: all, .. } => format!("({} in {})", shape(operand), list(all, ", ")),
            Kind::Between { operand, low, high, .. } => format!("({} between {} {})", shape(operand), shape(low), shape(high)),
            Kind::Cast { operand, ty } => format!("{}::{}", shape(operand), ty.name),
            Kind::Call { name, arguments, .. } => format!("{name}({})", list(arguments, ", ")),
            Kind::Collate { operand, collation } => format!("({} collate {collation})", shape(operand)),
            Kind::Like { operand, against, .. } => format!("({} like {})", shape(operand), shape(against)),
            Kind::Distinct { left, right, .. } => format!("({} distinct {})", shape(left), shape(right)),
            other => format!("{other:?}"),
        }
    }

    fn shape_of(text: &str) -> String {
        let select = select(&format!("SELECT {text} FROM t")).unwrap();
        match &select.items[0] {
            Item::Value { expr, .. } => shape(expr),
            Item::Star { .. } => "*".to_owned(),
        }
    }

    #[test]
    fn precedence_is_that_of_gram_y() {
        for (text, expected) in [
            ("-2 ^ 2", "(-2 ^ 2)"),
            ("-a ^ 2", "((- a) ^ 2)"),
            ("2 ^ 3 ^ 2", "((2 ^ 3) ^ 2)"),
            ("a + b * c - d", "((a + (b * c)) - d)"),
            ("a || b + c", "(a || (b + c))"),
            ("a -> 'k' || b = c", "(((a -> 'k') || b) = c)"),
            ("a>-1", "(a > -1)"),
            ("not a = b", "(not (a = b))"),
            ("a = b is null", "((a = b) is false Null)"),
            ("a is null = b", "((a is false Null) = b)"),
            ("a isnull", "(a is false Null)"),
            ("a in (1, 2) = b", "((a in 1, 2) = b)"),
            ("a or b and not c or d", "(a or (b and (not c)) or d)"),
            ("a between 1 and 2 and b", "((a between 1 2) and b)"),
            ("-a::text", "(- a::text)"),
            ("a at time zone 'x' = b", "(timezone('x', a) = b)"),
            ("a like b || c", "(a like (b || c))"),
            ("a is distinct from b = c and d", "((a distinct (b = c)) and d)"),
            ("@ -5 + 3", "(@ (-5 + 3))"),
            ("date '2020-01-01' + 1", "('2020-01-01'::date + 1)"),
            ("trim(both from a)", "btrim(a)"),
            ("trim(leading 'x' from a)", "ltrim(a, 'x')"),
            ("substring(a for 2)", "substring(a, 1, 2)"),
            ("position('x' in a)", "position(a, 'x')"),
            ("a collate \"C\" < b", "((a collate C) < b)"),
        ] {
            assert_eq!(shape_of(text), expected, "{text}");
        }
    }

    #[test]
    fn what_postgres_cannot_parse_is_a_syntax_error_at_the_same_place() {
        for (sql, message, at) in [
            ("SELECT a < b < c FROM t", "syntax error at or near \"<\"", 13),
            ("SELECT a FROM t WHERE", "syntax error at end of input", 21),
            ("SELECT a, FROM t", "syntax error at or near \"FROM\"", 10),
            ("SELECT (a FROM t", "syntax error at or near \"FROM\"", 10),
            ("SELECT a == b FROM t", "", 9),
        ] {
            match select(sql) {
                Err(error) => {
                    assert_eq!(error.message, message, "{sql}");
                    assert_eq!(error.position, Some(at), "{sql}");
                }
                // An unknown operator is an error of the check, not of the syntax.
                Ok(_) => assert_eq!(message, "", "{sql}"),
            }
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_never_overflows_the_stack() {
        let levels = 20_000;
        for text in [
            format!("{}a{}", "(".repeat(levels), ")".repeat(levels)),
            format!("a{}", " + a".repeat(levels / 2)),
            format!("{}a", "not ".repeat(levels / 2)),
            format!("{}a", "- ".repeat(levels)),
            format!("{}a{}", "abs(".repeat(levels / 3), ")".repeat(levels / 3)),
            format!("a{}", "::text".repeat(levels / 3)),
        ] {
            let error = select(&format!("SELECT {text} FROM t")).unwrap_err();
            assert_eq!(error.sqlstate, "54001", "{}", &text[..20]);
        }
        assert!(select(&format!("SELECT a IN (1{}) FROM t", ", 1".repeat(levels))).is_ok());
        assert_eq!(select(&format!("SELECT '{}' FROM t", "x".repeat(SELECT_BYTES_MAX))).unwrap_err().sqlstate, "54000");
    }

    #[test]
    fn tables_are_named_once_and_folded() {
        let names = tables("select * from S.Orders o left join \"Customer\" c on c.id = o.c join s.orders p on p.id = o.p").unwrap();
        let name = |schema: Option<&str>, name: &str| TableName { schema: schema.map(str::to_owned), name: name.to_owned() };
        assert_eq!(names, [name(Some("s"), "orders"), name(None, "Customer")]);
    }

    #[test]
    fn refusals_name_the_place_and_the_way_out() {
        for (sql, near) in [
            ("SELECT DISTINCT a FROM t", "DISTINCT"),
            ("SELECT a FROM t GROUP BY a", "GROUP"),
            ("SELECT a FROM t ORDER BY a", "ORDER"),
            ("SELECT a FROM t LIMIT 1", "LIMIT"),
            ("WITH x AS (SELECT 1) SELECT a FROM x", "WITH"),
            ("SELECT a FROM t UNION SELECT b FROM u", "UNION"),
            ("SELECT (SELECT 1) FROM t", "SELECT 1"),
            ("SELECT count(*) FROM t", "count"),
            ("SELECT sum(a) OVER () FROM t", "sum"),
            ("SELECT a FROM t, u", ", u"),
            ("SELECT a FROM t RIGHT JOIN u ON true", "RIGHT"),
            ("SELECT a FROM t CROSS JOIN u", "CROSS"),
            ("SELECT a FROM (SELECT 1) t", "(SELECT"),
            ("SELECT current_date FROM t", "current_date"),
            ("SELECT 1", ""),
        ] {
            let error = select(sql).unwrap_err();
            assert_eq!(error.sqlstate, "0A000", "{sql}");
            assert!(error.hint.is_some(), "{sql}");
            let at = error.position.unwrap();
            assert!(sql[at..].starts_with(near), "{sql}: {at}");
        }
    }
}
