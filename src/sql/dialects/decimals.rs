//! What qetl's engine adds to SQLite, which has no decimals: functions of texts that are decimals, and the order of such texts.

/// The order of decimals' texts by value.
pub const COLLATION: &str = "qetl_decimal";
/// A number as a decimal's text: of a scale, if that is given, and with no more digits than a third argument says.
pub const DECIMAL: &str = "qetl_decimal";
/// These take integers too, whose overflow is an error.
pub const ADD: &str = "qetl_add";
pub const SUBTRACT: &str = "qetl_subtract";
pub const MULTIPLY: &str = "qetl_multiply";
/// With four digits more behind the point than what is divided, rounded half away from zero.
pub const DIVIDE: &str = "qetl_divide";
pub const MODULO: &str = "qetl_modulo";
pub const ABS: &str = "qetl_abs";
pub const ROUND: &str = "qetl_round";
pub const FLOOR: &str = "qetl_floor";
pub const CEIL: &str = "qetl_ceil";
/// A decimal without its fraction, as an integer.
pub const INTEGER: &str = "qetl_integer";
pub const SUM: &str = "qetl_sum";
/// With four digits more behind the point, rounded half away from zero.
pub const AVERAGE: &str = "qetl_avg";
