//! What always holds of a change feed: the promises of the flow type, each as the rows that break it.

use qetl_core::{
    Problems,
    ir::{AggregateFunction, AsOf, Expr, Function, JoinKind, Order, Rel, Steps, WindowFunction},
    plan::{Expand, Invariant},
};

use super::{ChangeFeed, Names, sequence::is_sequenced_delta};
use crate::keyed::{self, parks_known_keys};

impl ChangeFeed {
    /// What must hold of every feed.
    pub(crate) fn promises(&self, cx: &Expand<'_>, names: &Names, added: Vec<String>) -> Result<Vec<Invariant>, Problems> {
        let input = &cx.flow.input;
        Promises { feed: self, cx, names, keys: input.key_names(), sequence: input.sequence_names(), added }.all()
    }
}

pub(super) struct Promises<'a> {
    pub(super) feed: &'a ChangeFeed,
    pub(super) cx: &'a Expand<'a>,
    pub(super) names: &'a Names,
    pub(super) keys: Vec<String>,
    pub(super) sequence: Vec<String>,
    /// Columns that are carried when they are added.
    added: Vec<String>,
}

pub(super) fn ascending() -> Vec<Order> {
    vec![Order { by: Expr::column("xt_batch_id"), descending: false }]
}

pub(super) fn is(record_type: &str) -> Expr {
    Expr::column("xt_record_type").eq(Expr::text(record_type))
}

pub(super) fn before(column: &str) -> String {
    format!("xt_before_{column}")
}

