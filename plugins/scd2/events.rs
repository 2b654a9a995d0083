//! From all that was landed of some keys to what acts on their versions, and when.

use qetl_core::{
    Type,
    input::{BatchMode, OnDuplicateKey, OnNullKey},
    ir::{Expr, Function, JoinKind, Rel, RelError, Steps, WindowFunction},
};

use crate::keyed::{Identity, Unique, unique, with_all};

use super::{
    roles::{Roles, down, flag, is, left, own, up, with},
    sweeps::AROUND,
};

impl Roles {
    /// The recorded batches with the time that each was executed at, as an effective one; in snapshots, with the batches before
    /// and after it.
    pub(super) fn batches(&self, steps: &mut Steps) -> Result<Rel, RelError> {
        let by_id = || vec![up("xt_batch_id")];
        // Times that an older qetl recorded may fall where absence deletes.
        let executed = WindowFunction::RunningMax(Expr::column("xt_processed_at"));
        let batches = Rel::batches().window("xt_executed", executed, &[], by_id())?;
        let executed = Expr::column("xt_executed");
        let executed = if self.time == Type::Date { executed.call(Function::DateIn { zone: "UTC".to_owned() }) } else { executed };
        let known = ["xt_batch_id", "xt_processed_at"].map(str::to_owned);
        let mut batches = batches.project(with(own(&known), [("xt_executed", executed)]))?;
        if self.mode == BatchMode::Snapshot {
            batches = batches.window("xt_swept_before", WindowFunction::Lag(Expr::column("xt_executed")), &[], by_id())?;
            for (name, of) in [("xt_swept_after", "xt_executed"), ("xt_swept_after_id", "xt_batch_id")] {
                batches = batches.window(name, WindowFunction::Lead(Expr::column(of)), &[], by_id())?;
            }
        }
        Ok(steps.add_small("batches", batches))
    }

    /// One row for each batch, key, effective time and sequence. `rows` are a step's, and stand in landing.
    pub(super) fn unique(&self, steps: &mut Steps, prefix: &str, rows: Rel) -> Result<Unique, RelError> {
        let identity = self.identity();
        let mut compared = self.columns.clone();
        compared.extend(identity.iter().filter(|name| !self.columns.contains(name)).cloned());
        let rows = match self.nulls {
            OnNullKey::Fail => rows,
            OnNullKey::Park => steps.add(&format!("{prefix}complete"), self.complete(rows)?),
        };
        unique(steps, prefix, rows, &Identity { keys: &identity, sequence: &[], columns: &compared, policy: self.duplicates })
    }

    /// The rows that are not parked for a NULL.
    pub(super) fn complete(&self, rows: Rel) -> Result<Rel, RelError> {
        match self.nulls {
            OnNullKey::Fail => Ok(rows),
            OnNullKey::Park => with_all(rows, &self.identity()),
        }
    }

    /// The rows that count, with `xt_live`, 0 for a mark; `xt_own`, their effective time; and what is known of their batch.
    ///
    /// With `landing`, all landed rows, it is told which batches around a row can miss its key. Then there are also rows for keys of
    /// which rows were parked, with 0 in `xt_is_row`: such a key is not missing.
    pub(super) fn shown(&self, steps: &mut Steps, prefix: &str, rows: Rel, landing: Option<Rel>) -> Result<Rel, RelError> {
        let unique = self.unique(steps, prefix, rows.clone())?;
        let parked = if landing.is_some() { self.parked(&unique, rows)? } else { None };
        let batches = self.batches(steps)?;
        let live = self.marked.clone().map_or_else(|| Expr::int(1), |marked| flag(marked.not()));
        let names: Vec<String> = self.columns.iter().cloned().chain(["xt_batch_id".to_owned()]).collect();
        let mut accepted = with(own(&names), [("xt_live", live), ("xt_is_row", Expr::int(1))]);
        accepted.extend(self.values.iter().cloned());
        let mut shown = unique.accepted.project(accepted)?;
        if let Some(parked) = parked {
            let nothing = shown.columns().iter().map(|column| {
                let value = match column.name.as_str() {
                    "xt_live" | "xt_is_row" => Expr::int(0),
                    name if name == "xt_batch_id" || self.keys.iter().any(|key| key == name) => Expr::column(name),
                    _ => Expr::null(column.ty),
                };
                (column.name.clone(), value)
            });
            let parked = parked.project(nothing.collect())?;
            shown = Rel::union(vec![shown, parked])?;
        }
        let effective = shown.columns().iter().find(|column| Some(&column.name) == self.effective.as_ref());
        let time = match effective {
            Some(column) if column.ty == self.time => Expr::left(&column.name),
            Some(column) => Expr::left(&column.name).cast(self.time),
            None => Expr::right("xt_executed"),
        };
        let mut of_batch = vec!["xt_processed_at", "xt_executed"];
        if landing.is_some() && self.values.is_empty() {
            of_batch.extend(AROUND);
        }
        let of_batch = of_batch.into_iter().map(|name| (name, Expr::right(name))).chain([("xt_own", time)]);
        let kept: Vec<String> = shown.column_names().map(str::to_owned).collect();
        let on_batch = [("xt_batch_id".to_owned(), "xt_batch_id".to_owned())];
        let mut shown = shown.join(JoinKind::Inner, batches.clone(), &on_batch, with(left(&kept), of_batch))?;
        if let Some(landing) = landing.filter(|_| !self.values.is_empty()) {
            shown = self.with_sweeps(steps, prefix, shown, landing, batches)?;
        }
        Ok(steps.add(&format!("{prefix}shown"), shown))
    }

