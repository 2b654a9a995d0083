//! `sum` and `avg` of integers and decimals: worked out in a wider type, and narrowed at the end, or refused.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the engine's types, few are exact")]

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, UInt64Array},
    datatypes::{DataType, Decimal128Type, Decimal256Type, Field, FieldRef, i256},
};
use datafusion::{
    error::Result,
    functions_aggregate::{average::avg_udaf, sum::sum_udaf},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
    scalar::ScalarValue,
};

use super::{
    arithmetic::{overflow, rounded},
    bound, cast,
};

/// The functions by which the engine's own are replaced.
pub(super) fn functions() -> [AggregateUDF; 2] {
    [of(sum_udaf()), of(avg_udaf())]
}

fn of(inner: Arc<AggregateUDF>) -> AggregateUDF {
    AggregateUDF::new_from_impl(Exact { inner })
}

/// The function that sums.
pub(crate) fn summing() -> Arc<AggregateUDF> {
    Arc::new(of(sum_udaf()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    inner: Arc<AggregateUDF>,
}

impl Exact {
    fn averages(&self) -> bool {
        self.inner.name() == "avg"
    }

    /// The type in which values are worked with. An average has a digit more, by which it is rounded.
    fn wide(&self, ty: &DataType) -> DataType {
        match ty {
            DataType::Decimal128(_, scale) if self.averages() => DataType::Decimal256(76, scale + 1),
            DataType::Decimal128(_, scale) => DataType::Decimal256(76, *scale),
            DataType::Int64 | DataType::UInt64 if !self.averages() => DataType::Decimal128(38, 0),
            other => other.clone(),
        }
    }

    /// The inner function's arguments and result, if they are others than this one's.
    fn widened(&self, fields: &[FieldRef]) -> Result<Option<(Vec<FieldRef>, FieldRef)>> {
        let Some(first) = fields.first() else { return Ok(None) };
        let wide = self.wide(first.data_type());
        if wide == *first.data_type() {
            return Ok(None);
        }
        let result = self.inner.return_type(std::slice::from_ref(&wide))?;
        Ok(Some((vec![Arc::new(Field::new(first.name(), wide, true))], Arc::new(Field::new("result", result, true)))))
    }
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let Some((fields, result)) = self.widened(args.expr_fields)? else { return self.inner.accumulator(args) };
        let widening = Widening { wide: fields[0].data_type().clone(), narrow: args.return_type().clone() };
        let inner = self.inner.accumulator(AccumulatorArgs { return_field: result, expr_fields: &fields, ..args })?;
        Ok(Box::new(One { inner, widening }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let Some((fields, result)) = self.widened(args.expr_fields)? else { return self.inner.create_sliding_accumulator(args) };
        let widening = Widening { wide: fields[0].data_type().clone(), narrow: args.return_type().clone() };
        let inner = self.inner.create_sliding_accumulator(AccumulatorArgs { return_field: result, expr_fields: &fields, ..args })?;
        Ok(Box::new(One { inner, widening }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        match self.widened(args.expr_fields) {
            Ok(Some((fields, result))) => {
                self.inner.groups_accumulator_supported(AccumulatorArgs { return_field: result, expr_fields: &fields, ..args })
            }
            Ok(None) => self.inner.groups_accumulator_supported(args),
            Err(_) => false,
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let Some((fields, result)) = self.widened(args.expr_fields)? else { return self.inner.create_groups_accumulator(args) };
        let widening = Widening { wide: fields[0].data_type().clone(), narrow: args.return_type().clone() };
        let inner = self.inner.create_groups_accumulator(AccumulatorArgs { return_field: result, expr_fields: &fields, ..args })?;
        Ok(Box::new(Many { inner, widening }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        match self.widened(args.input_fields)? {
            Some((fields, result)) => self.inner.state_fields(StateFieldsArgs { input_fields: &fields, return_field: result, ..args }),
            None => self.inner.state_fields(args),
        }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// From the values' type to a wider one, and from the wide result to the narrow one.
#[derive(Debug, Clone)]
struct Widening {
    wide: DataType,
    narrow: DataType,
}

impl Widening {
    fn widened(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        values.iter().map(|values| cast(values, &self.wide)).collect()
    }

    fn narrowed(&self, result: &ArrayRef) -> Result<ArrayRef> {
        let too_great = || overflow(&self.narrow);
        Ok(match (&self.narrow, result.data_type()) {
            (DataType::Int64, DataType::Decimal128(..)) => {
                let sums = result.as_primitive::<Decimal128Type>().iter();
                let narrow = sums.map(|sum| sum.map(|sum| i64::try_from(sum).map_err(|_| too_great())).transpose());
                Arc::new(narrow.collect::<Result<Int64Array>>()?)
            }
            (DataType::UInt64, DataType::Decimal128(..)) => {
                let sums = result.as_primitive::<Decimal128Type>().iter();
                let narrow = sums.map(|sum| sum.map(|sum| u64::try_from(sum).map_err(|_| too_great())).transpose());
                Arc::new(narrow.collect::<Result<UInt64Array>>()?)
            }
            (DataType::Decimal128(precision, scale), DataType::Decimal256(_, has)) => {
                let divisor = i256::from_i128(10).wrapping_pow(u32::from((has - scale).unsigned_abs()));
                let bound = bound(*precision);
                let narrow = |value: i256| {
                    let value = if has == scale { value } else { rounded(value, divisor) };
                    value.to_i128().filter(|value| *value < bound && *value > -bound).ok_or_else(too_great)
                };
                let values = result.as_primitive::<Decimal256Type>().iter().map(|value| value.map(narrow).transpose());
                Arc::new(values.collect::<Result<Decimal128Array>>()?.with_precision_and_scale(*precision, *scale)?)
            }
            _ => cast(result, &self.narrow)?,
        })
    }
}

/// A single result in the making.
#[derive(Debug)]
struct One {
    inner: Box<dyn Accumulator>,
    widening: Widening,
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&self.widening.widened(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let wide = self.inner.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&self.widening.narrowed(&wide)?, 0)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&self.widening.widened(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// Results of many groups in the making.
struct Many {
    inner: Box<dyn GroupsAccumulator>,
    widening: Widening,
}

impl GroupsAccumulator for Many {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        self.inner.update_batch(&self.widening.widened(values)?, groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let wide = self.inner.evaluate(emit_to)?;
        self.widening.narrowed(&wide)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.inner.merge_batch(values, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&self.widening.widened(values)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
