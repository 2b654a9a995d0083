//! Numbers from text: integers, exact decimals, floats.

use qetl_core::Type;

use super::{format, unfit::Unfit};

/// 10⁰ to 10³⁸.
pub(crate) const POWERS: [u128; 39] = {
    let mut powers = [1; 39];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// The greatest number up to which a float holds every integer.
pub(crate) const EXACT_FLOAT: u64 = 1 << 53;

/// An integer: a sign or none, and digits.
#[inline]
pub(crate) fn integer(text: &[u8]) -> Result<i64, Unfit> {
    let (negative, digits) = signed(text);
    if digits.is_empty() {
        return Err(Unfit::NotA);
    }
    if digits.len() <= 18 {
        let mut value = 0i64;
        for &byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Err(Unfit::NotA);
            }
            value = value * 10 + i64::from(digit);
        }
        return Ok(if negative { -value } else { value });
    }
    long_integer(negative, digits)
}

#[cold]
fn long_integer(negative: bool, digits: &[u8]) -> Result<i64, Unfit> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Unfit::NotA);
    }
    let mut value = 0i64;
    for &byte in digits {
        let digit = i64::from(byte - b'0');
        let next = value.checked_mul(10);
        let next = next.and_then(|value| if negative { value.checked_sub(digit) } else { value.checked_add(digit) });
        value = next.ok_or(Unfit::Range)?;
    }
    Ok(value)
}

fn signed(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// A number exactly as written: ± `mantissa` × 10^`exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    negative: bool,
    mantissa: u128,
    exponent: i32,
    /// Digits behind the point, as written.
    pub(crate) decimals: u32,
    /// Written as an integer: no point, no exponent.
    pub(crate) plain: bool,
    /// Written with an exponent.
    pub(crate) power: bool,
    /// Written with a point.
    pub(crate) point: bool,
}

impl Number {
    /// `value` × 10^-`scale`.
    pub(crate) fn of(value: i128, scale: u8) -> Number {
        let (mantissa, exponent) = (value.unsigned_abs(), -i32::from(scale));
        Number { negative: value < 0, mantissa, exponent, decimals: u32::from(scale), plain: scale == 0, power: false, point: scale > 0 }
    }

    /// `Unfit::Digits` is a number of more digits than can be held exactly here.
    pub(crate) fn parse(text: &[u8], separator: u8) -> Result<Number, Unfit> {
        let (negative, rest) = signed(text);
        if rest.len() <= 19 {
            // At most 19 digits fit 64 bits.
            let (mut mantissa, mut point) = (0u64, None);
            for (at, &byte) in rest.iter().enumerate() {
                let digit = byte.wrapping_sub(b'0');
                if digit <= 9 {
                    mantissa = mantissa * 10 + u64::from(digit);
                } else if byte == separator && point.is_none() && rest.len() > 1 {
                    point = Some(at);
                } else {
                    return Self::parse_any(negative, rest, separator);
                }
            }
            if rest.is_empty() {
                return Err(Unfit::NotA);
            }
            let decimals = point.map_or(0, |point| rest.len() - point - 1) as u32;
            let exponent = -(decimals as i32);
            let (plain, point) = (point.is_none(), point.is_some());
            return Ok(Number { negative, mantissa: u128::from(mantissa), exponent, decimals, plain, power: false, point });
        }
        Self::parse_any(negative, rest, separator)
    }

