//! Of the pipeline file only what says which rows a change gives, for running the SELECT without servers.
//!
//! Sinks and addresses are not looked at, so that variables which only they use need not be set.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Document, Environment, Error, Index, SelectConfig, SelectText, read};

/// What says which rows a change gives.
#[derive(Clone, Debug)]
pub struct Selection {
    /// `source.prefix`
    pub prefix: String,
    /// `source.append_only`
    pub append_only: bool,
    /// The file.
    pub path: PathBuf,
    select: SelectConfig,
    index: Index,
}

#[derive(Deserialize)]
struct Source {
    prefix: String,
    #[serde(default)]
    append_only: bool,
}

impl Selection {
    /// Reads a pipeline file with the environment of the process.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &read(path)?, &|name| std::env::var(name).ok())
    }

    /// Reads the text of a file.
    pub fn parse(path: &Path, text: &str, environment: Environment<'_>) -> Result<Self, Error> {
        let invalid = |problems| Error::Invalid { path: path.to_owned(), problems };
        let mut document = Document::parse(text, environment).map_err(invalid)?;
        let source: Option<Source> = document.take("source");
        let select: Option<SelectConfig> = document.take("select");
        let index = document.finish_only(&["source.prefix", "source.append_only", "select"]).map_err(invalid)?;
        let (Some(source), Some(select)) = (source, select) else { return Err(invalid(Vec::new())) };
        Ok(Self { prefix: source.prefix, append_only: source.append_only, path: path.to_owned(), select, index })
    }

    /// The SELECT and where it stands.
    pub fn select_text(&self) -> SelectText<'_> {
        SelectText { path: &self.path, line: self.index.line("select.sql"), sql: &self.select.sql }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FILE: &str =
        "name = \"n\"\n[source]\nprefix = \"p\"\npostgres = \"${NOT_SET}\"\n[select]\nsql = \"SELECT\"\n[[sink]]\ntype = \"x\"\n";

    fn parse(text: &str) -> Result<Selection, Error> {
        Selection::parse(Path::new("p.toml"), text, &|_| None)
    }

    #[test]
    fn only_what_says_which_rows_a_change_gives_is_read() {
        let read = parse(FILE).unwrap();
        assert_eq!((read.prefix.as_str(), read.append_only, read.select_text().sql, read.select_text().line), ("p", false, "SELECT", 6));
    }

    #[test]
    fn and_must_be_right() {
        for (good, bad, message) in [
            ("\"p\"", "\"${NOT_SET}\"", "p.toml:3: source.prefix: the environment variable NOT_SET is not set"),
            ("prefix = \"p\"", "", "p.toml:2: source.prefix: is required and missing"),
            ("sql", "sqll", "select"),
            ("[select]", "[selected]", "select: is required"),
            ("[source]", "[source", "p.toml:2"),
        ] {
            let error = parse(&FILE.replace(good, bad)).unwrap_err().to_string();
            assert!(error.contains(message), "{bad}: {error}");
        }
    }
}
