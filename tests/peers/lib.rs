//! Programs that qetl works beside: Pythons with their packages for all tests, and tests that they run what qetl generates.

#[cfg(test)]
mod dialects;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod portability;
pub mod venv;
