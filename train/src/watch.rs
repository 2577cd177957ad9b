use crate::{Hook, MetricsLog, Observer, Silent};

/// What a run tells, and calls, while it trains.
pub struct Watch<'a, T> {
    pub(crate) metrics: &'a mut MetricsLog,
    pub(crate) observer: Box<dyn Observer + 'a>,
    pub(crate) hooks: Vec<Box<dyn Hook<T> + 'a>>,
}

impl<'a, T> Watch<'a, T> {
    /// Metrics alone.
    pub fn new(metrics: &'a mut MetricsLog) -> Self {
        Self { metrics, observer: Box::new(Silent), hooks: Vec::new() }
    }

    /// With an observer instead of the one before.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'a) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// With one more hook; they are called in this order.
    #[must_use]
    pub fn hook(mut self, hook: impl Hook<T> + 'a) -> Self {
        self.hooks.push(Box::new(hook));
        self
    }
}
