//! Random documents and arrays through the operators of json, jsonb and arrays: many small values of few keys, so that they meet.

use crate::cases::{show_case, theirs};
use crate::generator::Random;
use crate::oracle::{self, Oracle};
use crate::samples::{Answer, Row, our_answers};

/// Rounds of a normal run, and rows of each; `HIGHWATER_TEST_SECONDS` gives more rounds.
const ROUNDS: usize = 6;
const ROWS: usize = 60;

const EXPRESSIONS: &[&str] = &[
    "j -> 'a'",
    "j ->> t",
    "j -> i2",
    "j ->> i2",
    "j #> ta",
    "j #>> ta",
    "json_extract_path_text(j, t, 'a')",
    "json_typeof(j)",
    "json_array_length(j)",
    "j::jsonb",
    "to_jsonb(j)",
    "jb -> t",
    "jb ->> t",
    "jb -> i2",
    "jb ->> i2",
    "jb #> ta",
    "jb #>> ta",
    "jb[t][i2]",
    "jb @> jb2",
    "jb <@ jb2",
    "jb || jb2 @> jb",
    "jb ? t",
    "jb ?| ta",
    "jb ?& ta",
    "jb || jb2",
    "jb - t",
    "jb - i2",
    "jb - ta",
    "jb < jb2",
    "jb = jb2",
    "jb >= jb2",
    "greatest(jb, jb2, jb -> 'a')",
    "jsonb_strip_nulls(jb)",
    "jsonb_array_length(jb)",
    "jsonb_typeof(jb -> 0)",
    "jsonb_extract_path(jb, t, 'a')",
    "jb::numeric",
    "jb::boolean",
    "(jb -> t)::int",
    "jsonb_build_object(t, jb, 'a', j)",
    "json_build_object(t, jb, 'a', j)",
    "jsonb_build_array(jb, ta, j, ia)",
    "to_json(ta)",
    "ta || t",
    "t || ta",
    "ta || tab",
    "ta @> tab",
    "ta <@ tab",
    "ta && tab",
    "ta < tab",
    "ta = tab",
    "ia @> iab",
    "ia && iab",
    "ia < iab",
    "ia || i2",
    "ia || la",
    "la || ia[i2]",
    "ia[i2]",
    "ta[i2]",
    "array_position(ta, t)",
    "array_position(ia, i2, 2)",
    "array_remove(ia, i2)",
    "array_to_string(ta, '/', '?')",
    "array_to_string(ia, t)",
    "i2 = ANY (ia)",
    "i2 > ALL (la)",
    "t <> ALL (ta)",
    "ta::text",
    "array_length(ia, 1) + cardinality(la)",
];

const WORDS: &[&str] = &["a", "b", "", "é", "0", "1", "-1", " 1", "null", "a b", "\"", "\\", "NULL", "{", ","];
const NUMBERS: &[&str] = &["0", "1", "-1", "1.0", "1.50", "15e-1", "-0", "1e2", "100", "2147483648", "1E+3", "0.0010"];

