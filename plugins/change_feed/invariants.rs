//! What always holds of a change feed: the promises of the flow type, each as the rows that break it.

use qetl_core::{
    DatasetName, Problems,
    input::{BatchMode, OnDuplicateKey},
    ir::{AggregateFunction, AsOf, Expr, JoinKind, Order, Rel, Steps, WindowFunction},
    plan::{Expand, Invariant, LANDING_COLUMNS},
};

use super::{ChangeFeed, Names};
use crate::keyed;

impl ChangeFeed {
    /// What must hold of every feed.
    pub(crate) fn promises(&self, cx: &Expand<'_>, names: &Names) -> Result<Vec<Invariant>, Problems> {
        Promises { feed: self, cx, names, keys: cx.flow.input.key_names() }.all()
    }
}

struct Promises<'a> {
    feed: &'a ChangeFeed,
    cx: &'a Expand<'a>,
    names: &'a Names,
    keys: Vec<String>,
}

fn ascending() -> Vec<Order> {
    vec![Order { by: Expr::column("xt_batch_id"), descending: false }]
}

fn is(record_type: &str) -> Expr {
    Expr::column("xt_record_type").eq(Expr::text(record_type))
}

fn before(column: &str) -> String {
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
        let input = &self.cx.flow.input;
        // A key of which rows were parked has no row, and its state stands.
        if input.batch_mode == BatchMode::Snapshot && input.on_duplicate_key != OnDuplicateKey::Park {
            all.push(("live_keys_go_on", "a live key has a row in the next batch, if only as DELETED", self.lost()?));
        }
        let invariant = |(name, about, broken): (&str, &str, Rel)| {
            let mut steps = Steps::default();
            steps.add(name, broken);
            Invariant { name: name.to_owned(), about: about.to_owned(), steps }
        };
        Ok(all.into_iter().map(invariant).collect())
    }

    fn history(&self) -> Result<Rel, Problems> {
        self.feed.history(self.cx, self.names, AsOf::AllBatches)
    }

    fn landing(&self) -> Result<Rel, Problems> {
        let landing: &DatasetName = &self.names.landing;
        let rows = Rel::scan(landing, &self.cx.schema(&LANDING_COLUMNS)?, AsOf::AllBatches);
        Ok(keyed::with_keys(&self.cx.flow.input, rows, &self.keys)?)
    }

    fn keys_and<'k>(&'k self, more: &[&'k str]) -> Vec<String> {
        self.keys.iter().map(String::as_str).chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// Each row with its key's row before: its record type and these columns.
    fn with_before(&self, columns: &[String]) -> Result<Rel, Problems> {
        let columns = columns.iter().map(String::as_str).chain(["xt_record_type"]);
        let befores = columns.map(|column| (before(column), WindowFunction::Lag(Expr::column(column))));
        Ok(self.history()?.windows(befores, &self.keys, &ascending())?)
    }

    /// Whether a row differs in the column from its key's row before. A batch that lacks it does not.
    fn differs(&self, column: &str) -> Expr {
        let differs = Expr::column(column).is_distinct(Expr::column(&before(column)));
        match self.cx.input.iter().any(|input| input.gone && input.name == column) {
            true => self.cx.batch_had(column).and(differs),
            false => differs,
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
        let others: Vec<String> =
            self.cx.flow.input.column_names().filter(|name| !self.keys.iter().any(|key| key == name)).map(str::to_owned).collect();
        let differs = Expr::any(others.iter().map(|column| self.differs(column)));
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
        if let (OnDuplicateKey::Park, Some(parked)) = (input.on_duplicate_key, &self.names.parked) {
            let parked = Rel::scan(parked, &self.cx.schema(&keyed::PARKED_COLUMNS)?, AsOf::AllBatches);
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
