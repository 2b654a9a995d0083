//! "did you mean …?"

/// The known name nearest to `name`, if one is near enough to be meant: one that goes on where it ends, or another word for it,
/// before one that is written almost so. Of equally near ones the first by name.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let rank = |candidate: &'a str| {
        let other = candidate.to_lowercase();
        let distance = strsim::damerau_levenshtein(&lower, &other);
        // Changes in a short word make another word of it.
        let letters = lower.chars().count().min(other.chars().count());
        let near = distance <= if letters < 2 { 0 } else { 1.max(letters / 3) };
        let rank = match () {
            () if lower == other => 0,
            () if distance == 1 && near => 1,
            () if are_synonyms(&lower, &other) => 2,
            () if letters >= 3 && (other.starts_with(&lower) || lower.starts_with(&other)) => 3,
            () if near => 4,
            () => return None,
        };
        Some((rank, distance, candidate))
    };
    let known: Vec<&str> = known.into_iter().collect();
    // Else the only one that has it as one of its words.
    let mut with_word = known.iter().copied().filter(|candidate| candidate.to_lowercase().split('_').any(|word| word == lower));
    let near = known.iter().copied().filter_map(rank).min().map(|(_, _, candidate)| candidate);
    near.or_else(|| with_word.next().filter(|_| with_word.next().is_none()))
}

/// Words that other systems have for the same.
const SYNONYMS: [&[&str]; 14] = [
    &["string", "text", "varchar", "char", "str"],
    &["integer", "int", "bigint", "int64", "long"],
    &["float", "double", "real", "float64"],
    &["decimal(p,s)", "decimal", "numeric", "number", "money"],
    &["boolean", "bool"],
    &["timestamp", "datetime", "timestamptz"],
    &["date", "to_date", "day"],
    &["length", "len", "char_length", "character_length"],
    &["avg", "mean", "average"],
    &["coalesce", "ifnull", "nvl", "isnull"],
    &["array_agg", "list", "collect_list"],
    &["string_agg", "group_concat", "listagg"],
    &["upper", "ucase"],
    &["lower", "lcase"],
];

fn are_synonyms(a: &str, b: &str) -> bool {
    SYNONYMS.iter().any(|words| words.contains(&a) && words.contains(&b))
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
    fn of_several_the_likeliest_is_meant_whatever_their_order() {
        let check = |name: &str, known: &[&str], meant: &str| {
            assert_eq!(nearest(name, known.iter().copied()), Some(meant), "{name}");
            assert_eq!(nearest(name, known.iter().rev().copied()), Some(meant), "{name}");
        };
        check("varchar", &["float", "string", "date"], "string");
        check("cust", &["cost", "customers", "cut"], "cost");
        check("customer", &["costumes", "customer_state", "customers_state"], "customer_state");
        check("colum", &["columns", "column", "volume"], "column");
        check("ab_c", &["ab_d", "ab_b"], "ab_b");
        check("len", &["left", "length", "lpad"], "length");
        check("ID", &["idx", "id"], "id");
    }

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(nearest("event_tme", ["event_time", "user_id"]), Some("event_time"));
        assert_eq!(nearest("Status", ["status"]), Some("status"));
        assert_eq!(nearest("colour", ["amount"]), None);
        assert_eq!(nearest("date", ["cot", "map", "range", "tanh", "atan"]), None);
        assert_eq!(nearest("a", ["b", "id"]), None);
        assert_eq!(nearest("type", ["name", "schema_type", "required"]), Some("schema_type"));
        assert_eq!(nearest("type", ["schema_type", "period_type"]), None);
        assert_eq!(help("x", []), "");
    }
}
