//! Signatures made by the reference library of Standard Webhooks (PyPI `standardwebhooks`) are accepted here.
//!
//! `PYTHON` names an interpreter that has the library; without one the test is skipped, with the reason.

use std::process::Command;

use crate::support::{Receiver, SECRET, insert};

#[tokio::test(flavor = "multi_thread")]
async fn signatures_of_the_reference_library_are_accepted() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imported = Command::new(&python).args(["-c", "import standardwebhooks"]).output();
    if !imported.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: {python} has no standardwebhooks (pip install standardwebhooks; PYTHON names the interpreter)");
        return;
    }
    let receiver = Receiver::start("interoperability").await;
    let sender = receiver.sender();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/send_signed.py");
    let mut good = insert("from-python");
    // Not ASCII, so that both sides must agree on bytes and not on characters.
    good["data"]["after"]["device"] = "Телевизор 📺".into();
    let mut send = Command::new(&python);
    send.arg(script)
        .arg(format!("{}/webhook", sender.base))
        .env("WEBHOOK_SECRET", SECRET)
        .env("BODY", serde_json::json!([good]).to_string());
    let output = tokio::task::spawn_blocking(move || send.output().unwrap()).await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(printed.trim(), "signed 200, other body 401, rotated 200, old 401", "{complaint}");
    let stats = sender.stats().await;
    assert_eq!((stats["unique"].as_u64(), stats["duplicates"].as_u64()), (Some(1), Some(1)));
    assert_eq!(stats["per_device"]["Телевизор 📺"], 1);
    receiver.stop().await;
}
