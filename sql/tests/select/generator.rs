//! Random expressions with types, drawn from the tables of accepted functions and operators and from the grammar.

use highwater_sql::function::{Accepted, accepted};

use crate::samples::{Row, SAMPLES};

/// splitmix64: small, and the same on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n.max(1)).unwrap()).unwrap()
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

pub struct Generator {
    pub random: Random,
    accepted: Vec<Accepted>,
    /// How often each accepted row was drawn.
    pub drawn: Vec<usize>,
}

/// Types that expressions are asked for.
const TYPES: &[&str] = &[
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "text",
    "character varying",
    "bpchar",
    "uuid",
    "date",
    "time without time zone",
    "time with time zone",
    "timestamp without time zone",
    "timestamp with time zone",
    "interval",
    "json",
    "jsonb",
    "bytea",
    "inet",
    "hw_mood",
    "integer[]",
    "text[]",
    "bigint[]",
    "boolean[]",
    "double precision[]",
];

/// Types of arrays that columns have.
const ARRAYS: &[&str] = &["integer[]", "text[]", "bigint[]", "boolean[]", "timestamptz[]", "double precision[]"];

fn is_type(sql_type: &str, ty: &str) -> bool {
    let plain = match sql_type {
        "numeric(12,3)" => "numeric",
        "varchar(10)" => "character varying",
        "char(5)" => "bpchar",
        "time" => "time without time zone",
        "timetz" => "time with time zone",
        "timestamp" | "timestamp(0)" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        other => other,
    };
    plain == ty
}

/// Casts written as `x::t`: `bpchar` has no length there, so that `char` does not cut.
fn castable(random: &mut Random, ty: &str) -> Option<String> {
    let number = ["smallint", "integer", "bigint", "real", "double precision", "numeric", "text", "jsonb"];
    let from: &[&str] = match ty {
        "smallint" | "bigint" | "real" | "double precision" | "numeric" => &number,
        "integer" => &["smallint", "bigint", "real", "double precision", "numeric", "text", "boolean", "jsonb"],
        "boolean" => &["integer", "text", "jsonb"],
        "text" => &[
            "boolean",
            "integer",
            "bigint",
            "real",
            "double precision",
            "numeric",
            "bpchar",
            "uuid",
            "date",
            "time without time zone",
            "timestamp without time zone",
            "timestamp with time zone",
            "interval",
            "json",
            "jsonb",
            "bytea",
            "inet",
            "hw_mood",
            "integer[]",
            "text[]",
            "boolean[]",
            "double precision[]",
            "time with time zone",
        ],
        "character varying" | "bpchar" => &["text", "integer", "numeric", "uuid"],
        "date" => &["timestamp without time zone", "timestamp with time zone", "text"],
        "time without time zone" => &["timestamp without time zone", "text"],
        "timestamp without time zone" => &["date", "timestamp with time zone", "text"],
        "timestamp with time zone" => &["date", "timestamp without time zone", "text"],
        "time with time zone" => &["time without time zone"],
        "interval" => &["time without time zone", "text"],
        "jsonb" => &["json", "text"],
        "json" => &["jsonb", "text"],
        "uuid" | "hw_mood" | "inet" => &["text"],
        "integer[]" => &["bigint[]", "text[]"],
        "bigint[]" => &["integer[]", "double precision[]"],
        "text[]" => &["integer[]", "boolean[]"],
        _ => return None,
    };
    Some((*random.pick(from)).to_owned())
}

/// The type as a cast names it, sometimes with modifiers.
fn target(random: &mut Random, ty: &str) -> String {
    match ty {
        "numeric" if random.chance(40) => (*random.pick(&["numeric(10,2)", "numeric(38,10)", "numeric(5)", "numeric(3,3)"])).to_owned(),
        "character varying" if random.chance(50) => (*random.pick(&["varchar(3)", "varchar(1)", "varchar(20)"])).to_owned(),
        "bpchar" => (*random.pick(&["char(3)", "char(1)", "char(8)", "bpchar"])).to_owned(),
        "timestamp without time zone" if random.chance(30) => (*random.pick(&["timestamp(0)", "timestamp(3)"])).to_owned(),
        "timestamp with time zone" if random.chance(30) => (*random.pick(&["timestamptz(0)", "timestamptz(2)"])).to_owned(),
        "time without time zone" if random.chance(30) => "time(1)".to_owned(),
        other => other.to_owned(),
    }
}

