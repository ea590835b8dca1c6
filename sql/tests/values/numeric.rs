//! Numeric arithmetic: the table that `numeric.sql` made from Postgres, and the two ways of computing against each other.

use highwater_sql::numeric::Numeric;
use highwater_sql::{RowError, Type, Value};
use proptest::prelude::*;

use crate::support::copy_fields;

fn numeric(text: &str) -> Numeric {
    Numeric::parse(text).unwrap()
}

fn evaluate(operation: &str, a: &str, b: &str) -> Result<String, RowError> {
    let text = |n: Numeric| n.to_string();
    let float = |ty: Type, v: Value| v.to_text(&ty).into_owned();
    match operation {
        "+" => numeric(a).add(&numeric(b)).map(text),
        "-" => numeric(a).sub(&numeric(b)).map(text),
        "*" => numeric(a).mul(&numeric(b)).map(text),
        "/" => numeric(a).div(&numeric(b)).map(text),
        "%" => numeric(a).rem(&numeric(b)).map(text),
        "div" => numeric(a).div_trunc(&numeric(b)).map(text),
        "compare" => Ok((numeric(a).cmp(&numeric(b)) as i8).to_string()),
        "round" => numeric(a).round(b.parse().unwrap()).map(text),
        "trunc" => numeric(a).trunc(b.parse().unwrap()).map(text),
        "ceil" => numeric(a).ceil().map(text),
        "floor" => numeric(a).floor().map(text),
        "abs" => Ok(numeric(a).abs().to_string()),
        "bigint" => numeric(a).to_i64_rounded().map(|v| v.to_string()),
        "double" => numeric(a).to_f64().map(|v| float(Type::Float8, Value::Float8(v))),
        "real" => numeric(a).to_f32().map(|v| float(Type::Float4, Value::Float4(v))),
        "from_double" => match Value::from_text(&Type::Float8, a)? {
            Value::Float8(v) => Numeric::from_f64(v).map(text),
            other => panic!("{other:?}"),
        },
        "from_real" => match Value::from_text(&Type::Float4, a)? {
            Value::Float4(v) => Numeric::from_f32(v).map(text),
            other => panic!("{other:?}"),
        },
        "typmod" => {
            let (precision, scale) = b.split_once(',').unwrap();
            numeric(a).apply_typmod(precision.parse().unwrap(), scale.parse().unwrap()).map(text)
        }
        "trim" => Ok(numeric(a).without_trailing_zeros().to_string()),
        other => panic!("no operation {other}"),
    }
}

/// Long results as the table keeps them.
fn abbreviated(text: String) -> String {
    if text.len() <= 4000 {
        return text;
    }
    format!("{}…{}…{}", text.len(), &text[..40], &text[text.len() - 40..])
}

#[test]
fn arithmetic_gives_what_postgres_gives() {
    let table = include_str!("../fixtures/numeric.tsv");
    let lines: Vec<&str> = table.lines().filter(|l| !l.starts_with('#')).collect();
    let mut wrong = Vec::new();
    for line in &lines {
        let fields = copy_fields(line);
        let [operation, a, b, expected] = fields.as_slice() else { panic!("{line}") };
        let result = match evaluate(operation, a, b) {
            Ok(text) => abbreviated(text),
            Err(e) => format!("!{}", e.sqlstate),
        };
        if result != *expected {
            wrong.push(format!("{line}\n    gave {result}"));
        }
    }
    assert!(lines.len() > 700);
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
}

/// Numbers around the border between the two forms, small ones, and ones with trailing zeros.
fn any_numeric() -> impl Strategy<Value = Numeric> {
    let coefficient = prop_oneof![
        any::<i128>(),
        (-1000_i128..1000),
        any::<i64>().prop_map(i128::from),
        (0_u32..38, -9_i128..=9).prop_map(|(n, d)| d * 10_i128.pow(n)),
        Just(i128::MAX),
        Just(i128::MIN),
        Just(i128::MIN + 1),
    ];
    (coefficient, 0_u16..60).prop_map(|(c, s)| Numeric::from_scaled(c, s).unwrap())
}

/// The same number, forced through big integers: multiplied up beyond what 128 bits hold, computed there, and divided down again.
fn shifted(n: &Numeric) -> Numeric {
    n.mul(&numeric(&format!("1{}", "0".repeat(60)))).unwrap()
}

