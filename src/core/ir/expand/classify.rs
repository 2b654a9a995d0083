//! Classification in joins.

use crate::{
    ir::{Classify, Expr, Gone, JoinKind, Rel, RelError, Steps},
    schema::Type,
};

/// Where every key that is missing is gone, both sides are joined once. Else two steps, the keys that are there and the keys
/// that are gone, and their union: so a state that is much larger than the current rows is not read as a whole.
pub(super) fn classified(step: &str, classify: &Classify, steps: &mut Steps) -> Result<Rel, RelError> {
    let Classify { current, state, keys, gone, .. } = classify;
    let words = Words { classify };
    let on: Vec<(String, String)> = keys.iter().map(|key| (key.clone(), key.clone())).collect();
    let named = match gone {
        Gone::AllExcept(kept) => {
            let state = kept.iter().try_fold(state.clone(), |state, kept| state.anti(kept.clone(), keys))?;
            return words.joined(current.clone(), state, JoinKind::Full, &on);
        }
        Gone::Only(named) => named,
    };
    let there = words.joined(current.clone(), state.clone(), JoinKind::Left, &on)?;
    let Some(named) = named else { return Ok(there) };
    let there = steps.add(&format!("{step}_there"), there);
    let live = state.clone().filter(Expr::column("xt_record_type").not_eq(Expr::text("DELETED")))?;
    let last_known = classify.columns().map(|column| (column.name.clone(), Expr::column(&column.name)));
    let deleted = [("xt_record_type".to_owned(), Expr::text("DELETED")), ("xt_changed_columns".to_owned(), Expr::null(Type::Text))];
    let gone = live.semi(named.clone(), keys)?.anti(current.clone(), keys)?.project(last_known.chain(deleted).collect())?;
    let gone = steps.add(&format!("{step}_gone"), gone);
    Rel::union(vec![there, gone])
}

/// What is said of a key, where the current rows stand on the left and the state on the right.
struct Words<'a> {
    classify: &'a Classify,
}

impl Words<'_> {
    fn joined(&self, current: Rel, state: Rel, kind: JoinKind, on: &[(String, String)]) -> Result<Rel, RelError> {
        let names: Vec<&str> = self.classify.columns().map(|column| column.name.as_str()).collect();
        let may_be_gone = kind == JoinKind::Full || self.classify.marked.is_some();
        let is_gone = may_be_gone.then(|| self.is_gone(kind));
        let values = names.iter().map(|name| ((*name).to_owned(), self.value(name, kind, is_gone.as_ref())));
        let columns = values.chain(self.result(is_gone.as_ref()));
        let Some(is_gone) = is_gone.clone() else { return current.join(kind, state, on, columns.collect()) };
        let was_live = Expr::right("xt_record_type").not_eq(Expr::text("DELETED"));
        let has_row = ("xt_has_row".to_owned(), is_gone.not().or(was_live));
        let rows = current.join(kind, state, on, columns.chain([has_row]).collect())?.filter(Expr::column("xt_has_row"))?;
        rows.select(names.into_iter().chain(["xt_record_type", "xt_changed_columns"]))
    }

    fn is_absent(&self) -> Expr {
        Expr::left(&self.classify.keys[0]).is_null()
    }

    fn is_gone(&self, kind: JoinKind) -> Expr {
        let absent = (kind == JoinKind::Full).then(|| self.is_absent());
        Expr::any(absent.into_iter().chain(self.classify.marked.as_deref().map(Expr::left)))
    }

    fn value(&self, name: &str, kind: JoinKind, is_gone: Option<&Expr>) -> Expr {
        let is_in = |names: &[String]| names.iter().any(|other| other == name);
        // What stands in the current row whenever there is one.
        let is_own = is_in(&self.classify.keys) || is_in(&self.classify.of_mark);
        let from_state = if is_own { (kind == JoinKind::Full).then(|| self.is_absent()) } else { is_gone.cloned() };
        match from_state {
            Some(from_state) => Expr::case(vec![(from_state, Expr::right(name))], Some(Expr::left(name))),
            None => Expr::left(name),
        }
    }

    fn result(&self, is_gone: Option<&Expr>) -> [(String, Expr); 2] {
        let was = || Expr::right("xt_record_type");
        let tracked = &self.classify.tracked;
        let differs = |column: &String| self.classify.differs(column);
        let there = [
            (was().is_null(), Expr::text("NEW")),
            (was().eq(Expr::text("DELETED")), Expr::text("REACTIVATED")),
            (Expr::any(tracked.iter().map(differs)), Expr::text("CHANGED")),
        ];
        let record_type = is_gone.cloned().map(|is_gone| (is_gone, Expr::text("DELETED"))).into_iter().chain(there).collect();
        let changed = Expr::JoinText {
            separator: ",".to_owned(),
            parts: tracked.iter().map(|column| Expr::case(vec![(differs(column), Expr::text(column))], None)).collect(),
        };
        let has_no_changes = Expr::any(is_gone.cloned().into_iter().chain([was().is_null()]));
        [
            ("xt_record_type".to_owned(), Expr::case(record_type, Some(Expr::text("STALE")))),
            ("xt_changed_columns".to_owned(), Expr::case(vec![(has_no_changes, Expr::null(Type::Text))], Some(changed))),
        ]
    }
}
