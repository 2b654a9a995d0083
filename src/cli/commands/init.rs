//! `qetl init`: a project that runs as it is.

use std::{fs, path::Path};

use qetl_core::suggest;
use qetl_runtime::RunError;

use crate::output::Output;

/// A template's files, by path.
struct Template {
    name: &'static str,
    /// A query to look at what it makes.
    query: &'static str,
    files: &'static [(&'static str, &'static str)],
}

macro_rules! template {
    ($name:literal, $query:literal, [$($file:literal),*]) => {
        Template {
            name: $name,
            query: $query,
            files: &[
                ("qetl.toml", include_str!(concat!("../templates/", $name, "/qetl.toml"))),
                $(($file, include_str!(concat!("../templates/", $name, "/", $file))),)*
                (".gitignore", include_str!(concat!("../templates/", $name, "/gitignore"))),
            ],
        }
    };
}

/// Templates are named after the flow type that they show.
const TEMPLATES: [Template; 6] = [
    template!(
        "change_feed",
        "SELECT * FROM orders_change_feed ORDER BY xt_batch_id, order_id",
        ["flows/orders_change_feed.toml", "data/orders/orders_1.csv", "data/orders/orders_2.csv", "data/orders/orders_3.csv"]
    ),
    template!(
        "delta_publishing",
        "SELECT * FROM invoices_delta_transaction ORDER BY xt_batch_id, xt_transaction_id",
        ["flows/invoices.toml", "data/invoices/invoices_1.csv", "data/invoices/invoices_2.csv", "data/invoices/invoices_3.csv"]
    ),
    template!(
        "growth_accounting",
        "SELECT * FROM app_growth_growth_summary ORDER BY period",
        ["flows/app_growth.toml", "data/events/events_1.csv", "data/events/events_2.csv", "data/events/events_3.csv"]
    ),
    template!(
        "scd2",
        "SELECT * FROM products_scd2 ORDER BY product_id, xt_version",
        ["flows/products.toml", "data/products/products_1.csv", "data/products/products_2.csv", "data/products/products_3.csv"]
    ),
    template!(
        "sessionization",
        "SELECT * FROM visits_sessions ORDER BY session_id",
        ["flows/visits.toml", "data/visits/visits_1.csv", "data/visits/visits_2.csv", "data/visits/visits_3.csv"]
    ),
    template!(
        "standard",
        "SELECT * FROM sales_per_customer ORDER BY customer",
        ["flows/shop_orders.toml", "data/orders_2024-03-01.csv", "data/orders_2024-03-02.csv"]
    ),
];

pub(crate) fn run(dir: &Path, template: &str, output: &Output) -> Result<i32, RunError> {
    init(dir, template)?;
    let query = TEMPLATES.iter().find(|known| known.name == template).map_or("", |known| known.query);
    output.print(&format!(
        "made a project in {0}\n\nnext:\n  cd {0}\n  qetl plan\n  qetl execute\n  qetl query \"{query}\"\n",
        dir.display()
    ));
    Ok(0)
}

/// Makes a project of a template in a folder that is empty or not there.
pub fn init(dir: &Path, template: &str) -> Result<(), RunError> {
    let Some(found) = TEMPLATES.iter().find(|known| known.name == template) else {
        let help = suggest::help(template, TEMPLATES.iter().map(|known| known.name));
        return Err(RunError::usage(format!("there is no template `{template}`"), help));
    };
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) || dir.is_file() {
        return Err(RunError::usage(
            format!("`{}` is there already, and not empty", dir.display()),
            "name a new folder: nothing is overwritten",
        ));
    }
    for (name, text) in found.files {
        let path = dir.join(name);
        let write = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        write.map_err(|error| RunError::failed(format!("`{}` cannot be written: {error}", path.display())))?;
    }
    Ok(())
}
