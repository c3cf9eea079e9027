//! The generator's command line: `generator` writes `net/src/messages`, `generator import DIR` brings
//! Kafka's definitions into `net/schemas`, `generator api-table` brings the table in `net/API.md` up to date.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use generator::{api_table, files, import, schema};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let net = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let result = match arguments.as_slice() {
        [] => generate(&net),
        ["import", from] => import::import(Path::new(from), &net.join("schemas"))
            .map(|count| format!("{count} definitions")),
        ["api-table"] => api_table(&net),
        _ => Err("usage: generator | generator import DIR | generator api-table".into()),
    };
    match result {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes every generated file, formats them and removes those that are no longer generated.
fn generate(net: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    let messages = net.join("src/messages");
    let generated = files::generate(&schema::load(&net.join("schemas"))?)?;
    let mut written = Vec::new();
    for (name, text) in &generated {
        let path = messages.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&messages)).map_err(failed)?;
        fs::write(&path, text).map_err(failed)?;
        written.push(path);
    }
    let keep: BTreeSet<&PathBuf> = written.iter().collect();
    let folders: BTreeSet<&Path> = written.iter().filter_map(|path| path.parent()).collect();
    for folder in folders {
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_file() && !keep.contains(&path) {
                fs::remove_file(&path).map_err(failed)?;
            }
        }
    }
    let status = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .args(&written)
        .status()
        .map_err(failed)?;
    if !status.success() {
        return Err("rustfmt failed".into());
    }
    Ok(format!("{} files", written.len()))
}

/// Brings the table in `net/API.md` up to date.
fn api_table(net: &Path) -> Result<String, String> {
    let document = net.join("API.md");
    let text = fs::read_to_string(&document).map_err(|error| error.to_string())?;
    let served = fs::read_to_string(net.join("../engine/src/api/versions.rs")).unwrap_or_default();
    let text = api_table::update(&text, &schema::load(&net.join("schemas"))?, &served)?;
    fs::write(&document, text).map_err(|error| error.to_string())?;
    Ok("net/API.md".into())
}
