//! What every strategy promises, on many grids, and what makes each one itself.

use longmae_masking::{Error, MaskCount, MaskDesign, MaskPlan, MaskUnits};
use longmae_patching::PatchGrid;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const GRIDS: [(usize, usize); 5] = [(14, 14), (28, 28), (6, 10), (7, 5), (9, 9)];

fn grid((rows, cols): (usize, usize)) -> PatchGrid {
    PatchGrid::new((rows * 4, cols * 4), 4).unwrap()
}

fn design(unit: usize, ratio: f64) -> MaskDesign {
    MaskDesign { unit, ratio, count: MaskCount::Published }
}

fn plan(name: &str, design: MaskDesign, grid: PatchGrid, seed: u64) -> MaskPlan {
    let strategy = design.strategy(name).unwrap();
    strategy.plan(grid, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
}

/// For each unit, how many of its patches are removed and how many there are.
fn removed_by_unit(plan: &MaskPlan, units: &MaskUnits) -> Vec<(usize, usize)> {
    let count = |unit| {
        let patches: Vec<u32> = units.patches(unit).collect();
        (patches.iter().filter(|p| plan.is_removed(**p as usize)).count(), patches.len())
    };
    (0..units.len()).map(count).collect()
}

#[test]
fn every_strategy_keeps_the_published_number_and_whole_units_but_one() {
    for shape in GRIDS {
        let grid = grid(shape);
        for unit in [1, 2, 3, 4] {
            for (name, ratio) in
                [("random", 0.6), ("random", 0.75), ("block", 0.75), ("grid", 0.75)]
            {
                let design = design(unit, ratio);
                let (units, kept) = design.on(grid).unwrap();
                for seed in 0..4 {
                    let plan = plan(name, design, grid, seed);
                    let what = format!("{name} {ratio} on {shape:?} in units of {unit}");
                    assert_eq!(plan.kept(), (grid.len() as f64 * (1.0 - ratio)) as usize, "{what}");
                    assert_eq!((plan.kept(), plan.patches()), (kept, grid.len()), "{what}");
                    let cut = removed_by_unit(&plan, &units)
                        .iter()
                        .filter(|(removed, all)| *removed != 0 && removed != all)
                        .count();
                    assert!(cut <= 1, "{what}: {cut} units are cut");
                }
            }
        }
    }
}

#[test]
fn the_mask_agrees_with_the_ids() {
    let plan = plan("random", design(2, 0.75), grid((6, 10)), 3);
    let mask = plan.mask();
    assert_eq!(mask.iter().sum::<f32>() as usize, plan.patches() - plan.kept());
    assert!(plan.ids_keep().iter().all(|id| mask[*id as usize] == 0.0));
    for (place, id) in plan.ids_keep().iter().enumerate() {
        assert_eq!(plan.ids_restore()[*id as usize] as usize, place);
    }
}

#[test]
fn the_same_generator_gives_the_same_plan() {
    for name in ["random", "block", "grid"] {
        let (design, grid) = (design(2, 0.75), grid((14, 14)));
        assert_eq!(plan(name, design, grid, 1), plan(name, design, grid, 1));
        let plans: Vec<_> = (0..8).map(|seed| plan(name, design, grid, seed)).collect();
        assert!(plans.iter().any(|plan| *plan != plans[0]), "{name} draws something");
    }
}

#[test]
fn grid_masking_is_regular() {
    let grid = grid((16, 16));
    let plan = plan("grid", design(2, 0.75), grid, 5);
    let rows: Vec<Vec<bool>> =
        (0..16).map(|r| (0..16).map(|c| !plan.is_removed(r * 16 + c)).collect()).collect();
    // One unit of 2 x 2 in every 4 x 4 patches: shifting by four changes nothing.
    for r in 0..12 {
        for c in 0..12 {
            assert_eq!(rows[r][c], rows[r + 4][c]);
            assert_eq!(rows[r][c], rows[r][c + 4]);
        }
    }
}

#[test]
fn block_masking_hangs_together_more_than_random() {
    let grid = grid((28, 28));
    let borders = |name: &str| -> usize {
        (0..16)
            .map(|seed| {
                let plan = plan(name, design(1, 0.5), grid, seed);
                (0..28 * 27).filter(|i| plan.is_removed(*i) != plan.is_removed(i + 28)).count()
            })
            .sum()
    };
    assert!(2 * borders("block") < borders("random"));
}

#[test]
fn whole_units_can_be_kept() {
    let design = MaskDesign { unit: 2, ratio: 0.7, count: MaskCount::Units };
    let (units, kept) = design.on(grid((14, 14))).unwrap();
    assert_eq!(kept, 15 * 4);
    let plan = plan("random", design, grid((14, 14)), 0);
    assert!(removed_by_unit(&plan, &units).iter().all(|(removed, _)| [0, 4].contains(removed)));
    assert!(matches!(design.on(grid((7, 5))), Err(Error::RaggedUnits { .. })));
}

#[test]
fn designs_that_cannot_be_are_refused() {
    let grid14 = grid((14, 14));
    for ratio in [0.0, 1.0, -0.5, 1.5, f64::NAN, f64::INFINITY] {
        assert!(matches!(design(1, ratio).on(grid14), Err(Error::Ratio(_))), "{ratio}");
    }
    for unit in [0, 14, 15, usize::MAX] {
        assert!(matches!(design(unit, 0.75).on(grid14), Err(Error::Unit { .. })), "{unit}");
    }
    assert!(matches!(design(1, 0.999).on(grid14), Err(Error::Degenerate { kept: 0, .. })));
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut refuse = |design: MaskDesign, grid| {
        design.strategy("grid").unwrap().plan(grid, &mut rng).unwrap_err()
    };
    assert!(matches!(refuse(design(1, 0.6), grid14), Error::IrregularRatio { .. }));
    assert!(matches!(refuse(design(7, 0.9375), grid14), Error::GridSpacing { spacing: 4, .. }));
    assert!(matches!(design(1, 0.75).strategy("blok"), Err(Error::UnknownName { .. })));
    assert!(MaskPlan::from_order(&[0, 0], 1).is_err());
    assert!(MaskPlan::from_order(&[0, 2], 1).is_err());
}
