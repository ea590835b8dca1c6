//! The page in a real browser: its numbers are those of `/stats`, it follows by itself, it says when it cannot, and no event
//! can put anything but text on it. Skipped, with the reason, where no Chromium is installed.
//!
//! `RECEIVER_SCREENSHOTS=DIRECTORY` also saves pictures of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use webhook_receiver::timestamp;

use crate::support::browser::Browser;
use crate::support::process::Process;
use crate::support::temp_dir::TempDir;
use crate::support::{Receiver, Sender, event, row};

const SOON: Duration = Duration::from_secs(10);

fn browser() -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        println!("SKIPPED: no chromium found (Debian: apt-get install chromium)");
    }
    browser
}

/// An event that was committed `age_ms` ago.
fn recent(id: &str, op: &str, row: Value, age_ms: i64) -> Value {
    let mut event = event(id, op, row);
    event["time"] = json!(timestamp::format(timestamp::now_us() - age_ms * 1000));
    event
}

/// Something of everything: operations, duplicates, a conflict, a rejected request, more labels than rows.
async fn fill(sender: &Sender, events: u64) {
    let pick = |list: &[&str], n: u64| list[usize::try_from(n).unwrap() % list.len()].to_owned();
    for n in 0..events {
        let skewed = (n * n % 97) * (n % 7) / 40;
        let content = format!("3f2a{skewed:04x}-77c1-4d0e-9b1a-{:012x}", skewed * 7_919_777);
        let mut row = row(
            &content,
            &pick(&["play", "pause", "finish", "play", "click"], n),
            &pick(&["web-chrome", "ios", "android", "web-firefox", "tv", "web-chrome"], n / 2),
        );
        row["content_type"] = json!(pick(&["podcast", "video", "newsletter", "video"], skewed));
        row["engagement_seconds"] = json!((n * 37 % 900) as f64 / 4.0);
        let op = match n % 29 {
            0 => "update",
            1 => "delete",
            _ => "insert",
        };
        let age_ms = i64::try_from(6 + n * 13 % 9 + n % 50 / 49 * 30).unwrap();
        sender.deliver(&[recent(&format!("e-{n}"), op, row, age_ms)]).await;
    }
    sender.deliver(&[recent("e-1", "insert", json!({}), 5)]).await;
    assert_eq!(sender.signed("[").send().await.unwrap().status(), 400);
}

/// What stands on the page, read as a person would read it.
const READ_PAGE: &str = "(() => {
    const number = node => Number(node.textContent.replaceAll(',', ''));
    const list = rows => Object.fromEntries([...rows].filter(row => getComputedStyle(row).visibility === 'visible')
        .map(row => [row.querySelector('.name').textContent, number(row.querySelector('.count'))]));
    const page = { stats: {}, times: {}, shares: {} };
    for (const node of document.querySelectorAll('[data-stat]')) page.stats[node.dataset.stat] = number(node);
    for (const node of document.querySelectorAll('[data-time]')) page.times[node.dataset.time] = node.innerText.replace(/\\s/g, '');
    for (const node of document.querySelectorAll('[data-share]')) page.shares[node.dataset.share] = list(node.children);
    page.top = [...document.querySelectorAll('#top li:not(.blank)')].map(row => [row.title, number(row.querySelector('.count'))]);
    page.latest = [...document.querySelectorAll('#latest tr:not(.blank)')].map(row => row.cells[1].innerText + ' ' + row.cells[3].title);
    page.reasons = document.getElementById('reasons').textContent;
    return page;
})()";

