//! Warnings about a flow's text, told once a text.

use qetl_core::{Flow, Problems};

use crate::{
    progress::{Event, Progress},
    records::FlowDetails,
    waiting::Request,
};

/// Tells what is doubtful about the flow's file, unless that was told of this text before; whether it was told now. A
/// publish with these details records that.
pub(crate) fn once(flow: &Flow, details: &mut FlowDetails, request: &Request, progress: &Progress) -> bool {
    let text = format!("{:032x}", qetl_ingest::text_hash(flow.source.text()));
    if details.warned.as_ref() == Some(&text) {
        return false;
    }
    details.warned = Some(text);
    // A flow that is given its files reads something.
    let applies = |problem: &&qetl_core::Problem| request.inputs.is_empty() || problem.code != "qetl::decode::reads_nothing";
    let problems: Vec<_> = flow.warnings.0.iter().filter(applies).cloned().collect();
    if !problems.is_empty() {
        progress.tell(Event::Warnings { problems: Problems(problems) });
    }
    true
}
