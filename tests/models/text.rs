//! Rows as texts, which every engine can be compared by.

/// A row as texts, the way `query --format csv` writes them; NULL is `None`.
pub type TextRow = Vec<Option<String>>;

/// As the contract writes floats.
pub fn float_text(value: f64) -> String {
    match value {
        value if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        value => format!("{value:?}"),
    }
}
