//! Median and spread of a handful of figures.

/// Figures in order.
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    /// Takes at least one figure.
    pub(crate) fn new(mut figures: Vec<f64>) -> Self {
        assert!(!figures.is_empty(), "a bench that measured nothing");
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The nearest rank at that share of the way up.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the number of figures"
        )]
        let index = (share * (self.0.len() - 1) as f64).round() as usize;
        self.0[index]
    }

    /// The least and the greatest.
    pub(crate) fn spread(&self) -> (f64, f64) {
        (self.quantile(0.0), self.quantile(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        let figures = Figures::new(vec![5.0, 1.0, 9.0]);
        assert!((figures.median() - 5.0).abs() < f64::EPSILON);
        assert_eq!(figures.spread(), (1.0, 9.0));
    }
}
