//! Decimals as PostgreSQL sends them: digits of base 10,000, and where the point stands among them.

use bytes::BufMut;

use crate::cell::Cell;

const NEGATIVE: u16 = 0x4000;

pub(crate) fn encode(value: i128, scale: u8) -> Vec<u8> {
    let scale = usize::from(scale);
    let width = scale + 1;
    let text = format!("{:0>width$}", value.unsigned_abs());
    let (whole, fraction) = text.split_at(text.len() - scale);
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let fraction = format!("{fraction}{}", "0".repeat((4 - scale % 4) % 4));
    let group = |at: usize| {
        let digits = whole.bytes().chain(fraction.bytes()).skip(at * 4).take(4);
        digits.fold(0_u16, |all, digit| all * 10 + u16::from(digit - b'0'))
    };
    let groups: Vec<u16> = (0..(whole.len() + fraction.len()) / 4).map(group).collect();
    let first = groups.iter().position(|group| *group != 0).unwrap_or(groups.len());
    let end = groups.iter().rposition(|group| *group != 0).map_or(first, |last| last + 1);
    let weight = if first == end { 0 } else { whole.len() as i64 / 4 - 1 - first as i64 };
    let mut bytes = Vec::with_capacity(8 + 2 * (end - first));
    bytes.put_u16((end - first) as u16);
    bytes.put_i16(weight as i16);
    bytes.put_u16(if value < 0 { NEGATIVE } else { 0 });
    bytes.put_u16(scale as u16);
    groups[first..end].iter().for_each(|group| bytes.put_u16(*group));
    bytes
}

/// `None` for NaN, the infinities, and what has more digits than a decimal has.
pub(crate) fn decode(bytes: &[u8]) -> Option<Cell<'static>> {
    let word = |at: usize| bytes.get(at * 2..at * 2 + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let (count, weight, sign, scale) = (usize::from(word(0)?), i32::from(word(1)? as i16), word(2)?, word(3)?);
    if sign != 0 && sign != NEGATIVE {
        return None;
    }
    let scale = u8::try_from(scale).ok()?;
    let mut value = 0_i128;
    for place in 0..count {
        let group = i128::from(word(4 + place)?);
        // The power of ten of the group's last digit, counted from the last digit of the scale.
        let exponent = 4 * (weight - i32::try_from(place).ok()?) + i32::from(scale);
        let digits = match u32::try_from(exponent) {
            Ok(exponent) => group.checked_mul(10_i128.checked_pow(exponent)?)?,
            Err(_) => group / 10_i128.checked_pow(exponent.unsigned_abs())?,
        };
        value = value.checked_add(digits)?;
    }
    Some(Cell::Decimal(if sign == NEGATIVE { -value } else { value }, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_come_back_as_they_went() {
        let most = 10_i128.pow(38) - 1;
        for value in [0, 1, -1, 9, 10_000, 12_345, -100_000_000, 123_456_789_012_345_678, most, -most] {
            for scale in [0, 1, 2, 4, 5, 18, 36, 38] {
                assert_eq!(decode(&encode(value, scale)), Some(Cell::Decimal(value, scale)), "{value} {scale}");
            }
        }
    }
}
