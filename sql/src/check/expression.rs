//! Expressions: types by Postgres' rules (`parse_expr.c`), and the program that computes them.

use super::call::{Operands, innermost};
use super::resolve::{common_modifiers, common_type};
use super::scope::{Tables, WithHint, refusal};
use super::type_name;
use super::typed::{Collation, Typed, shown};
use crate::catalog::Catalog;
use crate::error::SelectError;
use crate::eval::Node;
use crate::function::Function;
use crate::parse::{Expr, Kind, Pattern, Test};
use crate::value::{Type, Value};

/// Checks the expressions of one SELECT.
pub(super) struct Checker<'c> {
    pub tables: Tables<'c>,
    pub catalog: &'c Catalog,
    /// The rows of the function tables that were chosen.
    pub called: Vec<&'static Function>,
}

impl Checker<'_> {
    pub fn expression(&mut self, expr: &Expr) -> Result<Typed, SelectError> {
        let at = expr.at;
        match &expr.kind {
            Kind::Null => Ok(Typed::new(Node::Constant(Value::Null), Type::Unknown, at)),
            Kind::Bool(value) => Ok(Typed::new(Node::Constant(Value::Bool(*value)), Type::Bool, at)),
            Kind::String(text) => Ok(Typed::new(Node::Constant(Value::Text(text.as_str().into())), Type::Unknown, at)),
            Kind::Integer(digits) => number(digits, at),
            Kind::Decimal(digits) => constant(&Type::Numeric(None), digits, at),
            Kind::Column(names) => self.column(at, names),
            Kind::Unary { operator, operand } => {
                let operand = self.expression(operand)?;
                self.operator(at, operator, vec![operand])
            }
            Kind::Binary { operator, left, right } => self.binary(at, operator, left, right),
            Kind::And(list) => self.logic(at, list, "AND", Node::And),
            Kind::Or(list) => self.logic(at, list, "OR", Node::Or),
            Kind::Not(operand) => {
                let operand = self.expression(operand)?.condition("NOT")?;
                Ok(Typed::new(Node::Not(Box::new(operand)), Type::Bool, at))
            }
            Kind::Is { operand, test, negated } => self.is(at, operand, test, *negated),
            Kind::Distinct { left, right, negated } => self.distinct(at, left, right, *negated),
            Kind::Between { operand, low, high, symmetric, negated } => {
                let operands = (self.expression(operand)?, self.expression(low)?, self.expression(high)?);
                self.between(at, operands, *symmetric, *negated)
            }
            Kind::In { operand, list, negated } => self.membership(at, operand, list, *negated),
            Kind::Quantified { left, operator, all, array } => self.quantified(at, left, operator, *all, array),
            Kind::Like { pattern, operand, against, escape, negated } => {
                let mut operands = vec![self.expression(operand)?, self.expression(against)?];
                if let Some(escape) = escape {
                    operands.push(self.expression(escape)?);
                }
                self.like(at, *pattern, operands, *negated)
            }
            Kind::Case { operand, arms, otherwise } => self.case(at, operand.as_deref(), arms, otherwise.as_deref()),
            Kind::Cast { operand, ty } => {
                let ty = type_name::resolve(ty, self.catalog)?;
                self.cast(at, operand, &ty)
            }
            Kind::Collate { operand, collation } => self.collate(at, operand, collation),
            Kind::Call { schema, name, arguments } => {
                let arguments = self.all(arguments)?;
                self.function(at, schema.as_deref(), name, arguments)
            }
            Kind::Coalesce(list) => {
                let (list, ty, collation) = self.unified(list, "COALESCE")?;
                Ok(Typed::new(Node::Coalesce(list), ty, at).collated(collation))
            }
            Kind::Extreme { greatest, list } => self.extreme(at, *greatest, list),
            Kind::NullIf(left, right) => self.nullif(at, left, right),
            Kind::Array(list) => self.array(at, list),
            Kind::Row(_) => Err(refusal("0A000", at, "a row as a value is not supported").hint("compare the columns one by one")),
            Kind::Subscript { operand, index } => self.subscript(at, operand, index),
        }
    }

    pub fn all(&mut self, list: &[Expr]) -> Result<Vec<Typed>, SelectError> {
        list.iter().map(|expr| self.expression(expr)).collect()
    }

    pub fn condition(&mut self, expr: &Expr, place: &str) -> Result<Node, SelectError> {
        self.expression(expr)?.condition(place)
    }

    fn column(&mut self, at: usize, names: &[String]) -> Result<Typed, SelectError> {
        let found = self.tables.column(at, names)?;
        Ok(slot(&found, at))
    }

    /// `NULL = NULL` and the like are ordinary operators; rows are compared column by column.
    fn binary(&mut self, at: usize, operator: &str, left: &Expr, right: &Expr) -> Result<Typed, SelectError> {
        if let (Kind::Row(left), Kind::Row(right)) = (&left.kind, &right.kind) {
            return self.rows(at, operator, left, right);
        }
        let operands = vec![self.expression(left)?, self.expression(right)?];
        self.operator(at, operator, operands)
    }

    fn rows(&mut self, at: usize, operator: &str, left: &[Expr], right: &[Expr]) -> Result<Typed, SelectError> {
        if left.len() != right.len() {
            return Err(refusal("42601", at, "unequal number of entries in row expressions"));
        }
        let join = match operator {
            "=" => Node::And,
            "<>" => Node::Or,
            _ => return Err(refusal("0A000", at, "rows can only be compared with = and <>").hint("compare the columns one by one")),
        };
        let mut parts = Vec::new();
        for (left, right) in left.iter().zip(right) {
            parts.push(self.binary(at, operator, left, right)?.condition("AND")?);
        }
        Ok(Typed::new(join(parts), Type::Bool, at))
    }

    fn logic(&mut self, at: usize, list: &[Expr], place: &str, kind: fn(Vec<Node>) -> Node) -> Result<Typed, SelectError> {
        let nodes = list.iter().map(|expr| self.condition(expr, place)).collect::<Result<Vec<_>, _>>()?;
        Ok(Typed::new(kind(nodes), Type::Bool, at))
    }

    fn is(&mut self, at: usize, operand: &Expr, test: &Test, negated: bool) -> Result<Typed, SelectError> {
        let operand = self.expression(operand)?;
        let place = |test: &str| format!("IS {}{test}", if negated { "NOT " } else { "" });
        let node = match test {
            Test::Null => Node::IsNull(Box::new(operand.node), negated),
            Test::Unknown => Node::IsNull(Box::new(operand.condition(&place("UNKNOWN"))?), negated),
            Test::True => Node::IsBool(Box::new(operand.condition(&place("TRUE"))?), true, negated),
            Test::False => Node::IsBool(Box::new(operand.condition(&place("FALSE"))?), false, negated),
        };
        Ok(Typed::new(node, Type::Bool, at))
    }

    fn distinct(&mut self, at: usize, left: &Expr, right: &Expr, negated: bool) -> Result<Typed, SelectError> {
        let operands = vec![self.expression(left)?, self.expression(right)?];
        let (_, left, right) = self.comparison(at, "=", operands)?;
        let mut node = Node::Distinct(Box::new((left.ty, left.node, right.node)));
        if negated {
            node = Node::Not(Box::new(node));
        }
        Ok(Typed::new(node, Type::Bool, at))
    }

    /// `operand >= low AND operand <= high`, with the operand evaluated once.
    fn between(&mut self, at: usize, operands: (Typed, Typed, Typed), symmetric: bool, negated: bool) -> Result<Typed, SelectError> {
        let (operand, low, high) = operands;
        let (held, reference) = Operands::hold(operand);
        let mut side = |operator: &str, bound: &Typed| -> Result<Node, SelectError> {
            Ok(self.operator(at, operator, vec![reference.clone(), bound.clone()])?.node)
        };
        let node = match (symmetric, negated) {
            (false, false) => Node::And(vec![side(">=", &low)?, side("<=", &high)?]),
            (false, true) => Node::Or(vec![side("<", &low)?, side(">", &high)?]),
            (true, false) => Node::Or(vec![
                Node::And(vec![side(">=", &low)?, side("<=", &high)?]),
                Node::And(vec![side(">=", &high)?, side("<=", &low)?]),
            ]),
            (true, true) => {
                Node::And(vec![Node::Or(vec![side("<", &low)?, side(">", &high)?]), Node::Or(vec![side("<", &high)?, side(">", &low)?])])
            }
        };
        Ok(Typed::new(Operands::release(held, node), Type::Bool, at))
    }

    /// `transformAExprIn`: constants share a type with the operand when there are several; columns are compared one by one.
    fn membership(&mut self, at: usize, operand: &Expr, list: &[Expr], negated: bool) -> Result<Typed, SelectError> {
        if let Kind::Row(left) = &operand.kind {
            return self.row_membership(at, left, list, negated);
        }
        let (held, reference) = Operands::hold(self.expression(operand)?);
        let mut items = self.all(list)?;
        let reads_row = |item: &Typed| item.node.any(&|node| matches!(node, Node::Source(_) | Node::Lookup(..)));
        let constants: Vec<usize> = (0..items.len()).filter(|i| !reads_row(&items[*i])).collect();
        let mut order: Vec<usize> = (0..items.len()).collect();
        if constants.len() > 1 {
            let types: Vec<Type> = std::iter::once(reference.ty.clone()).chain(constants.iter().map(|i| items[*i].ty.clone())).collect();
            if let Ok(common) = common_type(&types)
                && (reference.ty == Type::Unknown || reference.clone().implicitly(&common)?.is_some())
            {
                for index in &constants {
                    items[*index] = items[*index].clone().into_common(&common, "IN")?;
                }
                order.sort_by_key(|i| !constants.contains(i));
            }
        }
        let operator = if negated { "<>" } else { "=" };
        let mut nodes = Vec::with_capacity(items.len());
        for index in order {
            nodes.push(self.operator(at, operator, vec![reference.clone(), items[index].clone()])?.condition("IN")?);
        }
        let node = if negated { Node::And(nodes) } else { Node::Or(nodes) };
        Ok(Typed::new(Operands::release(held, node.folded()), Type::Bool, at))
    }

    fn row_membership(&mut self, at: usize, left: &[Expr], list: &[Expr], negated: bool) -> Result<Typed, SelectError> {
        let mut nodes = Vec::new();
        for item in list {
            let Kind::Row(right) = &item.kind else {
                return Err(refusal("42601", item.at, "unequal number of entries in row expressions"));
            };
            nodes.push(self.rows(at, if negated { "<>" } else { "=" }, left, right)?.node);
        }
        Ok(Typed::new(if negated { Node::And(nodes) } else { Node::Or(nodes) }, Type::Bool, at))
    }

    fn quantified(&mut self, at: usize, left: &Expr, operator: &str, all: bool, array: &Expr) -> Result<Typed, SelectError> {
        let (left, array) = (self.expression(left)?, self.expression(array)?);
        let element = match &array.ty {
            Type::Array(element) => (**element).clone(),
            Type::Unknown => Type::Unknown,
            _ => return Err(refusal("42809", at, "op ANY/ALL (array) requires array on right side")),
        };
        self.array_comparison(at, operator, all, (left, array, element))
    }

    fn like(&mut self, at: usize, pattern: Pattern, mut operands: Vec<Typed>, negated: bool) -> Result<Typed, SelectError> {
        let escape = if operands.len() > 2 { operands.pop() } else { None };
        if let Some(escape) = escape {
            let function = if pattern == Pattern::Similar { "similar_to_escape" } else { "like_escape" };
            let pattern = operands.pop().map(|pattern| self.function(at, None, function, vec![pattern, escape])).transpose()?;
            operands.extend(pattern);
        } else if pattern == Pattern::Similar {
            let pattern = operands.pop().map(|pattern| self.function(at, None, "similar_to_escape", vec![pattern])).transpose()?;
            operands.extend(pattern);
        }
        let operator = match (pattern, negated) {
            (Pattern::Like, false) => "~~",
            (Pattern::Like, true) => "!~~",
            (Pattern::ILike, false) => "~~*",
            (Pattern::ILike, true) => "!~~*",
            (Pattern::Similar, false) => "~",
            (Pattern::Similar, true) => "!~",
        };
        self.operator(at, operator, operands)
    }

    /// `transformCaseExpr`: the result of ELSE counts first for the type.
    fn case(&mut self, at: usize, operand: Option<&Expr>, arms: &[(Expr, Expr)], otherwise: Option<&Expr>) -> Result<Typed, SelectError> {
        let operand = operand.map(|expr| self.expression(expr)).transpose()?;
        let (held, reference) = match operand {
            // A constant of unknown type is text here.
            Some(mut operand) => {
                if operand.ty == Type::Unknown
                    && let Some(text) = operand.clone().implicitly(&Type::Text)?
                {
                    operand = text;
                }
                let (held, reference) = Operands::hold(operand);
                (held, Some(reference))
            }
            None => (None, None),
        };
        let mut conditions = Vec::with_capacity(arms.len());
        let mut results = Vec::with_capacity(arms.len() + 1);
        for (when, then) in arms {
            let when = self.expression(when)?;
            let when = match &reference {
                Some(reference) => self.operator(when.at, "=", vec![reference.clone(), when])?,
                None => when,
            };
            conditions.push(when.condition("CASE/WHEN")?);
            results.push(self.expression(then)?);
        }
        let otherwise = match otherwise {
            Some(expr) => self.expression(expr)?,
            None => Typed::new(Node::Constant(Value::Null), Type::Unknown, at),
        };
        results.insert(0, otherwise);
        let (mut results, ty, collation) = unify(results, "CASE")?;
        let otherwise = results.remove(0);
        let arms: Vec<(Node, Node)> = conditions.into_iter().zip(results).collect();
        Ok(Typed::new(Operands::release(held, case(arms, otherwise)), ty, at).collated(collation))
    }

    fn cast(&mut self, at: usize, operand: &Expr, ty: &Type) -> Result<Typed, SelectError> {
        // The elements of ARRAY[...]::t[] are cast one by one (`transformTypeCast`).
        if let (Kind::Array(list), Type::Array(element)) = (&operand.kind, ty) {
            let mut nodes = Vec::with_capacity(list.len());
            for expr in list {
                nodes.push(self.cast(expr.at, expr, element)?.node);
            }
            return Ok(Typed::new(Node::Array(nodes), ty.clone(), at));
        }
        let operand = self.expression(operand)?;
        operand.explicitly(ty, at)
    }

    fn collate(&mut self, at: usize, operand: &Expr, collation: &str) -> Result<Typed, SelectError> {
        let mut operand = self.expression(operand)?;
        if operand.ty == Type::Unknown
            && let Some(text) = operand.clone().implicitly(&Type::Text)?
        {
            operand = text;
        }
        if !super::has_collation(&operand.ty) {
            return Err(refusal("42804", at, format!("collations are not supported by type {}", shown(&operand.ty))));
        }
        if !matches!(collation, "C" | "POSIX") {
            return Err(refusal("0A000", at, format!("collation \"{collation}\" is not supported")).hint("write COLLATE \"C\""));
        }
        operand.at = at;
        Ok(operand.collated(Collation::ExplicitC))
    }

    /// What text that comes from no column follows.
    pub fn default_collation(&self) -> Collation {
        if self.catalog.default_collation_is_c { Collation::C } else { Collation::Other("the database".to_owned()) }
    }

    /// Expressions that become one type.
    pub fn unified(&mut self, list: &[Expr], place: &str) -> Result<(Vec<Node>, Type, Collation), SelectError> {
        let list = self.all(list)?;
        unify(list, place)
    }

    fn extreme(&mut self, at: usize, greatest: bool, list: &[Expr]) -> Result<Typed, SelectError> {
        let place = if greatest { "GREATEST" } else { "LEAST" };
        let (list, ty, collation) = self.unified(list, place)?;
        if innermost(&ty) == &Type::Json {
            return Err(refusal("42883", at, format!("could not identify a comparison function for type {}", shown(&ty))));
        }
        if super::has_collation(&ty) || innermost(&ty) == &Type::Jsonb {
            Typed::require_c(&self.order_of(std::slice::from_ref(&ty), collation.clone()), at, place)?;
        }
        let wanted = if greatest { std::cmp::Ordering::Greater } else { std::cmp::Ordering::Less };
        Ok(Typed::new(Node::Extreme(wanted, ty.clone(), list), ty, at).collated(collation))
    }

    fn nullif(&mut self, at: usize, left: &Expr, right: &Expr) -> Result<Typed, SelectError> {
        let operands = vec![self.expression(left)?, self.expression(right)?];
        let (test, left, right) = self.comparison(at, "=", operands)?;
        let equal = Node::Compare(test, Box::new((left.ty.clone(), Node::Operand, right.node)));
        let (ty, collation) = (left.ty.clone(), left.collation.clone());
        Ok(Typed::new(Node::NullIf(Box::new((left.node, equal))), ty, at).collated(collation))
    }
}

