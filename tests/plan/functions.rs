//! Each function of the IR in each dialect, and the types.

use qetl_core::{
    Type,
    ir::{Function, Period},
};
use qetl_sql::{Dialect, dialects::DIALECTS, ident};

const DECIMAL: Type = Type::Decimal { precision: 18, scale: 2 };
const TYPES: [Type; 8] =
    [Type::Text, Type::Int, Type::Float, DECIMAL, Type::Decimal { precision: 38, scale: 31 }, Type::Bool, Type::Date, Type::Timestamp];

fn functions() -> Vec<Function> {
    let zone = |zone: &str| Function::DateIn { zone: zone.to_owned() };
    let periods = [Period::Day, Period::Week, Period::Month];
    let mut functions = vec![
        Function::Concat,
        Function::Replace { from: "\\".to_owned(), to: "it's".to_owned() },
        Function::Coalesce,
        Function::Micros,
        Function::AddDays(30),
        Function::AddDays(-30),
        Function::DaysBetween,
        zone("UTC"),
        zone("Europe/Berlin"),
    ];
    functions.extend(periods.map(Function::PeriodStart));
    functions.extend(periods.map(Function::NextPeriod));
    functions.extend([Type::Text, Type::Int, Type::Float, DECIMAL, Type::Bool, Type::Date, Type::Timestamp].map(Function::CanonicalText));
    functions
}

fn told(dialect: &dyn Dialect) -> String {
    let mut text = String::new();
    for ty in TYPES {
        let names = [dialect.type_name(ty), dialect.column_type(ty)].map(|name| name.unwrap_or_else(|why| format!("unsupported: {why}")));
        let [cast, column] = &names;
        text.push_str(&if cast == column { format!("{ty}: {cast}\n") } else { format!("{ty}: {column}, in a cast {cast}\n") });
    }
    for function in functions() {
        let arguments = match &function {
            Function::Concat | Function::Coalesce | Function::DaysBetween => 2,
            _ => 1,
        };
        let arguments = ["x", "y"][..arguments].iter().map(|name| qetl_sql::syntax_column(ident(dialect.quote(), name))).collect();
        let written = dialect.call(&function, arguments).map_or_else(|why| format!("unsupported: {why}"), |expr| expr.to_string());
        text.push_str(&format!("{function:?}: {written}\n"));
    }
    text
}

#[test]
fn functions_and_types_of_every_dialect() {
    for dialect in DIALECTS {
        crate::snapshots("dialects").bind(|| insta::assert_snapshot!(dialect.name(), told(dialect)));
    }
}
