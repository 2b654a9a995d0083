//! Says of every key, batch by batch, whether it is new, changed, unchanged, deleted or back again.

mod invariants;
mod partial;
mod sequence;

use std::collections::HashSet;

use qetl_core::{
    Dataset, Flow, FlowType, Problems, Task, Type,
    decode::Sp,
    input::{AddedColumns, BatchMode, OnNullKey},
    ir::{AggregateFunction, AsOf, Classify, Expr, Gone, LatestPerKey, Rel, Steps},
    plan::{Check, Dag, DagNode, DatasetKind, Expand, Invariant, LateBatches, Rule, batch_columns},
    register_flow_type,
};
use schemars::JsonSchema;
use serde::Deserialize;

use self::{partial::Partial, sequence::is_sequenced_delta};
use crate::keyed::{self, Identity, Parked, Unique, parks_known_keys, task, unique};

/// `[properties]` of a change feed.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ChangeFeed {
    /// The columns whose values are compared; all but the key, `delete_column` and `sequence_columns` without it. Others are
    /// carried along.
    #[schemars(length(min = 1))]
    pub(crate) change_detection_columns: Option<Vec<Sp<String>>>,
    /// Whether rows that did not change appear in the feed as STALE.
    #[serde(default = "yes")]
    pub(crate) emit_stale: bool,
    /// What happens when a batch arrives after a later one, or again with other content.
    #[serde(default)]
    pub(crate) late_batches: LateBatches,
}

fn yes() -> bool {
    true
}

/// What the feed adds to the input columns.
pub(crate) const FEED_COLUMNS: [(&str, Type); 4] =
    [("xt_batch_id", Type::Int), ("xt_record_type", Type::Text), ("xt_changed_columns", Type::Text), ("xt_processed_at", Type::Timestamp)];

impl FlowType for ChangeFeed {
    const NAME: &'static str = "change_feed";
    const SUMMARY: &'static str = "what changed between batches of a table: NEW, CHANGED, DELETED, STALE, REACTIVATED";
    const INPUT_KEYS: &'static [&'static str] = keyed::INPUT_KEYS;
    const REQUIRED_INPUT: &'static [&'static str] = &["primary_key", "columns"];

    /// `orders_change_feed` makes `orders_landing` and `orders_change_feed`.
    fn prefix(id: &str) -> String {
        id.strip_suffix("_change_feed").filter(|rest| !rest.is_empty()).unwrap_or(id).to_owned()
    }

    fn problems(&self, flow: &Flow) -> Problems {
        let mut problems = Problems::default();
        keyed::check_delete_ratio(&flow.input, &mut problems);
        keyed::check_tracked(&flow.input, self.change_detection_columns.as_deref().unwrap_or_default(), &mut problems);
        keyed::check_load(flow, "a change feed compares batches of rows", &mut problems);
        problems
    }

    fn late_batches(&self) -> LateBatches {
        self.late_batches
    }

    fn key_columns(&self, flow: &Flow) -> Vec<String> {
        flow.input.needed_names()
    }

    fn datasets(&self, cx: &Expand<'_>) -> Result<Vec<Dataset>, Problems> {
        let names = Names::of(self, cx);
        let derived = |name: &qetl_core::DatasetName, more: &[(&str, Type)], about: &str| {
            Ok::<_, Problems>(Dataset { name: name.clone(), schema: cx.schema(more)?, kind: DatasetKind::Derived, about: about.to_owned() })
        };
        let mut datasets = vec![cx.landing()?];
        if let Some(parked) = &names.parked {
            datasets.push(keyed::parked_dataset(cx, parked)?);
        }
        datasets.push(derived(&names.feed, &FEED_COLUMNS, "what became of each key in each batch")?);
        if let Some(stale) = &names.stale {
            datasets.push(derived(
                stale,
                &FEED_COLUMNS,
                "the STALE rows that the feed leaves out; qetl needs them to compare the next batch",
            )?);
        }
        let state = Dataset {
            name: names.state.clone(),
            schema: cx.schema(&[("xt_batch_id", Type::Int)])?,
            kind: DatasetKind::View(self.state_view(cx, &names)?),
            about: "the live keys, each with its latest values".to_owned(),
        };
        datasets.push(state);
        Ok(datasets)
    }

    fn dag(&self, cx: &Expand<'_>) -> Result<Dag, Problems> {
        let names = Names::of(self, cx);
        let node = |dataset: &qetl_core::DatasetName, from: Vec<qetl_core::DatasetName>| DagNode { dataset: dataset.clone(), from };
        let mut nodes = vec![node(&names.landing, Vec::new())];
        nodes.extend(names.parked.iter().map(|parked| node(parked, vec![names.landing.clone()])));
        let history: Vec<_> = [Some(&names.feed), names.stale.as_ref()].into_iter().flatten().cloned().collect();
        nodes.extend(history.iter().map(|dataset| node(dataset, vec![names.landing.clone()])));
        nodes.push(node(&names.state, history));
        Ok(Dag(nodes))
    }

    fn instructions(&self, cx: &Expand<'_>) -> Result<Vec<Task>, Problems> {
        self.tasks(cx, &Names::of(self, cx), &self.carried_when_added(cx, |_| true))
    }

    fn invariants(&self, cx: &Expand<'_>) -> Result<Vec<Invariant>, Problems> {
        self.promises(cx, &Names::of(self, cx), self.carried_when_added(cx, |_| true))
    }
}