fn assert_page_equals_stats(page: &Value, stats: &Value) {
    for name in ["total", "unique", "duplicates", "conflicts", "rejected"] {
        assert_eq!(page["stats"][name], stats[name], "{name}");
    }
    assert_eq!(page["stats"]["events_per_minute.current"], stats["events_per_minute"]["current"]);
    assert_eq!(page["stats"]["latency_ms.samples"], stats["latency_ms"]["samples"]);
    for (name, percentile) in [("latency_ms.p50", "p50"), ("latency_ms.p95", "p95"), ("latency_ms.p99", "p99")] {
        let shown = format!("{:.1}ms", stats["latency_ms"][percentile].as_f64().unwrap());
        assert_eq!(page["times"][name], shown, "{name}");
    }
    for name in ["per_event_type", "per_content_type", "per_operation"] {
        assert_eq!(page["shares"][name], stats[name], "{name}");
    }
    let devices = stats["per_device"].as_object().unwrap();
    let shown = page["shares"]["per_device"].as_object().unwrap();
    let sum = |counts: &serde_json::Map<String, Value>| counts.values().map(|n| n.as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum(shown), sum(devices), "five devices in four rows");
    assert!(shown.contains_key("2 others"), "{shown:?}");
    let top: Vec<Value> = stats["top_content"].as_array().unwrap().iter().map(|item| json!([item["content_id"], item["events"]])).collect();
    assert_eq!(page["top"], json!(top));
    assert_eq!(page["reasons"], "not json 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_on_the_page_equal_stats() {
    let Some(mut browser) = browser() else { return };
    let receiver = Receiver::start("page").await;
    let sender = receiver.sender();
    fill(&sender, 400).await;
    browser.emulate_and_open(&sender.base, 1280, false);
    browser.wait_for("document.body.classList.contains('live')", SOON);
    // The page may be a moment behind, and the rate of the last minute moves by itself.
    let stats = settled(&mut browser, &sender).await;
    let page = browser.evaluate(READ_PAGE);
    assert_page_equals_stats(&page, &stats);
    let events = sender.get_json("/events?limit=12").await;
    let expected: Vec<String> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            let row = if event["after"].is_null() { &event["before"] } else { &event["after"] };
            format!("{} {}", event["op"].as_str().unwrap(), row["content_id"].as_str().unwrap())
        })
        .collect();
    assert_eq!(page["latest"], json!(expected));

    // It follows by itself.
    let began = std::time::Instant::now();
    sender.deliver(&[recent("live", "insert", row("c-live", "play", "ios"), 7)]).await;
    browser.wait_for("document.querySelector('#latest tr').cells[3].title === 'c-live'", SOON);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let stats = settled(&mut browser, &sender).await;
    assert_page_equals_stats(&browser.evaluate(READ_PAGE), &stats);

    // The other range of the chart, and a phone: nothing is wider than the screen.
    browser.evaluate("document.querySelector('[data-range=minutes]').click()");
    assert!(browser.evaluate("document.querySelectorAll('#plot .bar').length").as_u64().unwrap() >= 1);
    save(&mut browser, "desktop-minutes");
    browser.evaluate("document.querySelector('[data-range=seconds]').click()");
    for (width, dark, name) in [
        (1280, false, "desktop"),
        (1280, true, "desktop-dark"),
        (820, false, "tablet"),
        (390, false, "phone"),
        (390, true, "phone-dark"),
        (320, false, "small"),
    ] {
        browser.emulate(width, 900, dark);
        std::thread::sleep(Duration::from_millis(200));
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert!(wide.as_u64().unwrap() <= width.into(), "{wide} wide on a screen of {width}");
        save(&mut browser, name);
    }
    assert_eq!(browser.complaints, [] as [String; 0]);
    receiver.stop().await;
}