/// A JSON string, sometimes with escapes; `loose`: also those that only json takes.
fn string(random: &mut Random, loose: bool) -> String {
    let word = *random.pick(WORDS);
    if loose && random.chance(1) {
        return (*random.pick(&["\"\\u0000\"", "\"\\ud800\"", "\"\\udc00x\"", "\"\\ud83dx\""])).to_owned();
    }
    if random.chance(10) {
        return (*random.pick(&["\"\\u0061\"", "\"\\ud83d\\ude00\"", "\"\\n\\t\\b\\f\\r\\/\"", "\"\\u00E9\"", "\"\\u001f\""])).to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

fn blank(random: &mut Random) -> &'static str {
    random.pick::<&str>(&["", "", "", " ", "\n", " \t"])
}

fn document(random: &mut Random, depth: usize, loose: bool) -> String {
    let before = blank(random);
    let text = match random.below(if depth == 0 { 5 } else { 10 }) {
        0 => "null".to_owned(),
        1 => (*random.pick(&["true", "false"])).to_owned(),
        2 | 3 => (*random.pick(NUMBERS)).to_owned(),
        4 => string(random, loose),
        5..=7 => {
            let items: Vec<String> = (0..random.below(4)).map(|_| document(random, depth - 1, loose)).collect();
            format!("[{}{}]", blank(random), items.join(","))
        }
        _ => {
            let mut pairs = Vec::new();
            for _ in 0..random.below(4) {
                let key = if random.chance(60) { (*random.pick(&["\"a\"", "\"b\""])).to_owned() } else { string(random, loose) };
                pairs.push(format!("{}{key}{}:{}", blank(random), blank(random), document(random, depth - 1, loose)));
            }
            format!("{{{}{}}}", pairs.join(","), blank(random))
        }
    };
    format!("{before}{text}{}", blank(random))
}

fn array(random: &mut Random, items: &[&str]) -> String {
    let quoted = |item: &str| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""));
    let items: Vec<String> =
        (0..random.below(4)).map(|_| if random.chance(12) { "NULL".to_owned() } else { quoted(random.pick::<&str>(items)) }).collect();
    format!("{{{}}}", items.join(","))
}

fn row(random: &mut Random) -> Row {
    let integers = &["0", "1", "2", "-1", "3"];
    let mut row = Row::new();
    let mut set = |name: &str, value: String| row.insert(name.to_owned(), value);
    set("j", document(random, 3, true));
    set("jb", document(random, 3, false));
    set("jb2", document(random, 2, false));
    set("t", (*random.pick(WORDS)).to_owned());
    set("i2", (*random.pick(integers)).to_owned());
    for name in ["ta", "tab"] {
        set(name, array(random, WORDS));
    }
    for name in ["ia", "iab", "la"] {
        set(name, array(random, integers));
    }
    if random.chance(20) {
        let name = *random.pick(&["j", "jb", "jb2", "t", "i2", "ta", "ia", "la"]);
        row.remove(name);
    }
    // Values that contain each other are not drawn often enough.
    if random.chance(20)
        && let Some(document) = row.get("jb").cloned()
    {
        row.insert("jb2".to_owned(), document);
    }
    row
}

#[test]
fn random_documents_and_arrays_agree_with_postgres() {
    let url = oracle::url();
    let number = |name: &str, otherwise: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seed = number("HIGHWATER_TEST_SEED", clock);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(number("HIGHWATER_TEST_SECONDS", 0));
    let mut random = Random(seed);
    let mut oracle = Oracle::connect(&url);
    let (mut values, mut nulls, mut errors, mut wrong) = (0, 0, 0, Vec::new());
    let mut round = 0;
    while round < ROUNDS || (std::time::Instant::now() < until && wrong.is_empty()) {
        round += 1;
        let rows: Vec<Row> = (0..ROWS).map(|_| row(&mut random)).collect();
        oracle.set_rows(&rows);
        let mut disagree = Vec::new();
        for expression in EXPRESSIONS {
            let ours = our_answers(expression, &rows).unwrap_or_else(|e| panic!("{expression}: {e}"));
            for ((ours, theirs), row) in ours.iter().zip(oracle.answers(expression)).zip(&rows) {
                values += 1;
                nulls += usize::from(theirs == Answer::Null);
                errors += usize::from(matches!(theirs, Answer::Error(_)));
                if *ours != theirs {
                    disagree.push((row.clone(), *expression, format!("{ours:?}")));
                    break;
                }
            }
        }
        for (row, expression, what) in disagree {
            let used =
                row.into_iter().filter(|(name, _)| expression.split(|c: char| !c.is_alphanumeric()).any(|word| word == name)).collect();
            let (ty, answer) = theirs(&mut oracle, &used, expression);
            wrong.push(format!("{}\n    # {what}", show_case(&used, expression, &ty, &answer)));
        }
    }
    eprintln!("seed {seed}: {values} values of documents and arrays compared ({errors} errors, {nulls} NULLs)");
    assert!(wrong.is_empty(), "seed {seed}: {} disagreements:\n{}", wrong.len(), wrong.join("\n"));
}
