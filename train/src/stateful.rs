use serde_json::Value;

use crate::error::BoxError;

/// Something whose state belongs into a checkpoint: a loader, generators, averages. Opaque to the engine.
pub trait Stateful {
    /// The name of its state in a checkpoint.
    fn name(&self) -> &'static str;

    /// The state, so that what follows can be repeated.
    fn save(&self) -> Value;

    /// Goes back to a state that [`Stateful::save`] gave.
    ///
    /// # Errors
    /// When the state is not one of this thing's.
    fn restore(&mut self, state: &Value) -> Result<(), BoxError>;
}

/// Endless batches in an order that can be resumed.
pub trait Batches: Stateful {
    /// A batch.
    type Batch;

    /// The next batch, or none when the data has ended.
    ///
    /// # Errors
    /// When reading fails.
    fn next_batch(&mut self) -> Result<Option<Self::Batch>, BoxError>;
}
