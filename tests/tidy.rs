//! Rules about the repository itself that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use highwater::config::PipelineConfig;

use crate::support::stack::root;

/// Files below a directory whose names end like this.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect()
}

/// The demo's tables and columns, from its schema and its SELECT: the names that are no everyday words.
fn names_of_the_demo() -> BTreeSet<String> {
    let schema = fs::read_to_string(root().join("init-db/01-schema.sql")).unwrap();
    let pipeline: toml::Table = fs::read_to_string(root().join("pipelines/engagement.toml")).unwrap().parse().unwrap();
    let select = pipeline["select"]["sql"].as_str().unwrap();
    let column = |line: &str| line.strip_prefix("  ").and_then(|line| line.split(' ').next()).map(str::to_owned);
    let table = |line: &str| line.strip_prefix("CREATE TABLE IF NOT EXISTS ").and_then(|line| line.split(' ').next()).map(str::to_owned);
    let aliases = select.split(" AS ").skip(1).filter_map(|rest| rest.split([',', '\n', ' ']).next()).map(str::to_owned);
    let names = schema.lines().flat_map(|line| column(line).into_iter().chain(table(line))).chain(aliases);
    names.filter(|name| name.contains('_')).chain(["engagement".to_owned()]).collect()
}

#[test]
fn no_source_of_the_engine_knows_the_demo() {
    let names = names_of_the_demo();
    assert!(names.contains("engagement_events") && names.contains("duration_ms") && names.contains("engagement_pct"), "{names:?}");
    let mut sources: Vec<_> = ["src", "sql/src"].iter().flat_map(|directory| files(&root().join(directory), ".rs")).collect();
    sources.extend(files(&root().join("redis"), ".lua"));
    assert!(sources.len() > 20);
    for source in sources {
        // Tests may: at the foot of a file, or in files of their own.
        let of_tests = |part: &str| part == "tests" || part == "tests.rs";
        if source.strip_prefix(root()).unwrap().components().any(|part| of_tests(&part.as_os_str().to_string_lossy())) {
            continue;
        }
        let text = fs::read_to_string(&source).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap();
        let known: Vec<_> = words(product).into_iter().filter(|word| names.contains(*word)).collect();
        assert!(known.is_empty(), "{} knows {known:?}", source.display());
    }
}

#[test]
fn every_pipeline_that_is_shown_can_be_read() {
    let environment = |name: &str| match name {
        "DATABASE_URL" => Some("postgres://user:password@127.0.0.1/db".to_owned()),
        "WEBHOOK_SECRET" => Some("whsec_dGhpcyBpcyBhIHNlY3JldCBvZiB0aGUgdGVzdHM=".to_owned()),
        _ => None,
    };
    let mut shown: Vec<(PathBuf, String)> = Vec::new();
    for directory in ["pipelines", "examples"] {
        for file in files(&root().join(directory), ".toml") {
            shown.push((file.clone(), fs::read_to_string(file).unwrap()));
        }
    }
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap_or_default();
        let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        // A whole pipeline has a name; a block without one shows a section.
        shown.extend(
            blocks.filter(|block| block.contains("[source]") && block.contains("name")).map(|block| (document.into(), block.to_owned())),
        );
    }
    assert!(!shown.is_empty());
    for (place, text) in shown {
        if let Err(error) = PipelineConfig::parse(&place, &text, &environment) {
            panic!("{}: {error}", place.display());
        }
    }
}

#[test]
fn scripts_and_documents_name_no_path_of_one_machine() {
    let home = root().parent().unwrap().to_string_lossy().into_owned() + "/";
    let mut texts = Vec::new();
    for directory in
        ["src", "sql", "tests", "local-stack", "init-db", "redis", "pipelines", "examples", "connectors", "webhook-receiver", "datagen"]
    {
        for ending in [".rs", ".sh", ".sql", ".toml", ".lua", ".md", ".json", ".properties", ".xml"] {
            texts.extend(files(&root().join(directory), ending));
        }
    }
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.file_name().is_some_and(|name| name != ".git") {
            texts.push(path);
        }
    }
    for path in texts {
        let text = fs::read(&path).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains(&home), "{} names {home}", path.display());
    }
}
