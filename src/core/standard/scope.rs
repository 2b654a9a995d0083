//! Which rows of its sources a task reads: what `source_scope` says, and what holds without it.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema as JsonSchemaDocument, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, value::StrDeserializer},
};

use super::{SourceScope, StandardFlow, StandardTask, TaskWork, WriteMode, names};
use crate::{
    decode::Sp,
    plan::DatasetName,
    problem::{Problem, Problems, Span},
    suggest,
};

/// How a dataset's rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    ByBatch,
    /// All rows are written anew.
    Anew,
    ByKey,
    View,
}

impl Kept {
    /// Why a past batch cannot be read.
    pub fn why(self) -> &'static str {
        match self {
            Kept::ByBatch => "its rows belong to batches",
            Kept::Anew => "each publish writes all of its rows anew, so they belong to no batch",
            Kept::ByKey => "its rows are replaced key by key, so they belong to no batch",
            Kept::View => "it is a view, which stores no rows",
        }
    }
}

/// `source_scope` of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum ScopeChoice {
    /// For all of its sources.
    One(SourceScope),
    /// For each that is named.
    BySource(Vec<(Sp<String>, Sp<SourceScope>)>),
}

/// A dataset that a task reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub dataset: DatasetName,
    /// Where the flow file names it.
    pub span: Span,
    pub kept: Kept,
    /// A task of the same flow makes it.
    pub own: bool,
}

impl Reading {
    /// Whether the rows of one batch can be told: merged rows of the flow itself know the batch that they are of, too.
    fn has_batches(&self) -> bool {
        self.kept == Kept::ByBatch || (self.own && self.kept == Kept::ByKey)
    }
}

/// How the task reads each of its datasets, in their order; and what is wrong or doubtful about it.
pub fn scopes(task: &StandardTask, inserts: bool, reads: &[Reading]) -> (Vec<SourceScope>, Problems) {
    let mut scopes = Scopes { task, inserts, reads, problems: Problems::default() };
    let found = match task.source_scope() {
        None => scopes.by_default(),
        Some(Sp { value: ScopeChoice::One(SourceScope::All), .. }) => vec![SourceScope::All; reads.len()],
        Some(Sp { value: ScopeChoice::One(SourceScope::Batch), span }) => scopes.batch(*span),
        Some(Sp { value: ScopeChoice::BySource(choices), span }) => scopes.by_source(choices, *span),
    };
    (found, scopes.problems)
}

struct Scopes<'a> {
    task: &'a StandardTask,
    /// The SQL is an INSERT.
    inserts: bool,
    reads: &'a [Reading],
    problems: Problems,
}

