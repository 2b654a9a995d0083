//! `qetl init`: a project that runs as it is.

use std::{fs, path::Path};

use qetl_core::suggest;
use qetl_runtime::RunError;

use crate::output::Output;

/// A template's files, by path.
struct Template {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// What to look at first.
    query: &'static str,
}

/// Templates are named after the flow type that they show.
const TEMPLATES: [Template; 2] = [
    Template {
        name: "change_feed",
        files: &[
            ("qetl.toml", include_str!("../templates/change_feed/qetl.toml")),
            ("flows/orders_change_feed.toml", include_str!("../templates/change_feed/flows/orders_change_feed.toml")),
            ("data/orders/orders_1.csv", include_str!("../templates/change_feed/data/orders/orders_1.csv")),
            ("data/orders/orders_2.csv", include_str!("../templates/change_feed/data/orders/orders_2.csv")),
            ("data/orders/orders_3.csv", include_str!("../templates/change_feed/data/orders/orders_3.csv")),
            (".gitignore", include_str!("../templates/change_feed/gitignore")),
        ],
        query: "SELECT * FROM orders_change_feed ORDER BY xt_batch_id, order_id",
    },
    Template {
        name: "standard",
        files: &[
            ("qetl.toml", include_str!("../templates/standard/qetl.toml")),
            ("flows/shop_orders.toml", include_str!("../templates/standard/flows/shop_orders.toml")),
            ("data/orders_2024-03-01.csv", include_str!("../templates/standard/data/orders_2024-03-01.csv")),
            ("data/orders_2024-03-02.csv", include_str!("../templates/standard/data/orders_2024-03-02.csv")),
            (".gitignore", include_str!("../templates/standard/gitignore")),
        ],
        query: "SELECT * FROM sales_per_customer ORDER BY customer",
    },
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
