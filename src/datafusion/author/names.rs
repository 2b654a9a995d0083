//! What the names of an author's query lead to.

use std::{collections::BTreeMap, ops::ControlFlow};

use datafusion::{
    error::Result,
    prelude::SessionContext,
    sql::sqlparser::ast::{ObjectName, ObjectNamePart, Query, visit_relations},
};
use qetl_sql::author::{ExactNames, Named, Table, Wrong, read};

/// Writes every name of the query as what it leads to is called.
pub(super) async fn resolve(session: &SessionContext, query: &mut Query) -> Result<Result<(), Wrong>> {
    let mut relations: Vec<ObjectName> = Vec::new();
    let _ = visit_relations(query, |name| {
        if !relations.contains(name) {
            relations.push(name.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    let mut tables = BTreeMap::new();
    for name in relations {
        if let Some(table) = table(session, &name).await? {
            tables.insert(name.to_string(), table);
        }
    }
    Ok(read(query, &|name| tables.get(&name.to_string()).cloned(), &mut ExactNames).map(|_| ()))
}

async fn table(session: &SessionContext, name: &ObjectName) -> Result<Option<Table>> {
    let parts: Option<Vec<&str>> = name.0.iter().map(|part| ObjectNamePart::as_ident(part).map(|ident| ident.value.as_str())).collect();
    let Some((last, before)) = parts.as_deref().and_then(<[&str]>::split_last) else { return Ok(None) };
    let defaults = session.state().config().options().catalog.clone();
    let (catalog, schema) = match before {
        [] => (defaults.default_catalog.as_str(), defaults.default_schema.as_str()),
        [schema] => (defaults.default_catalog.as_str(), *schema),
        [catalog, schema] => (*catalog, *schema),
        _ => return Ok(None),
    };
    let Some(found) = session.catalog(catalog).and_then(|catalog| catalog.schema(schema)) else { return Ok(None) };
    let names = found.table_names();
    let same = |own: &&String| own.to_lowercase() == last.to_lowercase();
    let real = names.iter().find(|own| own == last).or_else(|| names.iter().find(same)).map_or_else(|| last.to_lowercase(), Clone::clone);
    let Some(provider) = found.table(&real).await? else { return Ok(None) };
    let columns = provider.schema().fields().iter().map(|field| Named { name: field.name().clone(), ty: None }).collect();
    let mut own: Vec<String> = before.iter().map(|part| (*part).to_owned()).collect();
    own.push(real);
    Ok(Some(Table { name: own, columns }))
}
