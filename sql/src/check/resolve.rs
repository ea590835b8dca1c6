//! Which function or operator a call means (`parse_func.c`, `parse_oper.c`), and which type several expressions share
//! (`parse_coerce.c`, `select_common_type`).

use crate::function::{Base, Function, implicit};
use crate::value::Type;

/// Why no function was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unresolved {
    NotFound,
    Ambiguous,
}

/// The operator for these operands: one for prefix, two for infix.
pub(super) fn operator(candidates: &'static [Function], operands: &[Type]) -> Result<&'static Function, Unresolved> {
    let mut assumed: Vec<Type> = operands.to_vec();
    // An operand of unknown type is first taken for the type of the other (binary_oper_exact).
    if let [left, right] = operands {
        match (left, right) {
            (Type::Unknown, known) => assumed[0] = known.clone(),
            (known, Type::Unknown) => assumed[1] = known.clone(),
            _ => {}
        }
    }
    choose(candidates, operands, &assumed)
}

/// The function for these arguments.
pub(super) fn function(candidates: &'static [Function], arguments: &[Type]) -> Result<&'static Function, Unresolved> {
    choose(candidates, arguments, arguments)
}

fn choose(candidates: &'static [Function], arguments: &[Type], assumed: &[Type]) -> Result<&'static Function, Unresolved> {
    let exact =
        |f: &&Function| f.arguments.len() == assumed.len() && f.arguments.iter().zip(assumed).all(|(want, ty)| *want == Base::of(ty));
    if let Some(function) = candidates.iter().find(exact) {
        return Ok(function);
    }
    let usable: Vec<Candidate> = candidates.iter().filter_map(|f| Candidate::of(f, arguments)).collect();
    match usable.len() {
        0 => Err(Unresolved::NotFound),
        1 => Ok(usable[0].function),
        _ => select(usable, arguments),
    }
}

/// A function whose arguments these could be; variadic ones are expanded.
struct Candidate {
    function: &'static Function,
    arguments: Vec<Base>,
}

impl Candidate {
    fn of(function: &'static Function, arguments: &[Type]) -> Option<Self> {
        let declared = &function.arguments;
        let expanded = match declared.last() {
            Some(Base::Any | Base::Texts) if arguments.len() >= declared.len() => {
                let fixed = &declared[..declared.len() - 1];
                let rest = if declared.last() == Some(&Base::Texts) { Base::Text } else { Base::Any };
                fixed.iter().copied().chain(std::iter::repeat(rest)).take(arguments.len()).collect()
            }
            _ => declared.to_vec(),
        };
        let fits = expanded.len() == arguments.len()
            && expanded.iter().zip(arguments).all(|(want, ty)| accepts(*want, ty))
            && agrees(&expanded, arguments);
        fits.then_some(Self { function, arguments: expanded })
    }
}

/// Whether an argument of that type may be given where the other is declared (`can_coerce_type`).
fn accepts(want: Base, ty: &Type) -> bool {
    if *ty == Type::Unknown {
        return true;
    }
    match want {
        Base::Any | Base::AnyElement | Base::AnyCompatible => true,
        Base::AnyNonArray => !matches!(ty, Type::Array(_)),
        Base::AnyArray | Base::AnyCompatibleArray => matches!(ty, Type::Array(_)),
        Base::AnyEnum => matches!(ty, Type::Enum(_)),
        Base::TextArray => matches!(ty, Type::Array(element) if implicit(Base::of(element), Base::Text).is_some()),
        _ => implicit(Base::of(ty), want).is_some(),
    }
}

/// The type without modifiers.
pub(super) fn unmodified(ty: &Type) -> Type {
    match ty {
        Type::Array(element) => Type::Array(Box::new(unmodified(element))),
        other => Base::of(other).plain().unwrap_or_else(|| other.clone()),
    }
}

/// Arguments declared with pseudo-types mean one type together (`check_generic_type_consistency`).
fn agrees(declared: &[Base], arguments: &[Type]) -> bool {
    let mut element: Option<Type> = None;
    for (want, ty) in declared.iter().zip(arguments) {
        let own = match (want, ty) {
            (_, Type::Unknown) => continue,
            (Base::AnyArray, Type::Array(inner)) => unmodified(inner),
            (Base::AnyElement | Base::AnyNonArray | Base::AnyEnum, ty) => unmodified(ty),
            _ => continue,
        };
        match &element {
            Some(other) if *other != own => return false,
            _ => element = Some(own),
        }
    }
    compatible_type(declared, arguments).is_some()
}

/// What `anycompatible` means for these arguments; `None` when they have no type in common, text when there is none at all.
pub(super) fn compatible_type(declared: &[Base], arguments: &[Type]) -> Option<Type> {
    let own = declared.iter().zip(arguments).filter_map(|(want, ty)| match (want, ty) {
        (_, Type::Unknown) => None,
        (Base::AnyCompatible, ty) => Some(unmodified(ty)),
        (Base::AnyCompatibleArray, Type::Array(element)) => Some(unmodified(element)),
        _ => None,
    });
    let own: Vec<Type> = own.collect();
    let common = common_type(&own).ok()?;
    own.iter().all(|ty| *ty == common || becomes(ty, &common)).then_some(common)
}

/// Whether the type becomes the other without being asked.
fn becomes(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (Type::Array(from), Type::Array(to)) => implicit(Base::of(from), Base::of(to)).is_some(),
        (Type::Enum(_), Type::Enum(_)) => from == to,
        _ => implicit(Base::of(from), Base::of(to)).is_some(),
    }
}

/// Whether the function needs the type of an argument that has none: a pseudo-type whose every argument is unknown.
pub(super) fn lacks_type(function: &Function, arguments: &[Type]) -> bool {
    let polymorphic = |base: &Base| matches!(base, Base::AnyElement | Base::AnyNonArray | Base::AnyArray | Base::AnyEnum);
    let mut given = function.arguments.iter().zip(arguments).filter(|(base, _)| polymorphic(base)).peekable();
    given.peek().is_some() && given.all(|(_, ty)| *ty == Type::Unknown)
}

/// `func_select_candidate`, step by step.
fn select(mut left: Vec<Candidate>, arguments: &[Type]) -> Result<&'static Function, Unresolved> {
    let given: Vec<Base> = arguments.iter().map(Base::of).collect();
    let known = |i: usize| given[i] != Base::Unknown;

    keep_best(&mut left, |c| (0..given.len()).filter(|i| known(*i) && c.arguments[*i] == given[*i]).count());
    if let [only] = left.as_slice() {
        return Ok(only.function);
    }
    keep_best(&mut left, |c| {
        let exact_or_preferred = |i: usize| {
            let own = c.arguments[i];
            own == given[i] || (own.is_preferred() && own.category() == given[i].category())
        };
        (0..given.len()).filter(|i| known(*i) && exact_or_preferred(*i)).count()
    });
    if let [only] = left.as_slice() {
        return Ok(only.function);
    }
    if (0..given.len()).all(known) {
        return Err(Unresolved::Ambiguous);
    }
    by_category(&mut left, &given);
    if let [only] = left.as_slice() {
        return Ok(only.function);
    }
    // Last: the unknown ones are taken for the one known type.
    let mut types = arguments.iter().filter(|ty| **ty != Type::Unknown).map(unmodified);
    if let Some(first) = types.next()
        && types.all(|ty| ty == first)
    {
        let assumed = vec![first; arguments.len()];
        let takes =
            |c: &&Candidate| c.arguments.iter().zip(&assumed).all(|(want, ty)| accepts(*want, ty)) && agrees(&c.arguments, &assumed);
        let accepting: Vec<&Candidate> = left.iter().filter(takes).collect();
        if let [only] = accepting.as_slice() {
            return Ok(only.function);
        }
    }
    Err(Unresolved::Ambiguous)
}

fn keep_best(candidates: &mut Vec<Candidate>, score: impl Fn(&Candidate) -> usize) {
    let best = candidates.iter().map(&score).max().unwrap_or(0);
    candidates.retain(|c| score(c) == best);
}

/// For each unknown argument: strings when a candidate takes one, else the category that all agree on, and of it the preferred type.
fn by_category(candidates: &mut Vec<Candidate>, given: &[Base]) {
    let mut wanted: Vec<Option<(char, bool)>> = vec![None; given.len()];
    for (i, slot) in wanted.iter_mut().enumerate().filter(|(i, _)| given[*i] == Base::Unknown) {
        let mut conflict = false;
        for candidate in candidates.iter() {
            let own = candidate.arguments[i];
            match slot {
                None => *slot = Some((own.category(), own.is_preferred())),
                Some((category, preferred)) if own.category() == *category => *preferred |= own.is_preferred(),
                Some(slot) if own.category() == 'S' => *slot = ('S', own.is_preferred()),
                Some(_) => conflict = true,
            }
        }
        if conflict && !matches!(slot, Some(('S', _))) {
            return;
        }
    }
    let fits = |candidate: &Candidate| {
        wanted.iter().enumerate().all(|(i, slot)| match slot {
            Some((category, preferred)) => {
                let own = candidate.arguments[i];
                own.category() == *category && (!preferred || own.is_preferred())
            }
            None => true,
        })
    };
    if candidates.iter().any(fits) {
        candidates.retain(fits);
    }
}

/// The type that expressions of these types become together. `Err`: two types that cannot be matched, with the index of the second.
pub(super) fn common_type(types: &[Type]) -> Result<Type, (Type, Type, usize)> {
    let mut chosen = Type::Unknown;
    for (index, ty) in types.iter().enumerate() {
        let ty = unmodified(ty);
        if ty == Type::Unknown || ty == chosen {
            continue;
        }
        if chosen == Type::Unknown {
            chosen = ty;
            continue;
        }
        let (have, next) = (Base::of(&chosen), Base::of(&ty));
        if have.category() != next.category() {
            return Err((chosen, ty, index));
        }
        if !have.is_preferred() && implicit(have, next).is_some() && implicit(next, have).is_none() && have != next {
            chosen = ty;
        }
    }
    Ok(if chosen == Type::Unknown { Type::Text } else { chosen })
}

/// The modifiers that expressions share, when they all have the type (`select_common_typmod`).
pub(super) fn common_modifiers(common: Type, types: &[&Type]) -> Type {
    match types {
        [first, rest @ ..] if unmodified(first) == common && rest.iter().all(|ty| ty == first) => (*first).clone(),
        _ => common,
    }
}
