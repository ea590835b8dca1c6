//! Operators and functions: the row of the tables that a call means, and its arguments converted to it.

use std::cmp::Ordering;

use super::expression::Checker;
use super::resolve::{self, Unresolved, unmodified};
use super::scope::{WithHint, edit_distance, refusal};
use super::typed::{Collation, Typed, shown};
use crate::error::SelectError;
use crate::eval::Node;
use crate::function::{self, Base, Function, Prepared, Run, Unsupported};
use crate::value::{Type, Value};

/// Arguments of one call (`FUNC_MAX_ARGS`).
const ARGUMENTS_MAX: usize = 100;

/// Functions whose result differs on a replay, and what to use.
const NOT_REPEATABLE: &[&str] = &[
    "now",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday",
    "random",
    "gen_random_uuid",
    "uuid_generate_v4",
    "uuid_generate_v1",
    "nextval",
    "currval",
    "lastval",
    "setval",
    "txid_current",
    "pg_current_wal_lsn",
    "current_setting",
    "set_config",
    "pg_backend_pid",
    "version",
    "current_database",
    "inet_client_addr",
    "pg_sleep",
    "random_normal",
    "setseed",
];

/// Functions that give several rows and have no row of their own in the tables.
const SET_RETURNING: &[&str] = &[
    "generate_series",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "jsonb_path_query",
    "json_to_record",
    "json_to_recordset",
    "jsonb_to_record",
    "jsonb_to_recordset",
    "json_populate_record",
    "json_populate_recordset",
    "jsonb_populate_record",
    "jsonb_populate_recordset",
    "ts_stat",
];

/// An operand that several comparisons read and that is evaluated once.
pub(super) struct Operands;

impl Operands {
    /// What to evaluate first (nothing for constants and columns, which are as cheap as a reference), and what reads it.
    pub fn hold(operand: Typed) -> (Option<Node>, Typed) {
        match operand.node {
            Node::Constant(_) | Node::Source(_) | Node::Lookup(..) => (None, operand),
            node => (Some(node), Typed { node: Node::Operand, ..operand }),
        }
    }

    /// The program over what was held.
    pub fn release(held: Option<Node>, body: Node) -> Node {
        match held {
            Some(operand) => Node::With(Box::new((operand, body.folded()))),
            None => body,
        }
    }
}

/// The test of an order, and both operands converted to what is compared.
type Comparison = (fn(Ordering) -> bool, Typed, Typed);