    /// Of any length, with an exponent or without.
    fn parse_any(negative: bool, rest: &[u8], separator: u8) -> Result<Number, Unfit> {
        let (mut mantissa, mut too_long) = (0u128, false);
        // Digits so far; those up to the last that is not 0, which the mantissa holds; those before the point.
        let (mut digits, mut held, mut point) = (0i64, 0i64, None);
        let (mut exponent, mut power) = (0, false);
        for (at, &byte) in rest.iter().enumerate() {
            match byte {
                b'0' => digits += 1,
                b'1'..=b'9' => {
                    digits += 1;
                    let gap = if mantissa == 0 { 0 } else { usize::try_from(digits - held).unwrap_or(usize::MAX) };
                    let shifted = POWERS.get(gap).and_then(|power| mantissa.checked_mul(*power));
                    match shifted.and_then(|shifted| shifted.checked_add(u128::from(byte - b'0'))) {
                        Some(next) => (mantissa, held) = (next, digits),
                        None => too_long = true,
                    }
                }
                b'e' | b'E' if digits > 0 => {
                    exponent = power_of_ten(&rest[at + 1..])?;
                    power = true;
                    break;
                }
                _ if byte == separator && point.is_none() => {
                    point = Some(digits);
                }
                _ => return Err(Unfit::NotA),
            }
        }
        if digits == 0 {
            return Err(Unfit::NotA);
        }
        if too_long {
            return Err(Unfit::Digits);
        }
        let (whole, has_point) = (point.unwrap_or(digits), point.is_some());
        let decimals = (digits - whole - exponent).max(0) as u32;
        let exponent = if mantissa == 0 { 0 } else { (whole - held + exponent) as i32 };
        Ok(Number { negative, mantissa, exponent, decimals, plain: !power && !has_point, power, point: has_point })
    }

    /// The number times 10^`scale`, if it has at most `precision` digits, `scale` of them behind the point.
    pub(crate) fn to_scale(self, precision: u8, scale: u8) -> Result<i128, Unfit> {
        if self.mantissa == 0 {
            return Ok(0);
        }
        let shift = i64::from(scale) + i64::from(self.exponent);
        let power = POWERS.get(usize::try_from(shift.abs()).unwrap_or(usize::MAX)).copied();
        let value = if shift >= 0 {
            power.and_then(|power| self.mantissa.checked_mul(power)).ok_or(Unfit::Digits)?
        } else {
            let power = power.ok_or(Unfit::Decimals)?;
            if !self.mantissa.is_multiple_of(power) {
                return Err(Unfit::Decimals);
            }
            self.mantissa / power
        };
        if value >= POWERS[usize::from(precision)] {
            return Err(Unfit::Digits);
        }
        // Below 10³⁸, which an i128 holds.
        let value = value as i128;
        Ok(if self.negative { -value } else { value })
    }

    /// Digits behind the point that it cannot do without.
    pub(crate) fn least_decimals(self) -> u32 {
        let (mut mantissa, mut exponent) = (self.mantissa, self.exponent);
        while exponent < 0 && mantissa != 0 && mantissa.is_multiple_of(10) {
            (mantissa, exponent) = (mantissa / 10, exponent + 1);
        }
        if mantissa == 0 { 0 } else { exponent.min(0).unsigned_abs() }
    }

    /// Digits before the point, leading zeros aside.
    pub(crate) fn whole_digits(self) -> u32 {
        match self.mantissa.checked_ilog10() {
            None => 0,
            Some(log) => (i64::from(log) + 1 + i64::from(self.exponent)).max(0) as u32,
        }
    }

    /// Whether it is the number that the float's shortest text says.
    pub(crate) fn is_float(self, float: f64) -> bool {
        // No two numbers of at most fifteen digits have one float.
        const EXACT_DIGITS: u128 = POWERS[15];
        (float == 0.0 || float.is_normal()) && self.mantissa < EXACT_DIGITS
            || Number::parse(format::float(float).as_bytes(), b'.').is_ok_and(|other| other.shortest() == self.shortest())
    }

    /// Sign, mantissa and exponent, without zeros at the end of the mantissa.
    fn shortest(self) -> (bool, u128, i32) {
        let (mut mantissa, mut exponent) = (self.mantissa, self.exponent);
        if mantissa == 0 {
            return (false, 0, 0);
        }
        while mantissa.is_multiple_of(10) {
            (mantissa, exponent) = (mantissa / 10, exponent + 1);
        }
        (self.negative, mantissa, exponent)
    }
}

/// The integer after `e`, clamped to what can matter.
fn power_of_ten(text: &[u8]) -> Result<i64, Unfit> {
    let (negative, digits) = signed(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Unfit::NotA);
    }
    let value = digits.iter().fold(0i64, |value, byte| (value * 10 + i64::from(byte - b'0')).min(1_000_000));
    Ok(if negative { -value } else { value })
}

