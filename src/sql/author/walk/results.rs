//! What the parts of a query give, once all that they read is known.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the parser's many nodes, few give columns")]

use sqlparser::ast::{
    Expr, Function, FunctionArgumentClause, FunctionArguments, Ident, NamedWindowExpr, ObjectNamePart, OrderByExpr, OrderByKind, Query,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableAlias, Value, WildcardAdditionalOptions, WindowSpec, WindowType,
};

use super::{
    super::{
        Case, Wrong,
        parts::ident_mut,
        scope::{Found, Named, Scope, is_named},
        types::wider,
    },
    Columns, Frame, Kept, Walk, place,
};

impl Walk<'_> {
    /// The names that a SELECT gives to its results, each with its expression's place.
    pub(super) fn aliases(&self, select: &mut Select) -> Vec<(Named, usize)> {
        let mut aliases = Vec::new();
        for item in &mut select.projection {
            if let SelectItem::ExprWithAlias { expr, alias } = item {
                aliases.push((Named { name: self.given_name(alias), ty: None }, place(expr)));
                self.keep(alias);
            }
        }
        aliases
    }

    /// What a SELECT gives.
    fn results(&self, select: &mut Select, scope: &Scope) -> Result<Columns, Wrong> {
        let mut results = Vec::new();
        for item in &mut select.projection {
            match item {
                SelectItem::ExprWithAlias { expr, alias } => {
                    results.push(Named { name: self.given_name(alias), ty: self.kinds.of(expr) });
                }
                SelectItem::UnnamedExpr(expr) => {
                    let name = named(expr).map_or_else(String::new, |ident| self.given_name(ident));
                    results.push(Named { name, ty: self.kinds.of(expr) });
                }
                SelectItem::Wildcard(options) => match self.wildcard(scope.all(), options, scope)? {
                    Some(columns) => results.extend(columns),
                    None => return Ok(None),
                },
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    let parts: Vec<Ident> = name.0.iter().filter_map(ObjectNamePart::as_ident).cloned().collect();
                    let Some(relation) = scope.relation(&parts, self.case) else { return Ok(None) };
                    for (part, own) in name.0.iter_mut().rev().zip(relation.name.iter().rev()) {
                        if let ObjectNamePart::Identifier(part) = part {
                            self.write(part, own);
                        }
                    }
                    let columns = (!relation.open).then(|| relation.columns.iter().map(|(column, _)| column.clone()).collect());
                    match self.wildcard(columns, options, scope)? {
                        Some(columns) => results.extend(columns),
                        None => return Ok(None),
                    }
                }
                SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. } => return Ok(None),
            }
        }
        Ok(Some(results))
    }

    /// What is left of the columns that a `*` stands for.
    fn wildcard(&self, columns: Columns, options: &mut WildcardAdditionalOptions, scope: &Scope) -> Result<Columns, Wrong> {
        use sqlparser::ast::{ExcludeSelectItem, RenameSelectItem};
        let exact = |ident: &mut Ident| -> Result<(), Wrong> {
            if let Found::Column(column, _) = scope.column(ident, self.case)? {
                self.write(ident, &column.name);
            }
            Ok(())
        };
        let mut left_out: Vec<&mut Ident> = match &mut options.opt_exclude {
            Some(ExcludeSelectItem::Single(name)) => name.0.last_mut().and_then(ident_mut).into_iter().collect(),
            Some(ExcludeSelectItem::Multiple(names)) => names.iter_mut().filter_map(|name| name.0.last_mut().and_then(ident_mut)).collect(),
            None => Vec::new(),
        };
        if let Some(except) = &mut options.opt_except {
            left_out.push(&mut except.first_element);
            left_out.extend(&mut except.additional_elements);
        }
        left_out.iter_mut().try_for_each(|ident| exact(ident))?;
        let mut columns = columns;
        if let Some(columns) = &mut columns {
            columns.retain(|column| !left_out.iter().any(|ident| is_named(&column.name, ident, self.case)));
        }
        let mut renamed: Vec<(&mut Ident, &mut Ident)> = match &mut options.opt_rename {
            Some(RenameSelectItem::Single(one)) => vec![(&mut one.ident, &mut one.alias)],
            Some(RenameSelectItem::Multiple(all)) => all.iter_mut().map(|one| (&mut one.ident, &mut one.alias)).collect(),
            None => Vec::new(),
        };
        for (ident, alias) in &mut renamed {
            exact(ident)?;
            if let Some(column) = columns.iter_mut().flatten().find(|column| is_named(&column.name, ident, self.case)) {
                column.name = self.given_name(alias);
            }
            self.keep(alias);
        }
        for item in options.opt_replace.iter_mut().flat_map(|replace| &mut replace.items) {
            exact(&mut item.column_name)?;
            if let Some(column) = columns.iter_mut().flatten().find(|column| is_named(&column.name, &item.column_name, self.case)) {
                column.ty = self.kinds.of(&item.expr);
            }
        }
        Ok(if options.opt_ilike.is_some() { None } else { columns })
    }

    /// What a query's body gives, once all of its parts are done.
    fn body(&self, body: &SetExpr) -> Columns {
        // The names are those of the first part; deep chains of parts lean to the left.
        let (mut left, mut rights) = (body, Vec::new());
        while let SetExpr::SetOperation { left: inner, right, .. } = left {
            rights.push(&**right);
            left = inner;
        }
        let mut columns = match left {
            SetExpr::Select(select) => self.given.get(&place(&**select)).cloned().flatten(),
            SetExpr::Query(query) => self.given.get(&place(&**query)).cloned().flatten(),
            _ => None,
        }?;
        for right in rights {
            let other = self.body(right);
            for (place, column) in columns.iter_mut().enumerate() {
                let other = other.as_ref().and_then(|columns| columns.get(place)).and_then(|column| column.ty);
                column.ty = wider(column.ty, other);
            }
        }
        Some(columns)
    }

    /// Brings what the parts of a UNION give to the types of all of it.
    fn widen(&mut self, body: &mut SetExpr, columns: &[Named]) -> Result<(), Wrong> {
        let mut parts = vec![body];
        while let Some(part) = parts.pop() {
            match part {
                SetExpr::SetOperation { left, right, .. } => parts.extend([&mut **left, &mut **right]),
                SetExpr::Query(query) => parts.push(&mut query.body),
                SetExpr::Select(select) => {
                    let own = self.given.get(&place(&**select)).cloned().flatten();
                    let differ = |(place, column): (usize, &Named)| {
                        let ty = own.as_ref().and_then(|own| own.get(place)).and_then(|own| own.ty);
                        column.ty.filter(|wanted| ty != Some(*wanted)).map(|wanted| (place, ty, wanted))
                    };
                    let names = self.result_names(select);
                    for (place, ty, wanted) in columns.iter().enumerate().filter_map(differ) {
                        let plain = select.projection.len() == columns.len();
                        match select.projection.get_mut(place).filter(|_| plain) {
                            Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => {
                                self.rules.widened(expr, ty, wanted)?;
                            }
                            _ => self.rules.widened(&mut Expr::Wildcard(select.select_token.clone()), ty, wanted)?,
                        }
                    }
                    self.keep_names(select, names);
                }
                _ => (),
            }
        }
        Ok(())
    }

    fn sort_keys(&mut self, keys: &mut [OrderByExpr], results: Option<&[Named]>) {
        for key in keys {
            let by_place = match (&key.expr, results) {
                (Expr::Value(value), Some(results)) => {
                    value.to_string().parse::<usize>().ok().and_then(|at| results.get(at.checked_sub(1)?)).map(|result| result.ty)
                }
                _ => None,
            };
            let ty = by_place.unwrap_or_else(|| self.kinds.of(&key.expr));
            self.rules.sort_key(&mut key.expr, ty);
        }
    }

    pub(super) fn function_keys(&mut self, function: &mut Function) {
        if let Some(WindowType::WindowSpec(spec)) = &mut function.over {
            self.window_keys(spec);
        }
        if let FunctionArguments::List(list) = &mut function.args {
            for clause in &mut list.clauses {
                if let FunctionArgumentClause::OrderBy(keys) = clause {
                    self.sort_keys(keys, None);
                }
            }
        }
        self.sort_keys(&mut function.within_group, None);
    }

    fn window_keys(&mut self, spec: &mut WindowSpec) {
        self.sort_keys(&mut spec.order_by, None);
    }

    /// What results without a name are called.
    pub(super) fn result_names(&self, select: &Select) -> Vec<Option<String>> {
        select.projection.iter().map(|item| self.result_name(item)).collect()
    }

    fn result_name(&self, item: &SelectItem) -> Option<String> {
        let SelectItem::UnnamedExpr(expr) = item else { return None };
        let name = self.rules.result_name(expr)?;
        Some(named(expr).map_or(name, |ident| ident.value.clone()))
    }

    fn keep_names(&self, select: &mut Select, names: Vec<Option<String>>) {
        for (item, name) in select.projection.iter_mut().zip(names) {
            let changed = name.is_some() && self.result_name(item) != name;
            if let (SelectItem::UnnamedExpr(expr), Some(name)) = (&mut *item, name.filter(|_| changed)) {
                let expr = std::mem::replace(expr, Expr::Value(Value::Null.into()));
                *item = SelectItem::ExprWithAlias { expr, alias: crate::ident('"', &name) };
            }
        }
    }

    pub(super) fn end_of_select(&mut self, select: &mut Select) -> Result<(), Wrong> {
        let Some(Frame::Select(mut scope, Kept { from, names })) = self.frames.pop() else { return Ok(()) };
        select.from = from;
        for window in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = &mut window.1 {
                self.window_keys(spec);
            }
        }
        let results = self.results(select, &scope)?;
        self.keep_names(select, names);
        let all = results.iter().flatten().filter(|result| !result.name.is_empty());
        scope.aliases = all.map(|result| (result.clone(), 0)).collect();
        scope.results_first = true;
        self.given.insert(place(select), results.clone());
        let case = self.case;
        // What a recursive WITH reads of itself is what its first part gives.
        let mut frames = self.frames.iter_mut().rev().filter_map(|frame| match frame {
            Frame::Query(within) => Some(within),
            Frame::Select(..) => None,
        });
        if let Some(own) = frames.next() {
            own.order.get_or_insert(scope);
        }
        if let Some(outer) = frames.next().filter(|outer| outer.recursive)
            && let Some((alias, _)) = outer.expected.get(outer.tables.len())
            && !outer.tables.iter().any(|(name, _)| is_named(name, &alias.name, case))
        {
            let (name, columns) = (alias.name.value.clone(), listed(results, alias));
            outer.tables.push((name, columns));
        }
        Ok(())
    }

    pub(super) fn end_of_query(&mut self, query: &mut Query) -> Result<(), Wrong> {
        let Some(Frame::Query(_)) = self.frames.pop() else { return Ok(()) };
        let columns = self.body(&query.body);
        if let (SetExpr::SetOperation { .. }, Some(columns)) = (&*query.body, &columns) {
            self.widen(&mut query.body, columns)?;
        }
        if let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|order| &mut order.kind) {
            self.sort_keys(keys, columns.as_deref());
        }
        let at = place(query);
        let case = self.case;
        if let Some(Frame::Query(outer)) = self.frames.last_mut()
            && let Some((alias, _)) = outer.expected.iter().find(|(_, own)| *own == at)
        {
            let name = if case == Case::Lower && alias.name.quote_style.is_none() {
                alias.name.value.to_lowercase()
            } else {
                alias.name.value.clone()
            };
            let known = listed(columns.clone(), alias);
            match outer.tables.iter_mut().find(|(own, _)| *own == name) {
                Some(own) => own.1 = known,
                None => outer.tables.push((name, known)),
            }
        }
        self.given.insert(at, columns);
        Ok(())
    }
}

/// The columns as an alias lists them.
fn listed(columns: Columns, alias: &TableAlias) -> Columns {
    if alias.columns.is_empty() {
        return columns;
    }
    let ty = |place: usize| columns.as_ref().and_then(|columns| columns.get(place)).and_then(|column| column.ty);
    Some(alias.columns.iter().enumerate().map(|(place, column)| Named { name: column.name.value.clone(), ty: ty(place) }).collect())
}

/// The name of a result that has none of its own.
fn named(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(parts) => parts.last(),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => named(inner),
        _ => None,
    }
}
