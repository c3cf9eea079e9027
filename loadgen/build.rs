//! Writes down which commit and profile the generator is built from, for the provenance of its reports.

use std::env;
use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src");
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && std::path::Path::new(&log).exists()
    {
        println!("cargo:rerun-if-changed={log}");
    }
    let commit = git(&["describe", "--always", "--dirty"]).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=LOADGEN_COMMIT={commit}");
    // OUT_DIR is target/PROFILE/build/…/out; PROFILE itself says only debug or release.
    let out = env::var("OUT_DIR").unwrap_or_default();
    let words: Vec<&str> = out.split('/').collect();
    let profile = words
        .iter()
        .rposition(|word| *word == "build")
        .and_then(|at| words.get(at.checked_sub(1)?));
    println!(
        "cargo:rustc-env=LOADGEN_PROFILE={}",
        profile.unwrap_or(&"unknown")
    );
}