/// The stats of a moment at which the page shows the same totals and rate.
async fn settled(browser: &mut Browser, sender: &Sender) -> Value {
    let began = std::time::Instant::now();
    loop {
        let stats = sender.stats().await;
        let shown = browser.evaluate(READ_PAGE);
        let same = |name: &str, value: &Value| shown["stats"][name] == *value;
        if same("unique", &stats["unique"])
            && same("rejected", &stats["rejected"])
            && same("events_per_minute.current", &stats["events_per_minute"]["current"])
        {
            return stats;
        }
        assert!(began.elapsed() < SOON, "the page stays behind: {shown} {stats}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_that_the_connection_is_lost_and_comes_back() {
    let Some(mut browser) = browser() else { return };
    let directory = TempDir::new("page-lost");
    let db = directory.path().join("r.sqlite");
    let process = Process::start(&db);
    let (sender, address) = (Sender::to(process.address), process.address);
    browser.emulate_and_open(&sender.base, 1280, false);
    browser.wait_for("document.body.classList.contains('live')", SOON);
    assert_eq!(browser.evaluate("getComputedStyle(document.querySelector('.waiting')).display"), "flex");
    save(&mut browser, "empty");
    sender.deliver(&[recent("a", "insert", row("c-1", "play", "ios"), 7)]).await;
    browser.wait_for("document.querySelector('[data-stat=unique]').textContent === '1'", SOON);
    process.kill();
    browser.wait_for("document.getElementById('status').textContent === 'Connection lost'", SOON);
    assert_eq!(browser.evaluate("getComputedStyle(document.getElementById('notice')).display"), "block");
    save(&mut browser, "lost");
    let process = Process::start_at(&db, address);
    sender.deliver(&[recent("b", "insert", row("c-1", "play", "ios"), 7)]).await;
    browser.wait_for("document.getElementById('status').textContent === 'Live'", SOON);
    browser.wait_for("document.querySelector('[data-stat=unique]').textContent === '2'", SOON);
    assert_eq!(browser.evaluate("getComputedStyle(document.getElementById('notice')).display"), "none");
    assert_eq!(browser.complaints, [] as [String; 0]);
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_text_and_never_markup() {
    let Some(mut browser) = browser() else { return };
    let receiver = Receiver::start("page-markup").await;
    let sender = receiver.sender();
    let nasty = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>";
    let row = json!({ "content_id": nasty, "content_type": nasty, "event_type": "</td><b>x", "device": "__proto__", "engagement_seconds": nasty });
    sender.deliver(&[recent("a", "insert", row.clone(), 7), recent("b", nasty, row, 7), recent("c", "constructor", json!(["x"]), 7)]).await;
    browser.emulate_and_open(&sender.base, 390, true);
    browser.wait_for("document.querySelector('[data-stat=unique]').textContent === '3'", SOON);
    assert_eq!(browser.evaluate("window.hacked === undefined"), true);
    assert_eq!(browser.evaluate("document.querySelectorAll('main img, main script, main b:not(.waiting b)').length"), 0);
    assert_eq!(browser.evaluate("document.querySelector('#top li').title.startsWith('<img src=x')"), true);
    assert_eq!(browser.evaluate("document.querySelector('[data-share=per_device] .name').textContent"), "__proto__");
    // Even if the page tried: its policy runs no script but its own.
    browser.evaluate("document.body.insertAdjacentHTML('beforeend', \"<img src=x onerror='window.hacked=1'>\")");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(browser.evaluate("window.hacked === undefined"), true);
    assert!(browser.evaluate("document.documentElement.scrollWidth").as_u64().unwrap() <= 390);
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_behind_the_prefix_of_a_proxy() {
    let Some(mut browser) = browser() else { return };
    let receiver = Receiver::start("page-prefix").await;
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/some/prefix", front.local_addr().unwrap());
    let behind = receiver.address;
    let proxy = tokio::spawn(async move {
        loop {
            let (client, _) = front.accept().await.unwrap();
            tokio::spawn(forward(client, behind));
        }
    });
    receiver.sender().deliver(&[recent("a", "insert", row("c-1", "play", "ios"), 7)]).await;
    browser.emulate_and_open(&base, 1280, false);
    browser.wait_for("document.querySelector('[data-stat=unique]').textContent === '1'", SOON);
    receiver.sender().deliver(&[recent("b", "insert", row("c-1", "play", "ios"), 7)]).await;
    browser.wait_for("document.querySelector('[data-stat=unique]').textContent === '2'", SOON);
    let links = browser.evaluate("[...document.querySelectorAll('nav a')].map(link => link.href.split('?')[0])");
    let expected = ["stats", "events", "export", "health"].map(|path| format!("{base}/{path}"));
    assert_eq!(links, json!(expected));
    proxy.abort();
    receiver.stop().await;
}

/// One request through a proxy that takes its prefix away and knows no other path.
async fn forward(mut client: TcpStream, behind: SocketAddr) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let rest = head.strip_prefix("GET /some/prefix/")?;
    let mut server = TcpStream::connect(behind).await.ok()?;
    let request = format!("GET /{}", rest.replacen("keep-alive", "close", 1));
    server.write_all(request.as_bytes()).await.ok()?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

impl Browser {
    fn emulate_and_open(&mut self, base: &str, width: u32, dark: bool) {
        self.open(&format!("{base}/"));
        self.emulate(width, 900, dark);
    }
}

fn save(browser: &mut Browser, name: &str) {
    if let Some(directory) = std::env::var_os("RECEIVER_SCREENSHOTS") {
        browser.screenshot(&PathBuf::from(directory).join(format!("{name}.png")));
    }
}