/// The full names of the flow's datasets; some are there only with some properties.
pub(crate) struct Names {
    landing: qetl_core::DatasetName,
    parked: Option<qetl_core::DatasetName>,
    pub(crate) feed: qetl_core::DatasetName,
    pub(crate) stale: Option<qetl_core::DatasetName>,
    state: qetl_core::DatasetName,
}

impl Names {
    pub(crate) fn of(properties: &ChangeFeed, cx: &Expand<'_>) -> Self {
        Names {
            landing: cx.dataset("landing"),
            parked: keyed::parked_name(cx).or_else(|| is_sequenced_delta(&cx.flow.input).then(|| cx.dataset("parked"))),
            feed: cx.dataset("change_feed"),
            stale: (!properties.emit_stale).then(|| cx.dataset("stale")),
            state: cx.dataset("state"),
        }
    }
}

impl ChangeFeed {
    /// The columns that are compared, in column order.
    pub(crate) fn tracked(&self, cx: &Expand<'_>) -> Vec<String> {
        let input = &cx.flow.input;
        let named = self.change_detection_columns.as_ref();
        let named = named.map(|columns| columns.iter().map(|column| column.as_str()).collect::<HashSet<_>>());
        let chosen = |name: &str| match &named {
            Some(named) => named.contains(name),
            None => !input.primary_key.iter().any(|key| key.value == name) && !input.is_carried(name),
        };
        input.column_names().filter(|name| chosen(name)).map(str::to_owned).collect()
    }

    /// All feed rows of the given batches, those that the feed leaves out included.
    pub(crate) fn history(&self, cx: &Expand<'_>, names: &Names, as_of: AsOf) -> Result<Rel, Problems> {
        let schema = cx.schema(&FEED_COLUMNS)?;
        let scans = [Some(&names.feed), names.stale.as_ref()].into_iter().flatten().map(|dataset| Rel::scan(dataset, &schema, as_of));
        Ok(Rel::union(scans.collect())?)
    }

    /// Whether a snapshot has a row of every live key, so that the batch before tells of all of them.
    pub(crate) fn is_whole(cx: &Expand<'_>) -> bool {
        let input = &cx.flow.input;
        let of_all = input.batch_mode == BatchMode::Snapshot && input.snapshot_of.is_empty();
        of_all && !parks_known_keys(cx, &input.needed_names())
    }

    /// The latest row of each key in the given batches.
    fn latest(&self, cx: &Expand<'_>, names: &Names, as_of: AsOf) -> Result<Rel, Problems> {
        let input = &cx.flow.input;
        let keys = input.key_names();
        let snapshots = input.batch_mode == BatchMode::Snapshot;
        // A batch may have rows whose key cannot be told: then it tells of any other key nothing.
        let snapshots = snapshots && !cx.flow.reader.parks_bad_rows();
        let dead = snapshots.then(|| Expr::column("xt_record_type").eq(Expr::text("DELETED")));
        let gaps = match &names.parked {
            Some(parked) if snapshots && !Self::is_whole(cx) => {
                let rows = keyed::with_all(keyed::parked_rows(cx, parked, AsOf::PreviousBatch)?, &keys)?;
                Some(rows.aggregate(&keys, Vec::new())?)
            }
            _ => None,
        };
        let input = self.history(cx, names, as_of)?;
        Ok(Rel::latest_per_key(LatestPerKey { input, keys, by: "xt_batch_id".to_owned(), dead, gaps })?)
    }

    pub(crate) fn state_view(&self, cx: &Expand<'_>, names: &Names) -> Result<Rel, Problems> {
        let columns = cx.input.iter().map(|column| column.name.as_str()).chain(["xt_batch_id"]);
        let history = self.history(cx, names, AsOf::AllBatches)?;
        let latest = LatestPerKey { input: history, keys: cx.flow.input.key_names(), by: "xt_batch_id".to_owned(), dead: None, gaps: None };
        let live = Rel::latest_per_key(latest)?.filter(Expr::column("xt_record_type").not_eq(Expr::text("DELETED")))?;
        Ok(live.select(columns)?)
    }

