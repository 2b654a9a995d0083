//! From relations to SELECTs with names.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use qetl_core::{
    DatasetName, Schema,
    ir::{AggregateFunction, AsOf, Expr, JoinKind, Op, Order, Rel, Side, Steps, WindowFunction},
    schema::{Column, Type},
};

use crate::{
    Of, Parameters, Sql, Unsupported,
    block::{
        Block, Body, Computation, Condition, From, Item, Named, Recursive, Source, is_column, is_constant, map_columns, source_column,
        to_right, with_argument,
    },
    prepare::FILES,
};

/// What the list of a flow's batches is called.
const BATCHES: &str = "recorded_batches";

/// Steps as table expressions; the last body is the result. Only what is read is left.
pub(crate) fn compose(sql: &Sql<'_>, steps: &Steps) -> Result<(Vec<Named>, Body), Unsupported> {
    let names = steps.0.iter().map(|step| step.name.to_lowercase()).collect();
    let mut builder = Builder { sql, step: String::new(), named: Vec::new(), names, known: BTreeMap::new() };
    let Some((last, before)) = steps.0.split_last() else { unreachable!("there is a step") };
    for step in before {
        builder.step.clone_from(&step.name);
        let body = builder.body(&step.rel)?;
        if let Body::Select(block) = &body
            && let Some(same) = block.is_named()
        {
            builder.known.insert(step.name.clone(), same.to_owned());
            continue;
        }
        builder.named.push(Named { name: step.name.clone(), schema: step.rel.schema().clone(), body });
    }
    builder.step.clone_from(&last.name);
    let mut body = builder.body(&last.rel)?;
    if matches!(body, Body::Recursive(_)) {
        body = Body::Select(Box::new(builder.seal(body, last.rel.schema(), "rows")));
    }
    Ok((prune(builder.named, &body), body))
}

struct Builder<'a> {
    sql: &'a Sql<'a>,
    /// The step that is worked on.
    step: String,
    named: Vec<Named>,
    /// Names that are taken, in small letters.
    names: BTreeSet<String>,
    /// Steps that are another name of a table expression.
    known: BTreeMap<String, String>,
}

