//! Random patterns, templates, and texts by a syntax of their own.

use crate::generator::Generator;

/// Parts of regular expressions.
const PATTERNS: &str = r"a b c A é É 日 1 - _ , % abc . ^ $ \d \w \s \D \W \S \. \\ \t \y \m \M \A \Z \u0061 [abc] [^a-c] [A-Z] [[:alpha:]]
    [^[:upper:]] [[:lower:]] [[:punct:]_] [\w-] [\D] [^\s] []a] [^]] [a-] [à-ü] [[:digit:][:space:]] (a|b) (ab) (?:b|c) (|a) () (a(b|c)) {
    } a{2} ] ( [z-a] [[:cntrl:]] [[:graph:]] [[:print:]] [[:xdigit:]] [[:blank:]] [[:word:]] [[:ascii:]]";
const QUANTIFIERS: &[&str] = &["", "", "", "", "", "*", "+", "?", "{2}", "{1,2}", "{0,1}", "{1,}", "*?", "+?", "??", "{2}?"];
/// Parts of LIKE and SIMILAR TO.
const SIMILAR: &str = r"a b abc % % _ (a|b) [a-c] [^a] é É . ^ $ \% \_ b* c+ a? (ab){1,2} [%_] !% !a \";
/// Parts of templates of to_char, for times and for numbers.
const TIMES: &str = r#"A.D. A.M. AD AM B.C. BC CC DAY DDD DD DY Day Dy D FF1 FF2 FF3 FF4 FF5 FF6 HH24 HH12 HH IDDD ID IW IYYY IYY IY I J MI MM
    MONTH MON MS Month Mon OF P.M. PM Q RM SSSSS SSSS SS TZH TZM TZ US WW W Y,YYY YYYY YYY YY Y a.d. a.m. ad am b.c. bc cc day ddd dd dy d ff1
    ff2 ff3 ff4 ff5 ff6 hh24 hh12 hh iddd id iw iyyy iyy iy i j mi mm month mon ms of p.m. pm q rm sssss ssss ss tzh tzm tz us ww w y,yyy yyyy
    yyy yy y - / : . , T "T" "at\"x" \" \ é Tz " FX TM SP Z"#;
const INTERVALS: &str = r#"HH24 HH12 HH MI SS MS US FF1 FF2 FF3 FF4 FF5 FF6 SSSS SSSSS DD MM hh24 mi ss ms us dd mm : - . "h" YYYY Day"#;
const NUMBERS: &str = r#"9 9 99 9 0 0 , G S MI PL SG PR FM "x" $ % - é fm mi s"#;

impl Generator {
    fn word(&mut self, words: &'static str) -> &'static str {
        let words: Vec<&str> = words.split_whitespace().collect();
        words[self.random.below(words.len())]
    }

    fn one(&mut self, words: &[&'static str]) -> &'static str {
        words[self.random.below(words.len())]
    }

    /// A constant for an argument that must be one.
    pub fn constant(&mut self, name: &str, position: usize, ty: &str) -> Option<String> {
        let text = match name {
            "format" if position == 0 && self.random.chance(60) => self.soup("%%%%%s%sIL$$123-*0xé"),
            "decode" if position == 0 && self.random.chance(40) => self.soup("aAbzYWJj019+/== \\\\377é"),
            _ if position != 1 => return None,
            "~" | "!~" | "~*" | "!~*" | "regexp_like" => self.pattern(),
            "to_char" if ty.starts_with("timestamp") => self.time_template(TIMES),
            "to_char" if ty == "interval" => self.time_template(INTERVALS),
            "to_char" => self.number_template(),
            _ => return None,
        };
        Some(format!("'{}'", text.replace('\'', "''")))
    }

    /// Any characters in any order.
    fn soup(&mut self, characters: &str) -> String {
        let characters: Vec<char> = characters.chars().collect();
        (0..self.random.below(9)).map(|_| *self.random.pick(&characters)).collect()
    }

    fn pattern(&mut self) -> String {
        if self.random.chance(20) {
            return self.soup(r"abAé1 _-.^$|()[]{}*+?\\dwsDWSmMyAZ:=,02n");
        }
        let mut pattern = self.one(&["", "", "", "", "^", "(?i)"]).to_owned();
        for _ in 0..1 + self.random.below(4) {
            pattern += self.word(PATTERNS);
            pattern += self.one(QUANTIFIERS);
            pattern += self.one(&["", "", "", "", "", "", "|", "$", " "]);
        }
        pattern
    }

    fn time_template(&mut self, fields: &'static str) -> String {
        if self.random.chance(20) {
            return self.soup(r#"YYMDHS24ISWQJFFTthmdaypP.-"\ é13,OZ"#);
        }
        let mut template = String::new();
        for _ in 0..1 + self.random.below(5) {
            template += self.one(&["", "", "", "", "FM", "fm"]);
            template += self.word(fields);
            template += self.one(&["", "", "", "", "", "TH", "th", "-", " "]);
        }
        template
    }

    fn number_template(&mut self) -> String {
        if self.random.chance(30) {
            return self.soup(r#"99990000..DG,SMIPLGRFM x"\é"#);
        }
        let mut template = self.one(&["", "", "FM", "S", "MI", "PL", "SG", "$"]).to_owned();
        for _ in 0..self.random.below(12) {
            template += if self.random.chance(70) { self.one(&["9", "99", "0", "999", ","]) } else { self.word(NUMBERS) };
        }
        if self.random.chance(60) {
            template += self.one(&[".", "D"]);
            for _ in 0..self.random.below(6) {
                template += self.one(&["9", "9", "0", "99"]);
            }
        }
        template + self.one(&["", "", "", "", "S", "MI", "PR", "SG", "PL", "TH", "EEEE", "V9", " x"])
    }

    /// A text by a syntax of its own.
    pub fn written(&mut self, depth: usize) -> String {
        let text = self.column_like("text", depth);
        match self.random.below(5) {
            0 => {
                let (side, set) = (self.one(&["", "BOTH", "LEADING", "TRAILING"]), self.one(&["'a'", "' '", "''", "'ab '", "t"]));
                format!("trim({side} {set} FROM {text})")
            }
            1 => format!("trim({} FROM {text})", self.one(&["BOTH", "LEADING", "TRAILING"])),
            2 => format!("substring({text} FROM {} FOR {})", self.one(&["1", "2", "-1", "i2"]), self.one(&["0", "2", "5", "i2"])),
            3 => format!("overlay({text} PLACING {} FROM {})", self.leaf("text"), self.one(&["1", "2", "7", "i2"])),
            _ => format!("position({} IN {text})::text", self.leaf("text")),
        }
    }

    /// LIKE, ILIKE, SIMILAR TO.
    pub fn like(&mut self, depth: usize) -> String {
        let (ty, not) = (self.one(&["text", "text", "character varying", "bpchar"]), self.one(&["", "NOT "]));
        let text = self.column_like(ty, depth);
        let mut pattern = String::new();
        for _ in 0..1 + self.random.below(4) {
            pattern += self.word(SIMILAR);
        }
        if self.random.chance(20) {
            pattern = self.soup(r#"abé%%__\\![](){}|*+?^-$.1,""#);
        }
        let how = self.one(&["LIKE", "ILIKE", "SIMILAR TO"]);
        let escape = self.one(&["", "", "", " ESCAPE '!'", " ESCAPE ''", " ESCAPE '\\'"]);
        format!("({text}) {not}{how} '{pattern}'{escape}")
    }
}
