//! The stable text form of expressions, relations and steps: a pipeline, one operator a line.
#![expect(clippy::wildcard_enum_match_arm, reason = "the special forms are named; everything else is written in full")]

use std::fmt::{self, Display, Formatter};

use super::{
    AggregateFunction, AsOf, BinaryOp, Expr, Function, Gone, JoinKind, Op, Order, Param, Period, Rel, Sessionize, Sessions, Side, Steps,
    Value, WindowFunction,
};

/// A name as it stands in the text form: bare when that is clear.
fn name(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
    if plain { text.to_owned() } else { format!("`{}`", text.replace('`', "``")) }
}

fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(", ")
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null(_) => f.write_str("null"),
            Value::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Value::Int(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::Bool(value) => write!(f, "{value}"),
        }
    }
}

impl Display for BinaryOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BinaryOp::Eq => "=",
            BinaryOp::NotEq => "<>",
            BinaryOp::Lt => "<",
            BinaryOp::LtEq => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::GtEq => ">=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Plus => "+",
            BinaryOp::Minus => "-",
            BinaryOp::Divide => "/",
            BinaryOp::IsDistinct => "is distinct from",
            BinaryOp::IsNotDistinct => "is not distinct from",
        })
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let inner = |expr: &Expr| match expr {
            Expr::Binary { .. } | Expr::Not(_) => format!("({expr})"),
            other => other.to_string(),
        };
        match self {
            Expr::Column { side, name: column } => match side {
                None => f.write_str(&name(column)),
                Some(Side::Left) => write!(f, "left.{}", name(column)),
                Some(Side::Right) => write!(f, "right.{}", name(column)),
            },
            Expr::Literal(value) => write!(f, "{value}"),
            Expr::Param(Param::BatchId) => f.write_str("$batch_id"),
            Expr::Param(Param::ProcessedAt) => f.write_str("$processed_at"),
            Expr::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right } => {
                let operand = |expr: &Expr| match expr {
                    Expr::Binary { op: own, .. } if own == op => expr.to_string(),
                    other => inner(other),
                };
                write!(f, "{} {op} {}", operand(left), operand(right))
            }
            Expr::Binary { op, left, right } => write!(f, "{} {op} {}", inner(left), inner(right)),
            Expr::Not(expr) => write!(f, "not {}", inner(expr)),
            Expr::IsNull(expr) => write!(f, "{} is null", inner(expr)),
            Expr::Case { branches, otherwise } => {
                f.write_str("case")?;
                for (when, then) in branches {
                    write!(f, " when {when} then {then}")?;
                }
                if let Some(otherwise) = otherwise {
                    write!(f, " else {otherwise}")?;
                }
                f.write_str(" end")
            }
            Expr::Cast { expr, ty } => write!(f, "cast({expr} as {ty})"),
            Expr::JoinText { separator, parts } => {
                write!(f, "join_text({}, {})", Value::Text(separator.clone()), list(parts, Expr::to_string))
            }
            Expr::Call { function, arguments } => {
                let quoted = |text: &str| Value::Text(text.to_owned()).to_string();
                let (name, more) = match function {
                    Function::CanonicalText(_) => ("canonical_text", Vec::new()),
                    Function::Concat => ("concat", Vec::new()),
                    Function::Replace { from, to } => ("replace", vec![quoted(from), quoted(to)]),
                    Function::Coalesce => ("coalesce", Vec::new()),
                    Function::Micros => ("micros", Vec::new()),
                    Function::AddDays(days) => ("add_days", vec![days.to_string()]),
                    Function::DaysBetween => ("days_between", Vec::new()),
                    Function::DateIn { zone } => ("date_in", vec![quoted(zone)]),
                    Function::PeriodStart(period) => ("period_start", vec![period.to_string()]),
                    Function::NextPeriod(period) => ("next_period", vec![period.to_string()]),
                    Function::FilePosition => ("file_position", Vec::new()),
                    Function::BatchHas { column } => ("batch_has", vec![quoted(column)]),
                };
                let all: Vec<String> = arguments.iter().map(Expr::to_string).chain(more).collect();
                write!(f, "{name}({})", all.join(", "))
            }
        }
    }
}

impl Display for Period {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
        })
    }
}