/// The column as an expression.
pub(super) fn slot(found: &super::scope::Found<'_>, at: usize) -> Typed {
    let node = if found.table == 0 { Node::Source(found.slot) } else { Node::Lookup(found.table - 1, found.slot) };
    let other = super::has_collation(&found.column.ty) && !found.column.collation_is_c;
    let collation = if other { Collation::Other(format!("column \"{}\"", found.column.name)) } else { Collation::C };
    Typed { node, ty: found.column.ty.clone(), at, collation }
}

/// A constant through the type's input function.
fn constant(ty: &Type, digits: &str, at: usize) -> Result<Typed, SelectError> {
    let value = Value::from_text(ty, digits).map_err(|error| refusal(error.sqlstate, at, error.message))?;
    Ok(Typed::new(Node::Constant(value), ty.clone(), at))
}

/// int4 when it fits, else int8, else numeric (`make_const`).
fn number(digits: &str, at: usize) -> Result<Typed, SelectError> {
    // `-2147483648` is a negated constant that did not fit before: an int8 in Postgres.
    let magnitude = digits.strip_prefix('-').unwrap_or(digits);
    if magnitude.parse::<i32>().is_ok() {
        return constant(&Type::Int4, digits, at);
    }
    match digits.parse::<i64>() {
        Ok(value) if i32::try_from(value).is_ok() => constant(&Type::Int4, digits, at),
        Ok(_) => constant(&Type::Int8, digits, at),
        Err(_) => constant(&Type::Numeric(None), digits, at),
    }
}