impl Scopes<'_> {
    /// Without `source_scope` an INSERT reads its batch of what is kept by batch, and everything else reads everything.
    fn by_default(&mut self) -> Vec<SourceScope> {
        let batched: Vec<&Reading> = self.reads.iter().filter(|read| read.kept == Kept::ByBatch).collect();
        let text = self.task.template().text.span;
        if self.inserts && batched.len() > 1 {
            let names: Vec<String> = batched.iter().map(|read| format!("`{}`", read.dataset)).collect();
            let (last, first) = (&names[names.len() - 1], &names[..names.len() - 1]);
            let what =
                format!("the INSERT reads {} and {last}, which are kept by batch: of which of them this batch alone?", first.join(", "));
            let problem = Problem::new("qetl::decode::source_scope", text, what);
            self.problems.push(problem.label("reads several datasets of batches").help(format!(
                "add a line to the task, with `\"batch\"` for each of which the rows of this batch alone are meant:\n{}",
                self.line(batched[0])
            )));
        }
        self.reads.iter().map(|read| self.default_of(read, text)).collect::<Vec<_>>()
    }

    fn default_of(&mut self, read: &Reading, text: Span) -> SourceScope {
        match (self.inserts, read.kept) {
            (false, _) => SourceScope::All,
            (true, Kept::ByBatch) => SourceScope::Batch,
            (true, kept) => {
                let what = format!("each batch inserts all of `{}` again: {}", read.dataset, kept.why());
                let problem = Problem::new("qetl::decode::insert_of_everything", text, what).label("an INSERT that reads everything");
                let help = format!("if that is meant, say so: {}; a query without INSERT replaces the target's rows", self.line_of_all());
                self.problems.push(problem.help(help).warning());
                SourceScope::All
            }
        }
    }

    /// `"batch"` for all of them: what has no batches beside one that has is read whole.
    fn batch(&mut self, span: Span) -> Vec<SourceScope> {
        let scope = |read: &Reading| if read.has_batches() { SourceScope::Batch } else { SourceScope::All };
        let found: Vec<SourceScope> = self.reads.iter().map(scope).collect();
        let beside = found.contains(&SourceScope::Batch);
        for read in self.reads.iter().filter(|read| !read.has_batches()) {
            let problem = match beside {
                false => self.no_batches(read, span),
                true => {
                    let what = format!("all of `{}` is read: {}", read.dataset, read.kept.why());
                    let first = self.reads.iter().find(|read| read.has_batches()).unwrap_or(read);
                    let help = format!("if that is meant, say so: `{}`", self.line(first));
                    Problem::new("qetl::decode::source_scope", span, what).label("not of all sources").help(help).warning()
                }
            };
            self.problems.push(problem);
        }
        found
    }

    fn by_source(&mut self, choices: &[(Sp<String>, Sp<SourceScope>)], span: Span) -> Vec<SourceScope> {
        let mut said: Vec<Option<SourceScope>> = vec![None; self.reads.len()];
        for (name, scope) in choices {
            let Some(index) = self.find(name) else {
                let known: Vec<String> = self.reads.iter().map(|read| self.key(read)).collect();
                let what = format!("the task does not read a dataset `{}`", name.value);
                let problem = Problem::new("qetl::decode::unknown_dataset", name.span, what).label("not one of its sources");
                self.problems.push(problem.help(suggest::help(name, known.iter().map(String::as_str))));
                continue;
            };
            if said[index].is_some() {
                let what = format!("`{}` stands twice in `source_scope`", self.reads[index].dataset);
                self.problems.push(Problem::new("qetl::decode::duplicate_dataset", name.span, what).label("here again"));
            }
            if scope.value == SourceScope::Batch && !self.reads[index].has_batches() {
                self.problems.push(self.no_batches(&self.reads[index], scope.span));
            }
            said[index] = Some(scope.value);
        }
        let batched = |index: &usize| self.reads[*index].kept == Kept::ByBatch;
        let unsaid: Vec<usize> = (0..said.len()).filter(|index| said[*index].is_none()).filter(batched).collect();
        let several = (0..said.len()).filter(batched).count() > 1;
        if let (true, true, Some(first)) = (self.inserts, several, unsaid.first()) {
            let what = format!("`source_scope` does not say how `{}` is read", self.reads[*first].dataset);
            let problem = Problem::new("qetl::decode::source_scope", span, what).label("not all of the datasets of batches");
            self.problems.push(problem.help("name each source that is kept by batch: `\"batch\"` or `\"all\"`"));
        }
        let text = self.task.template().text.span;
        let reads = self.reads;
        said.into_iter().zip(reads).map(|(said, read)| said.unwrap_or_else(|| self.default_of(read, text))).collect()
    }

    fn no_batches(&self, read: &Reading, span: Span) -> Problem {
        let what = format!("`{}` cannot be read batch by batch: {}", read.dataset, read.kept.why());
        let problem = Problem::new("qetl::decode::not_by_batch", span, what).label("has no past batches");
        problem.help("`\"all\"` reads all of its rows")
    }

    /// The source that a key of `source_scope` names.
    fn find(&self, name: &str) -> Option<usize> {
        let (namespace, bare) = name.split_once('.').unwrap_or((&self.task.target.namespace, name));
        let wanted = DatasetName { namespace: namespace.to_owned(), name: bare.to_owned() };
        let named = self.reads.iter().position(|read| names::same(&read.dataset, &wanted));
        named.or_else(|| self.reads.iter().position(|read| read.dataset.name.eq_ignore_ascii_case(name)))
    }

    /// How a key of `source_scope` names the dataset.
    fn key(&self, read: &Reading) -> String {
        let own = read.dataset.namespace.eq_ignore_ascii_case(&self.task.target.namespace);
        if own { read.dataset.name.clone() } else { format!("{}.{}", read.dataset.namespace, read.dataset.name) }
    }

    /// The line that reads one source by batch, and all of the others.
    fn line(&self, batch: &Reading) -> String {
        let entry = |read: &Reading| {
            let key = self.key(read);
            let key = if key.contains('.') { format!("\"{key}\"") } else { key };
            format!("{key} = \"{}\"", if read.dataset == batch.dataset { "batch" } else { "all" })
        };
        format!("source_scope = {{ {} }}", self.reads.iter().map(entry).collect::<Vec<_>>().join(", "))
    }

    fn line_of_all(&self) -> String {
        match self.reads.iter().find(|read| read.kept == Kept::ByBatch) {
            Some(batched) => format!("`{}`", self.line(batched)),
            None => "`source_scope = \"all\"`".to_owned(),
        }
    }
}

