//! Sessions: one a run or a query, with its memory and its room to spill.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc};

use datafusion::{
    config::{ConfigNonZeroUsize, SpillCompression},
    error::Result,
    execution::{
        SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::{FairSpillPool, TrackConsumersPool},
        runtime_env::RuntimeEnvBuilder,
    },
    prelude::{SessionConfig, SessionContext},
};
use qetl_ingest::batch_rows;

use crate::{by_name, engine::Tuning, exact};

/// What a session may use.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Of the process; the pool is smaller, since not all memory is accounted for.
    pub(crate) memory: u64,
    pub(crate) threads: usize,
    /// Where operators spill to; `None`: the system's folder for temporary files.
    pub(crate) spill: Option<PathBuf>,
    pub(crate) tuning: Tuning,
}

/// The share of the memory limit that operators may reserve: buffers of readers and writers are outside it.
const POOL_SHARE: f64 = 0.6;

/// Room to spill, per session.
const SPILL_BYTES: u64 = 200 << 30;

impl Limits {
    pub(crate) fn pool_bytes(&self) -> usize {
        (self.memory as f64 * POOL_SHARE) as usize
    }

    /// A session for instructions over tables of so many columns: joins hold the side that was written as the left one.
    pub(crate) fn work_session(&self, hash_joins: bool, columns: usize) -> Result<SessionContext> {
        let session = self.session()?;
        {
            let state = session.state_ref();
            let mut state = state.write();
            let options = state.config_mut().options_mut();
            options.optimizer.join_reordering = false;
            options.optimizer.prefer_hash_join = hash_joins;
            // Operators make room for a batch's rows of each column, however few there are.
            options.execution.batch_size = ConfigNonZeroUsize::try_new(batch_rows(columns))?;
            // Bounds that a join finds while it runs would leave out row groups by statistics, and those say nothing of NaN.
            options.set("datafusion.optimizer.enable_dynamic_filter_pushdown", "false")?;
        }
        Ok(session)
    }

    /// A session for queries.
    pub(crate) fn session(&self) -> Result<SessionContext> {
        let pool = TrackConsumersPool::new(FairSpillPool::new(self.pool_bytes()), NonZeroUsize::MIN.saturating_add(4));
        let mode = match &self.spill {
            Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(SPILL_BYTES);
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_disk_manager_builder(disk).build_arc()?;
        let mut config = SessionConfig::new()
            .with_target_partitions(self.threads)
            .with_default_catalog_and_schema("warehouse", "main")
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(false)
            .with_spill_compression(SpillCompression::Lz4Frame);
        let options = config.options_mut();
        options.execution.time_zone = Some("UTC".to_owned());
        options.sql_parser.parse_float_as_decimal = true;
        options.sql_parser.collect_spans = true;
        let state = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features();
        let session = SessionContext::new_with_state(state.with_physical_optimizer_rules(by_name::rules()).build());
        exact::register(&session);
        Ok(session)
    }
}