    /// The keys and batches of rows that were parked, if there may be any.
    fn parked(&self, unique: &Unique, rows: Rel) -> Result<Option<Rel>, RelError> {
        let by = self.by(&["xt_batch_id"]);
        let mut parked = Vec::new();
        if let (OnDuplicateKey::Park, Some(conflicting)) = (self.duplicates, &unique.conflicting) {
            parked.push(conflicting.clone().select(&by)?);
        }
        let more: Vec<&String> = self.effective.iter().chain(&self.sequence).collect();
        if self.nulls == OnNullKey::Park && !more.is_empty() {
            let lacks = Expr::any(more.into_iter().map(|column| Expr::column(column).is_null()));
            parked.push(with_all(rows.clone().filter(lacks)?, &self.keys)?.select(&by)?);
        }
        if let Some(bad) = &self.bad {
            let known = rows.select(&self.keys)?;
            let bad = with_all(bad.rows.clone(), &self.keys)?.select(&by)?.semi(known, &self.keys)?;
            // Another row shows the key already.
            parked.push(bad.anti(unique.accepted.clone().select(&by)?, &by)?);
        }
        if parked.is_empty() {
            return Ok(None);
        }
        Rel::union(parked)?.aggregate(&by, Vec::new()).map(Some)
    }

    /// Adds where the stays of a key begin and end. A stay goes from a batch that shows the key to the last one before it is
    /// missing: `xt_stay`, its number; `xt_gone_at`, when the key was missing last before it; `xt_returned_at`, when it came back;
    /// `xt_ends_at`, when it is missing after it.
    fn with_stays(&self, shown: Rel) -> Result<Rel, RelError> {
        let names: Vec<String> = shown.column_names().map(str::to_owned).collect();
        let column = Expr::column;
        let one = |name: &str, function: WindowFunction| [(name.to_owned(), function)];
        let in_order = self.order(&[up("xt_batch_id"), up("xt_own")], false, &[]);
        let backwards = self.order(&[down("xt_batch_id"), down("xt_own")], true, &[]);
        let per_stay = self.by(&["xt_stay"]);

        let placed = shown.windows(one("xt_shown_next", WindowFunction::Lead(column("xt_batch_id"))), &self.keys, &in_order)?.windows(
            one("xt_lived", WindowFunction::RunningMax(column("xt_live"))),
            &self.keys,
            &in_order,
        )?;
        let next = || column("xt_shown_next");
        let goes = column("xt_swept_after_id").is_null().not().and(next().is_null().or(column("xt_swept_after_id").lt(next())));
        let goes = is("xt_lived", 1).and(goes);
        let gone_after = Expr::case(vec![(goes.clone(), column("xt_swept_after"))], None);
        let placed = placed
            .project(with(own(&names), [("xt_goes", flag(goes)), ("xt_gone_after", gone_after)]))?
            .windows(one("xt_gaps", WindowFunction::RunningSum(column("xt_goes"))), &self.keys, &in_order)?
            .windows(one("xt_went", WindowFunction::Lag(column("xt_goes"))), &self.keys, &in_order)?;
        let gone_before = Expr::case(vec![(is("xt_went", 1), column("xt_swept_before"))], None);
        let more = [
            ("xt_gone_after", column("xt_gone_after")),
            ("xt_gone_before", gone_before),
            ("xt_stay", column("xt_gaps").minus(column("xt_goes"))),
        ];
        let mut stays = placed.project(with(own(&names), more))?;
        let mut more = vec!["xt_stay", "xt_ends_at"];
        if self.effective.is_some() {
            stays = stays
                .windows(one("xt_gone_at", WindowFunction::RunningMax(column("xt_gone_before"))), &self.keys, &in_order)?
                .windows(one("xt_lives", WindowFunction::RunningSum(column("xt_live"))), &per_stay, &in_order)?;
            let is_first = is("xt_live", 1).and(is("xt_lives", 1));
            let first = Expr::case(vec![(is_first, column("xt_executed"))], None);
            let all: Vec<String> = stays.column_names().map(str::to_owned).collect();
            stays = stays.project(with(own(&all), [("xt_first", first)]))?;
            stays = stays.windows(one("xt_returned_at", WindowFunction::RunningMax(column("xt_first"))), &per_stay, &in_order)?;
            more.extend(["xt_gone_at", "xt_returned_at"]);
        }
        let stays = stays.windows(one("xt_ends_at", WindowFunction::RunningMax(column("xt_gone_after"))), &per_stay, &backwards)?;
        let more = more.into_iter().map(|name| (name, column(name)));
        stays.filter(is("xt_is_row", 1))?.project(with(own(&names), more))
    }

