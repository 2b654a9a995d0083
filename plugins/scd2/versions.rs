//! From all that was landed of some keys to the versions of each.

use qetl_core::{
    Type,
    input::{BatchMode, OnDuplicateKey},
    ir::{AggregateFunction, Expr, Function, JoinKind, Order, Rel, RelError, Steps, WindowFunction},
};

use crate::keyed::{Identity, Unique, unique};

/// What the columns of the flow are there for.
pub(super) struct Roles {
    /// All input columns.
    pub(super) columns: Vec<String>,
    pub(super) keys: Vec<String>,
    /// The column that says when a row takes effect; the batch's execution time does without it.
    pub(super) effective: Option<String>,
    /// The type of effective times.
    pub(super) time: Type,
    /// True for rows that mark a deletion.
    pub(super) marked: Option<Expr>,
    /// A version ends where one of them differs.
    pub(super) tracked: Vec<String>,
    /// Overwritten in every version.
    pub(super) type1: Vec<String>,
    pub(super) mode: BatchMode,
    pub(super) policy: OnDuplicateKey,
    /// Whether a deletion ends a version.
    pub(super) closes: bool,
}

fn ascending(names: &[&str]) -> Vec<Order> {
    names.iter().map(|name| Order { by: Expr::column(name), descending: false }).collect()
}

fn own(names: &[String]) -> Vec<(String, Expr)> {
    names.iter().map(|name| (name.clone(), Expr::column(name))).collect()
}

fn left(names: &[String]) -> Vec<(String, Expr)> {
    names.iter().map(|name| (name.clone(), Expr::left(name))).collect()
}

fn pairs(names: &[String]) -> Vec<(String, String)> {
    names.iter().map(|name| (name.clone(), name.clone())).collect()
}