    /// The tracked columns whose values are no change of a key whose row is of a batch that had not the column; of those that
    /// `may_be` carried at all.
    pub(crate) fn carried_when_added(&self, cx: &Expand<'_>, may_be: impl Fn(&str) -> bool) -> Vec<String> {
        match cx.flow.input.added_columns {
            AddedColumns::Changed => Vec::new(),
            AddedColumns::Carried => self.tracked(cx).into_iter().filter(|column| may_be(column)).collect(),
        }
    }

    /// The feed's tasks; `added` are columns that are carried when they are added.
    pub(crate) fn tasks(&self, cx: &Expand<'_>, names: &Names, added: &[String]) -> Result<Vec<Task>, Problems> {
        let input = &cx.flow.input;
        let (keys, columns): (Vec<String>, Vec<String>) = (input.key_names(), input.column_names().map(str::to_owned).collect());
        let (needed, sequence) = (input.needed_names(), input.sequence_names());
        keyed::check_sequence_types(cx).or(())?;

        let mut steps = Steps::default();
        let landed = steps.add("landed", cx.landed(AsOf::ThisBatch)?);
        let keyed = match input.on_null_key {
            OnNullKey::Fail => landed.clone(),
            OnNullKey::Park => steps.add("keyed", keyed::with_keys(input, landed.clone(), &needed)?),
        };
        let identity = Identity { keys: &keys, sequence: &sequence, columns: &columns, policy: input.on_duplicate_key };
        let Unique { mut accepted, conflicts, conflicting } = unique(&mut steps, "", keyed, &identity)?;
        let landing_checks = keyed::landing_checks(cx, &keys, conflicts.clone().map(|rel| (steps.clone(), rel)))?;
        let delete_mark = input.delete_column.as_ref().map(|column| keyed::is_marked(cx, column)).transpose()?;

        let mut parked = Parked::with_null(cx, &landed, &needed)?;
        if let Some(lacking) = parked.standing()? {
            // Their other rows do not count either.
            accepted = steps.add("whole", accepted.anti(lacking, &keys)?);
        }
        parked.add_conflicts(conflicts, conflicting)?;
        let before = |history: Rel| {
            let by = "xt_batch_id".to_owned();
            Rel::latest_per_key(LatestPerKey { input: history, keys: keys.clone(), by, dead: None, gaps: None })
        };
        let (state, gone, guards) = match (input.batch_mode, Partial::of(cx)) {
            // Only keys of this batch can change: the rest of the history need not be looked at.
            (BatchMode::Delta, _) => {
                let history = self.history(cx, names, AsOf::BeforeThisBatch)?.semi(accepted.clone().select(&keys)?, &keys)?;
                let state = if is_sequenced_delta(input) {
                    let state = steps.add_small("state", before(history)?);
                    accepted = sequence::in_order(cx, names, &mut steps, &mut parked, accepted, &state, delete_mark.as_ref())?;
                    state
                } else {
                    steps.add("state", before(history)?)
                };
                (state, Gone::Only(None), self.guards(cx, names, &steps, None)?)
            }
            (BatchMode::Snapshot, Some(partial)) => {
                let values = steps.add_small("values_in_sight", partial.values_of(accepted.clone())?);
                let history = self.history(cx, names, AsOf::BeforeThisBatch)?;
                let history = partial.in_sight(&mut steps, history, &accepted, values.clone())?;
                let state = steps.add_small("state", before(history)?);
                let theirs = steps.add("deletable", partial.keys_with(state.clone(), values)?);
                let marked = delete_mark.clone().map(|mark| accepted.clone().filter(mark)?.select(&keys)).transpose()?;
                let guarded = Rel::union([Some(theirs.clone()), marked].into_iter().flatten().collect())?;
                let guards = self.guards(cx, names, &steps, Some((&state, guarded)))?;
                let absent = parked.standing()?.into_iter().try_fold(theirs, |keys_left, standing| keys_left.anti(standing, &keys))?;
                (state, Gone::Only(Some(parked.unless_unreadable(absent)?)), guards)
            }
            (BatchMode::Snapshot, None) => {
                let latest = self.latest(cx, names, AsOf::BeforeThisBatch)?;
                let state = steps.add("state", latest);
                let standing = parked.standing()?;
                let gone = match cx.flow.reader.parks_bad_rows() {
                    false => Gone::AllExcept(standing),
                    true => {
                        let known = state.clone().select(&keys)?;
                        let absent = standing.into_iter().try_fold(known, |known, standing| known.anti(standing, &keys))?;
                        Gone::Only(Some(parked.unless_unreadable(absent)?))
                    }
                };
                (state, gone, self.guards(cx, names, &steps, None)?)
            }
        };
        let (mut tasks, mut checks) = (Vec::new(), landing_checks);
        checks.extend(parked.warning(&steps)?);
        if let Some(name) = &names.parked {
            tasks.push(parked.task(name, &steps, std::mem::take(&mut checks))?);
        }
        checks.extend(guards);

        let marked = delete_mark.map(|mark| (MARKED.to_owned(), mark));
        let own = columns.iter().map(|column| (column.clone(), Expr::column(column)));
        let current = steps.add("current", accepted.project(own.chain(marked.clone()).collect())?);
        let (tracked, marked) = (self.tracked(cx), marked.map(|(name, _)| name));
        let (keys, added) = (keys.clone(), added.to_vec());
        let changes = Rel::classify(Classify { current, state, keys, tracked, marked, added, of_mark: sequence, gone })?;
        let changes = steps.add("changes", changes);
        let feed_columns =
            columns.iter().map(|column| (column.clone(), Expr::column(column))).chain(FEED_COLUMNS.iter().map(|(name, _)| {
                let own = batch_columns().into_iter().find(|(column, _)| column == name);
                ((*name).to_owned(), own.map_or_else(|| Expr::column(name), |(_, expr)| expr))
            }));
        let rows = changes.project(feed_columns.collect())?;
        let is_stale = Expr::column("xt_record_type").eq(Expr::text("STALE"));
        match &names.stale {
            None => {
                steps.add("feed", rows);
                tasks.push(task(&names.feed, steps.needed(), Some("xt_record_type"), checks));
            }
            Some(stale) => {
                let mut left_out = steps.clone();
                left_out.add("stale", rows.clone().filter(is_stale.clone())?);
                steps.add("feed", rows.filter(is_stale.not())?);
                tasks.push(task(&names.feed, steps.needed(), Some("xt_record_type"), checks));
                tasks.push(task(stale, left_out.needed(), Some("xt_record_type"), Vec::new()));
            }
        }
        Ok(tasks)
    }