impl Display for WindowFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            WindowFunction::RowNumber => f.write_str("row_number()"),
            WindowFunction::Lag(expr) => write!(f, "lag({expr})"),
            WindowFunction::Lead(expr) => write!(f, "lead({expr})"),
            WindowFunction::First(expr) => write!(f, "first({expr})"),
            WindowFunction::RunningSum(expr) => write!(f, "running_sum({expr})"),
            WindowFunction::RunningMax(expr) => write!(f, "running_max({expr})"),
            WindowFunction::MinBeyond { of, distance } => write!(f, "min_beyond({of}, {distance})"),
        }
    }
}

impl Display for AsOf {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AsOf::ThisBatch => "this batch",
            AsOf::PreviousBatch => "the previous batch",
            AsOf::BeforeThisBatch => "before this batch",
            AsOf::AfterThisBatch => "after this batch",
            AsOf::AllBatches => "all batches",
            AsOf::ReplacedBatch => "this batch as it was",
        })
    }
}

fn columns(columns: &[(String, Expr)]) -> String {
    list(columns, |(column, expr)| match expr {
        Expr::Column { side: None | Some(Side::Left), name: same } if same == column => name(column),
        other => format!("{} = {other}", name(column)),
    })
}

fn names(columns: &[String]) -> String {
    list(columns, |column| name(column))
}

fn order(order: &[Order]) -> String {
    list(order, |key| format!("{}{}", key.by, if key.descending { " desc" } else { "" }))
}

