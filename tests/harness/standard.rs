//! Flows of tasks: pure SQL gives the tables of the model whatever the order of arrival, by replays and by full refreshes; and so
//! does a flow that reads what another made, batch by batch.

use proptest::{collection::vec, prelude::*, test_runner::TestCaseError};
use qetl_runtime::{RunReport, report::Status, waiting::Request};
use qetl_test_models::{
    pipeline::{self, Made, Reader, Row},
    text::TextRow,
};
use tokio::runtime::Runtime;

use crate::{
    project::TestProject,
    search::{Lived, Places, Search, equal, failed},
};

/// What happens, one after another.
#[derive(Debug, Clone)]
pub enum Step {
    /// A batch of the first flow arrives, perhaps late or again.
    Load(i64, Vec<Row>),
    /// The second flow reads what there is.
    Read,
    /// One of its batches is executed again.
    Again(usize),
    RefreshMaker,
    RefreshReader,
}

pub const SEARCH: Search<Vec<Step>> = Search { flow_type: "standard", histories: steps, told: |steps| format!("{steps:#?}"), live };

/// Every way to write, from every kind of source, in SQL that all engines share.
const MAKER: &str = r#"
id = "maker"
flow_type = "standard"

[[tasks]]
id = "t"
type = "ingestion"
target_dataset = "t"
[tasks.config]
path = "data/t_*.csv"
columns = [{ name = "k", schema_type = "integer" }, { name = "v", schema_type = "integer" }]

[[tasks]]
id = "cleaned"
type = "sql_processing"
target_dataset = "cleaned"
sql = "INSERT INTO cleaned SELECT k, v FROM t WHERE v IS NOT NULL"

[[tasks]]
id = "running"
type = "sql_processing"
target_dataset = "running"
source_scope = "all"
sql = "INSERT INTO running SELECT COUNT(*) AS n, SUM(v) AS v FROM cleaned"

[[tasks]]
id = "latest"
type = "sql_processing"
target_dataset = "latest"
source_scope = "batch"
write_mode = "merge"
unique_key = ["k"]
sql = "SELECT k, MAX(v) AS v FROM cleaned GROUP BY k"

[[tasks]]
id = "summary"
type = "sql_processing"
target_dataset = "summary"
sql = "SELECT k, COUNT(*) AS n, SUM(v) AS v FROM cleaned GROUP BY k"

[[tasks]]
id = "from_summary"
type = "sql_processing"
target_dataset = "from_summary"
source_scope = "all"
sql = "INSERT INTO from_summary SELECT s.k, s.n, l.v FROM summary s JOIN latest l ON s.k = l.k"

[[tasks]]
id = "beside"
type = "sql_processing"
target_dataset = "beside"
source_scope = { cleaned = "batch", latest = "all" }
sql = "INSERT INTO beside SELECT c.k, c.v, l.v AS l FROM cleaned c JOIN latest l ON c.k = l.k"
"#;

const READER: &str = r#"
id = "reader"
flow_type = "standard"

[[tasks]]
id = "kept"
type = "sql_processing"
source_dataset = "t"
target_dataset = "kept"
sql = "INSERT INTO kept SELECT k, v FROM t"

[[tasks]]
id = "of_cleaned"
type = "sql_processing"
source_dataset = "cleaned"
target_dataset = "of_cleaned"
source_scope = { cleaned = "batch" }
write_mode = "replace_batch"
sql = "SELECT k, v FROM cleaned"

[[tasks]]
id = "sums"
type = "sql_processing"
target_dataset = "sums"
sql = "SELECT k, COUNT(*) AS n, SUM(v) AS v FROM kept GROUP BY k"
"#;

fn steps() -> BoxedStrategy<Vec<Step>> {
    let rows = || vec((0..4_i64, prop::option::weighted(0.9, 0..10_i64)), 0..6);
    let step = prop_oneof![
        6 => (1..5_i64, rows()).prop_map(|(batch, rows)| Step::Load(batch, rows)),
        3 => Just(Step::Read),
        1 => (0..4_usize).prop_map(Step::Again),
        1 => Just(Step::RefreshMaker),
        1 => Just(Step::RefreshReader),
    ];
    let first = (1..5_i64, rows()).prop_map(|(batch, rows)| Step::Load(batch, rows));
    (first, vec(step, 0..8)).prop_map(|(first, rest)| [vec![first], rest].concat()).boxed()
}

fn csv(rows: &[Row]) -> String {
    let line = |(k, v): &Row| format!("{k},{}\n", v.map_or_else(String::new, |v| v.to_string()));
    format!("k,v\n{}", rows.iter().map(line).collect::<String>())
}

