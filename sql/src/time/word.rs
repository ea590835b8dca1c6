//! The words in date and time text.

use super::token::is_keyword;

/// What a word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// `jan`: 1 to 12
    Month(i64),
    /// A day of the week, which is not checked
    Weekday,
    /// `at`, `on`
    Ignored,
    /// `am` (false) and `pm` (true)
    Meridiem(bool),
    /// `ad` (false) and `bc` (true)
    Era(bool),
    /// The `T` between date and time
    IsoTime,
    /// `epoch`
    Epoch,
    /// `infinity`
    Infinity,
    /// `allballs`: midnight UTC
    Midnight,
    /// A zone that is UTC by any of its names
    Utc,
    /// `now`, `today` and their kind: what they mean depends on a clock
    Clock,
    /// `j`, `y`, `h` and other words that give the next number its unit
    Unit,
}

const MONTHS: [&[&str]; 12] = [
    &["jan", "january"],
    &["feb", "february"],
    &["mar", "march"],
    &["apr", "april"],
    &["may"],
    &["jun", "june"],
    &["jul", "july"],
    &["aug", "august"],
    &["sep", "sept", "september"],
    &["oct", "october"],
    &["nov", "november"],
    &["dec", "december"],
];

const WORDS: &[(&[&str], Word)] = &[
    (
        &[
            "sun",
            "sunday",
            "mon",
            "monday",
            "tue",
            "tues",
            "tuesday",
            "wed",
            "weds",
            "wednesday",
            "thu",
            "thur",
            "thurs",
            "thursday",
            "fri",
            "friday",
            "sat",
            "saturday",
        ],
        Word::Weekday,
    ),
    (&["at", "on"], Word::Ignored),
    (&["am"], Word::Meridiem(false)),
    (&["pm"], Word::Meridiem(true)),
    (&["ad"], Word::Era(false)),
    (&["bc"], Word::Era(true)),
    (&["t"], Word::IsoTime),
    (&["epoch"], Word::Epoch),
    (&["infinity"], Word::Infinity),
    (&["allballs"], Word::Midnight),
    (&["now", "today", "tomorrow", "yesterday"], Word::Clock),
    (&["d", "h", "j", "jd", "julian", "m", "mm", "s", "y"], Word::Unit),
];

/// The meaning of a word in lower case; `None` for others, which may be the name of a time zone.
pub(super) fn lookup(word: &str) -> Option<Word> {
    if let Some(month) = MONTHS.iter().position(|names| names.iter().any(|n| is_keyword(word, n))) {
        return i64::try_from(month).ok().map(|m| Word::Month(m + 1));
    }
    WORDS.iter().find(|(names, _)| names.iter().any(|n| is_keyword(word, n))).map(|(_, meaning)| *meaning)
}

/// The meaning of a word in lower case, names of UTC included: they are abbreviations of zones, which come first.
pub(super) fn lookup_with_utc(word: &str) -> Option<Word> {
    match word {
        "z" | "zulu" | "utc" | "uct" | "ut" | "gmt" => Some(Word::Utc),
        _ => lookup(word),
    }
}