/// A float: what Rust reads, `NaN`, `inf` and `infinity` in any case among it. The nearest float is taken; a number
/// past the greatest one does not fit.
pub(crate) fn float(text: &str, separator: u8) -> Result<f64, Unfit> {
    let value: f64 = if separator == b'.' || !text.bytes().any(|byte| byte == b'.' || byte == separator) {
        text.parse().map_err(|_| Unfit::NotA)?
    } else if text.contains('.') {
        return Err(Unfit::NotA);
    } else {
        text.replace(char::from(separator), ".").parse().map_err(|_| Unfit::NotA)?
    };
    if value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(Unfit::Range);
    }
    Ok(canonical(value))
}

/// The one 0 and the one NaN.
#[inline]
pub(crate) fn canonical(value: f64) -> f64 {
    if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN
    } else {
        value
    }
}

/// What an inferred column of the type `ty` must be to hold a number besides: an integer may become a decimal, and a decimal get
/// more digits behind the point. `None`: no such type holds the number.
pub(crate) fn wider(ty: Type, number: Number) -> Option<Type> {
    let scale = match ty {
        Type::Int => 0,
        Type::Decimal { scale, .. } => scale,
        Type::Text | Type::Float | Type::Bool | Type::Date | Type::Timestamp => return None,
    };
    let needed = u8::try_from(number.least_decimals()).ok()?.max(scale);
    (needed <= 38 && number.to_scale(38, needed).is_ok()).then_some(Type::Decimal { precision: 38, scale: needed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers() {
        let check = |text: &str, expected| assert_eq!(integer(text.as_bytes()), expected, "{text}");
        check("0", Ok(0));
        check("-007", Ok(-7));
        check("+12", Ok(12));
        check("9223372036854775807", Ok(i64::MAX));
        check("-9223372036854775808", Ok(i64::MIN));
        check("0000000000000000000000000001", Ok(1));
        check("9223372036854775808", Err(Unfit::Range));
        check("922337203685477580700000000x", Err(Unfit::NotA));
        for text in ["", "-", "+", "1.0", "1e3", "12a", "--1", "٣", "1_000"] {
            check(text, Err(Unfit::NotA));
        }
    }

    #[test]
    fn decimals() {
        let check = |text: &str, (precision, scale), expected| {
            let read = Number::parse(text.as_bytes(), b'.').and_then(|number| number.to_scale(precision, scale));
            assert_eq!(read, expected, "{text}");
        };
        check("12.5", (18, 2), Ok(1250));
        check("-12.500000000000000000000000000000000000000000", (18, 2), Ok(-1250));
        check("-.5", (3, 1), Ok(-5));
        check("5.", (3, 1), Ok(50));
        check("1e3", (4, 0), Ok(1000));
        check("1.25e1", (4, 1), Ok(125));
        check("125E-1", (4, 1), Ok(125));
        check("0e999999999999", (1, 0), Ok(0));
        check("0.00000000000000000000000000000000000000000001e44", (1, 0), Ok(1));
        check("99999999999999999999999999999999999999", (38, 0), Ok(10i128.pow(38) - 1));
        check("000000000000000000000000000000000000000000000000001", (1, 0), Ok(1));
        check("100000000000000000000000000000000000000", (38, 0), Err(Unfit::Digits));
        check("1e38", (38, 0), Err(Unfit::Digits));
        check("1e-39", (38, 38), Err(Unfit::Decimals));
        check("1.234", (18, 2), Err(Unfit::Decimals));
        check("1000.0", (3, 0), Err(Unfit::Digits));
        check("1234567890123456789012345678901234567890.1234567890", (38, 2), Err(Unfit::Digits));
        for text in ["", ".", "-", "1,5", "1.2.3", "e5", "1e", "1e+", "1e1.5", "NaN", "0x1", "1 000", "--1"] {
            check(text, (18, 2), Err(Unfit::NotA));
        }
        let comma = |text: &str| Number::parse(text.as_bytes(), b',').and_then(|number| number.to_scale(18, 2));
        assert_eq!((comma("1,5"), comma("1.5")), (Ok(150), Err(Unfit::NotA)));
    }

    #[test]
    fn shapes() {
        let check = |text: &str, decimals, least, whole, plain| {
            let number = Number::parse(text.as_bytes(), b'.').unwrap();
            let shape = (number.decimals, number.least_decimals(), number.whole_digits(), number.plain);
            assert_eq!(shape, (decimals, least, whole, plain), "{text}");
        };
        check("12", 0, 0, 2, true);
        check("1200.500", 3, 1, 4, false);
        check("0.0", 1, 0, 0, false);
        check("1.5e-3", 4, 4, 0, false);
        check("1.5e3", 0, 0, 4, false);
        check("123456789012345678901234567890", 0, 0, 30, true);
    }

    #[test]
    fn floats() {
        let check = |text: &str, separator, expected: Result<f64, Unfit>| {
            assert_eq!(float(text, separator).map(f64::to_bits), expected.map(f64::to_bits), "{text}");
        };
        check("-0.0", b'.', Ok(0.0));
        check("-nan", b'.', Ok(f64::NAN));
        check("NaN", b',', Ok(f64::NAN));
        check("Infinity", b'.', Ok(f64::INFINITY));
        check("-INF", b'.', Ok(f64::NEG_INFINITY));
        check("1,5", b',', Ok(1.5));
        check("1.5", b',', Err(Unfit::NotA));
        check("1e999", b'.', Err(Unfit::Range));
        check("", b'.', Err(Unfit::NotA));
        check("1.5f", b'.', Err(Unfit::NotA));
    }

    #[test]
    fn numbers_that_are_floats() {
        let check = |text: &str, expected: bool| {
            let number = Number::parse(text.as_bytes(), b'.').unwrap();
            assert_eq!(number.is_float(float(text, b'.').unwrap()), expected, "{text}");
        };
        for text in [
            "0",
            "-0.0",
            "0.1",
            "123456789012345",
            "9007199254740992",
            "1.7976931348623157e308",
            "5e-324",
            "1e22",
            "0.30000000000000004",
            "1.50e3",
        ] {
            check(text, true);
        }
        for text in ["9007199254740993", "3.5215257120407011", "4.9e-324", "1.234567890123456789", "0.1000000000000000055511151231257827"] {
            check(text, false);
        }
    }

    #[test]
    fn widening() {
        let decimal = |scale| Type::Decimal { precision: 38, scale };
        let check =
            |ty, text: &str, expected| assert_eq!(wider(ty, Number::parse(text.as_bytes(), b'.').unwrap()), expected, "{ty} {text}");
        check(Type::Int, "1.50", Some(decimal(1)));
        check(Type::Int, "9223372036854775808", Some(decimal(0)));
        check(Type::Text, "1.5", None);
        check(decimal(2), "1.234", Some(decimal(3)));
        check(decimal(2), "1e37", None);
        check(Type::Decimal { precision: 5, scale: 2 }, "1234.5", Some(decimal(2)));
        check(decimal(2), "1e-39", None);
    }

    proptest! {
        #[test]
        fn reads_the_decimals_it_prints(value in -10i128.pow(38) + 1..10i128.pow(38), scale in 0u8..=38) {
            let text = crate::value::format::decimal(value, scale);
            let number = Number::parse(text.as_bytes(), b'.').unwrap();
            prop_assert_eq!(number.to_scale(38, scale), Ok(value));
        }

        #[test]
        fn short_and_long_ways_agree(text in "[+-]?[0-9]{0,9}[.]?[0-9]{0,9}") {
            let (negative, rest) = signed(text.as_bytes());
            let (short, long) = (Number::parse(text.as_bytes(), b'.'), Number::parse_any(negative, rest, b'.'));
            prop_assert_eq!(short.map(|n| n.to_scale(38, 9)), long.map(|n| n.to_scale(38, 9)));
            prop_assert_eq!(short.map(|n| (n.decimals, n.plain, n.least_decimals())), long.map(|n| (n.decimals, n.plain, n.least_decimals())));
        }
    }
}