impl Promises<'_> {
    fn all(&self) -> Result<Vec<Invariant>, Problems> {
        let mut all = vec![
            ("one_row_a_batch", "a key has at most one row in a batch", self.doubled()?),
            ("rows_of_their_batch", "a row's batch is recorded, with its execution time", self.wrong_batches()?),
            (
                "types_follow",
                "a key's history reads NEW (STALE|CHANGED)* (DELETED REACTIVATED (STALE|CHANGED)*)* DELETED?",
                self.wrong_types()?,
            ),
            ("changes_are_named", "`xt_changed_columns` names the tracked columns that differ from the row before", self.wrong_changes()?),
            ("deleted_as_known", "a DELETED row has the values of the key's row before", self.wrong_deletions()?),
            ("values_were_landed", "the values of a live row were landed in its batch", self.never_landed()?),
            ("landed_keys_have_a_row", "a key that was landed has a row in that batch", self.untold()?),
        ];
        // A key of which rows were parked has no row, and its state stands.
        if ChangeFeed::is_whole(self.cx) {
            all.push(("live_keys_go_on", "a live key has a row in the next batch, if only as DELETED", self.lost()?));
        }
        all.extend(self.sequence_promises()?);
        all.extend(self.partial_promises()?);
        let invariant = |(name, about, broken): (&str, &str, Rel)| {
            let mut steps = Steps::default();
            steps.add(name, broken);
            Invariant { name: name.to_owned(), about: about.to_owned(), steps }
        };
        Ok(all.into_iter().map(invariant).collect())
    }

    pub(super) fn history(&self) -> Result<Rel, Problems> {
        self.feed.history(self.cx, self.names, AsOf::AllBatches)
    }

    pub(super) fn landing(&self) -> Result<Rel, Problems> {
        let rows = self.cx.landed(AsOf::AllBatches)?;
        let input = &self.cx.flow.input;
        Ok(keyed::with_keys(input, rows, &input.needed_names())?)
    }

    pub(super) fn keys_and<'k>(&'k self, more: &[&'k str]) -> Vec<String> {
        self.keys.iter().map(String::as_str).chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// Each row with its key's row before: its record type and these columns.
    pub(super) fn with_before(&self, columns: &[String]) -> Result<Rel, Problems> {
        let batch = (!self.added.is_empty()).then_some("xt_batch_id");
        let columns = columns.iter().map(String::as_str).chain(["xt_record_type"]).chain(batch);
        let befores = columns.map(|column| (before(column), WindowFunction::Lag(Expr::column(column))));
        Ok(self.history()?.windows(befores, &self.keys, &ascending())?)
    }

    /// Whether a row differs in the column from its key's row before. A batch that lacks it does not, nor the first one after
    /// such a batch if the column is carried then.
    fn differs(&self, column: &str) -> Expr {
        let differs = self.is_other(column);
        match self.added.iter().any(|added| added == column) {
            true => differs.and(Expr::column(&before("xt_batch_id")).call(Function::BatchHas { column: column.to_owned() })),
            false => differs,
        }
    }

    /// Whether a row has another value than its key's row before. A batch that lacks the column has none.
    fn is_other(&self, column: &str) -> Expr {
        let is_other = Expr::column(column).is_distinct(Expr::column(&before(column)));
        match self.cx.input.iter().any(|input| input.gone && input.name == column) {
            true => self.cx.batch_had(column).and(is_other),
            false => is_other,
        }
    }

    fn doubled(&self) -> Result<Rel, Problems> {
        let counted =
            self.history()?.aggregate(&self.keys_and(&["xt_batch_id"]), vec![("xt_rows".to_owned(), AggregateFunction::Count)])?;
        Ok(counted.filter(Expr::column("xt_rows").gt(Expr::int(1)))?)
    }

    fn wrong_batches(&self) -> Result<Rel, Problems> {
        let own = self.keys_and(&["xt_record_type", "xt_batch_id", "xt_processed_at"]);
        let columns = own.iter().map(|name| (name.clone(), Expr::left(name)));
        let columns = columns.chain([("xt_expected".to_owned(), Expr::right("xt_processed_at"))]).collect();
        let batch = "xt_batch_id".to_owned();
        let both = self.history()?.select(&own)?.join(JoinKind::Left, Rel::batches(), &[(batch.clone(), batch)], columns)?;
        Ok(both.filter(Expr::column("xt_processed_at").is_distinct(Expr::column("xt_expected")))?)
    }

    fn wrong_types(&self) -> Result<Rel, Problems> {
        let was = Expr::column(&before("xt_record_type"));
        let goes_on = is("STALE").or(is("CHANGED")).or(is("DELETED"));
        let fits = Expr::case(vec![(was.clone().is_null(), is("NEW")), (was.eq(Expr::text("DELETED")), is("REACTIVATED"))], Some(goes_on));
        let wrong = self.with_before(&[])?.filter(fits.not())?;
        Ok(wrong.select(self.keys_and(&["xt_batch_id", &before("xt_record_type"), "xt_record_type"]))?)
    }

    fn wrong_changes(&self) -> Result<Rel, Problems> {
        let tracked = self.feed.tracked(self.cx);
        let differs = |column: &String| self.differs(column);
        let named = Expr::JoinText {
            separator: ",".to_owned(),
            parts: tracked.iter().map(|column| Expr::case(vec![(differs(column), Expr::text(column))], None)).collect(),
        };
        let nothing = Expr::null(qetl_core::Type::Text);
        let expected = Expr::case(vec![(is("NEW").or(is("DELETED")), nothing)], Some(named));
        let own = self.keys_and(&["xt_batch_id", "xt_record_type", "xt_changed_columns"]);
        let columns = own.iter().map(|name| (name.clone(), Expr::column(name)));
        let columns = columns.chain([("xt_expected".to_owned(), expected)]).collect();
        let found = self.with_before(&tracked)?.project(columns)?;
        let is_silent = is("CHANGED").and(Expr::column("xt_expected").is_null());
        Ok(found.filter(Expr::column("xt_changed_columns").is_distinct(Expr::column("xt_expected")).or(is_silent))?)
    }

    fn wrong_deletions(&self) -> Result<Rel, Problems> {
        // The sequence is that of the deletion.
        let is_own = |name: &str| self.keys.iter().chain(&self.sequence).any(|own| own == name);
        let others: Vec<String> = self.cx.flow.input.column_names().filter(|name| !is_own(name)).map(str::to_owned).collect();
        let differs = Expr::any(others.iter().map(|column| self.is_other(column)));
        let wrong = self.with_before(&others)?.filter(is("DELETED").and(differs))?;
        Ok(wrong.select(self.keys_and(&["xt_batch_id", "xt_record_type"]))?)
    }

    /// Counts, for each of these columns' values, the rows of the feed and those that were landed.
    fn told_and_landed(&self, told: Rel, landed: Rel, columns: &[String]) -> Result<Rel, Problems> {
        let side = |rel: Rel, told: i64| {
            let own = columns.iter().map(|name| (name.clone(), Expr::column(name)));
            rel.project(own.chain([("xt_told".to_owned(), Expr::int(told)), ("xt_landed".to_owned(), Expr::int(1 - told))]).collect())
        };
        let sum = |name: &str| (name.to_owned(), AggregateFunction::Sum(Expr::column(name)));
        let both = Rel::union(vec![side(told, 1)?, side(landed, 0)?])?;
        Ok(both.aggregate(columns, vec![sum("xt_told"), sum("xt_landed")])?)
    }

    fn never_landed(&self) -> Result<Rel, Problems> {
        let columns: Vec<String> = self.cx.flow.input.column_names().chain(["xt_batch_id"]).map(str::to_owned).collect();
        let told = self.history()?.filter(is("DELETED").not())?;
        let counted = self.told_and_landed(told, self.landing()?, &columns)?;
        Ok(counted.filter(Expr::column("xt_landed").eq(Expr::int(0)))?)
    }

    /// Keys that a batch marks as deleted, or of which it has rows that were parked, need no row.
    fn untold(&self) -> Result<Rel, Problems> {
        let columns = self.keys_and(&["xt_batch_id"]);
        let input = &self.cx.flow.input;
        let mut landed = self.landing()?;
        if let Some(column) = &input.delete_column {
            let marked = landed.clone().filter(keyed::is_marked(self.cx, column)?)?.select(&columns)?;
            landed = landed.anti(marked, &columns)?;
        }
        let parks_keys = parks_known_keys(self.cx, &input.needed_names()) || is_sequenced_delta(input);
        if let Some(parked) = self.names.parked.as_ref().filter(|_| parks_keys) {
            let parked = keyed::parked_rows(self.cx, parked, AsOf::AllBatches)?;
            landed = landed.anti(keyed::with_all(parked, &self.keys)?.select(&columns)?, &columns)?;
        }
        let counted = self.told_and_landed(self.history()?, landed, &columns)?;
        let none_told = Expr::column("xt_told").eq(Expr::int(0));
        Ok(counted.filter(none_told)?.select(&columns)?)
    }

    fn lost(&self) -> Result<Rel, Problems> {
        let following = |rel: Rel, keys: &[String]| {
            rel.window("xt_next_batch_id", WindowFunction::Lead(Expr::column("xt_batch_id")), keys, ascending())
        };
        let rows = following(self.history()?, &self.keys)?;
        let batches = following(Rel::batches(), &[])?;
        let own = self.keys_and(&["xt_batch_id", "xt_record_type", "xt_next_batch_id"]);
        let columns = own.iter().map(|name| (name.clone(), Expr::left(name)));
        let columns = columns.chain([("xt_expected".to_owned(), Expr::right("xt_next_batch_id"))]).collect();
        let batch = "xt_batch_id".to_owned();
        let both = rows.join(JoinKind::Inner, batches, &[(batch.clone(), batch)], columns)?;
        let is_lost = Expr::column("xt_next_batch_id").is_distinct(Expr::column("xt_expected"));
        Ok(both.filter(is("DELETED").not().and(is_lost))?)
    }
}
