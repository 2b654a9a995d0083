//! "did you mean …?"

/// The known name nearest to `name`, if one is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.chars().count() / 3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How far apart two names are, whatever their case.
pub fn distance(name: &str, other: &str) -> usize {
    strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase())
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
        assert_eq!(help("x", []), "");
    }
}