    /// The share of live keys that the batch deletes: of all of them, also in delta mode; of some, where the state and the keys
    /// that count are given.
    fn guards(&self, cx: &Expand<'_>, names: &Names, steps: &Steps, some: Option<(&Rel, Rel)>) -> Result<Vec<Check>, Problems> {
        let Some(most) = &cx.flow.input.max_delete_ratio else { return Ok(Vec::new()) };
        let mut steps = steps.clone();
        let latest = match some {
            Some((state, keys)) => state.clone().semi(keys, &cx.flow.input.key_names())?,
            None => steps.add("latest", self.latest(cx, names, AsOf::BeforeThisBatch)?),
        };
        let live = latest.filter(Expr::column("xt_record_type").not_eq(Expr::text("DELETED")))?;
        let count = |rel: Rel| rel.aggregate(&[], vec![("n".to_owned(), AggregateFunction::Count)]);
        let feed = Rel::scan(&names.feed, &cx.schema(&FEED_COLUMNS)?, AsOf::ThisBatch);
        let deleted = count(feed.filter(Expr::column("xt_record_type").eq(Expr::text("DELETED")))?)?;
        let live = count(live)?;
        let pair = |rel: Rel, deleted: Expr, live: Expr| rel.project(vec![("deleted".to_owned(), deleted), ("live".to_owned(), live)]);
        let both = Rel::union(vec![pair(deleted, Expr::column("n"), Expr::int(0))?, pair(live, Expr::int(0), Expr::column("n"))?])?;
        let sum = |name: &str| (name.to_owned(), AggregateFunction::Sum(Expr::column(name)));
        steps.add("shares", both.aggregate(&[], vec![sum("deleted"), sum("live")])?);
        Ok(vec![Check { rule: Rule::MaxDeleteRatio(most.value), steps: steps.needed(), guard: true }])
    }
}

/// The column that says of a row that it deletes its key.
const MARKED: &str = "xt_marked";

register_flow_type!(ChangeFeed);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_the_id_is_not_doubled() {
        assert_eq!(ChangeFeed::prefix("orders_change_feed"), "orders");
        assert_eq!(ChangeFeed::prefix("orders"), "orders");
        assert_eq!(ChangeFeed::prefix("_change_feed"), "_change_feed");
    }
}
