//! Schema names as Rust names.

/// `ThrottleTimeMs` → `throttle_time_ms`.
pub fn snake_case(name: &str) -> String {
    let name = name.replace("KRaft", "Kraft");
    let characters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, character) in characters.iter().enumerate() {
        if character.is_uppercase() {
            let after_lower = index > 0 && !characters[index - 1].is_uppercase();
            let before_lower = characters
                .get(index + 1)
                .is_some_and(|next| next.is_lowercase());
            if after_lower || index > 0 && before_lower {
                out.push('_');
            }
        }
        out.extend(character.to_lowercase());
    }
    out
}

/// A field's Rust name: snake case, raw where it is a keyword.
pub fn field_name(name: &str) -> String {
    let name = snake_case(name);
    if ["type", "match", "ref", "move", "use", "in", "where"].contains(&name.as_str()) {
        format!("r#{name}")
    } else {
        name
    }
}
