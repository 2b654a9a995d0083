//! Where the objects of a JSON file begin and end: one on each line, or all of them in one list.

use qetl_core::format::Format;

use super::scan::Depth;
use crate::{
    blocks::{BLOCK, Blocks, RECORD_LIMIT, place_after},
    open::{Bytes, ReadFault},
    problem::DataProblem,
};

/// Goes from object to object.
pub(super) struct Records {
    name: String,
    blocks: Blocks,
    shape: Shape,
    /// The line and the character where the current object begins.
    pub(super) line: u64,
    character: u64,
    /// Bytes of the current object, and of the line end behind it.
    length: usize,
    taken: usize,
}

/// What stands around the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Lines,
    /// A list that has not begun yet, has, and is behind us.
    List(Where),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    Before,
    Within,
    Behind,
}

impl Records {
    pub(super) fn new(name: &str, bytes: Box<dyn Bytes>, format: Format) -> Self {
        let (shape, line) = if format == Format::Json { (Shape::List(Where::Before), 1) } else { (Shape::Lines, 0) };
        let blocks = Blocks::new(bytes, BLOCK, RECORD_LIMIT);
        Self { name: name.to_owned(), blocks, shape, line, character: 1, length: 0, taken: 0 }
    }

    /// Goes to the next object; false at the end.
    pub(super) fn next(&mut self) -> Result<bool, DataProblem> {
        match self.shape {
            Shape::Lines => self.next_line(),
            Shape::List(place) => self.next_of_list(place),
        }
    }

    /// The current object, which may still be anything.
    pub(super) fn current(&self) -> &[u8] {
        &self.blocks.window()[..self.length]
    }

    pub(super) fn is_list(&self) -> bool {
        self.shape != Shape::Lines
    }

    /// The problem at the end of `before`, the beginning of the current object.
    pub(super) fn at(&self, problem: DataProblem, before: &[u8]) -> DataProblem {
        let (line, character) = self.place(before);
        problem.at(line, character)
    }

    fn place(&self, before: &[u8]) -> (u64, u64) {
        let (line, character) = place_after(before, self.line);
        (line, if line == self.line { character + self.character - 1 } else { character })
    }

    /// Goes to the next line that is not blank.
    fn next_line(&mut self) -> Result<bool, DataProblem> {
        loop {
            self.blocks.advance(std::mem::take(&mut self.taken));
            self.line += 1;
            match self.blocks.line() {
                Ok(None) => return Ok(false),
                Ok(Some((length, whole))) => {
                    (self.length, self.taken) = (length, whole);
                    if !self.current().iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
                        return Ok(true);
                    }
                }
                Err(fault) => return Err(self.problem(&fault, "JSON lines have one object a line")),
            }
        }
    }

    fn next_of_list(&mut self, place: Where) -> Result<bool, DataProblem> {
        const END: &str = "`,` or `]` is expected here";
        (self.line, self.character) = self.place(self.current());
        self.blocks.advance(std::mem::take(&mut self.length));
        let mut first = false;
        match (place, self.peek()?) {
            // A file without anything has no rows.
            (Where::Before | Where::Behind, None) => return Ok(false),
            (Where::Before, Some(b'[')) => {
                self.shape = Shape::List(Where::Within);
                self.step();
                first = true;
            }
            (Where::Before, Some(b'{')) => {
                return Err(self
                    .refuse("the file is an object, not a list of objects")
                    .help("`format = \"jsonl\"` reads files of one object a line; a single object is a list of one in `[` and `]`"));
            }
            (Where::Before, Some(_)) => return Err(self.refuse("not a list of objects: `[` is expected here")),
            (Where::Within, Some(b',')) => self.step(),
            (Where::Within, Some(b']')) => return self.close(),
            (Where::Within, Some(_)) => return Err(self.refuse(&format!("not a list of objects: {END}"))),
            (Where::Within, None) => return Err(self.cut_short()),
            (Where::Behind, Some(_)) => return Err(self.refuse("more follows after the list")),
        }
        match self.peek()? {
            Some(b'{') => self.whole_object().map(|()| true),
            Some(b']') if first => self.close(),
            Some(_) => Err(self.refuse("not a list of objects: `{` is expected here")),
            None => Err(self.cut_short()),
        }
    }

    /// Goes behind the list: nothing follows.
    fn close(&mut self) -> Result<bool, DataProblem> {
        self.step();
        self.shape = Shape::List(Where::Behind);
        match self.peek()? {
            None => Ok(false),
            Some(_) => Err(self.refuse("more follows after the list")),
        }
    }

    /// The next byte that is no blank, and goes to it.
    fn peek(&mut self) -> Result<Option<u8>, DataProblem> {
        let mut after_return = false;
        loop {
            let Some(byte) = self.blocks.window().first().copied() else {
                if self.blocks.ended() {
                    return Ok(None);
                }
                self.more()?;
                continue;
            };
            match byte {
                b' ' | b'\t' => self.character += 1,
                b'\n' if after_return => {}
                b'\n' | b'\r' => (self.line, self.character) = (self.line + 1, 1),
                other => return Ok(Some(other)),
            }
            after_return = byte == b'\r';
            self.blocks.advance(1);
        }
    }

    /// Goes over one character.
    fn step(&mut self) {
        self.blocks.advance(1);
        self.character += 1;
    }

    /// Makes the window hold the object that begins it, or all that follows if the object has no end.
    fn whole_object(&mut self) -> Result<(), DataProblem> {
        let mut depth = Depth::default();
        let mut seen = 0;
        loop {
            if let Some(end) = depth.end(&self.blocks.window()[seen..]) {
                self.length = seen + end;
                return Ok(());
            }
            seen = self.blocks.window().len();
            self.length = seen;
            if self.blocks.ended() {
                return Ok(());
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Result<(), DataProblem> {
        self.blocks.more().map_err(|fault| self.problem(&fault, "split it, or see whether a quote opens it that is never closed"))
    }

    fn refuse(&self, message: &str) -> DataProblem {
        let problem = DataProblem::new("qetl::ingest::json", &self.name, message).at(self.line, self.character);
        problem.help("JSON files have one list of objects, `[{…}, {…}]`; `format = \"jsonl\"` reads files of one object a line")
    }

    fn cut_short(&self) -> DataProblem {
        self.refuse("the list does not end: the file is cut short").help("write or copy the file again")
    }

    fn problem(&self, fault: &ReadFault, too_long: &str) -> DataProblem {
        let problem = fault.problem(&self.name);
        match fault {
            ReadFault::Io(_) => problem,
            ReadFault::TooLong => problem.on_line(self.line).help(too_long),
            ReadFault::Corrupt { .. } | ReadFault::Malformed { .. } => self.at(problem, self.blocks.window()),
        }
    }
}
