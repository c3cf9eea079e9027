//! The checked-in messages are what the generator makes of the checked-in schemas.

use std::fs;
use std::path::Path;

use generator::{api_table, files, schema};

/// The code without what rustfmt moves: a toolchain without it can compare too.
fn without_layout(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_whitespace() && !",{}".contains(*character))
        .collect()
}

#[test]
fn checked_in_code_is_what_the_generator_makes() {
    let net = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let generated = files::generate(&schema::load(&net.join("schemas")).unwrap()).unwrap();
    assert!(generated.len() > 150);
    let mut checked_in = 0;
    for folder in [
        "",
        "data",
        "group_records",
        "metadata_records",
        "share_records",
        "transaction_records",
    ] {
        let entries = fs::read_dir(net.join("src/messages").join(folder)).unwrap();
        checked_in += entries
            .filter(|entry| entry.as_ref().unwrap().path().is_file())
            .count();
    }
    assert_eq!(
        checked_in,
        generated.len(),
        "files in net/src/messages; run `cargo run -p generator`"
    );
    for (name, text) in generated {
        let found = fs::read_to_string(net.join("src/messages").join(&name)).unwrap_or_default();
        let same = without_layout(&found) == without_layout(&text);
        assert!(
            same,
            "net/src/messages/{name} is stale; run `cargo run -p generator`"
        );
    }
}

#[test]
fn the_table_of_apis_is_up_to_date() {
    let net = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = fs::read_to_string(net.join("API.md")).unwrap();
    let served = fs::read_to_string(net.join("../engine/src/api/versions.rs")).unwrap_or_default();
    let schemas = schema::load(&net.join("schemas")).unwrap();
    let updated = api_table::update(&document, &schemas, &served).unwrap();
    assert!(
        document == updated,
        "net/API.md is stale; run `cargo run -p generator -- api-table`"
    );
}
