//! Seeds from the fixtures, and mutations of them.

use std::io::Read as _;
use std::path::Path;

use super::tables;

/// Longest seed that is mutated: a captured record with a very large value would only be slow.
const SEED_BYTES_MAX: usize = 20_000;

/// Record values and keys of the captures.
pub fn envelopes() -> Vec<Vec<u8>> {
    let captures: [&[u8]; 2] =
        [include_bytes!("../fixtures/schemas-disabled.jsonl.gz"), include_bytes!("../fixtures/schemas-enabled.jsonl.gz")];
    let mut seeds = Vec::new();
    for capture in captures {
        let mut text = String::new();
        flate2::read::GzDecoder::new(capture).read_to_string(&mut text).unwrap();
        for line in text.lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            let parts = ["key", "value"].iter().filter_map(|part| record[part].as_str());
            seeds.extend(parts.filter(|part| part.len() < SEED_BYTES_MAX).map(|part| part.as_bytes().to_vec()));
        }
    }
    seeds.sort();
    seeds.dedup();
    seeds
}

/// The inputs of the table of values, each for its type or one of the same name.
pub fn values() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for line in include_str!("../fixtures/types.tsv").lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.split('\t');
        let (Some(name), Some(input)) = (fields.next(), fields.next()) else { continue };
        let base = |name: &str| name.split('(').next().unwrap_or_default().to_owned();
        let exact = tables::COLUMNS.iter().position(|(_, ty)| *ty == name);
        let near = || tables::COLUMNS.iter().position(|(_, ty)| base(ty) == base(name) && ty.ends_with("[]") == name.ends_with("[]"));
        if let Some(choice) = exact.or_else(near) {
            seeds.push([&[u8::try_from(choice).unwrap()], input.replace("\\\\", "\\").as_bytes()].concat());
        }
    }
    seeds
}

/// The expressions of all cases, and whole SELECTs.
pub fn selects() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/select/cases");
    let mut seeds = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let cases = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let lines = cases.lines().filter(|line| !line.starts_with('#'));
        seeds.extend(lines.filter_map(|line| line.split(" | ").nth(1)).map(|text| text.trim().as_bytes().to_vec()));
    }
    // A directory has no order, and the mutations of a seed are to be the same everywhere.
    seeds.sort();
    seeds.dedup();
    let whole = [
        "SELECT * FROM samples",
        "SELECT s.t AS \"T\", l.name || 'x' FROM public.samples AS s INNER JOIN l ON l.id = s.i4 AND l.name <> t WHERE NOT b OR i8 IN (1, 2);",
        "/* a /* b */ */ SELECT CASE i4 WHEN 1 THEN 'x' ELSE $q$y$q$ END, E'\\u00e9', l.* FROM samples LEFT OUTER JOIN l ON u = l.t -- c",
    ];
    seeds.extend(whole.map(|text| text.as_bytes().to_vec()));
    seeds
}

/// Schema files.
pub fn schemas() -> Vec<Vec<u8>> {
    let texts = [
        tables::SCHEMA.as_str(),
        include_str!("../fixtures/1-tables.sql"),
        "CREATE TABLE s.t (a int DEFAULT nextval('s'::regclass) NOT NULL, b varchar(3) COLLATE \"C\" REFERENCES u (x) ON DELETE SET NULL, \
         CONSTRAINT k PRIMARY KEY (a, b) INCLUDE (a), UNIQUE (b) DEFERRABLE, CHECK (a > 0)) PARTITION BY LIST (a);",
        "CREATE TABLE t (a bigserial PRIMARY KEY, b int GENERATED ALWAYS AS (a + 1) STORED); ALTER TABLE ONLY t REPLICA IDENTITY FULL, \
         ADD COLUMN c d UNIQUE, ALTER b SET NOT NULL; CREATE UNIQUE INDEX i ON t (a, b) WHERE a > 1; CREATE DOMAIN d AS text CHECK (true);",
        "CREATE TYPE m AS ENUM ('a'); ALTER TYPE m ADD VALUE 'b' BEFORE 'a'; CREATE FUNCTION f() RETURNS int AS $$ SELECT 1; $$ LANGUAGE sql;",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Tokens that mean something to one of the targets.
const DICTIONARY: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "\\u0000",
    "\\ud83d",
    "null",
    "true",
    "-",
    "+",
    ".",
    "e9",
    "E-9",
    "0",
    "9",
    "99999999999999999999",
    "1e400",
    "infinity",
    "NaN",
    "BC",
    "24:00:00",
    "-infinity",
    "2147483648",
    "UTC",
    "ago",
    "(",
    ")",
    "'",
    "''",
    "\"\"",
    "--",
    "/*",
    "*/",
    "$$",
    "::",
    "::text",
    "::int",
    "::numeric",
    "::timestamptz",
    " AND ",
    " OR ",
    " NOT ",
    " IS NULL",
    "CASE WHEN ",
    " END",
    " BETWEEN ",
    " IN (",
    "coalesce(",
    "nullif(",
    "round(",
    " FROM ",
    " JOIN ",
    " ON ",
    " WHERE ",
    "SELECT ",
    "*",
    " / ",
    " ^ ",
    "||",
    "->>",
    "@>",
    " AT TIME ZONE ",
    "interval '1 mon'",
    "ARRAY[",
    " PRIMARY KEY",
    " DEFAULT ",
    " NOT NULL",
    "CREATE TABLE ",
    ";",
    "é",
    "\u{1f600}",
    "\0",
    " ",
    "\n",
    "op",
    "after",
    "payload",
    "schema",
    "__debezium_unavailable_value",
];

/// SplitMix64: small, fast, the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    /// One of the seeds with a few edits.
    pub fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(5) {
            let at = self.below(input.len() + 1);
            let end = (at + self.below(20)).min(input.len());
            match self.below(7) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 => drop(input.drain(at..end)),
                2 => {
                    let again = input[at..end].to_vec();
                    input.splice(at..at, again);
                }
                3 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len());
                    let to = (from + self.below(40)).min(other.len());
                    input.splice(at..end, other[from..to].iter().copied());
                }
                4 if self.below(8) == 0 => input.truncate(at),
                5 => drop(input.splice(at..end, DICTIONARY[self.below(DICTIONARY.len())].bytes())),
                _ => drop(input.splice(at..at, DICTIONARY[self.below(DICTIONARY.len())].bytes())),
            }
        }
        input
    }
}

/// The bytes of a text with the escapes `\\`, `\n`, `\t`, `\r`, `\"`, `\'`, `\0` and `\xNN`.
pub fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (&code, tail) = rest.split_first().unwrap();
        rest = tail;
        bytes.push(match code {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'0' => 0,
            b'x' => {
                let (digits, tail) = rest.split_at(2);
                rest = tail;
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    bytes
}
