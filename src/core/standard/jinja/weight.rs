//! What a template may cost: each value that it makes or looks at weighs about what it takes in memory, and all together have
//! a limit. The output is collected here too, each piece with its place.
#![expect(clippy::wildcard_enum_match_arm, reason = "values of any other kind weigh nothing")]

use std::{
    fmt::{self, Write as _},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use minijinja::{
    Environment, Error, ErrorKind, Output, State, Value, context,
    value::{Object, ObjectRepr, ValueKind},
};

use super::super::template::Language;

/// The names of functions that no template can write.
pub(super) const WEIGH: &str = "weigh a value";
pub(super) const TIMES: &str = "multiply";
pub(super) const EMIT: &str = "put out";

/// The most bytes that a template may become, and that a text may have on the way.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// What all values together may weigh.
const MAX_WEIGHT: u64 = 1 << 26;
/// What an item of a list weighs beside its value.
const ITEM: u64 = 24;
/// How deep lists may lie in lists.
const MAX_DEPTH: usize = 200;

/// A part of what was rendered.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Where it begins in the result.
    pub(crate) at: usize,
    /// In the template: as many bytes, if it was copied; else the expression that it was computed by.
    pub(crate) place: Range<usize>,
    pub(crate) copied: bool,
}

/// A text of the template.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) text: String,
    pub(super) place: Range<usize>,
}

impl Object for Copied {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// A value to put out.
#[derive(Debug)]
struct Emitted {
    value: Value,
    place: Range<usize>,
}

impl Object for Emitted {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// The scales of one rendering.
#[derive(Debug, Default)]
pub(crate) struct Scales {
    weight: AtomicU64,
    out: Mutex<Out>,
}

#[derive(Debug, Default)]
struct Out {
    length: usize,
    pieces: Vec<Piece>,
}

pub(crate) fn limit(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::OutOfFuel, why.into())
}

/// The pieces of what was put out.
pub(crate) fn pieces(scales: &Scales) -> Vec<Piece> {
    std::mem::take(&mut scales.out().pieces)
}

impl Scales {
    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, weight: u64) -> Result<(), Error> {
        let before = self.weight.fetch_add(weight, Ordering::Relaxed);
        match before.checked_add(weight) {
            Some(weight) if weight <= MAX_WEIGHT => Ok(()),
            _ => Err(limit(format!("the template's values take more than {} MiB", MAX_WEIGHT >> 20))),
        }
    }

    fn weigh(&self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(limit(format!("lists lie in lists, more than {MAX_DEPTH} deep")));
        }
        match value.kind() {
            ValueKind::String | ValueKind::Bytes => self.add(value.as_str().map_or(0, str::len) as u64),
            ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
                for item in value.try_iter()? {
                    self.add(ITEM)?;
                    if value.kind() == ValueKind::Map {
                        self.weigh(&value.get_item(&item)?, depth + 1)?;
                    }
                    self.weigh(&item, depth + 1)?;
                }
                Ok(())
            }
            _ => self.add(1),
        }
    }

    /// A text that was made.
    pub(crate) fn made(&self, text: String) -> Result<String, Error> {
        self.add(text.len() as u64).map(|()| text)
    }

    /// A product, unless a text or list would become too long.
    fn times(&self, state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
        let (many, count) = if left.is_number() { (right, left) } else { (left, right) };
        if !many.is_number()
            && let Some(count) = count.as_usize()
        {
            let before = self.weight.load(Ordering::Relaxed);
            self.weigh(many, 0)?;
            let one = self.weight.load(Ordering::Relaxed) - before;
            self.add(one.saturating_mul(count as u64))?;
        }
        state.env().compile_expression("left * right")?.eval(context! { left, right })
    }

    fn write(&self, out: &mut Output<'_>, text: &str, place: Option<(Range<usize>, bool)>) -> Result<(), Error> {
        self.add(text.len() as u64)?;
        if let Some((place, copied)) = place {
            let mut all = self.out();
            let at = all.length;
            all.length += text.len();
            if all.length > MAX_BYTES {
                return Err(limit(format!("it becomes longer than {MAX_BYTES} bytes")));
            }
            all.pieces.push(Piece { at, place, copied });
        }
        out.write_str(text).map_err(Error::from)
    }
}

/// Puts the scales into an environment whose templates were made by [`super::tree`].
pub(crate) fn register(
    environment: &mut Environment<'_>,
    scales: &Arc<Scales>,
    language: Language,
    written: fn(&Value, Language) -> Result<String, Error>,
) {
    let own = scales.clone();
    environment.add_function(WEIGH, move |value: Value| own.weigh(&value, 0).map(|()| value));
    let own = scales.clone();
    environment.add_function(TIMES, move |state: &State<'_, '_>, left: Value, right: Value| own.times(state, &left, &right));
    environment.add_function(EMIT, |value: Value, from: usize, to: usize| Value::from_object(Emitted { value, place: from..to }));
    let own = scales.clone();
    environment.set_formatter(move |out, _, value| {
        if let Some(copied) = value.downcast_object_ref::<Copied>() {
            return own.write(out, &copied.text, Some((copied.place.clone(), true)));
        }
        match value.downcast_object_ref::<Emitted>() {
            Some(emitted) => own.write(out, &written(&emitted.value, language)?, Some((emitted.place.clone(), false))),
            // What a choice without `else` gives; what is not defined comes here by no other way.
            None if value.is_undefined() => Ok(()),
            None => own.write(out, &written(value, language)?, None),
        }
    });
}

/// A value as text, which ends at [`MAX_BYTES`].
pub(crate) fn text(value: &Value) -> Result<String, Error> {
    struct Limited(String);
    impl fmt::Write for Limited {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            if self.0.len() + text.len() > MAX_BYTES {
                return Err(fmt::Error);
            }
            self.0.push_str(text);
            Ok(())
        }
    }
    if let Some(text) = value.as_str() {
        return if text.len() > MAX_BYTES { Err(too_long()) } else { Ok(text.to_owned()) };
    }
    let mut limited = Limited(String::new());
    write!(limited, "{value}").map_err(|_| too_long())?;
    Ok(limited.0)
}

pub(crate) fn too_long() -> Error {
    limit(format!("a text becomes longer than {MAX_BYTES} bytes"))
}
