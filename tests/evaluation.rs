//! `highwater eval`, as the README shows it: no server, no environment, and exit codes that a test can use.

use std::fs;
use std::process::{Command, Output};

use crate::support::stack::root;
use crate::support::stage::Directory;

const EXAMPLE: &str = "highwater eval examples/orders/pipeline.toml --schema examples/orders/schema.sql --records examples/orders/records.jsonl \
    --lookup customers=examples/orders/customers.jsonl";

fn run(command: &str) -> Output {
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("highwater"));
    Command::new(env!("CARGO_BIN_EXE_highwater")).args(words).current_dir(root()).env_clear().output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_example_of_the_readme_gives_what_it_shows() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("## Test your pipeline without servers").nth(1).unwrap().split("\n## ").next().unwrap();
    let words = |text: &str| text.replace('\\', " ").split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert!(words(section).contains(&words(&format!("target/release/{EXAMPLE}"))), "the README shows another command than {EXAMPLE}");
    let output = run(EXAMPLE);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{}", said(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    let shown: Vec<_> = section.lines().filter(|line| line.starts_with("{\"record\"")).collect();
    assert!(shown.len() > 2);
    for line in shown {
        assert!(lines.lines().any(|l| l == line), "the README shows {line}, which does not come out:\n{lines}");
    }
}

#[test]
fn exit_codes_tell_equal_from_different_from_wrong() {
    let directory = Directory::new("evaluation");
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let expected = fs::read_to_string(root().join("examples/orders/expected.jsonl")).unwrap();
    fs::write(file("same.jsonl"), &expected).unwrap();
    fs::write(file("other.jsonl"), expected.replace("59.70", "59.7")).unwrap();
    fs::write(file("wrong.jsonl"), "{}").unwrap();
    for (arguments, code, message) in [
        (format!("--expect {}", file("same.jsonl")), 0, "7 lines as expected"),
        (format!("--expect {}", file("other.jsonl")), 1, "amount: expected 59.7, got 59.70"),
        (format!("--expect {}", file("wrong.jsonl")), 2, "wrong.jsonl:1: there is no record number"),
        (format!("--expect {}", file("none.jsonl")), 2, "none.jsonl: No such file"),
        ("--lookup orders=examples/orders/customers.jsonl".to_owned(), 2, "the SELECT joins no table orders; it joins public.customers"),
        ("--lookup customers".to_owned(), 2, "write TABLE=ROWS.jsonl"),
        ("--unknown".to_owned(), 2, "--unknown"),
    ] {
        let output = run(&format!("{EXAMPLE} {arguments}"));
        assert_eq!(output.status.code(), Some(code), "{arguments}: {}", said(&output));
        assert!(said(&output).contains(message), "{arguments}: {}", said(&output));
        assert!(!said(&output).contains('\x1b'), "colour without a terminal: {}", said(&output));
    }
    assert_eq!(run("highwater eval examples/orders/pipeline.toml").status.code(), Some(2));
}