impl Checker<'_> {
    pub fn operator(&mut self, at: usize, name: &str, operands: Vec<Typed>) -> Result<Typed, SelectError> {
        let types: Vec<Type> = operands.iter().map(|e| e.ty.clone()).collect();
        let arity = types.len();
        let function = resolve::operator(function::operators(name), &types).map_err(|why| operator_error(at, name, &types, why))?;
        debug_assert_eq!(arity, function.arguments.len());
        self.apply(at, &format!("operator {name}"), function, operands)
    }

    /// A comparison, as its test and both operands converted.
    pub fn comparison(&mut self, at: usize, name: &str, operands: Vec<Typed>) -> Result<Comparison, SelectError> {
        let types: Vec<Type> = operands.iter().map(|e| e.ty.clone()).collect();
        let function = resolve::operator(function::operators(name), &types).map_err(|why| operator_error(at, name, &types, why))?;
        let Run::Compare(test) = function.run else {
            return Err(refusal("42809", at, format!("operator {name} is not a comparison")));
        };
        self.called.push(function);
        let (mut operands, _) = convert(at, function, operands)?;
        match (operands.pop(), operands.pop()) {
            (Some(right), Some(left)) => Ok((test, left, right)),
            _ => Err(refusal("XX000", at, "a comparison takes two operands")),
        }
    }

    /// `left operator ANY (array)`: resolved as for one element.
    pub fn array_comparison(
        &mut self,
        at: usize,
        name: &str,
        all: bool,
        (left, array, element): (Typed, Typed, Type),
    ) -> Result<Typed, SelectError> {
        let types = [left.ty.clone(), element.clone()];
        let function = resolve::operator(function::operators(name), &types).map_err(|why| operator_error(at, name, &types, why))?;
        let Run::Compare(test) = function.run else {
            return Err(
                refusal("0A000", at, format!("operator {name} with ANY or ALL is not supported")).hint("=, <>, <, <=, > and >= are")
            );
        };
        self.called.push(function);
        let (left_type, element_type) = (declared(function, 0, &types), declared(function, 1, &types));
        if function.needs_c {
            let collation = left.collation.clone().with(array.collation.clone());
            Typed::require_c(&self.order_of(&types, collation), at, "the order of text")?;
        }
        let mismatch = || operator_error(at, name, &types, Unresolved::NotFound);
        let left = left.implicitly(&left_type)?.ok_or_else(mismatch)?;
        let array = array.implicitly(&Type::Array(Box::new(element_type)))?.ok_or_else(mismatch)?;
        Ok(Typed::new(Node::Quantified(test, all, Box::new((left.ty, left.node, array.node))), Type::Bool, at))
    }

    pub fn function(&mut self, at: usize, schema: Option<&str>, name: &str, arguments: Vec<Typed>) -> Result<Typed, SelectError> {
        let types: Vec<Type> = arguments.iter().map(|e| e.ty.clone()).collect();
        if types.len() > ARGUMENTS_MAX {
            return Err(refusal("54023", at, format!("cannot pass more than {ARGUMENTS_MAX} arguments to a function")));
        }
        let candidates = if matches!(schema, None | Some("pg_catalog")) { function::functions(name) } else { &[] };
        let function = resolve::function(candidates, &types).map_err(|why| function_error(at, schema, name, &types, why))?;
        self.apply(at, &format!("{name}()"), function, arguments)
    }

    /// The collation that orders values of these types: strings within jsonb are ordered as the database orders text.
    pub fn order_of(&self, types: &[Type], collation: Collation) -> Collation {
        let of_database = collation == Collation::Default || types.iter().any(|ty| innermost(ty) == &Type::Jsonb);
        if of_database { self.default_collation() } else { collation }
    }

    fn apply(&mut self, at: usize, what: &str, function: &'static Function, arguments: Vec<Typed>) -> Result<Typed, SelectError> {
        if let Run::Refused(instead) = function.run {
            let types: Vec<String> = arguments.iter().map(|a| shown(&a.ty)).collect();
            return Err(refusal("0A000", at, format!("{what} of {} is not supported", types.join(" and "))).hint(instead));
        }
        let given: Vec<Type> = arguments.iter().map(|a| a.ty.clone()).collect();
        if resolve::lacks_type(function, &given) {
            return Err(refusal("42804", at, "could not determine polymorphic type because input has type unknown")
                .hint("Add an explicit type cast."));
        }
        self.called.push(function);
        let (arguments, collation) = convert(at, function, arguments)?;
        let types: Vec<Type> = arguments.iter().map(|a| a.ty.clone()).collect();
        if function.needs_c {
            Typed::require_c(&self.order_of(&types, collation.clone()), at, what)?;
        }
        if let Some(ty) = types.iter().find(|ty| compares_elements(function) && innermost(ty) == &Type::Json) {
            return Err(refusal("42883", at, format!("could not identify an equality operator for type {}", shown(innermost(ty)))));
        }
        let result = result_type(function, &types);
        let collation = if super::has_collation(&result) { collation } else { Collation::C };
        let mut node = node(at, function, arguments)?;
        if function.stable {
            node = node.stable();
        }
        Ok(Typed::new(node, result, at).collated(collation))
    }
}

/// The type of the elements of an array, or the type itself.
pub(super) fn innermost(ty: &Type) -> &Type {
    if let Type::Array(element) = ty { element } else { ty }
}

/// Whether the function compares the elements of its arrays by their `=`.
fn compares_elements(function: &Function) -> bool {
    let array = function.arguments.iter().any(|base| matches!(base, Base::AnyArray | Base::AnyCompatibleArray));
    array && matches!(function.name, "=" | "<>" | "<" | "<=" | ">" | ">=" | "@>" | "<@" | "&&" | "array_position" | "array_remove")
}

