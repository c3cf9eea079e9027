//! One self-contained HTML page: the JSON document and a script that draws it. No network.

use serde_json::Value;

const PAGE: &str = include_str!("page.html");
const MARK: &str = "/*DOCUMENT*/null";

/// The page for a document.
pub(crate) fn render(document: &Value) -> String {
    // Nothing in the data may end the script element.
    let data = document.to_string().replace('<', "\\u003c");
    PAGE.replacen(MARK, &data, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_cannot_leave_its_script() {
        assert_eq!(PAGE.matches(MARK).count(), 1);
        let page = render(&json!({ "label": "</script><script>alert(1)" }));
        assert!(!page.contains("</script><script>alert"));
        assert!(page.contains("\\u003c/script>"));
    }

    #[test]
    fn the_page_asks_nobody_for_anything() {
        for outside in ["http://", "https://", "src=", "@import", "fetch("] {
            let without_namespace = PAGE.replace("http://www.w3.org/2000/svg", "");
            assert!(!without_namespace.contains(outside), "{outside}");
        }
    }
}
