//! Expressions, with the precedence of Postgres' `gram.y`.

use super::lex::Token;
use super::syntax::{Expr, Kind, Pattern, Test};
use super::{Parser, RESERVED};
use crate::error::SelectError;

/// How tightly an operator binds (`gram.y`, the %left and %nonassoc lines).
mod binding {
    pub const OR: u8 = 1;
    pub const AND: u8 = 2;
    pub const NOT: u8 = 3;
    pub const IS: u8 = 4;
    pub const COMPARISON: u8 = 5;
    pub const MEMBERSHIP: u8 = 6;
    pub const OTHER: u8 = 7;
    pub const SUM: u8 = 8;
    pub const PRODUCT: u8 = 9;
    pub const POWER: u8 = 10;
    pub const AT: u8 = 11;
    pub const COLLATE: u8 = 12;
    pub const SIGN: u8 = 13;
    pub const POSTFIX: u8 = 14;
}

fn operator_binding(operator: &str) -> u8 {
    match operator {
        "<" | ">" | "=" | "<=" | ">=" | "<>" => binding::COMPARISON,
        "+" | "-" => binding::SUM,
        "*" | "/" | "%" => binding::PRODUCT,
        "^" => binding::POWER,
        _ => binding::OTHER,
    }
}

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expr, SelectError> {
        self.expression_above(0)
    }

    /// An expression whose operators bind at least as tightly as `least`.
    pub(super) fn expression_above(&mut self, least: u8) -> Result<Expr, SelectError> {
        self.enter()?;
        let mut left = self.prefix()?;
        // The binding of the last operator, when it is one that may not be followed by its equals (%nonassoc).
        let mut not_again = None;
        while let Some(level) = self.infix_binding() {
            if level < least {
                break;
            }
            if not_again == Some(level) {
                return Err(self.unexpected());
            }
            let open_ended;
            (left, open_ended) = self.infix(left, level)?;
            not_again = open_ended.then_some(level);
        }
        self.leave();
        Ok(left)
    }

    fn infix_binding(&self) -> Option<u8> {
        let level = match self.peek() {
            // An argument's name, not an operator.
            Token::Operator(arrow) if arrow == "=>" => return None,
            Token::Operator(operator) => operator_binding(operator),
            Token::Typecast | Token::Symbol('[') => binding::POSTFIX,
            Token::Word(word) => match word.as_str() {
                "or" => binding::OR,
                "and" => binding::AND,
                "is" | "isnull" | "notnull" => binding::IS,
                "similar" if !self.word_at(1, "to") => return None,
                "between" | "in" | "like" | "ilike" | "similar" => binding::MEMBERSHIP,
                "not" if matches!(self.peek_at(1), Token::Word(w) if matches!(w.as_str(), "between" | "in" | "like" | "ilike" | "similar")) => {
                    binding::MEMBERSHIP
                }
                "at" if self.word_at(1, "time") => binding::AT,
                "collate" => binding::COLLATE,
                "operator" if *self.peek_at(1) == Token::Symbol('(') => binding::OTHER,
                _ => return None,
            },
            _ => return None,
        };
        Some(level)
    }

    /// Applies the operator at the cursor; whether it ends in an operand and binds at a level that does not chain.
    fn infix(&mut self, left: Expr, level: u8) -> Result<(Expr, bool), SelectError> {
        let at = self.at();
        let expr = match level {
            binding::OR => self.chain(left, "or", binding::AND, Kind::Or)?,
            binding::AND => self.chain(left, "and", binding::NOT, Kind::And)?,
            binding::IS => return self.is(left),
            binding::MEMBERSHIP => return self.membership(left),
            binding::AT => {
                self.next();
                self.expect_word("time")?;
                self.expect_word("zone")?;
                let zone = self.expression_above(binding::AT + 1)?;
                Expr::new(at, Kind::Call { schema: None, name: "timezone".to_owned(), arguments: vec![zone, left] })?
            }
            binding::COLLATE => {
                self.next();
                let (_, collation) = self.qualified_name()?;
                Expr::new(at, Kind::Collate { operand: Box::new(left), collation })?
            }
            binding::POSTFIX if self.take_symbol('[') => self.subscript(at, left)?,
            binding::POSTFIX => {
                self.next();
                let ty = self.type_name()?;
                Expr::new(at, Kind::Cast { operand: Box::new(left), ty })?
            }
            _ => return Ok((self.operator(left, level)?, level == binding::COMPARISON)),
        };
        Ok((expr, false))
    }

    fn subscript(&mut self, at: usize, operand: Expr) -> Result<Expr, SelectError> {
        let index = self.expression()?;
        if *self.peek() == Token::Symbol(':') {
            return Err(self.refuse("array slices are not supported", "name the elements one by one: a[1], a[2]"));
        }
        self.expect_symbol(']')?;
        Expr::new(at, Kind::Subscript { operand: Box::new(operand), index: Box::new(index) })
    }

    fn chain(&mut self, first: Expr, word: &str, above: u8, kind: fn(Vec<Expr>) -> Kind) -> Result<Expr, SelectError> {
        let at = self.at();
        let mut list = vec![first];
        while self.take_word(word) {
            list.push(self.expression_above(above)?);
        }
        Expr::new(at, kind(list))
    }

    fn operator(&mut self, left: Expr, level: u8) -> Result<Expr, SelectError> {
        let at = self.at();
        let Token::Operator(operator) = self.next() else {
            return Err(self.refuse_at(at, "OPERATOR(...) is not supported", "write the operator itself"));
        };
        let all = self.word_at(0, "all");
        if (all || self.word_at(0, "any") || self.word_at(0, "some")) && *self.peek_at(1) == Token::Symbol('(') {
            self.next();
            self.expect_symbol('(')?;
            self.refuse_subquery()?;
            let array = self.expression()?;
            self.expect_symbol(')')?;
            return Expr::new(at, Kind::Quantified { left: Box::new(left), operator, all, array: Box::new(array) });
        }
        let right = self.expression_above(level + 1)?;
        Expr::new(at, Kind::Binary { operator, left: Box::new(left), right: Box::new(right) })
    }

    fn is(&mut self, left: Expr) -> Result<(Expr, bool), SelectError> {
        let at = self.at();
        let operand = Box::new(left);
        if self.take_word("isnull") {
            return Ok((Expr::new(at, Kind::Is { operand, test: Test::Null, negated: false })?, false));
        }
        if self.take_word("notnull") {
            return Ok((Expr::new(at, Kind::Is { operand, test: Test::Null, negated: true })?, false));
        }
        self.next();
        let negated = self.take_word("not");
        let test = match self.peek() {
            Token::Word(word) => match word.as_str() {
                "null" => Test::Null,
                "true" => Test::True,
                "false" => Test::False,
                "unknown" => Test::Unknown,
                "distinct" => {
                    self.next();
                    self.expect_word("from")?;
                    let right = Box::new(self.expression_above(binding::IS + 1)?);
                    return Ok((Expr::new(at, Kind::Distinct { left: operand, right, negated })?, true));
                }
                "document" | "normalized" | "nfc" | "nfd" | "nfkc" | "nfkd" | "json" | "of" => {
                    return Err(self.refuse("this IS test is not supported", "IS [NOT] NULL, TRUE, FALSE, UNKNOWN and DISTINCT FROM are"));
                }
                _ => return Err(self.unexpected()),
            },
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok((Expr::new(at, Kind::Is { operand, test, negated })?, false))
    }

    /// [NOT] BETWEEN, IN, LIKE, ILIKE, SIMILAR TO.
    fn membership(&mut self, left: Expr) -> Result<(Expr, bool), SelectError> {
        let at = self.at();
        let negated = self.take_word("not");
        let operand = Box::new(left);
        if self.take_word("between") {
            return Ok((self.between(at, operand, negated)?, true));
        }
        if self.take_word("in") {
            return Ok((self.within(at, operand, negated)?, false));
        }
        Ok((self.like(at, operand, negated)?, true))
    }

    fn between(&mut self, at: usize, operand: Box<Expr>, negated: bool) -> Result<Expr, SelectError> {
        let above = binding::MEMBERSHIP + 1;
        let symmetric = self.take_word("symmetric") || {
            self.take_word("asymmetric");
            false
        };
        let low = Box::new(self.expression_above(above)?);
        self.expect_word("and")?;
        let high = Box::new(self.expression_above(above)?);
        Expr::new(at, Kind::Between { operand, low, high, symmetric, negated })
    }

    fn within(&mut self, at: usize, operand: Box<Expr>, negated: bool) -> Result<Expr, SelectError> {
        self.expect_symbol('(')?;
        self.refuse_subquery()?;
        let list = self.list()?;
        self.expect_symbol(')')?;
        Expr::new(at, Kind::In { operand, list, negated })
    }

    fn like(&mut self, at: usize, operand: Box<Expr>, negated: bool) -> Result<Expr, SelectError> {
        let above = binding::MEMBERSHIP + 1;
        let pattern = if self.take_word("like") {
            Pattern::Like
        } else if self.take_word("ilike") {
            Pattern::ILike
        } else {
            self.expect_word("similar")?;
            self.expect_word("to")?;
            Pattern::Similar
        };
        if (self.word_at(0, "any") || self.word_at(0, "all") || self.word_at(0, "some")) && *self.peek_at(1) == Token::Symbol('(') {
            return Err(self.refuse("LIKE ANY and LIKE ALL are not supported", "write one LIKE for each pattern, joined by OR or AND"));
        }
        let against = Box::new(self.expression_above(above)?);
        let escape = if self.take_word("escape") { Some(Box::new(self.expression_above(above)?)) } else { None };
        Expr::new(at, Kind::Like { pattern, operand, against, escape, negated })
    }

    pub(super) fn list(&mut self) -> Result<Vec<Expr>, SelectError> {
        let mut list = vec![self.expression()?];
        while self.take_symbol(',') {
            list.push(self.expression()?);
        }
        Ok(list)
    }

    fn prefix(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        match self.peek().clone() {
            Token::Operator(operator) => {
                self.next();
                let sign = matches!(operator.as_str(), "+" | "-");
                if !sign && operator_binding(&operator) != binding::OTHER {
                    return Err(self.unexpected_at(at));
                }
                let above = if sign { binding::SIGN } else { binding::OTHER + 1 };
                let operand = self.expression_above(above)?;
                self.signed(at, operator, operand)
            }
            Token::Integer(digits) => self.constant(Kind::Integer(digits)),
            Token::Decimal(digits) => self.constant(Kind::Decimal(digits)),
            Token::String(text) => self.constant(Kind::String(text)),
            Token::Symbol('(') => self.parenthesis(),
            Token::Word(word) => self.word(&word),
            Token::Quoted(_) => self.name_or_call(),
            _ => Err(self.unexpected()),
        }
    }

    /// `-5` is a constant (`gram.y`, `doNegate`), so that `-2147483648` is an integer.
    fn signed(&mut self, at: usize, operator: String, operand: Expr) -> Result<Expr, SelectError> {
        let negated = |digits: &str| match digits.strip_prefix('-') {
            Some(positive) => positive.to_owned(),
            None => format!("-{digits}"),
        };
        let kind = match operand.kind {
            Kind::Integer(digits) if operator == "-" => Kind::Integer(negated(&digits)),
            Kind::Decimal(digits) if operator == "-" => Kind::Decimal(negated(&digits)),
            _ => Kind::Unary { operator, operand: Box::new(operand) },
        };
        Expr::new(at, kind)
    }

    fn constant(&mut self, kind: Kind) -> Result<Expr, SelectError> {
        let at = self.at();
        self.next();
        Expr::new(at, kind)
    }

    fn parenthesis(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        self.next();
        self.refuse_subquery()?;
        let mut list = self.list()?;
        self.expect_symbol(')')?;
        if *self.peek() == Token::Symbol('.') {
            return Err(self.refuse("fields of composite values are not supported", "name the column itself"));
        }
        match list.pop() {
            Some(only) if list.is_empty() => Ok(only),
            Some(last) => {
                list.push(last);
                Expr::new(at, Kind::Row(list))
            }
            None => Err(self.unexpected()),
        }
    }

    /// An expression that begins with an unquoted word.
    fn word(&mut self, word: &str) -> Result<Expr, SelectError> {
        let called = *self.peek_at(1) == Token::Symbol('(');
        match word {
            "null" => return self.constant(Kind::Null),
            "true" => return self.constant(Kind::Bool(true)),
            "false" => return self.constant(Kind::Bool(false)),
            "not" => return self.not(),
            "case" => return self.case(),
            "array" if *self.peek_at(1) == Token::Symbol('[') => return self.array(),
            "array" if called => {
                return Err(self.refuse("subqueries are not supported", "LEFT JOIN the table on its key and use its columns"));
            }
            "row" if called => return Err(self.refuse("ROW(...) is not supported", "compare the columns one by one")),
            "exists" if called => {
                return Err(self.refuse("subqueries are not supported", "LEFT JOIN the table on its key and test a column IS NOT NULL"));
            }
            "current_date" | "current_time" | "current_timestamp" | "localtime" | "localtimestamp" => {
                return Err(self.refuse(
                    &format!("{} is not supported: its value would differ on a replay", word.to_ascii_uppercase()),
                    "use a timestamp column of the source table",
                ));
            }
            "current_user" | "session_user" | "user" | "current_role" | "current_catalog" | "current_schema" => {
                return Err(self.refuse(&format!("{word} is not supported: it depends on the session"), "use a column of the source table"));
            }
            _ => {}
        }
        if called && let Some(expr) = self.special_call(word)? {
            return Ok(expr);
        }
        if let Some(constant) = self.typed_constant()? {
            return Ok(constant);
        }
        if RESERVED.contains(&word) {
            return Err(self.unexpected());
        }
        self.name_or_call()
    }

    fn not(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        self.next();
        let operand = self.expression_above(binding::NOT)?;
        Expr::new(at, Kind::Not(Box::new(operand)))
    }

    fn array(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        self.next();
        self.next();
        if *self.peek() == Token::Symbol('[') {
            return Err(self.refuse_at(at, "arrays of more than one dimension are not supported", "keep nested lists in a jsonb column"));
        }
        let list = if *self.peek() == Token::Symbol(']') { Vec::new() } else { self.list()? };
        self.expect_symbol(']')?;
        Expr::new(at, Kind::Array(list))
    }

    fn case(&mut self) -> Result<Expr, SelectError> {
        let at = self.at();
        self.next();
        let operand = if self.word_at(0, "when") { None } else { Some(Box::new(self.expression()?)) };
        let mut arms = Vec::new();
        while self.take_word("when") {
            let when = self.expression()?;
            self.expect_word("then")?;
            arms.push((when, self.expression()?));
        }
        if arms.is_empty() {
            return Err(self.unexpected());
        }
        let otherwise = if self.take_word("else") { Some(Box::new(self.expression()?)) } else { None };
        self.expect_word("end")?;
        Expr::new(at, Kind::Case { operand, arms, otherwise })
    }
}