impl Builder<'_> {
    fn block(&mut self, rel: &Rel) -> Result<Block, Unsupported> {
        match self.body(rel)? {
            Body::Select(block) => Ok(*block),
            union @ Body::Union(_) => Ok(self.seal(union, rel.schema(), "parts")),
            batches @ Body::Batches => Ok(self.batches(batches, rel.schema())),
            recursive @ Body::Recursive(_) => {
                let hint = if matches!(recursive, Body::Recursive(Recursive::Periods { .. })) { "periods" } else { "found" };
                Ok(self.seal(recursive, rel.schema(), hint))
            }
        }
    }

    /// A block that meets a condition: this one, or all columns of it under a name.
    fn block_if(&mut self, rel: &Rel, fits: impl Fn(&Block) -> bool) -> Result<Block, Unsupported> {
        let block = self.block(rel)?;
        Ok(if fits(&block) { block } else { self.named(block) })
    }

    fn named(&mut self, block: Block) -> Block {
        let hint = match block.computed.first().map(|computed| &computed.what) {
            Some(Computation::Aggregate(_)) => "groups",
            Some(Computation::Window { .. }) => "windows",
            None if block.group.is_some() => "groups",
            None => "rows",
        };
        let schema = block.schema();
        self.seal(Body::Select(Box::new(block)), &schema, hint)
    }

    /// Gives a body a name and selects from it.
    fn seal(&mut self, body: Body, schema: &Schema, hint: &str) -> Block {
        let base = format!("{}_{hint}", self.step);
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        let free = std::iter::once(base.clone()).chain(numbered).find(|name| self.names.insert(name.to_lowercase()));
        let name = free.unwrap_or(base);
        self.named.push(Named { name: name.clone(), schema: schema.clone(), body });
        Block::of(Source { from: From::Named(name), schema: schema.clone() })
    }

    /// The list of batches stands once, whoever reads it.
    fn batches(&mut self, body: Body, schema: &Schema) -> Block {
        if self.names.insert(BATCHES.to_owned()) {
            self.named.push(Named { name: BATCHES.to_owned(), schema: schema.clone(), body });
        }
        Block::of(Source { from: From::Named(BATCHES.to_owned()), schema: schema.clone() })
    }

    /// A source that is nothing more.
    fn source(&mut self, rel: &Rel) -> Result<Source, Unsupported> {
        let block = self.block_if(rel, |block| block.is_named().is_some())?;
        let first = block.sources.into_iter().next();
        Ok(first.unwrap_or_else(|| unreachable!("a block that has a name has a source")))
    }

    fn body(&mut self, rel: &Rel) -> Result<Body, Unsupported> {
        let block = match &*rel.op {
            Op::Scan { dataset, as_of } => self.scan(rel, dataset, *as_of),
            Op::Ref { step } => {
                let name = self.known.get(step).unwrap_or(step).clone();
                Block::of(Source { from: From::Named(name), schema: rel.schema().clone() })
            }
            Op::Filter { input, predicate } => self.filter(input, predicate)?,
            Op::Project { input, columns } => self.project(rel, input, columns)?,
            Op::Join { kind: JoinKind::Semi, left, right, on, .. } => self.exists(left, right, on, false)?,
            Op::Join { kind: JoinKind::Anti, left, right, on, .. } => self.exists(left, right, on, true)?,
            Op::Join { kind, left, right, on, columns } => self.join(rel, *kind, left, right, on, columns)?,
            Op::Union(inputs) => return self.union(inputs),
            Op::Aggregate { input, keys, columns } => self.aggregate(rel, input, keys, columns)?,
            Op::Window { input, columns, partition, order } => self.window(rel, input, columns, partition, order)?,
            Op::Sort { input, order } => {
                let mut block = self.block_if(input, Block::renames)?;
                if !block.items.iter().all(|item| item.expr == Expr::left(&item.name)) {
                    block = self.named(block);
                }
                let names = block.names();
                let order = order.iter().map(|key| Order { by: names.inline(&key.by), ..key.clone() }).collect();
                block.order = order;
                block
            }
            Op::Limit { input, rows } => {
                let mut block = self.block_if(input, |block| block.limit.is_none())?;
                block.limit = Some(*rows);
                block
            }
            Op::Batches => return Ok(Body::Batches),
            Op::Periods { bounds, period, name } => {
                let bounds = self.source(bounds)?;
                return Ok(Body::Recursive(Recursive::Periods { bounds, period: *period, name: name.clone() }));
            }
            Op::Follow { input, begin, on } => {
                let columns = input.columns().to_vec();
                let input = self.source(input)?;
                let begin = map_columns(begin, &mut |_, name| Expr::left(name));
                return Ok(Body::Recursive(Recursive::Follow { input, begin, on: on.clone(), columns }));
            }
            Op::LatestPerKey(_) | Op::Classify(_) | Op::Sessionize(_) => unreachable!("expansion leaves plain operators"),
        };
        Ok(Body::Select(Box::new(block)))
    }

    fn scan(&self, rel: &Rel, dataset: &DatasetName, as_of: AsOf) -> Block {
        if let (Of::Parameters(parameters), "", FILES) = (self.sql.batch, dataset.namespace.as_str(), dataset.name.as_str()) {
            return recorded_files(parameters, rel);
        }
        let name = match as_of {
            AsOf::ReplacedBatch => self.sql.scratch(dataset, "replaced"),
            _ if dataset.namespace.is_empty() => self.sql.scratch_named(&dataset.name),
            AsOf::ThisBatch | AsOf::PreviousBatch | AsOf::BeforeThisBatch | AsOf::AfterThisBatch | AsOf::AllBatches => {
                (self.sql.table)(dataset)
            }
        };
        let mut block = Block::of(Source { from: From::Table(name), schema: rel.schema().clone() });
        let batch = Expr::left("xt_batch_id");
        let condition = match as_of {
            AsOf::ThisBatch => Some(Condition::Is(batch.eq(Expr::batch_id()))),
            AsOf::PreviousBatch => Some(Condition::Previous(batch)),
            AsOf::BeforeThisBatch => Some(Condition::Is(batch.lt(Expr::batch_id()))),
            AsOf::AfterThisBatch => Some(Condition::Is(batch.gt(Expr::batch_id()))),
            AsOf::AllBatches | AsOf::ReplacedBatch => None,
        };
        // The batch's id is there, whichever columns are asked for.
        if condition.is_some() && !rel.schema().has("xt_batch_id") {
            let columns = rel.columns().iter().cloned().chain([Column::new("xt_batch_id", Type::Int)]).collect();
            block.sources[0].schema = Schema::new(columns).unwrap_or_else(|name| unreachable!("`{name}` was not there"));
        }
        block.conditions.extend(condition);
        block
    }

    fn filter(&mut self, input: &Rel, predicate: &Expr) -> Result<Block, Unsupported> {
        let fits = |block: &Block| {
            let grouped = block.group.as_ref().is_some_and(|keys| !keys.is_empty());
            block.is_whole() && (block.is_of_rows() || grouped) && block.names().can_inline([predicate])
        };
        let mut block = self.block_if(input, fits)?;
        let predicate = block.names().inline(predicate);
        if block.group.is_some() {
            block.having.push(predicate);
        } else if predicate != Expr::all([]) {
            block.conditions.push(Condition::Is(predicate));
        }
        Ok(block)
    }

    fn project(&mut self, rel: &Rel, input: &Rel, columns: &[(String, Expr)]) -> Result<Block, Unsupported> {
        let fits = |block: &Block| {
            let names = block.names();
            // A name of a GROUP BY must not be that of another result.
            let grouped: HashSet<&str> = block.group.iter().flatten().filter_map(source_column).map(|(_, name)| name).collect();
            let renamed = columns.iter().all(|(name, expr)| !grouped.contains(name.as_str()) || is_column(&names.inline(expr)));
            let apart = block.has_windows() && !self.sql.dialect.computes_with_windows();
            let whole = !apart || columns.iter().all(|(_, expr)| is_column(expr));
            block.order.is_empty() && renamed && whole && names.can_inline(columns.iter().map(|(_, expr)| expr))
        };
        let mut block = self.block_if(input, fits)?;
        let names = block.names();
        let items = columns.iter().zip(rel.columns());
        let items = items.map(|((name, expr), column)| Item { name: name.clone(), expr: names.inline(expr), ty: column.ty }).collect();
        block.items = items;
        Ok(block)
    }

    fn exists(&mut self, left: &Rel, right: &Rel, on: &[(String, String)], negated: bool) -> Result<Block, Unsupported> {
        let keys = columns(on.iter().map(|(a, _)| a));
        let mut block = self.block_if(left, |block| block.is_of_rows() && block.names().can_inline(&keys))?;
        let right = self.block_if(right, |right| right.is_of_rows() && right.sources.len() == 1)?;
        let (own, other) = (block.names(), right.names());
        let on = on.iter().map(|(a, b)| (own.column(a), other.column(b))).collect();
        block.conditions.push(Condition::Exists { negated, right: Box::new(right), on });
        Ok(block)
    }

    fn join(
        &mut self,
        rel: &Rel,
        kind: JoinKind,
        left: &Rel,
        right: &Rel,
        on: &[(String, String)],
        columns: &[(String, Expr)],
    ) -> Result<Block, Unsupported> {
        // Constants and conditions of a side can stand in the whole, unless the side's rows may be missing.
        let whole = |block: &Block| {
            block.is_of_rows()
                && block.sources.len() == 1
                && block.items.iter().all(|item| is_column(&item.expr) || is_constant(&item.expr))
        };
        let fits = |side_is_kept: bool| move |block: &Block| if side_is_kept { whole(block) } else { block.renames() };
        let left = self.block_if(left, fits(kind != JoinKind::Full))?;
        let right = self.block_if(right, fits(kind == JoinKind::Inner))?;
        let (left_names, right_names) = (left.names(), right.names());
        let of_right = |name: &str| to_right(&right_names.column(name));
        let on = on.iter().map(|(a, b)| (left_names.column(a), of_right(b))).collect();
        let inline = |expr: &Expr| {
            map_columns(expr, &mut |side, name| match side {
                Some(Side::Right) => of_right(name),
                Some(Side::Left) | None => left_names.column(name),
            })
        };
        let items = columns.iter().zip(rel.columns());
        let items = items.map(|((name, expr), column)| Item { name: name.clone(), expr: inline(expr), ty: column.ty }).collect();
        let mut conditions = left.conditions;
        conditions.extend(right.conditions.into_iter().map(|condition| match condition {
            Condition::Is(expr) => Condition::Is(to_right(&expr)),
            Condition::Previous(expr) => Condition::Previous(to_right(&expr)),
            Condition::Exists { negated, right, on } => {
                Condition::Exists { negated, right, on: on.into_iter().map(|(a, b)| (to_right(&a), b)).collect() }
            }
        }));
        let sources = left.sources.into_iter().chain(right.sources).collect();
        Ok(Block { sources, join: Some((kind, on)), conditions, items, ..Block::default() })
    }

    fn union(&mut self, inputs: &[Rel]) -> Result<Body, Unsupported> {
        let mut blocks = Vec::new();
        for input in inputs {
            match self.body(input)? {
                Body::Union(more) => blocks.extend(more),
                Body::Select(block) if block.is_whole() => blocks.push(*block),
                Body::Select(block) => blocks.push(self.named(*block)),
                Body::Batches | Body::Recursive(_) => blocks.push(self.block(input)?),
            }
        }
        Ok(Body::Union(blocks))
    }

    fn aggregate(
        &mut self,
        rel: &Rel,
        input: &Rel,
        keys: &[String],
        functions: &[(String, AggregateFunction)],
    ) -> Result<Block, Unsupported> {
        let argument = |function: &AggregateFunction| match function {
            AggregateFunction::Count => None,
            AggregateFunction::Sum(expr) | AggregateFunction::Min(expr) | AggregateFunction::Max(expr) => Some(expr.clone()),
        };
        let arguments: Vec<Expr> = functions.iter().filter_map(|(_, function)| argument(function)).collect();
        let fits = |block: &Block| {
            let names = block.names();
            block.is_of_rows() && keys.iter().all(|key| names.is_column(key)) && names.can_inline(&arguments)
        };
        let mut block = self.block_if(input, fits)?;
        let names = block.names();
        let types = rel.columns();
        let group: Vec<Expr> = keys.iter().map(|key| names.column(key)).collect();
        let items = keys.iter().zip(&group).zip(types);
        let items = items.map(|((name, expr), column)| Item { name: name.clone(), expr: expr.clone(), ty: column.ty }).collect();
        let inlined: Vec<AggregateFunction> = functions
            .iter()
            .map(|(_, function)| match function {
                AggregateFunction::Count => AggregateFunction::Count,
                AggregateFunction::Sum(expr) => AggregateFunction::Sum(names.inline(expr)),
                AggregateFunction::Min(expr) => AggregateFunction::Min(names.inline(expr)),
                AggregateFunction::Max(expr) => AggregateFunction::Max(names.inline(expr)),
            })
            .collect();
        block.group = Some(group);
        block.items = items;
        for (function, column) in inlined.into_iter().zip(&types[keys.len()..]) {
            block.add_computed(&column.name, column.ty, Computation::Aggregate(function));
        }
        Ok(block)
    }

    fn window(
        &mut self,
        rel: &Rel,
        input: &Rel,
        functions: &[(String, WindowFunction)],
        partition: &[String],
        order: &[Order],
    ) -> Result<Block, Unsupported> {
        let mut exprs = columns(partition);
        exprs.extend(order.iter().map(|key| key.by.clone()));
        exprs.extend(functions.iter().filter_map(|(_, function)| function.argument().cloned()));
        let fits = |block: &Block| {
            let names = block.names();
            let computed = exprs.iter().any(|expr| names.is_computed(expr));
            block.group.is_none() && block.is_whole() && !computed && names.can_inline(&exprs)
        };
        let mut block = self.block_if(input, fits)?;
        let names = block.names();
        // A constant orders nothing, and some databases take a number for a column's place.
        let order = order.iter().map(|key| Order { by: names.inline(&key.by), ..key.clone() }).filter(|key| !is_constant(&key.by));
        let (order, partition): (Vec<Order>, Vec<Expr>) = (order.collect(), partition.iter().map(|key| names.column(key)).collect());
        let functions: Vec<WindowFunction> =
            functions.iter().map(|(_, function)| with_argument(function, |expr| names.inline(expr))).collect();
        for (function, column) in functions.into_iter().zip(&rel.columns()[input.columns().len()..]) {
            let what = Computation::Window { function, order: order.clone(), partition: partition.clone() };
            block.add_computed(&column.name, column.ty, what);
        }
        Ok(block)
    }
}

