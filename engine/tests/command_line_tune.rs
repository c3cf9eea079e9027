//! `tidelog tune`, completions and manual pages as a user runs them.

mod binary;

use binary::{Node, tidelog};
use serde_json::Value;

#[test]
fn the_host_is_checked_with_a_reason_for_each_point_and_an_exit_code_for_scripts() {
    let node = Node::stopped();
    let directory = node.log_dirs();
    let check = ["tune", "check", "--set", &directory];
    let json = tidelog(&[&check[..], &["--format", "json"]].concat(), b"");
    let told: Value = serde_json::from_str(&json.text()).expect("JSON");
    let findings = told["findings"].as_array().expect("a list");
    assert!(findings.len() > 20, "{told}");
    let mut worst = 0;
    for finding in findings {
        for field in ["check", "level", "is", "should", "why"] {
            assert!(
                !finding[field].as_str().expect("a text").is_empty(),
                "{finding}"
            );
        }
        let code = match finding["level"].as_str() {
            Some("blocking") => 2,
            Some("warning") => 1,
            _ => 0,
        };
        assert!(
            code == 0 || !finding["fix"].as_array().expect("a list").is_empty(),
            "{finding}"
        );
        worst = worst.max(code);
    }
    assert_eq!(
        (json.code, &told["exit_code"]),
        (Some(worst), &Value::from(worst))
    );
    let text = tidelog(&check, b"");
    assert_eq!(text.code, Some(worst));
    assert!(text.text().contains(" blocking\n"), "{}", text.text());

    // A directory that cannot hold a node is told without one being made.
    let blocked = ["tune", "check", "--quiet", "--set", "log.dirs=/proc/none"];
    let blocked = tidelog(&blocked, b"");
    assert_eq!(blocked.code, Some(2), "{}", blocked.text());
    assert!(
        blocked
            .text()
            .contains("blocking  data directory   /proc: "),
        "{}",
        blocked.text()
    );
}

#[test]
fn a_measured_profile_is_one_that_a_node_takes() {
    let mut node = Node::stopped();
    let profile = node.path().join("measured.toml");
    let profile = profile.to_str().expect("UTF-8");
    let directory = node.log_dirs();
    let probe = [
        "tune",
        "disk",
        "--seconds",
        "0.02",
        "--size",
        "16",
        "--write-profile",
        profile,
        "--json",
        "--set",
        &directory,
    ];
    let measured: Value = serde_json::from_str(&tidelog(&probe, b"").ok()).expect("JSON");
    assert!(
        measured["measured"]["read_bytes_per_s"].as_f64() > Some(0.0),
        "{measured}"
    );
    assert_eq!(
        measured["measured"]["flush"].as_array().map(Vec::len),
        Some(3)
    );
    let settings = measured["profile"].as_array().expect("a list");
    let written = std::fs::read_to_string(profile).expect("it was written");
    for setting in settings {
        let name = setting["setting"].as_str().expect("a name");
        assert!(written.contains(&format!("\n{name} = ")), "{written}");
    }
    node.start_with(&["--profile", profile]);
    node.command(&["topic", "create", "t"], b"").ok();
    node.stop();

    std::fs::write(profile, "journal.file.bites = 1\n").expect("it can be written");
    let wrong = tidelog(&["tune", "check", "--profile", profile], b"");
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.err.contains("did you mean journal.file.bytes?"),
        "{}",
        wrong.err
    );
    let unknown = tidelog(&["tune", "check", "--profile", "fast"], b"");
    assert!(
        unknown.err.contains("unknown profile fast"),
        "{}",
        unknown.err
    );
}

#[test]
fn completions_and_manual_pages_come_from_the_commands_themselves() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = tidelog(&["completions", shell], b"").ok();
        assert!(
            script.contains("describe") && script.contains("tune"),
            "{shell}"
        );
    }
    let page = tidelog(&["man", "topic", "create"], b"").ok();
    assert!(
        page.contains(".TH tidelog-topic-create 1") && page.contains("partitions"),
        "{page}"
    );
    assert_eq!(
        tidelog(&["man", "topic", "invent"], b"").err,
        "tidelog: tidelog topic has no command invent\n"
    );
    let node = Node::stopped();
    let directory = node.path().join("man");
    tidelog(
        &["man", "--directory", directory.to_str().expect("UTF-8")],
        b"",
    )
    .ok();
    for page in ["tidelog.1", "tidelog-consume.1", "tidelog-tune-disk.1"] {
        assert!(directory.join(page).exists(), "{page}");
    }
}
