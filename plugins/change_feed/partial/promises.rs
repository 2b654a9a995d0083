//! What always holds of a feed whose batches are snapshots of some values.

use qetl_core::{
    Problems,
    input::{OnDuplicateKey, OnNullKey},
    ir::{AggregateFunction, Expr, JoinKind, Rel, WindowFunction},
};

use super::Partial;
use crate::{
    change_feed::invariants::{Promises, ascending, is},
    keyed,
};

impl Promises<'_> {
    /// What holds beside the promises of every feed.
    pub(in crate::change_feed) fn partial_promises(&self) -> Result<Vec<(&'static str, &'static str, Rel)>, Problems> {
        let Some(partial) = Partial::of(self.cx) else { return Ok(Vec::new()) };
        let mut all =
            vec![("deleted_in_sight", "a key is deleted by a batch that has its values, or marks it", self.out_of_sight(&partial)?)];
        let input = &self.cx.flow.input;
        // Where rows are parked, keys stand that are not there.
        let parks = input.on_null_key == OnNullKey::Park || input.on_duplicate_key == OnDuplicateKey::Park;
        if !parks && !self.cx.flow.reader.parks_bad_rows() {
            all.push(("live_keys_go_on", "a live key has a row in the next batch that has its values", self.lost_in_sight(&partial)?));
        }
        Ok(all)
    }

    fn with_values(&self, partial: &Partial, rows: Rel, more: &[&str]) -> Result<Rel, Problems> {
        let own = more.iter().map(|name| ((*name).to_owned(), Expr::column(name)));
        Ok(rows.project(own.chain(partial.values.iter().cloned()).collect())?)
    }

    /// The values that a batch's rows have.
    fn values_by_batch(&self, partial: &Partial, rows: Rel) -> Result<Rel, Problems> {
        let by: Vec<String> = partial.names().into_iter().chain(["xt_batch_id".to_owned()]).collect();
        Ok(self.with_values(partial, rows, &["xt_batch_id"])?.aggregate(&by, Vec::new())?)
    }

    /// The rows that count for sure: where one of several rows of a key counts, none of them is taken for it.
    fn sure_rows(&self) -> Result<Rel, Problems> {
        let input = &self.cx.flow.input;
        let rows = self.landing()?;
        if input.on_duplicate_key == OnDuplicateKey::Fail && input.sequence_columns.is_empty() {
            return Ok(rows);
        }
        let place = self.keys_and(&["xt_batch_id"]);
        let counted = rows.clone().aggregate(&place, vec![("xt_rows".to_owned(), AggregateFunction::Count)])?;
        let repeated = counted.filter(Expr::column("xt_rows").gt(Expr::int(1)))?.select(&place)?;
        Ok(rows.anti(repeated, &place)?)
    }

    fn out_of_sight(&self, partial: &Partial) -> Result<Rel, Problems> {
        let place = self.keys_and(&["xt_batch_id"]);
        let place_names: Vec<&str> = place.iter().map(String::as_str).collect();
        let by: Vec<String> = partial.names().into_iter().chain(["xt_batch_id".to_owned()]).collect();
        let deleted = self.with_values(partial, self.history()?.filter(is("DELETED"))?, &place_names)?;
        let mut unseen = deleted.anti(self.values_by_batch(partial, self.landing()?)?, &by)?.select(&place)?;
        if let Some(column) = &self.cx.flow.input.delete_column {
            unseen = unseen.anti(self.landing()?.filter(keyed::is_marked(self.cx, column)?)?.select(&place)?, &place)?;
        }
        Ok(unseen)
    }

    fn lost_in_sight(&self, partial: &Partial) -> Result<Rel, Problems> {
        let (batch, next) = ("xt_batch_id", "xt_next_batch_id");
        let rows = self.history()?.window(next, WindowFunction::Lead(Expr::column(batch)), &self.keys, ascending())?;
        let shown = self.keys_and(&[batch, next]);
        let shown_names: Vec<&str> = shown.iter().map(String::as_str).collect();
        let live = self.with_values(partial, rows.filter(is("DELETED").not())?, &shown_names)?;
        let on: Vec<(String, String)> = partial.names().into_iter().map(|name| (name.clone(), name)).collect();
        let columns = shown.iter().map(|name| (name.clone(), Expr::left(name)));
        let columns = columns.chain([("xt_seen_in".to_owned(), Expr::right(batch))]).collect();
        let seen = live.join(JoinKind::Inner, self.values_by_batch(partial, self.sure_rows()?)?, &on, columns)?;
        let seen = seen.filter(Expr::column("xt_seen_in").gt(Expr::column(batch)))?;
        let first = ("xt_seen_in".to_owned(), AggregateFunction::Min(Expr::column("xt_seen_in")));
        let first = seen.aggregate(&shown, vec![first])?;
        Ok(first.filter(Expr::column(next).is_null().or(Expr::column(next).gt(Expr::column("xt_seen_in"))))?)
    }
}