/// All with their common type, which keeps the modifiers when all share them.
pub(super) fn unify(list: Vec<Typed>, place: &str) -> Result<(Vec<Node>, Type, Collation), SelectError> {
    let types: Vec<Type> = list.iter().map(|e| e.ty.clone()).collect();
    let common = common_type(&types).map_err(|(first, second, index)| {
        refusal("42804", list[index].at, format!("{place} types {} and {} cannot be matched", shown(&first), shown(&second)))
    })?;
    let references: Vec<&Type> = types.iter().collect();
    let common = common_modifiers(common, &references);
    let mut nodes = Vec::with_capacity(list.len());
    let mut collation = Collation::Default;
    for item in list {
        let item = item.into_common(&common, place)?;
        collation = collation.with(item.collation);
        nodes.push(item.node);
    }
    Ok((nodes, common, collation))
}

/// Without arms that are never taken and what follows an arm that always is.
fn case(arms: Vec<(Node, Node)>, otherwise: Node) -> Node {
    let mut kept = Vec::with_capacity(arms.len());
    for (condition, result) in arms {
        match condition {
            Node::Constant(Value::Bool(true)) => return if kept.is_empty() { result } else { Node::Case(kept, Box::new(result)) },
            Node::Constant(_) => {}
            condition => kept.push((condition, result)),
        }
    }
    if kept.is_empty() { otherwise } else { Node::Case(kept, Box::new(otherwise)) }
}
