//! "did you mean …?"

/// The known name nearest to `name`, if one is near enough to be meant: a few letters away, or the only one that has it as one
/// of its words.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let known: Vec<(String, &str)> = known.into_iter().map(|candidate| (candidate.to_lowercase(), candidate)).collect();
    let near = known
        .iter()
        .map(|(candidate, written)| (strsim::damerau_levenshtein(&lower, candidate), *written))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.chars().count() / 3))
        .min();
    let mut with_word = known.iter().filter(|(candidate, _)| candidate.split('_').any(|word| word == lower)).map(|(_, written)| *written);
    near.map(|(_, written)| written).or_else(|| with_word.next().filter(|_| with_word.next().is_none()))
}

/// A help line: the nearest name if there is one, then what there is (at most twelve names).
pub fn help<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let shown = known.iter().take(12).copied().collect::<Vec<_>>().join(", ");
    let list = match known.len() {
        0 => return String::new(),
        count if count > 12 => format!("known: {shown}, and {} more", count - 12),
        _ => format!("known: {shown}"),
    };
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {list}"),
        None => list,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(nearest("event_tme", ["event_time", "user_id"]), Some("event_time"));
        assert_eq!(nearest("Status", ["status"]), Some("status"));
        assert_eq!(nearest("colour", ["amount"]), None);
        assert_eq!(nearest("type", ["name", "schema_type", "required"]), Some("schema_type"));
        assert_eq!(nearest("type", ["schema_type", "period_type"]), None);
        assert_eq!(help("x", []), "");
    }
}