/// The program of a call.
fn node(at: usize, function: &Function, arguments: Vec<Typed>) -> Result<Node, SelectError> {
    if let Run::StrictTyped(_) = function.run
        && arguments.iter().any(|a| matches!(a.node, Node::Constant(Value::Null)))
    {
        return Ok(Node::Constant(Value::Null));
    }
    if let Run::Typed(run) | Run::StrictTyped(run) = function.run {
        return Ok(Node::Typed(run, arguments.into_iter().map(|a| (a.ty, a.node)).collect()));
    }
    let first_type = arguments.first().map_or(Type::Unknown, |a| a.ty.clone());
    let second_at = arguments.get(1).map_or(at, |a| a.at);
    let nodes: Vec<Node> = arguments.into_iter().map(|a| a.node).collect();
    let wrong = || refusal("XX000", at, format!("{} takes another number of arguments", function.name));
    Ok(match function.run {
        Run::One(run) => {
            let [a] = <[Node; 1]>::try_from(nodes).map_err(|_| wrong())?;
            Node::One(run, Box::new(a))
        }
        Run::Two(run) | Run::OfTexts(run) => {
            let [a, b] = <[Node; 2]>::try_from(nodes).map_err(|_| wrong())?;
            Node::Two(run, Box::new((a, b)))
        }
        Run::Swapped(run) => {
            let [a, b] = <[Node; 2]>::try_from(nodes).map_err(|_| wrong())?;
            Node::Two(run, Box::new((b, a)))
        }
        Run::Three(run) => {
            let [a, b, c] = <[Node; 3]>::try_from(nodes).map_err(|_| wrong())?;
            Node::Three(run, Box::new((a, b, c)))
        }
        Run::Compare(test) => {
            let [a, b] = <[Node; 2]>::try_from(nodes).map_err(|_| wrong())?;
            Node::Compare(test, Box::new((first_type, a, b)))
        }
        Run::List(run) => Node::List(run, nodes),
        Run::Prepared(prepare) => {
            let [a, constant] = <[Node; 2]>::try_from(nodes).map_err(|_| wrong())?;
            prepared(function.name, second_at, prepare, a, &constant)?
        }
        Run::Variadic(run) => {
            let mut nodes = nodes.into_iter();
            let first = nodes.next().ok_or_else(wrong)?;
            Node::Two(run, Box::new((first, Node::Array(nodes.collect()).folded())))
        }
        Run::Typed(_) | Run::StrictTyped(_) | Run::Refused(_) => return Err(wrong()),
    })
}

/// What is made from a constant while the SELECT is checked.
fn prepared(
    name: &str,
    at: usize,
    prepare: fn(&Value) -> Result<Prepared, Unsupported>,
    argument: Node,
    constant: &Node,
) -> Result<Node, SelectError> {
    match constant {
        Node::Constant(Value::Null) => Ok(Node::Constant(Value::Null)),
        Node::Constant(value) => match prepare(value) {
            Ok(prepared) => Ok(Node::Prepared(prepared, Box::new(argument))),
            Err(Unsupported { why, instead }) => Err(refusal("0A000", at, why).hint(instead)),
        },
        other => Err(match other.failure() {
            Some(error) => refusal(error.sqlstate, at, error.message).hint("write a pattern that can be computed"),
            None => refusal("0A000", at, format!("{name} with a pattern that is not a constant is not supported"))
                .hint("write the pattern as a constant; several patterns can be the arms of a CASE"),
        }),
    }
}

/// What an argument is declared as, with pseudo-types replaced by what they mean for these arguments.
fn declared(function: &Function, index: usize, types: &[Type]) -> Type {
    let base = function.arguments.get(index).or(function.arguments.last()).copied().unwrap_or(Base::Any);
    let own = types.get(index).cloned().unwrap_or(Type::Unknown);
    match base {
        // Unknown constants given to "any" are text (`coerce_type` leaves them; the functions read them as text).
        Base::Any => {
            if own == Type::Unknown {
                Type::Text
            } else {
                own
            }
        }
        Base::AnyElement | Base::AnyNonArray | Base::AnyEnum => element_type(function, types),
        Base::AnyArray => Type::Array(Box::new(element_type(function, types))),
        Base::AnyCompatible => resolve::compatible_type(&function.arguments, types).unwrap_or(own),
        Base::AnyCompatibleArray => resolve::compatible_type(&function.arguments, types).map_or(own, |ty| Type::Array(Box::new(ty))),
        Base::Texts => Type::Text,
        base => base.plain().unwrap_or(own),
    }
}

/// The type that the pseudo-types of a call mean.
fn element_type(function: &Function, types: &[Type]) -> Type {
    for (want, ty) in function.arguments.iter().zip(types) {
        match (want, ty) {
            (_, Type::Unknown) => {}
            (Base::AnyArray, Type::Array(element)) => return unmodified(element),
            (Base::AnyElement | Base::AnyNonArray | Base::AnyEnum, ty) => return unmodified(ty),
            _ => {}
        }
    }
    Type::Text
}

