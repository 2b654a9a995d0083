//! What searches prove, as files that the table of `docs/portability.md` is made from.

use std::{collections::BTreeMap, fs, path::PathBuf};

/// Records in the folder `QETL_OUTCOMES`, if there is one, that an engine has lived histories of a flow type as its model says,
/// but for those that it refused.
pub fn proven(engine: &str, flow_type: &str, histories: u32, refused: &BTreeMap<String, u32>) {
    let Some(folder) = std::env::var_os("QETL_OUTCOMES").map(PathBuf::from) else { return };
    fs::create_dir_all(&folder).unwrap();
    let lines: String = refused.keys().map(|why| format!("{}\n", why.replace('\n', " "))).collect();
    fs::write(folder.join(format!("{engine}.{flow_type}")), format!("{histories}\n{lines}")).unwrap();
}