impl Rel {
    /// Writes the pipeline that makes the relation, each line indented by `depth`.
    fn write(&self, f: &mut Formatter<'_>, depth: usize) -> fmt::Result {
        let pad = "  ".repeat(depth);
        match &*self.op {
            Op::Scan { dataset, as_of } => writeln!(f, "{pad}scan {dataset} ({as_of})"),
            Op::Ref { step } => writeln!(f, "{pad}from {}", name(step)),
            Op::Filter { input, predicate } => {
                input.write(f, depth)?;
                writeln!(f, "{pad}filter {predicate}")
            }
            Op::Project { input, columns: list } => {
                input.write(f, depth)?;
                writeln!(f, "{pad}project {}", columns(list))
            }
            Op::Join { kind, left, right, on, columns: list } => {
                left.write(f, depth)?;
                let kind = match kind {
                    JoinKind::Inner => "join",
                    JoinKind::Left => "left join",
                    JoinKind::Full => "full join",
                    JoinKind::Semi => "semi join",
                    JoinKind::Anti => "anti join",
                };
                right.write_inner(f, depth, kind)?;
                let on = on.iter().map(|(a, b)| if a == b { name(a) } else { format!("{} = {}", name(a), name(b)) }).collect::<Vec<_>>();
                write!(f, "{pad}  on {}", on.join(", "))?;
                if list.is_empty() { writeln!(f) } else { writeln!(f, "\n{pad}  keeping {}", columns(list)) }
            }
            Op::Union(inputs) => {
                writeln!(f, "{pad}union all of")?;
                inputs.iter().try_for_each(|input| input.write_inner(f, depth + 1, "-"))
            }
            Op::Aggregate { input, keys, columns } => {
                input.write(f, depth)?;
                let functions = list(columns, |(column, function)| format!("{} = {function}", name(column)));
                let keys = if keys.is_empty() { String::new() } else { format!(" by {}", names(keys)) };
                let colon = if functions.is_empty() { "" } else { ": " };
                writeln!(f, "{pad}aggregate{keys}{colon}{functions}")
            }
            Op::Window { input, columns, partition, order: keys } => {
                input.write(f, depth)?;
                let functions = list(columns, |(column, function)| format!("{} = {function}", name(column)));
                let by = if partition.is_empty() { String::new() } else { format!(" by {}", names(partition)) };
                writeln!(f, "{pad}window {functions}{by} order {}", order(keys))
            }
            Op::Sort { input, order: keys } => {
                input.write(f, depth)?;
                writeln!(f, "{pad}sort {}", order(keys))
            }
            Op::Limit { input, rows } => {
                input.write(f, depth)?;
                writeln!(f, "{pad}limit {rows}")
            }
            Op::LatestPerKey(latest) => {
                latest.input.write(f, depth)?;
                writeln!(f, "{pad}latest per key ({}) by {}", names(&latest.keys), name(&latest.by))?;
                if let Some(dead) = &latest.dead {
                    writeln!(f, "{pad}  the previous batch has every key, but for those with {dead}")?;
                }
                latest.gaps.as_ref().map_or(Ok(()), |gaps| gaps.write_inner(f, depth + 1, "and those of"))
            }
            Op::Follow { input, begin, on } => {
                input.write(f, depth)?;
                let on = list(on, |(from, to)| format!("{} to {}", name(from), name(to)));
                writeln!(f, "{pad}follow from {begin} along {on}")
            }
            Op::Batches => writeln!(f, "{pad}batches"),
            Op::Periods { bounds, period, name: column } => {
                bounds.write(f, depth)?;
                writeln!(f, "{pad}periods {} = every {period} from xt_first to xt_last", name(column))
            }
            Op::Sessionize(sessionize) => {
                let Sessionize { input, user, time, order, gap, longest, give } = sessionize;
                input.write(f, depth)?;
                let longest = longest.map_or_else(String::new, |longest| format!(", longest {longest} µs"));
                let order = if order.is_empty() { String::new() } else { format!(", {}", list(order, Expr::to_string)) };
                writeln!(f, "{pad}sessionize by {} order {}{order}, gap {gap} µs{longest}", name(user), name(time))?;
                match give {
                    Sessions::Events => writeln!(f, "{pad}  giving each event its session"),
                    Sessions::Sessions(columns) if columns.is_empty() => writeln!(f, "{pad}  giving the sessions"),
                    Sessions::Sessions(columns) => writeln!(f, "{pad}  giving the sessions, first and last of {}", names(columns)),
                }
            }
            Op::Classify(classify) => {
                writeln!(f, "{pad}classify by ({}), tracking ({})", names(&classify.keys), names(&classify.tracked))?;
                if !classify.added.is_empty() {
                    writeln!(f, "{pad}  ({}) only where the state's batch had them", names(&classify.added))?;
                }
                classify.current.write_inner(f, depth + 1, "current")?;
                classify.state.write_inner(f, depth + 1, "state")?;
                if let Some(marked) = &classify.marked {
                    write!(f, "{pad}  gone: current keys where {}", name(marked))?;
                    let of_mark = names(&classify.of_mark);
                    if of_mark.is_empty() { writeln!(f)? } else { writeln!(f, ", with its {of_mark}")? }
                }
                match &classify.gone {
                    Gone::AllExcept(None) => writeln!(f, "{pad}  gone: every key of the state that is not current"),
                    Gone::AllExcept(Some(kept)) => {
                        kept.write_inner(f, depth + 1, "gone: every key of the state that is not current, but for")
                    }
                    Gone::Only(None) if classify.marked.is_some() => Ok(()),
                    Gone::Only(None) => writeln!(f, "{pad}  gone: no key"),
                    Gone::Only(Some(named)) => named.write_inner(f, depth + 1, "gone: the keys of"),
                }
            }
        }
    }

    /// Writes an inner relation: on the line itself when it is a name or a scan, else as a block below.
    fn write_inner(&self, f: &mut Formatter<'_>, depth: usize, before: &str) -> fmt::Result {
        let pad = "  ".repeat(depth);
        match &*self.op {
            Op::Ref { step } => writeln!(f, "{pad}{before} {}", name(step)),
            Op::Scan { dataset, as_of } => writeln!(f, "{pad}{before} {dataset} ({as_of})"),
            _ => {
                writeln!(f, "{pad}{before}")?;
                self.write(f, depth + 1)
            }
        }
    }
}

impl Display for AggregateFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            AggregateFunction::Count => f.write_str("count()"),
            AggregateFunction::Sum(expr) => write!(f, "sum({expr})"),
            AggregateFunction::Min(expr) => write!(f, "min({expr})"),
            AggregateFunction::Max(expr) => write!(f, "max({expr})"),
        }
    }
}

impl Display for Rel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Display for Steps {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            writeln!(f, "{}:{}", name(&step.name), if step.small { "  # few rows" } else { "" })?;
            step.rel.write(f, 1)?;
        }
        Ok(())
    }
}