fn result_type(function: &Function, types: &[Type]) -> Type {
    match function.result {
        Base::AnyElement | Base::AnyNonArray | Base::AnyEnum => element_type(function, types),
        Base::AnyArray => Type::Array(Box::new(element_type(function, types))),
        Base::AnyCompatible => resolve::compatible_type(&function.arguments, types).unwrap_or(Type::Unknown),
        Base::AnyCompatibleArray => Type::Array(Box::new(resolve::compatible_type(&function.arguments, types).unwrap_or(Type::Unknown))),
        base => base.plain().unwrap_or(Type::Unknown),
    }
}

/// The arguments as the function declares them, and the collation they have together.
fn convert(at: usize, function: &Function, arguments: Vec<Typed>) -> Result<(Vec<Typed>, Collation), SelectError> {
    let types: Vec<Type> = arguments.iter().map(|a| a.ty.clone()).collect();
    let mut collation = Collation::Default;
    let mut converted = Vec::with_capacity(arguments.len());
    for (index, argument) in arguments.into_iter().enumerate() {
        let wanted = declared(function, index, &types);
        let keeps_type = unmodified(&argument.ty) == wanted
            || function.arguments.get(index).or(function.arguments.last()).is_none_or(|b| b.keeps_type()) && argument.ty != Type::Unknown;
        let argument = if matches!(function.run, Run::OfTexts(_)) {
            let own = argument.at;
            argument.explicitly(&Type::Text, own)?
        } else if keeps_type {
            argument
        } else {
            let name = shown(&argument.ty);
            match argument.implicitly(&wanted)? {
                Some(argument) => argument,
                None => return Err(refusal("42846", at, format!("cannot convert type {name} to {}", shown(&wanted)))),
            }
        };
        if super::has_collation(&argument.ty) {
            collation = collation.with(argument.collation.clone());
        }
        converted.push(argument);
    }
    Ok((converted, collation))
}

fn operator_error(at: usize, name: &str, types: &[Type], why: Unresolved) -> SelectError {
    let shape = match types {
        [operand] => format!("{name} {}", shown(operand)),
        [left, right] => format!("{} {name} {}", shown(left), shown(right)),
        _ => name.to_owned(),
    };
    match why {
        Unresolved::NotFound => refusal("42883", at, format!("operator does not exist: {shape}"))
            .hint("No operator matches the given name and argument types. You might need to add explicit type casts."),
        Unresolved::Ambiguous => refusal("42725", at, format!("operator is not unique: {shape}"))
            .hint("Could not choose a best candidate operator. You might need to add explicit type casts."),
    }
}

fn function_error(at: usize, schema: Option<&str>, name: &str, types: &[Type], why: Unresolved) -> SelectError {
    if NOT_REPEATABLE.contains(&name) {
        return refusal("0A000", at, format!("{name}() is not supported: its value would differ on a replay"))
            .hint("use a column of the source table, for example one that a DEFAULT fills");
    }
    if SET_RETURNING.contains(&name) {
        return refusal("0A000", at, format!("{name}() is not supported: each change of the source gives one row"))
            .hint("name the parts one by one");
    }
    let arguments: Vec<String> = types.iter().map(shown).collect();
    let full = schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"));
    let signature = format!("{full}({})", arguments.join(", "));
    match why {
        Unresolved::Ambiguous => refusal("42725", at, format!("function {signature} is not unique"))
            .hint("Could not choose a best candidate function. You might need to add explicit type casts."),
        Unresolved::NotFound if !function::functions(name).is_empty() && schema.is_none_or(|s| s == "pg_catalog") => {
            refusal("42883", at, format!("function {signature} does not exist"))
                .hint("No function matches the given name and argument types. You might need to add explicit type casts.")
        }
        Unresolved::NotFound => {
            let near = function::function_names()
                .filter(|other| edit_distance(name, other) <= name.len().min(6) / 3)
                .min_by_key(|other| edit_distance(name, other));
            let near = near.map_or_else(String::new, |near| format!(" Perhaps you meant {near}."));
            refusal("42883", at, format!("function {signature} does not exist"))
                .hint(format!("Highwater evaluates an explicit list of functions, and {full} is not one of them.{near}"))
        }
    }
}

/// The type of the operands of `=` between these types, for the keys of lookups.
pub(super) fn equality(left: &Type, right: &Type) -> Option<&'static Function> {
    resolve::operator(function::operators("="), &[left.clone(), right.clone()]).ok()
}