/// Fields of dates and times.
const UNITS: &[&str] = &[
    "'microseconds'",
    "'milliseconds'",
    "'second'",
    "'minute'",
    "'hour'",
    "'day'",
    "'week'",
    "'month'",
    "'quarter'",
    "'year'",
    "'decade'",
    "'century'",
    "'millennium'",
    "'epoch'",
    "'dow'",
    "'isodow'",
    "'doy'",
    "'isoyear'",
    "'julian'",
    "'timezone'",
    "'nonsense'",
];

/// Literals for arguments that only take certain texts.
fn special(name: &str, argument: usize) -> Option<&'static [&'static str]> {
    const ZONES: &[&str] = &[
        "'UTC'",
        "'Europe/Berlin'",
        "'America/New_York'",
        "'Asia/Kolkata'",
        "'+05:30'",
        "'-08'",
        "'Asia/Tokyo'",
        "'Australia/Lord_Howe'",
        "'Nowhere/Land'",
    ];
    Some(match (name, argument) {
        ("date_trunc" | "date_part" | "extract", 0) => UNITS,
        ("date_trunc", 2) | ("timezone", 0) => ZONES,
        ("lpad" | "rpad" | "left" | "right" | "repeat" | "substr" | "substring" | "split_part", 1 | 2) => {
            &["0", "1", "2", "3", "-1", "5", "i2 % 7", "-2"]
        }
        ("round" | "trunc", 1) => &["0", "1", "2", "4", "-1", "-2", "20", "i2 % 5"],
        ("~~" | "!~~" | "~~*" | "!~~*", 1) => {
            &["'%'", "'a%'", "'%b%'", "'_'", "'__c'", "'A%C'", "'%\\%%'", "'é'", "t", "'\\'", "'%_'", "''"]
        }
        ("like_escape", 1) => &["'!'", "''", "'\\'", "'ab'"],
        ("encode" | "decode", 1) => &["'hex'", "'base64'", "'escape'", "'nonsense'"],
        ("decode", 0) => &["'616263'", "'YWJj'", "'a\\000b'", "t", "'zz'"],
        ("chr", 0) => &["65", "233", "128512", "0", "-1", "i2"],
        ("width_bucket", 3) => &["5", "10", "0", "i2"],
        ("date_bin", 0) => &["interval '15 minutes'", "interval '1 day'", "interval '0'", "interval '1 month'", "interval '-1 hour'", "iv"],
        ("similar_to_escape", 0) => &["t", "'a%'", "'%(b|c)_'", "'a!%'", "'[a-c%]'", "'\\%.^$'", "'a\\'"],
        ("similar_to_escape", 1) => &["'!'", "''", "'\\'", "'é'", "'ab'"],
        ("overlay", 2 | 3) => &["1", "2", "3", "0", "-1", "5", "2147483647", "i2 % 5"],
        ("->" | "->>", 1) => return None,
        ("#>" | "#>>", 1) => &[
            "'{a}'",
            "'{b,c,2,d}'",
            "'{}'",
            "'{1}'",
            "ta",
            "'{a,b}'",
            "'{-1}'",
            "ARRAY['a', t]",
            "'{a,NULL}'",
            "'{4,\" +1\"}'",
            "'{a,c,0}'",
        ],
        ("?", 1) => &["'a'", "'b'", "'two'", "t", "'é'"],
        ("?|" | "?&", 1) => &["'{a,b}'", "ta", "'{}'", "'{NULL,a}'", "ARRAY['two', 'a']", "'{n}'"],
        ("@>" | "<@", 1) => return None,
        ("array_length" | "array_upper" | "array_lower", 1) => &["1", "1", "2", "0", "i2"],
        ("array_position", 2) => &["1", "2", "i4", "NULL", "-1"],
        ("array_to_string", 1 | 2) => &["','", "''", "t", "'*'", "NULL"],
        ("format", 0) => &["'%s'", "'%s-%s'", "'%I %L'", "'%%'", "'%2$s %1$s'", "'%-5s|%5s'", "'%s %'", "'%q'", "'plain'"],
        ("jsonb_build_object" | "json_build_object", 0 | 2) => &["'a'", "'b'", "t", "i4", "'é'", "tz", "b", "f8"],
        _ => return None,
    })
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        let accepted = accepted();
        let drawn = vec![0; accepted.len()];
        Self { random: Random(seed), accepted, drawn }
    }

    /// The accepted rows of these names, separated by blanks.
    pub fn rows_named(&self, names: &str) -> Vec<usize> {
        (0..self.accepted.len()).filter(|i| names.split_whitespace().any(|name| name == self.accepted[*i].name)).collect()
    }

    pub fn count(&self) -> usize {
        self.accepted.len()
    }

    pub fn describe(&self, index: usize) -> String {
        let row = &self.accepted[index];
        format!("{}({})", row.name, row.arguments.join(", "))
    }

    /// A row with values at the edges and NULLs.
    pub fn row(&mut self) -> Row {
        let mut row = Row::new();
        for sample in SAMPLES {
            if !self.random.chance(12) {
                let text = *self.random.pick(sample.values);
                if crate::samples::readable(sample.sql_type, text) {
                    row.insert(sample.name.to_owned(), text.to_owned());
                }
            }
        }
        row
    }

    /// An expression that uses the accepted row of that index at its root, or any expression.
    pub fn expression(&mut self, root: Option<usize>) -> String {
        match root {
            Some(index) => self.call(index, 2),
            None => {
                let ty = *self.random.pick(TYPES);
                let depth = 1 + self.random.below(3);
                self.of(ty, depth)
            }
        }
    }

    /// An expression of that type.
    fn of(&mut self, ty: &str, depth: usize) -> String {
        if depth == 0 || self.random.chance(15) {
            return self.leaf(ty);
        }
        let calls: Vec<usize> = (0..self.accepted.len()).filter(|i| self.accepted[*i].result == ty).collect();
        match self.random.below(10) {
            0..=4 if !calls.is_empty() => {
                let index = *self.random.pick(&calls);
                self.call(index, depth - 1)
            }
            0..=5 => match castable(&mut self.random, ty) {
                // What the input functions make of any text is tested with them.
                Some(from) if from == "text" && ty.starts_with(['d', 't', 'i', 'j', 'u']) => format!("({})::{ty}", self.column("text")),
                Some(from) => {
                    let to = target(&mut self.random, ty);
                    format!("({})::{to}", self.column_like(&from, depth - 1))
                }
                None => self.leaf(ty),
            },
            6 => {
                let (condition, a, b) = (self.of("boolean", depth - 1), self.of(ty, depth - 1), self.mixed(ty, depth - 1));
                format!("CASE WHEN {condition} THEN {a} ELSE {b} END")
            }
            7 => format!("coalesce({}, {})", self.of(ty, depth - 1), self.mixed(ty, depth - 1)),
            8 if ty == "boolean" && self.random.chance(30) => self.like(depth - 1),
            8 if ty == "boolean" => self.test(depth - 1),
            8 if ty == "text" && self.random.chance(60) => self.written(depth - 1),
            8 if ["integer", "text", "jsonb"].contains(&ty) => {
                let subscripts: &[&str] = match ty {
                    "integer" => &["ia", "iab", "(ia || iab)"],
                    "text" => &["ta", "tab"],
                    _ => &["jb", "jb2", "(jb -> 'a')"],
                };
                format!("{}[{}]", self.random.pick(subscripts), self.random.pick(&["1", "2", "0", "'1'", "-1", "i2", "NULL", "'1'"]))
            }
            8 if ty != "json" => {
                format!("{}({}, {})", self.random.pick(&["greatest", "least", "nullif"]), self.of(ty, depth - 1), self.mixed(ty, depth - 1))
            }
            _ => {
                let other = *self.random.pick(TYPES);
                if matches!(other, "json") {
                    return self.leaf(ty);
                }
                let (key, arm) = (self.of(other, depth - 1), self.leaf(other));
                format!("CASE {key} WHEN {arm} THEN {} END", self.of(ty, depth - 1))
            }
        }
    }

    /// Not a constant: Postgres computes constants while it plans, and then they fail for rows that never reach them.
    pub(crate) fn column_like(&mut self, ty: &str, depth: usize) -> String {
        if depth == 0 { self.column(ty) } else { self.of(ty, depth) }
    }

    /// An array of that type: a column, a constructor, a constant.
    fn array(&mut self, ty: &str) -> String {
        match self.random.below(10) {
            0 => self.literal(ty),
            1 | 2 if ty == "integer[]" => format!("ARRAY[{}, {}]", self.leaf("integer"), self.column("smallint")),
            1 | 2 if ty == "text[]" => format!("ARRAY[{}, {}]", self.column("text"), self.leaf("text")),
            _ => self.column(ty),
        }
    }

    fn column(&mut self, ty: &str) -> String {
        let columns: Vec<&str> = SAMPLES.iter().filter(|s| is_type(s.sql_type, ty)).map(|s| s.name).collect();
        (*self.random.pick(&columns)).to_owned()
    }

    pub(crate) fn leaf(&mut self, ty: &str) -> String {
        if self.random.chance(70) { self.column(ty) } else { self.literal(ty) }
    }

    fn literal(&mut self, ty: &str) -> String {
        let sample = SAMPLES.iter().find(|s| is_type(s.sql_type, ty)).unwrap();
        let readable: Vec<&str> = sample.values.iter().copied().filter(|v| crate::samples::readable(sample.sql_type, v)).collect();
        if readable.is_empty() {
            return self.column(ty);
        }
        let text = (*self.random.pick(&readable)).replace('\'', "''");
        match ty {
            _ if self.random.chance(5) => "NULL".to_owned(),
            "integer" | "smallint" | "bigint" | "numeric" if !text.contains('e') && self.random.chance(60) => format!("({text})"),
            "bpchar" => format!("'{text}'::char(5)"),
            _ if self.random.chance(30) => format!("'{text}'"),
            _ => format!("'{text}'::{ty}"),
        }
    }

    /// Of that type, or of one that should become it.
    fn mixed(&mut self, ty: &str, depth: usize) -> String {
        let other: &[&str] = match ty {
            "integer" | "smallint" | "bigint" | "numeric" | "real" | "double precision" => {
                &["smallint", "integer", "bigint", "numeric", "real", "double precision"]
            }
            "text" | "character varying" | "bpchar" => &["text", "character varying", "bpchar"],
            "date" | "timestamp without time zone" | "timestamp with time zone" => {
                &["date", "timestamp without time zone", "timestamp with time zone"]
            }
            _ => &[],
        };
        if !other.is_empty() && self.random.chance(30) {
            let ty = *self.random.pick(other);
            return self.of(ty, depth);
        }
        self.of(ty, depth)
    }

    /// A boolean that is not a call.
    fn test(&mut self, depth: usize) -> String {
        let ty = *self.random.pick(&TYPES[..17]);
        let a = self.column_like(ty, depth);
        match self.random.below(9) {
            0 => format!("({a}) IS {}NULL", self.random.pick(&["", "NOT "])),
            1 => format!(
                "({}) IS {}{}",
                self.of("boolean", depth),
                self.random.pick(&["", "NOT "]),
                self.random.pick(&["TRUE", "FALSE", "UNKNOWN"])
            ),
            2 => format!("({a}) IS {}DISTINCT FROM ({})", self.random.pick(&["", "NOT "]), self.mixed(ty, depth)),
            3 => format!(
                "({a}) {}BETWEEN {}({}) AND ({})",
                self.random.pick(&["", "NOT "]),
                self.random.pick(&["", "SYMMETRIC "]),
                self.mixed(ty, depth),
                self.mixed(ty, depth)
            ),
            4 => format!("({a}) {}IN ({}, {}, {})", self.random.pick(&["", "NOT "]), self.literal(ty), self.mixed(ty, 0), self.literal(ty)),
            5 => format!("({}) AND ({})", self.of("boolean", depth), self.of("boolean", depth)),
            6 => format!("({}) OR ({})", self.of("boolean", depth), self.of("boolean", depth)),
            7 => format!("NOT ({})", self.of("boolean", depth)),
            _ => {
                let (column, array) =
                    *self.random.pick(&[("i4", "ia"), ("t", "ta"), ("i8", "la"), ("v", "ta"), ("i4", "la"), ("f8", "fa")]);
                format!("{column} {} {}({array})", self.random.pick(&["=", "<>", "<", ">="]), self.random.pick(&["ANY", "ALL"]))
            }
        }
    }

    fn call(&mut self, index: usize, depth: usize) -> String {
        self.drawn[index] += 1;
        let row = self.accepted[index].clone();
        let array = *self.random.pick(ARRAYS);
        let element = *self.random.pick(&["integer", "text", "numeric", "uuid", "boolean", "timestamp with time zone"]);
        let mut arguments = Vec::new();
        for (position, ty) in row.arguments.iter().enumerate() {
            let choices = special(row.name, position);
            // Postgres builds up to 1 GB where Highwater stops at 16 MiB.
            let long = matches!(row.name, "lpad" | "rpad" | "repeat");
            if let Some(constant) = self.constant(row.name, position, &row.arguments[0]) {
                arguments.push(constant);
                continue;
            }
            // The first argument is never a constant.
            arguments.push(match (choices, ty.as_str()) {
                (Some(choices), _) if choices == UNITS || long || self.random.chance(85) => (*self.random.pick(choices)).to_owned(),
                (_, "any") => {
                    let ty = *self.random.pick(TYPES);
                    self.column(ty)
                }
                (_, "anyenum") => self.leaf("hw_mood"),
                (_, "anyarray") => self.array(array),
                (_, "anycompatiblearray") => {
                    let other = if array.starts_with(['i', 'b', 'd']) && array != "boolean[]" {
                        *self.random.pick(&["integer[]", "bigint[]", "double precision[]"])
                    } else {
                        array
                    };
                    let own = if self.random.chance(30) { other } else { array };
                    self.array(own)
                }
                (_, "anycompatible") => match array {
                    "text[]" => self.leaf("text"),
                    "boolean[]" => self.leaf("boolean"),
                    "timestamptz[]" => self.leaf("timestamp with time zone"),
                    _ => {
                        let ty = *self.random.pick(&["smallint", "integer", "integer", "bigint", "double precision"]);
                        self.leaf(ty)
                    }
                },
                (_, "texts") => (*self.random.pick(&["'a'", "'b'", "t", "'c'", "'0'", "'-1'", "v", "NULL"])).to_owned(),
                (_, "integer") if matches!(row.name, "->" | "->>" | "-") && row.arguments[0].starts_with("json") => {
                    (*self.random.pick(&["0", "1", "-1", "2", "i4", "i2", "-3"])).to_owned()
                }
                (_, "text") if matches!(row.name, "->" | "->>" | "-") && row.arguments[0].starts_with("json") => {
                    (*self.random.pick(&["'a'", "'b'", "'n'", "'x'", "t", "'é'", "'1'", "v"])).to_owned()
                }
                (_, "text[]") if row.name == "-" => (*self.random.pick(&["ta", "'{a,b}'::text[]", "ARRAY['a', 'two', NULL]"])).to_owned(),
                (_, "jsonb") if row.name == "@>" || row.name == "<@" => {
                    let part = *self.random.pick(&[
                        "'[]'",
                        "'{}'",
                        "'{\"a\": 1}'",
                        "'[1]'",
                        "'1.50'",
                        "'{\"a\": {}}'",
                        "'[[]]'",
                        "'[\"a\"]'",
                        "jb2",
                        "jb -> 'a'",
                        "jb",
                    ]);
                    format!("({part})::jsonb")
                }
                (_, "anyelement" | "anynonarray") => self.column(element),
                (_, ty) if position == 0 => self.column_like(ty, depth),
                (_, ty) => self.mixed(ty, depth),
            });
        }
        if row.arguments.last().is_some_and(|ty| ty == "any") {
            for _ in 0..self.random.below(3) {
                let ty = *self.random.pick(TYPES);
                arguments.push(self.column(ty));
            }
            // Keys want values; now and then one is left without.
            if row.name.ends_with("_object") && arguments.len() % 2 == 1 && self.random.chance(90) {
                let ty = *self.random.pick(TYPES);
                arguments.push(self.column_like(ty, depth.min(1)));
            }
        }
        if row.arguments.last().is_some_and(|ty| ty == "texts") {
            for _ in 0..self.random.below(3) {
                arguments.push((*self.random.pick(&["'a'", "'b'", "'c'", "'2'", "'-1'", "t"])).to_owned());
            }
        }
        match (row.operator, arguments.as_slice()) {
            (true, [operand]) => format!("{} ({operand})", row.name),
            (true, [left, right]) => format!("({left}) {} ({right})", row.name),
            _ => format!(
                "{}({})",
                if matches!(row.name, "position" | "extract" | "overlay") {
                    format!("pg_catalog.{}", row.name)
                } else {
                    row.name.to_owned()
                },
                arguments.join(", ")
            ),
        }
    }
}