    /// What acts on the versions of the keys whose landed rows, of all batches, are `rows`: input columns, `xt_batch_id`,
    /// `xt_processed_at`, `xt_live`, `xt_own`, and `xt_time`, when it acts. Where absence deletes, `xt_stay` and `xt_ends_at`, which
    /// is NULL for a stay that lasts: none of the rows acts then or later.
    pub(super) fn events(&self, steps: &mut Steps, prefix: &str, rows: Rel, landing: Rel) -> Result<Rel, RelError> {
        let shown = self.shown(steps, prefix, rows, Some(landing).filter(|_| self.absence_deletes()))?;
        let mut kept = self.columns.clone();
        kept.extend(["xt_batch_id", "xt_processed_at", "xt_live", "xt_own"].map(str::to_owned));
        let column = Expr::column;
        if !self.absence_deletes() {
            let shown = if self.closes { shown } else { shown.filter(is("xt_live", 1))? };
            let events = shown.project(with(own(&kept), [("xt_time", column("xt_own"))]))?;
            return Ok(steps.add(&format!("{prefix}events"), events));
        }
        let stays = steps.add(&format!("{prefix}stays"), self.with_stays(shown)?);
        kept.extend(["xt_stay", "xt_ends_at"].map(str::to_owned));
        if self.effective.is_none() {
            let events = stays.project(with(own(&kept), [("xt_time", column("xt_own"))]))?;
            return Ok(steps.add(&format!("{prefix}events"), events));
        }
        // Of a key that came back, a row from before it was missing acts when it came back.
        let is_old = is("xt_live", 1).and(column("xt_own").lt_eq(column("xt_gone_at")));
        let time = Expr::case(vec![(is_old.clone(), column("xt_returned_at"))], Some(column("xt_own")));
        let acting = stays.project(with(own(&kept), [("xt_time", time), ("xt_old", flag(is_old))]))?;
        let lasts = column("xt_ends_at").is_null().or(column("xt_time").lt(column("xt_ends_at")));
        let acting = acting.filter(is("xt_live", 0).or(lasts))?;
        // One of them for each batch.
        let newest = self.order(&[down("xt_own")], true, &[]);
        let acting = acting.window("xt_rank", WindowFunction::RowNumber, &self.by(&["xt_batch_id", "xt_old"]), newest)?;
        let acting = acting.filter(is("xt_old", 0).or(is("xt_rank", 1)))?;
        let events = acting.project(with(own(&kept), [("xt_time", column("xt_time"))]))?;
        Ok(steps.add(&format!("{prefix}events"), events))
    }
}
