/// What can go wrong while planning masks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A ratio outside (0, 1), or not a number.
    #[error("mask ratio {0}: expected a number above 0 and below 1")]
    Ratio(f64),
    /// A ratio that leaves nothing visible or nothing hidden on this grid.
    #[error(
        "mask ratio {ratio} keeps {kept} of {patches} patches: at least one must be visible and one hidden"
    )]
    Degenerate {
        /// The ratio asked for.
        ratio: f64,
        /// Patches it would keep.
        kept: usize,
        /// Patches there are.
        patches: usize,
    },
    /// A mask unit that does not fit into the grid more than once.
    #[error(
        "mask unit {unit} ({unit}x{unit} patches): expected 1 to {largest} on a {rows}x{cols} grid"
    )]
    Unit {
        /// Unit side in patches.
        unit: usize,
        /// The largest unit that fits.
        largest: usize,
        /// Grid rows.
        rows: usize,
        /// Grid columns.
        cols: usize,
    },
    /// Whole units were asked for on a grid that cuts some.
    #[error(
        "whole mask units cannot be kept: units of {unit}x{unit} patches do not divide the {rows}x{cols} \
         grid; use the published count instead"
    )]
    RaggedUnits {
        /// Unit side in patches.
        unit: usize,
        /// Grid rows.
        rows: usize,
        /// Grid columns.
        cols: usize,
    },
    /// A ratio that is no regular grid.
    #[error(
        "mask ratio {ratio} is no regular grid: grid masking keeps one unit of k x k, so its ratio is \
         1 - 1/k^2 (0.75, 0.8889, 0.9375, ...)"
    )]
    IrregularRatio {
        /// The ratio asked for.
        ratio: f64,
    },
    /// A regular grid coarser than the units.
    #[error(
        "grid masking at ratio {ratio} keeps one unit of {spacing}x{spacing}, but there are only {rows}x{cols} units"
    )]
    GridSpacing {
        /// The ratio asked for.
        ratio: f64,
        /// Units from one kept to the next.
        spacing: usize,
        /// Rows of units.
        rows: usize,
        /// Columns of units.
        cols: usize,
    },
    /// Something that is not an order of the patches or units.
    #[error("not a permutation of the {expected} {what}: {problem}")]
    NotAPermutation {
        /// Patches or units.
        what: &'static str,
        /// How many there are.
        expected: usize,
        /// What is wrong.
        problem: String,
    },
    /// Plans that differ in size cannot form a batch.
    #[error(
        "mask plans of one batch differ: {found} kept of {found_patches} patches, expected {kept} of {patches}"
    )]
    Uneven {
        /// Kept patches found.
        found: usize,
        /// Patches found.
        found_patches: usize,
        /// Kept patches of the first plan.
        kept: usize,
        /// Patches of the first plan.
        patches: usize,
    },
    /// A batch without plans.
    #[error("a batch of masks needs at least one plan")]
    EmptyBatch,
    /// An id of a batch of masks that is no patch's.
    #[error("patch {id} is out of range: the masks are of {patches} patches")]
    Position {
        /// The id found.
        id: u32,
        /// Patches there are.
        patches: usize,
    },
    /// An unknown name of a strategy or count.
    #[error("unknown {what} `{found}`: expected one of {expected}")]
    UnknownName {
        /// What was named.
        what: &'static str,
        /// The name found.
        found: String,
        /// The names there are.
        expected: &'static str,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