fn with(mut columns: Vec<(String, Expr)>, more: impl IntoIterator<Item = (&'static str, Expr)>) -> Vec<(String, Expr)> {
    columns.extend(more.into_iter().map(|(name, expr)| (name.to_owned(), expr)));
    columns
}

/// The rows where one of the columns differs from the row before, and the first of each partition.
fn changes(rows: Rel, columns: &[String], partition: &[String], order: &str) -> Result<Rel, RelError> {
    let names: Vec<String> = rows.column_names().map(str::to_owned).collect();
    let mut rows = rows.window("xt_place", WindowFunction::RowNumber, partition, ascending(&[order]))?;
    let mut differs = vec![Expr::column("xt_place").eq(Expr::int(1))];
    for (index, column) in columns.iter().enumerate() {
        let before = format!("xt_before_{index}");
        rows = rows.window(&before, WindowFunction::Lag(Expr::column(column)), partition, ascending(&[order]))?;
        differs.push(Expr::column(column).is_distinct(Expr::column(&before)));
    }
    rows.filter(Expr::any(differs))?.select(names)
}

/// The row of each partition that is last in the order; `order` is never NULL there.
fn last(rows: Rel, partition: &[String], order: &str) -> Result<Rel, RelError> {
    let names: Vec<String> = rows.column_names().map(str::to_owned).collect();
    let rows = rows.window("xt_following", WindowFunction::Lead(Expr::column(order)), partition, ascending(&[order]))?;
    rows.filter(Expr::column("xt_following").is_null())?.select(names)
}

impl Roles {
    /// Keys and more columns.
    fn by(&self, more: &[&str]) -> Vec<String> {
        self.keys.iter().map(String::as_str).chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// Whether a deletion can be told from what is landed.
    pub(super) fn can_delete(&self) -> bool {
        self.mode == BatchMode::Snapshot || self.marked.is_some()
    }

    fn is_live(&self) -> Expr {
        self.marked.clone().map_or_else(|| Expr::all([]), Expr::not)
    }

    /// An execution time as an effective one.
    fn executed(&self, time: Expr) -> Expr {
        if self.time == Type::Date { time.call(Function::DateIn { zone: "UTC".to_owned() }) } else { time }
    }

    /// The recorded batches, numbered without gaps by `xt_ordinal`.
    pub(super) fn batches(steps: &mut Steps) -> Result<Rel, RelError> {
        let batches = Rel::batches().window("xt_ordinal", WindowFunction::RowNumber, &[], ascending(&["xt_batch_id"]))?;
        Ok(steps.add_small("batches", batches))
    }

    /// One row for each batch, key and effective time. A key with a mark has one row in its batch.
    ///
    /// `rows` are a step's. They stand in landing, and have a key and a time.
    pub(super) fn unique(&self, steps: &mut Steps, prefix: &str, rows: Rel) -> Result<Unique, RelError> {
        let mut identity = self.by(&["xt_batch_id"]);
        let mut rows = rows;
        match (&self.effective, &self.marked) {
            (None, _) => (),
            (Some(effective), None) => identity.push(effective.clone()),
            (Some(effective), Some(marked)) => {
                let moment = vec![("xt_mark".to_owned(), AggregateFunction::Min(Expr::column(effective)))];
                let marks = rows.clone().filter(marked.clone())?.aggregate(&identity, moment)?;
                let marks = steps.add_small(&format!("{prefix}marked_keys"), marks);
                let names: Vec<String> = rows.column_names().map(str::to_owned).collect();
                let moment = Expr::coalesce(vec![Expr::right("xt_mark"), Expr::left(effective)]);
                rows = rows.join(JoinKind::Left, marks, &pairs(&identity), with(left(&names), [("xt_moment", moment)]))?;
                rows = steps.add(&format!("{prefix}moments"), rows);
                identity.push("xt_moment".to_owned());
            }
        }
        let mut compared = self.columns.clone();
        compared.extend(identity.iter().filter(|name| !self.columns.contains(name)).cloned());
        unique(steps, prefix, rows, &Identity { keys: &identity, sequence: &[], columns: &compared, policy: self.policy })
    }

    /// From when to when keys are there: `xt_began`, the batch that shows it; `xt_until`, the batch that ends that, NULL for
    /// none yet; `xt_deleted`, 1 where it ends in a deletion.
    pub(super) fn stays(&self, steps: &mut Steps, prefix: &str, unique: &Unique, batches: &Rel) -> Result<Rel, RelError> {
        let name = |step: &str| format!("{prefix}{step}");
        let in_batch = self.by(&["xt_batch_id"]);
        let shown = |rel: Rel, live: i64| rel.project(with(own(&in_batch), [("xt_live", Expr::int(live))]));
        let greatest = |column: &str| (column.to_owned(), AggregateFunction::Max(Expr::column(column)));
        let mut all = vec![shown(unique.accepted.clone().filter(self.is_live())?, 1)?];
        if self.mode == BatchMode::Delta {
            if let Some(marked) = &self.marked {
                all.push(shown(unique.accepted.clone().filter(marked.clone())?, 0)?);
            }
            let events = Rel::union(all)?.aggregate(&in_batch, vec![greatest("xt_live")])?;
            let events = events
                .window("xt_until", WindowFunction::Lead(Expr::column("xt_batch_id")), &self.keys, ascending(&["xt_batch_id"]))?
                .window("xt_follows", WindowFunction::Lead(Expr::column("xt_live")), &self.keys, ascending(&["xt_batch_id"]))?
                .filter(Expr::column("xt_live").eq(Expr::int(1)))?;
            let deleted = Expr::case(vec![(Expr::column("xt_follows").eq(Expr::int(0)), Expr::int(1))], Some(Expr::int(0)));
            let began = ("xt_began", Expr::column("xt_batch_id"));
            let stays = events.project(with(own(&self.keys), [began, ("xt_until", Expr::column("xt_until")), ("xt_deleted", deleted)]))?;
            return Ok(steps.add(&name("stays"), stays));
        }
        if let (OnDuplicateKey::Park, Some(conflicting)) = (self.policy, &unique.conflicting) {
            all.push(shown(conflicting.clone(), 0)?);
        }
        let presence = Rel::union(all)?.aggregate(&in_batch, vec![greatest("xt_live")])?;
        let more = [("xt_live", Expr::left("xt_live")), ("xt_ordinal", Expr::right("xt_ordinal"))];
        let on_batch = [("xt_batch_id".to_owned(), "xt_batch_id".to_owned())];
        // The difference of two numberings is the same as long as no batch is left out.
        let placed = presence.join(JoinKind::Inner, batches.clone(), &on_batch, with(left(&in_batch), more))?.window(
            "xt_place",
            WindowFunction::RowNumber,
            &self.keys,
            ascending(&["xt_ordinal"]),
        )?;
        let began = Expr::case(vec![(Expr::column("xt_live").eq(Expr::int(1)), Expr::column("xt_batch_id"))], None);
        let stay = Expr::column("xt_ordinal").minus(Expr::column("xt_place"));
        let ordinal = Expr::column("xt_ordinal");
        let placed = placed.project(with(own(&self.keys), [("xt_stay", stay), ("xt_ordinal", ordinal), ("xt_began", began)]))?;
        let began = ("xt_began".to_owned(), AggregateFunction::Min(Expr::column("xt_began")));
        let stays = placed.aggregate(&self.by(&["xt_stay"]), vec![greatest("xt_ordinal"), began])?;
        let stays = stays.filter(Expr::column("xt_began").is_null().not())?;
        let next = ("xt_next", Expr::column("xt_ordinal").plus(Expr::int(1)));
        let stays = stays.project(with(own(&self.keys), [("xt_began", Expr::column("xt_began")), next]))?;
        let more = [("xt_began", Expr::left("xt_began")), ("xt_until", Expr::right("xt_batch_id")), ("xt_deleted", Expr::int(1))];
        let on_next = [("xt_next".to_owned(), "xt_ordinal".to_owned())];
        let stays = stays.join(JoinKind::Left, batches.clone(), &on_next, with(left(&self.keys), more))?;
        Ok(steps.add(&name("stays"), stays))
    }

    /// The versions of the keys whose landed rows, of all batches, are `rows`.
    pub(super) fn versions(&self, steps: &mut Steps, prefix: &str, rows: Rel) -> Result<Rel, RelError> {
        let name = |step: &str| format!("{prefix}{step}");
        let unique = self.unique(steps, prefix, rows)?;
        let batches = Self::batches(steps)?;
        let on_batch = [("xt_batch_id".to_owned(), "xt_batch_id".to_owned())];
        let is_of_time = |name: &String| unique.accepted.columns().iter().any(|column| column.name == *name && column.ty == self.time);
        let time = match &self.effective {
            Some(column) if is_of_time(column) => Expr::left(column),
            Some(column) => Expr::left(column).cast(self.time),
            None => Expr::right("xt_processed_at"),
        };
        let of_batch = || [("xt_batch_id", Expr::left("xt_batch_id")), ("xt_processed_at", Expr::right("xt_processed_at"))];
        let more = of_batch().into_iter().chain([("xt_time", time), ("xt_gone", Expr::int(0))]);
        let live = unique.accepted.clone().filter(self.is_live())?;
        let shown = live.join(JoinKind::Inner, batches.clone(), &on_batch, with(left(&self.columns), more))?;

        // A life of a key goes from what brings it to what deletes it. None begins before the one before it is closed.
        let per_life = self.by(&["xt_life"]);
        let (rows, closings) = if self.closes && self.can_delete() {
            let ends = Expr::column("xt_deleted").eq(Expr::int(1)).and(Expr::column("xt_until").is_null().not());
            let stays = self.stays(steps, prefix, &unique, &batches)?.filter(ends)?;
            let nothing = shown.columns().iter().filter(|column| self.columns.contains(&column.name));
            let nothing = nothing.map(|column| match self.keys.contains(&column.name) {
                true => (column.name.clone(), Expr::left(&column.name)),
                false => (column.name.clone(), Expr::null(column.ty)),
            });
            let executed = self.executed(Expr::right("xt_processed_at"));
            let more = [
                ("xt_batch_id", Expr::right("xt_batch_id")),
                ("xt_processed_at", Expr::right("xt_processed_at")),
                ("xt_time", executed),
                ("xt_gone", Expr::int(1)),
            ];
            let on_end = [("xt_until".to_owned(), "xt_batch_id".to_owned())];
            let deleted = stays.join(JoinKind::Inner, batches, &on_end, with(nothing.collect(), more))?;
            let closing = Expr::case(vec![(Expr::column("xt_gone").eq(Expr::int(1)), Expr::column("xt_closing"))], None);
            let mut lives = Rel::union(vec![shown, deleted])?;
            for (column, function) in [
                ("xt_closing", WindowFunction::RunningMax(Expr::column("xt_time"))),
                ("xt_life", WindowFunction::RunningSum(Expr::column("xt_gone"))),
                ("xt_opening", WindowFunction::RunningMax(closing)),
            ] {
                lives = lives.window(column, function, &self.keys, ascending(&["xt_batch_id"]))?;
            }
            let lives = steps.add(&name("lives"), lives);
            let is_gone = |gone: i64| Expr::column("xt_gone").eq(Expr::int(gone));
            let life = Expr::column("xt_life").minus(Expr::int(1));
            let closings = lives.clone().filter(is_gone(1))?;
            let closings = closings.project(with(own(&self.keys), [("xt_life", life), ("xt_until", Expr::column("xt_closing"))]))?;
            (lives.filter(is_gone(0))?, Some(closings))
        } else {
            let names: Vec<String> = shown.column_names().map(str::to_owned).collect();
            (shown.project(with(own(&names), [("xt_life", Expr::int(0)), ("xt_opening", Expr::null(self.time))]))?, None)
        };

        // What is said of each time in the end, and the first batch that said so without being contradicted.
        let said = match &self.effective {
            None => rows,
            Some(_) => {
                let said: Vec<String> = self.tracked.iter().chain(&self.type1).cloned().collect();
                let per_time = self.by(&["xt_life", "xt_time"]);
                last(changes(rows, &said, &per_time, "xt_batch_id")?, &per_time, "xt_batch_id")?
            }
        };
        let said = if self.type1.is_empty() { said } else { steps.add(&name("said"), said) };
        let latest = (!self.type1.is_empty()).then(|| self.latest(said.clone())).transpose()?;

        let begins = (Expr::column("xt_opening").gt(Expr::column("xt_time")), Expr::column("xt_opening"));
        let begins = Expr::case(vec![begins], Some(Expr::column("xt_time")));
        let kept: Vec<String> =
            self.columns.iter().cloned().chain(["xt_batch_id", "xt_processed_at", "xt_life"].map(str::to_owned)).collect();
        let timed = |more: Vec<(&'static str, Expr)>| with(own(&kept), more.into_iter().chain([("xt_begins", begins.clone())]));
        let begun = match closings {
            None => said.project(timed(vec![("xt_until", Expr::null(self.time))]))?,
            Some(closings) => {
                // Of what is said of times before the life begins, the latest counts; what begins when it ends never was in effect.
                let points = said.project(timed(vec![("xt_time", Expr::column("xt_time"))]))?;
                let points = last(points, &self.by(&["xt_life", "xt_begins"]), "xt_time")?;
                let more = [("xt_begins", Expr::left("xt_begins")), ("xt_until", Expr::right("xt_until"))];
                let points = points.join(JoinKind::Left, closings, &pairs(&per_life), with(left(&kept), more))?;
                points.filter(Expr::column("xt_begins").is_distinct(Expr::column("xt_until")))?
            }
        };
        let begun = changes(begun, &self.tracked, &per_life, "xt_begins")?
            .window("xt_version", WindowFunction::RowNumber, &self.keys, ascending(&["xt_life", "xt_begins"]))?
            .window("xt_next", WindowFunction::Lead(Expr::column("xt_begins")), &per_life, ascending(&["xt_begins"]))?;
        let end = || Expr::coalesce(vec![Expr::column("xt_next"), Expr::column("xt_until")]);
        let version = begun.project(with(
            own(&self.columns),
            [
                ("xt_version", Expr::column("xt_version")),
                ("xt_effective_from", Expr::column("xt_begins")),
                ("xt_effective_to", end()),
                ("xt_is_current", end().is_null()),
                ("xt_batch_id", Expr::column("xt_batch_id")),
                ("xt_processed_at", Expr::column("xt_processed_at")),
            ],
        ))?;
        let Some(latest) = latest else { return Ok(version) };
        let names: Vec<String> = version.column_names().map(str::to_owned).collect();
        let overwritten = names.iter().map(|name| match self.type1.contains(name) {
            true => (name.clone(), Expr::right(name)),
            false => (name.clone(), Expr::left(name)),
        });
        version.join(JoinKind::Inner, latest, &pairs(&self.keys), overwritten.collect())
    }

    /// Of each key the type-1 values that hold: those of the greatest time of its last life.
    fn latest(&self, said: Rel) -> Result<Rel, RelError> {
        let descending = |name: &str| Order { by: Expr::column(name), descending: true };
        let values: Vec<String> = self.keys.iter().chain(&self.type1).cloned().collect();
        let order = vec![descending("xt_life"), descending("xt_time")];
        let ranked = said.project(with(own(&values), [("xt_life", Expr::column("xt_life")), ("xt_time", Expr::column("xt_time"))]))?;
        let ranked = ranked.window("xt_rank", WindowFunction::RowNumber, &self.keys, order)?;
        ranked.filter(Expr::column("xt_rank").eq(Expr::int(1)))?.select(values)
    }
}