impl StandardFlow {
    /// The datasets that a task reads, with how their rows are kept: those of the flow itself by `modes`, its tasks' by id (an
    /// ingestion has none), those of other flows by `foreign`; one that nobody knows is read as a whole.
    pub fn readings(
        &self,
        reads: &[(DatasetName, Span)],
        modes: &BTreeMap<String, WriteMode>,
        foreign: &BTreeMap<DatasetName, Kept>,
    ) -> Vec<Reading> {
        let kept = |maker: &StandardTask| match modes.get(&maker.id.value) {
            Some(WriteMode::Replace) => Kept::Anew,
            Some(WriteMode::Merge) => Kept::ByKey,
            Some(WriteMode::ReplaceBatch) | None => Kept::ByBatch,
        };
        let reading = |(dataset, span): &(DatasetName, Span)| {
            let mut own = self.tasks.iter().filter(|task| task.makes().iter().any(|made| names::same(made, dataset))).map(kept).peekable();
            let is_own = own.peek().is_some();
            let of_others = || foreign.iter().find(|(name, _)| names::same(name, dataset)).map(|(_, kept)| *kept);
            let kept = if is_own { own.find(|kept| *kept != Kept::ByBatch) } else { Some(of_others().unwrap_or(Kept::Anew)) };
            Reading { dataset: dataset.clone(), span: *span, kept: kept.unwrap_or(Kept::ByBatch), own: is_own }
        };
        reads.iter().map(reading).collect()
    }
}

impl StandardTask {
    /// `source_scope`, if the file has it.
    pub fn source_scope(&self) -> Option<&Sp<ScopeChoice>> {
        match &self.work {
            TaskWork::Ingestion(_) => None,
            TaskWork::Sql(work) => work.scope.as_ref(),
            TaskWork::Script(work) => work.scope.as_ref(),
        }
    }
}

impl<'de> Deserialize<'de> for ScopeChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ScopeChoice;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`all`, `batch`, or a table of them by source")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<ScopeChoice, E> {
                SourceScope::deserialize(StrDeserializer::new(word)).map(ScopeChoice::One)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ScopeChoice, A::Error> {
                let mut choices: Vec<(Sp<String>, Sp<SourceScope>)> = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    choices.push(entry);
                }
                choices.sort_by_key(|(name, _)| name.span);
                Ok(ScopeChoice::BySource(choices))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ScopeChoice {
    fn schema_name() -> Cow<'static, str> {
        "ScopeChoice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> JsonSchemaDocument {
        let one = serde_json::json!({ "type": "string", "enum": ["all", "batch"] });
        schemars::json_schema!({ "anyOf": [one, { "type": "object", "additionalProperties": one }] })
    }

    fn inline_schema() -> bool {
        true
    }
}
