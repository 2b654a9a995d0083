//! What always holds of a feed whose rows say their order.

use qetl_core::{
    Problems,
    ir::{AsOf, Expr, JoinKind, Order, Rel, WindowFunction},
};

use super::{ALREADY_DELETED, SUPERSEDED, UNKNOWN_KEY, buried, is_less, is_sequenced_delta};
use crate::{
    change_feed::invariants::{Promises, ascending, before, is},
    keyed,
};

impl Promises<'_> {
    /// What holds beside the promises of every feed.
    pub(in crate::change_feed) fn sequence_promises(&self) -> Result<Vec<(&'static str, &'static str, Rel)>, Problems> {
        let mut all = Vec::new();
        if !self.sequence.is_empty() {
            all.push(("newest_counts", "a live row has the greatest sequence that its batch has of its key", self.not_newest()?));
        }
        if is_sequenced_delta(&self.cx.flow.input) {
            all.push(("sequences_rise", "a key's sequence never falls from one of its rows to the next", self.fallen()?));
            all.push((
                "superseded_by_newer",
                "a row is superseded where an earlier batch has a newer one of its key",
                self.not_superseded()?,
            ));
            all.extend(self.wrong_burials()?.map(|broken| {
                ("deletions_of_nothing", "a deletion is parked where its key is not live: unknown_key or already_deleted", broken)
            }));
        }
        Ok(all)
    }

    /// Live rows beside the newest row that their batch landed of their key.
    fn not_newest(&self) -> Result<Rel, Problems> {
        let place = self.keys_and(&["xt_batch_id"]);
        let newest = self.sequence.iter().map(|column| Order { by: Expr::column(column), descending: true }).collect();
        let numbered = self.landing()?.window("xt_place", WindowFunction::RowNumber, &place, newest)?;
        let newest = numbered.filter(Expr::column("xt_place").eq(Expr::int(1)))?;
        let on: Vec<(String, String)> = place.iter().map(|name| (name.clone(), name.clone())).collect();
        let own = place.iter().chain(&self.sequence).map(|name| (name.clone(), Expr::left(name)));
        let expected = self.sequence.iter().map(|name| (before(name), Expr::right(name)));
        let live = self.history()?.filter(is("DELETED").not())?;
        let both = live.join(JoinKind::Inner, newest, &on, own.chain(expected).collect())?;
        Ok(both.filter(Expr::any(self.sequence.iter().map(|name| Expr::column(name).is_distinct(Expr::column(&before(name))))))?)
    }

    fn fallen(&self) -> Result<Rel, Problems> {
        let fell = is_less(&self.sequence, Expr::column, |name| Expr::column(&before(name)));
        let shown = self.keys_and(&["xt_batch_id", "xt_record_type"]);
        Ok(self.with_before(&self.sequence)?.filter(fell)?.select(shown.iter().chain(&self.sequence))?)
    }

    fn not_superseded(&self) -> Result<Rel, Problems> {
        let place = self.keys_and(&["xt_batch_id"]);
        let own: Vec<&String> = place.iter().chain(&self.sequence).collect();
        let Some(parked) = &self.names.parked else { unreachable!("such a feed parks rows") };
        let parked = keyed::parked_rows(self.cx, parked, AsOf::AllBatches)?;
        let superseded = parked.filter(Expr::column("xt_parked_reason").eq(Expr::text(SUPERSEDED)))?.select(&own)?;
        let mut known = vec![self.history()?.select(&own)?];
        if let Some(buried) = buried(self.cx, self.names, AsOf::AllBatches)? {
            known.push(buried.select(&own)?);
        }
        let on: Vec<(String, String)> = self.keys.iter().map(|key| (key.clone(), key.clone())).collect();
        let is_earlier = Expr::right("xt_batch_id").lt(Expr::left("xt_batch_id"));
        let is_newer = is_less(&self.sequence, Expr::left, Expr::right);
        let columns = place.iter().map(|name| (name.clone(), Expr::left(name)));
        let columns = columns.chain([("xt_is_proof".to_owned(), is_earlier.and(is_newer))]).collect();
        let proven = superseded.clone().join(JoinKind::Inner, Rel::union(known)?, &on, columns)?;
        let proven = proven.filter(Expr::column("xt_is_proof"))?.select(&place)?;
        Ok(superseded.anti(proven, &place)?)
    }

    /// With the deletions that have no row, a history reads `unknown_key* NEW … DELETED already_deleted* REACTIVATED …`.
    fn wrong_burials(&self) -> Result<Option<Rel>, Problems> {
        let Some(buried) = buried(self.cx, self.names, AsOf::AllBatches)? else { return Ok(None) };
        let told = self.keys_and(&["xt_batch_id", "xt_record_type"]);
        let columns = self.keys_and(&["xt_batch_id"]).into_iter().map(|name| (name.clone(), Expr::column(&name)));
        let columns = columns.chain([("xt_record_type".to_owned(), Expr::column("xt_parked_reason"))]).collect();
        let both = Rel::union(vec![self.history()?.select(&told)?, buried.project(columns)?])?;
        let was = before("xt_record_type");
        let both = both.window(&was, WindowFunction::Lag(Expr::column("xt_record_type")), &self.keys, ascending())?;
        let follows = |words: [&str; 2]| Expr::any(words.iter().map(|word| Expr::column(&was).eq(Expr::text(word))));
        let is_first = Expr::column(&was).is_null().or(follows([UNKNOWN_KEY, UNKNOWN_KEY]));
        let is_dead = Expr::column(&was).is_null().not().and(follows(["DELETED", ALREADY_DELETED]));
        let wrong = is(UNKNOWN_KEY).and(is_first.not()).or(is(ALREADY_DELETED).and(is_dead.not()));
        Ok(Some(both.filter(wrong)?))
    }
}