proptest! {
    #[test]
    fn text_round_trips(n in any_numeric()) {
        let text = n.to_string();
        let again = numeric(&text);
        prop_assert_eq!(&again, &n);
        prop_assert_eq!(again.to_string(), text);
        prop_assert_eq!(again.dscale(), n.dscale());
    }

    #[test]
    fn sums_are_the_same_on_both_paths(a in any_numeric(), b in any_numeric()) {
        let sum = a.add(&b).unwrap();
        prop_assert_eq!(sum.dscale(), a.dscale().max(b.dscale()));
        prop_assert_eq!(shifted(&a).add(&shifted(&b)).unwrap(), shifted(&sum));
        prop_assert_eq!(sum.sub(&b).unwrap(), a);
    }

    #[test]
    fn products_are_the_same_on_both_paths(a in any_numeric(), b in any_numeric()) {
        let product = a.mul(&b).unwrap();
        prop_assert_eq!(product.dscale(), a.dscale() + b.dscale());
        prop_assert_eq!(shifted(&a).mul(&b).unwrap(), shifted(&product));
    }

    #[test]
    fn order_is_the_same_on_both_paths(a in any_numeric(), b in any_numeric()) {
        prop_assert_eq!(a.cmp(&b), shifted(&a).cmp(&shifted(&b)));
        prop_assert_eq!(a.cmp(&b) as i8, a.sub(&b).unwrap().sign());
    }

    #[test]
    fn remainders_are_the_same_on_both_paths(a in any_numeric(), b in any_numeric()) {
        prop_assume!(!b.is_zero());
        let rest = a.rem(&b).unwrap();
        prop_assert_eq!(shifted(&a).rem(&shifted(&b)).unwrap(), shifted(&rest));
        let whole = a.div_trunc(&b).unwrap();
        prop_assert_eq!(whole.mul(&b).unwrap().add(&rest).unwrap(), a);
        prop_assert!(rest.abs() < b.abs());
    }

    #[test]
    fn quotients_are_within_half_a_unit(a in any_numeric(), b in any_numeric()) {
        prop_assume!(!b.is_zero());
        let quotient = a.div(&b).unwrap();
        let off = quotient.mul(&b).unwrap().sub(&a).unwrap().abs();
        let half = b.abs().mul(&Numeric::from_scaled(5, quotient.dscale() + 1).unwrap()).unwrap();
        prop_assert!(off <= half, "{a} / {b} = {quotient}");
        prop_assert!(quotient.dscale() >= a.dscale().max(b.dscale()));
    }

    #[test]
    fn rounding_is_within_half_a_unit(n in any_numeric(), scale in -50_i32..70) {
        let rounded = n.round(scale).unwrap();
        let off = rounded.sub(&n).unwrap().abs();
        let half = numeric(&format!("5e{}", -scale - 1));
        prop_assert!(off <= half);
        // Halves go away from zero.
        prop_assert!(off < half || rounded.abs() > n.abs());
        let cut = n.trunc(scale).unwrap();
        let unit = numeric(&format!("1e{}", -scale));
        prop_assert!(cut.abs() <= n.abs());
        prop_assert!(n.sub(&cut).unwrap().abs() < unit);
        prop_assert_eq!(i32::from(rounded.dscale()), scale.max(0));
    }

    #[test]
    fn equal_numbers_hash_alike(n in any_numeric(), zeros in 0_i32..20) {
        use std::hash::{BuildHasher, RandomState};
        let longer = n.round(i32::from(n.dscale()) + zeros).unwrap();
        let state = RandomState::new();
        prop_assert_eq!(&longer, &n);
        prop_assert_eq!(state.hash_one(&longer), state.hash_one(&n));
    }

    #[test]
    fn scaled_integers_are_rounded_like_postgres_rounds(n in any_numeric(), scale in 0_u8..19) {
        let expected = n.round(scale.into()).unwrap().mul(&numeric(&format!("1e{scale}"))).unwrap();
        match Value::Numeric(n).to_scaled(scale) {
            Ok(units) => prop_assert_eq!(Numeric::from_i64(units), expected),
            Err(e) => {
                prop_assert_eq!(e.sqlstate, "22003");
                prop_assert!(expected.abs() > Numeric::from_i64(i64::MAX));
            }
        }
    }
}
