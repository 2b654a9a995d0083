//! What always holds of a ledger: the promises of the flow type, each as the rows that break it.

use qetl_core::{
    Problems, Type,
    ir::{AggregateFunction, AsOf, BinaryOp, Expr, JoinKind, Rel, Steps, Value},
    plan::Invariant,
};

use super::{DELTA_CORRECTION, INITIAL_BOOKING, Ledger, REPUBLISH, REVERSAL, is, measure::Measure};
use crate::change_feed::FEED_COLUMNS;

impl Ledger<'_> {
    /// What must hold of every ledger.
    pub(super) fn invariants(&self) -> Result<Vec<Invariant>, Problems> {
        let all = [
            ("ids_are_unique", "an id names one transaction", self.doubled_ids()?),
            ("ids_are_as_said", "an id is the key, the batch and the leg of its transaction", self.wrong_ids()?),
            ("posted_in_a_batch", "a transaction's batch is recorded, with its execution time", self.wrong_batches()?),
            ("changes_are_posted", "what is NEW, REACTIVATED or DELETED in a batch has a transaction there", self.unposted()?),
            (
                "values_of_the_feed",
                "a booking or a correction has the values of its batch's row, but for the measures",
                self.wrong_values()?,
            ),
            ("references_hold", "every reference points to an earlier transaction of the key, of the right type", self.wrong_references()?),
            ("reversed_once", "no transaction is reversed twice", self.reversed_twice()?),
            ("closed_is_zero", "a booking that is reversed and what refers to it sum to 0", self.unsettled()?),
            ("sums_are_the_state", "per key and dimension values the sum of each measure is that of the state", self.wrong_sums()?),
        ];
        let invariant = |(name, about, broken): (&str, &str, Rel)| {
            let mut steps = Steps::default();
            steps.add(name, broken);
            Invariant { name: name.to_owned(), about: about.to_owned(), steps }
        };
        Ok(all.into_iter().map(invariant).collect())
    }

    fn keys_and<'k>(&'k self, more: &[&'k str]) -> Vec<String> {
        self.keys.iter().map(String::as_str).chain(more.iter().copied()).map(str::to_owned).collect()
    }

    fn doubled_ids(&self) -> Result<Rel, Problems> {
        let ids = self.transactions(AsOf::AllBatches)?.select(["xt_transaction_id"])?;
        let counted = ids.aggregate(&["xt_transaction_id".to_owned()], vec![("xt_transactions".to_owned(), AggregateFunction::Count)])?;
        Ok(counted.filter(Expr::column("xt_transactions").gt(Expr::int(1)))?)
    }

    fn wrong_ids(&self) -> Result<Rel, Problems> {
        let kind = |name: &str| Expr::column("xt_transaction_type").eq(Expr::text(name));
        let id = |leg: &str| self.id(Expr::column("xt_batch_id"), leg);
        let expected = Expr::case(vec![(kind(REVERSAL), id("R")), (kind(DELTA_CORRECTION), id("D"))], Some(id("B")));
        let own = self.keys_and(&["xt_transaction_id", "xt_transaction_type", "xt_batch_id"]);
        let own = own.iter().map(|name| (name.clone(), Expr::column(name)));
        let all = self.transactions(AsOf::AllBatches)?.project(own.chain([("xt_expected_id".to_owned(), expected)]).collect())?;
        Ok(all.filter(Expr::column("xt_transaction_id").is_distinct(Expr::column("xt_expected_id")))?)
    }

    fn wrong_batches(&self) -> Result<Rel, Problems> {
        let own = self.keys_and(&["xt_transaction_id", "xt_batch_id", "xt_processed_at"]);
        let columns = own.iter().map(|name| (name.clone(), Expr::left(name)));
        let columns = columns.chain([("xt_expected".to_owned(), Expr::right("xt_processed_at"))]).collect();
        let all = self.transactions(AsOf::AllBatches)?.select(&own)?;
        let batch = "xt_batch_id".to_owned();
        let both = all.join(JoinKind::Left, Rel::batches(), &[(batch.clone(), batch)], columns)?;
        Ok(both.filter(Expr::column("xt_processed_at").is_distinct(Expr::column("xt_expected")))?)
    }

    /// A booking and its reversal that are both lost leave every sum as it is.
    fn unposted(&self) -> Result<Rel, Problems> {
        let place = self.keys_and(&["xt_batch_id"]);
        let side = |rel: Rel, posted: i64| {
            let own = place.iter().map(|name| (name.clone(), Expr::column(name)));
            rel.project(own.chain([("xt_posted".to_owned(), Expr::int(posted))]).collect())
        };
        let feed = Rel::scan(&self.names.feed, &self.cx.schema(&FEED_COLUMNS)?, AsOf::AllBatches);
        let moved = side(feed.filter(is("NEW").or(is("REACTIVATED")).or(is("DELETED")))?, 0)?;
        let both = Rel::union(vec![moved, side(self.transactions(AsOf::AllBatches)?, 1)?])?;
        let posted = ("xt_posted".to_owned(), AggregateFunction::Sum(Expr::column("xt_posted")));
        Ok(both.aggregate(&place, vec![posted])?.filter(Expr::column("xt_posted").eq(Expr::int(0)))?)
    }

    fn wrong_values(&self) -> Result<Rel, Problems> {
        let input = self.cx.flow.input.column_names();
        let is_measure = |name: &str| self.measures.iter().any(|measure| measure.name == name);
        let place: Vec<String> = input.filter(|name| !is_measure(name)).chain(["xt_batch_id"]).map(str::to_owned).collect();
        let side = |rel: Rel, posted: i64| {
            let own = place.iter().map(|name| (name.clone(), Expr::column(name)));
            rel.project(own.chain([("xt_posted".to_owned(), Expr::int(posted)), ("xt_told".to_owned(), Expr::int(1 - posted))]).collect())
        };
        let posted = self.transactions(AsOf::AllBatches)?.filter(Expr::column("xt_transaction_type").not_eq(Expr::text(REVERSAL)))?;
        let feed = Rel::scan(&self.names.feed, &self.cx.schema(&FEED_COLUMNS)?, AsOf::AllBatches);
        let sum = |name: &str| (name.to_owned(), AggregateFunction::Sum(Expr::column(name)));
        let both = Rel::union(vec![side(posted, 1)?, side(feed, 0)?])?.aggregate(&place, vec![sum("xt_posted"), sum("xt_told")])?;
        Ok(both.filter(Expr::column("xt_told").eq(Expr::int(0)))?.select(&place)?)
    }

    fn wrong_references(&self) -> Result<Rel, Problems> {
        let (id, kind, referred) = ("xt_transaction_id", "xt_transaction_type", "xt_referred_transaction_id");
        let all = self.transactions(AsOf::AllBatches)?.select(self.keys_and(&[id, kind, referred, "xt_batch_id"]))?;
        let column = |name: &str, expr: Expr| (name.to_owned(), expr);
        let own = |side: fn(&str) -> Expr| {
            self.keys_and(&[id, kind, referred, "xt_batch_id"]).into_iter().map(move |name| {
                let expr = side(&name);
                (name, expr)
            })
        };
        let is_first = || Expr::column(kind).eq(Expr::text(INITIAL_BOOKING));
        let none = Expr::column(referred).is_null();
        // A missing reference, or one too many.
        let unfit = all.clone().filter(is_first().not().and(none.clone()).or(is_first().and(none.not())))?;
        let unfit = unfit.project(
            own(Expr::column)
                .chain([column("xt_referred_type", Expr::null(Type::Text)), column("xt_referred_batch_id", Expr::null(Type::Int))])
                .collect(),
        )?;
        let on: Vec<(String, String)> =
            self.keys.iter().map(|key| (key.clone(), key.clone())).chain([(referred.to_owned(), id.to_owned())]).collect();
        let referring = all.clone().filter(is_first().not().and(Expr::column(referred).is_null().not()))?;
        let found = own(Expr::left)
            .chain([column("xt_referred_type", Expr::right(kind)), column("xt_referred_batch_id", Expr::right("xt_batch_id"))])
            .collect();
        let joined = referring.join(JoinKind::Left, all, &on, found)?;
        let of_type = |name: &str| Expr::column("xt_referred_type").eq(Expr::text(name));
        let republishes = Expr::column(kind).eq(Expr::text(REPUBLISH));
        let right =
            republishes.clone().and(of_type(REVERSAL)).or(republishes.not().and(of_type(REVERSAL).or(of_type(DELTA_CORRECTION)).not()));
        let is_earlier = Expr::column("xt_referred_batch_id").lt(Expr::column("xt_batch_id"));
        let wrong = joined.filter(Expr::column("xt_referred_batch_id").is_null().or(right.and(is_earlier).not()))?;
        Ok(Rel::union(vec![unfit, wrong])?)
    }

    fn reversed_twice(&self) -> Result<Rel, Problems> {
        let reversals = self.transactions(AsOf::AllBatches)?.filter(Expr::column("xt_transaction_type").eq(Expr::text(REVERSAL)))?;
        let keys = self.keys_and(&["xt_referred_transaction_id"]);
        let counted = reversals.aggregate(&keys, vec![("xt_reversals".to_owned(), AggregateFunction::Count)])?;
        Ok(counted.filter(Expr::column("xt_reversals").gt(Expr::int(1)))?)
    }

    fn unsettled(&self) -> Result<Rel, Problems> {
        let kind = |name: &str| Expr::column("xt_transaction_type").eq(Expr::text(name));
        let booking = Expr::case(
            vec![(kind(REVERSAL).or(kind(DELTA_CORRECTION)), Expr::column("xt_referred_transaction_id"))],
            Some(Expr::column("xt_transaction_id")),
        );
        let reverses = Expr::case(vec![(kind(REVERSAL), Expr::int(1))], Some(Expr::int(0)));
        let keys = self.keys.iter().map(|key| (key.clone(), Expr::column(key)));
        let columns = keys.chain([("xt_transaction_id".to_owned(), booking), ("xt_reversals".to_owned(), reverses)]);
        let amounts = self.measures.iter().flat_map(|measure| {
            let amount = measure.or_zero(Expr::column(&measure.name));
            [(sum(measure), amount.clone()), (state(measure), measure.zero())].into_iter().chain(largest_of(measure, amount))
        });
        let booked = self.transactions(AsOf::AllBatches)?.project(columns.chain(amounts).collect())?;
        let reversals = ("xt_reversals".to_owned(), AggregateFunction::Sum(Expr::column("xt_reversals")));
        let summed = booked.aggregate(&self.keys_and(&["xt_transaction_id"]), std::iter::once(reversals).chain(self.totals()).collect())?;
        let closed = summed.filter(Expr::column("xt_reversals").gt(Expr::int(0)).and(self.is_off()))?;
        let sums = self.measures.iter().map(sum);
        Ok(closed.select(self.keys_and(&["xt_transaction_id"]).into_iter().chain(sums))?)
    }

    fn wrong_sums(&self) -> Result<Rel, Problems> {
        let place = self.keys_and(&self.dimensions.iter().map(String::as_str).collect::<Vec<_>>());
        let figures = |rel: Rel, of_state: bool| {
            let own = place.iter().map(|name| (name.clone(), Expr::column(name)));
            let amounts = self.measures.iter().flat_map(|measure| {
                let value = Expr::column(&measure.name);
                let amount = measure.or_zero(if of_state { measure.stored(value) } else { value });
                let (left, right) = if of_state { (measure.zero(), amount.clone()) } else { (amount.clone(), measure.zero()) };
                [(sum(measure), left), (state(measure), right)].into_iter().chain(largest_of(measure, amount))
            });
            rel.project(own.chain(amounts).collect())
        };
        let booked = figures(self.transactions(AsOf::AllBatches)?, false)?;
        let states = figures(self.feed.state_view(self.cx, &self.names)?, true)?;
        let both = Rel::union(vec![booked, states])?.aggregate(&place, self.totals())?;
        let shown = self.measures.iter().flat_map(|measure| [sum(measure), state(measure)]);
        Ok(both.filter(self.is_off())?.select(place.iter().cloned().chain(shown))?)
    }

    /// The sums of both sides, and of floats the largest amount.
    fn totals(&self) -> Vec<(String, AggregateFunction)> {
        let totals = self.measures.iter().flat_map(|measure| {
            let total = |name: String| (name.clone(), AggregateFunction::Sum(Expr::column(&name)));
            let name = largest(measure);
            let most = (measure.ty == Type::Float).then(|| (name.clone(), AggregateFunction::Max(Expr::column(&name))));
            [total(sum(measure)), total(state(measure))].into_iter().chain(most)
        });
        totals.collect()
    }

    /// Whether any measure's two sums differ: floats by more than a billionth of the largest amount, if that is finite.
    fn is_off(&self) -> Expr {
        let off = |measure: &Measure| {
            let (left, right) = (Expr::column(&sum(measure)), Expr::column(&state(measure)));
            if measure.ty != Type::Float {
                return left.not_eq(right);
            }
            let (most, number) = (Expr::column(&largest(measure)), |value: f64| Expr::Literal(Value::Float(value)));
            let is_ordinary = most.clone().gt(number(0.0)).and(most.clone().lt(number(f64::MAX)));
            let share = magnitude(measure, left.minus(right)).binary(BinaryOp::Divide, most);
            Expr::case(vec![(is_ordinary, share.gt(number(1e-9)))], Some(Expr::Literal(Value::Bool(false))))
        };
        Expr::any(self.measures.iter().map(off))
    }
}

fn sum(measure: &Measure) -> String {
    format!("xt_sum_of_{}", measure.name)
}

fn state(measure: &Measure) -> String {
    format!("xt_state_of_{}", measure.name)
}

fn largest(measure: &Measure) -> String {
    format!("xt_largest_of_{}", measure.name)
}

fn largest_of(measure: &Measure, amount: Expr) -> Option<(String, Expr)> {
    (measure.ty == Type::Float).then(|| (largest(measure), magnitude(measure, amount)))
}

fn magnitude(measure: &Measure, amount: Expr) -> Expr {
    Expr::case(vec![(amount.clone().lt(measure.zero()), measure.zero().minus(amount.clone()))], Some(amount))
}