/// A project in which a history is lived, and what the model says of it.
struct Life {
    project: TestProject,
    made: Made,
    reader: Reader,
    loads: usize,
}

/// The engine says that it cannot.
struct Refused(String);

impl Life {
    fn new(places: Places<'_>) -> Self {
        let project = TestProject::new(places(), MAKER).and("reader", READER);
        Self { project, made: Made::default(), reader: Reader::default(), loads: 0 }
    }

    async fn run(&self, flow: &str, request: Request) -> Result<Result<RunReport, Refused>, TestCaseError> {
        let report = self.project.execute_some(&[flow.to_owned()], &request).await.map_err(failed)?;
        if let Some(why) = self.project.place.says_no(&report) {
            return Ok(Err(Refused(why)));
        }
        let errors = report.flows.iter().flat_map(|flow| flow.batches.iter().filter_map(|batch| batch.error.as_ref()).chain(&flow.error));
        match errors.map(|error| error.message.clone()).next() {
            Some(message) => Err(failed(message)),
            None => Ok(Ok(report)),
        }
    }

    async fn step(&mut self, step: &Step) -> Result<Option<Refused>, TestCaseError> {
        let refresh = || Request { full_refresh: true, ..Request::default() };
        match step {
            Step::Load(batch, rows) => {
                self.loads += 1;
                let inputs = self.project.write(&format!("load_{}", self.loads), &[csv(rows)]);
                let request = Request { batch_id: Some(*batch), inputs, ..Request::default() };
                if let Err(why) = self.run("maker", request).await? {
                    return Ok(Some(why));
                }
                self.made.load(*batch, rows);
            }
            Step::Read => {
                let report = match self.run("reader", Request::default()).await? {
                    Ok(report) => report,
                    Err(why) => return Ok(Some(why)),
                };
                match report.flows[0].batches.as_slice() {
                    [] => prop_assert!(self.reader.waiting(&self.made).is_empty(), "nothing was read"),
                    [own] => self.reader.read(own.batch_id, &self.made),
                    more => return Err(failed(format!("{} batches", more.len()))),
                }
            }
            Step::Again(index) => {
                let Some(own) = self.reader.batches.keys().nth(index % self.reader.batches.len().max(1)).copied() else { return Ok(None) };
                let request = Request { batch_id: Some(own), ..Request::default() };
                match self.run("reader", request).await? {
                    Err(why) => return Ok(Some(why)),
                    Ok(report) if report.flows[0].batches[0].status == Status::Unchanged => (),
                    Ok(_) => self.reader.again(own, &self.made),
                }
            }
            Step::RefreshMaker => {
                if let Err(why) = self.run("maker", refresh()).await? {
                    return Ok(Some(why));
                }
            }
            Step::RefreshReader => {
                let report = match self.run("reader", refresh()).await? {
                    Ok(report) => report,
                    Err(why) => return Ok(Some(why)),
                };
                self.reader.again(0, &self.made);
                // What waits beside that is a batch of its own.
                report.flows[0].batches.iter().for_each(|own| self.reader.read(own.batch_id, &self.made));
                prop_assert!(self.reader.waiting(&self.made).is_empty(), "not all was read");
            }
        }
        Ok(None)
    }

    async fn check(&self) -> Result<(), TestCaseError> {
        let mut tables = pipeline::maker(&self.made.batches);
        if !self.reader.batches.is_empty() {
            tables.extend(self.reader.tables());
        }
        for (table, columns, rows) in tables {
            equal(table, &self.project.rows(&format!("SELECT {columns}, xt_batch_id FROM {table}")).await, &rows)?;
        }
        if !self.reader.batches.is_empty() && self.reader.waiting(&self.made).is_empty() {
            let all = |table: &'static str| async move { self.project.rows(&format!("SELECT k, v FROM {table}")).await };
            let (of_cleaned, cleaned): (Vec<TextRow>, Vec<TextRow>) = (all("of_cleaned").await, all("cleaned").await);
            equal("of_cleaned", &of_cleaned, &cleaned)?;
        }
        Ok(())
    }
}

#[expect(clippy::ptr_arg, reason = "a search gives its histories as they are")]
fn live(runtime: &Runtime, places: Places<'_>, steps: &Vec<Step>) -> Result<Lived, TestCaseError> {
    runtime.block_on(async {
        let mut life = Life::new(places);
        // In the end all is read, and deriving it again changes nothing.
        let end = [Step::Read, Step::RefreshReader, Step::RefreshMaker];
        for step in steps.iter().chain(&end) {
            if let Some(Refused(why)) = life.step(step).await? {
                return Ok(Lived::Refused(why));
            }
            life.check().await.map_err(|why| failed(format!("after {step:?}: {why}")))?;
        }
        Ok(Lived::AsTheModelSays)
    })
}