/// The files of the flow, under the names that its landed rows know them by.
fn recorded_files(parameters: &Parameters, rel: &Rel) -> Block {
    let columns = [("flow", Type::Text), ("batch_id", Type::Int), ("path", Type::Text), ("position", Type::Int)];
    let columns: Vec<Column> = columns.iter().map(|(name, ty)| Column::new(name, *ty)).collect();
    let schema = Schema::new(columns).unwrap_or_else(|name| unreachable!("`{name}` stands once"));
    let items = rel.columns().iter().zip(&schema.columns()[1..]);
    let items = items.map(|(column, own)| Item { name: column.name.clone(), expr: Expr::left(&own.name), ty: own.ty }).collect();
    let of_flow = Condition::Is(Expr::left("flow").eq(Expr::text(&parameters.flow)));
    Block { items, conditions: vec![of_flow], ..Block::of(Source { from: From::Table(parameters.files.clone()), schema }) }
}

fn columns(names: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Expr> {
    names.into_iter().map(|name| Expr::column(name.as_ref())).collect()
}

/// The table expressions that the result needs, with the columns of them that it needs.
fn prune(named: Vec<Named>, result: &Body) -> Vec<Named> {
    let mut needed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    reads(result, &mut needed);
    let mut kept = Vec::new();
    for mut one in named.into_iter().rev() {
        let Some(columns) = needed.get(&one.name).cloned() else { continue };
        let is_needed = |name: &str| columns.contains(name);
        match &mut one.body {
            Body::Select(block) => block.keep(&is_needed),
            Body::Union(blocks) => {
                let mut pruned = blocks.clone();
                pruned.iter_mut().for_each(|block| block.keep(&is_needed));
                // Each branch must have the same columns.
                if pruned.iter().all(|block| block.items.len() == pruned[0].items.len()) {
                    *blocks = pruned;
                }
            }
            Body::Recursive(Recursive::Follow { columns, on, .. }) => {
                columns.retain(|column| is_needed(&column.name) || on.iter().any(|(from, _)| *from == column.name));
            }
            Body::Recursive(Recursive::Periods { .. }) | Body::Batches => (),
        }
        reads(&one.body, &mut needed);
        kept.insert(0, one);
    }
    kept
}

fn reads(body: &Body, needed: &mut BTreeMap<String, BTreeSet<String>>) {
    let mut tell = |table: &str, column: &str| {
        needed.entry(table.to_owned()).or_default().insert(column.to_owned());
    };
    let mut of_source = |source: &Source, names: &mut dyn Iterator<Item = String>| {
        if let From::Named(table) = &source.from {
            names.for_each(|name| tell(table, &name));
        }
    };
    match body {
        Body::Select(block) => block.reads(&mut tell),
        Body::Union(blocks) => blocks.iter().for_each(|block| block.reads(&mut tell)),
        Body::Recursive(Recursive::Periods { bounds, .. }) => {
            of_source(bounds, &mut ["xt_first", "xt_last"].map(str::to_owned).into_iter())
        }
        Body::Recursive(Recursive::Follow { input, begin, on, columns }) => {
            let mut names: Vec<String> = on.iter().flat_map(|(from, to)| [from.clone(), to.clone()]).collect();
            names.extend(columns.iter().map(|column| column.name.clone()));
            map_columns(begin, &mut |side, name| {
                names.push(name.to_owned());
                Expr::Column { side, name: name.to_owned() }
            });
            of_source(input, &mut names.into_iter());
        }
        Body::Batches => (),
    }
}
