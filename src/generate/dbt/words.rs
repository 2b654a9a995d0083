//! dbt's words for what stands in SQL as a name of ours.

/// What stands for the batch's values until the text is made dbt's. No dataset or column is called so.
pub(super) const BATCH_ID: &str = "\"qetl:batch_id\"";
pub(super) const PREVIOUS: &str = "\"qetl:previous\"";
pub(super) const PROCESSED_AT: &str = "\"qetl:processed_at\"";

/// The first part of a table's name that stands for a model; the second is the table's own.
pub(super) fn name(kind: &str, model: &str) -> String {
    format!("qetl:{kind}:{model}")
}

/// The variable that holds a query with a model's columns and no rows.
pub(super) fn nothing(model: &str) -> String {
    format!("no_{model}")
}

pub(super) fn reference(model: &str) -> String {
    format!("{{{{ ref(\"{model}\") }}}}")
}

pub(super) fn source(flow: &str, table: &str) -> String {
    format!("{{{{ source(\"{flow}\", \"{table}\") }}}}")
}

/// The text with nothing in it that dbt would take for a template.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
        let (before, after) = rest.split_at(at);
        let (open, after) = after.split_at(2);
        escaped.push_str(&format!("{before}{{{{ '{open}' }}}}"));
        rest = after;
    }
    escaped + rest
}

/// SQL with our names as a template of dbt's. `batches` is the model of the batches that were run.
pub(super) fn into_dbt(sql: &str, flow: &str, batches: &str) -> String {
    let batches = reference(batches);
    let this = "{{ qetl_batch_id() }}";
    let text = escape(sql)
        .replace(BATCH_ID, this)
        .replace(PREVIOUS, &format!("(SELECT COALESCE(MAX(batch_id), 0) FROM {batches} WHERE batch_id < {this})"))
        .replace(PROCESSED_AT, &format!("(SELECT processed_at FROM {batches} WHERE batch_id = {this})"));
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    // `"qetl:KIND:MODEL"."TABLE"`: names of datasets hold neither quotes nor points.
    while let Some((before, after)) = rest.split_once("\"qetl:") {
        out.push_str(before);
        let mut parts = after.splitn(4, '"');
        let (Some(what), Some(_), Some(table), Some(left)) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            unreachable!("only we write such names")
        };
        let (kind, model) = what.split_once(':').unwrap_or((what, ""));
        out.push_str(&match kind {
            "source" => source(flow, model),
            "ref" => reference(model),
            _ => format!("{{{{ qetl_earlier(\"{table}\", {}) }}}}", nothing(model)),
        });
        if !left.starts_with(" AS ") {
            out.push_str(&format!(" AS \"{table}\""));
        }
        rest = left;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_become_words_of_dbt() {
        let check = |sql: &str, text: &str| assert_eq!(into_dbt(sql, "orders", "orders_batches"), text);
        check("FROM \"qetl:ref:crm_feed\".\"feed\"\n", "FROM {{ ref(\"crm_feed\") }} AS \"feed\"\n");
        check("FROM \"qetl:source:landing\".\"landing\" AS \"a\"", "FROM {{ source(\"orders\", \"landing\") }} AS \"a\"");
        check("FROM \"qetl:earlier:feed\".\"feed\" WHERE", "FROM {{ qetl_earlier(\"feed\", no_feed) }} AS \"feed\" WHERE");
        check("\"xt_batch_id\" = \"qetl:batch_id\"", "\"xt_batch_id\" = {{ qetl_batch_id() }}");
        check("'{{ x }} {% y'", "'{{ '{{' }} x }} {{ '{%' }} y'");
    }
}
