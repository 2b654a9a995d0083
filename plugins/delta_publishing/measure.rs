//! Amounts: their type in the ledger, and arithmetic in which NULL is 0 and nothing overflows.

use qetl_core::{Type, ir::Expr, plan::InputType};

use super::DIGITS;

/// A column that is summed.
#[derive(Debug, Clone)]
pub(super) struct Measure {
    pub(super) name: String,
    pub(super) input: Type,
    /// Its type in the ledger.
    pub(super) ty: Type,
}

impl Measure {
    pub(super) fn of(column: &InputType) -> Self {
        let ty = match column.ty {
            Type::Decimal { scale, .. } => Type::Decimal { precision: DIGITS, scale },
            Type::Text | Type::Int | Type::Float | Type::Bool | Type::Date | Type::Timestamp => column.ty,
        };
        Self { name: column.name.clone(), input: column.ty, ty }
    }

    /// Whether two values may be further apart than the type reaches.
    pub(super) fn can_overflow(&self) -> bool {
        self.ty == Type::Int || matches!(self.input, Type::Decimal { precision: DIGITS, .. })
    }

    pub(super) fn zero(&self) -> Expr {
        if self.ty == Type::Int { Expr::int(0) } else { Expr::int(0).cast(self.ty) }
    }

    /// The greatest value of the type, which is an integer or a decimal of all digits.
    pub(super) fn greatest(&self) -> Expr {
        match self.ty {
            Type::Decimal { precision, scale } => {
                let nines = |digits: u8| "9".repeat(usize::from(digits));
                let whole = if precision == scale { "0".to_owned() } else { nines(precision - scale) };
                let text = if scale == 0 { whole } else { format!("{whole}.{}", nines(scale)) };
                Expr::text(&text).cast(self.ty)
            }
            Type::Text | Type::Int | Type::Float | Type::Bool | Type::Date | Type::Timestamp => Expr::int(i64::MAX),
        }
    }

    /// An input value in the ledger's type.
    pub(super) fn stored(&self, value: Expr) -> Expr {
        if self.input == self.ty { value } else { value.cast(self.ty) }
    }

    pub(super) fn or_zero(&self, value: Expr) -> Expr {
        Expr::coalesce(vec![value, self.zero()])
    }

    /// Whether `new` less `old` lies outside the type, NULL counting as 0. Nothing in it can overflow itself: to the
    /// greatest value only what is negative is added, and it is only taken from what is not.
    pub(super) fn is_too_far(&self, new: &Expr, old: &Expr) -> Expr {
        let part = |is_of: Expr| Expr::case(vec![(is_of, old.clone())], Some(self.zero()));
        let most = self.greatest().plus(part(old.clone().lt(self.zero())));
        let least = part(old.clone().gt(self.zero())).minus(self.greatest());
        let least = if self.ty == Type::Int { least.minus(Expr::int(1)) } else { least };
        let new = self.or_zero(new.clone());
        new.clone().gt(most).or(new.lt(least))
    }

    /// `new` less `old`, where NULL counts as 0; NULL when both are, or when the result does not fit, which a check refuses.
    pub(super) fn difference(&self, new: &Expr, old: &Expr) -> Expr {
        let mut nothing = new.clone().is_null().and(old.clone().is_null());
        if self.can_overflow() {
            nothing = nothing.or(self.is_too_far(new, old));
        }
        let difference = self.or_zero(new.clone()).minus(self.or_zero(old.clone()));
        Expr::case(vec![(nothing, Expr::null(self.ty))], Some(difference))
    }

    /// Whether the value has no negative: of all types only integers have such a value.
    pub(super) fn has_no_negative(&self, value: &Expr) -> Option<Expr> {
        (self.ty == Type::Int).then(|| value.clone().lt(Expr::int(-i64::MAX)))
    }

    /// Minus the value; NULL when it has no negative, which a check refuses.
    pub(super) fn negative(&self, value: &Expr) -> Expr {
        let negative = self.zero().minus(value.clone());
        match self.has_no_negative(value) {
            Some(none) => Expr::case(vec![(none, Expr::null(self.ty))], Some(negative)),
            None => negative,
        }
    }
}
